package recovery

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// crashes lets build write a log, and looks at the states that a crash behind
// its last call can leave: each is accepted, holds a prefix of the records that
// ends at durable or behind, at most at last, and stays what it is when what is
// to be done is done. It returns how many there were for each last LSN.
func crashes(t *testing.T, durable, last LSN, build func(d *dir)) map[LSN]int {
	t.Helper()
	return crashesBack(t, durable, last, durable, build)
}

// crashesBack is for a truncation that may not be durable: the log ends anywhere
// from lowest on, and up to durable that may be proved.
func crashesBack(t *testing.T, lowest, last, durable LSN, build func(d *dir)) map[LSN]int {
	t.Helper()
	crash := vfs.NewCrash(512)
	build(newDirOn(t, crash))
	state := crash.State()
	ends := map[LSN]int{}
	state.Each(150, 1, func(picks []int) bool {
		d := &dir{TB: t, fs: state.Image(picks)}
		d.disk = d.fs
		p := d.plan(Strict)
		if p.Refusal() != nil || p.Report.Last < lowest || p.Report.Last > last || p.Report.Durable > durable {
			t.Fatalf("%v\n%vwant %d to %d\n%s", p.Refusal(), p.Report,
				lowest, last, state.Describe(picks))
		}
		d.holds(p)
		quick, err := Examine(Config{FS: d.fs, Dir: "log"})
		require.NoError(t, err)
		require.Equal(t, found(p), found(quick), "not read in full")
		lenient := d.plan(PointInTime)
		require.Equal(t, found(p), found(lenient), "point in time\n%v%v", p.Report, lenient.Report)
		require.Empty(t, lenient.Report.Corruptions)
		d.applies(p)
		ends[p.Report.Last]++
		return true
	})
	return ends
}

// ranges expects that all the ends were seen that there are.
func ranges(t *testing.T, ends map[LSN]int, from, to LSN) {
	t.Helper()
	for lsn := from; lsn <= to; lsn++ {
		require.Positive(t, ends[lsn], "no crash leaves %d: %v", lsn, ends)
	}
}

func TestCrashBehindUnsyncedGroups(t *testing.T) {
	ranges(t, crashes(t, 2, 5, func(d *dir) { d.root(1, 1, 2).sync().mark().group(1).group(2) }), 2, 5)
}

func TestCrashInAnOpeningGroup(t *testing.T) {
	ranges(t, crashes(t, 2, 4, func(d *dir) { d.root(1, 1, 2).sync().next(2, 2) }), 2, 4)
}

func TestCrashBehindASegmentThatRanAheadOfItsSyncs(t *testing.T) {
	ranges(t, crashes(t, 2, 5, func(d *dir) { d.root(1, 1, 2).sync().group(2).next(2, 1) }), 2, 5)
}

// TestCrashBehindSegmentsThatWereNeverSynced has nothing durable in three of
// them: any may have a torn opening group, and others behind it a whole one.
func TestCrashBehindSegmentsThatWereNeverSynced(t *testing.T) {
	ranges(t, crashes(t, 1, 5, func(d *dir) { d.root(1, 1, 1).sync().next(2, 1).group(1).next(3, 1).next(4, 1) }), 1, 5)
	ranges(t, crashes(t, 0, 3, func(d *dir) { d.root(1, 1, 1).next(2, 1).next(3, 1) }), 0, 3)
}

// TestCrashWhileOneOfSeveralIsSynced syncs the first of three segments that ran
// ahead: what it holds is durable, of the others nothing is.
func TestCrashWhileOneOfSeveralIsSynced(t *testing.T) {
	ranges(t, crashes(t, 3, 5, func(d *dir) {
		a := d.root(1, 1, 1).sync().group(2)
		b := a.next(2, 1)
		b.next(3, 1)
		a.sync()
	}), 3, 5)
}

func TestCrashBehindASeal(t *testing.T) {
	crashes(t, 4, 4, func(d *dir) {
		a := d.root(1, 1, 2).sync()
		b := a.next(2, 2).sync()
		a.seal(b)
	})
	crashes(t, 4, 5, func(d *dir) {
		a := d.root(1, 1, 2).sync()
		b := a.next(2, 2).sync()
		a.seal(b)
		b.group(1)
	})
}

// TestCrashBehindATruncation pins the first segment below what follows it: the
// records behind come back whole or stay away whole, until the sync.
func TestCrashBehindATruncation(t *testing.T) {
	build := func(d *dir) *part {
		a := d.root(1, 1, 3).sync()
		a.next(2, 2).sync().mark()
		return a.pinned(a.at(2), 3, 0)
	}
	ends := crashesBack(t, 2, 5, 5, func(d *dir) { build(d) })
	require.Len(t, ends, 2, "%v", ends)
	crashes(t, 2, 2, func(d *dir) { build(d).sync() })
}

// TestCrashWhileRecoveryIsAtWork crashes a recovery behind each of its calls, and
// fails each: what is found then is the same log.
func TestCrashWhileRecoveryIsAtWork(t *testing.T) {
	for name, build := range map[string]func(d *dir){
		"a torn tail": func(d *dir) {
			a := d.root(1, 1, 2).sync().group(3).group(1)
			a.tear(2, 0)
		},
		"nothing proved": func(d *dir) { d.root(1, 1, 2).group(3).next(2, 1).next(3, 1) },
		"segments that ran ahead": func(d *dir) {
			a := d.root(1, 1, 2).sync().group(2)
			a.next(2, 1).next(3, 2)
			a.tear(1, 2)
		},
		"a torn opening, and ready ones": func(d *dir) {
			b := d.root(1, 1, 2).sync().group(1).next(2, 1)
			b.tear(0, 1)
			d.ready(3)
			d.ready(4)
		},
		"dead segments": func(d *dir) {
			a := d.root(1, 1, 3).sync()
			a.next(2, 2).sync().next(3, 1).sync()
			a.pinned(a.at(2), 4, 1)
		},
	} {
		mem := vfs.NewMem()
		build(newDirOn(t, mem))
		want := found((&dir{TB: t, fs: mem}).plan(Strict))
		check := func(after string, image *vfs.Mem) {
			d := &dir{TB: t, fs: image, disk: image}
			p := d.plan(Strict)
			require.Nil(t, p.Refusal(), "%s, %s: %v", name, after, p.Report)
			require.Equal(t, want, found(p), "%s, %s", name, after)
			d.holds(p)
			d.applies(p)
		}
		calls := 1
		for at := 0; at < calls; at++ {
			crash := vfs.NewCrashFrom(mem, 512)
			faulty := vfs.NewFaulty(crash)
			faulty.Set(vfs.Fault{Match: isChange, At: at, Sticky: true, Short: 700})
			p, err := Examine(Config{FS: faulty, Dir: "log"})
			require.NoError(t, err)
			if p.Apply() != nil {
				calls = at + 2
			}
			state := crash.State()
			state.Each(100, 1, func(picks []int) bool {
				check(fmt.Sprintf("call %d:\n%s", at, state.Describe(picks)), state.Image(picks))
				return true
			})
		}
		require.Greater(t, calls, 2, name)
	}
}

func isChange(c vfs.Call) bool { return c.Op.Mutates() || c.Op == vfs.Truncate }

// TestWhatWasReadIsDurable takes the page cache away once a recovery is done: a
// process died, its writes had failed, and the next one saw what the disk never
// got. What that one was given is there after a power loss.
func TestWhatWasReadIsDurable(t *testing.T) {
	for _, mode := range []Mode{Strict, PointInTime} {
		crash := vfs.NewCrash(512)
		d := newDirOn(t, crash)
		a := d.root(1, 1, 2).sync().group(2)
		b := a.next(2, 1).group(1)
		b.next(3, 2)
		for id := range uint64(3) {
			require.NoError(t, crash.FailSync(segment.Path("log", id+1)))
		}
		p := d.plan(mode)
		require.Equal(t, LSN(8), p.Report.Last)
		require.NoError(t, p.Apply())
		state := crash.State()
		state.Each(100, 1, func(picks []int) bool {
			after := (&dir{TB: t, fs: state.Image(picks)}).plan(Strict)
			require.Equal(t, LSN(8), after.Report.Last, "mode %d: %s", mode, state.Describe(picks))
			return true
		})
	}
}
