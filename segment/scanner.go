package segment

import (
	"encoding/binary"
	"io"
	"math"

	"github.com/cespare/xxhash/v2"
)

// Step is what [Scanner.Next] found.
type Step uint8

// The steps of a scan.
const (
	StepEnd   Step = iota // see [Scanner.Stop]
	StepGroup             // the header of a group: [Scanner.Group]
	StepFrame             // a frame: [Scanner.Frame]
)

// StopKind says why a scan ended.
type StopKind uint8

// The ends of a scan.
const (
	StopLimit   StopKind = iota // at the limit, between two groups or frames
	StopInvalid                 // something does not verify; Err is a *CorruptError
	StopVersion                 // something verifies and is not known; Err is a *VersionError
	StopRead                    // the file could not be read; Err is the file's error
)

// Stop is the end of a scan.
type Stop struct {
	Kind StopKind
	Off  int64 // the first position that was not taken; X of section 7
	Err  error // nil for StopLimit
}

// A Scanner that is not told how much to read at a time reads scanChunk bytes at first, and
// from then on twice as many each time, up to maxChunk: larger chunks make long scans of
// records of 4 KiB a tenth faster, and one that reads little should not wait for much.
const (
	scanChunk = 256 << 10
	maxChunk  = 1 << 20
)

// Scanner walks the groups and frames of one segment in order and verifies what
// it passes. It is the only code that does. It never reads at or behind its
// limit and never allocates more than the limit allows. A Scanner is for one
// goroutine; its zero value is ready for [Scanner.Start].
type Scanner struct {
	// Set by Start; the limit may be raised.
	r     io.ReaderAt
	path  string
	head  Header
	limit int64
	chunk int64 // to be read next
	most  int64 // that chunk grows to

	// The window: the file's bytes from bufOff.
	buf    []byte
	bufOff int64

	// The position.
	off   int64
	next  LSN  // of the next record; 0: the next header tells
	loose bool // off is at a frame or a header, in a group whose header was not seen
	stop  Stop
	ended bool

	// The group that is being scanned, if inGroup.
	inGroup bool
	group   Group
	begin   int64 // offset of its header
	left    uint32
	records uint32
	body    xxhash.Digest
	more    bool

	// The last header; not known at the start.
	chained bool
	chain   uint64
	durable int64

	frame Frame
}

// Start begins a scan at the opening group of a segment with the given header.
// Nothing at or behind limit is read. path is for errors. The scanner keeps its
// memory from earlier scans.
func (s *Scanner) Start(r io.ReaderAt, path string, h Header, limit int64) {
	*s = Scanner{r: r, path: path, head: h, limit: limit, chunk: scanChunk, most: maxChunk, buf: s.buf[:0], off: HeaderSize}
}

// StartAt begins a scan at the frame of record lsn at off, or at the header of
// a group of which lsn is the base. chunk is how many bytes to read at a time;
// 0: as many as Start does.
func (s *Scanner) StartAt(r io.ReaderAt, path string, h Header, limit, off int64, lsn LSN, chunk int64) {
	s.Start(r, path, h, limit)
	s.off, s.next, s.loose = off, lsn, true
	if chunk > 0 {
		s.SetChunk(chunk)
	}
}

// SetChunk has the scan read n bytes at a time.
func (s *Scanner) SetChunk(n int64) { s.chunk, s.most = n, n }

// SetLimit raises the limit. A scan that stopped at the old one, be it inside a group,
// goes on.
func (s *Scanner) SetLimit(limit int64) {
	if s.limit < limit {
		s.ended = s.ended && (s.stop.Off != s.limit || s.stop.Kind > StopInvalid)
		s.limit = limit
	}
}

// Next takes one step.
func (s *Scanner) Next() Step {
	if s.ended {
		return StepEnd
	}
	if s.inGroup && s.left == 0 && !s.finishGroup() {
		return StepEnd
	}
	if s.inGroup {
		return s.scanFrame(min(s.begin+s.group.Length, s.limit))
	}
	if s.loose && !s.atHeader() {
		if s.ended {
			return StepEnd
		}
		return s.scanFrame(s.limit)
	}
	return s.scanHeader()
}

// Group returns the header of the group last stepped on. Its frames count as
// verified only when they have been stepped on.
func (s *Scanner) Group() Group { return s.group }

// GroupOff returns the offset of the group last stepped on.
func (s *Scanner) GroupOff() int64 { return s.begin }

// Frame returns the frame last stepped on. It is valid until the next call of Next, whatever
// that returns, or of Start.
func (s *Scanner) Frame() *Frame { return &s.frame }

// Off returns the offset of what the next step will look at.
func (s *Scanner) Off() int64 { return s.off }

// NextLSN returns the LSN that the next record will have.
func (s *Scanner) NextLSN() LSN { return s.next }

// Chain returns the sum of the last header stepped on.
func (s *Scanner) Chain() uint64 { return s.chain }

// GroupEnd returns the offset behind the group last stepped on, as its header
// tells it, and whether the scan is inside of it.
func (s *Scanner) GroupEnd() (end int64, inside bool) { return s.begin + s.group.Length, s.inGroup }

// Limit returns the limit.
func (s *Scanner) Limit() int64 { return s.limit }

// Ended reports whether Next returned StepEnd, and would again.
func (s *Scanner) Ended() bool { return s.ended }

// AtLimit reports whether the scan ended because of its limit: between two
// groups or frames, or at a limit inside a group, as a [Pin] may be.
func (s *Scanner) AtLimit() bool { return s.ended && s.stop.Off == s.limit }

// Stop says why Next returned StepEnd.
func (s *Scanner) Stop() Stop { return s.stop }

// SkipGroup moves behind the group last stepped on without looking at its
// frames.
func (s *Scanner) SkipGroup() {
	s.off = s.begin + s.group.Length
	s.next = s.group.End()
	s.inGroup = false
}

// atHeader reports whether a scan that began at a frame is at a header, and
// passes zero bytes up to the next multiple of the unit.
func (s *Scanner) atHeader() bool {
	n := min(FrameHeaderSize, s.limit-s.off)
	if n < 8 {
		return true // scanHeader says what the end means
	}
	b := s.window(s.off, n)
	if b == nil {
		return false
	}
	gap := align(s.off, s.head.Unit) - s.off
	if gap > 0 && s.off+gap <= s.limit && binary.LittleEndian.Uint64(b) == 0 {
		s.off += gap
		return true
	}
	return n < FrameHeaderSize || isGroup(b)
}

// scanHeader steps on the header at off. Section 4, "The header at offset p".
func (s *Scanner) scanHeader() Step {
	if s.off == s.limit {
		s.end(Stop{Kind: StopLimit, Off: s.off})
		return StepEnd
	}
	if s.off+GroupHeaderSize > s.limit {
		return s.invalid(s.off, "the file ends inside the header of a group", 0, 0)
	}
	b := s.window(s.off, GroupHeaderSize)
	if b == nil {
		return StepEnd
	}
	g := decodeGroup(b)
	if binary.LittleEndian.Uint16(b[grpMagic:]) != groupMagic {
		return s.invalid(s.off, "no group begins here", 0, 0)
	}
	if sum := groupSum(b, s.head.Salt, s.off); sum != g.Sum {
		return s.invalid(s.off, "sum of the group's header", g.Sum, sum)
	}
	if what := newerGroup(g); what != "" {
		return s.newer(what)
	}
	if why := s.checkHeader(b, g); why != "" {
		return s.invalid(s.off, why, 0, 0)
	}
	s.group, s.begin, s.left, s.records, s.more = g, s.off, g.Frames, 0, false
	s.next, s.chained, s.chain, s.durable = g.Base, true, g.Sum, g.Durable
	s.off += GroupHeaderSize
	s.inGroup, s.loose = true, false
	s.body.Reset()
	if g.Kind >= firstSkipped {
		s.left = 0 // finishGroup passes them
	}
	return StepGroup
}

// checkHeader returns which of rules 5 to 10 of section 4 a header at off with
// a right sum breaks, or "".
func (s *Scanner) checkHeader(b []byte, g Group) string {
	switch {
	case g.Length < GroupHeaderSize || (s.off+g.Length)%s.head.Unit != 0:
		return "length of the group"
	case s.chained && g.Chain != s.chain:
		return "the group does not follow the one before it"
	case s.next != 0 && g.Base != s.next:
		return "base LSN of the group"
	case g.Base == 0, g.Kind < firstSkipped && uint64(g.Base) > math.MaxUint64-uint64(g.Records):
		return "base LSN of the group"
	case g.Durable < HeaderSize || g.Durable < s.durable || g.Durable > s.off:
		return "watermark of the group"
	case (g.Kind == KindOpening) != (s.off == HeaderSize):
		return "an opening group anywhere else, or another group in its place"
	case !allZero(b[grpZero:grpSum]):
		return "reserved bytes of the group's header"
	}
	return ""
}

// scanFrame steps on the frame at off, which must end by bound. Section 4, "A
// frame is valid".
func (s *Scanner) scanFrame(bound int64) Step {
	if s.off+FrameHeaderSize > bound {
		return s.invalid(s.off, "no room for a frame", 0, 0)
	}
	b := s.window(s.off, FrameHeaderSize)
	if b == nil {
		return StepEnd
	}
	n := int64(binary.LittleEndian.Uint32(b[frmLength:]))
	if n > MaxData || s.off+frameSize(n) > bound {
		return s.invalid(s.off, "length of the frame", 0, 0)
	}
	if b = s.window(s.off, frameSize(n)); b == nil {
		return StepEnd
	}
	f := &s.frame // in place: a copy would wait for its parts to be stored
	f.Off, f.Type, f.More, f.LSN = s.off, Type(b[frmType]), b[frmFlags]&FlagMore != 0, 0
	f.Data, f.sum = b[FrameHeaderSize:][:n:n], binary.LittleEndian.Uint64(b[frmSum:])
	if f.Type == TypeRecord {
		f.LSN = s.next
	}
	if sum := frameSum(b, s.head.Salt, s.off, f.LSN, xxhash.Sum64(f.Data)); sum != f.sum {
		return s.invalid(s.off, "sum of the frame", f.sum, sum)
	}
	if what := newerFrame(b); what != "" {
		return s.newer(what)
	}
	if !allZero(b[FrameHeaderSize+n:]) {
		return s.invalid(s.off, "padding of the frame", 0, 0)
	}
	s.off += int64(len(b))
	s.more = f.More
	if f.Type == TypeRecord {
		s.next++
		s.records++
	}
	if s.inGroup {
		s.left--
		s.body.Write(b[frmSum:FrameHeaderSize])
	}
	return StepFrame
}

// finishGroup checks what is known only when all frames of a group have been
// stepped on. Section 4, "The group is valid".
func (s *Scanner) finishGroup() bool {
	end := s.begin + s.group.Length
	switch gap := end - s.off; {
	case s.group.Kind >= firstSkipped && end <= s.limit:
		// what stands in it means nothing to this version
	case s.group.Kind < firstSkipped && (gap < 0 || gap >= s.head.Unit):
		s.invalid(s.off, "length of the group", 0, 0)
	case end > s.limit:
		s.invalid(s.off, "the file ends inside the group", 0, 0)
	case s.more:
		s.invalid(s.frame.Off, "a batch runs beyond its group", 0, 0)
	case s.records != s.group.Records:
		s.invalid(s.begin, "number of records in the group", 0, 0)
	case s.body.Sum64() != s.group.Body:
		s.invalid(s.begin, "sum of the group's body", s.group.Body, s.body.Sum64())
	case gap > 0:
		if b := s.window(s.off, gap); b != nil && !allZero(b) {
			s.invalid(s.off, "bytes between two groups", 0, 0)
		}
	}
	if s.ended {
		return false
	}
	s.off = end
	s.inGroup = false
	return true
}

// window returns the n bytes at off, or nil after it ended the scan. Requires
// off+n <= limit.
func (s *Scanner) window(off, n int64) []byte {
	at := off - s.bufOff
	if have := int64(len(s.buf)); at >= 0 && at+n <= have {
		return s.buf[at:][:n]
	}
	old := s.buf
	if at < 0 || at > int64(len(old)) { // something was skipped, and may be again
		s.chunk = min(s.chunk, scanChunk)
	}
	want := min(max(n, s.chunk), s.limit-off)
	s.chunk = min(2*s.chunk, s.most)
	var kept int
	if int64(cap(s.buf)) < want {
		s.buf = make([]byte, 0, want)
	}
	if at >= 0 && at < int64(len(old)) {
		kept = copy(s.buf[:want], old[at:])
	}
	s.buf, s.bufOff = s.buf[:want], off
	got, err := s.r.ReadAt(s.buf[kept:], off+int64(kept))
	s.buf = s.buf[:kept+got]
	if int64(len(s.buf)) >= n {
		return s.buf[:n]
	}
	if err == nil || err == io.EOF {
		s.invalid(off, "the file is shorter than it was", 0, 0)
	} else {
		s.end(Stop{Kind: StopRead, Off: off, Err: err})
	}
	return nil
}

func (s *Scanner) invalid(off int64, reason string, stored, computed uint64) Step {
	s.end(Stop{Kind: StopInvalid, Off: off, Err: &CorruptError{
		Path: s.path, Offset: off, LSN: s.next, Reason: reason, Stored: stored, Computed: computed}})
	return StepEnd
}

func (s *Scanner) newer(what string) Step {
	s.end(Stop{Kind: StopVersion, Off: s.off, Err: &VersionError{Path: s.path, Offset: s.off, What: what}})
	return StepEnd
}

func (s *Scanner) end(stop Stop) {
	s.stop, s.ended = stop, true
}
