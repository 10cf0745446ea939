package fuzz

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/recovery"
)

// enumeration checks all points of scripts, in parallel.
type enumeration struct {
	name     string // what it is about, for who waits for it
	checker  *Checker
	perPoint int                          // how many images of a point, at most
	enough   int                          // images; 0: all there are
	also     func(Script, *vfs.Mem, View) // called with each new image and what it recovers to; may be nil

	scripts int
	waiting []task // points that were not looked at yet
	budget  int    // images of those, at most
	began   time.Time
	said    time.Time // when progress was last reported

	mu     sync.Mutex
	byOp   map[byte]int   // distinct images, by what was under way
	byCall map[string]int // by the call that was the last one
	raw    atomic.Int64
	failed []string
}

// task is a point of a script.
type task struct {
	script Script
	point  *Point
	images int // at most
}

func newEnumeration(perPoint int) *enumeration {
	return &enumeration{name: "crashes", checker: NewChecker(), perPoint: perPoint, began: time.Now(), said: time.Now(),
		byOp: map[byte]int{}, byCall: map[string]int{}}
}

// run runs s, and checks its points, and those of others, when there are many.
func (e *enumeration) run(t *testing.T, s Script) {
	t.Helper()
	if e.done() {
		return
	}
	var points []Point
	execute(t, func() (err error) {
		points, err = s.Execute()
		return err
	})
	e.add(s, points)
	if len(e.waiting) >= 400 || e.budget >= 1<<18 {
		e.check()
	}
}

// done reports whether there were images enough, or errors.
func (e *enumeration) done() bool {
	return len(e.failed) > 20 || e.enough > 0 && e.checker.Images() >= e.enough
}

// add notes the points of s, for check.
func (e *enumeration) add(s Script, points []Point) {
	e.scripts++
	for i := range points {
		e.waiting = append(e.waiting, task{s, &points[i], e.perPoint})
		e.budget += e.perPoint
	}
}

// check enumerates the images of the points that were added, on all processors.
func (e *enumeration) check() {
	reseed(2)
	next := atomic.Int64{}
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(e.waiting) {
					return
				}
				e.checkPoint(e.waiting[i])
			}
		})
	}
	wg.Wait()
	if n := len(e.waiting); n > 0 && time.Since(e.said) > time.Minute {
		e.said = time.Now()
		fmt.Printf("%v: %s: %d scripts, the last one %v; %d images, %d of them different\n",
			time.Since(e.began).Round(time.Second), e.name, e.scripts, e.waiting[n-1].script, e.raw.Load(), e.checker.Images())
	}
	clear(e.waiting)
	e.waiting, e.budget = e.waiting[:0], 0
}

func (e *enumeration) checkPoint(at task) {
	s, p := at.script, at.point
	newest := p.State.Newest()
	found := 0
	p.State.Each(at.images, uint64(p.Number)+s.Seed, func(picks []int) bool {
		e.raw.Add(1)
		image := func() *vfs.Mem { return p.State.Image(picks) }
		img, v, err := e.checker.Check(p.State.Hash(picks), image, s.Options, p.Bounds, slices.Equal(picks, newest))
		if err != nil {
			e.fail(s, p, picks, err)
			return false
		}
		if img != nil {
			found++
			if e.also != nil {
				e.also(s, img, v)
			}
		}
		return true
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.byOp[p.Op] += found
	e.byCall[p.After.String()] += found
}

// opName names an operation of a script.
func opName(op byte) string {
	names := map[byte]string{0: "open", 'a': "append", 'v': "append many", 'm': "batch with meta", 't': "batch that truncates",
		'p': "async then wait", 'r': "rotate", 'f': "truncate front", 'B': "truncate back", 'U': "reset", 'c': "reopen", 'q': "failed append"}
	if name := names[op]; name != "" {
		return name
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
	t.Logf("%s: %d scripts, %d images, %d of them different, %v", e.name, e.scripts, e.raw.Load(), e.checker.Images(), time.Since(e.began).Round(time.Second))
	byOp := map[string]int{}
	for op, n := range e.byOp {
		byOp[opName(op)] = n
	}
	t.Logf("in operation: %s", counts(byOp))
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
	for _, what := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", what, m[what]))
	}
	return strings.Join(parts, ", ")
}
