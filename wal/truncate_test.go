package wal

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/stretchr/testify/require"
)

// truncation is one change of a log's range, with the range that it leaves.
type truncation struct {
	what string
	do   func(l *testLog)
}

func front(first LSN) truncation {
	return truncation{fmt.Sprintf("front %d", first), func(l *testLog) { l.truncateFront(first) }}
}

func back(last LSN) truncation {
	return truncation{fmt.Sprintf("back %d", last), func(l *testLog) { l.truncateBack(last) }}
}

func resetTo(next LSN) truncation {
	return truncation{fmt.Sprintf("reset %d", next), func(l *testLog) { l.reset(next) }}
}

func backInBatch(last LSN, records int) truncation {
	return truncation{fmt.Sprintf("batch back %d, %d records", last, records), func(l *testLog) {
		l.life++
		l.batch(records, func(b *Batch) { b.TruncateBack(last) })
	}}
}

func appended(n int) truncation {
	return truncation{fmt.Sprintf("append %d", n), func(l *testLog) { l.fill(n) }}
}

func closedAndOpened() truncation {
	return truncation{"reopen", func(l *testLog) { l.reopen() }}
}

// The log that is truncated holds the records 10 to 209, in segments of about
// sixty.
func TestRangeIsExactAfterReopening(t *testing.T) {
	for _, c := range []struct {
		first, last LSN
		steps       []truncation
	}{
		{10, 209, nil},
		{10, 209, []truncation{front(0)}},
		{10, 209, []truncation{front(10)}},
		{11, 209, []truncation{front(11)}},
		{100, 209, []truncation{front(100)}},
		{209, 209, []truncation{front(209)}},
		{210, 209, []truncation{front(210)}},
		{10, 209, []truncation{back(209)}},
		{10, 209, []truncation{back(5000)}},
		{10, 209, []truncation{back(^LSN(0))}},
		{10, 208, []truncation{back(208)}},
		{10, 100, []truncation{back(100)}},
		{10, 10, []truncation{back(10)}},
		{10, 9, []truncation{back(9)}},
		{50, 100, []truncation{front(50), back(100)}},
		{50, 100, []truncation{back(100), front(50)}},
		{101, 100, []truncation{back(100), front(101)}},
		{50, 49, []truncation{front(50), back(49)}},
		{180, 179, []truncation{front(180), back(179)}},
		{50, 52, []truncation{front(50), back(49), appended(3)}},
		{10, 12, []truncation{back(9), appended(3)}},
		{10, 9, []truncation{back(12), back(11), back(10), back(9)}},
		{10, 120, []truncation{back(150), appended(5), back(140), appended(5), back(120)}},
		{10, 9, []truncation{resetTo(10)}},
		{210, 209, []truncation{resetTo(210)}},
		{5000, 4999, []truncation{resetTo(5000)}},
		{1, 0, []truncation{resetTo(1)}},
		{1, 3, []truncation{resetTo(1), appended(3)}},
		{100, 103, []truncation{resetTo(100), appended(4)}},
		{5001, 5003, []truncation{resetTo(5000), appended(4), front(5001)}},
		{5000, 5001, []truncation{resetTo(5000), appended(4), back(5001)}},
		{5000, 4999, []truncation{resetTo(5000), appended(4), back(4999)}},
		{7, 9, []truncation{resetTo(5000), resetTo(7), appended(3)}},
		{7, 9, []truncation{resetTo(5000), appended(100), resetTo(7), appended(3)}},
		{150, 209, []truncation{front(50), front(100), front(150)}},
		{50, 209, []truncation{front(50), front(20)}},
		{210, 212, []truncation{front(210), appended(3)}},
		{212, 212, []truncation{front(210), appended(3), front(212)}},
		{300, 409, []truncation{appended(200), front(300)}},
		{10, 102, []truncation{backInBatch(100, 2)}},
		{10, 100, []truncation{backInBatch(100, 0)}},
		{10, 11, []truncation{backInBatch(9, 2)}},
		{10, 211, []truncation{backInBatch(209, 2)}},
		{10, 211, []truncation{backInBatch(4000, 2)}},
		{100, 99, []truncation{front(100), backInBatch(99, 0)}},
		{100, 101, []truncation{front(100), backInBatch(99, 2)}},
		{10, 30, []truncation{backInBatch(100, 2), backInBatch(101, 2), back(30)}},
		{10, 102, []truncation{backInBatch(100, 5), back(102)}},
		{10, 101, []truncation{backInBatch(100, 5), back(102), appended(1), back(101)}},
		{10, 100, []truncation{backInBatch(100, 5), back(100)}},
		{10, 99, []truncation{backInBatch(100, 5), back(99)}},
		{10, 104, []truncation{backInBatch(100, 5), backInBatch(102, 2)}},
		{10, 104, []truncation{backInBatch(100, 5), closedAndOpened(), backInBatch(102, 2)}},
		{10, 102, []truncation{backInBatch(100, 5), closedAndOpened(), back(102)}},
		{102, 101, []truncation{backInBatch(100, 5), front(102), back(101)}},
		{10, 100, []truncation{closedAndOpened(), back(100)}},
		{10, 10, []truncation{closedAndOpened(), back(10)}},
		{10, 9, []truncation{closedAndOpened(), back(9)}},
		{10, 208, []truncation{closedAndOpened(), back(208)}},
		{10, 102, []truncation{closedAndOpened(), backInBatch(100, 2)}},
		{100, 209, []truncation{closedAndOpened(), front(100)}},
		{210, 209, []truncation{closedAndOpened(), front(210)}},
		{50, 60, []truncation{closedAndOpened(), front(50), back(60)}},
		{50, 60, []truncation{back(60), closedAndOpened(), front(50)}},
		{50, 49, []truncation{front(50), closedAndOpened(), back(49)}},
		{50, 51, []truncation{front(50), closedAndOpened(), back(49), closedAndOpened(), appended(2)}},
		{50, 49, []truncation{back(60), closedAndOpened(), front(50), closedAndOpened(), back(49)}},
		{210, 214, []truncation{front(210), closedAndOpened(), appended(5)}},
		{3, 7, []truncation{closedAndOpened(), resetTo(3), closedAndOpened(), appended(5)}},
		{9000, 9004, []truncation{closedAndOpened(), resetTo(9000), closedAndOpened(), appended(5)}},
	} {
		name := "nothing"
		for n, s := range c.steps {
			if n == 0 {
				name = ""
			}
			name += s.what + ";"
		}
		t.Run(name, func(t *testing.T) {
			l := open(t, Options{SegmentSize: small, FirstLSN: 10}).fill(200)
			require.Greater(t, len(l.Segments()), 3)
			l.setMeta("kept through everything")
			for _, s := range c.steps {
				s.do(l)
			}
			require.Equal(t, "kept through everything", string(l.Meta()))
			l.exact(c.first, c.last)
			require.Equal(t, "kept through everything", string(l.Meta()))
			l.fill(3).exact(c.first, c.last+3)
		})
	}
}

func TestTruncationsOnTheDisk(t *testing.T) {
	everywhere(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
		l.fill(100)
		l.truncateFront(40)
		l.truncateBack(60)
		l.exact(40, 60).fill(5)
		l.reset(30)
		l.fill(2).exact(30, 31)
	})
}

func TestTruncationsOfAnEmptyLog(t *testing.T) {
	l := open(t, Options{FirstLSN: 5})
	l.truncateFront(5)
	l.truncateBack(4)
	l.truncateBack(77)
	require.ErrorIs(t, l.TruncateFront(6), ErrNotFound)
	require.ErrorIs(t, l.TruncateBack(3), ErrTruncated)
	l.exact(5, 4)
	l.reset(9)
	l.exact(9, 8)
	l.reset(2)
	l.exact(2, 1).fill(1).exact(2, 2)
}

func TestTruncationsOutOfRange(t *testing.T) {
	l := open(t, Options{FirstLSN: 10}).fill(10)
	err := l.TruncateFront(21)
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "21")
	require.ErrorContains(t, err, "19")
	err = l.TruncateBack(8)
	require.ErrorIs(t, err, ErrTruncated)
	require.ErrorContains(t, err, "LSN 8")
	require.ErrorContains(t, err, "10")
	require.ErrorIs(t, l.TruncateBack(0), ErrTruncated)
	require.ErrorContains(t, l.Reset(0), "LSN 0")
	l.exact(10, 19)
}

func TestTruncateFrontRemovesWholeSegments(t *testing.T) {
	everywhere(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
		l.fillSegments(5)
		segments := l.Segments()
		l.truncateFront(segments[3].First + 1)
		kept := l.Segments()
		require.Equal(t, segments[3].Path, kept[0].Path)
		require.Len(t, kept, len(segments)-3)
		l.close()
		names, err := l.fs.List(l.dir)
		require.NoError(t, err)
		require.Len(t, names, len(kept)+2, "FRONT, LOCK and the segments: %v", names)
	})
}

func TestCutRecordsNeverComeBack(t *testing.T) {
	l := open(t, Options{SegmentSize: small}).fill(100)
	for last := LSN(90); last > 40; last -= 10 {
		l.truncateBack(last)
		l.fill(3).exact(1, last+3)
	}
	l.reset(1)
	l.exact(1, 0).fill(5).exact(1, 5)
}

func TestMetaOutlivesEverything(t *testing.T) {
	l := open(t, Options{SegmentSize: small})
	require.Nil(t, l.Meta())
	l.fill(3).reopen()
	require.Nil(t, l.Meta(), "never set")
	check := func(want string) {
		t.Helper()
		require.Equal(t, want, string(l.Meta()))
		l.reopen()
		require.Equal(t, want, string(l.Meta()))
	}
	l.setMeta("one")
	check("one")
	l.fillSegments(4)
	check("one")
	l.truncateFront(l.LastLSN() + 1)
	check("one")
	l.batch(3, func(b *Batch) { b.SetMeta([]byte("two")) })
	l.truncateBack(l.LastLSN() - 3)
	check("two")
	l.reset(1000)
	check("two")
	l.batch(0, func(b *Batch) { b.TruncateBack(999); b.SetMeta([]byte("three")) })
	check("three")
	require.NoError(t, l.Rotate())
	check("three")
	l.setMeta("")
	require.NotNil(t, l.Meta())
	check("")
	require.NotNil(t, l.Meta(), "empty is set")
}

func TestMetaOfAnEmptyLog(t *testing.T) {
	l := open(t, Options{FirstLSN: 7})
	l.setMeta("vote")
	l.setMeta("vote 2")
	l.exact(7, 6)
	require.Equal(t, "vote 2", string(l.Meta()))
	l.fill(1).exact(7, 7)
	require.Equal(t, "vote 2", string(l.Meta()))
}

// Holds.

func TestHoldKeepsWhatItNeeds(t *testing.T) {
	l := open(t, Options{SegmentSize: small}).fill(100)
	low, err := l.Hold("low", 30)
	require.NoError(t, err)
	high, err := l.Hold("high", 60)
	require.NoError(t, err)
	require.Equal(t, 2, l.Stats().Holds)
	l.truncateFront(90)
	l.is(30, 100)
	low.Move(50)
	low.Move(40) // forward only
	l.is(30, 100)
	l.truncateFront(90)
	l.is(50, 100)
	low.Release()
	low.Release()
	low.Move(1)
	l.is(50, 100) // releasing truncates nothing
	l.truncateFront(90)
	l.is(60, 100)
	high.Release()
	l.truncateFront(90)
	l.exact(90, 100)
	require.Zero(t, l.Stats().Holds)
}

func TestHoldBelowTheFirstRecordIsRefused(t *testing.T) {
	l := open(t, Options{}).fill(10)
	l.truncateFront(5)
	_, err := l.Hold("snapshot", 4)
	require.ErrorIs(t, err, ErrTruncated)
	require.ErrorContains(t, err, `"snapshot"`)
	h, err := l.Hold("snapshot", 5)
	require.NoError(t, err)
	h.Release()
	h, err = l.Hold("at the end", 11)
	require.NoError(t, err)
	l.fill(5)
	l.truncateFront(16)
	l.is(11, 15)
	h.Release()
}

func TestHoldBindsTruncateFrontOnly(t *testing.T) {
	l := open(t, Options{}).fill(10)
	h, err := l.Hold("h", 5)
	require.NoError(t, err)
	l.truncateBack(2)
	l.is(1, 2)
	l.fill(8)
	l.truncateFront(9)
	l.is(5, 10)
	l.reset(3)
	l.is(3, 2)
	h.Release()
}

func TestHoldThatWasGivenBinds(t *testing.T) {
	l := open(t, Options{Sync: SyncNone, SegmentSize: small}).fill(2000)
	var wg sync.WaitGroup
	wg.Go(func() {
		for first := LSN(1); first <= 2000; first += 3 {
			require.NoError(t, l.TruncateFront(first))
		}
	})
	given := 0
	for range 3000 {
		at := l.FirstLSN() + LSN(given%5)
		h, err := l.Hold("h", at)
		if err != nil {
			require.ErrorIs(t, err, ErrTruncated)
			continue
		}
		given++
		if at <= l.LastLSN() {
			_, err = l.Read(at, nil)
			require.NoError(t, err)
		}
		require.LessOrEqual(t, l.FirstLSN(), at)
		h.Release()
	}
	wg.Wait()
	require.NotZero(t, given)
}

// A truncation that fails takes back what it reserved, and nothing of a reset
// that was ordered meanwhile.
func TestTruncateFrontThatFailsLeavesAResetAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stuck atomic.Bool
		gate := make(chan struct{})
		l := open(t, Options{FS: vfs.Wrap(vfs.NewMem(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if c.Op == vfs.WriteAt && c.Name == "log/FRONT" && stuck.Load() {
				<-gate
				return 0, syscall.ENOSPC
			}
			return do(int(c.Size))
		})}).fill(10)
		stuck.Store(true)
		front, reset := make(chan error, 1), make(chan error, 1)
		go func() { front <- l.TruncateFront(5) }()
		synctest.Wait()
		go func() { reset <- l.Reset(100) }()
		synctest.Wait()
		stuck.Store(false)
		close(gate)
		require.ErrorIs(t, <-front, ErrNoSpace)
		require.NoError(t, <-reset)
		l.is(100, 99)
		require.ErrorIs(t, second(l.Hold("h", 50)), ErrTruncated)
		require.ErrorIs(t, l.TruncateBack(50), ErrTruncated)
		l.fill(2).exact(100, 101)
	})
}

func TestTruncateFrontThatFailsDropsNothing(t *testing.T) {
	l, f := faultyLog(t, Options{SegmentSize: small})
	l.fill(100)
	f.Set(vfs.Fault{Err: syscall.ENOSPC, Match: func(c vfs.Call) bool { return c.Op == vfs.WriteAt && c.Name == "log/FRONT" }})
	require.ErrorIs(t, l.TruncateFront(60), ErrNoSpace)
	h, err := l.Hold("h", 1)
	require.NoError(t, err)
	h.Release()
	l.is(1, 100).fill(3)
	l.truncateFront(60)
	l.exact(60, 103)
}

func TestLSNsNeverOverflow(t *testing.T) {
	const top = LSN(1) << 63 // half of all LSNs can be appended behind it
	l := open(t, Options{})
	for _, above := range []LSN{top + 1, ^LSN(0)} {
		require.ErrorContains(t, l.Reset(above), "9223372036854775808")
		_, err := Open("new", &Options{FS: NewMemFS(), FirstLSN: above})
		require.ErrorContains(t, err, "9223372036854775808")
	}
	l.reset(top)
	l.fill(3).exact(top, top+2)
	open(t, Options{FirstLSN: top}).fill(3).exact(top, top+2)
}
