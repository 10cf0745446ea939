package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/seed3918b8df/tidemark/wal"
	"github.com/seed3918b8df/tidemark/wal/waltest"
)

// diskFiles is a disk of waltest as the store's files.
type diskFiles struct{ *waltest.Disk }

func (d diskFiles) Create(name string) (file, error) { return d.Disk.Create(name) }

// openOn opens the store on d, its log and its snapshot.
func openOn(d *waltest.Disk) (*store, error) {
	return openStore("store", options{create: true, segmentSize: wal.MinSegmentSize,
		on: storage{files: diskFiles{d}, log: d.FS()}})
}

// promise says what a store must hold: the map after the first n of the ops, in the
// order of the log, where n is at least what was promised to be durable and at most
// what was ordered, which is all of them.
type promise struct {
	ops     []op // of LSN 1, 2, …; appended to only
	durable int
}

// allows returns an error unless s holds what p says. It returns n.
func (p promise) allows(s *store) (n int, err error) {
	n = int(s.state().last)
	if n < p.durable || n > len(p.ops) {
		return n, fmt.Errorf("the map is as of LSN %d, want %d to %d", n, p.durable, len(p.ops))
	}
	want := map[string]entry{}
	for i, o := range p.ops[:n] {
		if o.kind == opDelete {
			delete(want, o.key)
		} else {
			want[o.key] = entry{key: o.key, value: o.value, lsn: uint64(i + 1)}
		}
	}
	got := map[string]entry{}
	for e := range s.scan("") {
		got[e.key] = e
	}
	if !maps.Equal(got, want) {
		return n, fmt.Errorf("the map as of LSN %d has %s, want %s", n, brief(got), brief(want))
	}
	return n, nil
}

// brief returns keys and the beginnings of values.
func brief(m map[string]entry) string {
	var parts []string
	for _, e := range m {
		parts = append(parts, fmt.Sprintf("%s=%.9s of LSN %d", e.key, e.value, e.lsn))
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ", ") + "}"
}

// reopens requires of what is left on d that the store opens and holds what p says.
func (p promise) reopens(d *waltest.Disk) error {
	s, err := openOn(d)
	if err != nil {
		return fmt.Errorf("the store does not open: %w", err)
	}
	_, err = p.allows(s)
	return errors.Join(err, s.close())
}

// goesOn requires what reopens does; that the store takes a snapshot and a put then;
// and that it holds the same when it is opened once more.
func (p promise) goesOn(d *waltest.Disk) error {
	s, err := openOn(d)
	if err != nil {
		return fmt.Errorf("the store does not open: %w", err)
	}
	n, err := p.allows(s)
	if err == nil {
		_, err = s.snapshot()
	}
	if err == nil {
		_, err = s.put("again", "x")
	}
	if err = errors.Join(err, s.close()); err != nil {
		return err
	}
	after := append(slices.Clip(p.ops[:n]), op{kind: opPut, key: "again", value: "x"})
	if err := (promise{after, len(after)}).reopens(d); err != nil {
		return fmt.Errorf("once more: %w", err)
	}
	return nil
}

// powerRun is a store at work on a disk. Its work is a row of letters:
//
//	p  put, and wait        a  order a put, and wait for it with the next p, d or r, or never
//	d  delete, and wait     s  make a snapshot, and drop the log it covers
//	r  close, and open      k  end the process, and open in the next one
//
// Every other value has more than a sector, and every third fills a segment nearly.
type powerRun struct {
	disk  *waltest.Disk
	store *store
	count int // puts and deletes so far

	mu sync.Mutex // for those who look while an operation is under way
	promise
	looking bool
	taken   []moment
}

// moment is one at which the power may fail.
type moment struct {
	promise
	state *waltest.State
	call  string
}

// newPowerRun returns a store on a new disk, not open yet.
func newPowerRun(sector int) *powerRun { return &powerRun{disk: waltest.New(sector)} }

// look takes the moments from now on.
func (r *powerRun) look() {
	r.looking = true
	r.disk.OnChange(func(c waltest.Call) { r.take(c.String()) })
}

func (r *powerRun) take(call string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken = append(r.taken, moment{r.promise, r.disk.State(), call})
}

// open opens the store, which must hold what it should. What it holds is durable then.
func (r *powerRun) open() error {
	s, err := openOn(r.disk)
	if err != nil {
		return err
	}
	r.store = s
	n, err := r.promise.allows(s)
	r.set(n, n)
	return err
}

// set makes the first n ops those that were ordered.
func (r *powerRun) set(n, durable int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops, r.durable = slices.Clip(r.ops[:min(n, len(r.ops))]), durable
}

// acknowledge notes that op n, and with it all before it, was promised to be durable.
func (r *powerRun) acknowledge(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.durable = max(r.durable, n)
}

// do does what the letter says.
func (r *powerRun) do(letter byte) error {
	switch letter {
	case 's':
		lsn, err := r.store.snapshot()
		if err == nil {
			r.set(len(r.ops), max(r.durable, int(lsn)))
		}
		return err
	case 'r':
		if err := r.store.close(); err != nil {
			return err
		}
		r.set(len(r.ops), len(r.ops))
		return r.open()
	case 'k':
		r.kill()
		return r.open()
	}
	return r.write(letter)
}

// kill ends the process; the disk is the one of the next.
func (r *powerRun) kill() {
	r.disk = r.disk.Kill()
	if r.store != nil {
		_ = r.store.close() // ends its goroutines
	}
	if r.looking {
		r.look()
	}
}

// end ends the process, for good.
func (r *powerRun) end() {
	r.looking = false
	r.kill()
}

// write puts or deletes.
func (r *powerRun) write(letter byte) error {
	o := op{kind: opPut, key: fmt.Sprint("k", r.count%3), value: fmt.Sprint("v", r.count)}
	r.count++
	switch {
	case letter == 'd':
		o.kind, o.value = opDelete, ""
	case r.count%3 == 0:
		o.value += strings.Repeat("long", 1000)
	case r.count%2 == 0:
		o.value += strings.Repeat("more", 200)
	}
	r.mu.Lock()
	r.ops = append(r.ops, o) // before it is ordered: it may be durable before we know
	n := len(r.ops)
	r.mu.Unlock()
	p, err := r.store.order(o)
	if err != nil {
		r.set(n-1, r.durable)
		return err
	}
	if letter == 'a' {
		return nil
	}
	switch err := r.store.wait(p); {
	case errors.Is(err, wal.ErrNoSpace): // which is certain
		r.set(n-1, r.durable)
		return err
	case err != nil:
		return err
	}
	r.set(n, n)
	return nil
}

// all opens the store and does the work, up to the first error. It calls last before
// the last letter of it, or, if there is none, before it opens the store: what is
// before was the end of a shorter work.
func (r *powerRun) all(work string, last func()) error {
	if work == "" {
		last()
	}
	if err := r.open(); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	for i, letter := range []byte(work) {
		if i == len(work)-1 {
			last()
		}
		if err := r.do(letter); err != nil {
			return fmt.Errorf("operation %d, %c: %w", i, letter, err)
		}
	}
	return nil
}
