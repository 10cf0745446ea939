package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// What breaks a careless log, each by name.

// moments are what a power loss may leave before each of certain calls.
type moments struct {
	sync.Mutex
	calls  []vfs.Call
	states []*vfs.State
}

// moment returns a file system on c that takes down the moments of the calls that
// match.
func moment(c *vfs.Crash, match func(vfs.Call) bool) (FS, *moments) {
	m := &moments{}
	return vfs.Wrap(c, func(call vfs.Call, do func(int) (int, error)) (int, error) {
		if match(call) {
			m.Lock()
			m.calls, m.states = append(m.calls, call), append(m.states, c.State())
			m.Unlock()
		}
		return do(int(call.Size))
	}), m
}

// taken returns the moments so far.
func (m *moments) taken() ([]vfs.Call, []*vfs.State) {
	m.Lock()
	defer m.Unlock()
	return slices.Clone(m.calls), slices.Clone(m.states)
}

// worst is the power loss that loses most.
func worst(s *vfs.State) *vfs.Mem { return s.Image(s.Oldest()) }

// on opens the log on another file system; it should hold the same.
func (l *testLog) on(fsys FS) *testLog {
	l.t.Helper()
	opts := l.opts
	opts.FS = fsys
	k := openAt(l.t, l.dir, opts)
	k.want, k.life = l.want, l.life
	return k
}

// each opens the log on what a power loss may leave.
func (l *testLog) each(s *vfs.State, check func(k *testLog)) {
	l.t.Helper()
	s.Each(100, 1, func(picks []int) bool {
		k := l.on(s.Image(picks))
		check(k)
		k.close()
		return true
	})
}

// content returns a file.
func content(t testing.TB, fsys FS, path string) []byte {
	t.Helper()
	f, err := fsys.Open(path, vfs.ReadOnly)
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	b := make([]byte, info.Size)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	return b
}

// rot changes more than a bit of a record that is in the file.
func rot(t testing.TB, fsys FS, path, text string) {
	t.Helper()
	at := strings.Index(string(content(t, fsys, path)), text)
	require.Positive(t, at, "%q is not in %s", text, path)
	change(t, fsys, path, int64(at), "rotten")
}

func onFile(op vfs.Op, name string) func(vfs.Call) bool {
	return func(c vfs.Call) bool { return c.Op == op && c.Name == name }
}

// The first segments of a log.
var segment1, segment2 = segment.Path("log", 1), segment.Path("log", 2)

// Torn or damaged.

func TestNoSegmentBeginsBeforeTheOneBeforeItIsDurable(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncAlways, SyncNone} {
		fsys, m := moment(vfs.NewCrash(512), func(c vfs.Call) bool {
			return c.Op == vfs.WriteAt && c.Off == segment.HeaderSize && strings.HasSuffix(c.Name, segment.Ext)
		})
		l := open(t, Options{FS: fsys, Sync: policy, SegmentSize: small}).fillSegments(4)
		_, states := m.taken()
		for i, s := range l.Segments() {
			l.on(worst(states[i])).is(1, s.First-1)
		}
	}
}

func TestFailedSyncAtARotationLeavesNoSeal(t *testing.T) {
	c := vfs.NewCrash(512)
	var failing atomic.Bool
	l := open(t, Options{Sync: SyncNone, SegmentSize: small, FS: vfs.Wrap(c, func(call vfs.Call, do func(int) (int, error)) (int, error) {
		if failing.Load() && onFile(vfs.Sync, segment1)(call) { // the pages are clean now, and not on the disk
			return 0, errors.Join(c.FailSync(call.Name), syscall.EIO)
		}
		return do(int(call.Size))
	})}).fill(20)
	failing.Store(true)
	require.ErrorIs(t, l.Rotate(), ErrUnknownOutcome)
	c.Kill()
	_ = l.Close()
	failing.Store(false)
	l.openAgain().is(1, 20) // in the same boot, from the page cache
	require.False(t, l.Segments()[0].Sealed)
	l.each(c.State(), func(k *testLog) { k.is(1, 20) })
}

func TestTornWriteSparesTheDurableRecordsOfItsSector(t *testing.T) {
	for _, unit := range []int{512, 4096} {
		fsys, m := moment(vfs.NewCrash(unit), onFile(vfs.Sync, segment1))
		l := open(t, Options{FS: fsys, SegmentSize: small}).fill(6)
		_, states := m.taken()
		l.each(states[5], func(k *testLog) {
			require.GreaterOrEqual(t, k.LastLSN(), LSN(5))
			k.is(1, k.LastLSN())
		})
	}
}

func TestGroupThatWasCutInItsMiddleIsNoDamageLater(t *testing.T) {
	l := open(t, Options{})
	for lsn := LSN(1); lsn <= 4; lsn++ {
		l.async(text(lsn, 0))
	}
	require.NoError(t, second(l.Append([]byte("the fifth")))) // one group of five
	require.EqualValues(t, 1, l.Stats().Groups)
	image := l.memory().Clone()
	rot(t, image, segment1, "record 3 ")
	k := l.on(image).is(1, 2)
	k.life++
	k.fill(3).exact(1, 5)
	require.NoError(t, k.Rotate())
	k.fill(1).exact(1, 6)
}

func TestBatchOfWhichAPartWasWrittenIsNotThere(t *testing.T) {
	for short := 0; short < 3000; short += 250 {
		mem := vfs.NewMem()
		f := vfs.NewFaulty(mem)
		l := open(t, Options{FS: f, Sync: SyncNone}).fill(3)
		f.Set(vfs.Fault{Match: onFile(vfs.WriteAt, segment1), Short: short})
		_, err := l.AppendBatch(l.newBatch(strings.Repeat("a", 1000), strings.Repeat("b", 1000), strings.Repeat("c", 1000)))
		require.ErrorIs(t, err, ErrUnknownOutcome)
		l.is(1, 3)
		l.on(mem.Clone()).is(1, 3)
	}
}

// Truncations.

func TestEachTruncationBeginsASegmentAndLSNsOnlyRise(t *testing.T) {
	l := open(t, Options{}).fill(30)
	newest := func() SegmentInfo { s := l.Segments(); return s[len(s)-1] }
	for _, last := range []LSN{25, 24, 20, 3} {
		before := newest().ID
		l.truncateBack(last)
		require.Greater(t, newest().ID, before)
		require.Equal(t, last+1, newest().First)
		l.fill(2)
		require.True(t, slices.IsSortedFunc(l.Segments(), func(a, b SegmentInfo) int { return int(a.First) - int(b.First) }))
		l.exact(1, last+2)
	}
}

func TestDamagedTruncationIsNotUndone(t *testing.T) {
	for what, truncate := range map[string]func(l *testLog){
		"back":  func(l *testLog) { l.truncateBack(10) },
		"reset": func(l *testLog) { l.reset(100) },
	} {
		l := open(t, Options{}).fill(30)
		before := content(t, l.fs, segment1)
		truncate(l)
		image := l.memory().Clone()
		names, err := image.List("log")
		require.NoError(t, err)
		if !slices.Contains(names, filepath.Base(segment1)) {
			put(t, image, segment1, string(before)) // as a power loss may, behind a removal that was not synced
		}
		change(t, image, segment2, segment.HeaderSize+20, "rotten")
		_, err = Open("log", &Options{FS: image})
		require.ErrorIs(t, err, ErrCorrupt, what)
	}
}

func TestResetDownwardsHoldsBeforeFrontSaysSo(t *testing.T) {
	fsys, m := moment(vfs.NewCrash(512), onFile(vfs.WriteAt, "log/FRONT"))
	l := open(t, Options{FS: fsys, FirstLSN: 500}).fill(10)
	l.truncateFront(505)
	_, before := m.taken()
	l.reset(1)
	_, states := m.taken()
	require.Greater(t, len(states), len(before))
	l.on(worst(states[len(before)])).is(1, 0).fill(2).exact(1, 2)
}

func TestEmptyLogKnowsItsNextLSN(t *testing.T) {
	l := open(t, Options{FirstLSN: 500})
	l.opts.FirstLSN = 7 // of a log that is created
	l.killed().is(500, 499)
	l.exact(500, 499).fill(2)
	l.truncateFront(502)
	l.killed().is(502, 501)
	l.exact(502, 501).fill(1).exact(502, 502)
}

func TestTruncateFrontMakesDurableWhatIsBefore(t *testing.T) {
	l := open(t, Options{FS: vfs.NewCrash(512), Sync: SyncNone, SegmentSize: small}).fill(120)
	l.truncateFront(110)
	l.crashed().is(110, 120)
	l.fill(5)
	l.truncateFront(126)
	l.crashed().is(126, 125)
}

func TestNothingIsRemovedBeforeFrontSaysSo(t *testing.T) {
	fsys, m := moment(vfs.NewCrash(512), func(c vfs.Call) bool {
		return (c.Op == vfs.Remove || c.Op == vfs.Rename) && filepath.Ext(c.Name) == segment.Ext
	})
	l := open(t, Options{FS: fsys, SegmentSize: small}).fillSegments(5)
	at := l.Segments()[3]
	l.truncateFront(at.First)
	last := l.LastLSN()
	l.close()
	calls, states := m.taken()
	require.GreaterOrEqual(t, len(calls), 3)
	for i := range 3 {
		require.Equal(t, segment.Path("log", uint64(i+1)), calls[i].Name, "oldest first")
		l.on(worst(states[i])).is(at.First, last)
	}
}

func TestTornOpeningGroupLeavesTheMetaBefore(t *testing.T) {
	fsys, m := moment(vfs.NewCrash(512), onFile(vfs.Sync, segment2))
	l := open(t, Options{FS: fsys, SegmentSize: small}).fill(3)
	l.setMeta("old")
	_, err := l.AppendBatch(func() *Batch { b := l.newBatch(half); b.SetMeta([]byte("new")); return b }())
	require.NoError(t, err)
	l.want[4] = half
	seen := map[LSN]string{}
	_, states := m.taken()
	l.each(states[0], func(k *testLog) { seen[k.LastLSN()] = string(k.is(1, k.LastLSN()).Meta()) })
	require.Equal(t, map[LSN]string{3: "old", 4: "new"}, seen)
}

// No space.

func TestNoSpaceFromASyncIsPoison(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		l, f := faultyLog(t, Options{})
		f.Set(vfs.Fault{Match: onFile(vfs.Sync, segment1), Err: errno})
		err := second(l.Append([]byte("x")))
		require.ErrorIs(t, err, ErrUnknownOutcome)
		require.NotErrorIs(t, err, ErrNoSpace)
		require.ErrorIs(t, second(l.Append([]byte("x"))), ErrFailed)
	}
}

func TestGroupsWrittenBeforeTheOneWithoutSpaceAreKept(t *testing.T) {
	c := vfs.NewCrash(512)
	l := open(t, Options{FS: c, SegmentSize: small}).fill(1)
	c.SetLimit(c.Used())
	whole := l.async("whole")
	cut, err := l.AppendAsync(make([]byte, 2*small))
	require.NoError(t, err)
	behind, err := l.AppendBatchAsync(func() *Batch { b := l.newBatch("behind"); b.SetMeta([]byte("m")); return b }())
	require.NoError(t, err)
	require.NoError(t, whole.Wait(ctx))
	l.crashed().is(1, 2)
	require.ErrorIs(t, cut.Wait(ctx), ErrNoSpace)
	require.ErrorIs(t, behind.Wait(ctx), ErrNoSpace)
	require.Nil(t, l.Meta())
	l.is(1, 2)
}

func TestCutMakesDurableWhatIsBeforeIt(t *testing.T) {
	c := vfs.NewCrash(512)
	f := vfs.NewFaulty(c)
	l := open(t, Options{FS: f, Sync: SyncNone}).fill(2)
	f.Set(vfs.Fault{Match: onFile(vfs.WriteAt, segment1), Err: syscall.ENOSPC, Short: 30})
	require.ErrorIs(t, second(l.Append([]byte("x"))), ErrNoSpace)
	require.Equal(t, LSN(2), l.DurableLSN())
	l.each(c.State(), func(k *testLog) { k.is(1, 2) })
}

func TestOpeningGroupWithoutSpaceLeavesAGapOfIDs(t *testing.T) {
	l, f := faultyLog(t, Options{SegmentSize: small})
	l.fill(1)
	f.Set(vfs.Fault{Match: onFile(vfs.WriteAt, segment2), Err: syscall.ENOSPC, Short: 30})
	require.ErrorIs(t, second(l.Append(make([]byte, small))), ErrNoSpace)
	l.is(1, 1).fill(2)
	segments := l.Segments()
	require.Equal(t, []uint64{1, 3}, []uint64{segments[0].ID, segments[1].ID})
	_, err := l.fs.Open(segment2, vfs.ReadOnly)
	require.ErrorIs(t, err, fs.ErrNotExist, "it is not used again")
	l.exact(1, 3)
}

func TestFailedSyncOfACutIsPoison(t *testing.T) {
	full := false
	l := open(t, Options{FS: vfs.Wrap(vfs.NewMem(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
		switch {
		case full && onFile(vfs.WriteAt, segment1)(c):
			n, _ := do(70)
			return n, syscall.ENOSPC
		case full && onFile(vfs.Sync, segment1)(c):
			return 0, syscall.EIO
		}
		return do(int(c.Size))
	})}).fill(2)
	full = true
	err := second(l.Append(make([]byte, 100)))
	require.ErrorIs(t, err, ErrUnknownOutcome)
	require.NotErrorIs(t, err, ErrNoSpace, "nobody knows whether it comes back")
	require.ErrorIs(t, second(l.Append(nil)), ErrFailed)
	l.is(1, 2)
}

// Which file is what.

func TestSealIsWrittenBehindTheDurableOpeningOfTheNext(t *testing.T) {
	fsys, m := moment(vfs.NewCrash(512), onFile(vfs.WriteAt, segment1))
	l := open(t, Options{FS: fsys, SegmentSize: small}).fillSegments(2)
	l.close()
	_, states := m.taken()
	at := states[len(states)-1] // the seal is the last thing written to it
	k := l.on(worst(at))
	require.Greater(t, len(k.Segments()), 1)
	require.Equal(t, uint64(2), k.Segments()[1].ID)
	require.False(t, k.Segments()[0].Sealed)
	require.GreaterOrEqual(t, k.LastLSN(), k.Segments()[1].First)
	require.True(t, l.openAgain().Segments()[0].Sealed)
}

func TestOpenAppendsToNoFileOfAnEarlierRun(t *testing.T) {
	for _, killed := range []bool{false, true} {
		mem := vfs.NewMem()
		l := open(t, Options{FS: mem}).fill(3)
		image := mem.Clone()
		if !killed {
			l.close()
			image = mem
		}
		trace := vfs.NewTrace(image)
		k := l.on(trace)
		trace.Take()
		k.fill(3).close()
		calls := trace.Take()
		for _, call := range []string{"write", "sync", "allocate"} { // truncate may give space back
			require.NotContains(t, calls, call+" 0000000000000001.seg")
		}
		require.Contains(t, calls, "write 0000000000000002.seg")
	}
}

func TestReadyFileOfADeadProcessIsNotUsed(t *testing.T) {
	salt := func(fsys FS, path string) uint64 { return binary.LittleEndian.Uint64(content(t, fsys, path)[56:]) }
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Options{SegmentSize: 16 << 10})
		l.want[1] = half
		requireAppend(t, l.Log, half)
		synctest.Wait() // the next segment is ready
		ready := salt(l.fs, segment2)
		k := l.killed()
		k.is(1, 1).fill(3)
		synctest.Wait() // what segment 1 had allocated is given back
		for _, s := range k.Segments() {
			require.NotEqual(t, ready, salt(k.fs, s.Path))
		}
	})
}

func TestWhatARecoveryHandedOutIsProved(t *testing.T) {
	l := open(t, Options{Sync: SyncNone}).fill(20)
	image := l.memory().Clone()
	rot(t, image, segment1, "record 7 ")
	l.on(image).is(1, 6) // nothing says that it was durable
	image = l.killed().memory().Clone()
	rot(t, image, segment1, "record 7 ")
	k, err := Open("log", &Options{FS: image})
	if err == nil {
		require.Equal(t, LSN(20), k.LastLSN())
		err = errors.Join(second(k.Read(7, nil)), k.Close())
	}
	require.ErrorIs(t, err, ErrCorrupt)
}

func TestOneDescriptorFromCreationToSeal(t *testing.T) {
	trace := vfs.NewTrace(vfs.NewMem())
	trace.Also(vfs.Open)
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Options{FS: trace, SegmentSize: small}).fillSegments(4)
		synctest.Wait()
		require.True(t, l.Segments()[2].Sealed)
		l.is(1, l.LastLSN())
		calls := trace.Take()
		require.Contains(t, calls, "create 0000000000000003.tmp")
		require.NotContains(t, calls, "open 0000")
		require.NotContains(t, calls, "close 0000")
	})
}

func TestDataHandedOutIsNoViewOfTheFile(t *testing.T) {
	everywhere(t, Options{}, func(t *testing.T, l *testLog) {
		l.fill(1)
		data := l.read(1)
		r := l.reader(1, 1)
		path := l.Segments()[0].Path
		change(t, l.fs, path, segment.HeaderSize, strings.Repeat("another's", 100))
		require.Equal(t, l.want[1], string(data))
		require.Equal(t, l.want[1], string(r.Record().Data))
		require.ErrorIs(t, second(l.Read(1, nil)), ErrCorrupt)
	})
}

// A log that is made.

func TestCrashWhileALogIsMadeLeavesOneOrNone(t *testing.T) {
	c := vfs.NewCrash(512)
	fsys, m := moment(c, func(c vfs.Call) bool { return c.Op.Mutates() })
	l := openAt(t, "a/b/log", Options{FS: fsys, SegmentSize: small}).fill(1)
	l.each(c.State(), func(k *testLog) { k.is(1, 1) })
	logs := map[LSN]int{}
	_, states := m.taken()
	for _, s := range states {
		l.each(s, func(k *testLog) { logs[k.is(1, k.LastLSN()).LastLSN()]++ })
	}
	require.Len(t, logs, 2, "with the record and without")
}

func TestSegmentsWithoutFrontAreNoNewLog(t *testing.T) {
	l := open(t, Options{}).fill(3)
	l.close()
	require.NoError(t, l.opts.FS.Remove("log/FRONT"))
	require.NoError(t, l.opts.FS.Remove("log/LOCK"))
	for _, o := range []Options{{}, {Recovery: Paranoid}, {ReadOnly: true}, {MustExist: true}, {FirstLSN: 9}} {
		refused(t, l.memory(), o, ErrCorrupt, "FRONT")
	}
}

// rawLog makes a log of which the test writes the segments.
type rawLog struct {
	t  *testing.T
	fs *vfs.Mem
}

func newRawLog(t *testing.T) *rawLog {
	t.Helper()
	r := &rawLog{t, vfs.NewMem()}
	require.NoError(t, r.fs.Mkdir("log"))
	require.NoError(t, segment.CreateFront(r.fs, "log", "log/FRONT", segment.Front{Log: segment.LogID{1}, First: 1, Oldest: 1}))
	return r
}

// segment adds one behind prev, with a record; nothing is synced. Its file grows with
// what is written to it, so that a crash may leave it short.
func (r *rawLog) segment(prev segment.Pin) *segment.Writer {
	r.t.Helper()
	w, err := segment.Create(r.fs, "log", segment.Header{Log: segment.LogID{1}, ID: prev.ID + 1, Salt: prev.ID + 7, Unit: 8}, 0, nil)
	require.NoError(r.t, err)
	require.NoError(r.t, w.Open(segment.Opening{Prev: prev, Irregular: 1}, nil, prev.Last+1, draft("x"), false))
	return w
}

func draft(data string) []byte {
	return segment.AppendDraft(make([]byte, segment.GroupHeaderSize), segment.TypeRecord, false, []byte(data), segment.Hash([]byte(data)))
}

func TestFileShorterThanItsPinIsDamageOnlyWhereItWasDurable(t *testing.T) {
	for short, want := range map[int64]error{0: nil, 1: ErrCorrupt} {
		r := newRawLog(t)
		w := r.segment(segment.Pin{})
		require.NoError(t, w.Sync())
		durable := w.Off()
		require.NoError(t, w.Write(draft("ran ahead")))
		r.segment(w.End())
		require.NoError(t, w.File().Truncate(durable-short))
		l, err := Open("log", &Options{FS: r.fs})
		require.ErrorIs(t, err, want)
		if err == nil {
			require.Equal(t, LSN(1), l.LastLSN())
			require.NoError(t, l.Close())
		}
	}
}

// TestSpaceBehindWhatWasCutIsGivenBack, but by a point-in-time recovery, which keeps
// what it gave up.
func TestSpaceBehindWhatWasCutIsGivenBack(t *testing.T) {
	for mode, keeps := range map[RecoveryMode]bool{Strict: false, PointInTime: true} {
		l := open(t, Options{SegmentSize: 64 << 10}).fill(3)
		rot(t, l.fs, segment1, l.want[3])
		was := content(t, l.fs, segment1)
		require.Len(t, was, 64<<10)
		k := openAt(t, "log", Options{FS: l.memory().Clone(), Recovery: mode})
		require.Equal(t, LSN(2), k.LastLSN())
		k.close()
		now := content(t, k.fs, segment1)
		require.Equal(t, keeps, bytes.Equal(was, now), mode)
		require.True(t, keeps || bytes.HasPrefix(was, now), mode)
	}
}

// A later version.

func TestWhatALaterVersionWritesIsNeitherReadNorCut(t *testing.T) {
	for what, edit := range map[string]func(frame []byte){
		"frame type 6":   func(b []byte) { b[4] = 6 },
		"frame type 127": func(b []byte) { b[4] = 127 },
		"a gap of 2":     func(b []byte) { b[6] = 2 },
		"flags 0x10":     func(b []byte) { b[5] = 0x10 }, // a codec
	} {
		r := newRawLog(t)
		w := r.segment(segment.Pin{})
		b := draft("y")
		edit(b[segment.GroupHeaderSize:])
		require.NoError(t, w.Write(b))
		for _, mode := range []RecoveryMode{Strict, Paranoid, PointInTime} {
			refused(t, r.fs, Options{Recovery: mode}, ErrVersion, what)
		}
	}
}

func TestFramesThatAReaderMaySkipAreSkipped(t *testing.T) {
	for _, typ := range []byte{128, 255} {
		r := newRawLog(t)
		w := r.segment(segment.Pin{})
		b := draft("of a later version")
		b[segment.GroupHeaderSize+4] = typ
		require.NoError(t, w.Write(b))
		require.NoError(t, w.Write(draft("y")))
		l := openAt(t, "log", Options{FS: r.fs})
		l.want = map[LSN]string{1: "x", 2: "y"}
		l.exact(1, 2)
	}
}

func TestRewrittenSegmentIsOfANewerVersion(t *testing.T) {
	for origin := int64(72); origin < 120; origin += 8 {
		l := open(t, Options{}).fill(2)
		l.close()
		for _, at := range []int64{0, 2048} {
			change(t, l.opts.FS, segment1, at+origin, "\x01")
			sum := segment.Hash(content(t, l.opts.FS, segment1)[at : at+2040])
			change(t, l.opts.FS, segment1, at+2040, string(binary.LittleEndian.AppendUint64(nil, sum)))
		}
		refused(t, l.memory(), Options{}, ErrVersion, "rewritten")
	}
}
