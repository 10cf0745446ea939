package wal

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// pages is what the system does with pages that a sync could not write.
type pages string

const (
	kept     pages = "kept, and clean"    // ext4, XFS
	reverted pages = "read from the disk" // btrfs
	late     pages = "told at the next sync of the file"
)

// onPages performs a call. After a sync that failed the disk lacks what it should
// have made durable.
func (r *run) onPages(c vfs.Call, do func(int) (int, error)) (int, error) {
	if syncs(c) && r.pages == late && r.toldLate(c.Name) {
		return 0, &fs.PathError{Op: c.Op.String(), Path: c.Name, Err: syscall.EIO}
	}
	n, err := do(int(c.Size))
	if !syncs(c) || err == nil {
		return n, err
	}
	if r.pages == reverted {
		_ = r.crash.RevertSync(c.Name) // it may have no name any more
	} else {
		_ = r.crash.FailSync(c.Name)
	}
	if r.pages == late {
		r.lie(c.Name)
		return 0, nil
	}
	return n, err
}

// lie notes a sync that succeeds although it did nothing.
func (r *run) lie(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lied, r.liedAt = name, int(r.noted.Load())
}

// toldLate reports whether a sync of the file is the one that tells.
func (r *run) toldLate(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lied != name || name == "" {
		return false
	}
	r.lied = "\x00" // told
	return true
}

// eviction is when the system drops clean pages that the disk lacks, so that they
// are read from it.
type eviction string

const (
	never     eviction = "never"
	atOnce    eviction = "before the log is opened again"
	meanwhile eviction = "while the log is opened again"
	behind    eviction = "when the log is open again"
)

// lostSync is what becomes of a sync that fails, and of what it was for.
type lostSync struct {
	name  string
	pages pages
	lasts lasting // forGood: the process dies before the sync, and nobody is told
	evict eviction
}

var lostSyncs = []lostSync{
	{"kept", kept, once, never},
	{"kept, evicted before Open", kept, once, atOnce},
	{"kept, evicted during Open", kept, once, meanwhile},
	{"kept, evicted behind Open", kept, once, behind},
	{"reverted", reverted, once, never},
	{"told to a descriptor that is gone", kept, forGood, never},
	{"the same, evicted before Open", kept, forGood, atOnce},
	{"the same, evicted during Open", kept, forGood, meanwhile},
	{"told at the next sync", late, once, never},
	{"told late, evicted before Open", late, once, atOnce},
}

// TestWhatOpenHandsOutIsDurableWhateverASyncLost fails each sync in each way that
// systems have: what it was for stays in the page cache, on pages that are clean, and
// may be evicted from there at any time; or is read from the disk again, or is told to
// nobody, or with the next sync. The log is opened again in the same boot, and then the
// power fails: what Open handed out is there.
func TestWhatOpenHandsOutIsDurableWhateverASyncLost(t *testing.T) {
	var mu sync.Mutex
	runs, images, refused := map[string]int{}, 0, 0
	t.Run("workload", func(t *testing.T) {
		for _, wl := range workloads {
			t.Run(wl.name, func(t *testing.T) {
				if wl.name != "together" {
					t.Parallel()
				}
				wl.loseEverySync(t, func(v lostSync, r *run) {
					mu.Lock()
					defer mu.Unlock()
					runs[v.name]++
					images += r.images
					if r.corrupt {
						refused++
					}
				})
			})
		}
	})
	all := 0
	for _, v := range lostSyncs {
		t.Logf("%-36s %6d", v.name, runs[v.name])
		require.GreaterOrEqual(t, runs[v.name], scale.Pick(t, 3, 50, 150, 150), v.name)
		all += runs[v.name]
	}
	t.Logf("%-36s %6d, %d images", "all", all, images)
	t.Logf("after a sync that lied, Open found corruption %d times", refused)
	require.GreaterOrEqual(t, all, scale.Pick(t, 60, 700, 4_000, 10_000))
}

// loseEverySync runs the workload with each sync lost in each way.
func (wl workload) loseEverySync(t *testing.T, count func(lostSync, *run)) {
	base, start := wl.begin(t)
	quiet := wl.run(t, base, start, injected{closes: true}, (*run).judge)
	every, moments := scale.Pick(t, 19, 3, 1, 1), scale.Pick(t, 1, 2, 7, 0)
	n := 0
	for at, c := range quiet.counts {
		if !syncs(c.Call) {
			continue
		}
		for _, v := range lostSyncs {
			if n++; n%every != 0 {
				continue
			}
			calls := 1 // of Open, at which pages are evicted
			for call := 0; call < calls; call++ {
				f := injected{at: at, err: syscall.EIO, part: before, lasts: v.lasts, syncs: true, closes: true}
				var open int
				r := wl.runWith(t, base, start, f, func(r *run) { r.pages = v.pages }, func(r *run) { open = r.judgeLost(v, call) })
				require.Empty(t, r.problems, "%s: sync of %s, %v, %s, at call %d of Open:\n%v\n%s", wl.name, r.hit.Name, f, v.name, call, r.model, r.trace())
				if r.hit.ok {
					count(v, r)
				}
				if v.evict == meanwhile {
					calls = open
				}
				if moments > 0 { // only some of them
					call += open / moments
				}
			}
		}
	}
}

// judgeLost opens the log in the same boot, lets the power fail, and returns how many
// calls Open made.
func (r *run) judgeLost(v lostSync, moment int) (opened int) {
	r.pause(true)
	r.judgeLeaks()
	if v.lasts == forGood { // the pages were written, and that failed, after the process had died
		names, _ := r.crash.List("log")
		for _, name := range names {
			_ = r.crash.FailSync(filepath.Join("log", name))
		}
	}
	powerLoss := v.evict != never || v.pages == reverted
	m := r.model
	if v.pages == late {
		m = m.without(r.liedAt)
		powerLoss = true
	}
	dice := rand.New(rand.NewPCG(uint64(r.fault.at), uint64(moment)))
	evict := func() {
		one := dice.IntN(4) > 0 // page in so many stays
		r.crash.Evict(func(_ string, _ int64, n int) int {
			if one && dice.IntN(3) == 0 {
				return -1
			}
			return dice.IntN(n) * dice.IntN(2)
		})
	}
	if v.evict == atOnce {
		evict()
	}
	o := r.opts
	o.Sync = SyncAlways
	var made atomic.Int64
	o.FS = vfs.Wrap(r.crash, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		if n := int(made.Add(1)) - 1; v.evict == meanwhile && n == moment {
			evict()
		}
		return do(int(c.Size))
	})
	l, err := Open("log", &o)
	opened = int(made.Load())
	want := m.worlds(powerLoss)
	if v.pages == late {
		maps.Copy(want, m.fronts(r.liedAt, powerLoss))
	}
	r.images++
	switch {
	case v.pages == late && errors.Is(err, ErrCorrupt):
		r.corrupt = true
		return opened
	case err != nil:
		r.problem("Open: %v", err)
		return opened
	}
	if v.evict == behind {
		evict()
	}
	w, err := worldOf(l)
	if v.pages == late && errors.Is(err, ErrCorrupt) {
		r.corrupt = true
		_ = l.Close()
		return opened
	}
	if err != nil || !want[w.String()] {
		r.problem("Open handed out\n%v, %v, want one of\n%v", w, err, want)
	}
	state := r.crash.State()
	state.Each(scale.Pick(r.t, 2, 3, 4, 8), uint64(moment), func(picks []int) bool {
		r.images++
		got, err := r.read(state.Image(picks))
		switch {
		case v.pages == late && errors.Is(err, ErrCorrupt):
			r.corrupt = true
		case v.pages == late && err == nil && want[got.String()]:
		case err != nil || got.String() != w.String():
			r.problem("Open handed out\n%v, after a crash it is\n%v, %v\n%s", w, got, err, state.Describe(picks))
		}
		return true
	})
	if v.pages != late {
		r.judgeAppends(l, w)
	}
	if err := l.Close(); err != nil && v.pages != late {
		r.problem("Close after the fault: %v", err)
	}
	return opened
}

// judgeAppends requires that a log that holds w goes on, and is so after a crash.
func (r *run) judgeAppends(l *Log, w world) {
	data := r.data(100)
	if _, err := l.Append([]byte(data)); err != nil {
		r.problem("Append after the fault: %v", err)
		return
	}
	r.judgeDurable("another append gave", r.crash.State(), appends(data)(w))
}

// without returns m without certainty of what was over after the first n operations.
func (m *model) without(n int) *model {
	c := m.copy()
	for i := range c.ops[min(n, len(c.ops)):] {
		if op := &c.ops[n+i]; op.fate >= fateHanded {
			op.fate = fateOpen
		}
	}
	return c
}

// fronts returns what else a log may be of which m is without certainty after the first n
// operations: FRONT is another file, and so a truncation of the front may be there without
// some of what was done before it.
func (m *model) fronts(n int, powerLoss bool) map[string]bool {
	all := map[string]bool{}
	for i, op := range m.ops {
		if i < n || op.fate == fateNone || !strings.HasPrefix(op.what, "truncate front") {
			continue
		}
		for k := n; k < i; k++ {
			some := &model{start: m.start, ops: append(slices.Clone(m.ops[:k]), op)}
			maps.Copy(all, some.worlds(powerLoss))
		}
	}
	return all
}
