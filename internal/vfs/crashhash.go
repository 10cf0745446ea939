package vfs

import (
	"encoding/binary"
	"maps"
	"path/filepath"
	"sync"
)

// hasher is what [State.Hash] remembers.
type hasher struct {
	mu    sync.Mutex
	names map[uint64][]named           // by the picks about entries
	files map[*inode]map[uint64]uint64 // hashes of contents, by the picks about the file
	key   []byte
	data  []byte
}

// named is a name that is left, of a file or, if ino is nil, a directory.
type named struct {
	sum uint64 // hash of the path
	ino *inode
}

// Hash returns the [Mem.Hash] of the Image with these picks, for much less than the
// image costs where most picks are as they were before.
func (s *State) Hash(picks []int) uint64 {
	s.init()
	s.check(picks)
	s.hasher.mu.Lock()
	defer s.hasher.mu.Unlock()
	var sum uint64
	for _, n := range s.named(picks) {
		h := n.sum
		if n.ino != nil {
			h = mix(h^s.fileHash(n.ino, picks), hashKey)
		}
		sum += h
	}
	return sum
}

// named returns what is left of the names. Requires hasher.mu.
func (s *State) named(picks []int) []named {
	key := s.hasher.key[:0]
	for i := range picks {
		if s.choices[i].What == "entry" {
			key = append(key, byte(picks[i]))
		}
	}
	s.hasher.key = key
	of := hash(0, key)
	list, ok := s.hasher.names[of]
	if !ok {
		for path := range s.dirs {
			if isRoot(path) {
				list = s.namedIn(path, picks, list)
			}
		}
		if s.hasher.names == nil {
			s.hasher.names, s.hasher.files = map[uint64][]named{}, map[*inode]map[uint64]uint64{}
		}
		s.hasher.names[of] = list
	}
	return list
}

// namedIn appends what is left of the names in that directory and below it.
func (s *State) namedIn(path string, picks []int, list []named) []named {
	for name, ino := range s.entriesLeft(path, picks) {
		full := filepath.Join(path, name)
		list = append(list, named{hash(hashKey, []byte(filepath.ToSlash(full))), ino})
		if ino == nil {
			list = s.namedIn(full, picks, list)
		}
	}
	return list
}

// entriesLeft returns what is left of a directory.
func (s *State) entriesLeft(path string, picks []int) memDir {
	d := memDir{}
	maps.Copy(d, s.dirs[path].durable)
	for _, i := range s.byDir[path] {
		if picks[i] == 1 {
			s.choices[i].change.apply(d)
		}
	}
	return d
}

// fileHash returns the hash of what is left of a file. Requires hasher.mu.
func (s *State) fileHash(ino *inode, picks []int) uint64 {
	picked := s.byFile[ino]
	if len(picked) == 0 {
		_, sum := s.files[ino].content()
		return sum
	}
	key := s.hasher.key[:0]
	for _, i := range picked {
		key = binary.AppendUvarint(key, uint64(picks[i]))
	}
	s.hasher.key = key
	of := hash(0, key)
	sums := s.hasher.files[ino]
	if sums == nil {
		sums = map[uint64]uint64{}
		s.hasher.files[ino] = sums
	}
	sum, ok := sums[of]
	if !ok {
		s.hasher.data = s.fileLeft(ino, picks, s.hasher.data[:0])
		sum = hash(0, s.hasher.data)
		sums[of] = sum
	}
	return sum
}

// fileLeft appends what is left of a file to buf.
func (s *State) fileLeft(ino *inode, picks []int, buf []byte) []byte {
	f := s.files[ino]
	base, _ := f.content()
	size := f.sizes[0]
	for _, i := range s.byFile[ino] {
		if c := &s.choices[i]; c.What == "size" {
			size = c.sizes[picks[i]]
		}
	}
	data := append(buf, base[:size]...)
	for _, i := range s.byFile[ino] {
		if c := &s.choices[i]; c.What == "block" && picks[i] > 0 && c.Off < size {
			c.fill(data[c.Off:min(c.Off+s.unit, size)], picks[i], s.stale)
		}
	}
	return data
}
