package fuzz_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/segment"
)

// seen is what the second decoder expects of a corpus in one test, in exact figures.
// ambiguous and lost are among the short ones.
type seen struct{ cases, whole, short, refused, ambiguous, lost int }

// seenCounts are the figures by level and test. The expectation of each single case is
// what is asserted first; these show when what the tests look at has become another.
var seenCounts = map[string]seen{}

// hold looks at n damages, of which a nil one is none, and asserts what is seen of each
// and of all.
func hold(t *testing.T, c *corpus, n int64, at func(n int64) (damage, bool)) seen {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	start, y := time.Now(), new(tally)
	var mu sync.Mutex
	var want seen
	eachChunk(t, c, n, 128, func(w *damageWorker, from, to int64) {
		var part seen
		for i := from; i < to; i++ {
			d, ok := at(i)
			if !ok {
				continue
			}
			o, j, bad := w.lookAt(d)
			part.cases++
			switch j.class {
			case whole:
				part.whole++
			case short:
				part.short++
			case refused:
				part.refused++
			}
			if j.lost {
				part.lost++
			}
			y.add(o, d.what, bad)
		}
		mu.Lock()
		defer mu.Unlock()
		want.cases += part.cases
		want.whole += part.whole
		want.short += part.short
		want.refused += part.refused
		want.lost += part.lost
	})
	y.lost, want.ambiguous = want.lost, y.ambiguous
	t.Logf("%d cases in %v: %v", want.cases, time.Since(start).Round(time.Millisecond), y)
	for _, bad := range y.bad {
		t.Error(bad)
	}
	require.Zero(t, y.bads)
	require.Equal(t, [classes]int{want.whole, want.short, want.refused}, y.class, "opened whole, opened short, refused")
	if pinned, ok := seenCounts[scale.Of(t).String()+" "+t.Name()]; ok {
		require.Equal(t, pinned, want, "if the corpus was changed on purpose, change seenCounts")
	}
	return want
}

func (s *seen) add(o seen) {
	s.cases += o.cases
	s.whole += o.whole
	s.short += o.short
	s.refused += o.refused
	s.ambiguous += o.ambiguous
	s.lost += o.lost
}

// TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless flips bits of every file of the logs
// that were written with other options or in another way.
func TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless(t *testing.T) {
	stride := scale.Pick[int64](t, 4999, 1999, 47, 1)
	var sum seen
	for _, c := range optioned(t) {
		t.Run(c.name, func(t *testing.T) {
			sum.add(hold(t, c, (c.size*8+stride-1)/stride, func(n int64) (damage, bool) {
				name, bit := c.bitAt(n * stride)
				data := bytes.Clone(c.files[name])
				data[bit/8] ^= 1 << (bit % 8)
				return damage{fmt.Sprintf("bit %d of byte %d of %s", bit%8, bit/8, name), map[string][]byte{name: data}}, true
			}))
		})
	}
	t.Logf("all: %+v", sum)
}

// bitAt returns the file, and the bit in it, that has number n of all.
func (c *corpus) bitAt(n int64) (name string, bit int64) {
	for _, name := range c.names {
		if size := int64(len(c.files[name])) * 8; n < size {
			return name, n
		} else {
			n -= size
		}
	}
	panic("no such bit")
}

// everyCorpus runs fn for the open corpus, the closed one, and those of optionCorpora.
func everyCorpus(t *testing.T, run func(t *testing.T, c *corpus)) {
	t.Helper()
	open, closed := corpora(t)
	for _, c := range append([]*corpus{open, closed}, optioned(t)...) {
		t.Run(c.name, func(t *testing.T) { run(t, c) })
	}
}

// TestEveryReplacedByteIsFoundOrHarmless makes bytes 00, ff, and what they are not.
func TestEveryReplacedByteIsFoundOrHarmless(t *testing.T) {
	var sum seen
	everyCorpus(t, func(t *testing.T, c *corpus) {
		stride := scale.Pick[int64](t, 4999, 1999, 47, 1)
		switch level := scale.Of(t); {
		case level == scale.CI && c.name == "closed":
			stride = 1
		case level == scale.CI && c.open:
			stride = 11
		}
		sum.add(hold(t, c, (c.size*3+stride-1)/stride, func(n int64) (damage, bool) {
			n *= stride
			name, bit := c.bitAt(n / 3 * 8)
			off := bit / 8
			was := c.files[name][off]
			now := [...]byte{0x00, 0xff, was ^ byte(1+(off*37+11)%255)}[n%3]
			if now == was {
				return damage{}, false
			}
			data := bytes.Clone(c.files[name])
			data[off] = now
			return damage{fmt.Sprintf("%#x instead of %#x at %d of %s", now, was, off, name), map[string][]byte{name: data}}, true
		}))
	})
	t.Logf("all: %+v", sum)
}

// TestEveryCutOfOtherLogsIsFoundOrHarmless cuts the files at every length.
func TestEveryCutOfOtherLogsIsFoundOrHarmless(t *testing.T) {
	stride := scale.Pick[int64](t, 4999, 997, 23, 1)
	var sum seen
	for _, c := range optioned(t) {
		t.Run(c.name, func(t *testing.T) {
			sum.add(hold(t, c, (c.size+stride-1)/stride, func(n int64) (damage, bool) {
				name, bit := c.bitAt(n * stride * 8)
				return damage{fmt.Sprintf("%s cut at %d", name, bit/8), map[string][]byte{name: slices.Clip(c.files[name][:bit/8])}}, true
			}))
		})
	}
	t.Logf("all: %+v", sum)
}

// wholeDamages lists damage to sectors and to whole files, what a file may have become
// by hand, and files as they once were.
func (c *corpus) wholeDamages(foreign map[string][]byte) (list []damage) {
	rng := rand.NewChaCha8([32]byte{'w'})
	random := make([]byte, 64<<10)
	_, _ = rng.Read(random)
	add := func(name, what string, data []byte) {
		if was, ok := c.files[name]; !ok || !bytes.Equal(was, data) || data == nil {
			list = append(list, damage{name + " " + what, map[string][]byte{name: data}})
		}
	}
	at := func(file []byte, off, n int) []byte { // of what is not there zeros
		b := make([]byte, n)
		if off >= 0 && off < len(file) {
			copy(b, file[off:])
		}
		return b
	}
	for i, name := range c.names {
		file, other := c.files[name], c.names[(i+1)%len(c.names)]
		for _, unit := range []int{512, 4096} {
			for off := 0; off < len(file); off += unit {
				for what, bytes := range map[string][]byte{
					"zero": make([]byte, unit), "random": random[off%4096 : off%4096+unit], "of another log": at(foreign[name], off, unit),
					"as the one before": at(file, off-unit, unit), "as the one behind": at(file, off+unit, unit),
					"as in " + other: at(c.files[other], off, unit), "of the header": at(file, 0, unit),
				} {
					data := slices.Clone(file)
					copy(data[off:], bytes)
					add(name, fmt.Sprintf("from %d, %d bytes %s", off, unit, what), data)
				}
			}
		}
		for _, n := range []int{1, 7, 8, 64, 511, 512, 4096, 60_000} {
			add(name, fmt.Sprintf("%d zeros longer", n), append(slices.Clip(file), make([]byte, n)...))
			add(name, fmt.Sprintf("%d random bytes longer", n), append(slices.Clip(file), random[:n]...))
		}
		add(name, "twice in itself", append(slices.Clip(file), file...))
		add(name, "gone", nil)
		add(name, "empty", []byte{})
		add(name, "zero", make([]byte, len(file)))
		add(name, "random", at(random, 0, len(file)))
		for _, other := range c.names {
			add(name, "replaced by "+other, c.files[other])
			if other < name {
				list = append(list, damage{name + " swapped with " + other, map[string][]byte{name: c.files[other], other: file}})
			}
		}
		if data, ok := foreign[name]; ok {
			add(name, "of another log", data)
		}
		if l := c.layouts[name]; l != nil {
			for _, p := range l.pieces { // as it was before what stands there was written, in a file of any size
				data := slices.Clone(file)
				clear(data[p.from:])
				add(name, fmt.Sprintf("as it was when it ended at %d", p.from), data)
				add(name, fmt.Sprintf("cut at %d", p.from), slices.Clip(file[:p.from]))
			}
			newest, _ := segment.ParseName(c.newest)
			for id := uint64(1); id < newest+3; id++ {
				if _, ok := c.files[segment.Name(id)]; !ok {
					add(segment.Name(id), "a copy of "+name, file)
				}
			}
			add(segment.Name(1<<40), "a copy of "+name, file)
			add(segment.Name(newest+1), "a copy of "+name+" with a header of that id", append(readyHeader(bytes.Clone(file[:4096]), newest+1, uint64(len(file))), file[4096:]...))
		}
	}
	for name, data := range foreign {
		if _, ok := c.files[name]; !ok && len(data) > 0 {
			add(name, "of another log", data)
		}
	}
	all := map[string][]byte{} // but for FRONT
	for _, name := range c.names[:len(c.names)-1] {
		all[name] = nil
		list = append(list, damage{"all gone up to " + name, maps.Clone(all)})
	}
	return list
}

// TestEverySectorAndFileIsFoundOrHarmless does what wholeDamages lists.
func TestEverySectorAndFileIsFoundOrHarmless(t *testing.T) {
	foreign := foreignFiles(t)
	stride := scale.Pick[int64](t, 499, 97, 1, 1)
	var sum seen
	everyCorpus(t, func(t *testing.T, c *corpus) {
		list := c.sorted(foreign)
		sum.add(hold(t, c, (int64(len(list))+stride-1)/stride, func(n int64) (damage, bool) { return list[n*stride], true }))
	})
	t.Logf("all: %+v", sum)
}

// sorted is what wholeDamages lists, in the same order each time.
func (c *corpus) sorted(foreign map[string][]byte) []damage {
	list := c.wholeDamages(foreign)
	slices.SortStableFunc(list, func(a, b damage) int { return bytes.Compare([]byte(a.what), []byte(b.what)) })
	return list
}

// TestTwoDamagesAreFoundOrHarmless does two kinds of damage at once, at random places:
// bits, bytes, cuts, and what wholeDamages lists.
func TestTwoDamagesAreFoundOrHarmless(t *testing.T) {
	foreign := foreignFiles(t)
	cases := scale.Pick[int64](t, 20, 60, 3_000, 300_000)
	var sum seen
	everyCorpus(t, func(t *testing.T, c *corpus) {
		list := c.sorted(foreign)
		pick := func(rng *rand.Rand) damage {
			name := c.names[rng.IntN(len(c.names))]
			if rng.IntN(2) == 0 {
				name = c.newest
			}
			file := c.files[name]
			off := rng.IntN(len(file))
			if l := c.layouts[name]; l != nil && rng.IntN(3) > 0 { // where something is
				off = 4096 + rng.IntN(max(1, int(l.end)-4096))
			}
			data := slices.Clone(file)
			switch rng.IntN(4) {
			case 0:
				data[off] ^= 1 << rng.IntN(8)
			case 1:
				data[off] ^= byte(1 + rng.IntN(255))
			case 2:
				clear(data[off:min(len(data), off+1+rng.IntN(700))])
			default:
				return list[rng.IntN(len(list))]
			}
			return damage{fmt.Sprintf("byte %d of %s", off, name), map[string][]byte{name: data}}
		}
		sum.add(hold(t, c, cases, func(n int64) (damage, bool) {
			rng := rand.New(rand.NewPCG(uint64(n), 2))
			return pick(rng).and(c, pick(rng)), true
		}))
	})
	t.Logf("all: %+v", sum)
}
