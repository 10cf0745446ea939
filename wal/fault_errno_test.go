package wal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// errnos are what calls fail with, each with the calls that can return it. EINTR is
// among them although the calls of vfs.OS begin again after it: another file system
// may not.
var errnos = []struct {
	err syscall.Errno
	ops []vfs.Op
}{
	{syscall.EIO, allOps},
	{syscall.ENOSPC, growing},
	{syscall.EDQUOT, growing},
	{syscall.EFBIG, []vfs.Op{vfs.WriteAt, vfs.Allocate, vfs.Zero, vfs.WriteSync, vfs.Truncate, vfs.Sync}},
	{syscall.EROFS, []vfs.Op{vfs.Mkdir, vfs.Create, vfs.Open, vfs.Rename, vfs.Remove, vfs.SyncDir, vfs.Lock,
		vfs.WriteAt, vfs.Allocate, vfs.Zero, vfs.WriteSync, vfs.Truncate, vfs.Sync}},
	{syscall.EINTR, []vfs.Op{vfs.List, vfs.Create, vfs.Open, vfs.SyncDir, vfs.Lock, vfs.ReadAt, vfs.WriteAt,
		vfs.Allocate, vfs.Zero, vfs.WriteSync, vfs.Truncate, vfs.Sync, vfs.Stat, vfs.Close}},
	{syscall.EMFILE, []vfs.Op{vfs.List, vfs.Create, vfs.Open, vfs.SyncDir, vfs.Lock}},
	{syscall.EACCES, slices.DeleteFunc(slices.Clone(allOps), func(op vfs.Op) bool {
		return op == vfs.Allocate || op == vfs.Sync || op == vfs.Close
	})},
	{syscall.ENOMEM, slices.DeleteFunc(slices.Clone(allOps), func(op vfs.Op) bool { return op == vfs.Close })},
	{syscall.ESTALE, allOps},
}

var (
	allOps = []vfs.Op{vfs.Mkdir, vfs.List, vfs.Create, vfs.Open, vfs.Rename, vfs.Remove, vfs.SyncDir, vfs.Lock,
		vfs.ReadAt, vfs.WriteAt, vfs.Allocate, vfs.Zero, vfs.WriteSync, vfs.Truncate, vfs.Sync, vfs.Stat, vfs.Close}
	growing = []vfs.Op{vfs.Mkdir, vfs.Create, vfs.Rename, vfs.Remove, vfs.SyncDir, vfs.Lock, vfs.WriteAt,
		vfs.Allocate, vfs.Zero, vfs.WriteSync, vfs.Truncate, vfs.Sync, vfs.Close}
)

// canReturn reports whether a call of op can fail with err.
func canReturn(op vfs.Op, err syscall.Errno) bool {
	for _, e := range errnos {
		if e.err == err {
			return slices.Contains(e.ops, op)
		}
	}
	return false
}

// isNoSpace reports whether err is want of space: of the disk, of a quota, or in the
// largest possible file. It does not ask vfs, which is what is tested.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// part is how much of a call takes effect before it fails.
type part string

const (
	before    part = "before" // none, and the count is 0
	after     part = "after"  // all, and the count is 0
	oneByte   part = "short by all but one"
	sector    part = "short behind a sector"
	oneHalf   part = "short by half"
	allButOne part = "short by one"
)

var parts = []part{before, after, oneByte, sector, oneHalf, allButOne}

// of returns the count of a call of c that is cut short, or that it cannot be.
func (p part) of(c vfs.Call) (n int, ok bool) {
	size := int(c.Size)
	switch p {
	case before, after:
		return 0, true
	case oneByte:
		n = 1
	case sector:
		n = 512
	case oneHalf:
		n = size / 2
	case allButOne:
		n = size - 1
	}
	return n, (c.Op == vfs.WriteAt || c.Op == vfs.ReadAt || c.Op == vfs.WriteSync) && 0 < n && n < size
}

// lasting is which calls fail behind the first.
type lasting string

const (
	once    lasting = "once"
	kind    lasting = "all of its kind"
	forGood lasting = "all that can"
)

// injected is a fault: from the first call on that has number at, or a higher one,
// and can fail in that way. The zero injected fails nothing.
type injected struct {
	at    int
	err   syscall.Errno
	part  part
	lasts lasting

	gap  int           // 0, or behind the first that failed, the gap-th call or a later one
	then syscall.Errno // fails too, once, with this, before its effect

	syncs bool // only a Sync or a WriteSync can be the first, and what it was for is written

	closes bool // the log is closed under the fault; else it is used on, without one
}

func (f injected) String() string {
	s := fmt.Sprintf("call %d, %v, %s, %s", f.at, f.err, f.part, f.lasts)
	if f.gap > 0 {
		s += fmt.Sprintf(", and %d later %v", f.gap, f.then)
	}
	if f.closes {
		s += ", closed under it"
	}
	return s
}

// none reports whether nothing is made to fail.
func (f injected) none() bool { return f.err == 0 }

// caused reports whether err wraps what was injected.
func (f injected) caused(err error) bool {
	return f.err != 0 && errors.Is(err, f.err) || f.gap > 0 && errors.Is(err, f.then)
}

// faultsAt returns the single faults that call number at, which is like c, can have.
func faultsAt(at int, c counted) (list []injected) {
	for _, e := range errnos {
		if !slices.Contains(e.ops, c.Op) {
			continue
		}
		for _, p := range parts {
			if _, ok := p.of(c.Call); !ok {
				continue
			}
			for _, lasts := range []lasting{once, kind, forGood} {
				for _, closes := range []bool{false, true} {
					if c.phase == closing && !closes {
						continue
					}
					list = append(list, injected{at: at, err: e.err, part: p, lasts: lasts, closes: closes})
				}
			}
		}
	}
	return list
}

// pairsAt returns faults of two calls, the first of which is number at and like c:
// what is done about the one runs into the other.
func pairsAt(at int, c counted, gaps int) (list []injected) {
	for _, first := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		for _, p := range []part{before, after, oneHalf} {
			if _, ok := p.of(c.Call); !ok || !canReturn(c.Op, first) {
				continue
			}
			for gap := 1; gap <= gaps; gap++ {
				for _, then := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
					list = append(list, injected{at: at, err: first, part: p, lasts: once, gap: gap, then: then, closes: gap%2 == 0 || c.phase == closing})
				}
			}
		}
	}
	return list
}

// verdict is what a fault must do to a log, by what is documented.
type verdict string

const (
	mustEnd verdict = "must end the log"
	mustNot verdict = "must not end the log"
	mayEnd  verdict = "may end the log"
)

// verdict returns what must come of a single call that fails once with err, while the
// log is open: a write or a sync of what was appended ends the log, want of space in
// a write does not, and nothing else does.
//
//	call                     want of space   any other errno
//	write, active segment    cut             ends the log
//	sync or writesync, active segment
//	                         ends the log    ends the log
//	write FRONT              the second of two writes ends the log
//	                                         ends the log
//	sync FRONT               ends the log    ends the log
//	truncate, active segment, in use: it is part of a cut
//	                         ends the log    ends the log
//	remove, of the file that was to be active: it may hold what was refused
//	                         ends the log    ends the log
//	sync of a new file, sync of the directory
//	                         ends the log as soon as the file is needed
//	all others: no space, until it succeeds; or nobody is told
func (h hit) verdict(err syscall.Errno) verdict {
	active := h.Name == h.active
	front := strings.HasSuffix(h.Name, "/FRONT")
	switch h.Op {
	case vfs.WriteAt:
		switch {
		case active && !isNoSpace(err), front && !isNoSpace(err):
			return mustEnd
		case front:
			return mayEnd
		}
	case vfs.Allocate:
		if active && !isNoSpace(err) { // for a group larger than the segment
			return mustEnd
		}
	case vfs.WriteSync:
		return mustEnd
	case vfs.Sync:
		switch {
		case active, front:
			return mustEnd
		case strings.HasSuffix(h.Name, ".tmp"):
			return mayEnd
		}
	case vfs.SyncDir:
		return mayEnd
	case vfs.Truncate, vfs.Remove:
		if active && h.phase == inUse {
			return mustEnd
		}
	}
	return mustNot
}
