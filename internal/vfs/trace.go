package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Trace is a file system that writes down what is called, one line a call, when the
// call returns, with base names only:
//
//	create 0000000000000001.tmp
//	allocate 0000000000000001.tmp 65536
//	rename 0000000000000001.tmp 0000000000000001.seg
//	syncdir log
//	write 0000000000000001.seg 4096+336
//	sync 0000000000000001.seg
//	close 0000000000000001.seg
//
// Reads and writes have offset+size, Allocate and Truncate the size. After a call that
// failed, ": " and the cause follow. Calls that Mutate and Close are written down
// unless Also and Except say otherwise. All methods may be called concurrently.
type Trace struct {
	FS

	mu    sync.Mutex
	ops   [opCount]bool
	lines strings.Builder
}

// NewTrace returns base with a trace of it, empty so far.
func NewTrace(base FS) *Trace {
	t := &Trace{}
	for op := range opCount {
		t.ops[op] = op.Mutates() || op == Close
	}
	t.FS = Wrap(base, t.handle)
	return t
}

// Also adds operations to those that are written down.
func (t *Trace) Also(ops ...Op) { t.set(true, ops) }

// Except takes operations from those that are written down.
func (t *Trace) Except(ops ...Op) { t.set(false, ops) }

func (t *Trace) set(on bool, ops []Op) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, op := range ops {
		t.ops[op] = on
	}
}

// Take returns the lines so far, each with its newline, and removes them.
func (t *Trace) Take() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.lines.String()
	t.lines.Reset()
	return s
}

func (t *Trace) handle(c Call, do func(int) (int, error)) (int, error) {
	n, err := do(int(c.Size))
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ops[c.Op] {
		return n, err
	}
	fmt.Fprintf(&t.lines, "%v %s", c.Op, filepath.Base(c.Name))
	switch c.Op {
	case ReadAt, WriteAt, WriteSync:
		fmt.Fprintf(&t.lines, " %d+%d", c.Off, c.Size)
	case Allocate, Truncate:
		fmt.Fprintf(&t.lines, " %d", c.Size)
	case Rename, Link:
		fmt.Fprintf(&t.lines, " %s", filepath.Base(c.To))
	}
	if err != nil {
		fmt.Fprintf(&t.lines, ": %v", cause(err))
	}
	t.lines.WriteByte('\n')
	return n, err
}

// cause takes the paths, which differ from run to run, from an error.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
}
