package fuzz

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// Script is a sequence of operations on a log, one letter each; [Operations] lists
// them. Run it in a synctest bubble: calls of the file system take time there, each
// another one, so that what runs beside the script, such as sealing and removing of
// segments, meets it at the same places every time.
type Script struct {
	Ops     string
	From    int // points are taken from this operation on, counted from 1; 0: from Open on
	Options wal.Options
	Unit    int // in which the disk writes, in bytes
	Lazy    bool
	Seed    uint64

	// For negative controls and failing disks; nil: calls do what they say.
	Break vfs.Handler

	strict bool // judge every policy as SyncAlways: a negative control
}

// String names the script.
func (s Script) String() string {
	name := s.Ops
	if len(name) > 40 {
		name = name[:40] + "…"
	}
	return fmt.Sprintf("%q policy %d segment %d unit %d lazy %v seed %d", name, s.Options.Sync, s.Options.SegmentSize, s.Unit, s.Lazy, s.Seed)
}

// Point is a moment at which a crash may happen.
type Point struct {
	State  *vfs.State
	Bounds Bounds
	Op     byte   // the operation of the script under way; 0 is Open
	After  vfs.Op // the call that was the last one; a WriteSync may not be over
	Number int    // of the call, from 0
}

// Run is one execution of a script.
type Run struct {
	Script  Script
	Disk    *vfs.Crash
	Log     *wal.Log
	History *History
	Points  []Point

	op       int       // index in Script.Ops, plus 1; 0 is the creation
	pendings []ordered // of which nobody knows what became
	payload  *rand.Rand
	count    int

	mu      sync.Mutex // taken for one call that changes something
	calls   int
	pending *Point
	process int  // counts processes: those before this one are no more
	takes   int  // bytes of a larger write to a segment that the disk takes, once; 0: all
	off     bool // no more points

	taken  func()       // called when a point is complete; nil: nobody wants to know
	died   func() error // called by Again when the process has ended; may be nil
	opened func() error // called by Again when the log is open; may be nil
}

// NewRun prepares the execution of s on the disk, on which the log is as h says.
func NewRun(s Script, disk *vfs.Crash, h *History) *Run {
	if s.Options.Direct {
		disk.UseDirect(max(s.Unit, 512<<(s.Seed%2*3))) // as real ones, 4096, or to a sector
	}
	return &Run{Script: s, Disk: disk, History: h, payload: rand.New(rand.NewPCG(s.Seed, 1))}
}

// Execute runs s on a new disk and returns the points of it.
func (s Script) Execute() ([]Point, error) {
	r := NewRun(s, vfs.NewCrash(s.Unit), NewHistory(View{First: max(1, s.Options.FirstLSN)}))
	err := r.All()
	return r.Points, err
}

// All opens the log, runs all operations, and ends without a Close.
func (r *Run) All() error {
	defer r.End()
	return r.Go()
}

// Go opens the log and runs all operations. It stops at the first error that no
// lack of space explains.
func (r *Run) Go() error {
	if err := r.Open(); err != nil {
		return fmt.Errorf("script %v: %w", r.Script, err)
	}
	for i, op := range []byte(r.Script.Ops) {
		r.at(i + 1)
		if err := r.do(op); err != nil {
			return fmt.Errorf("script %v: operation %d, %c: %w", r.Script, i, op, err)
		}
	}
	r.at(len(r.Script.Ops) + 1)
	return nil
}

// at notes which operation is under way.
func (r *Run) at(op int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.op = op
}

// Again opens the log in the same boot after the process died, appends and ends. It
// takes points from now on. Calls go through inner; nil: they do what they say.
func (r *Run) Again(inner vfs.Handler) error {
	defer r.End()
	r.Kill()
	r.mu.Lock()
	r.pending, r.Points = nil, nil
	r.Script.Break = inner
	r.Script.From, r.op = 0, 0
	r.mu.Unlock()
	if r.died != nil {
		if err := r.died(); err != nil {
			return err
		}
	}
	if err := r.Open(); err != nil {
		return fmt.Errorf("script %v: opened again: %w", r.Script, err)
	}
	if r.opened != nil {
		if err := r.opened(); err != nil {
			return err
		}
	}
	if v, err := Look(r.Log); err != nil || v.Digest() != r.now().Digest() {
		return fmt.Errorf("script %v: the log opened again is %v, and then %v: %w", r.Script, r.now(), v, err)
	}
	return r.append(700)
}

// End takes the last point, and ends the process.
func (r *Run) End() {
	r.mu.Lock()
	r.flush()
	r.off = true
	r.mu.Unlock()
	r.Kill()
}

// Kill ends the process. What its goroutines still do changes nothing.
func (r *Run) Kill() {
	r.mu.Lock()
	r.process++
	r.mu.Unlock()
	r.Disk.Kill()
	if r.Log != nil {
		_ = r.Log.Close() // ends the goroutines
	}
}

// Open opens the log, which must be as the history allows. From then on it must
// stay that way.
func (r *Run) Open() error {
	o := r.Script.Options
	o.FS = vfs.Wrap(r.Disk, r.handler(r.process, r.Script.Break))
	l, err := wal.Open(dir, &o)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Log = l
	v, err := Look(l)
	if err != nil {
		return err
	}
	if err := r.History.Bounds().Check(v, true); err != nil {
		return err
	}
	r.History.Found(v)
	r.pendings = nil
	return nil
}

// handler returns what is around each call of that process. Calls go through inner,
// if there is one.
func (r *Run) handler(process int, inner vfs.Handler) vfs.Handler {
	return func(c vfs.Call, do func(int) (int, error)) (int, error) {
		if !c.Op.Mutates() {
			return do(int(c.Size))
		}
		pass(r.duration(c))
		r.mu.Lock()
		defer r.mu.Unlock()
		r.calls++
		if r.process != process {
			return 0, fs.ErrClosed
		}
		r.flush()
		if c.Op == vfs.WriteSync { // a crash in the middle of it: all is written, and nothing durable
			if _, err := do(-int(c.Size)); err != nil {
				return 0, err
			}
			r.point(c.Op)
			r.flush()
		}
		n, err := r.call(c, do, inner)
		r.point(c.Op)
		return n, err
	}
}

// point begins a point, after the call or in it. Requires mu.
func (r *Run) point(call vfs.Op) {
	if r.op >= r.Script.From && !r.off {
		r.pending = &Point{State: r.Disk.State(), Op: r.letter(), After: call, Number: r.calls}
	}
}

// call does what the call says, or what the script wants instead. Requires mu.
func (r *Run) call(c vfs.Call, do func(int) (int, error), inner vfs.Handler) (int, error) {
	if takes := r.takes; takes > 0 && c.Op == vfs.WriteAt && int(c.Size) > takes && c.Off >= segment.HeaderSize && strings.HasSuffix(c.Name, segment.Ext) {
		r.takes = 0
		n, err := do(takes)
		return n, errors.Join(err, syscall.ENOSPC)
	}
	if inner != nil {
		return inner(c, do)
	}
	return do(int(c.Size))
}

// pass lets time pass, on the clock of the bubble.
func pass(d time.Duration) { time.Sleep(d) }

// duration is how long a call takes. It depends on the call alone, so that two that
// begin at the same time always end in the same order.
func (r *Run) duration(c vfs.Call) time.Duration {
	d := 10 * time.Microsecond
	switch {
	case c.Op == vfs.Sync || c.Op == vfs.SyncDir || c.Op == vfs.WriteSync:
		d = 100 * time.Microsecond
	case c.Op == vfs.Remove || c.Op == vfs.Truncate || strings.HasSuffix(c.Name, ".tmp"):
		if d = 40 * time.Microsecond; r.Script.Lazy {
			d = 700 * time.Microsecond
		}
	}
	return d + time.Duration(xxhash.Sum64String(fmt.Sprint(c))%9999)
}

func (r *Run) letter() byte {
	if r.op == 0 || r.op > len(r.Script.Ops) {
		return 0
	}
	return r.Script.Ops[r.op-1]
}

// flush ends the point that began with the call before: all that was promised since
// then must hold too, and what readers could see is a promise where appends return
// when they are durable. Requires mu.
func (r *Run) flush() {
	if r.pending != nil && !r.off {
		if r.Log != nil && r.Script.Options.Sync == wal.SyncAlways {
			r.History.Seen(r.Log.FirstLSN(), r.Log.LastLSN(), r.Log.Meta())
		}
		r.pending.Bounds = r.History.Bounds()
		r.Points = append(r.Points, *r.pending)
		if r.taken != nil {
			r.taken()
		}
	}
	r.pending = nil
}

// begin notes that an operation is under way.
func (r *Run) begin(v View) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.History.Begin(v)
}

// now is the log as all operations so far leave it.
func (r *Run) now() View {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.History.Now()
}

// all is the number of the last operation so far.
func (r *Run) all() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.History.All()
}

// end notes how operation n ended, and returns the error if that is not one that
// the file system's state explains.
func (r *Run) end(n int, durable bool, err error) error {
	if errors.Is(err, wal.ErrNoSpace) {
		return r.failed(n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil && durable:
		r.History.Durable(n)
	case err == nil:
		r.History.Handed(n)
	}
	return err
}

// failed notes that there was no space for operation n, and finds out which of those
// that nobody waited for had the same end.
func (r *Run) failed(n int) error {
	kept := -1
	for _, o := range r.pendings {
		err := o.p.Wait(context.Background())
		switch {
		case err == nil:
			kept = max(kept, o.n)
		case errors.Is(err, wal.ErrNoSpace):
			n = min(n, o.n)
		default:
			return err
		}
	}
	r.pendings = nil
	if kept >= n {
		return fmt.Errorf("operation %d failed, and %d behind it did not", n, kept)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n <= r.History.durable {
		return fmt.Errorf("operation %d failed, and %d was durable", n, r.History.durable)
	}
	r.History.Failed(n)
	if kept >= 0 {
		r.History.Durable(kept)
	}
	return nil
}

// record returns a new record of that size. Some have long runs of zeros.
func (r *Run) record(size int) string {
	r.count++
	b := make([]byte, size)
	copy(b, fmt.Sprintf("r%d.", r.count))
	for i := 6; i < size; i++ {
		if size < 600 || i < size/4 || i > size*3/4 {
			b[i] = byte(r.payload.IntN(256))
		}
	}
	return string(b)
}

// always says whether appends return when they are durable.
func (r *Run) always() bool { return r.Script.strict || r.Script.Options.Sync == wal.SyncAlways }

// append appends a record of that size.
func (r *Run) append(size int) error {
	data := r.record(size)
	v := r.now().Append(data)
	n := r.begin(v)
	lsn, err := r.Log.Append([]byte(data))
	if err == nil && lsn != v.Last() {
		return fmt.Errorf("append got LSN %d, want %d", lsn, v.Last())
	}
	return r.end(n, r.always(), err)
}

// async orders as many records of that size, and waits for none.
func (r *Run) async(count, size int) error {
	for range count {
		data := r.record(size)
		v := r.now().Append(data)
		n := r.begin(v)
		p, err := r.Log.AppendAsync([]byte(data))
		if err != nil {
			return r.end(n, false, err)
		}
		if p.Last != v.Last() {
			return fmt.Errorf("append got LSN %d, want %d", p.Last, v.Last())
		}
		r.pendings = append(r.pendings, ordered{n, p})
	}
	return nil
}

// ordered is an append that nobody has waited for yet.
type ordered struct {
	n int
	p wal.Pending
}

// sync syncs.
func (r *Run) sync() error {
	all := r.all()
	err := r.Log.Sync()
	if errors.Is(err, wal.ErrNoSpace) {
		if len(r.pendings) == 0 {
			return fmt.Errorf("sync reports a loss, and nothing was lost: %w", err)
		}
		return r.failed(all + 1)
	}
	return r.end(all, true, err)
}

// batch appends a batch.
func (r *Run) batch(fill func(*wal.Batch, View) View) error {
	var b wal.Batch
	v := fill(&b, r.now())
	n := r.begin(v)
	_, err := r.Log.AppendBatch(&b)
	return r.end(n, r.always(), err)
}

// change runs an operation that is durable when it returns.
func (r *Run) change(v View, op func() error) error {
	n := r.begin(v)
	return r.end(n, true, op())
}

// full runs op while the disk has only so much room, in bytes.
func (r *Run) full(room int64, op func() error) error {
	r.Disk.SetLimit(r.Disk.Used() + room)
	defer r.Disk.SetLimit(0)
	return op()
}
