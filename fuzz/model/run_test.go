package model

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing/synctest"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

const (
	dir       = "log"
	syncEvery = 100 * time.Millisecond
	maxRecord = 5000 // bytes

	// What a promise about time may be late by: what calls of the file system take.
	late = 6 * time.Millisecond
)

var ctx = context.Background()

// run is a script on its way. Its fields belong to the goroutine of the script.
type run struct {
	script
	disk *vfs.Crash
	log  *wal.Log
	line line

	pending   []pending // nobody waited for it, in order
	holds     []hold
	readers   []*cursor
	followers []*follower
	viewer    *wal.Log
	limited   bool // there is a limit of space
	count     int  // of records so far: none is like another
	floor     int  // line.handed before the operation under way
	process   *process
	hits      map[string]int // what was reached, how often
}

// pending is an operation that nobody has waited for.
type pending struct {
	wal.Pending
	n    int     // its number in the line
	back wal.LSN // the next LSN after its truncation; 0: it has none
}

type hold struct {
	*wal.Hold
	lsn wal.LSN
}

// process is what the calls of one process of a run go through.
type process struct {
	disk  *vfs.Crash
	mu    sync.Mutex // taken for a call that changes something
	ended bool
	fuse  int // so many calls from now on the disk fails; 0: it does not
	how   int // and how it does
	takes int // bytes of the next larger write to a segment for which there is space, once; 0: all
	dead  bool
}

func (p *process) handle(c vfs.Call, do func(int) (int, error)) (int, error) {
	if !c.Op.Mutates() {
		return do(int(c.Size))
	}
	time.Sleep(duration(c)) // the bubble's clock
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return 0, fs.ErrClosed
	}
	if p.fuse > 0 {
		if p.fuse--; p.fuse == 0 {
			p.dead = true
			return p.fail(c, do)
		}
	}
	if p.dead {
		return p.refuse(c)
	}
	if n := p.takes; n > 0 && c.Op == vfs.WriteAt && filepath.Ext(c.Name) == segment.Ext && c.Off >= segment.HeaderSize && int(c.Size) > n {
		p.takes = 0
		n, err := do(n)
		return n, errors.Join(err, syscall.ENOSPC)
	}
	return do(int(c.Size))
}

// fail is the first call that fails: without any effect, after a part of it, or
// after all of it.
func (p *process) fail(c vfs.Call, do func(int) (int, error)) (int, error) {
	switch {
	case p.how%3 == 1 && c.Op == vfs.WriteAt:
		n, _ := do(int(c.Size) / 2)
		return n, syscall.EIO
	case p.how%3 == 1 && c.Op == vfs.WriteSync:
		_, _ = do(-int(c.Size) / 2)
	case p.how%3 == 2:
		_, _ = do(int(c.Size))
		return 0, syscall.EIO
	}
	return p.refuse(c)
}

func (p *process) refuse(c vfs.Call) (int, error) {
	if c.Op == vfs.Sync || c.Op == vfs.WriteSync {
		_ = p.disk.FailSync(c.Name)
	}
	return 0, syscall.EIO
}

// broken reports whether the disk has begun to fail.
func (p *process) broken() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// failing reports whether the disk fails, or will.
func (p *process) failing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead || p.fuse > 0
}

// take lets the next larger write to a segment find space for so many bytes only;
// 0: for all.
func (p *process) take(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.takes = bytes
}

// light lets the disk fail after so many more calls.
func (p *process) light(calls, how int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fuse, p.how = calls, how
}

// duration is how long a call takes. Two calls at the same time end in the same
// order every time, since they differ.
func duration(c vfs.Call) time.Duration {
	d := 10 * time.Microsecond
	if c.Op == vfs.Sync || c.Op == vfs.SyncDir || c.Op == vfs.WriteSync {
		d = 100 * time.Microsecond
	}
	h := uint64(c.Op) + 1
	for _, b := range []byte(c.Name) {
		h = (h ^ uint64(b)) * 0x100000001b3
	}
	h = (h ^ uint64(c.Off)) * 0x100000001b3
	h = (h ^ uint64(c.Size)) * 0x100000001b3
	return d + time.Duration((h>>20)%9973)
}

// execute runs s, and counts in hits what it reached. It must be called in a bubble.
func execute(s script, hits map[string]int) error {
	r := &run{script: s, hits: hits, disk: vfs.NewCrash(s.unit), line: newLine(view{first: s.first})}
	r.disk.UseDirect(max(s.unit, 512<<(s.seed%2*3)))
	defer r.end()
	if err := r.open(false); err != nil {
		return err
	}
	for i, o := range s.ops {
		err := r.do(o)
		if err == nil {
			err = r.see()
		}
		if err == nil && r.process.broken() && o.kind != opFault {
			err = r.afterFault(o)
		}
		if err != nil {
			return fmt.Errorf("operation %d, %v: %w", i, o, err)
		}
	}
	if err := r.reopen(); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	return r.look()
}

// open opens the log, which must be as the line says after the end of the process.
func (r *run) open(exists bool) error {
	r.process = &process{disk: r.disk}
	return r.openIn(r.process, exists)
}

func (r *run) openIn(p *process, exists bool) error {
	r.process = p
	l, err := wal.Open(dir, r.options(vfs.Wrap(r.disk, p.handle), exists))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	r.log, r.floor = l, 0
	v, err := content(l)
	if err != nil {
		return err
	}
	if got := l.Recovery(); got.First != v.first || got.Last != v.last() {
		return fmt.Errorf("the report says %d to %d, the log holds %v", got.First, got.Last, v)
	}
	if r.line.find(r.line.handed, v.equal) < 0 {
		return r.line.explain(r.line.handed, v)
	}
	if d := l.DurableLSN(); d != v.last() {
		return fmt.Errorf("after Open DurableLSN is %d, and the log ends at %d", d, v.last())
	}
	r.line = newLine(v)
	return nil
}

func (r *run) options(fsys wal.FS, exists bool) *wal.Options {
	o := &wal.Options{FS: fsys, SegmentSize: r.segment, MaxRecordSize: maxRecord, FirstLSN: r.first, Sync: r.policy, Direct: r.direct,
		SyncEvery: syncEvery, MustExist: exists}
	if exists { // what certainly is durable
		o.ExpectLSN = noRewind
		for _, v := range r.line.views[r.line.durable:] {
			o.ExpectLSN = min(o.ExpectLSN, v.last())
		}
	}
	return o
}

// content reads all of l.
func content(l *wal.Log) (view, error) {
	v := view{first: l.FirstLSN(), meta: string(l.Meta()), hasMeta: l.Meta() != nil}
	for rec, err := range l.Records(v.first) {
		if err != nil {
			return v, fmt.Errorf("records: %w", err)
		}
		if rec.LSN != v.last()+1 {
			return v, fmt.Errorf("records: %d after %d", rec.LSN, v.last())
		}
		v.records = append(v.records, string(rec.Data))
	}
	if last := l.LastLSN(); last != v.last() {
		return v, fmt.Errorf("LastLSN is %d, records end at %d", last, v.last())
	}
	return v, nil
}

// record returns a record that is like none before.
func (r *run) record(size uint16) string {
	r.count++
	name := fmt.Sprintf("r%d.", r.count)
	n := int(size) % 97
	switch size % 16 {
	case 3:
		n = 0
	case 7:
		n = 600
	case 11, 12:
		n = 2500 + int(size)%1000
	}
	return name + strings.Repeat(string(rune('a'+r.count%26)), n)
}

// between returns a number from lo to hi, often near one of them.
func between(lo, hi wal.LSN, a uint16) wal.LSN {
	n, far := hi-lo, wal.LSN(a>>3)
	switch a % 8 {
	case 0:
		return lo
	case 1, 2:
		return hi
	case 3:
		return lo + min(n, far%5)
	case 4, 5:
		return hi - min(n, far%9)
	}
	return lo + far%(n+1)
}

// settled waits until nothing happens any more but by a timer.
func settled() { synctest.Wait() }

// see checks what readers see without reading, and what follows from it.
func (r *run) see() error {
	settled()
	l := &r.line
	got := view{first: r.log.FirstLSN(), meta: string(r.log.Meta()), hasMeta: r.log.Meta() != nil}
	last := r.log.LastLSN()
	n := l.find(l.handed, func(v view) bool {
		return v.first == got.first && v.last() == last && v.meta == got.meta && v.hasMeta == got.hasMeta
	})
	if n < 0 {
		return fmt.Errorf("readers see %d to %d, meta %q: %w", got.first, last, got.meta, l.explain(l.handed, got))
	}
	l.setHanded(n)
	if r.policy == wal.SyncAlways {
		l.setDurable(n)
	}
	d := r.log.DurableLSN()
	switch {
	case d > last:
		return fmt.Errorf("DurableLSN is %d, LastLSN %d", d, last)
	case !l.truncates(l.durable) && d < l.views[l.durable].last():
		return fmt.Errorf("DurableLSN is %d, and LSN %d is durable", d, l.views[l.durable].last())
	case !l.truncates(l.durable):
		for n := l.newest(); n > l.durable; n-- {
			if l.views[n].last() <= d && l.views[n].last() > l.views[n-1].last() {
				l.setDurable(n)
			}
		}
	}
	return r.follow()
}

// outcome judges how operation n ended.
func (r *run) outcome(n int, durable bool, err error) error {
	broken := r.process.broken()
	switch {
	case err == nil && n > r.line.newest():
		return fmt.Errorf("operation %d did not happen, and %d behind it did", r.line.newest()+1, n)
	case err == nil && durable:
		r.line.setDurable(n)
	case err == nil:
		r.line.setHanded(n)
	case errors.Is(err, wal.ErrUnknownOutcome) && broken:
		r.hits["outcomes unknown"]++
	case errors.Is(err, wal.ErrFailed) && broken, errors.Is(err, wal.ErrNoSpace) && (r.limited || broken):
		if errors.Is(err, wal.ErrNoSpace) {
			r.hits["no space"]++
		}
		if err := r.line.drop(n); err != nil {
			return err
		}
		return r.resolve(0)
	default:
		return err
	}
	return nil
}

// resolve waits for what nobody has waited for, but for the last keep.
func (r *run) resolve(keep int) error {
	cut := 0
	wait := r.pending[:max(0, len(r.pending)-keep)]
	r.pending = slices.Clone(r.pending[len(wait):])
	for i, p := range wait {
		err := p.Wait(ctx)
		broken := r.process.broken()
		switch {
		case (err == nil || errors.Is(err, wal.ErrUnknownOutcome)) && cut > 0:
			return fmt.Errorf("operation %d did not happen, and %d behind it: %v", cut, p.n, err)
		case err == nil:
			r.line.setDurable(p.n)
			r.rewound(p.back)
		case errors.Is(err, wal.ErrUnknownOutcome) && broken:
			r.hits["outcomes unknown"]++
		case errors.Is(err, wal.ErrFailed) && broken, errors.Is(err, wal.ErrNoSpace) && (r.limited || broken):
			r.hits["async cut"]++
			cut = p.n
			wait, r.pending = append(slices.Clone(wait), r.pending...), nil // they failed with it
			for _, q := range wait[i+1:] {
				if err := q.Wait(ctx); err == nil || errors.Is(err, wal.ErrUnknownOutcome) {
					return fmt.Errorf("operation %d did not happen, and %d behind it: %v", cut, q.n, err)
				}
			}
			return r.line.drop(cut)
		default:
			return fmt.Errorf("wait for operation %d: %w", p.n, err)
		}
	}
	return nil
}

// rewound notes that the log was taken back to next.
func (r *run) rewound(next wal.LSN) {
	if next == 0 {
		return
	}
	for _, c := range r.readers {
		c.low = min(c.low, next)
	}
	for _, f := range r.followers {
		f.low = min(f.low, next)
	}
}

// truncating reports whether a truncation is under way that nobody has waited for.
func (r *run) truncating() bool {
	return slices.ContainsFunc(r.pending, func(p pending) bool { return p.back != 0 })
}

// settle waits for all that is under way where the rest of an operation can only
// be judged when nothing is.
func (r *run) settle() error {
	if r.limited || r.truncating() || r.process.failing() {
		return r.resolve(0)
	}
	return nil
}

// look reads everything in all ways.
func (r *run) look() error {
	settled()
	v, err := content(r.log)
	if err != nil {
		return err
	}
	n := r.line.find(r.line.handed, v.equal)
	if n < 0 {
		return r.line.explain(r.line.handed, v)
	}
	r.line.setHanded(n)
	var buf []byte
	for lsn := v.first; lsn <= v.last(); lsn++ {
		if buf, err = r.log.Read(lsn, buf[:0]); err != nil {
			return fmt.Errorf("read %d: %w", lsn, err)
		}
		if want, _ := v.at(lsn); string(buf) != want {
			return fmt.Errorf("read %d: %.20q, want %.20q", lsn, buf, want)
		}
	}
	return r.segments(r.log)
}

// end ends the process without a Close of the log, and what belongs to it.
func (r *run) end() {
	r.process.mu.Lock()
	r.process.ended = true
	r.process.mu.Unlock()
	r.disk.Kill()
	r.closeAll()
	if r.log != nil {
		_ = r.log.Close() // ends the goroutines
	}
	settled()
	r.followers = nil
}

// closeAll forgets what belongs to a process.
func (r *run) closeAll() {
	for _, f := range r.followers {
		f.cancel()
	}
	if r.viewer != nil {
		_ = r.viewer.Close()
	}
	r.viewer, r.readers, r.holds, r.pending = nil, nil, nil, nil
}
