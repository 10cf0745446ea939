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
			at, next, ok := x.Find(uint32(i))
			off := 4096 + int64(i)*size
			require.True(t, ok)
			require.LessOrEqual(t, at.Ordinal, uint32(i))
			require.Greater(t, next.Ordinal, uint32(i))
			require.LessOrEqual(t, at.Off, off)
			require.Greater(t, next.Off, off)
			require.Equal(t, int64(4096)+int64(at.Ordinal)*size, at.Off)
			if next.Off == math.MaxInt64 {
				require.Equal(t, uint32(math.MaxUint32), next.Ordinal)
				continue
			}
			require.Equal(t, int64(4096)+int64(next.Ordinal)*size, next.Off)
			require.Less(t, next.Off-at.Off, Step+size, "the stretch is one step and one record at most")
		}
	}
}

func TestEntriesAreSparse(t *testing.T) {
	require.Equal(t, 1000*16/Step+1, filled(1000, 16).Len())
	require.Equal(t, 1000, filled(1000, Step).Len())
}

func TestEmptyIndexFindsNothing(t *testing.T) {
	_, _, ok := new(Index).Find(0)
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
		if at, _, ok := x.Find(i); ok {
			require.Equal(t, int64(at.Ordinal)*4096, at.Off)
		}
	}
	<-done
}
