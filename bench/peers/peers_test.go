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
		if did[target.Name] < 2 {
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
