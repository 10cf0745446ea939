package segment

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// bounded runs f, which is given n bytes to read, and fails if it allocates more
// than twice that, and a little for what has a fixed size.
func bounded(t *testing.T, n int, f func()) {
	t.Helper()
	require.Less(t, allocated(f), 2*int64(n)+8<<10)
}

func FuzzHeader(f *testing.F) {
	f.Add(workedBytes(f)[:HeaderSize])
	f.Add(header(4096).Encode())
	f.Add(header(8).Encode()[:headerCopy])
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, len(b), func() {
			h, err := DecodeHeader(b, "x")
			if err != nil {
				require.NotEqual(t, errors.Is(err, ErrCorrupt), errors.Is(err, ErrVersion))
				return
			}
			again, err := DecodeHeader(h.Encode(), "x")
			require.NoError(t, err)
			require.Equal(t, h, again)
		})
	})
}

func FuzzFront(f *testing.F) {
	f.Add(frontBytes(f))
	f.Add(frontBytes(f)[:slotSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, len(b), func() {
			front, whole, err := DecodeFront(b, "x")
			if err != nil {
				require.False(t, whole)
				require.NotEqual(t, errors.Is(err, ErrCorrupt), errors.Is(err, ErrVersion))
				return
			}
			again, _, err := DecodeFront(append(front.encode(0), make([]byte, slotSize)...), "x")
			require.NoError(t, err)
			require.Equal(t, front.content(), again.content())
			require.Equal(t, front.generation, again.generation)
		})
	})
}

// FuzzScan lets everything that reads a segment read arbitrary bytes behind a
// valid header. Seeds are whole segments of each unit; the sums stand between
// the fuzzer and what is deeper, so it may ask for them to be made right.
func FuzzScan(f *testing.F) {
	f.Add(workedBytes(f)[HeaderSize:], uint8(0), false)
	for i, unit := range units {
		f.Add(every(f, unit).bytes()[HeaderSize:], uint8(i), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, unit uint8, right bool) {
		h := header(units[int(unit)%len(units)])
		b := append(h.Encode(), data...)
		if right {
			makeRight(b, h)
		}
		r, size := bytes.NewReader(b), int64(len(b))
		var sc Scanner
		bounded(t, len(b), func() {
			sc.Start(r, "x", h, size)
			for sc.Next() != StepEnd {
			}
		})
		frames, stop := scanned(b, h)
		require.Equal(t, sc.Stop(), stop)
		x := stop.Off
		require.LessOrEqual(t, x, size)
		before, _ := scanned(b[:x], h) // what is behind X means nothing to what is before
		for i, f := range frames {
			require.LessOrEqual(t, f.End(), size)
			require.True(t, f.End() > x || same(f, before[i]), "%+v", f)
		}
		bounded(t, len(b), func() { _, _ = ReadFirst(r, "x", h, size) })
		bounded(t, len(b), func() { _, _ = BuildIndex(r, "x", h, First{Base: 1}, size) })
		bounded(t, len(b), func() { _, _, _ = Locate(r, "x", h, First{Base: 1}, size, 1<<40) })
		bounded(t, len(b), func() { _, _, _, _ = ReadSeal(r, "x", h, First{Base: 1}, x, size) })
		bounded(t, len(b), func() { _, _ = new(Scanner).Claims(r, h, x, size) })
		readThem(t, b, h, frames)
	})
}

// readThem reads the records among frames, by way of an index of them and of one
// that is wrong.
func readThem(t *testing.T, b []byte, h Header, frames []Frame) {
	good, wrong := new(Index), new(Index)
	base := LSN(0)
	for i, f := range frames {
		if f.LSN == 0 || f.LSN < base {
			continue
		}
		if base == 0 {
			base = f.LSN
		}
		good.Add(uint32(f.LSN-base), f.Off)
		wrong.Add(uint32(f.LSN-base), frames[len(frames)-1-i].Off)
	}
	var d Reader
	for _, f := range frames {
		for _, x := range []*Index{good, wrong} {
			got, err := d.Read(bytes.NewReader(b), "x", h, x, base, f.LSN, int64(len(b)), nil)
			if f.LSN != 0 && err == nil {
				require.True(t, bytes.Equal(f.Data, got), "LSN %d", f.LSN)
			}
		}
	}
}

// makeRight makes the sums of whatever looks like groups and frames hold, as
// far as their lengths lead.
func makeRight(b []byte, h Header) {
	size := int64(len(b))
	var chain uint64
	for off := int64(HeaderSize); off+GroupHeaderSize <= size && isGroup(b[off:]); {
		g := decodeGroup(b[off:])
		if off > HeaderSize {
			g.Chain = chain
		}
		at, next := off+GroupHeaderSize, g.Base
		for range g.Frames {
			if at+FrameHeaderSize > size || isGroup(b[at:]) {
				break
			}
			n := int64(b[at]) | int64(b[at+1])<<8 | int64(b[at+2])<<16
			if at+frameSize(n) > size {
				break
			}
			var lsn LSN
			if Type(b[at+frmType]) == TypeRecord {
				lsn = next
				next++
			}
			frame := AppendDraft(nil, 0, false, b[at+FrameHeaderSize:][:n], 0)
			copy(frame[:frmSum], b[at:])
			sum := frameSum(frame, h.Salt, at, lsn, Hash(frame[FrameHeaderSize:][:n]))
			for i := range int64(8) {
				b[at+frmSum+i] = byte(sum >> (8 * i))
			}
			at += frameSize(n)
		}
		g.encode(b[off:], h.Salt, off)
		chain = g.Sum
		if g.Length < GroupHeaderSize {
			return
		}
		off += g.Length
	}
}
