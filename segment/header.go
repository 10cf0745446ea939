package segment

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
)

// HeaderSize is the size in bytes of a segment's header with both copies; the
// opening group begins there. Section 3.
const HeaderSize = 2 * headerCopy

const (
	headerCopy = 2048
	version    = 1

	minUnit = 8
	maxUnit = 4096
)

// headerMagic begins each copy of a header.
var headerMagic = [8]byte{'T', 'I', 'D', 'E', 'M', 'A', 'R', 'K'}

// LogID tells the files of one log from those of another.
type LogID [16]byte

// String returns 32 hexadecimal digits.
func (id LogID) String() string { return fmt.Sprintf("%x", id[:]) }

// Header is what a segment's header says. Section 3.
type Header struct {
	Log     LogID
	ID      uint64
	Salt    uint64
	Unit    int64 // bytes; a power of two from 8 to 4096
	Created int64 // nanoseconds since 1970
	Compat  uint64
	Size    int64 // bytes that were reserved for the file when it was made
}

// compatReused is a bit of [Header.Compat]. Section 3.
const compatReused = 1 << 1

// Reused reports whether the file was another segment before, of which bytes stand behind
// the rest.
func (h Header) Reused() bool { return h.Compat&compatReused != 0 }

// restPage is what the rest of a reused file ends at a multiple of. Section 2.
const restPage = 4 << 10

// restEnd returns where the rest ends that begins at off in a file of size bytes.
// Section 2.
func (h Header) restEnd(off, size int64) int64 {
	if !h.Reused() {
		return size
	}
	return max(off, min(align(off+GroupHeaderSize, restPage), size))
}

// Offsets in a copy of the header. Section 3.
const (
	hdrVersion  = 8
	hdrUnit     = 10
	hdrIncompat = 16
	hdrCompat   = 24
	hdrLog      = 32
	hdrID       = 48
	hdrSalt     = 56
	hdrCreated  = 64
	hdrOrigin   = 72
	hdrSize     = 120
	hdrSum      = headerCopy - 8
)

// Encode returns the header's bytes, both copies.
func (h Header) Encode() []byte {
	buf := make([]byte, HeaderSize)
	b := buf[:headerCopy]
	copy(b, headerMagic[:])
	binary.LittleEndian.PutUint16(b[hdrVersion:], version)
	b[hdrUnit] = log2(h.Unit)
	binary.LittleEndian.PutUint64(b[hdrCompat:], h.Compat)
	copy(b[hdrLog:], h.Log[:])
	binary.LittleEndian.PutUint64(b[hdrID:], h.ID)
	binary.LittleEndian.PutUint64(b[hdrSalt:], h.Salt)
	binary.LittleEndian.PutUint64(b[hdrCreated:], uint64(h.Created))
	binary.LittleEndian.PutUint64(b[hdrSize:], uint64(h.Size))
	binary.LittleEndian.PutUint64(b[hdrSum:], xxhash.Sum64(b[:hdrSum]))
	copy(buf[headerCopy:], b)
	return buf
}

// ReadHeader reads the header of the segment with the given id. A header of a
// newer version is a [VersionError]; one of which neither copy is valid, or
// that is of another segment, is a [CorruptError]. Any other error is r's.
func ReadHeader(r io.ReaderAt, path string, id uint64) (Header, error) {
	buf := make([]byte, HeaderSize)
	n, err := r.ReadAt(buf, 0)
	if err != nil && err != io.EOF {
		return Header{}, err
	}
	h, err := DecodeHeader(buf[:n], path)
	if err != nil {
		return Header{}, err
	}
	if h.ID != id {
		return Header{}, &CorruptError{Path: path, Offset: hdrID, Reason: fmt.Sprintf("header is of segment %d", h.ID)}
	}
	return h, nil
}

// DecodeHeader reads a header from the first bytes of a file. It fails as
// [ReadHeader] does; path is for the errors.
func DecodeHeader(buf []byte, path string) (Header, error) {
	var newer *VersionError
	for off := 0; off+headerCopy <= len(buf); off += headerCopy {
		b := buf[off : off+headerCopy]
		v := checkHeader(b)
		switch v {
		case "":
			return decodeHeader(b), nil
		case damaged:
		default:
			newer = &VersionError{Path: path, Offset: int64(off), What: v}
		}
		if off == headerCopy {
			break
		}
	}
	if newer != nil {
		return Header{}, newer
	}
	return Header{}, &CorruptError{Path: path, Reason: "neither copy of the header verifies"}
}

// damaged is what checkHeader and checkSlot return for bytes that do not verify.
const damaged = "damaged"

// checkHeader returns "" for a valid copy, damaged, or what is newer than this
// version. Section 3, "A copy is valid".
func checkHeader(b []byte) string {
	if [8]byte(b[:8]) != headerMagic {
		return damaged
	}
	if v := binary.LittleEndian.Uint16(b[hdrVersion:]); v != version {
		return fmt.Sprintf("version %d", v)
	}
	if xxhash.Sum64(b[:hdrSum]) != binary.LittleEndian.Uint64(b[hdrSum:]) {
		return damaged
	}
	if f := binary.LittleEndian.Uint64(b[hdrIncompat:]); f != 0 {
		return fmt.Sprintf("feature word %#x", f)
	}
	if !allZero(b[hdrOrigin:hdrSize]) {
		return "a rewritten segment"
	}
	if u := b[hdrUnit]; u < log2(minUnit) || u > log2(maxUnit) {
		return damaged
	}
	if binary.LittleEndian.Uint64(b[hdrSize:]) > uint64(maxSegmentBytes) {
		return damaged
	}
	return ""
}

func decodeHeader(b []byte) Header {
	return Header{
		Log:     LogID(b[hdrLog:hdrID]),
		ID:      binary.LittleEndian.Uint64(b[hdrID:]),
		Salt:    binary.LittleEndian.Uint64(b[hdrSalt:]),
		Unit:    1 << b[hdrUnit],
		Created: int64(binary.LittleEndian.Uint64(b[hdrCreated:])),
		Compat:  binary.LittleEndian.Uint64(b[hdrCompat:]),
		Size:    int64(binary.LittleEndian.Uint64(b[hdrSize:])),
	}
}

func log2(unit int64) (n byte) {
	for ; unit > 1; unit /= 2 {
		n++
	}
	return n
}

// align returns off rounded up to a multiple of unit, a power of two.
func align(off, unit int64) int64 { return (off + unit - 1) &^ (unit - 1) }

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
