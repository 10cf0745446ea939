package fuzz

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/wal"
)

// writing is an append of one of several goroutines.
type writing struct {
	records  []string
	first    wal.LSN // once it returned
	returned bool
}

// writers is a run in which several goroutines append. Their order is known when
// all have returned: by LSN.
type writers struct {
	*Run
	all   []*writing   // in the order in which they were called
	marks []pointInRun // one for each point
}

// pointInRun is what was known at a point.
type pointInRun struct {
	called   int    // of all, this many
	returned []bool // by index in all
}

// runWriters has n goroutines append, while another one rotates and syncs.
func runWriters(s Script, n, each int) ([]Point, error) {
	w := &writers{Run: NewRun(s, vfs.NewCrash(s.Unit), NewHistory(View{First: 1}))}
	w.taken = func() {
		p := pointInRun{called: len(w.all)}
		for _, a := range w.all {
			p.returned = append(p.returned, a.returned)
		}
		w.marks = append(w.marks, p)
	}
	if err := w.Open(); err != nil {
		return nil, err
	}
	errs := make(chan error)
	for g := range n {
		go func() { errs <- w.write(g, each) }()
	}
	go func() {
		pass(1500 * time.Microsecond)
		if err := w.Log.Sync(); err != nil {
			errs <- err
			return
		}
		errs <- w.Log.Rotate()
	}()
	for range n + 1 {
		if err := <-errs; err != nil {
			return nil, err
		}
	}
	w.End()
	return w.Points, w.resolve()
}

// write appends in one of three ways, again and again.
func (w *writers) write(g, each int) error {
	for i := range each {
		pass(time.Duration(g*131+i*17) * time.Microsecond)
		a := &writing{records: []string{fmt.Sprintf("g%d.%d %0*d", g, i, 50+g*i*90, 7)}}
		if (g+i)%3 == 1 {
			a.records = append(a.records, fmt.Sprintf("g%d.%d, the second of a batch", g, i))
		}
		w.mu.Lock()
		w.all = append(w.all, a)
		w.mu.Unlock()
		first, err := w.append(a.records, (g+i)%3 == 2)
		if err != nil {
			return err
		}
		w.mu.Lock()
		a.first, a.returned = first, true
		w.mu.Unlock()
	}
	return nil
}

// append appends in one call, or in two.
func (w *writers) append(records []string, async bool) (wal.LSN, error) {
	var b wal.Batch
	for _, r := range records {
		b.Add([]byte(r))
	}
	switch {
	case len(records) > 1:
		return w.Log.AppendBatch(&b)
	case !async:
		return w.Log.Append([]byte(records[0]))
	}
	p, err := w.Log.AppendBatchAsync(&b)
	if err != nil {
		return 0, err
	}
	return p.First, p.Wait(context.Background())
}

// resolve finds out what a crash could leave at each point.
func (w *writers) resolve() error {
	order := slices.Clone(w.all)
	slices.SortFunc(order, func(a, b *writing) int { return int(a.first) - int(b.first) })
	views := []View{{First: 1}}
	for _, a := range order {
		if next := views[len(views)-1].Last() + 1; a.first != next {
			return fmt.Errorf("append got LSN %d, want %d", a.first, next)
		}
		views = append(views, views[len(views)-1].Append(a.records...))
	}
	for i := range w.Points {
		at := w.marks[i]
		durable, newest := 0, len(order)
		for n, a := range order {
			called := slices.Index(w.all, a)
			if called >= at.called {
				newest = min(newest, n)
			} else if at.returned[called] {
				durable = n + 1
			}
		}
		if durable > newest {
			return fmt.Errorf("at point %d an append returned, and one before it was not called yet", i)
		}
		w.Points[i].Bounds = NewBounds(views[durable : newest+1])
	}
	return nil
}

func TestConcurrentAppendsSurviveEveryCrash(t *testing.T) {
	seedRandom(t, 1)
	e := newEnumeration(scale.Pick(t, 4, 24, 24, 200))
	for n := range scale.Pick(t, 6, 24, 24, 200) {
		s := Script{Ops: fmt.Sprintf("writers %d", n), Unit: []int{512, 4096}[n%2], Lazy: n%4 > 1, Seed: uint64(n)}
		s.Options.SegmentSize = 8 << 10
		var points []Point
		execute(t, func() (err error) {
			points, err = runWriters(s, 2+n%5, 3+n%3)
			return err
		})
		e.add(s, points)
		e.check()
	}
	e.report(t)
	require.GreaterOrEqual(t, e.checker.Images(), scale.Pick(t, 200, 1_500, 1_500, 20_000))
}
