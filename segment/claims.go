package segment

import (
	"encoding/binary"
	"io"
	"slices"
)

// Claims is what stands in the part of a segment behind X. Section 7. What a reused file
// has behind the rest, and no header verifies, is nothing.
type Claims struct {
	Durable int64  // the highest watermark of any header that holds its own sum; 0: there is none
	At      int64  // offset of the header that claims Durable
	Headers int    // headers that hold their own sum
	Sealed  bool   // one of them is a seal
	Last    LSN    // the highest LSN that one of them speaks of; 0: none
	Zero    bool   // every byte is zero
	Hole    bool   // a whole sector is zero before a byte that is not
	First   int64  // offset of the first byte that is not zero; 0 if there is none
	Used    int64  // offset behind the last byte that is not zero; off if there is none
	Newer   string // what in one of them this version does not know
}

// sector is the unit that a disk writes whole or not at all.
const sector = 512

// Claims looks at every multiple of 8 in [off, size) of r, a segment with header h,
// for the header of a group that holds its own sum, whatever became of its frames.
// It trusts no length on the way. The error is r's. It ends the scan that s was at,
// and uses its memory.
func (s *Scanner) Claims(r io.ReaderAt, h Header, off, size int64) (Claims, error) {
	c, start := Claims{Zero: true, Used: off}, off
	s.Start(r, "", h, HeaderSize)
	s.buf = slices.Grow(s.buf, int(max(0, min(scanChunk, size-off))))
	buf := s.buf[:max(0, min(scanChunk, size-off))]
	empty, rest := false, h.restEnd(off, size) // empty: a zero sector was passed
	for off < size {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if err != nil && err != io.EOF {
			return c, err
		}
		end := off + int64(n)
		next := (end - GroupHeaderSize) / sector * sector // a header may begin in the last 63 bytes
		last := end >= size || next <= off
		if last {
			next = end
		}
		c.findIn(buf[:n], h, off, next)
		empty = c.findUsed(buf[:max(0, min(int64(n), rest-off))], off, empty)
		if last {
			break
		}
		off = next
	}
	c.Used = max(start, min(c.Used, size))
	return c, nil
}

// findIn looks for headers that begin before end in b, the bytes at off.
func (c *Claims) findIn(b []byte, h Header, off, end int64) {
	for i := 0; i+GroupHeaderSize <= len(b) && off+int64(i) < end; i += 8 {
		if binary.LittleEndian.Uint16(b[i+grpMagic:]) != groupMagic {
			continue
		}
		at := off + int64(i)
		g := decodeGroup(b[i:])
		if groupSum(b[i:], h.Salt, at) != g.Sum {
			continue
		}
		c.Headers++
		if h.Reused() {
			c.use(at, at+g.Length)
		}
		c.Sealed = c.Sealed || g.Kind == KindSeal
		if what := newerGroup(g); what != "" {
			c.Newer = what
		}
		if g.Durable > c.Durable {
			c.Durable, c.At = g.Durable, at
		}
		if g.Base > 0 {
			c.Last = max(c.Last, g.End()-1)
		}
	}
}

// findUsed notes which of the bytes b at off are zero, sector by sector, and
// returns whether a zero sector was passed.
func (c *Claims) findUsed(b []byte, off int64, empty bool) bool {
	for len(b) > 0 {
		n := min(int64(len(b)), align(off+1, sector)-off)
		if allZero(b[:n]) {
			empty = empty || n == sector
		} else {
			first, last := int64(0), n
			for b[first] == 0 {
				first++
			}
			for b[last-1] == 0 {
				last--
			}
			c.use(off+first, off+last)
			c.Hole = c.Hole || empty
		}
		b, off = b[n:], off+n
	}
	return empty
}

// use notes that the bytes from first to end are not all zero.
func (c *Claims) use(first, end int64) {
	if c.Zero || first < c.First {
		c.First = first
	}
	c.Zero = false
	c.Used = max(c.Used, end)
}
