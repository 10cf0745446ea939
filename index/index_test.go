package index

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// filled returns an index of n records of the given size, the first at 4096.
func filled(n int, size int64) *Index {
	x := new(Index)
	for i := range n {
		x.Add(uint32(i), 4096+int64(i)*size)
	}
	return x
}

func TestFindGivesTheStretchThatHoldsTheRecord(t *testing.T) {
	for _, size := range []int64{16, 272, 4096, 70_000} {
		x := filled(1000, size)
		for i := range 1000 {
			start, off, end, ok := x.Find(uint32(i))
			at := 4096 + int64(i)*size
			require.True(t, ok)
			require.LessOrEqual(t, start, uint32(i))
			require.LessOrEqual(t, off, at)
			require.Greater(t, end, at)
			require.Equal(t, int64(4096)+int64(start)*size, off)
			if end != math.MaxInt64 {
				require.Less(t, end-off, Step+size, "the stretch is one step and one record at most")
			}
		}
	}
}

func TestEntriesAreSparse(t *testing.T) {
	require.Equal(t, 1000*16/Step+1, filled(1000, 16).Len())
	require.Equal(t, 1000, filled(1000, Step).Len())
}

func TestEmptyIndexFindsNothing(t *testing.T) {
	_, _, _, ok := new(Index).Find(0)
	require.False(t, ok)
	require.Empty(t, new(Index).AppendTo(nil))
}

func TestDecodeIsTheInverseOfAppendTo(t *testing.T) {
	x := filled(5000, 272)
	data := x.AppendTo(nil)
	require.Len(t, data, x.Len()*EntrySize)
	y, err := Decode(data, 4096+5000*272, 5000)
	require.NoError(t, err)
	require.Equal(t, data, y.AppendTo(nil))
}

func TestIndexSizeThatIsNoMultipleOfItsEntryIsRefused(t *testing.T) {
	data := filled(100, 4096).AppendTo(nil)
	for cut := 1; cut < EntrySize; cut++ {
		_, err := Decode(data[:len(data)-cut], math.MaxInt64, 100)
		require.ErrorIs(t, err, ErrMalformed)
	}
}

func TestIndexLeftPaddedByAKillIsRefused(t *testing.T) {
	data := filled(100, 4096).AppendTo(nil)
	_, err := Decode(append(data, make([]byte, 4*EntrySize)...), math.MaxInt64, 100)
	require.ErrorIs(t, err, ErrMalformed)
	_, err = Decode(make([]byte, 2*EntrySize), math.MaxInt64, 100)
	require.ErrorIs(t, err, ErrMalformed)
}

func TestIndexThatPointsBehindTheSegmentIsRefused(t *testing.T) {
	data := filled(100, 4096).AppendTo(nil)
	_, err := Decode(data, 4096+99*4096, 100)
	require.ErrorIs(t, err, ErrMalformed)
	_, err = Decode(data, math.MaxInt64, 99)
	require.ErrorIs(t, err, ErrMalformed)
}

func TestFindBesideAdd(t *testing.T) {
	x := new(Index)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 100_000 {
			x.Add(uint32(i), int64(i)*4096)
		}
	}()
	for i := uint32(0); x.Len() < 100_000; i += 7 {
		if start, off, _, ok := x.Find(i); ok {
			require.Equal(t, int64(start)*4096, off)
		}
	}
	<-done
}
