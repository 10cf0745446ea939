package vfs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// State is all that a crash at one moment may leave: a list of choices, each of which
// falls independently of the others. An outcome is written as picks, one for each
// choice: 0 is what is durable, and what happened later has higher numbers. It does
// not change; its methods may be called concurrently.
type State struct {
	unit  int64
	align int // of WriteSync
	dirs  map[string]entries
	files map[*inode]*snapshot
	stale []byte // where garbage comes from; see Crash

	once    sync.Once
	choices []choice
	byFile  map[*inode][]int // the choices about a file
	byDir   map[string][]int // the choices about a directory's entries, in order

	hasher hasher
}

// Choice is what a crash decides on, independently of anything else.
type Choice struct {
	What    string // "entry", "size" or "block"
	Op      Op     // of an entry: what changed it, pick 1 keeps the change
	Name    string // path of the entry, or one of those of the file
	N       int    // how many picks there are, from 0
	Off     int64  // where the block begins in its file
	Garbage bool   // whether the highest pick is garbage, which is newer than nothing
}

// newest returns the pick for what a program would read without a crash.
func (ch *Choice) newest() int {
	if ch.Garbage {
		return ch.N - 2
	}
	return ch.N - 1
}

// choice is a Choice and what it is about.
type choice struct {
	Choice
	seq    uint64
	change change    // of an entry
	sizes  []int64   // of a size
	unit   unitState // of a block
}

// init makes the choices, in the order in which what they are about began.
func (s *State) init() {
	s.once.Do(func() {
		about := map[uint64]any{} // directory or file, by seq
		for path, e := range s.dirs {
			for _, ch := range e.changes {
				name := filepath.Join(path, cmp.Or(ch.to, ch.from))
				c := Choice{What: "entry", Op: ch.op, Name: name, N: 2}
				s.choices = append(s.choices, choice{Choice: c, seq: ch.seq, change: ch})
				about[ch.seq] = path
			}
		}
		for ino, f := range s.files {
			if len(f.sizes) > 1 {
				c := Choice{What: "size", Name: f.name, N: len(f.sizes)}
				s.choices = append(s.choices, choice{Choice: c, seq: f.sizeSeq, sizes: f.sizes})
				about[f.sizeSeq] = ino
			}
			for _, u := range f.units {
				c := Choice{What: "block", Name: f.name, N: u.picks(), Off: u.n * s.unit, Garbage: u.fresh}
				s.choices = append(s.choices, choice{Choice: c, seq: u.seq, unit: u})
				about[u.seq] = ino
			}
		}
		slices.SortFunc(s.choices, func(a, b choice) int { return cmp.Compare(a.seq, b.seq) })
		s.byFile, s.byDir = map[*inode][]int{}, map[string][]int{}
		for i, c := range s.choices {
			switch of := about[c.seq].(type) {
			case string:
				s.byDir[of] = append(s.byDir[of], i)
			case *inode:
				s.byFile[of] = append(s.byFile[of], i)
			}
		}
	})
}

// Choices returns all choices, in the order in which what they are about began. The
// caller owns the slice.
func (s *State) Choices() []Choice {
	s.init()
	list := make([]Choice, len(s.choices))
	for i, c := range s.choices {
		list[i] = c.Choice
	}
	return list
}

// Oldest returns the picks that leave only what is durable.
func (s *State) Oldest() []int {
	s.init()
	return make([]int, len(s.choices))
}

// Newest returns the picks that leave everything, as the end of the process alone does.
func (s *State) Newest() []int {
	picks := s.Oldest()
	for i := range picks {
		picks[i] = s.choices[i].newest()
	}
	return picks
}

// Describe returns picks as lines of text, one for each choice.
func (s *State) Describe(picks []int) string {
	s.init()
	s.check(picks)
	var b strings.Builder
	for i, c := range s.choices {
		fmt.Fprintf(&b, "%d/%d %s %s", picks[i], c.N, c.What, c.Name)
		switch {
		case c.What == "entry" && c.change.op == Rename:
			fmt.Fprintf(&b, " %v from %s", c.Op, c.change.from)
		case c.What == "entry":
			fmt.Fprintf(&b, " %v", c.Op)
		case c.What == "size":
			fmt.Fprintf(&b, " %d", c.sizes[picks[i]])
		case c.Garbage && picks[i] == c.N-1:
			fmt.Fprintf(&b, " at %d garbage", c.Off)
		default:
			fmt.Fprintf(&b, " at %d", c.Off)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (s *State) check(picks []int) {
	if len(picks) != len(s.choices) {
		panic(fmt.Sprintf("vfs: %d picks for %d choices", len(picks), len(s.choices)))
	}
}

// Image returns the file system as a crash with these picks leaves it. It is the
// caller's, and shares contents with the State until they are changed.
func (s *State) Image(picks []int) *Mem {
	s.init()
	s.check(picks)
	im := image{State: s, picks: picks, mem: NewMem(), copies: map[*inode]*inode{}}
	im.mem.UseDirect(s.align)
	for path := range s.dirs {
		if isRoot(path) {
			im.dir(path)
		}
	}
	return im.mem
}

// image is a Mem in the making.
type image struct {
	*State
	picks  []int
	mem    *Mem
	copies map[*inode]*inode
}

// dir adds the directory of that path and all below it.
func (im *image) dir(path string) {
	d := im.entriesLeft(path, im.picks)
	im.mem.dirs[path] = d
	for name, ino := range d {
		if ino == nil {
			im.dir(filepath.Join(path, name))
			continue
		}
		if im.copies[ino] == nil {
			im.copies[ino] = im.file(ino)
		}
		im.copies[ino].links++
		d[name] = im.copies[ino]
	}
}

// file returns what is left of a file.
func (im *image) file(of *inode) *inode {
	ino := &inode{space: &im.mem.space}
	if len(im.byFile[of]) == 0 {
		ino.data, ino.sum = im.files[of].content()
		ino.shared, ino.summed = true, true
	} else {
		base, _ := im.files[of].content()
		ino.data = im.fileLeft(of, im.picks, make([]byte, 0, len(base)))
	}
	im.mem.space.used += int64(len(ino.data))
	return ino
}

// fill makes the block what it is with that pick.
func (c *choice) fill(block []byte, pick int, stale []byte) {
	c.unit.fill(block, c.Off, pick, stale)
}

// fill makes the block, which begins at off in its file, what it is with that pick.
func (u *unitState) fill(block []byte, off int64, pick int, stale []byte) {
	if pick < len(u.versions) {
		n := copy(block, u.versions[pick])
		clear(block[n:])
		return
	}
	if off < int64(len(stale)) {
		old := stale[off:min(off+int64(len(block)), int64(len(stale)))]
		if !equal(old, nil) {
			clear(block[copy(block, old):])
			return
		}
	}
	x := mix(uint64(off)^hashKey0, hashKey1)
	for len(block) > 0 {
		x = mix(x^hashKey2, hashKey3) + hashKey
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], x|1)
		block = block[copy(block, word[:]):]
	}
}
