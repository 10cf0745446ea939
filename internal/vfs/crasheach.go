package vfs

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// Each calls yield with different picks until it returns false: all there are, if they
// are at most limit. Otherwise with limit of them: the oldest and the newest of everything;
// the first k choices newest and the rest missing, and the other way round; one missing,
// two missing, all but one missing; and the rest as seed has it, versions in between
// among them. Missing is the oldest, which is zeros where nothing durable was, and then
// garbage where there may be some. Where limit is too low for one of these families, it
// is thinned out evenly. Yield must not change the slice, which is used again.
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
		choices: s.choices, mixed: s.Oldest(),
	}
	if !smp.emit(smp.oldest) || !smp.emit(smp.newest) || !smp.families() {
		return
	}
	// There are more than limit, but nothing says that chance finds them all.
	for range 16 * limit {
		smp.random()
		if !smp.emit(smp.picks) {
			return
		}
	}
}

type sampler struct {
	choices        []choice
	oldest, newest []int
	mixed          []int // a member of a family
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

// families yields prefixes, suffixes, single omissions and survivors, and double
// omissions, and takes at most five eighths of the limit.
func (smp *sampler) families() bool {
	n := len(smp.oldest)
	garbage := smp.garbage()
	quota := smp.limit / 8
	if garbage != nil {
		quota /= 2
	}
	for family := range 5 {
		total := n
		if family == 4 {
			total = n * (n - 1) / 2
		}
		quota := min(total, max(1, quota))
		for j := range quota {
			k := j
			if quota < total {
				k = (j*total + smp.rand.IntN(total)) / quota
			}
			if !smp.emitMember(family, k, smp.oldest) {
				return false
			}
			if garbage != nil && !smp.emitMember(family, k, garbage) {
				return false
			}
		}
	}
	return true
}

// garbage returns the picks that leave garbage wherever there may be some, and the
// oldest elsewhere; nil if that is nowhere.
func (smp *sampler) garbage() []int {
	var picks []int
	for i := range smp.choices {
		if smp.choices[i].Garbage {
			if picks == nil {
				picks = slices.Clone(smp.oldest)
			}
			picks[i] = smp.choices[i].N - 1
		}
	}
	return picks
}

// emitMember emits member k of that family, in which what is missing is as absent has it.
func (smp *sampler) emitMember(family, k int, absent []int) bool {
	mixed := smp.mixed
	switch family {
	case 0: // prefix
		copy(mixed, absent)
		copy(mixed[:k], smp.newest)
	case 1: // suffix
		copy(mixed, absent)
		copy(mixed[k:], smp.newest[k:])
	case 2: // omission
		copy(mixed, smp.newest)
		mixed[k] = absent[k]
	case 3: // survivor
		copy(mixed, absent)
		mixed[k] = smp.newest[k]
	case 4: // double omission
		copy(mixed, smp.newest)
		a, b := pair(k, len(mixed))
		mixed[a], mixed[b] = absent[a], absent[b]
	}
	return smp.emit(mixed)
}

// pair returns pair k of those of n things, the pairs of the first ones first.
func pair(k, n int) (a, b int) {
	for k >= n-1-a {
		k -= n - 1 - a
		a++
	}
	return a, a + 1 + k
}

// random makes picks up in one of a few ways.
func (smp *sampler) random() {
	picks, r, choices := smp.picks, smp.rand, smp.choices
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
