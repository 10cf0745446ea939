package fuzz

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/seed3918b8df/tidemark/wal"
)

// View is the content of a log. It is a value: whoever makes another one of it
// leaves it as it is.
type View struct {
	First   wal.LSN
	Records []string // of First, First+1, …
	Meta    string
	HasMeta bool
}

// Last returns the last LSN; First-1 if the log is empty.
func (v View) Last() wal.LSN { return v.First + wal.LSN(len(v.Records)) - 1 }

// Append returns v with more records.
func (v View) Append(records ...string) View {
	v.Records = append(slices.Clip(v.Records), records...)
	return v
}

// WithMeta returns v with that meta.
func (v View) WithMeta(meta string) View {
	v.Meta, v.HasMeta = meta, true
	return v
}

// TruncateFront returns v without the records below first.
func (v View) TruncateFront(first wal.LSN) View {
	if first > v.First {
		v.Records = v.Records[first-v.First:]
		v.First = first
	}
	return v
}

// TruncateBack returns v without the records above last.
func (v View) TruncateBack(last wal.LSN) View {
	if last < v.Last() {
		v.Records = v.Records[:last+1-v.First]
	}
	return v
}

// Reset returns v without records, and with next as the next LSN.
func (v View) Reset(next wal.LSN) View {
	v.First, v.Records = next, nil
	return v
}

// Digest returns a hash of v.
func (v View) Digest() uint64 {
	var d xxhash.Digest
	d.Reset()
	fmt.Fprintf(&d, "%d %v %d:%s", v.First, v.HasMeta, len(v.Meta), v.Meta)
	for _, r := range v.Records {
		fmt.Fprintf(&d, " %d:", len(r))
		_, _ = d.WriteString(r)
	}
	return d.Sum64()
}

// String returns v in one line, with the beginnings of its records.
func (v View) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d..%d", v.First, v.Last())
	for _, r := range v.Records {
		fmt.Fprintf(&s, " %.6s/%d", strings.ReplaceAll(r, "\x00", "."), len(r))
	}
	if v.HasMeta {
		fmt.Fprintf(&s, " meta %.12s", v.Meta)
	}
	return s.String()
}

// History is the line of views that a log went through, in the order of its
// operations, and what is promised about it: durable <= handed <= the newest.
type History struct {
	views   []View
	durable int // index of the oldest view that a power loss may leave
	handed  int // and the end of the process
}

// NewHistory returns the history of a log that is v, or, where a crash decides, one
// of several.
func NewHistory(views ...View) *History { return &History{views: slices.Clip(views)} }

// Now returns the newest view.
func (h *History) Now() View { return h.views[len(h.views)-1] }

// Begin notes that an operation was ordered that makes the log v, and returns its
// number.
func (h *History) Begin(v View) int {
	h.views = append(h.views, v)
	return len(h.views) - 1
}

// Durable notes that the operation n, and all before it, was promised to be durable.
func (h *History) Durable(n int) {
	h.durable = max(h.durable, n)
	h.Handed(n)
}

// Seen notes that somebody could see the log with these bounds and that meta, and was
// promised that what is seen is durable.
func (h *History) Seen(first, last wal.LSN, meta []byte) {
	for n, v := range h.views[h.durable:] {
		if v.First == first && v.Last() == last && v.HasMeta == (meta != nil) && v.Meta == string(meta) {
			h.Durable(h.durable + n)
			return
		}
	}
}

// Handed notes that the operation n, and all before it, was promised to survive the
// end of the process.
func (h *History) Handed(n int) { h.handed = max(h.handed, n) }

// Failed notes that the operation n, and all behind it, is certainly not in the log.
func (h *History) Failed(n int) { h.views = slices.Clip(h.views[:n]) }

// All is the number of the newest operation.
func (h *History) All() int { return len(h.views) - 1 }

// Found notes that a log was opened and is v, durably.
func (h *History) Found(v View) { *h = *NewHistory(v) }

// Bounds returns what a crash now may leave.
func (h *History) Bounds() Bounds {
	return Bounds{views: h.views[h.durable:len(h.views):len(h.views)], handed: h.handed - h.durable}
}

// Bounds are the views that a crash at one moment may leave.
type Bounds struct {
	views  []View
	handed int // those from here on may be left if it was the process that ended
}

// Key returns a hash of b.
func (b Bounds) Key() uint64 {
	key := uint64(b.handed)
	for _, v := range b.views {
		key = key*0x9e3779b97f4a7c15 + v.Digest()
	}
	return key
}

// Check returns an error unless v is a view that the crash may have left. process
// says that only the process ended.
func (b Bounds) Check(v View, process bool) error {
	if b.allow(v.Digest(), process) {
		return nil
	}
	var s strings.Builder
	for _, may := range b.after(process) {
		fmt.Fprintf(&s, "\n  may be %v", may)
	}
	return fmt.Errorf("the log is not what a crash may leave:\n  it is  %v%s", v, &s)
}

// allow reports whether a view of that digest is one that the crash may have left.
func (b Bounds) allow(digest uint64, process bool) bool {
	for _, may := range b.after(process) {
		if may.Digest() == digest {
			return true
		}
	}
	return false
}

func (b Bounds) after(process bool) []View {
	if process {
		return b.views[min(b.handed, len(b.views)-1):]
	}
	return b.views
}
