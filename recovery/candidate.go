package recovery

import (
	"errors"
	"fmt"
	"io"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// candidate is a segment's file as far as its opening step.
type candidate struct {
	id     uint64
	path   string
	plan   *Plan
	file   vfs.File
	read   io.ReaderAt // file, or what it is but for flips
	flips  []segment.Flip
	size   int64
	least  int64 // what the size is at least, unless something behind it says otherwise
	header segment.Header
	first  segment.First

	early *early // the scan of it that was begun before it is asked for; nil: none was

	headErr error // not nil: the header does not verify, or is another's
	openErr error // not nil: the opening step does not verify
}

// open reads header and opening step of the segment with the given id. The
// error is the file system's, or a version's.
func (p *Plan) open(id uint64) (*candidate, error) {
	c := &candidate{id: id, path: segment.Path(p.cfg.Dir, id), plan: p}
	file, err := p.cfg.FS.Open(c.path, vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	c.file, c.read = file, file
	if err := c.readHead(); err != nil {
		_ = file.Close()
		return nil, err
	}
	return c, nil
}

func (c *candidate) readHead() error {
	p := c.plan
	info, err := c.file.Stat()
	if err != nil {
		return err
	}
	c.size = info.Size
	c.header, err = segment.ReadHeader(c.file, c.path, c.id)
	if e := c.foreign(); err == nil && e != nil {
		err = e
	}
	if errors.Is(err, segment.ErrCorrupt) {
		c.headErr = err
		return nil
	}
	if err != nil {
		return err
	}
	c.least = c.header.Size
	if p.Front.Trimmed == c.id {
		c.least = p.Front.Length
	}
	c.first, err = segment.ReadFirst(c.file, c.path, c.header, c.size)
	if errors.Is(err, segment.ErrCorrupt) {
		c.openErr = err
		return nil
	}
	return err
}

// foreign returns the error for a segment that is of another log than the one that is
// examined, or nil; while that is not known, nil.
func (c *candidate) foreign() *segment.CorruptError {
	log := c.plan.Front.Log
	if log == (segment.LogID{}) || c.header.Log == log {
		return nil
	}
	return &segment.CorruptError{Path: c.path, Reason: fmt.Sprintf("it is a segment of log %s, not of %s", c.header.Log, log)}
}

// short returns the error for a file that is shorter than it may be.
func (c *candidate) short(why string) *segment.CorruptError {
	return &segment.CorruptError{Path: c.path, Offset: c.size, Reason: shorter(why, c.size, c.least)}
}

func shorter(why string, size, least int64) string {
	return fmt.Sprintf("%s: it has %d bytes of at least %d", why, size, least)
}

func (c *candidate) close() {
	if e := c.early; e != nil {
		c.early = nil
		close(e.abort)
		<-e.done
	}
	_ = c.file.Close() // it was only read
}

// scan reads the segment to the end that pin names, or as far as it goes.
func (c *candidate) scan(pin *segment.Pin) (*Scan, error) {
	if e := c.early; e != nil && pin != nil && *pin == e.pin {
		c.early = nil
		return e.wait(c.plan)
	}
	s := c.newScan(&c.plan.scanner)
	if err := s.upTo(c.read, pin); err != nil {
		return nil, err
	}
	return s, nil
}

// newScan returns a scan of the segment, by way of sc, that has not begun.
func (c *candidate) newScan(sc *segment.Scanner) *Scan {
	return &Scan{ID: c.id, Path: c.path, Header: c.header, First: c.first, Size: c.size, Flips: c.flips, least: c.least, sc: sc}
}

// unflip does for the opening group of a segment what [Scan.unflip] does for the
// tail of one.
func (c *candidate) unflip() (bool, error) {
	if c.headErr != nil {
		return false, nil
	}
	sc := &c.plan.scanner
	sc.Start(c.file, c.path, c.header, c.size)
	for sc.Next() != segment.StepEnd {
	}
	if stop := sc.Stop(); stop.Kind == segment.StopRead {
		return false, stop.Err
	}
	var lsn LSN
	end, inside := sc.GroupEnd()
	if inside {
		lsn = sc.NextLSN()
	}
	flip, ok, err := segment.FindFlip(c.file, c.header, sc.Stop().Off, lsn, min(end, c.size))
	if !ok {
		return false, err
	}
	r := segment.Flipped{ReaderAt: c.file, Flip: flip}
	first, err := segment.ReadFirst(r, c.path, c.header, c.size)
	if errors.Is(err, segment.ErrCorrupt) {
		return false, nil
	}
	if err == nil {
		c.first, c.read, c.flips, c.openErr = first, r, []segment.Flip{flip}, nil
	}
	return err == nil, err
}

// sealedBefore reports whether the segment before c is sealed: then the opening group
// of c was durable.
func (p *Plan) sealedBefore(d *directory, c *candidate) (bool, error) {
	pin := c.first.Prev
	if !d.has(pin.ID) {
		return false, nil
	}
	before, err := p.open(pin.ID)
	if err != nil {
		return false, err
	}
	defer before.close()
	if before.headErr != nil || before.openErr != nil {
		return true, nil
	}
	end := min(before.size, pin.Length+before.header.Unit+segment.GroupHeaderSize) // its header is enough
	claims, err := p.scanner.Claims(before.file, before.header, pin.Length, end)
	return claims.Sealed, err
}
