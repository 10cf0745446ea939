package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed3918b8df/tidemark/bench/load"
	"github.com/seed3918b8df/tidemark/wal"
)

// TestEveryPeerDoesItsWork has each do a little of what it is measured with.
func TestEveryPeerDoesItsWork(t *testing.T) {
	plan := load.Plan{Dir: t.TempDir(), Targets: append([]load.Target{load.Tidemark("tidemark", wal.Options{})}, peers()...), Rounds: 1, For: 20 * time.Millisecond,
		Workloads: []load.Workload{
			load.Durable(4, 256), load.Batches(2, 3, 64), load.Window(8, 64), load.Relaxed(64), load.Rotation(2, 4<<10, 256<<10),
			load.Scan(1<<18, 256, false), load.Points(2, 1<<18, 256), load.Opening(1<<18, 256), load.Truncating(3, 256),
		}}
	rep, err := load.Run(plan)
	if err != nil {
		t.Fatal(err)
	}
	did := map[string]int{}
	for _, m := range rep.Measured {
		for name, res := range m.Rounds[0].Results {
			if res.Records == 0 {
				t.Errorf("%s did nothing of %s", name, m.Workload)
			}
			did[name]++
		}
		t.Log(m.Workload, m.Left)
	}
	for _, target := range plan.Targets {
		least := 2
		if target.Durable != nil {
			least = 1
		}
		if did[target.Name] < least {
			t.Errorf("%s did %d of %d workloads", target.Name, did[target.Name], len(plan.Workloads))
		}
	}
}

// TestChartShowsEveryTarget that has appended durably.
func TestChartShowsEveryTarget(t *testing.T) {
	rep := &load.Report{Targets: []string{"tidemark", "another", "idle"}}
	for _, n := range load.Goroutines {
		result := load.Result{Records: int64(n), Took: time.Second}
		rep.Measured = append(rep.Measured, load.Measured{Workload: load.Durable(n, load.CommonSize).Name, Rounds: []load.Round{
			{Limit: [2]float64{1000, 1000}, Results: map[string]load.Result{"tidemark": result, "another": result}}}})
	}
	path := filepath.Join(t.TempDir(), "chart.svg")
	if err := chart(rep, path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for want, times := range map[string]int{"<svg": 1, ">tidemark<": 1, ">another<": 1, ">idle<": 0, ">256<": 1} {
		if n := strings.Count(string(text), want); n != times {
			t.Errorf("%q is there %d times, want %d", want, n, times)
		}
	}
}

func TestWhatRocksDBPrintsIsRead(t *testing.T) {
	const text = `Keys:       16 bytes each (+ 0 bytes user-defined timestamp)
fillrandom   :     946.083 micros/op 7338 ops/sec 2.452 seconds 17992 operations;    1.8 MB/s
Microseconds per write:
Count: 17992 Average: 947.3208  StdDev: 3569.55
Min: 115  Median: 508.8448  Max: 92975
Percentiles: P50: 508.84 P75: 751.00 P99: 7845.75 P99.9: 66434.29 P99.99: 92975.00
`
	got, err := parseRocksDB(text, 256)
	us := func(v float64) time.Duration { return time.Duration(v * float64(time.Microsecond)) }
	want := load.Result{Records: 17992, Bytes: 17992 * 256, Took: 2452 * time.Millisecond,
		Latency: load.Latency{Mean: us(947.3208), P50: us(508.84), P99: us(7845.75), P999: us(66434.29), Max: us(92975)}}
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if _, err := parseRocksDB("Open error", 256); err == nil {
		t.Error("it printed nothing, and nobody says so")
	}
}
