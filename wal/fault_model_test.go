package wal

import (
	"fmt"
	"slices"
	"strings"
)

// world is what a log holds.
type world struct {
	first   LSN
	records []string
	meta    string // "-": never set
}

func (w world) last() LSN { return w.first + LSN(len(w.records)) - 1 }

// String returns a line that differs for different worlds. Records are known by
// their first eight bytes, which no two appends share.
func (w world) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d to %d meta %s:", w.first, w.last(), w.meta)
	for _, r := range w.records {
		fmt.Fprintf(&b, " %.8s+%d", r, len(r))
	}
	return b.String()
}

// fate is what is known of an operation.
type fate uint8

const (
	fateOpen    fate = iota // it may have happened, if all before it did
	fateNone                // it certainly did not happen, and never will
	fateMaybe               // it may have happened, whatever the others did
	fateHanded              // it survives the end of the process
	fateDurable             // it survives the loss of power
)

// operation is one step of the stream.
type operation struct {
	what  string
	fate  fate
	apply func(world) world
}

// model is what was done to a log, in order, and what came of it.
type model struct {
	start    world
	ops      []operation // those that may have happened or not are last, with anyOrder
	anyOrder bool        // in which they may have happened
}

func (m *model) copy() *model { return &model{m.start, slices.Clone(m.ops), m.anyOrder} }

// worlds returns all that the log may be after a crash: what the operations give
// up to some point, that is not before the last one that had to survive.
func (m *model) worlds(powerLoss bool) map[string]bool {
	must := fateHanded
	if powerLoss {
		must = fateDurable
	}
	from := 0
	for i, op := range m.ops {
		if op.fate >= must {
			from = i + 1
		}
	}
	all := map[string]bool{}
	now := []world{m.start}
	for i := 0; ; i++ {
		if i >= from {
			for _, w := range now {
				all[w.String()] = true
			}
		}
		if i == len(m.ops) || m.anyOrder && m.ops[i].fate == fateMaybe {
			break
		}
		switch op := m.ops[i]; op.fate {
		case fateNone:
		case fateMaybe:
			for _, w := range now {
				now = append(now, op.apply(w))
			}
		default:
			for j, w := range now {
				now[j] = op.apply(w)
			}
		}
	}
	if m.anyOrder {
		addInAnyOrder(all, now[0], slices.DeleteFunc(slices.Clone(m.ops), func(op operation) bool { return op.fate != fateMaybe }))
	}
	return all
}

// least returns what the log is if nothing happened that may not have.
func (m *model) least() world {
	from := 0
	for i, op := range m.ops {
		if op.fate >= fateHanded {
			from = i + 1
		}
	}
	w := m.start
	for _, op := range m.ops[:from] {
		if op.fate != fateNone {
			w = op.apply(w)
		}
	}
	return w
}

// only reports whether all that may have happened or not is of that kind.
func (m *model) only(kind string) bool {
	return !slices.ContainsFunc(m.ops, func(op operation) bool {
		return (op.fate == fateOpen || op.fate == fateMaybe) && !strings.HasPrefix(op.what, kind)
	})
}

// addInAnyOrder adds what w is after any of the operations, in any order.
func addInAnyOrder(all map[string]bool, w world, ops []operation) {
	all[w.String()] = true
	for i, op := range ops {
		addInAnyOrder(all, op.apply(w), slices.Delete(slices.Clone(ops), i, i+1))
	}
}

// String lists the operations and what is known of them.
func (m *model) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "from %v\n", m.start)
	for _, op := range m.ops {
		fmt.Fprintf(&b, "  %s: %s\n", op.what, [...]string{"open", "none", "maybe", "handed", "durable"}[op.fate])
	}
	return b.String()
}

// worldOf returns what a log holds, as its readers see it.
func worldOf(l *Log) (world, error) {
	w := world{first: l.FirstLSN(), meta: "-"}
	if m := l.Meta(); m != nil {
		w.meta = string(m)
	}
	for r, err := range l.Records(w.first) {
		if err != nil {
			return w, err
		}
		if want := w.last() + 1; r.LSN != want {
			return w, fmt.Errorf("record %d, want %d", r.LSN, want)
		}
		w.records = append(w.records, string(r.Data))
	}
	if w.last() != l.LastLSN() {
		return w, fmt.Errorf("records end at %d, LastLSN is %d", w.last(), l.LastLSN())
	}
	return w, nil
}

// What the operations do.

func appends(records ...string) func(world) world {
	return func(w world) world {
		w.records = append(slices.Clip(w.records), records...)
		return w
	}
}

func setsMeta(meta string) func(world) world {
	return func(w world) world { w.meta = meta; return w }
}

func truncatesBack(last LSN) func(world) world {
	return func(w world) world {
		if last < w.last() {
			w.records = slices.Clip(w.records[:max(0, int(last+1)-int(w.first))])
		}
		return w
	}
}

func truncatesFront(first LSN) func(world) world {
	return func(w world) world {
		if first > w.first {
			w.records = w.records[min(len(w.records), int(first-w.first)):]
			w.first = first
		}
		return w
	}
}

func resets(next LSN) func(world) world {
	return func(w world) world { return world{first: next, meta: w.meta} }
}

func nothing(w world) world { return w }

// inOrder does one after the other.
func inOrder(fs ...func(world) world) func(world) world {
	return func(w world) world {
		for _, f := range fs {
			w = f(w)
		}
		return w
	}
}
