package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireSame requires s to hold what want does, in order, from every key on.
func requireSame(t *testing.T, s *skiplist, want map[string]entry) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(want))
	require.Equal(t, len(keys), s.count)
	at := 0
	for e := range s.from("") {
		require.Less(t, at, len(keys))
		require.Equal(t, want[keys[at]], e)
		at++
	}
	require.Equal(t, len(keys), at)
	for i := range s.count / 10 {
		from := fmt.Sprintf("%04d", i*17%1000)
		n, found := slices.BinarySearch(keys, from)
		e, ok := s.get(from)
		require.Equal(t, found, ok)
		require.Equal(t, want[from], e)
		for e := range s.from(from) {
			require.Equal(t, keys[n], e.key)
			break
		}
	}
}

func TestMapAgreesWithReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	s, want := &skiplist{}, map[string]entry{}
	for round := range 20 {
		for i := range 2000 {
			key := fmt.Sprintf("%04d", r.IntN(1000))
			if r.IntN(10) < round { // few removals at first, then more and more
				s.remove(key)
				delete(want, key)
			} else {
				e := entry{key: key, value: fmt.Sprint(i), lsn: uint64(round*2000 + i)}
				s.set(e)
				want[key] = e
			}
		}
		requireSame(t, s, want)
	}
	for key := range want {
		s.remove(key)
	}
	requireSame(t, s, map[string]entry{})
}

func TestMapHoldsTheEmptyKeyAndKeysThatArePrefixes(t *testing.T) {
	s, want := &skiplist{}, map[string]entry{}
	for _, key := range []string{"b", "", "ab", "a", "\xff", "a\x00"} {
		s.set(entry{key: key, value: key + "!"})
		want[key] = entry{key: key, value: key + "!"}
	}
	requireSame(t, s, want)
}

func TestLoopOverTheMapMayEndEarly(t *testing.T) {
	s := &skiplist{}
	s.set(entry{key: "a"})
	s.set(entry{key: "b"})
	for e := range s.from("") {
		require.Equal(t, "a", e.key)
		break
	}
}
