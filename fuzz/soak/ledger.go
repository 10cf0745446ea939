package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/seed3918b8df/tidemark/wal"
)

// A child reports on lines, each written in one piece:
//
//	a WRITER SEQ N LSN EPOCH  records SEQ to SEQ+N-1 were acknowledged, from LSN on
//	n WRITER SEQ N            those certainly are not in the log
//	t EPOCH LAST              TruncateBack to LAST begins: what is ordered from now on is of EPOCH
//	T EPOCH, x EPOCH          it has returned, or certainly did nothing
//	f FIRST, F FIRST          TruncateFront to FIRST begins, has returned
//	m N, M N                  the meta N is being set, is set
//	r                         the log was closed and opened again
//	e                         the disk was full
//	s HEAP RSS FDS GOROUTINES DISK  a sample: bytes, bytes, counts, bytes; -1: not known
//	d                         the log was closed in order, and the process ends
//
// Nothing is ordered while TruncateBack runs, so that of each record it is known on
// which side of it it is.

// window is how many records of a writer may be under way at once.
const window = 32

// ledger is what a log must hold.
type ledger struct {
	first wal.LSN // as of the last check, and then the last TruncateFront that returned
	kept  []id    // from base on, as of the last check
	base  wal.LSN
	meta  int

	// Since then.
	acks         []ack
	refused      map[id]bool
	cuts         []cut
	newFirst     wal.LSN // of a TruncateFront that has not returned; 0: none
	newMeta      int
	highest      map[int]int // by writer, the highest seq that was reported
	round        int
	acknowledged int // records, in all rounds
	episodes     int // of a full disk, in all rounds
	reopened     int // times that the child itself opened the log again, in all rounds
	closed       bool
	samples      []sample
}

// ack is records that were acknowledged.
type ack struct {
	id
	n     int
	lsn   wal.LSN
	epoch int
}

// cut is a TruncateBack.
type cut struct {
	epoch         int
	last          wal.LSN
	returned, not bool // it has returned; it certainly did nothing
}

// begin begins a round.
func (l *ledger) begin(round int) {
	l.round, l.acks, l.refused, l.cuts, l.newFirst, l.closed = round, nil, map[id]bool{}, nil, 0, false
	l.newMeta, l.highest = l.meta, map[int]int{}
}

// note takes one line of a child's report.
func (l *ledger) note(line string) error {
	what, rest, _ := strings.Cut(line, " ")
	var v [5]int
	words := strings.Fields(rest)
	if len(words) > len(v) {
		return fmt.Errorf("a report with too much in it: %q", line)
	}
	for i, w := range words {
		n, err := strconv.Atoi(w)
		if err != nil {
			return fmt.Errorf("a report that makes no sense: %q", line)
		}
		v[i] = n
	}
	switch what {
	case "a":
		l.acks = append(l.acks, ack{id{l.round, v[0], v[1]}, v[2], wal.LSN(v[3]), v[4]})
		l.acknowledged += v[2]
		l.highest[v[0]] = max(l.highest[v[0]], v[1]+v[2]-1)
	case "n":
		for i := range v[2] {
			l.refused[id{l.round, v[0], v[1] + i}] = true
		}
		l.highest[v[0]] = max(l.highest[v[0]], v[1]+v[2]-1)
	case "t":
		l.cuts = append(l.cuts, cut{epoch: v[0], last: wal.LSN(v[1])})
	case "T":
		l.cuts[len(l.cuts)-1].returned = true
	case "x":
		l.cuts[len(l.cuts)-1].not = true
	case "f":
		l.newFirst = wal.LSN(v[0])
	case "F":
		l.first, l.newFirst = wal.LSN(v[0]), 0
		l.forget()
	case "m":
		l.newMeta = v[0]
	case "M":
		l.meta = v[0]
	case "r":
		l.reopened++
	case "e":
		l.episodes++
	case "s":
		l.samples = append(l.samples, sample{float64(v[0]), float64(v[1]), float64(v[2]), float64(v[3]), float64(v[4])})
	case "d":
		l.closed = true
	default:
		return fmt.Errorf("a report of nothing known: %q", line)
	}
	return nil
}

// forget drops what is below first, once that is much.
func (l *ledger) forget() {
	if len(l.acks) < 100_000 {
		return
	}
	l.acks = slices.DeleteFunc(l.acks, func(a ack) bool { return a.lsn+wal.LSN(a.n) <= l.first })
	if len(l.refused) > 100_000 { // those of long ago could only be among what was dropped
		for n := range l.refused {
			if n.seq+100_000 < l.highest[n.writer] {
				delete(l.refused, n)
			}
		}
	}
}

// place is what must be at an LSN.
type place struct {
	id
	unsure bool // a truncation that has not returned may have dropped it
}

// expected returns what must be in the log, and where all that was acknowledged was.
func (l *ledger) expected() (want map[wal.LSN]place, acked map[id]bool) {
	want, acked = map[wal.LSN]place{}, map[id]bool{}
	top := wal.LSN(0)
	put := func(lsn wal.LSN, n id) {
		want[lsn], acked[n], top = place{id: n}, true, max(top, lsn)
	}
	for i, n := range l.kept {
		put(l.base+wal.LSN(i), n)
	}
	slices.SortStableFunc(l.acks, func(a, b ack) int { return cmp.Compare(a.epoch, b.epoch) })
	rest := l.acks
	for c := range len(l.cuts) + 1 {
		n := len(rest)
		if c < len(l.cuts) {
			n, _ = slices.BinarySearchFunc(rest, l.cuts[c].epoch, func(a ack, epoch int) int { return cmp.Compare(a.epoch, epoch) })
		}
		for _, a := range rest[:n] {
			for i := range a.n {
				put(a.lsn+wal.LSN(i), id{a.round, a.writer, a.seq + i})
			}
		}
		if rest = rest[n:]; c == len(l.cuts) || l.cuts[c].not {
			continue
		}
		for lsn := l.cuts[c].last + 1; lsn <= top; lsn++ {
			if p, ok := want[lsn]; ok && !l.cuts[c].returned {
				want[lsn] = place{p.id, true}
			} else {
				delete(want, lsn)
			}
		}
		if l.cuts[c].returned {
			top = min(top, l.cuts[c].last)
		}
	}
	return want, acked
}

// underWay reports whether record n, of which nothing was reported, may have been
// under way: a writer reports on one after the other.
func (l *ledger) underWay(n id) bool {
	highest, any := l.highest[n.writer]
	if !any {
		highest = -1
	}
	return n.round == l.round && highest < n.seq && n.seq <= highest+window
}

// check compares a log with the ledger, which from then on says what was found.
func (l *ledger) check(first wal.LSN, got []id, meta int) error {
	if first != l.first && first != l.newFirst {
		return fmt.Errorf("FirstLSN is %d, want %d or %d", first, l.first, l.newFirst)
	}
	if meta < l.meta || meta > l.newMeta {
		return fmt.Errorf("the meta is %d, want %d to %d", meta, l.meta, l.newMeta)
	}
	want, acked := l.expected()
	last := first + wal.LSN(len(got)) - 1
	for lsn, p := range want {
		switch {
		case lsn < first || p.unsure:
		case lsn > last:
			return fmt.Errorf("record %v was acknowledged as %d, and the log ends at %d", p.id, lsn, last)
		case got[lsn-first] != p.id:
			return fmt.Errorf("record %v was acknowledged as %d, and there is %v", p.id, lsn, got[lsn-first])
		}
	}
	seen := map[id]bool{}
	for i, n := range got {
		lsn := first + wal.LSN(i)
		switch p, ok := want[lsn]; {
		case seen[n]:
			return fmt.Errorf("record %v is there twice, and again as %d", n, lsn)
		case ok && p.id == n:
		case acked[n]:
			return fmt.Errorf("record %v is there as %d, and was dropped, or acknowledged elsewhere", n, lsn)
		case l.refused[n]:
			return fmt.Errorf("record %v is there as %d, and certainly was not appended", n, lsn)
		case !l.underWay(n):
			return fmt.Errorf("record %v is there as %d, and cannot have been under way", n, lsn)
		}
		seen[n] = true
	}
	l.first, l.base, l.kept, l.meta = first, first, got, meta
	return nil
}
