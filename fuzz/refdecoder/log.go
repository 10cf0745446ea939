package refdecoder

import (
	"maps"
	"math"
	"slices"
)

// Segment is what the file of one segment says by itself.
type Segment struct {
	Size    int64 // of the file, in bytes
	Header  Header
	Head    Verdict
	Opening Opening // if Head is Valid
	Open    Verdict
	Scan    Scan

	file []byte
}

// DecodeSegment decodes the file that has the name of the segment with that id.
func DecodeSegment(id uint64, file []byte) *Segment {
	s := &Segment{Size: int64(len(file)), file: file}
	if s.Header, s.Head = DecodeHeader(file); s.Head != Valid {
		return s
	}
	if s.Header.ID != id {
		s.Head = Damaged
		return s
	}
	s.Opening, s.Open = DecodeOpening(file, s.Header)
	s.Scan = ScanSegment(file, s.Header)
	return s
}

// upTo returns what a scan finds that ends where the opening o of a later segment
// says: what lies behind is dead, and not looked at. whole says that it finds all, and
// that o names its chain and its last LSN; if all is valid and o names another, X is 0.
func (s *Segment) upTo(o Opening) (scan Scan, whole bool) {
	scan = s.Scan
	if scan.X != o.Length {
		scan = ScanSegment(s.file[:min(o.Length, s.Size)], s.Header)
		scan.W, scan.Sealed = s.Scan.W, s.Scan.Sealed
	}
	if scan.X < o.Length {
		return scan, false
	}
	last, chain := s.Opening.Base-1, uint64(0)
	for p := int64(groupsOff); p < o.Length; p += 8 * int64(u32(s.file[p+8:])) {
		chain = u64(s.file[p+56:])
	}
	for _, f := range scan.Frames {
		if f.Type == typeRecord {
			last = f.LSN
		}
	}
	if last != o.Last || chain != o.Chain {
		scan.X = 0
		return scan, false
	}
	return scan, true
}

// Log is what the files of a directory are, taken together.
type Log struct {
	Verdict Verdict // Valid: it is opened, and ends with Last

	// Of what is damaged or newer: the segment, 0 for FRONT, and the offset of
	// the first position in it that is not valid; 0: the file as such.
	BadID uint64
	BadAt int64
	Cut   bool // the file is shorter than it may be

	// Of a log that is opened.
	First, Last uint64
	Meta        []byte
	HasMeta     bool
	Ends        uint64 // the segment in which it ends; 0: it has none
	X, W        int64  // of that segment
	Torn        bool   // something that is not zero stands at X or behind, or X is in a group
}

// ReadLog says what FRONT, nil if there is none, and the segments by id are: the
// log is the chain of predecessors down from the highest id whose opening group
// verifies (section 8). All of it is looked at, newest first; what is damaged
// there first is reported.
func ReadLog(front []byte, segments map[uint64]*Segment) Log {
	if front == nil {
		if len(segments) == 0 {
			return Log{}
		}
		return Log{Verdict: Damaged}
	}
	f, _, v := DecodeFront(front)
	if v != Valid {
		return Log{Verdict: v}
	}
	var ids []uint64 // falling; what is older than the oldest is a leftover
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(segments))) {
		if id >= f.Oldest {
			ids = append(ids, id)
		}
	}
	r := reading{front: f, segments: segments}
	for {
		l, torn := r.from(ids)
		if torn == 0 {
			return l
		}
		ids = slices.DeleteFunc(ids, func(id uint64) bool { return id >= torn })
	}
}

// reading is a directory being read.
type reading struct {
	front    Front
	segments map[uint64]*Segment
}

// bad is the verdict on the segment id, of which the bytes at off are not valid.
func bad(v Verdict, id uint64, off int64) Log { return Log{Verdict: v, BadID: id, BadAt: off} }

// head is the verdict on the segment's file before its groups are looked at.
func (r *reading) head(s *Segment) Verdict {
	if s.Head == Valid && s.Header.Log != r.front.Log {
		return Damaged
	}
	return s.Head
}

// short reports whether the file was cut off, if no segment follows it.
func (r *reading) short(id uint64) bool {
	s := r.segments[id]
	least := s.Header.Size
	if r.front.Trimmed == id {
		least = offset(r.front.Length)
	}
	return s.Size < least
}

// from reads the log of the segments with these ids, which fall. torn is not 0 if
// the segment with that id lost its opening group, which was not durable: neither
// it nor what follows it is part of the log.
func (r *reading) from(ids []uint64) (l Log, torn uint64) {
	var top *Segment
	var id uint64
	for len(ids) > 0 && top == nil {
		id, ids = ids[0], ids[1:]
		s := r.segments[id]
		switch v := r.head(s); {
		case v != Valid:
			return bad(v, id, 0), 0
		case s.Open == Newer:
			return bad(Newer, id, groupsOff), 0
		case s.Open == Valid:
			top = s
		case r.short(id):
			return Log{Verdict: Damaged, BadID: id, BadAt: s.Size, Cut: true}, 0
		case s.Scan.W > groupsOff:
			return bad(Damaged, id, s.Scan.X), 0
		}
	}
	if newest := r.front.Newest; top == nil && newest > 0 || top != nil && id < newest {
		return bad(Damaged, newest, 0), 0
	}
	if top == nil {
		return Log{First: r.front.First, Last: r.front.First - 1}, 0
	}
	s := top.Scan
	switch {
	case s.Newer:
		return bad(Newer, id, s.X), 0
	case s.Sealed, s.X < s.W:
		return bad(Damaged, id, s.X), 0
	case r.short(id):
		return Log{Verdict: Damaged, BadID: id, BadAt: s.X, Cut: true}, 0
	}
	return r.chain(id, top)
}

// chain reads what is before the newest segment, which is sound.
func (r *reading) chain(id uint64, s *Segment) (l Log, torn uint64) {
	l = ended(id, s.Scan, s.Scan.W)
	proved := s.Scan.W > groupsOff // a sync counts only when all before it was synced
	for {
		o := s.Opening
		if o.ID == 0 || o.ID < r.front.Oldest {
			break
		}
		proved = proved || o.Durable == o.Length
		id, s = o.ID, r.segments[o.ID]
		if s == nil || s.Head == Valid && s.Header.Salt != o.Salt {
			return bad(Damaged, id, 0), 0
		}
		if v := r.head(s); v != Valid {
			return bad(v, id, 0), 0
		}
		w := max(s.Scan.W, o.Durable)
		if proved || s.Scan.Sealed {
			w = math.MaxInt64
		}
		if s.Open != Valid {
			switch {
			case s.Open == Newer:
				return bad(Newer, id, groupsOff), 0
			case w > groupsOff:
				return bad(Damaged, id, s.Scan.X), 0
			case r.short(id):
				return Log{Verdict: Damaged, BadID: id, BadAt: s.Size, Cut: true}, 0
			}
			return Log{}, id
		}
		scan, whole := s.upTo(o)
		switch {
		case whole:
		case scan.Newer && scan.X < o.Length:
			return bad(Newer, id, scan.X), 0
		case scan.X < w:
			return bad(Damaged, id, scan.X), 0
		case r.short(id):
			return Log{Verdict: Damaged, BadID: id, BadAt: scan.X, Cut: true}, 0
		default: // it ran ahead of its syncs: it is the last one, what follows is dead
			l = ended(id, scan, w)
		}
		proved = proved || w > groupsOff
	}
	l.First = r.front.First
	if s.Opening.ID == 0 && id > r.front.Newest {
		l.First = s.Opening.Base
	}
	if l.Last+1 < l.First { // FRONT is newer than all that is left
		l = Log{First: l.First, Last: l.First - 1, Meta: l.Meta, HasMeta: l.HasMeta}
	}
	return l, 0
}

// ended is the log that ends in the segment id, of which s was found.
func ended(id uint64, s Scan, w int64) Log {
	l := Log{Last: s.Last, Ends: id, X: s.X, W: w, Torn: !s.Clean}
	for _, f := range s.Frames {
		if f.Off < s.C && f.Type == typeMeta {
			l.Meta, l.HasMeta = f.Data, true
		}
	}
	return l
}
