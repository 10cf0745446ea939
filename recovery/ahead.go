package recovery

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"syscall"

	"github.com/seed3918b8df/tidemark/segment"
)

// This file is how all of a log is verified by several goroutines.
//
// An examination judges segments one after the other, from the newest to the oldest, since
// what it makes of one depends on those behind it. What a scan finds in one does not: it is
// a matter of the file, and of the pin that ends it. So the segments before the one that is
// judged are opened, and scanned by goroutines of their own:
//
//	examination                     goroutines
//	opens 9; opens 8 and 7          scan 8 and 7
//	scans 9 and judges it
//	takes 8 as it was opened;       scan 8, 7
//	opens 6                         scan 7 and 6
//	waits for the scan of 8, and judges it
//
// An error is told where the examination would have met it.

// aheadLeast is how many bytes a segment has at least that is scanned by another goroutine,
// and aheadMost how many are at most: each has a file open, and a chunk in memory.
const (
	aheadLeast = 1 << 20
	aheadMost  = 8
)

// ahead is the segments that were opened before they are judged, each the one before the
// other. It is for one goroutine; its zero value opens none.
type ahead struct {
	most     int
	least    int64
	queue    []opened
	scanners []*segment.Scanner // that nobody uses
}

// opened is a segment, or why it could not be opened.
type opened struct {
	id  uint64
	c   *candidate
	err error
}

// begin opens the segments before c, if there is more than one processor.
func (a *ahead) begin(c *candidate) {
	if n := runtime.GOMAXPROCS(0); n > 1 {
		a.most = min(n, aheadMost)
	}
	a.least = cmp.Or(c.plan.cfg.aheadLeast, aheadLeast)
	a.fill(c)
}

// open returns what [Plan.open] does of the segment with that id, and opens those before it.
func (a *ahead) open(p *Plan, id uint64) (c *candidate, err error) {
	if len(a.queue) > 0 && a.queue[0].id == id {
		c, err = a.queue[0].c, a.queue[0].err
		a.queue = slices.Delete(a.queue, 0, 1)
	} else {
		a.end()
		c, err = p.open(id)
	}
	if err == nil && c.headErr == nil && c.openErr == nil {
		a.fill(c)
	}
	return c, err
}

// fill opens the segments before c, or before those that are opened already, and begins to
// scan them.
func (a *ahead) fill(c *candidate) {
	if n := len(a.queue); n > 0 {
		c = a.queue[n-1].c
	}
	for len(a.queue) < a.most && c != nil && c.headErr == nil && c.openErr == nil {
		pin := c.first.Prev
		if pin.ID == 0 || pin.ID < c.plan.Front.Oldest || pin.Length < a.least {
			return
		}
		before, err := c.plan.open(pin.ID)
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, fs.ErrNotExist) {
			return // there may be fewer open, and another may be there, when it is its turn
		}
		a.queue = append(a.queue, opened{pin.ID, before, err})
		if c = before; err == nil && c.headErr == nil && c.openErr == nil {
			a.start(c, pin)
		}
	}
}

// start has a goroutine scan c up to pin.
func (a *ahead) start(c *candidate, pin segment.Pin) {
	sc := new(segment.Scanner)
	if n := len(a.scanners); n > 0 {
		sc, a.scanners = a.scanners[n-1], a.scanners[:n-1]
	}
	e := &early{pin: pin, scan: c.newScan(sc), abort: make(chan struct{}), done: make(chan struct{})}
	c.early = e
	file := abortable{c.read, e.abort}
	go func() {
		defer close(e.done)
		e.err = e.scan.upTo(file, &pin)
	}()
}

// end closes what was opened and is not wanted.
func (a *ahead) end() {
	for _, o := range a.queue {
		if o.c != nil {
			o.c.close()
		}
	}
	a.queue, a.scanners = nil, nil
}

// early is a scan that was begun before it is asked for.
type early struct {
	pin   segment.Pin
	abort chan struct{} // closed when nobody wants it
	done  chan struct{} // closed when what follows is set
	scan  *Scan
	err   error
}

// wait returns what the scan has found, when it has ended.
func (e *early) wait(p *Plan) (*Scan, error) {
	<-e.done
	p.ahead.scanners = append(p.ahead.scanners, e.scan.sc)
	e.scan.sc = &p.scanner
	if e.err != nil {
		return nil, e.err
	}
	return e.scan, nil
}

// abortable reads until it is told not to.
type abortable struct {
	io.ReaderAt
	abort <-chan struct{}
}

var errAborted = errors.New("recovery: nobody wants to know any more")

func (r abortable) ReadAt(p []byte, off int64) (int, error) {
	select {
	case <-r.abort:
		return 0, errAborted
	default:
		return r.ReaderAt.ReadAt(p, off)
	}
}
