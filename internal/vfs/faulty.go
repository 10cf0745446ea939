package vfs

import (
	"io/fs"
	"sync"
	"syscall"
)

// Fault says which calls fail, and how.
type Fault struct {
	// Match says whether a call counts; all do if it is nil. It must not use the
	// file system, and calls of it do not overlap.
	Match func(Call) bool

	// At is the number, from 0, of the matching call that fails; a negative one
	// fails none, which counts calls and does nothing else.
	At int

	// Sticky lets all matching calls after that one fail too.
	Sticky bool

	// Err is the cause of the error, which is an *fs.PathError with the operation and
	// the path of the call; nil stands for syscall.EIO.
	Err error

	// After lets the call take effect before it fails.
	After bool

	// Short is the count that a failing WriteAt or ReadAt returns, at most what was
	// asked for; a negative one is 0. That many bytes take effect, all if After. A failing
	// WriteSync writes so many bytes, and makes none durable, unless After.
	Short int
}

// Faulty is a file system in which calls fail on demand. A failing Close closes all
// the same, as it does on real systems. All methods may be called concurrently.
type Faulty struct {
	FS

	mu     sync.Mutex
	fault  Fault
	decide func(Call) (Fault, bool) // nil: the fault says
	calls  int
	hits   int
}

// NewFaulty returns base with no fault set.
func NewFaulty(base FS) *Faulty {
	f := &Faulty{fault: Fault{At: -1}}
	f.FS = Wrap(base, f.handle)
	return f
}

// Set replaces the fault and sets the counts to 0.
func (f *Faulty) Set(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.decide, f.calls, f.hits = fault, nil, 0, 0
}

// Decide replaces the fault by fn, which says of every call whether it fails, and how;
// Match, At and Sticky of what it returns mean nothing. fn must not use the file system,
// and calls of it do not overlap. The counts are set to 0.
func (f *Faulty) Decide(fn func(Call) (Fault, bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.decide, f.calls, f.hits = Fault{}, fn, 0, 0
}

// Clear removes the fault. From then on all calls count; the counts stay what they are.
func (f *Faulty) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.decide = Fault{At: -1}, nil
}

// Calls returns the number of matching calls since Set or Decide, the failed ones included.
// Where no fault was set, all match.
func (f *Faulty) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Hits returns the number of calls since Set or Decide that were made to fail.
func (f *Faulty) Hits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hits
}

// pick counts the call and returns the fault if it is to fail.
func (f *Faulty) pick(c Call) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault.Match != nil && !f.fault.Match(c) {
		return Fault{}, false
	}
	n := f.calls
	f.calls++
	if f.decide != nil {
		fault, fails := f.decide(c)
		if fails {
			f.hits++
		}
		return fault, fails
	}
	if f.fault.At < 0 || n < f.fault.At || n > f.fault.At && !f.fault.Sticky {
		return Fault{}, false
	}
	f.hits++
	return f.fault, true
}

func (f *Faulty) handle(c Call, do func(int) (int, error)) (int, error) {
	fault, hit := f.pick(c)
	if !hit {
		return do(int(c.Size))
	}
	n, short := 0, 0
	if c.Op == WriteAt || c.Op == ReadAt || c.Op == WriteSync {
		short = min(max(fault.Short, 0), int(c.Size))
	}
	var err error
	switch {
	case fault.After || c.Op == Close:
		n, err = do(int(c.Size))
	case short > 0 && c.Op == WriteSync:
		_, err = do(-short)
	case short > 0:
		n, err = do(short)
	}
	if err != nil { // the call's own error comes first
		return n, err
	}
	if fault.Err == nil {
		fault.Err = syscall.EIO
	}
	return min(n, short), &fs.PathError{Op: c.Op.String(), Path: c.Name, Err: fault.Err}
}
