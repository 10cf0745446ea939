package main

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/seed3918b8df/tidemark/bench/load"
)

// keySize is what db_bench takes for a key at least; it is part of the record.
const keySize = 16

// rocksDB is RocksDB as its own benchmark measures it, the program db_bench: nothing if
// that is not installed. What it writes to its log it puts into a memtable too.
func rocksDB() []load.Target {
	if _, err := exec.LookPath("db_bench"); err != nil {
		return nil
	}
	return []load.Target{{
		Name: "rocksdb",
		Gaps: []string{"a program of its own, in C++, whose CPU and memory are not counted", "each record goes into a memtable too",
			"the build of Debian has assertions"},
		Durable: func(dir string, n, size int, d time.Duration) (load.Result, error) {
			cmd := exec.Command("db_bench", "--benchmarks=fillrandom", "--sync=1", "--histogram=1", "--compression_type=none",
				"--num=1000000000", "--write_buffer_size=1073741824", // so that nothing is flushed or compacted meanwhile
				"--db="+dir, fmt.Sprint("--threads=", n), fmt.Sprint("--duration=", max(1, int(d.Seconds()+0.5))),
				fmt.Sprint("--key_size=", keySize), fmt.Sprint("--value_size=", max(0, size-keySize)))
			text, err := cmd.Output()
			if err != nil {
				return load.Result{}, fmt.Errorf("db_bench: %w", err)
			}
			return parseRocksDB(string(text), size)
		},
	}}
}

var (
	rocksLine  = regexp.MustCompile(`(?m)^fillrandom +:.* ([0-9.]+) seconds ([0-9]+) operations`)
	rocksQuant = regexp.MustCompile(`P(50|99|99\.9): ([0-9.]+)`)
	rocksMax   = regexp.MustCompile(`Max: ([0-9.]+)`)
	rocksMean  = regexp.MustCompile(`Average: ([0-9.]+)`)
)

// parseRocksDB reads what db_bench prints: microseconds, and how many operations there were.
func parseRocksDB(text string, size int) (r load.Result, err error) {
	m := rocksLine.FindStringSubmatch(text)
	if m == nil {
		return r, errors.New("db_bench prints no line of fillrandom")
	}
	micros := func(s string) time.Duration {
		v, perr := strconv.ParseFloat(s, 64)
		err = errors.Join(err, perr)
		return time.Duration(v * float64(time.Microsecond))
	}
	r.Took = micros(m[1]) * 1_000_000
	n, perr := strconv.ParseInt(m[2], 10, 64)
	err = errors.Join(err, perr)
	r.Records, r.Bytes = n, n*int64(size)
	_, text, _ = strings.Cut(text, m[0])
	if m := rocksMean.FindStringSubmatch(text); m != nil {
		r.Latency.Mean = micros(m[1])
	}
	if m := rocksMax.FindStringSubmatch(text); m != nil {
		r.Latency.Max = micros(m[1])
	}
	for _, m := range rocksQuant.FindAllStringSubmatch(text, -1) {
		switch d := micros(m[2]); m[1] {
		case "50":
			r.Latency.P50 = d
		case "99":
			r.Latency.P99 = d
		case "99.9":
			r.Latency.P999 = d
		}
	}
	return r, err
}
