package recovery

import (
	"errors"
	"io"
	"slices"

	"github.com/seed3918b8df/tidemark/segment"
)

// Scan is what a scan of one segment found.
type Scan struct {
	ID     uint64
	Path   string
	Header segment.Header
	First  segment.First
	Index  *segment.Index // of the records before End
	Size   int64          // of the file, in bytes

	X      int64 // the first position that does not verify, or Size
	Why    error // what does not hold at X; nil at the end
	Proved int64 // W, the highest watermark claimed

	End      int64 // where the segment ends, and
	EndChain uint64
	EndLSN   LSN   // its last LSN
	EndFrame int64 // the offset behind its last frame

	Meta    []byte // in force at End
	HasMeta bool
	Closed  bool // its last group is a mark of Close
	Durable LSN  // its last LSN below Proved

	// Flips are the bits that were flipped back to read it: one in the opening group
	// and one in the tail at most.
	Flips []segment.Flip

	sc         *segment.Scanner // the plan's, once the scan is at hand
	frameChain uint64           // at EndFrame
	least      int64            // of Size, unless something behind it says otherwise

	claims    segment.Claims
	inGroup   bool  // X is inside a group of which the header verifies, and which
	groupEnd  int64 // ends here
	groupLast LSN   // and has this last LSN
	xLSN      LSN   // of the record at X, if it is one
}

// state of a scan at a point where the segment could end.
type ending struct {
	off     int64
	chain   uint64
	frame   int64  // behind the last frame, and
	under   uint64 // the chain there
	lsn     LSN
	meta    []byte
	hasMeta bool
}

// upTo scans the segment in file to the end that pin names or, if pin is nil, as far as
// it verifies, and looks at what is behind. The error is as that of scan.
func (s *Scan) upTo(file io.ReaderAt, pin *segment.Pin) error {
	err := s.scan(file, pin)
	if err == nil {
		err = s.claim(file)
	}
	if err == nil && pin == nil {
		s.Durable, err = s.provedLSN(file)
	}
	return err
}

// scan reads the segment in file: to the end that pin names or, if pin is nil,
// as far as it verifies. The error is the file's or a version's; damage is a
// fact, not an error.
func (s *Scan) scan(file io.ReaderAt, pin *segment.Pin) error {
	limit := s.Size
	if pin != nil {
		limit = min(limit, pin.Length)
	}
	sc := s.sc
	sc.Start(file, s.Path, s.Header, limit)
	s.Index = new(segment.Index)
	at := ending{off: segment.HeaderSize, frame: segment.HeaderSize, lsn: s.First.Base - 1}
	good, before := at, at
	for step := sc.Next(); step != segment.StepEnd; step = sc.Next() {
		if step == segment.StepGroup {
			at.off = sc.GroupOff() // the group before is whole
			good, before = at, at
			g := sc.Group()
			s.Proved = max(s.Proved, g.Durable)
			if g.Kind == segment.KindSeal {
				s.X = sc.GroupOff() // it ends the segment, whatever pin says; claim finds it
				break
			}
			s.Closed = g.Kind == segment.KindMark && g.Flags&segment.FlagClean != 0
			s.groupLast = g.End() - 1
			at.chain = g.Sum
			continue
		}
		f := sc.Frame()
		at.off, at.frame, at.under = f.End(), f.End(), at.chain
		switch f.Type {
		case segment.TypeRecord:
			at.lsn = f.LSN
			s.Index.Add(uint32(f.LSN-s.First.Base), f.Off)
		case segment.TypeMeta:
			at.meta, at.hasMeta = append([]byte{}, f.Data...), true
		}
		if !f.More {
			good = at
		}
	}
	stop := sc.Stop()
	if stop.Kind == segment.StopRead || stop.Kind == segment.StopVersion {
		return stop.Err
	}
	if s.X == 0 {
		s.X, s.Why = stop.Off, stop.Err
		s.groupEnd, s.inGroup = sc.GroupEnd()
		s.xLSN = sc.NextLSN()
	}
	switch {
	case !s.inGroup, pin != nil && s.X == pin.Length:
		at.off = s.X
		good = at // all is whole; or a pin ends it, even within a batch
	case s.X <= before.off:
		good = before // the group's header does not fit its frames
	}
	s.End, s.EndChain, s.EndLSN, s.EndFrame = good.off, good.chain, good.lsn, good.frame
	s.frameChain = good.under
	s.Meta, s.HasMeta = good.meta, good.hasMeta
	return nil
}

// claim looks at what is behind X for watermarks.
func (s *Scan) claim(file io.ReaderAt) error {
	c, err := s.sc.Claims(file, s.Header, s.X, s.Size)
	if err != nil {
		return err
	}
	if c.Newer != "" {
		return &segment.VersionError{Path: s.Path, Offset: s.X, What: c.Newer}
	}
	s.claims = c
	if s.inGroup && s.Header.Reused() {
		s.claims.Used = max(c.Used, min(s.groupEnd, s.Size))
	}
	s.Proved = max(s.Proved, c.Durable)
	return nil
}

// provedLSN returns the last LSN before End that the watermark covers.
func (s *Scan) provedLSN(file io.ReaderAt) (LSN, error) {
	if s.Proved >= s.EndFrame {
		return s.EndLSN, nil
	}
	lsn := s.First.Base - 1
	sc := s.sc
	sc.Start(file, s.Path, s.Header, s.End)
	for step := sc.Next(); step != segment.StepEnd; step = sc.Next() {
		if step != segment.StepGroup {
			continue
		}
		sc.SkipGroup() // watermarks are ends of groups
		if sc.Off() > s.Proved {
			return lsn, nil
		}
		lsn = sc.NextLSN() - 1
	}
	if stop := sc.Stop(); stop.Kind == segment.StopRead {
		return lsn, stop.Err
	}
	return lsn, nil
}

// Pin returns the pin that ends the segment: at End or, if only marks that
// nothing proves stand behind the last frame, before those. Nobody wrote them
// again, and a crash may take them yet.
func (s *Scan) Pin() segment.Pin {
	if s.EndFrame <= s.Proved && s.Proved < s.End {
		return segment.Pin{ID: s.ID, Salt: s.Header.Salt, Length: s.EndFrame, Durable: s.EndFrame, Chain: s.frameChain, Last: s.EndLSN}
	}
	return segment.Pin{ID: s.ID, Salt: s.Header.Salt, Length: s.End, Durable: s.End, Chain: s.EndChain, Last: s.EndLSN}
}

// tornAt reports whether what stands at x, the first position that does not
// verify, shows that a write was interrupted: no header of a group or of a frame
// is all zero, and damage does not make it so.
func tornAt(x int64, c segment.Claims) bool {
	return c.Zero || c.First >= x+segment.FrameHeaderSize
}

// unflip looks for one bit that, flipped, makes a torn tail whole, and returns
// the scan that reads it so; nil if there is none. What the sums then verify was
// written so: a tail that is whole but for one bit was damaged, and not torn, and
// the records in it, which may have been acknowledged, need not be lost.
func (s *Scan) unflip(file io.ReaderAt) (*Scan, error) {
	if tail, _, _ := s.tail(); tail == TailClean || s.claims.Hole || s.X < s.Proved {
		return nil, nil
	}
	var lsn LSN
	if s.inGroup {
		lsn = s.xLSN
	}
	flip, ok, err := segment.FindFlip(file, s.Header, s.X, lsn, min(s.groupEnd, s.Size))
	if !ok {
		return nil, err
	}
	whole := &Scan{ID: s.ID, Path: s.Path, Header: s.Header, First: s.First, Size: s.Size, Flips: append(slices.Clip(s.Flips), flip), least: s.least, sc: s.sc}
	r := segment.Flipped{ReaderAt: file, Flip: flip}
	if err = whole.scan(r, nil); err == nil {
		err = whole.claim(r)
	}
	if err != nil {
		return nil, err
	}
	if tail, _, _ := whole.tail(); tail != TailClean || whole.X < whole.Proved {
		return nil, nil
	}
	whole.Durable, err = whole.provedLSN(r)
	return whole, err
}

// facts of the last segment of the chain.
func (s *Scan) facts() Facts {
	return Facts{
		Role:     RoleLast,
		File:     s.file(false),
		Below:    s.X < s.Proved,
		Torn:     !s.claims.Zero || s.inGroup,
		Sealed:   s.claims.Sealed,
		Unproved: s.EndFrame > s.Proved || len(s.Flips) > 0,
	}
}

// file returns what became of the file. ended says that something newer knows where
// the segment ends, and that it is whole up to there.
func (s *Scan) file(ended bool) FileState {
	if ended || s.Size >= s.least || s.claims.Sealed || s.X < s.Proved {
		return FileSound
	}
	return FileShort
}

// tail says how the segment ends, and which LSNs may be lost with what is cut.
func (s *Scan) tail() (t Tail, from, to LSN) {
	from, to = s.EndLSN+1, s.EndLSN
	if s.claims.Zero && !s.inGroup {
		return TailClean, from, to
	}
	to = max(to, s.claims.Last)
	if s.inGroup {
		to = max(to, s.groupLast)
	}
	if tornAt(s.X, s.claims) || s.inGroup && s.groupEnd > s.Size {
		return TailTorn, from, to
	}
	return TailAmbiguous, from, to
}

// damage returns the error for what does not hold at X.
func (s *Scan) damage(why string) *segment.CorruptError {
	if s.file(false) == FileShort {
		return &segment.CorruptError{Path: s.Path, Offset: s.X, LSN: s.xLSN, Reason: shorter(why, s.Size, s.least)}
	}
	var at *segment.CorruptError
	if errors.As(s.Why, &at) {
		e := *at
		e.Reason = why + ": " + e.Reason
		e.ValidBeyond = true
		return &e
	}
	return &segment.CorruptError{Path: s.Path, Offset: s.X, LSN: s.EndLSN + 1, Reason: why, ValidBeyond: true}
}
