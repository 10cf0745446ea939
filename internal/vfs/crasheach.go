package vfs

import (
	"encoding/binary"
	"math/rand/v2"
)

// Each calls yield with different picks until it returns false: all there are, if they
// are at most limit. Otherwise with limit of them: the oldest and the newest of everything;
// the first k choices newest and the rest oldest, and the other way round; all newest
// but one, all oldest but one; and the rest as seed has it, two that differ, versions
// in between and garbage among them. Where limit is too low for one of these families,
// it is thinned out evenly. Yield must not change the slice, which is used again.
func (s *State) Each(limit int, seed uint64, yield func(picks []int) bool) {
	s.init()
	if limit <= 0 {
		return
	}
	product := 1
	for _, c := range s.choices {
		if product > limit/c.N {
			s.sample(limit, seed, yield)
			return
		}
		product *= c.N
	}
	picks := s.Oldest()
	for range product {
		if !yield(picks) {
			return
		}
		for i := range picks {
			if picks[i]++; picks[i] < s.choices[i].N {
				break
			}
			picks[i] = 0
		}
	}
}

// sample does the part of Each where there are more than limit.
func (s *State) sample(limit int, seed uint64, yield func(picks []int) bool) {
	smp := &sampler{
		oldest: s.Oldest(), newest: s.Newest(), picks: s.Oldest(),
		rand: rand.New(rand.NewPCG(seed, hashKey)),
		seen: map[uint64]bool{}, limit: limit, yield: yield,
	}
	if !smp.emit(smp.oldest) || !smp.emit(smp.newest) || !smp.families() {
		return
	}
	// There are more than limit, but nothing says that chance finds them all.
	for range 16 * limit {
		smp.random(s.choices)
		if !smp.emit(smp.picks) {
			return
		}
	}
}

type sampler struct {
	oldest, newest []int
	picks          []int // what is about to be yielded
	rand           *rand.Rand
	seen           map[uint64]bool // hashes of picks
	limit          int
	yield          func([]int) bool
}

// emit yields picks, if they are new, and reports whether to go on.
func (smp *sampler) emit(picks []int) bool {
	key := make([]byte, 0, 2*len(picks))
	for _, pick := range picks {
		key = binary.AppendUvarint(key, uint64(pick))
	}
	h := hash(0, key)
	if smp.seen[h] {
		return true
	}
	if len(smp.seen) == smp.limit {
		return false
	}
	smp.seen[h] = true
	copy(smp.picks, picks)
	return smp.yield(smp.picks) && len(smp.seen) < smp.limit
}

// families yields prefixes, suffixes, single omissions and single survivors, and takes
// at most half of the limit.
func (smp *sampler) families() bool {
	n := len(smp.oldest)
	quota := min(n, max(1, smp.limit/8))
	mixed := make([]int, n)
	for family := range 4 {
		for j := range quota {
			k := (j*n + smp.rand.IntN(n)) / quota // with quota n: nearly j
			if quota == n {
				k = j
			}
			switch family {
			case 0: // prefix
				copy(mixed, smp.oldest)
				copy(mixed[:k], smp.newest)
			case 1: // suffix
				copy(mixed, smp.oldest)
				copy(mixed[k:], smp.newest[k:])
			case 2: // omission
				copy(mixed, smp.newest)
				mixed[k] = smp.oldest[k]
			case 3: // survivor
				copy(mixed, smp.oldest)
				mixed[k] = smp.newest[k]
			}
			if !smp.emit(mixed) {
				return false
			}
		}
	}
	return true
}

// random makes picks up in one of a few ways.
func (smp *sampler) random(choices []choice) {
	picks, r := smp.picks, smp.rand
	switch way := r.IntN(8); way {
	case 0, 1: // a pair
		base, other := smp.newest, smp.oldest
		if way == 1 {
			base, other = other, base
		}
		copy(picks, base)
		for range 2 {
			k := r.IntN(len(picks))
			picks[k] = other[k]
		}
	case 2: // a few anything, the rest newest
		copy(picks, smp.newest)
		for range 1 + r.IntN(4) {
			k := r.IntN(len(picks))
			picks[k] = r.IntN(choices[k].N)
		}
	case 3: // a prefix newest, then anything
		k := r.IntN(len(picks))
		copy(picks[:k], smp.newest)
		for ; k < len(picks); k++ {
			picks[k] = r.IntN(choices[k].N)
		}
	case 4: // oldest or newest, no versions in between
		for k := range picks {
			picks[k] = smp.oldest[k]
			if r.IntN(2) == 1 {
				picks[k] = smp.newest[k]
			}
		}
	default: // anything, but more often than not with all names and sizes
		names := r.IntN(3) > 0
		for k := range picks {
			picks[k] = r.IntN(choices[k].N)
			if names && choices[k].What != "block" {
				picks[k] = smp.newest[k]
			}
		}
	}
}
