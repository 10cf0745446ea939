package wal

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// scrubbed opens a log of the given number of segments, which is scrubbed at rate
// bytes a second, and has the hooks of the scrub noted in seen.
func scrubbed(t *testing.T, fsys FS, segments int, rate int64, seen *sights) *testLog {
	opts := Options{FS: fsys, SegmentSize: small, ScrubRate: rate, Hooks: Hooks{
		Scrubbed: func(s SegmentInfo) { seen.sound = append(seen.sound, s.ID) },
		Damaged:  func(err error) { seen.errs = append(seen.errs, err) },
	}}
	quiet := opts
	quiet.ScrubRate = 0
	l := open(t, quiet).fillSegments(segments)
	l.opts = opts
	return l
}

// passes lets time go by, and what is under way end.
func passes(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// sights are what the hooks of a scrub were called with.
type sights struct {
	sound []uint64
	errs  []error
}

// TestScrubFindsRot finds it in the pass that follows, names it, goes on behind it, and
// lets the log go on.
func TestScrubFindsRot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen sights
		l := scrubbed(t, NewMemFS(), 4, 1<<20, &seen).reopen()
		passes(time.Minute)
		require.Equal(t, []uint64{1, 2, 3}, seen.sound, "and not the last one")
		require.Empty(t, seen.errs)

		lsn := l.Segments()[1].First + 5
		rot(t, l.fs, segment2, l.want[lsn])
		passes(time.Hour)
		require.Equal(t, []uint64{1, 2, 3, 1, 3}, seen.sound)
		require.Len(t, seen.errs, 1)
		var at *CorruptError
		require.ErrorAs(t, seen.errs[0], &at)
		require.ErrorIs(t, at, ErrCorrupt)
		require.Equal(t, []any{segment2, lsn}, []any{at.Path, at.LSN})
		s := l.Stats()
		require.Equal(t, []uint64{2, 1}, []uint64{s.Passes, s.Damaged})
		l.fill(3)
		require.NoError(t, l.Err())
		passes(time.Hour)
		require.Len(t, seen.errs, 2, "the next pass says it again")
	})
}

// TestScrubVerifiesEveryByte changes each byte of a sealed segment up to its end.
func TestScrubVerifiesEveryByte(t *testing.T) {
	var seen sights
	l := scrubbed(t, NewMemFS(), 2, 1, &seen)
	list := *l.segments.Load()
	end := list[0].end.Load()
	data := content(t, l.fs, segment1)
	s := scrubber{rate: 1 << 60}
	_, err := s.verify(list[0], list, 0)
	require.NoError(t, err)
	for off := int64(4096); off < end; off++ {
		change(t, l.fs, segment1, off, string([]byte{data[off] ^ 0x10}))
		_, err := s.verify(list[0], list, 0)
		require.ErrorIs(t, err, ErrCorrupt, "byte %d", off)
		change(t, l.fs, segment1, off, string(data[off:off+1]))
	}
}

// TestScrubKeepsItsRate: a pass takes as long as its bytes at the rate, and one begins
// every hour.
func TestScrubKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 100
		var seen sights
		l := scrubbed(t, NewMemFS(), 3, rate, &seen).reopen()
		var bytes int64
		for _, s := range l.Segments()[:2] {
			bytes += s.Size - 4096
		}
		took := time.Duration(bytes) * time.Second / rate
		require.Less(t, took, time.Hour)
		passes(took - time.Second)
		require.Zero(t, l.Stats().Passes)
		passes(2 * time.Second)
		require.EqualValues(t, 1, l.Stats().Passes)
		require.EqualValues(t, bytes, l.Stats().Scrubbed)
		passes(5 * time.Hour)
		require.EqualValues(t, 6, l.Stats().Passes)
		require.EqualValues(t, 6*bytes, l.Stats().Scrubbed)

		started := time.Now()
		passes(time.Hour - took/2) // in the middle of a pass
		require.NoError(t, l.Close())
		require.Equal(t, time.Hour-took/2, time.Since(started), "Close waits for no pause")
	})
}

func TestWithoutARateNothingIsScrubbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trace := vfs.NewTrace(vfs.NewMem())
		open(t, Options{FS: trace, SegmentSize: small}).fillSegments(3)
		passes(time.Second) // the idle mark
		trace.Take()
		passes(5 * time.Hour)
		require.Empty(t, trace.Take())
	})
}

// TestScrubTellsAnErrorOfReadingFromDamage, and reports both.
func TestScrubTellsAnErrorOfReadingFromDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen sights
		faulty := vfs.NewFaulty(vfs.NewMem())
		l := scrubbed(t, faulty, 4, 1<<20, &seen)
		faulty.Set(vfs.Fault{Sticky: true, Err: syscall.EIO, Match: onFile(vfs.ReadAt, segment2)})
		l.reopen()
		passes(time.Minute)
		require.Equal(t, []uint64{3}, seen.sound)
		require.Len(t, seen.errs, 2, "where the first ends the second tells")
		for _, err := range seen.errs {
			require.ErrorIs(t, err, syscall.EIO)
			require.NotErrorIs(t, err, ErrCorrupt)
		}
	})
}

// TestScrubTakesNoTruncationForDamage has segments vanish and end elsewhere while they
// are verified.
func TestScrubTakesNoTruncationForDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(20) {
			var seen sights
			rng := rand.New(rand.NewPCG(seed, 1))
			l := scrubbed(t, NewMemFS(), 3, 20_000, &seen).reopen() // a segment in 0.4 s
			for range 60 {
				passes(time.Duration(rng.IntN(400)) * time.Millisecond)
				first, last := l.FirstLSN(), l.LastLSN()
				switch at := first + LSN(rng.Uint64N(uint64(last-first)+1)); rng.IntN(8) {
				case 0:
					l.truncateFront(at)
				case 1:
					l.truncateBack(at)
				case 2:
					l.reset(last + 5)
				}
				l.fillSegments(3)
			}
			require.Empty(t, seen.errs, "seed %d", seed)
			require.NotEmpty(t, seen.sound)
			l.close()
		}
	})
}

func TestScrubOfAReadOnlyLogIsRefused(t *testing.T) {
	for _, o := range []Options{{ScrubRate: -1}, {ScrubRate: 5, ReadOnly: true}} {
		o.FS = NewMemFS()
		_, err := Open("log", &o)
		require.ErrorContains(t, err, "Options.ScrubRate is ")
		require.False(t, errors.Is(err, ErrReadOnly))
	}
}
