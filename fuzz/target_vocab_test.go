package fuzz_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"regexp"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/segment"
)

// The fuzz targets take bytes and make of them what they test: a file, a directory, a
// log with damage, operations. They read the bytes as a tape, from its beginning, so
// that a change of one byte changes one decision and what follows it, and that every
// tape means something.

// tape is what is left of an input.
type tape struct{ b []byte }

// done reports whether nothing is left.
func (p *tape) done() bool { return len(p.b) == 0 }

// next returns the next byte; 0 at the end.
func (p *tape) next() byte {
	if len(p.b) == 0 {
		return 0
	}
	c := p.b[0]
	p.b = p.b[1:]
	return c
}

// below returns a number from 0 to n-1, of one byte of the tape, or of two.
func (p *tape) below(n int) int {
	v := int(p.next())
	if n > 256 {
		v |= int(p.next()) << 8
	}
	return v % max(1, n)
}

// u64 returns a number of eight bytes.
func (p *tape) u64() (v uint64) {
	for i := range 8 {
		v |= uint64(p.next()) << (8 * i)
	}
	return v
}

// take returns up to n bytes.
func (p *tape) take(n int) []byte {
	n = min(n, len(p.b))
	b := p.b[:n:n]
	p.b = p.b[n:]
	return b
}

// value returns what a field that held old is set to: an end of a range, or what is
// near to old.
func (p *tape) value(old uint64) uint64 {
	switch n := p.below(len(values) + 8); {
	case n < len(values):
		return values[n]
	case n < len(values)+2:
		return old + 1
	case n < len(values)+4:
		return old - 1
	case n < len(values)+7:
		return old ^ 1<<p.below(64)
	}
	return p.u64()
}

// hangs is the time after which a case counts as one that never ends.
const hangs = 2 * time.Minute

var alarm struct {
	once  sync.Once
	timer *time.Timer
}

// watch panics if what it is given does not end.
func watch(t *testing.T, fn func()) {
	t.Helper()
	alarm.once.Do(func() { alarm.timer = time.AfterFunc(hangs, func() { panic("it hangs") }) })
	alarm.timer.Reset(hangs)
	defer alarm.timer.Stop()
	grow()
	fn()
}

// grow has the stack of a new goroutine grow once, and not in steps: each input has a
// goroutine of its own, and a step takes as long as a small input.
//
//go:noinline
func grow() {
	var room [32 << 10]byte
	runtime.KeepAlive(&room)
}

// allowance is what reading may allocate besides twice what it reads, in bytes.
const allowance = 16 << 10

// bounded fails t if fn, which reads n bytes, allocates more than twice that, the
// allowance, and more. What fn allocates is first estimated, since to know it stops the
// world; other goroutines allocate too, so one measurement in three counts.
func bounded(t *testing.T, n int, more int64, fn func()) {
	t.Helper()
	limit := 2*int64(n) + allowance + more
	before := estimate()
	fn()
	if estimate()-before <= limit {
		return
	}
	var got int64
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		fn()
		runtime.ReadMemStats(&after)
		if got = int64(after.TotalAlloc - before.TotalAlloc); got <= limit {
			return
		}
	}
	require.LessOrEqual(t, got, limit, "bytes allocated to read %d", n)
}

// estimate returns how many bytes were allocated so far, without the last few small
// objects of each size.
func estimate() int64 {
	sample := [1]metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample[:])
	return int64(sample[0].Value.Uint64())
}

var (
	le     = binary.LittleEndian
	worked = regexp.MustCompile(`(?m)^//\t(\d+): ((?:[0-9a-f]{2} ?)+)`)
)

// workedBytes decodes the segment that section 9 of the format shows.
var workedBytes = sync.OnceValue(func() []byte {
	spec, err := os.ReadFile("../segment/doc.go")
	if err != nil {
		panic(err)
	}
	var b []byte
	for _, m := range worked.FindAllStringSubmatch(string(spec), -1) {
		off, err := strconv.Atoi(m[1])
		if err != nil {
			panic(err)
		}
		line, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		if err != nil {
			panic(err)
		}
		b = append(append(b, make([]byte, max(0, off-len(b)))...), line...)
	}
	return b
})

// workedSalt is the salt of the segment of section 9.
const workedSalt = 0x1122334455667788

// workedHeader is the header of section 9, but for another unit.
func workedHeader(unit int64) segment.Header {
	h := segment.Header{ID: 2, Salt: workedSalt, Unit: unit, Size: 4096}
	for i := range h.Log {
		h.Log[i] = byte(i)
	}
	return h
}

// units are the units of the segments that the targets make.
var units = []int64{8, 512, 64, 4096}

// sumFrame makes the sum hold of the frame at off, which has that LSN if it is a
// record. It returns false if the frame is not all there.
func sumFrame(file []byte, off int, salt, lsn uint64) (size int, ok bool) {
	if off+16 > len(file) {
		return 0, false
	}
	b := file[off:]
	n := int64(le.Uint32(b))
	if n > int64(len(b))-16 {
		return 0, false
	}
	if b[4] != 1 {
		lsn = 0
	}
	var in [40]byte
	le.PutUint64(in[0:], salt)
	le.PutUint64(in[8:], uint64(off))
	le.PutUint64(in[16:], lsn)
	copy(in[24:], b[:8])
	le.PutUint64(in[32:], xxhash.Sum64(b[16:16+n]))
	le.PutUint64(b[8:], xxhash.Sum64(in[:]))
	return int(16 + (n+7)&^7), true
}

// sumGroup makes the sum hold of the header of a group at off.
func sumGroup(file []byte, off int, salt uint64) {
	var in [72]byte
	le.PutUint64(in[0:], salt)
	le.PutUint64(in[8:], uint64(off))
	copy(in[16:], file[off:off+56])
	le.PutUint64(file[off+56:], xxhash.Sum64(in[:]))
}

// sumHeader makes the sum hold of the copy of a header, or of a slot of FRONT, that b
// is. off is what is summed with it; -1: nothing.
func sumCopy(b []byte, off int64) {
	n := len(b) - 8
	if off < 0 {
		le.PutUint64(b[n:], xxhash.Sum64(b[:n]))
		return
	}
	in := le.AppendUint64(append([]byte{}, b[:n]...), uint64(off))
	le.PutUint64(b[n:], xxhash.Sum64(in))
}

// What press leaves as it is.
const (
	keepChain = 1 << iota
	keepBody
	keepFrames
)

// press makes the sums hold of all that looks like groups and frames, as far as their
// lengths lead, so that what stands behind the sums is reached.
func press(file []byte, salt uint64, keep int) {
	chain := uint64(0)
	for off := 4096; off+64 <= len(file) && file[off+3] >= 0x80; {
		head := file[off : off+64]
		if off > 4096 && keep&keepChain == 0 {
			le.PutUint64(head[32:], chain)
		}
		body, at, lsn := xxhash.New(), off+64, le.Uint64(head[16:])
		for range le.Uint32(head[4:]) {
			if at+16 > len(file) || file[at+3] >= 0x80 {
				break
			}
			n := int64(le.Uint32(file[at:]))
			if int64(at)+16+(n+7)&^7 > int64(len(file)) {
				break
			}
			if keep&keepFrames == 0 {
				sumFrame(file, at, salt, lsn)
			}
			if file[at+4] == 1 {
				lsn++
			}
			_, _ = body.Write(file[at+8 : at+16])
			at += int(16 + (n+7)&^7)
		}
		if keep&keepBody == 0 {
			le.PutUint64(head[40:], body.Sum64())
		}
		sumGroup(file, off, salt)
		chain = le.Uint64(head[56:])
		n := 8 * int64(le.Uint32(head[8:]))
		if n < 64 || int64(off)+n > int64(len(file)) {
			return
		}
		off += int(n)
	}
}

// frame is one frame that a maker makes, and what must be found of it.
type frame struct {
	typ  byte
	more bool
	data []byte
}

// maker makes the groups of a segment as the format's text has them; it shares no code
// with package segment.
type maker struct {
	file    []byte
	unit    int64
	next    uint64 // LSN
	chain   uint64
	durable uint64
	frames  []made
}

// made is a frame in the file.
type made struct {
	frame
	off int64
	lsn uint64
}

// newMaker returns one that has made the header and nothing else; the first record
// gets the LSN base.
func newMaker(unit int64, base uint64) *maker {
	return &maker{file: workedHeader(unit).Encode(), unit: unit, next: base, durable: 4096}
}

// openingFrame is the opening of a segment with id 2 that follows nothing.
func openingFrame(more bool) frame {
	b := make([]byte, 128)
	b[48] = 2 // irregular
	return frame{3, more, b}
}

// group adds a group, and returns where it begins.
func (m *maker) group(kind byte, frames ...frame) int {
	off := len(m.file)
	m.file = append(m.file, make([]byte, 64)...)
	body, records, lsn := xxhash.New(), uint32(0), m.next
	for _, f := range frames {
		at := len(m.file)
		m.file = append(m.file, make([]byte, 16)...)
		m.file = append(m.file, f.data...)
		m.file = append(m.file, make([]byte, -len(f.data)&7)...)
		b := m.file[at:]
		le.PutUint32(b, uint32(len(f.data)))
		b[4] = f.typ
		if f.more {
			b[5] = 1
		}
		sumFrame(m.file, at, workedSalt, lsn)
		_, _ = body.Write(b[8:16])
		n := made{frame: f, off: int64(at)}
		if f.typ == 1 {
			n.lsn = lsn
			lsn++
			records++
		}
		m.frames = append(m.frames, n)
	}
	m.file = append(m.file, make([]byte, -int64(len(m.file))&(m.unit-1))...)
	head := m.file[off:]
	head[0] = kind
	le.PutUint16(head[2:], 0xf71d)
	le.PutUint32(head[4:], uint32(len(frames)))
	le.PutUint32(head[8:], uint32(len(head)/8))
	le.PutUint32(head[12:], records)
	le.PutUint64(head[16:], m.next)
	le.PutUint64(head[24:], m.durable)
	le.PutUint64(head[32:], m.chain)
	le.PutUint64(head[40:], body.Sum64())
	sumGroup(m.file, off, workedSalt)
	m.chain, m.next = le.Uint64(head[56:]), lsn
	return off
}

// scanOf returns the frames that package segment finds in the file, and where it
// stops.
func scanOf(file []byte, h segment.Header) ([]segment.Frame, segment.Stop) {
	var sc segment.Scanner
	sc.Start(bytes.NewReader(file), "x", h, int64(len(file)))
	var frames []segment.Frame
	for step := sc.Next(); step != segment.StepEnd; step = sc.Next() {
		if step == segment.StepFrame {
			f := *sc.Frame()
			f.Data = bytes.Clone(f.Data)
			frames = append(frames, f)
		}
	}
	return frames, sc.Stop()
}

// sound reports whether one frame is another.
func sameFrame(a, b segment.Frame) bool {
	return a.Off == b.Off && a.Type == b.Type && a.More == b.More && a.LSN == b.LSN && bytes.Equal(a.Data, b.Data)
}

// agreed fails t unless both decoders say the same of file.
func agreed(t *testing.T, file []byte) {
	t.Helper()
	if bad := differ(bySegment(file), byReference(file)); bad != "" {
		t.Fatal(bad)
	}
}
