package segment

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// TestAFlippedBitIsFoundAgain flips bits of headers and frames, and asks for the
// one at the place where a scan then stops.
func TestAFlippedBitIsFoundAgain(t *testing.T) {
	for _, unit := range units[:2] {
		s := create(t, vfs.NewMem(), header(unit)).open(Pin{}, 10, "m", rec(3), rec(40)).sync()
		s.group(rec(9), meta("v").and(), rec(130)).mark()
		b, h := s.bytes(), s.w.Header()
		for _, p := range s.pieces {
			if p.gap {
				continue // it is neither a header nor a frame
			}
			for off := p.off; off < p.end; off++ {
				want := Flip{Off: off, Mask: 1 << (off % 8), Byte: b[off]}
				b[off] ^= want.Mask
				var sc Scanner
				_, wrong := scanWith(&sc, b, h, s.w.Off(), s.frames)
				require.Empty(t, wrong)
				lsn, end := LSN(0), int64(0)
				if groupEnd, inside := sc.GroupEnd(); inside {
					lsn, end = sc.NextLSN(), groupEnd
				}
				got, ok, err := FindFlip(bytes.NewReader(b), h, sc.Stop().Off, lsn, end)
				require.NoError(t, err)
				require.True(t, ok, "%d", off)
				require.Equal(t, want, got)
				n, wrong := compareFrom(Flipped{bytes.NewReader(b), got}, h, s)
				require.Empty(t, wrong)
				require.Equal(t, len(s.frames), n)
				b[off] ^= want.Mask
			}
		}
	}
}

func compareFrom(r Flipped, h Header, s *seg) (int, string) {
	var sc Scanner
	sc.Start(r, "x", h, s.w.Off())
	return compare(&sc, s.frames)
}

// TestMoreThanAFlippedBitIsNot has two, none, and bytes that were never a frame.
func TestMoreThanAFlippedBitIsNot(t *testing.T) {
	s := create(t, vfs.NewMem(), header(8)).open(Pin{}, 10, "", rec(40)).mark()
	h, f := s.w.Header(), s.records()[0]
	end := f.End()
	for _, change := range []func(b []byte){
		func(b []byte) { b[f.Off+20] ^= 3 },
		func(b []byte) { b[f.Off+1] ^= 1; b[f.Off+30] ^= 1 },
		func(b []byte) { clear(b[f.Off:end]) },
	} {
		b := s.bytes()
		change(b)
		_, ok, err := FindFlip(bytes.NewReader(b), h, f.Off, f.LSN, end)
		require.NoError(t, err)
		require.False(t, ok)
	}
	_, ok, err := FindFlip(bytes.NewReader(s.bytes()), h, s.w.Off(), 0, 0)
	require.NoError(t, err)
	require.False(t, ok, "behind the end")
	_, _, err = FindFlip(failing{}, h, f.Off, f.LSN, end)
	require.Equal(t, errRead, err)
}

// TestFlippedReadsAllButTheBit reads around it in all ways.
func TestFlippedReadsAllButTheBit(t *testing.T) {
	r := Flipped{bytes.NewReader([]byte{1, 2, 3, 4}), Flip{Off: 2, Mask: 0x80, Byte: 0x83}}
	want := []byte{1, 2, 0x83, 4}
	for off := range int64(4) {
		for n := range int64(6) {
			b := make([]byte, n)
			got, _ := r.ReadAt(b, off)
			require.Equal(t, want[off:min(off+n, 4)], b[:got])
		}
	}
}
