// Package refdecoder decodes Tidemark's format a second time, to be compared
// with the first. It is written from the text in segment/doc.go alone and
// shares no code with that package; "section" below means a section of that
// text, numbers in parentheses its conditions.
//
// It is plain and slow, works on the bytes of a whole file and panics on none.
// What it returns points into the bytes given, which must not change while it
// is in use. It allocates Scan.Frames, once and to size, and nothing else: 56
// bytes for each frame, of which 16 at least are in the file.
package refdecoder

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/cespare/xxhash/v2"
)

const (
	copySize, slotSize, groupsOff         = 2048, 4096, 4096
	groupHeader, frameHeader, openingSize = 64, 16, 128
	groupMagic                            = 0xf71d
	reused                                = 1 << 1

	kindOpening, kindSeal, kindSkipped           = 2, 4, 128
	typeRecord, typeMeta, typeOpening, typeIndex = 1, 2, 3, 5
	typeSkipped                                  = 128
)

// Verdict is what bytes are: as the text has them, not so, or verified and
// unknown to it. Beside a verdict other than Valid everything else is zero.
type Verdict uint8

const (
	Valid Verdict = iota
	Damaged
	Newer
)

// Header is the file's header, section 3.
type Header struct {
	Log      [16]byte
	ID, Salt uint64
	Unit     int64 // bytes, a power of two from 8 to 4096
	Created  int64 // nanoseconds since 1970
	Compat   uint64
	Size     int64 // bytes
}

// DecodeHeader decodes the first copy of the header, or the second if the first
// is not valid.
func DecodeHeader(file []byte) (Header, Verdict) {
	first, v1 := decodeCopy(file, 0)
	if v1 == Valid {
		return first, Valid
	}
	second, v2 := decodeCopy(file, copySize)
	if v2 == Valid {
		return second, Valid
	}
	return Header{}, max(v1, v2)
}

func decodeCopy(file []byte, off int) (Header, Verdict) {
	if len(file) < off+copySize {
		return Header{}, Damaged
	}
	b := file[off : off+copySize]
	known := u64(b[16:]) == 0 && zero(b[72:120])                                               // (4)
	if v := judge(b, "TIDEMARK", xxhash.Sum64(b[:2040]) == u64(b[2040:]), known); v != Valid { // (1) to (4)
		return Header{}, v
	}
	if b[10] < 3 || b[10] > 12 || u64(b[120:]) > 1<<35 { // (5)
		return Header{}, Damaged
	}
	return Header{[16]byte(b[32:48]), u64(b[48:]), u64(b[56:]), 1 << b[10], int64(u64(b[64:])), u64(b[24:]), int64(u64(b[120:]))}, Valid
}

// judge is what section 3 says of a copy of the header that has its sum or not,
// and known features or not; a slot of FRONT is held to the same.
func judge(b []byte, magic string, holds, known bool) Verdict {
	right := string(b[:8]) == magic
	switch version := u16(b[8:]); {
	case right && version != 1, right && holds && !known:
		return Newer
	case !right, !holds:
		return Damaged
	}
	return Valid
}

// Front is a slot of FRONT, section 8.
type Front struct {
	Log                               [16]byte
	Generation, First, Oldest, Newest uint64
	Trimmed, Length                   uint64
}

// DecodeFront decodes the valid slot with the higher generation, the first if
// they are equal. FRONT is whole if both slots are valid.
func DecodeFront(file []byte) (f Front, whole bool, v Verdict) {
	first, v1 := decodeSlot(file, 0)
	second, v2 := decodeSlot(file, slotSize)
	switch {
	case v1 == Valid && (v2 != Valid || first.Generation >= second.Generation):
		return first, v2 == Valid, Valid
	case v2 == Valid:
		return second, v1 == Valid, Valid
	}
	return Front{}, false, max(v1, v2)
}

func decodeSlot(file []byte, off int) (Front, Verdict) {
	if len(file) < off+slotSize {
		return Front{}, Damaged
	}
	b := file[off : off+slotSize]
	sum := xxhash.Sum64(put(append(make([]byte, 0, slotSize), b[:4088]...), uint64(off)))
	if v := judge(b, "TIDEFRNT", sum == u64(b[4088:]), u64(b[16:]) == 0); v != Valid {
		return Front{}, v
	}
	if u64(b[80:]) > 1<<35 {
		return Front{}, Damaged
	}
	return Front{[16]byte(b[24:40]), u64(b[40:]), u64(b[48:]), u64(b[56:]), u64(b[64:]), u64(b[72:]), u64(b[80:])}, Valid
}

// Opening is what the opening step says, section 5, and the base of its group.
type Opening struct {
	ID, Salt               uint64
	Length, Durable        int64
	Chain, Last, Irregular uint64
	Time                   int64 // nanoseconds since 1970
	Base                   uint64
	End                    int64  // offset behind the opening step
	Meta                   []byte // of the second frame, if that is a meta of the step
	HasMeta                bool
}

// DecodeOpening decodes the opening step of a file with header h. It is valid
// if the opening group verifies.
func DecodeOpening(file []byte, h Header) (Opening, Verdict) {
	g, v := decodeGroup(file, h, groupsOff, group{})
	if v != Valid {
		return Opening{}, v
	}
	if g.frames == 0 {
		if s := walk(file, h, func(Frame) {}); s.Newer && s.X == g.end {
			return Opening{}, Newer
		}
	}
	var o Opening
	f, lsn := Frame{More: true}, g.base
	o.Base, o.End = g.base, groupsOff+groupHeader
	for n := uint32(0); f.More; n++ {
		if n == g.frames { // the last frame of the group has MORE, or there is none
			return Opening{}, Damaged
		}
		if f, o.End, v = decodeFrame(file, h.Salt, o.End, g.end, lsn); v != Valid {
			return Opening{}, v
		}
		switch {
		case n == 0:
			if v := o.decode(f, h.ID, g.chain); v != Valid {
				return Opening{}, v
			}
		case n == 1 && f.Type == typeMeta:
			o.Meta, o.HasMeta = f.Data, true
		}
		if f.Type == typeRecord {
			lsn++
		}
	}
	return o, Valid
}

// decode takes the opening frame of the segment with the given id, whose opening
// group has the given chain.
func (o *Opening) decode(f Frame, own, chain uint64) Verdict {
	b := f.Data
	if f.Type != typeOpening || len(b) != openingSize || !zero(b[80:]) || u64(b[32:]) != chain {
		return Damaged
	}
	id, length, durable, last, irregular := u64(b), u64(b[16:]), u64(b[24:]), u64(b[40:]), u64(b[48:])
	if id == 0 {
		if !zero(b[8:48]) || irregular != own {
			return Damaged
		}
	} else if id >= own || o.Base != last+1 || durable < groupsOff || durable > length || length > 1<<35 ||
		irregular > own || (irregular == own) != (id != own-1) {
		return Damaged
	}
	if u64(b[64:]) != 0 {
		return Newer
	}
	o.ID, o.Salt = id, u64(b[8:])
	o.Length, o.Durable = int64(length), int64(durable)
	o.Chain, o.Last, o.Irregular = chain, last, irregular
	o.Time = int64(u64(b[56:]))
	return Valid
}

// Scan is what a scan of a segment finds, section 7.
type Scan struct {
	Frames []Frame // valid frames in order up to X, those of a cut batch too
	X      int64   // offset of what ends the scan: the first that is not valid, or a seal
	Clean  bool    // X is in no group, the rest from X on is zero, and no header holds its sum there
	Newer  bool    // what stands at X verifies and is not known
	C      int64   // offset at which the segment ends if no opening says otherwise
	Last   uint64  // last LSN before C; the first base less one if none
	W      int64   // highest watermark claimed by a header; 0 if none
	Sealed bool    // some header of a seal holds its sum, before X or behind

	Unknown bool // some header from X on holds its sum, and its kind or flags are not known
}

// Frame is a valid frame, section 4. The LSN is 0 but for records.
type Frame struct {
	Off  int64
	Type uint8
	LSN  uint64
	More bool
	Data []byte
}

// ScanSegment scans a file with header h as section 7 has it. It does not ask
// whether the opening group verifies: DecodeOpening does, and if it does not,
// the segment carries no records, whatever the frames. X and C are at least
// 4096, even if the file ends before.
func ScanSegment(file []byte, h Header) Scan {
	n := 0
	walk(file, h, func(Frame) { n++ })
	frames := make([]Frame, 0, n)
	s := walk(file, h, func(f Frame) { frames = append(frames, f) })
	for len(frames) > 0 && frames[len(frames)-1].Off >= s.X { // of a group that does not hold
		frames = frames[:len(frames)-1]
	}
	s.Frames = frames
	rest := file[min(s.X, int64(len(file))):]
	if h.Compat&reused != 0 {
		rest = rest[:min((s.X+groupHeader+4095)/4096*4096-s.X, int64(len(rest)))]
	}
	s.Clean = s.Clean && zero(rest)
	for p := s.X; p < int64(len(file)); p += 8 {
		if b := headerAt(file, h.Salt, p); b != nil {
			s.claim(b)
			s.Unknown = s.Unknown || unknown(b)
			s.Clean = false
		}
	}
	return s
}

// walk takes group after group until X and gives each valid frame to take. Clean
// says that X is in no group.
func walk(file []byte, h Header, take func(Frame)) Scan {
	s := Scan{X: groupsOff, C: groupsOff, Clean: true}
	g, v := decodeGroup(file, h, groupsOff, group{})
	if v == Valid {
		s.Last = g.base - 1
	}
	for v == Valid && g.kind != kindSeal {
		s.claim(headerAt(file, h.Salt, s.X))
		if s.Clean, v = s.frames(file, h, &g, take); !s.Clean {
			break
		}
		s.X, s.C, s.Last = g.end, g.end, g.next-1
		g, v = decodeGroup(file, h, g.end, g)
	}
	s.Newer = v == Newer
	return s
}

// frames takes the frames of the group at X and leaves X where the group is not
// valid, else behind its last frame. It returns whether the group is valid, and
// the verdict on what stands at X.
func (s *Scan) frames(file []byte, h Header, g *group, take func(Frame)) (whole bool, v Verdict) {
	before := *s
	s.X += groupHeader
	if g.kind >= kindSkipped {
		return g.end <= int64(len(file)), Valid
	}
	body := xxhash.New()
	var last Frame
	for range g.frames {
		f, end, v := decodeFrame(file, h.Salt, s.X, g.end, g.next)
		if v != Valid {
			return false, v
		}
		take(f)
		body.Write(file[s.X+8 : s.X+16])
		if f.Type == typeRecord {
			g.next++
		}
		s.X, last = end, f
		if !f.More {
			s.C, s.Last = end, g.next-1
		}
	}
	switch {
	case g.end-s.X >= h.Unit, g.end > int64(len(file)): // (1), (2)
	case last.More: // (3)
		s.X = last.Off
	case g.next-g.base != uint64(g.records), body.Sum64() != g.body: // (4), (5)
		s.X, s.C, s.Last = before.X, before.C, before.Last
	default: // (6)
		return zero(file[s.X:g.end]), Valid
	}
	return false, Valid
}

// claim counts a header that holds its sum, whatever else is wrong with it.
func (s *Scan) claim(b []byte) {
	s.W = max(s.W, offset(u64(b[24:])))
	s.Sealed = s.Sealed || b[0] == kindSeal
}

// group is a valid header of a group, section 4. It ends at offset end; next is
// the LSN behind the frames taken so far.
type group struct {
	kind                                  uint8
	frames, records                       uint32
	end                                   int64
	base, next, durable, chain, body, sum uint64
}

// decodeGroup decodes the header at p, behind the group last. What stands before
// the header at 4096, its opening says.
func decodeGroup(file []byte, h Header, p int64, last group) (group, Verdict) {
	b := headerAt(file, h.Salt, p) // (1), (2), (3)
	if b == nil {
		return group{}, Damaged
	}
	kind, end := b[0], p+8*int64(u32(b[8:]))
	base, durable, chain := u64(b[16:]), u64(b[24:]), u64(b[32:])
	if unknown(b) { // (4)
		return group{}, Newer
	}
	if p == groupsOff {
		last.sum, last.next = chain, base
	}
	switch {
	case end-p < groupHeader || h.Unit <= 0 || end%h.Unit != 0, // (5)
		chain != last.sum, // (6)
		base != last.next || base == 0 || kind < kindSkipped && base > math.MaxUint64-uint64(u32(b[12:])), // (7)
		durable < groupsOff || durable < last.durable || durable > uint64(p),                              // (8)
		(kind == kindOpening) != (p == groupsOff),                                                         // (9)
		!zero(b[48:56]): // (10)
		return group{}, Damaged
	}
	return group{kind, u32(b[4:]), u32(b[12:]), end, base, base, durable, chain, u64(b[40:]), u64(b[56:])}, Valid
}

// unknown reports whether a header that holds its sum has a kind or flags that this
// version does not know, and must.
func unknown(b []byte) bool {
	return b[0] == 0 || b[0] > kindSeal && b[0] < kindSkipped || b[1]&^1 != 0
}

// headerAt returns the header of a group at p if (1) it is there, (2) has the
// magic and (3) holds its sum, section 4; else nil.
func headerAt(file []byte, salt uint64, p int64) []byte {
	if p+groupHeader > int64(len(file)) || u16(file[p+2:]) != groupMagic {
		return nil
	}
	b := file[p : p+groupHeader]
	if xxhash.Sum64(append(put(make([]byte, 0, 72), salt, uint64(p)), b[:56]...)) != u64(b[56:]) {
		return nil
	}
	return b
}

// decodeFrame decodes the frame at off of a group that ends at end, section 4;
// next is its LSN if it is a record. It returns the offset behind the frame.
func decodeFrame(file []byte, salt uint64, off, end int64, next uint64) (Frame, int64, Verdict) {
	end = min(end, int64(len(file)))
	if off+frameHeader > end {
		return Frame{}, 0, Damaged
	}
	b, data := file[off:off+frameHeader], off+frameHeader
	dataEnd := data + int64(u32(b))
	behind := (dataEnd + 7) &^ 7
	if u32(b) > 1<<30 || behind > end { // (1)
		return Frame{}, 0, Damaged
	}
	f := Frame{Off: off, Type: b[4], More: b[5]&1 != 0, Data: file[data:dataEnd:dataEnd]}
	if f.Type == typeRecord {
		f.LSN = next
	}
	sum := append(put(make([]byte, 0, 40), salt, uint64(off), f.LSN), b[:8]...)
	sum = put(sum, xxhash.Sum64(f.Data))
	switch {
	case xxhash.Sum64(sum) != u64(b[8:]): // (2)
		return Frame{}, 0, Damaged
	case f.Type == 0 || f.Type > typeIndex && f.Type < typeSkipped, b[5]&^1 != 0, u16(b[6:]) != 0: // (3)
		return Frame{}, 0, Newer
	case !zero(file[dataEnd:behind]): // (4)
		return Frame{}, 0, Damaged
	}
	return f, behind, Valid
}

// put appends the integers as the format writes them.
func put(b []byte, vs ...uint64) []byte {
	for _, v := range vs {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func u16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
func u32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func u64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// offset is v, or the largest int64 if v is beyond it.
func offset(v uint64) int64 { return int64(min(v, math.MaxInt64)) }

func zero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }
