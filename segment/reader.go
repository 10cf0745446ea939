package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/seed3918b8df/tidemark/index"
)

// Index maps the records of a segment to the offsets of their frames.
type Index = index.Index

// First is what the opening step of a segment says. Section 5.
type First struct {
	Opening
	Base    LSN
	End     int64 // offset behind the frames of the step that stand before its first record
	Chain   uint64
	Meta    []byte // in force before the first batch
	HasMeta bool
}

// openingChunk is how many bytes [ReadFirst] reads at a time: most opening steps are
// a few hundred.
const openingChunk = 4 << 10

// ReadFirst reads the opening step of a segment of the given size in bytes. If
// it does not verify, the error is a [CorruptError], or a [VersionError]; any
// other error is r's.
func ReadFirst(r io.ReaderAt, path string, h Header, size int64) (First, error) {
	var s Scanner
	s.Start(r, path, h, max(size, HeaderSize))
	s.SetChunk(openingChunk)
	if s.Next() != StepGroup {
		return First{}, s.firstError()
	}
	g := s.Group()
	if s.Next() != StepFrame {
		return First{}, s.firstError()
	}
	o, ok := decodeOpening(s.Frame().Data, h.ID, g.Base)
	if !ok || s.Frame().Type != typeOpening || g.Chain != o.Prev.Chain {
		return First{}, &CorruptError{Path: path, Offset: s.Frame().Off, LSN: g.Base, Reason: "the opening of the segment"}
	}
	if o.incompat != 0 {
		return First{}, &VersionError{Path: path, Offset: s.Frame().Off, What: fmt.Sprintf("feature word %#x", o.incompat)}
	}
	first := First{Opening: o, Base: g.Base, Chain: g.Sum, End: s.Frame().End()}
	for more, n := s.Frame().More, 0; more; n++ {
		if s.Next() != StepFrame {
			return First{}, s.firstError()
		}
		f := s.Frame()
		if f.Type == TypeMeta && n == 0 {
			first.Meta, first.HasMeta = append([]byte{}, f.Data...), true
		}
		if first.End == f.Off && f.LSN == 0 {
			first.End = f.End()
		}
		more = f.More
	}
	return first, nil
}

// firstError is the error of a scan that stopped within the opening step.
func (s *Scanner) firstError() error {
	if s.stop.Err != nil {
		return s.stop.Err
	}
	return &CorruptError{Path: s.path, Offset: s.off, LSN: s.next, Reason: "the opening group is cut short"}
}

// ReadSeal reads the seal behind a segment's end, with its index if that
// verifies; the index is nil when it does not. A file without a seal there gives
// ok = false. The error is r's alone.
func ReadSeal(r io.ReaderAt, path string, h Header, first First, end, size int64) (seal Seal, x *index.Index, ok bool, err error) {
	off := align(end, h.Unit)
	if off+GroupHeaderSize > size {
		return seal, nil, false, nil
	}
	var s Scanner
	s.StartAt(r, path, h, size, off, 0, scanChunk)
	if s.Next() != StepGroup || s.Group().Kind != KindSeal || s.Next() != StepFrame || s.Frame().Type != typeSeal {
		return seal, nil, false, s.readError()
	}
	seal, ok = decodeSeal(s.Frame().Data)
	if !ok || seal.Length != end {
		return seal, nil, false, nil
	}
	if seal.index != indexSparse || s.Next() != StepFrame || s.Frame().Type != typeIndex {
		return seal, nil, true, s.readError()
	}
	x, decodeErr := index.Decode(s.Frame().Data, end, seal.Records)
	if decodeErr != nil || seal.Last+1-first.Base != LSN(seal.Records) {
		return seal, nil, true, nil
	}
	return seal, x, true, nil
}

func (s *Scanner) readError() error {
	if s.ended && s.stop.Kind == StopRead {
		return s.stop.Err
	}
	return nil
}

// Locate returns the offset behind the frame of record lsn, and the sum of the
// header of its group: the place where a [Pin] can end the segment. If lsn is
// the LSN before the segment's base, the place is behind the frames of the
// opening step that stand before its first record. The record must be below
// limit; if it is not found there, or what leads to it does not verify, the
// error is a [CorruptError].
func Locate(r io.ReaderAt, path string, h Header, first First, limit int64, lsn LSN) (end int64, chain uint64, err error) {
	if lsn+1 == first.Base {
		return first.End, first.Chain, nil
	}
	var s Scanner
	s.Start(r, path, h, limit)
	for {
		switch s.Next() {
		case StepGroup:
			if g := s.Group(); lsn >= g.End() {
				s.SkipGroup()
			}
		case StepFrame:
			if f := s.Frame(); f.LSN == lsn {
				return f.End(), s.Chain(), nil
			}
		default:
			if s.stop.Err != nil {
				return 0, 0, s.stop.Err
			}
			return 0, 0, &CorruptError{Path: path, Offset: s.off, LSN: lsn, Reason: "the segment ends before the record"}
		}
	}
}

// BuildIndex scans a segment up to end and returns its index. It is what
// replaces an index that is lost or wrong.
func BuildIndex(r io.ReaderAt, path string, h Header, first First, end int64) (*index.Index, error) {
	x := new(index.Index)
	var s Scanner
	s.Start(r, path, h, end)
	for {
		switch s.Next() {
		case StepFrame:
			if f := s.Frame(); f.LSN != 0 {
				x.Add(uint32(f.LSN-first.Base), f.Off)
			}
		case StepEnd:
			if s.off == end || s.stop.Kind == StopLimit {
				return x, nil
			}
			return nil, s.stop.Err
		}
	}
}

// readMin and readMax are the least and the most that a point read asks the file
// for at a time, unless a frame is larger: the records before the next entry of the
// index may be.
const (
	readMin = 512
	readMax = 64 << 10
)

// ErrNoRecord is returned by [Reader.Read] when the index leads nowhere.
var ErrNoRecord = errors.New("segment: the index does not lead to the record")

// Reader reads single records. It is for one goroutine at a time and keeps its
// memory; the zero value is ready to use.
type Reader struct{ scan Scanner }

// Read appends the data of record lsn to dst. x says where to look; nothing at
// or behind limit is read. If a frame on the way, or the record, does not
// verify, the error is a [CorruptError].
func (d *Reader) Read(r io.ReaderAt, path string, h Header, x *index.Index, base, lsn LSN, limit int64, dst []byte) ([]byte, error) {
	ordinal := lsn - base
	if ordinal > math.MaxUint32 {
		return dst, ErrNoRecord
	}
	at, next, ok := x.Find(uint32(ordinal))
	if !ok || at.Off >= limit {
		return dst, ErrNoRecord
	}
	s := &d.scan
	if off, size := uniform(at, next, uint32(ordinal)); size > 0 && off+size <= limit {
		s.StartAt(r, path, h, limit, off, lsn, size)
		if s.Next() == StepFrame && s.Frame().LSN == lsn {
			return append(dst, s.Frame().Data...), nil
		}
	}
	s.StartAt(r, path, h, limit, at.Off, base+LSN(at.Ordinal), reach(at, next, uint32(ordinal), limit))
	if !s.skipTo(lsn) {
		if s.stop.Err == nil {
			return dst, ErrNoRecord
		}
		return dst, s.stop.Err
	}
	for {
		switch s.Next() {
		case StepFrame:
			if f := s.Frame(); f.LSN == lsn {
				return append(dst, f.Data...), nil
			} else if f.LSN > lsn {
				return dst, ErrNoRecord
			}
		case StepEnd:
			if s.stop.Err != nil {
				return dst, s.stop.Err
			}
			return dst, ErrNoRecord
		}
	}
}

// uniform returns where a record begins, and what it takes with what is between it and the
// next one, if those from one entry of the index to the next take the same: they do where
// all are of one size and in one group, or in a group each. It is a guess, which the sum of
// the frame that is found there proves. Else size is 0.
func uniform(at, next index.Entry, ordinal uint32) (off, size int64) {
	span, n := next.Off-at.Off, int64(next.Ordinal-at.Ordinal)
	if next.Off == math.MaxInt64 || span%(8*n) != 0 || span/n > readMax {
		return 0, 0
	}
	return at.Off + int64(ordinal-at.Ordinal)*(span/n), span / n
}

// reach returns how many bytes from an entry of the index on to read at once: as many as
// reach behind the record if those before it are no larger than the others, and some more.
func reach(at, next index.Entry, ordinal uint32, limit int64) int64 {
	span := min(next.Off, limit) - at.Off
	if next.Off != math.MaxInt64 {
		part := float64(ordinal-at.Ordinal+1) / float64(next.Ordinal-at.Ordinal)
		span = min(span, int64(part*float64(span))+readMin/2)
	}
	return min(max(readMin, span), readMax)
}

// skipTo passes the frames before record lsn by their lengths alone. If they
// lie, the sum of the record found does not hold, since its LSN is part of it.
func (s *Scanner) skipTo(lsn LSN) bool {
	for s.next < lsn && s.off+FrameHeaderSize <= s.limit {
		b := s.window(s.off, FrameHeaderSize)
		if b == nil {
			return false
		}
		if isGroup(b) || Type(b[frmType]) == 0 {
			if !s.atHeader() {
				if !s.ended {
					s.invalid(s.off, "neither a frame nor a group begins here", 0, 0)
				}
				return false
			}
			if s.scanHeader() != StepGroup {
				return false
			}
			if s.group.Kind >= firstSkipped {
				s.SkipGroup()
			}
			s.inGroup, s.loose = false, true // its frames are passed unseen
			continue
		}
		n := int64(binary.LittleEndian.Uint32(b[frmLength:]))
		if s.off+frameSize(n) > s.limit {
			s.invalid(s.off, "length of the frame", 0, 0)
			return false
		}
		if Type(b[frmType]) == TypeRecord {
			s.next++
		}
		s.off += frameSize(n)
	}
	return true
}
