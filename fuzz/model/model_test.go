package model

import (
	"flag"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/seed3918b8df/tidemark/internal/scale"
)

var scripts = flag.Int("scripts", 0, "random scripts beside the model; 0: as -scale says")

// shards is how many goroutines run scripts, each its own.
const shards = 8

// rapidFlag sets a flag of package rapid.
func rapidFlag(t *testing.T, name, value string) {
	t.Helper()
	if err := flag.Set("rapid."+name, value); err != nil {
		t.Fatal(err)
	}
}

func TestScriptsMatchTheModel(t *testing.T) {
	n := scale.Pick(t, 200, 1500, 10_000, 2_000_000)
	if *scripts > 0 {
		n = *scripts
	}
	var done, ops atomic.Int64
	reached := tally{}
	asked := flag.Lookup("rapid.seed").Value.String()
	rapidFlag(t, "nofailfile", "true")
	if asked == "0" {
		rapidFlag(t, "checks", fmt.Sprint((n+shards-1)/shards))
	}
	t.Run("shard", func(t *testing.T) {
		var flags sync.Mutex // rapid reads its seed before the first script
		for shard := range shards {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				flags.Lock()
				var once sync.Once
				defer once.Do(flags.Unlock)
				if asked == "0" {
					rapidFlag(t, "seed", fmt.Sprint(uint64(shard+1)<<40))
				}
				rapid.Check(t, func(rt *rapid.T) {
					once.Do(flags.Unlock)
					s := anyScript.Draw(rt, "script")
					hits, err := inBubble(t, s)
					if err != nil {
						rt.Fatalf("%v\n%v", s, err)
					}
					reached.add(hits)
					done.Add(1)
					ops.Add(int64(len(s.ops)))
				})
			})
		}
	})
	t.Logf("%d scripts, %d operations; %v", done.Load(), ops.Load(), reached.counts)
	if asked != "0" {
		return
	}
	if done.Load() < int64(n) {
		t.Errorf("%d scripts ran, want %d", done.Load(), n)
	}
	for _, what := range []string{
		"power losses", "kills", "recoveries failed", "logs failed", "outcomes unknown", "no space", "async cut",
		"batches refused", "readers overtaken", "followers overtaken", "looks read-only",
	} {
		if reached.counts[what] < n/100 {
			t.Errorf("%s: %d in %d scripts", what, reached.counts[what], n)
		}
	}
}

// tally counts what scripts reached.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *tally) add(hits map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]int{}
	}
	for what, n := range hits {
		c.counts[what] += n
	}
}

// inBubble runs s in a bubble, in which time passes when nothing else happens.
func inBubble(t *testing.T, s script) (hits map[string]int, err error) {
	hits = map[string]int{}
	synctest.Test(t, func(*testing.T) {
		defer func() {
			if p := recover(); p != nil { // of this goroutine; for those of others there is -rapid.log
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		err = execute(s, hits)
	})
	return hits, err
}
