package wal

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/segment"
)

// viewer is what makes a log read-only: it looks at the directory each time the
// log is asked for something, changes nothing, and works beside a writer.
type viewer struct {
	cfg recovery.Config
	mu  sync.Mutex
	was time.Time // of the last look
	saw sight
}

// sight is what tells at little cost that a log is as it was: its names, FRONT,
// and nothing yet where the next group will begin.
type sight struct {
	names []string
	front []byte
	tail  string   // the newest segment's path; "": there is none
	end   int64    // where it ends; 0: not clean, so that it must be scanned again
	ready []string // paths of the segments behind it, which have no opening group yet
}

// glance returns the names and FRONT as they are now.
func (v *viewer) glance() (s sight, err error) {
	if s.names, err = v.cfg.FS.List(v.cfg.Dir); err != nil {
		return s, err
	}
	s.front, err = v.bytes(filepath.Join(v.cfg.Dir, segment.FrontName), 0, segment.FrontSize)
	return s, err
}

// bytes returns up to n bytes of a file from off on.
func (v *viewer) bytes(path string, off int64, n int) ([]byte, error) {
	file, err := v.cfg.FS.Open(path, vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b := make([]byte, n)
	got, err := file.ReadAt(b, off)
	if err == io.EOF {
		err = nil
	}
	return b[:got], err
}

// still reports whether the log is as it was when v last examined it.
func (v *viewer) still(now sight) bool {
	was := v.saw
	if !slices.Equal(now.names, was.names) || !bytes.Equal(now.front, was.front) || was.tail != "" && was.end == 0 {
		return false
	}
	for _, path := range was.ready {
		if !v.unused(path, segment.HeaderSize) {
			return false
		}
	}
	return was.tail == "" || v.unused(was.tail, was.end)
}

// unused reports whether no group begins at off.
func (v *viewer) unused(path string, off int64) bool {
	b, err := v.bytes(path, off, segment.GroupHeaderSize)
	return err == nil && len(bytes.Trim(b, "\x00")) == 0
}

// note remembers what plan, which is no older than s, found.
func (v *viewer) note(s sight, plan *recovery.Plan) {
	var last uint64
	if plan.Last != nil {
		last = plan.Last.ID
		s.tail = plan.Last.Path
		if plan.Report.Tail == recovery.TailClean && len(plan.Report.Flipped) == 0 {
			s.end = plan.Last.X
		}
	}
	for _, name := range s.names {
		if id, ok := segment.ParseName(name); ok && id > last {
			s.ready = append(s.ready, segment.Path(v.cfg.Dir, id))
		}
	}
	v.saw, v.was = s, time.Now()
}

const (
	lookEvery = time.Millisecond // how long one look counts as now
	lookTries = 50               // how often, a lookEvery apart, for a file that is gone
)

func openViewer(dir string, o Options) (*Log, error) {
	v := &viewer{cfg: recovery.Config{FS: o.FS, Dir: dir, Mode: o.Recovery, ExpectLSN: o.ExpectLSN, Live: true}}
	now, _ := v.glance() // what is wrong with it Examine says
	plan, err := recovery.Examine(v.cfg)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	if err := plan.Refusal(); err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	if !plan.Exists {
		return nil, fmt.Errorf("wal: no log in %s: %w", dir, fs.ErrNotExist)
	}
	v.cfg.ExpectLSN = 0 // it has been checked
	v.note(now, plan)
	l := newLog(dir, o, plan)
	l.viewer = v
	l.durable.Store(uint64(plan.Report.Durable))
	if list := *l.segments.Load(); len(list) > 0 {
		list[len(list)-1].unflip(plan.Last.Flips)
	}
	l.hooks.recovered(l.report)
	return l, nil
}

// look brings l up to date, unless the last look is more recent than that. If it returns
// an error, l is left as it was: the log cannot be read now, or the writer was at work on
// what was looked at.
func (v *viewer) look(l *Log, recent time.Duration) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if l.ended.Load() || time.Since(v.was) < recent {
		return nil
	}
	now, err := v.glance()
	if err == nil && v.still(now) {
		v.was = time.Now()
		return nil
	}
	plan, err := recovery.Examine(v.cfg)
	switch {
	case err != nil:
		return err
	case plan.Refusal() != nil:
		return plan.Refusal()
	case !plan.Exists:
		return fs.ErrNotExist
	}
	old, last := *l.segments.Load(), LSN(l.last.Load())
	next, err := rewoundTo(l, old, plan, last)
	if err != nil { // the writer may have removed what is to be compared, or made another segment of it
		return fmt.Errorf("what was appended since: %v", err)
	}
	v.note(now, plan)
	if next <= last {
		l.rewinds.begin(next)
		v.show(l, old, plan)
		l.rewinds.end()
	} else {
		v.show(l, old, plan)
	}
	for _, e := range old {
		if !slices.Contains(*l.segments.Load(), e) {
			_ = e.drop() // it was only read
		}
	}
	l.news.fire()
	return nil
}

// show makes visible what plan found. Segments that are still there stay open,
// so that nobody who reads them is disturbed.
func (v *viewer) show(l *Log, old []*extent, plan *recovery.Plan) {
	now := make([]*extent, 0, len(plan.Chain))
	for at, id := range plan.Chain {
		e := l.newExtent(id)
		if was := slices.IndexFunc(old, func(o *extent) bool { return o.id == id }); was >= 0 &&
			(at < len(plan.Chain)-1 || old[was].is(plan.Last.Header)) {
			e = old[was]
		}
		now = append(now, e)
	}
	for at, e := range now {
		if at < len(now)-1 {
			e.unflip(nil) // a writer has opened the one behind it, and brought this in order
			if n := len(old); n > 0 && e == old[n-1] {
				l.files.forgetIndex(e) // the seal has it
			}
			continue
		}
		e.found(plan.Last)
		e.unflip(plan.Last.Flips)
	}
	for at := 0; at+1 < len(now); at++ { // the last one of the old is followed by another now
		if now[at].end.Load() != 0 && now[at+1].loadHead() == nil && now[at+1].opening.Prev.ID == now[at].id {
			now[at].end.Store(now[at+1].opening.Prev.Length)
		}
	}
	l.segments.Store(&now)
	l.first.Store(uint64(plan.Front.First))
	if meta := plan.Meta; meta != nil { // a pointer into the plan would keep all of it
		l.meta.Store(&meta)
	}
	l.durable.Store(uint64(plan.Report.Durable))
	l.last.Store(uint64(plan.Next - 1))
}

// rewoundTo returns the LSN of the first record that was in the log when its
// segments were old and last was its newest LSN, and that plan does not have any
// more, or has another in its place; plan.Next, or more than last, if there is
// none.
func rewoundTo(l *Log, old []*extent, plan *recovery.Plan, last LSN) (LSN, error) {
	low := plan.Next
	if len(old) == 0 || len(plan.Chain) == 0 {
		return low, nil
	}
	newest := old[len(old)-1].id
	for _, id := range plan.Chain {
		if id <= newest {
			continue
		}
		e := l.newExtent(id)
		err := e.loadHead() // it begins where the log was taken back to, or behind last
		_ = e.drop()        // it was only read
		return min(low, e.baseLSN()), err
	}
	return low, nil
}
