package segment

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// large writes a segment of many chunks, with frames from nothing to more than a chunk.
func large(t testing.TB, seed uint64) *seg {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 5))
	s := create(t, vfs.NewMem(), header(8))
	s.open(Pin{}, 1, "")
	for s.w.Off() < 8*scanChunk {
		var items []item
		for range 1 + rng.IntN(40) {
			items = append(items, rec([]int{0, 100, 3000, 20_000, aheadRoom, aheadRoom + 1000, scanChunk + 5}[min(rng.IntN(12), rng.IntN(7))]))
		}
		s.group(items...)
	}
	return s
}

// slow is a file of which each read takes a while, and the reads of it that began.
type slow struct {
	b    []byte
	took time.Duration
	fail int // the number, from 1, of the read that fails; 0: none

	mu    sync.Mutex
	reads []int64 // where each began
}

var errSlow = errors.New("slow and bad")

func (f *slow) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	f.reads = append(f.reads, off)
	n := len(f.reads)
	f.mu.Unlock()
	if f.took > 0 {
		time.Sleep(f.took) // real time: none, it is the bubble's
	}
	if n == f.fail {
		got, _ := bytes.NewReader(f.b).ReadAt(p[:len(p)/2], off)
		return got, errSlow
	}
	return bytes.NewReader(f.b).ReadAt(p, off)
}

func (f *slow) began() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.reads)
}

func TestScanReadsAhead(t *testing.T) {
	for seed := range uint64(5) {
		s := large(t, seed)
		f := &slow{b: s.bytes()}
		var sc Scanner
		sc.Start(f, "x", s.w.Header(), s.w.Off())
		n, wrong := compare(&sc, s.frames)
		require.Empty(t, wrong)
		require.Equal(t, len(s.frames), n)
		require.Equal(t, Stop{Kind: StopLimit, Off: s.w.Off()}, sc.Stop())
	}
}

// TestTwoChunksAreReadBeforeMoreIsReadAhead, since many want a few records alone.
func TestTwoChunksAreReadBeforeMoreIsReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Minute) // in the bubble: what is under way ends
		s := create(t, vfs.NewMem(), header(8))
		s.open(Pin{}, 1, "")
		for range 20 {
			s.group(rec(50_000))
		}
		f := &slow{b: s.bytes(), took: time.Second}
		var sc Scanner
		sc.Start(f, "x", s.w.Header(), s.w.Off())
		for chunk, ahead := range []int{0, 1, 1} {
			for sc.Off() < HeaderSize+int64(chunk)*scanChunk {
				require.NotEqual(t, StepEnd, sc.Next())
			}
			require.NotEqual(t, StepEnd, sc.Next())
			require.NotEqual(t, StepEnd, sc.Next())
			synctest.Wait()
			require.Equal(t, chunk+1+ahead, f.began())
		}
		began := time.Now()
		for sc.Next() != StepEnd {
		}
		require.True(t, sc.AtLimit())
		require.Equal(t, time.Second, time.Since(began), "of the one that was under way")
	})
}

// TestScanThatSkipsReadsNothingAhead: it reads the header of each group, and no more.
func TestScanThatSkipsReadsNothingAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := create(t, vfs.NewMem(), header(8))
		s.open(Pin{}, 1, "")
		const groups = 20
		for range groups {
			s.group(rec(400_000))
		}
		f := &slow{b: s.bytes(), took: time.Second}
		var sc Scanner
		sc.Start(f, "x", s.w.Header(), s.w.Off())
		for step := sc.Next(); step != StepEnd; step = sc.Next() {
			require.Equal(t, StepGroup, step)
			sc.SkipGroup()
		}
		require.True(t, sc.AtLimit())
		synctest.Wait()
		require.LessOrEqual(t, f.began(), groups+1)
	})
}

// TestReadAheadThatFailsIsReadAgain when it is needed, and the error is reported then.
func TestReadAheadThatFailsIsReadAgain(t *testing.T) {
	s := large(t, 7)
	b := s.bytes()
	all := &slow{b: b}
	var sc Scanner
	sc.Start(all, "x", s.w.Header(), s.w.Off())
	compare(&sc, s.frames)
	whole, reported := 0, 0
	for fail := 1; fail <= all.began(); fail++ {
		sc.Start(&slow{b: b, fail: fail}, "x", s.w.Header(), s.w.Off())
		_, wrong := compare(&sc, s.frames)
		require.Empty(t, wrong)
		if stop := sc.Stop(); stop.Kind == StopRead {
			require.ErrorIs(t, stop.Err, errSlow)
			reported++
		} else {
			require.Equal(t, Stop{Kind: StopLimit, Off: s.w.Off()}, stop)
			whole++
		}
	}
	require.Greater(t, whole, 3)
	require.Greater(t, reported, 1)
}

// TestScanGoesOnWithTheLimit raises it again and again, as that of a log does that is
// written meanwhile.
func TestScanGoesOnWithTheLimit(t *testing.T) {
	for seed := range uint64(20) {
		s := large(t, seed)
		rng := rand.New(rand.NewPCG(seed, 6))
		var sc Scanner
		at := rng.IntN(len(s.pieces))
		sc.Start(&slow{b: s.bytes()}, "x", s.w.Header(), s.pieces[at].end)
		n := 0
		for {
			step := sc.Next()
			if step == StepFrame {
				require.True(t, same(sc.Frame(), s.frames[n]), n)
				n++
			}
			if step != StepEnd {
				continue
			}
			require.True(t, sc.AtLimit(), sc.Stop())
			if at == len(s.pieces)-1 {
				break
			}
			at = min(len(s.pieces)-1, at+1+rng.IntN(30))
			sc.SetLimit(s.pieces[at].end)
		}
		require.Equal(t, len(s.frames), n)
	}
}

// TestScanIsNotDisturbedByWhatWasReadAheadForAnother that was given up.
func TestScanIsNotDisturbedByWhatWasReadAheadForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, other := large(t, 8), large(t, 9)
		b, zeros := s.bytes(), other.bytes()
		rng := rand.New(rand.NewPCG(8, 9))
		var sc Scanner
		for range 50 {
			sc.Start(&slow{b: zeros, took: time.Second}, "x", other.w.Header(), other.w.Off())
			for steps := rng.IntN(len(other.frames)); steps > 0; steps-- {
				sc.Next()
			}
			sc.Start(&slow{b: b, took: 300 * time.Millisecond}, "x", s.w.Header(), s.w.Off())
			n, wrong := compare(&sc, s.frames)
			require.Empty(t, wrong)
			require.Equal(t, len(s.frames), n)
		}
	})
}
