package load

import (
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"time"
)

// What reading takes without a log: of a file that is in memory, and knows where each
// record is.

// RawPoints reads records of size bytes at random places, one call each. It returns
// records a second.
func RawPoints(dir string, size int, d time.Duration) (float64, error) {
	file, err := rawFile(dir, 0)
	if err != nil {
		return 0, err
	}
	defer remove(file)
	frame := int64(size + rawFrame)
	b := make([]byte, frame)
	rng := rand.New(rand.NewPCG(1, 2))
	var calls int
	start := time.Now()
	for ; time.Since(start) < d; calls++ {
		if _, err := file.ReadAt(b, rng.Int64N(rawSize/frame)*frame); err != nil {
			return 0, fmt.Errorf("raw loop: %w", err)
		}
	}
	return float64(calls) / time.Since(start).Seconds(), nil
}

// RawScan reads a file of total bytes in records of size bytes, many with each call, and sums
// up each of them. It returns records a second, of the best time from the start to the end.
func RawScan(dir string, total int64, size int, d time.Duration) (rate float64, err error) {
	file, err := rawFileOf(dir, total, 0)
	if err != nil {
		return 0, err
	}
	defer remove(file)
	frame := size + rawFrame
	b := make([]byte, max(1, (1<<20)/frame)*frame)
	table := crc32.MakeTable(crc32.Castagnoli)
	end := time.Now().Add(d)
	for first := true; first || time.Now().Before(end); first = false {
		var records int
		start := time.Now()
		for off := int64(0); off < total; off += int64(len(b)) {
			n, err := file.ReadAt(b, off)
			if err != nil && err != io.EOF {
				return 0, fmt.Errorf("raw loop: %w", err)
			}
			for at := 0; at+frame <= n; at += frame {
				_ = crc32.Checksum(b[at:at+frame], table)
				records++
			}
		}
		rate = max(rate, float64(records)/time.Since(start).Seconds())
	}
	return rate, nil
}
