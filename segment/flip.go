package segment

import (
	"encoding/binary"
	"io"
	"math/bits"
)

// Flip names one bit of a file.
type Flip struct {
	Off  int64
	Mask byte // one bit set
	Byte byte // what stands there with it flipped
}

// maxFlipData bounds the data in which a flipped bit is looked for: the search
// takes time by the square of it, some 10 ms here.
const maxFlipData = 4 << 10

// FindFlip looks for the one bit that, flipped, makes the header of a group, or,
// if lsn is not 0, the frame at x verify, where lsn is the LSN that the frame has
// if it is a record and end is the end of its group. Flipping the wrong bit makes
// a sum hold with a chance of 2^-64 for each one tried. The error is r's.
func FindFlip(r io.ReaderAt, h Header, x int64, lsn LSN, end int64) (f Flip, ok bool, err error) {
	size := int64(GroupHeaderSize)
	if lsn != 0 {
		size = max(0, end-x)
	}
	b := make([]byte, size)
	n, err := r.ReadAt(b, x)
	if err != nil && err != io.EOF {
		return f, false, err
	}
	b = b[:n]
	switch {
	case lsn == 0 && n == GroupHeaderSize:
		f, ok = flipIn(b, func() bool {
			return binary.LittleEndian.Uint16(b[grpMagic:]) == groupMagic && groupSum(b, h.Salt, x) == decodeGroup(b).Sum
		})
	case lsn != 0 && n >= FrameHeaderSize:
		f, ok = flipFrame(b, h.Salt, x, lsn)
	}
	f.Off += x
	return f, ok, nil
}

// flipIn flips the bits of b one after the other until holds does.
func flipIn(b []byte, holds func() bool) (Flip, bool) {
	for i := range b {
		for mask := byte(1); mask != 0; mask <<= 1 {
			b[i] ^= mask
			found := holds()
			b[i] ^= mask
			if found {
				return Flip{Off: int64(i), Mask: mask, Byte: b[i] ^ mask}, true
			}
		}
	}
	return Flip{}, false
}

// flipFrame looks for the flipped bit in the frame at x that b begins with.
func flipFrame(b []byte, salt uint64, x int64, lsn LSN) (Flip, bool) {
	sum := func() (sum uint64, n int64) {
		n = int64(binary.LittleEndian.Uint32(b[frmLength:]))
		if n > MaxData || frameSize(n) > int64(len(b)) {
			return 0, -1
		}
		at := lsn
		if Type(b[frmType]) != TypeRecord {
			at = 0
		}
		return frameSum(b, salt, x, at, Hash(b[FrameHeaderSize:][:n])), n
	}
	holds := func() bool {
		s, n := sum()
		return n >= 0 && s == binary.LittleEndian.Uint64(b[frmSum:])
	}
	if f, ok := flipIn(b[:frmSum], holds); ok {
		return f, true
	}
	s, n := sum()
	if n < 0 {
		return Flip{}, false
	}
	if d := s ^ binary.LittleEndian.Uint64(b[frmSum:]); bits.OnesCount64(d) <= 1 {
		if d != 0 {
			bit := bits.TrailingZeros64(d)
			at, mask := frmSum+bit/8, byte(1)<<(bit%8)
			return Flip{Off: int64(at), Mask: mask, Byte: b[at] ^ mask}, true
		}
		padding := b[FrameHeaderSize+n : frameSize(n)] // the sum holds: it can only be there
		f, ok := flipIn(padding, func() bool { return allZero(padding) })
		f.Off += FrameHeaderSize + n
		return f, ok
	}
	if n > maxFlipData {
		return Flip{}, false
	}
	f, ok := flipIn(b[FrameHeaderSize:][:n], holds)
	f.Off += FrameHeaderSize
	return f, ok
}

// Flipped reads r with one bit flipped, or as it is where somebody has flipped it
// meanwhile.
type Flipped struct {
	io.ReaderAt
	Flip
}

// ReadAt reads as the underlying reader does, but for the bit.
func (f Flipped) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.ReaderAt.ReadAt(p, off)
	if at := f.Off - off; at >= 0 && at < int64(n) {
		p[at] = f.Byte
	}
	return n, err
}
