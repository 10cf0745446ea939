package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/segment"
)

// part is a segment's file: what it says of itself, and what others say of it.
type part struct {
	path string
	id   uint64 // by its name; of a single file by its header
	size int64  // of the file, in bytes

	header  segment.Header
	first   segment.First
	headErr error // not nil: the header does not verify, or is of a newer version
	openErr error // not nil: the opening group does not verify, or is of a newer version

	follower uint64       // the newest segment of which the opening names this one; 0: none does
	end      *segment.Pin // where that one ends this one
}

// survey is what stands in a log's directory.
type survey struct {
	parts []*part // by rising id

	front    segment.Front
	whole    bool  // both slots of FRONT verify
	frontErr error // not nil: FRONT is not there, does not verify, or is of a newer version

	plan *recovery.Plan
	err  error // not nil: why there is no plan
}

// look surveys dir. The error says that it is no log's directory, or is the file
// system's; damage is none.
func (t *tool) look(dir string) (*survey, error) {
	names, err := t.fsys.List(dir)
	if err != nil {
		return nil, err
	}
	s := new(survey)
	for _, name := range names {
		id, ok := segment.ParseName(name)
		if !ok {
			continue
		}
		p, err := t.readPart(filepath.Join(dir, name), id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a writer removed it meanwhile
		}
		if err != nil {
			return nil, err
		}
		s.parts = append(s.parts, p)
	}
	if err := t.readFront(s, filepath.Join(dir, segment.FrontName)); err != nil {
		return nil, err
	}
	if errors.Is(s.frontErr, fs.ErrNotExist) && len(s.parts) == 0 {
		return nil, notLog(dir)
	}
	for _, p := range s.parts {
		s.follow(p)
	}
	s.plan, s.err = recovery.Examine(recovery.Config{FS: t.fsys, Dir: dir, Live: true})
	return s, nil
}

func notLog(dir string) error {
	return fmt.Errorf("%s is not a log's directory: it has no %s and no segments", dir, segment.FrontName)
}

func (t *tool) readFront(s *survey, path string) error {
	file, err := t.fsys.Open(path, vfs.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		s.frontErr = err
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	s.front, s.whole, s.frontErr = segment.ReadFront(file, path)
	return ifReal(s.frontErr)
}

// follow notes at the segment that p follows that p does.
func (s *survey) follow(p *part) {
	if p.headErr != nil || p.openErr != nil {
		return
	}
	for _, before := range s.parts {
		if pin := p.first.Prev; before.headErr == nil && before.id == pin.ID && before.header.Salt == pin.Salt {
			before.follower, before.end = p.id, &pin // of two the newer counts
		}
	}
}

// readPart reads header and opening of the segment in the file at path. id 0:
// the header tells it.
func (t *tool) readPart(path string, id uint64) (*part, error) {
	file, err := t.fsys.Open(path, vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	p := &part{path: path, id: id, size: info.Size}
	if id != 0 {
		p.header, err = segment.ReadHeader(file, path, id)
	} else {
		buf := make([]byte, min(info.Size, segment.HeaderSize))
		if _, err := file.ReadAt(buf, 0); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		p.header, err = segment.DecodeHeader(buf, path)
		p.id = p.header.ID
	}
	if err != nil {
		p.headErr = err
		return p, ifReal(err)
	}
	p.first, p.openErr = segment.ReadFirst(file, path, p.header, p.size)
	return p, ifReal(p.openErr)
}

// ifReal returns err if it is the file system's, and nil if it says what the
// bytes are.
func ifReal(err error) error {
	if errors.Is(err, segment.ErrCorrupt) || errors.Is(err, segment.ErrVersion) {
		return nil
	}
	return err
}

// notSound says in two words what err, of a header or an opening, means.
func notSound(err error) string {
	if errors.Is(err, segment.ErrVersion) {
		return "newer version"
	}
	return "damaged"
}

// stamp returns a time on disk as text.
func stamp(nanoseconds int64) string {
	return time.Unix(0, nanoseconds).UTC().Format("2006-01-02T15:04:05.000Z")
}
