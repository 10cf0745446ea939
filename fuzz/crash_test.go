package fuzz

import (
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/recovery"
)

// lockedReader makes a reader safe for concurrent use.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}

// seedRandom makes the ids and salts of logs the same each time. It also lets garbage
// lie for longer than usual, of which an enumeration makes much.
func seedRandom(t testing.TB, seed byte) {
	old, percent := rand.Reader, debug.SetGCPercent(400)
	t.Cleanup(func() {
		rand.Reader = old
		debug.SetGCPercent(percent)
	})
	reseed(seed)
}

func reseed(seed byte) {
	rand.Reader = &lockedReader{r: mathrand.NewChaCha8([32]byte{seed})}
}

// execute runs fn in a bubble, with the random numbers that every script begins with.
func execute(t *testing.T, fn func() error) {
	t.Helper()
	reseed(1)
	synctest.Test(t, func(t *testing.T) {
		if err := fn(); err != nil {
			t.Error(err)
		}
	})
}

// enumeration checks all points of scripts, in parallel.
type enumeration struct {
	checker  *Checker
	perPoint int                          // how many images of a point, at most
	also     func(Script, *vfs.Mem, View) // called with each new image and what it recovers to; may be nil

	mu      sync.Mutex
	byOp    map[string]int // distinct images, by what was under way
	byCall  map[string]int // by the call that was the last one
	scripts map[string]bool
	raw     atomic.Int64
	failed  []string
}

func newEnumeration(perPoint int) *enumeration {
	return &enumeration{checker: NewChecker(), perPoint: perPoint,
		byOp: map[string]int{}, byCall: map[string]int{}, scripts: map[string]bool{}}
}

// check enumerates the images of all points, which s has, on all processors.
func (e *enumeration) check(s Script, points []Point) {
	next := atomic.Int64{}
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(points) {
					return
				}
				e.checkPoint(s, &points[i])
			}
		})
	}
	wg.Wait()
}

func (e *enumeration) checkPoint(s Script, p *Point) {
	newest := p.State.Newest()
	found := 0
	p.State.Each(e.perPoint, uint64(p.Number)+s.Seed, func(picks []int) bool {
		e.raw.Add(1)
		img := p.State.Image(picks)
		v, fresh, err := e.checker.Check(img, s.Options, p.Bounds, slices.Equal(picks, newest))
		if fresh {
			found++
		}
		if fresh && err == nil && e.also != nil {
			e.also(s, img, v)
		}
		if err != nil {
			e.fail(s, p, picks, err)
			return false
		}
		return true
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.scripts[s.String()] = true
	e.byOp[opName(p.Op)] += found
	e.byCall[p.After.String()] += found
}

func opName(op byte) string {
	if op == 0 {
		return "open"
	}
	return string(op)
}

func (e *enumeration) fail(s Script, p *Point, picks []int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failed = append(e.failed, fmt.Sprintf("script %v\n  in operation %s, after call %d, %v\n  %v\n%s",
		s, opName(p.Op), p.Number, p.After, err, p.State.Describe(picks)))
}

// report fails t for what went wrong, and prints the counts.
func (e *enumeration) report(t *testing.T) {
	t.Helper()
	t.Logf("%d scripts, %d images, %d of them different", len(e.scripts), e.raw.Load(), e.checker.Images())
	t.Logf("in operation: %s", counts(e.byOp))
	t.Logf("after call: %s", counts(e.byCall))
	rows := map[string]int{}
	for _, label := range recovery.Labels() {
		rows[label] = e.checker.Row(label)
	}
	t.Logf("by row of the decision table: %s", counts(rows))
	slices.SortFunc(e.failed, func(a, b string) int { return len(a) - len(b) })
	for i, f := range e.failed {
		if i == 5 {
			t.Errorf("… and %d more", len(e.failed)-i)
			break
		}
		t.Error(f)
	}
}

func counts(m map[string]int) string {
	var parts []string
	for what, n := range m {
		parts = append(parts, fmt.Sprintf("%s %d", what, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// states is how many images TestEveryCrashStateIsRecovered looks at with -scale long.
var states = flag.Int("states", 1_000_000, "with -scale long: how many images of crashes")

func TestEveryCrashStateIsRecovered(t *testing.T) {
	seedRandom(t, 1)
	e := newEnumeration(scale.Pick(t, 6, 72, 72, 200))
	for i, s := range Scripts(scale.Pick(t, 0, 190, 190, 100_000)) {
		if i%scale.Pick(t, 2, 1, 1, 1) != 0 {
			continue
		}
		var points []Point
		execute(t, func() (err error) {
			points, err = s.Execute()
			return err
		})
		reseed(2)
		e.check(s, points)
		if len(e.failed) > 20 || scale.Of(t) == scale.Long && e.checker.Images() >= *states {
			break
		}
	}
	e.report(t)
	e.reaches(t, "@F", "@G", "@H", "@I", "@K", "@O", "@P")
	require.GreaterOrEqual(t, len(e.scripts), 200)
	require.GreaterOrEqual(t, e.checker.Images(), scale.Pick(t, 3_000, 50_000, 50_000, *states))
}

// reaches fails t unless some image reached each of these rows of the decision
// table, and none a row that refuses.
func (e *enumeration) reaches(t *testing.T, rows ...string) {
	t.Helper()
	for _, row := range rows {
		require.Positive(t, e.checker.Row(row), "row %s was not reached", row)
	}
	for _, row := range []string{"@A", "@B", "@C", "@D", "@E", "@J", "@N", "@Q"} {
		require.Zero(t, e.checker.Row(row), "row %s was reached", row)
	}
}
