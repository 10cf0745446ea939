package model

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed3918b8df/tidemark/wal"
)

// view is what a log holds. It is a value; the newest of a line may be appended to.
type view struct {
	first   wal.LSN
	records []string // of first, first+1, …
	meta    string
	hasMeta bool
}

func (v view) last() wal.LSN { return v.first + wal.LSN(len(v.records)) - 1 }

// add returns v with more records.
func (v view) add(records ...string) view {
	v.records = append(v.records, records...)
	return v
}

// back returns v without the records above last.
func (v view) back(last wal.LSN) view {
	if last < v.last() {
		n := last + 1 - v.first
		v.records = v.records[:n:n] // other views have what is behind it
	}
	return v
}

// front returns v without the records below first.
func (v view) front(first wal.LSN) view {
	if first > v.first {
		v.records = v.records[first-v.first:]
		v.first = first
	}
	return v
}

// reset returns v without records.
func (v view) reset(next wal.LSN) view {
	v.first, v.records = next, nil
	return v
}

// at returns record lsn, and whether v has it.
func (v view) at(lsn wal.LSN) (string, bool) {
	if lsn < v.first || lsn > v.last() {
		return "", false
	}
	return v.records[lsn-v.first], true
}

func (v view) equal(w view) bool {
	return v.sameBounds(w) && slices.Equal(v.records, w.records)
}

// sameBounds compares all but the records themselves.
func (v view) sameBounds(w view) bool {
	return v.first == w.first && len(v.records) == len(w.records) && v.hasMeta == w.hasMeta && v.meta == w.meta
}

func (v view) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d..%d", v.first, v.last())
	for _, r := range v.records[max(0, len(v.records)-12):] {
		name, _, _ := strings.Cut(r, ".")
		fmt.Fprintf(&b, " %s/%d", name, len(r))
	}
	if v.hasMeta {
		fmt.Fprintf(&b, " meta %q", v.meta)
	}
	return b.String()
}

// line is the views of a log after each operation that was ordered, since it was
// opened, and what is promised: durable <= handed, all <= len(views)-1.
type line struct {
	views   []view
	ordered []time.Time
	durable int // a power loss leaves this view or a later one
	handed  int // the end of the process, too; and readers see this one or a later one
}

// newLine returns the line of a log that is v, durably.
func newLine(v view) line {
	return line{views: []view{v}, ordered: []time.Time{time.Now()}}
}

func (l *line) newest() int { return len(l.views) - 1 }
func (l *line) now() view   { return l.views[l.newest()] }

// order notes an operation that makes the log v, and returns its number.
func (l *line) order(v view) int {
	l.views = append(l.views, v)
	l.ordered = append(l.ordered, time.Now())
	return l.newest()
}

func (l *line) setDurable(n int) {
	l.durable = max(l.durable, n)
	l.setHanded(n)
}

func (l *line) setHanded(n int) { l.handed = max(l.handed, n) }

// drop notes that operation n and all behind it certainly did not happen.
func (l *line) drop(n int) error {
	if n <= l.handed {
		return fmt.Errorf("operation %d did not happen, but %d is durable and %d handed over or seen", n, l.durable, l.handed)
	}
	if n < len(l.views) {
		l.views, l.ordered = l.views[:n], l.ordered[:n]
		v := &l.views[n-1]
		v.records = slices.Clip(v.records)
	}
	return nil
}

// since is the number of the newest operation ordered no later than t.
func (l *line) since(t time.Time) int {
	n := l.newest()
	for n > 0 && l.ordered[n].After(t) {
		n--
	}
	return n
}

// truncates reports whether an operation behind number n took records away.
func (l *line) truncates(n int) bool {
	for i := n + 1; i < len(l.views); i++ {
		was, is := l.views[i-1], l.views[i]
		old, _ := was.at(was.last()) // no two records are alike
		if now, _ := is.at(was.last()); now != old || is.first != was.first {
			return true
		}
	}
	return false
}

// find returns the number of the first view from number n on that is v; -1: none.
func (l *line) find(n int, same func(view) bool) int {
	for i := n; i < len(l.views); i++ {
		if same(l.views[i]) {
			return i
		}
	}
	return -1
}

// explain says what may be, from number n on.
func (l *line) explain(n int, got view) error {
	var b strings.Builder
	for _, v := range l.views[n:] {
		fmt.Fprintf(&b, "\n  may be %v", v)
	}
	return fmt.Errorf("the log is not what it may be:\n  it is  %v%s", got, &b)
}
