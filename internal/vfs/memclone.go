package vfs

import (
	"encoding/binary"
	"maps"
	"math/bits"
	"path/filepath"
)

// Clone returns a copy of the file system: the same names, links and contents, nothing
// open, nothing locked, no limit. Contents are copied when either side first changes
// them.
func (m *Mem) Clone() *Mem {
	m.mu.RLock()
	defer m.mu.RUnlock()
	clone := NewMem()
	clone.zeros, clone.direct = m.zeros, m.direct
	copies := map[*inode]*inode{}
	for path, dir := range m.dirs {
		d := maps.Clone(dir)
		clone.dirs[path] = d
		for name, ino := range d {
			if ino == nil {
				continue
			}
			if copies[ino] == nil {
				copies[ino] = ino.clone(&clone.space)
			}
			copies[ino].links++
			d[name] = copies[ino]
		}
	}
	return clone
}

func (ino *inode) clone(s *space) *inode {
	ino.mu.Lock()
	defer ino.mu.Unlock()
	ino.shared = true
	s.used += int64(len(ino.data))
	return &inode{space: s, data: ino.data, shared: true, sum: ino.sum, summed: ino.summed}
}

// Hash returns a hash of all names, sizes and contents, that is equal for equal file
// systems in every process and release. Which names are links of one file does not
// count. Hashes of unchanged files are kept.
func (m *Mem) Hash() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var sum uint64 // of a hash for each name, so that their order does not matter
	for path, dir := range m.dirs {
		for name, ino := range dir {
			h := hash(hashKey, []byte(filepath.ToSlash(filepath.Join(path, name))))
			if ino != nil {
				h = mix(h^ino.hash(), hashKey)
			}
			sum += h
		}
	}
	return sum
}

func (ino *inode) hash() uint64 {
	ino.mu.Lock()
	defer ino.mu.Unlock()
	if !ino.summed {
		ino.sum, ino.summed = hash(0, ino.data), true
	}
	return ino.sum
}

// Odd numbers with evenly spread bits: the golden ratio and the fractions of square
// roots of primes.
const (
	hashKey  = 0x9e3779b97f4a7c15
	hashKey0 = 0x6a09e667f3bcc909
	hashKey1 = 0xbb67ae8584caa73b
	hashKey2 = 0x3c6ef372fe94f82b
	hashKey3 = 0xa54ff53a5f1d36f1
)

// hash is a hash of p in two lanes of folded multiplications, as in wyhash.
func hash(seed uint64, p []byte) uint64 {
	n := uint64(len(p))
	a, b := seed^hashKey, seed^hashKey1 // not what the lanes begin with: 0 times all is 0
	for len(p) >= 32 {
		a, b = hashLanes(a, b, (*[32]byte)(p))
		p = p[32:]
	}
	if len(p) > 0 {
		var rest [32]byte
		copy(rest[:], p)
		a, b = hashLanes(a, b, &rest)
	}
	return mix(mix(a^n, hashKey0^b), hashKey)
}

func hashLanes(a, b uint64, p *[32]byte) (uint64, uint64) {
	le := binary.LittleEndian
	a = mix(le.Uint64(p[0:])^hashKey0^a, le.Uint64(p[8:])^hashKey1)
	b = mix(le.Uint64(p[16:])^hashKey2^b, le.Uint64(p[24:])^hashKey3)
	return a, b
}

// mix folds the product of a and b.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
