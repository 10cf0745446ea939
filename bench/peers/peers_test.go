package main

import (
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
