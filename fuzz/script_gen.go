package fuzz

import (
	"iter"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/seed3918b8df/tidemark/wal"
)

// pairs are the operations of which every sequence of two is a script. Each script
// has a beginning of two records, so that there is something to truncate.
const (
	pairs     = "aAwymxtTrfFhBUDnNzqcki"
	pairsNone = "aAwmtrFBUkc"
	beginning = "aA"
)

// Kinds are the operations of which every sequence of up to [Longest] is a script: append,
// append many, a batch with meta, a batch that truncates and appends, async then wait,
// rotate, truncate front, truncate back, reset, close and open, and an append that
// fails for want of space.
const (
	Kinds   = "avmtprfBUcq"
	Longest = 5
)

// Round is a part of the enumeration of those sequences: those of one length, or some
// of them, spread evenly over all. A crash is looked at in the last operation of each
// only: the operations before that are a shorter sequence, which runs the same way.
type Round struct {
	Like   Script // what the scripts have in common, and begin with
	Length int
	Count  int // of scripts, at most; 0: all there are
	Images int // of a point, at most
}

// All returns how many sequences of that length there are.
func (r Round) All() int {
	n := 1
	for range r.Length {
		n *= len(Kinds)
	}
	return n
}

// Scripts returns the scripts of the round, always in the same order: those of part
// of so many parts, counted from 0.
func (r Round) Scripts(part, parts int) iter.Seq[Script] {
	return func(yield func(Script) bool) {
		all, step := r.All(), 1
		count := all
		if r.Count > 0 && r.Count < all {
			count, step = r.Count, all/r.Count
		}
		for i := part; i < count; i += parts {
			s := r.Like
			s.Ops, s.From = r.Like.Ops+sequence(i*step+i%step, r.Length), len(r.Like.Ops)+r.Length
			if !yield(s) {
				return
			}
		}
	}
}

// sequence returns sequence n of that length.
func sequence(n, length int) string {
	ops := make([]byte, length)
	for i := range ops {
		ops[length-1-i] = Kinds[n%len(Kinds)]
		n /= len(Kinds)
	}
	return string(ops)
}

// Settings are those under which the sequences run.
func Settings() []Script {
	list := []Script{
		{Unit: 512},
		{Unit: 4096, Lazy: true},
		{Unit: 512},
		{Unit: 4096},
		{Unit: 512, Lazy: true},
	}
	for i := range list {
		list[i].Options.SegmentSize = 8 << 10
	}
	list[2].Options.Sync = wal.SyncNone
	list[3].Options.Sync = wal.SyncInterval
	list[4].Options.SegmentSize = 16 << 10
	list[4].Options.FirstLSN = 1000
	return list
}

// Scripts returns the scripts of the crash enumeration: every sequence of up to two
// operations, behind a beginning; as many longer ones, drawn at random, as are asked
// for; and the same for the policies that acknowledge before they sync.
func Scripts(long int) []Script {
	g := &generator{rand: rand.New(rand.NewPCG(1, 2))}
	for _, unit := range []int{512, 4096} {
		g.add(Script{Ops: "", Unit: unit}) // the beginnings, of which the others take no points
		g.add(Script{Ops: beginning, Unit: unit})
	}
	for _, op := range Operations {
		g.add(Script{Ops: beginning + string(op), From: len(beginning) + 1})
	}
	for _, first := range pairs {
		for _, second := range pairs {
			g.add(Script{Ops: beginning + string(first) + string(second), From: len(beginning) + 2})
		}
	}
	for _, first := range pairsNone {
		for _, second := range pairsNone {
			s := Script{Ops: beginning + string(first) + string(second), From: 1}
			s.Options.Sync = wal.SyncNone
			if len(g.list)%3 == 0 {
				s.Options.Sync = wal.SyncInterval
			}
			g.add(s)
		}
	}
	for range long {
		g.add(g.long())
	}
	return g.list
}

// LargeScripts returns scripts with records that are written from where they are.
func LargeScripts() (list []Script) {
	for i, ops := range []string{"L", "aL", "LL", "aLLa", "wiL", "aLc", "aLk", "aLB", "aLt", "aLn", "arL", "arLa", "aBL", "akLa"} {
		for _, policy := range []wal.SyncPolicy{wal.SyncAlways, wal.SyncNone} {
			s := Script{Ops: ops, Unit: []int{512, 4096}[i%2], Lazy: i%3 == 0, Seed: uint64(i)}
			s.Options.SegmentSize, s.Options.Sync = 1<<20, policy
			if i >= 10 { // larger than its segment, which is empty
				s.Options.SegmentSize = 64 << 10
			}
			list = append(list, s)
		}
	}
	return list
}

// ReuseScripts returns scripts in which files of segments become other segments. Half of
// them take points while that happens, the others of what follows.
func ReuseScripts() (list []Script) {
	fill := strings.Repeat("A", 16) // two segments, and a part of the third
	again := fill + "fi" + strings.Repeat("A", 8)
	for i, ops := range []string{
		fill + "fiAAAAi", fill + "fivAvAAi", fill + "FiAAAAi", fill + "iBBiAr", fill + "UiAr", fill + "fnAAAi",
		again, again + "a", again + "v", again + "ye", again + "pw", again + "m", again + "tT", again + "B", again + "rr", again + "fAAAAAAAAv",
		again + "c", again + "kv", again + "z", again + "q", again + "ni", again + "hD", again + "ak", again + "vk",
	} {
		s := Script{Ops: ops, From: len(fill) + 1, Unit: []int{512, 4096}[i%2], Lazy: i%3 == 0, Seed: uint64(i)}
		if strings.HasPrefix(ops, again) {
			s.From = len(again)
		}
		s.Options.SegmentSize = 16 << 10
		list = append(list, s)
	}
	return list
}

// DirectScripts returns scripts of logs that write past the page cache: some in which they
// also write otherwise, those of the other lists that append durably, and as many longer
// ones as are asked for.
func DirectScripts(long int) (list []Script) {
	for i, ops := range []string{"wsa", "wsA", "wsawsA", "wsv", "wsr", "wsB", "wst", "fa", "Fa", "kwsa"} {
		s := Script{Ops: "aA" + ops, From: 3, Unit: []int{512, 512, 4096}[i%3], Seed: uint64(i)}
		s.Options.SegmentSize, s.Options.Direct = 64<<10, true
		list = append(list, s)
	}
	for _, s := range slices.Concat(ReuseScripts(), LargeScripts(), Scripts(long)) {
		if s.Options.Sync == wal.SyncAlways {
			s.Options.Direct = true
			list = append(list, s)
		}
	}
	return list
}

type generator struct {
	rand *rand.Rand
	list []Script
}

// add adds s, with what it does not say: that goes round.
func (g *generator) add(s Script) {
	n := len(g.list)
	s.Lazy = n%2 == 1
	if s.Unit == 0 {
		s.Unit = []int{512, 512, 4096}[n%3]
	}
	s.Options.SegmentSize = []int64{8 << 10, 8 << 10, 8 << 10, 16 << 10}[n/2%4]
	if n%7 == 3 {
		s.Options.FirstLSN = 1000
	}
	g.list = append(g.list, s)
}

// long returns a script of four to eight operations.
func (g *generator) long() Script {
	ops := make([]byte, 4+g.rand.IntN(5))
	for i := range ops {
		ops[i] = Operations[g.rand.IntN(len(Operations)-1)] // not L: see LargeScripts
	}
	s := Script{Ops: string(ops), From: g.rand.IntN(2), Seed: g.rand.Uint64()}
	s.Options.Sync = []wal.SyncPolicy{wal.SyncAlways, wal.SyncAlways, wal.SyncNone, wal.SyncInterval}[g.rand.IntN(4)]
	return s
}
