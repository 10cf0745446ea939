package recovery

import (
	"fmt"
	"strings"

	"github.com/seed3918b8df/tidemark/segment"
)

// LSN is the number of a record.
type LSN = segment.LSN

// Tail says how the log ends.
type Tail uint8

// The ends of a log.
const (
	// TailClean: behind the last record there are zeros, as nothing was written there, or
	// nothing. In a file that was another segment before they end at the next page.
	TailClean Tail = iota
	// TailTorn: an interrupted write was cut off: where a header would be there
	// are zeros, before something else, or the file ends inside what was written.
	TailTorn
	// TailAmbiguous: what was cut off may be a group that was acknowledged and
	// is damaged; nothing behind it says whether it was durable.
	TailAmbiguous
)

// String returns "clean", "torn" or "ambiguous".
func (t Tail) String() string { return [...]string{"clean", "torn", "ambiguous"}[t] }

// Place is a byte of a file.
type Place struct {
	Path string
	Off  int64
}

// Report is what a recovery found and did, or what one would do.
type Report struct {
	Dir      string
	Log      string // id of the log: 32 hexadecimal digits; "" if there is none
	Segments int    // that the log consists of

	First   LSN  // oldest record retained; Last+1 when the log is empty
	Last    LSN  // newest record
	Durable LSN  // newest record that the files themselves prove durable
	Closed  bool // the log was closed in order

	Tail     Tail
	CutPath  string // the file that is cut; "" if none is
	CutAt    int64  // where, in bytes
	CutBytes int64  // how many bytes it spans, up to the last that is not zero or, in a file that was another segment, that a group had
	LostFrom LSN    // if Tail is not TailClean: the first LSN that may have been there, and
	LostTo   LSN    // the last one that a header speaks of; LostFrom-1: none does

	Flipped []Place // bytes of which one bit was flipped back: the sums hold so

	EmptyAt   LSN   // not 0: the records before a durable front were lost with the front's blessing; the log is empty there
	Rewritten int64 // bytes written again because nothing proved them

	NewestMeta   []byte                  // PointInTime: the newest meta that verifies; the one in force may be older
	FrontDamaged bool                    // one slot of FRONT does not verify; the other one does
	Removed      []string                // leftovers of an earlier run, by name
	Quarantined  []string                // given up by a point-in-time recovery, by name
	Strays       []string                // files that are not the log's, by name; they are left alone
	Corruptions  []*segment.CorruptError // what refuses the log; in PointInTime: what ended it
	Verified     bool                    // every segment was read in full
	Rows         []string                // labels of the decision table, oldest segment first
}

// String returns the report as lines of text.
func (r Report) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "log %s in %s", orNone(r.Log), r.Dir)
	if len(r.Corruptions) == 0 {
		fmt.Fprintf(&s, ": segments: %d, records %d to %d, proved durable to %d", r.Segments, r.First, r.Last, r.Durable)
	}
	s.WriteByte('\n')
	fmt.Fprintf(&s, "tail %s", r.Tail)
	if r.Closed {
		s.WriteString(", closed in order")
	}
	if r.CutPath != "" {
		fmt.Fprintf(&s, ": cut %s at %d, %d bytes", r.CutPath, r.CutAt, r.CutBytes)
	}
	if r.Tail != TailClean {
		fmt.Fprintf(&s, "; from LSN %d", r.LostFrom)
		if r.LostTo >= r.LostFrom {
			fmt.Fprintf(&s, " to %d", r.LostTo)
		}
	}
	s.WriteByte('\n')
	if r.EmptyAt != 0 {
		fmt.Fprintf(&s, "the records before the front were lost: empty at LSN %d\n", r.EmptyAt)
	}
	if r.Rewritten > 0 {
		fmt.Fprintf(&s, "write again: %d bytes that nothing proves\n", r.Rewritten)
	}
	for _, f := range r.Flipped {
		fmt.Fprintf(&s, "flip back: one bit of %s at %d\n", f.Path, f.Off)
	}
	if r.FrontDamaged {
		s.WriteString("one slot of FRONT is damaged\n")
	}
	for _, l := range []struct {
		what  string
		names []string
	}{{"remove", r.Removed}, {"quarantine", r.Quarantined}, {"not the log's", r.Strays}} {
		if len(l.names) > 0 {
			fmt.Fprintf(&s, "%s: %s\n", l.what, strings.Join(l.names, " "))
		}
	}
	for _, c := range r.Corruptions {
		fmt.Fprintf(&s, "corrupt: %v\n", c)
	}
	return s.String()
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}
