package recovery

import (
	"cmp"
	"runtime"
	"slices"

	"github.com/seed3918b8df/tidemark/segment"
)

// This file is how all of a log is verified by as many goroutines as there are processors.
//
// An examination judges segments one after the other, from the newest to the oldest, since
// what it makes of one depends on those behind it. What a scan finds in one does not: it is
// a matter of the file, and of the pin that ends it. So segments are scanned before they are
// judged.
//
//	examination                        goroutines
//	opens 9, and those before it: 8, 7
//	                                   scan 8 and 7
//	scans 9, judges it; opens 6        scan 7 and 6
//	takes the scan of 8, judges it
//
// Nothing of this is noted in the plan. Where the examination asks for another scan than was
// made, since the file is another by now or what follows it is, it scans by itself.

// aheadLeast is how many bytes a segment has at least that is scanned by another goroutine.
const aheadLeast = 1 << 20

// ahead scans segments before they are judged. It is for one goroutine, and its zero value
// scans none ahead.
type ahead struct {
	workers  int
	least    int64
	queue    []*early // each the one before the other
	scanners []*segment.Scanner
}

// early is a scan that was begun before it is asked for.
type early struct {
	c    *candidate
	pin  segment.Pin
	done chan struct{} // closed when what follows is set
	scan *Scan
	err  error
}

// begin has the segments before c scanned ahead.
func (a *ahead) begin(c *candidate) {
	a.workers, a.least = runtime.GOMAXPROCS(0), cmp.Or(c.plan.cfg.aheadLeast, aheadLeast)
	a.fill(c)
}

// scan is c.scan of a segment that pin ends.
func (a *ahead) scan(c *candidate, pin *segment.Pin) (*Scan, error) {
	for len(a.queue) > 0 && a.queue[0].c.id >= c.id {
		e := a.queue[0]
		a.queue = slices.Delete(a.queue, 0, 1)
		a.fill(c)
		<-e.done
		a.scanners = append(a.scanners, e.scan.sc)
		if e.pin == *pin && e.c.header == c.header && e.c.size == c.size && len(c.flips) == 0 {
			e.scan.sc = &c.plan.scanner
			return e.scan, e.err
		}
	}
	a.fill(c)
	return c.scan(pin)
}

// fill begins as many scans as there may be at once: of the segments before those that are
// being scanned or, if none are, before c.
func (a *ahead) fill(c *candidate) {
	if n := len(a.queue); n > 0 {
		c = a.queue[n-1].c
	}
	for len(a.queue) < a.workers && a.workers > 1 {
		pin := c.first.Prev
		if pin.ID == 0 || pin.ID < c.plan.Front.Oldest || pin.Length < a.least {
			return
		}
		before, err := c.plan.open(pin.ID)
		if err != nil {
			return
		}
		if before.headErr != nil || before.openErr != nil {
			before.close()
			return
		}
		a.start(before, pin)
		c = before
	}
}

// start begins a scan.
func (a *ahead) start(c *candidate, pin segment.Pin) {
	sc := new(segment.Scanner)
	if n := len(a.scanners); n > 0 {
		sc, a.scanners = a.scanners[n-1], a.scanners[:n-1]
	}
	e := &early{c: c, pin: pin, done: make(chan struct{}), scan: c.newScan(sc)}
	a.queue = append(a.queue, e)
	go func() {
		defer close(e.done)
		defer c.close()
		e.err = e.scan.upTo(c.read, &pin)
	}()
}

// end waits for the scans that are under way.
func (a *ahead) end() {
	for _, e := range a.queue {
		<-e.done
	}
	a.queue = nil
}
