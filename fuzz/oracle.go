package fuzz

import (
	"fmt"
	"slices"
	"strconv"
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
	var buf [64]byte
	var d xxhash.Digest
	d.Reset()
	add := func(n int, text string) {
		_, _ = d.Write(append(strconv.AppendInt(buf[:0], int64(n), 10), ':'))
		_, _ = d.WriteString(text)
	}
	add(int(v.First), "")
	if v.HasMeta {
		add(1+len(v.Meta), v.Meta)
	} else {
		add(0, "")
	}
	for _, r := range v.Records {
		add(len(r), r)
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
	digests []uint64 // of views
	durable int      // index of the oldest view that a power loss may leave
	handed  int      // and the end of the process
}

// NewHistory returns the history of a log that is v, or, where a crash decides, one
// of several.
func NewHistory(views ...View) *History {
	return &History{views: slices.Clip(views), digests: digestsOf(views)}
}

func digestsOf(views []View) []uint64 {
	digests := make([]uint64, len(views))
	for i, v := range views {
		digests[i] = v.Digest()
	}
	return digests
}

// Now returns the newest view.
func (h *History) Now() View { return h.views[len(h.views)-1] }

// Begin notes that an operation was ordered that makes the log v, and returns its
// number.
func (h *History) Begin(v View) int {
	h.views = append(h.views, v)
	h.digests = append(h.digests, v.Digest())
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

// Dropped notes that the system may have dropped all that is not durable.
func (h *History) Dropped() { h.handed = h.durable }

// Failed notes that the operation n, and all behind it, is certainly not in the log.
func (h *History) Failed(n int) {
	h.views, h.digests = slices.Clip(h.views[:n]), slices.Clip(h.digests[:n])
}

// All is the number of the newest operation.
func (h *History) All() int { return len(h.views) - 1 }

// Found notes that a log was opened and is v, durably.
func (h *History) Found(v View) { *h = *NewHistory(v) }

// Bounds returns what a crash now may leave.
func (h *History) Bounds() Bounds {
	end := len(h.views)
	return Bounds{views: h.views[h.durable:end:end], digests: h.digests[h.durable:end:end], handed: h.handed - h.durable}
}

// Bounds are the views that a crash at one moment may leave.
type Bounds struct {
	views   []View
	digests []uint64 // of views
	handed  int      // those from here on may be left if it was the process that ended
}

// NewBounds returns bounds that allow each of the views.
func NewBounds(views []View) Bounds { return Bounds{views: views, digests: digestsOf(views)} }

// Check returns an error unless v is a view that the crash may have left. process
// says that only the process ended.
func (b Bounds) Check(v View, process bool) error {
	if b.allow(v.Digest(), process) {
		return nil
	}
	var s strings.Builder
	for _, may := range b.views[b.from(process):] {
		fmt.Fprintf(&s, "\n  may be %v", may)
	}
	return fmt.Errorf("the log is not what a crash may leave:\n  it is  %v%s", v, &s)
}

// allow reports whether a view of that digest is one that the crash may have left.
func (b Bounds) allow(digest uint64, process bool) bool {
	return slices.Contains(b.digests[b.from(process):], digest)
}

// from returns the index of the oldest view that the crash may have left.
func (b Bounds) from(process bool) int {
	if process {
		return min(b.handed, len(b.views)-1)
	}
	return 0
}
