package segment

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/cespare/xxhash/v2"
)

// Sizes in bytes. Section 4.
const (
	GroupHeaderSize = 64
	FrameHeaderSize = 16
	MaxData         = 1 << 30
)

// Kind is the kind of a group. Section 4.
type Kind uint8

// The kinds of group.
const (
	KindGroup   Kind = 1
	KindOpening Kind = 2
	KindMark    Kind = 3
	KindSeal    Kind = 4
)

// Flags of a group. Section 4.
const (
	FlagClean     = 1 << 0
	flagCompacted = 1 << 1
	flagCut       = 1 << 2
)

// Type is the type of a frame. Section 4.
type Type uint8

// The types of frame.
const (
	TypeRecord  Type = 1
	TypeMeta    Type = 2
	typeOpening Type = 3
	typeSeal    Type = 4
	typeIndex   Type = 5
)

// FlagMore says that the next frame belongs to the same batch. Section 4.
const FlagMore = 1 << 0

const (
	groupMagic   = 0xf71d
	firstSkipped = 128 // kinds and types from here on are skipped when unknown
)

// Group is what the header of a group says. Section 4.
type Group struct {
	Kind    Kind
	Flags   uint8
	Frames  uint32
	Length  int64 // bytes, with the header
	Records uint32
	Base    LSN
	Durable int64
	Chain   uint64
	Body    uint64
	Sum     uint64
}

// End returns the LSN behind the records of the group.
func (g Group) End() LSN {
	if g.Kind >= firstSkipped {
		return g.Base
	}
	return g.Base + LSN(g.Records)
}

// Offsets in a group's header. Section 4.
const (
	grpKind    = 0
	grpFlags   = 1
	grpMagic   = 2
	grpFrames  = 4
	grpLength  = 8
	grpRecords = 12
	grpBase    = 16
	grpDurable = 24
	grpChain   = 32
	grpBody    = 40
	grpZero    = 48
	grpSum     = 56
)

// encode writes the header for a group at off into b and sets g.Sum.
func (g *Group) encode(b []byte, salt uint64, off int64) {
	b = b[:GroupHeaderSize]
	b[grpKind] = byte(g.Kind)
	b[grpFlags] = g.Flags
	binary.LittleEndian.PutUint16(b[grpMagic:], groupMagic)
	binary.LittleEndian.PutUint32(b[grpFrames:], g.Frames)
	binary.LittleEndian.PutUint32(b[grpLength:], uint32(g.Length/8))
	binary.LittleEndian.PutUint32(b[grpRecords:], g.Records)
	binary.LittleEndian.PutUint64(b[grpBase:], uint64(g.Base))
	binary.LittleEndian.PutUint64(b[grpDurable:], uint64(g.Durable))
	binary.LittleEndian.PutUint64(b[grpChain:], g.Chain)
	binary.LittleEndian.PutUint64(b[grpBody:], g.Body)
	binary.LittleEndian.PutUint64(b[grpZero:], 0)
	g.Sum = groupSum(b, salt, off)
	binary.LittleEndian.PutUint64(b[grpSum:], g.Sum)
}

// decodeGroup reads the header in b. It checks nothing.
func decodeGroup(b []byte) Group {
	return Group{
		Kind:    Kind(b[grpKind]),
		Flags:   b[grpFlags],
		Frames:  binary.LittleEndian.Uint32(b[grpFrames:]),
		Length:  int64(binary.LittleEndian.Uint32(b[grpLength:])) * 8,
		Records: binary.LittleEndian.Uint32(b[grpRecords:]),
		Base:    LSN(binary.LittleEndian.Uint64(b[grpBase:])),
		Durable: int64(min(binary.LittleEndian.Uint64(b[grpDurable:]), math.MaxInt64)),
		Chain:   binary.LittleEndian.Uint64(b[grpChain:]),
		Body:    binary.LittleEndian.Uint64(b[grpBody:]),
		Sum:     binary.LittleEndian.Uint64(b[grpSum:]),
	}
}

// isGroup tells a group's header from a frame by its first 4 bytes.
func isGroup(b []byte) bool { return b[grpMagic+1] >= 0x80 }

func groupSum(b []byte, salt uint64, off int64) uint64 {
	var in [8 + 8 + grpSum]byte
	binary.LittleEndian.PutUint64(in[0:], salt)
	binary.LittleEndian.PutUint64(in[8:], uint64(off))
	copy(in[16:], b[:grpSum])
	return xxhash.Sum64(in[:])
}

// newerGroup returns what in a header that holds its sum this version does not
// know, or "".
func newerGroup(g Group) string {
	if g.Kind == 0 || g.Kind > KindSeal && g.Kind < firstSkipped {
		return fmt.Sprintf("group kind %d", g.Kind)
	}
	if g.Flags&^FlagClean != 0 {
		return fmt.Sprintf("group flags %#x", g.Flags)
	}
	return ""
}

// Frame is one frame as a [Scanner] finds it.
type Frame struct {
	Off  int64 // of its header
	Type Type
	More bool
	LSN  LSN    // of a record; else 0
	Data []byte // the scanner's memory
	sum  uint64
}

// End returns the offset behind the frame and its padding.
func (f Frame) End() int64 { return f.Off + frameSize(int64(len(f.Data))) }

// Offsets in a frame's header. Section 4.
const (
	frmLength = 0
	frmType   = 4
	frmFlags  = 5
	frmSkip   = 6
	frmSum    = 8
)

// frameSize returns the bytes that a frame with n bytes of data takes.
func frameSize(n int64) int64 { return FrameHeaderSize + align(n, 8) }

// FrameSize returns the bytes that a frame with n bytes of data takes in a
// segment: a header of 16, the data, and 0 to 7 of padding.
func FrameSize(n int) int { return int(frameSize(int64(n))) }

// Hash returns H(data), the part of a frame's sum that depends on nothing but
// the data, so that it can be computed before any lock is taken.
func Hash(data []byte) uint64 { return xxhash.Sum64(data) }

// AppendDraft appends to dst a draft of a frame: everything but its sum, in
// whose place hash = [Hash](data) stands until a [Writer] knows the frame's
// position and LSN. data is copied.
func AppendDraft(dst []byte, t Type, more bool, data []byte, hash uint64) []byte {
	dst = appendDraftHeader(dst, t, more, len(data), hash)
	dst = append(dst, data...)
	return appendPadding(dst, len(data))
}

func appendDraftHeader(dst []byte, t Type, more bool, n int, hash uint64) []byte {
	var flags byte
	if more {
		flags = FlagMore
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
	dst = append(dst, byte(t), flags, 0, 0)
	return binary.LittleEndian.AppendUint64(dst, hash)
}

func appendPadding(dst []byte, n int) []byte {
	var zeros [8]byte
	return append(dst, zeros[:align(int64(n), 8)-int64(n)]...)
}

// frameSum is the sum of the frame at off whose first 8 bytes are b[:8] and
// whose data hashes to hash. lsn is 0 but for records.
func frameSum(b []byte, salt uint64, off int64, lsn LSN, hash uint64) uint64 {
	var in [8 + 8 + 8 + frmSum + 8]byte
	binary.LittleEndian.PutUint64(in[0:], salt)
	binary.LittleEndian.PutUint64(in[8:], uint64(off))
	binary.LittleEndian.PutUint64(in[16:], uint64(lsn))
	copy(in[24:], b[:frmSum])
	binary.LittleEndian.PutUint64(in[24+frmSum:], hash)
	return xxhash.Sum64(in[:])
}

// newerFrame returns what in a frame that holds its sum this version does not
// know, or "".
func newerFrame(b []byte) string {
	if t := Type(b[frmType]); t == 0 || t > typeIndex && t < firstSkipped {
		return fmt.Sprintf("frame type %d", t)
	}
	if f := b[frmFlags]; f&^FlagMore != 0 {
		return fmt.Sprintf("frame flags %#x", f)
	}
	if s := binary.LittleEndian.Uint16(b[frmSkip:]); s != 0 {
		return fmt.Sprintf("a gap of %d LSNs", s)
	}
	return ""
}

// AppendRoom appends a draft with n zero bytes of data, to be filled by way of
// [DraftData] and finished by [HashDraft].
func AppendRoom(dst []byte, t Type, more bool, n int) []byte {
	dst = appendDraftHeader(dst, t, more, n, 0)
	at := len(dst)
	size := int(align(int64(n), 8))
	if cap(dst)-at < size {
		dst = append(dst, make([]byte, size)...)
	} else {
		dst = dst[:at+size]
		clear(dst[at:])
	}
	return dst
}

// DraftData returns the data of the draft that begins at b.
func DraftData(b []byte) []byte {
	n := binary.LittleEndian.Uint32(b[frmLength:])
	return b[FrameHeaderSize:][:n:n]
}

// HashDraft puts the hash of its data into the draft that begins at b.
func HashDraft(b []byte) {
	binary.LittleEndian.PutUint64(b[frmSum:], Hash(DraftData(b)))
}

// EndBatch makes the draft that begins at b the last of its batch.
func EndBatch(b []byte) { b[frmFlags] &^= FlagMore }
