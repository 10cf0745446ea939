package load

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// What the disk does without a log: one loop, no goroutines.

// rawFrame is what a record takes at least: its data and 16 bytes.
const rawFrame = 16

// rawSize is how large the file of a raw loop is; it is written again from its start.
var rawSize int64 = 64 << 20 // smaller in tests

// RawSync writes n frames of size bytes in one call to a file that was written before,
// syncs its data, and so on. It returns frames a second.
func RawSync(dir string, n, size int, d time.Duration) (float64, error) {
	file, err := rawFile(dir, 0)
	if err != nil {
		return 0, err
	}
	defer remove(file)
	b := newPayload(1, 0, n*(size+rawFrame)).pool[:n*(size+rawFrame)]
	return rawLoop(file, b, n, d, syncData)
}

// RawDirect writes size bytes in one call past the page cache, each durable when the
// call returns. It returns calls a second. size is rounded up to 4 KiB.
func RawDirect(dir string, size int, d time.Duration) (float64, error) {
	file, err := rawFile(dir, directFlags)
	if err != nil {
		return 0, err
	}
	defer remove(file)
	b := aligned((size + 4095) &^ 4095)
	copy(b, newPayload(1, 0, len(b)).pool)
	return rawLoop(file, b, 1, d, func(*os.File) error { return nil })
}

// aligned returns n bytes that begin at a multiple of 4096.
func aligned(n int) []byte {
	b := make([]byte, n+4096)
	skip := 0
	for addressOf(b[skip:])%4096 != 0 {
		skip++
	}
	return b[skip : skip+n]
}

// RawList lists a directory of n files. It returns how often a second.
func RawList(dir string, n int, d time.Duration) (rate float64, err error) {
	dir, err = os.MkdirTemp(dir, "raw-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%016x.seg", i)), nil, 0o600); err != nil {
			return 0, err
		}
	}
	var calls int
	start := time.Now()
	for time.Since(start) < d {
		list, err := os.Open(dir)
		if err != nil {
			return 0, err
		}
		names, err := list.Readdirnames(0)
		if err = errors.Join(err, list.Close()); err != nil || len(names) != n {
			return 0, fmt.Errorf("%d names of %d: %w", len(names), n, err)
		}
		calls++
	}
	return float64(calls) / time.Since(start).Seconds(), nil
}

func rawLoop(file *os.File, b []byte, n int, d time.Duration, sync func(*os.File) error) (float64, error) {
	var off int64
	var calls int
	start := time.Now()
	for time.Since(start) < d {
		if off+int64(len(b)) > rawSize {
			off = 0
		}
		if _, err := file.WriteAt(b, off); err != nil {
			return 0, err
		}
		if err := sync(file); err != nil {
			return 0, err
		}
		off += int64(len(b))
		calls++
	}
	return float64(calls*n) / time.Since(start).Seconds(), nil
}

// rawFile makes a file of rawSize bytes that was written to its end, and opens it with flags.
func rawFile(dir string, flags int) (*os.File, error) { return rawFileOf(dir, rawSize, flags) }

func rawFileOf(dir string, size int64, flags int) (*os.File, error) {
	path := filepath.Join(dir, "raw")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, 1<<20)
	for off := int64(0); err == nil && off < size; off += int64(len(zeros)) {
		_, err = file.WriteAt(zeros, off)
	}
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		file, err = os.OpenFile(path, os.O_RDWR|flags, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("raw loop: %w", err)
	}
	return file, nil
}

func remove(file *os.File) {
	_ = file.Close() // its content is of no use
	_ = os.Remove(file.Name())
}
