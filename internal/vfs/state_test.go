package vfs_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// wide returns a state with n blocks of 4 picks each, and no other choice.
func wide(t *testing.T, n int) *vfs.State {
	t.Helper()
	c := vfs.NewCrash(4)
	play(t, c, "create a", fmt.Sprint("alloc a ", 4*n), "sync a", "syncdir .")
	for i := range n {
		for _, version := range []string{"AAAA", "BBBB", "CCCC"} {
			play(t, c, fmt.Sprint("write a ", 4*i, " ", version))
		}
	}
	return c.State()
}

// picksOf returns what Each yields, as strings.
func picksOf(t *testing.T, s *vfs.State, limit int, seed uint64) []string {
	t.Helper()
	var all []string
	seen := map[string]bool{}
	s.Each(limit, seed, func(picks []int) bool {
		all = append(all, fmt.Sprint(picks))
		require.False(t, seen[all[len(all)-1]], "%v twice", picks)
		seen[all[len(all)-1]] = true
		for i, ch := range s.Choices() {
			require.GreaterOrEqual(t, picks[i], 0)
			require.Less(t, picks[i], ch.N)
		}
		return true
	})
	return all
}

func TestEachIsCompleteBelowTheLimit(t *testing.T) {
	s := wide(t, 3)
	require.Len(t, picksOf(t, s, 64, 1), 64)
	require.Len(t, picksOf(t, s, 1000, 1), 64)
	require.Equal(t, []string{"[0 0 0]", "[1 0 0]"}, picksOf(t, s, 64, 1)[:2])
	require.Equal(t, []string{"[]"}, picksOf(t, vfs.NewCrash(4).State(), 1, 0))
	require.Empty(t, picksOf(t, s, 0, 1))
}

func TestEachSamplesAboveTheLimit(t *testing.T) {
	s := wide(t, 10)
	got := picksOf(t, s, 500, 1)
	require.Len(t, got, 500)
	require.Equal(t, got, picksOf(t, s, 500, 1), "a seed is an order")
	require.NotEqual(t, got, picksOf(t, s, 500, 2))
	require.Equal(t, fmt.Sprint(s.Oldest()), got[0])
	require.Equal(t, fmt.Sprint(s.Newest()), got[1])
	for k := range 10 {
		for name, at := range map[string]func(i int) bool{
			"prefix":   func(i int) bool { return i < k },
			"suffix":   func(i int) bool { return i >= k },
			"omission": func(i int) bool { return i != k },
			"survivor": func(i int) bool { return i == k },
		} {
			picks := s.Oldest()
			for i := range picks {
				if at(i) {
					picks[i] = s.Newest()[i]
				}
			}
			require.Contains(t, got, fmt.Sprint(picks), "%s %d", name, k)
		}
		for other := range k {
			picks := s.Newest()
			picks[k], picks[other] = 0, 0
			require.Contains(t, got, fmt.Sprint(picks), "omission of %d and %d", other, k)
		}
	}
	middle := slices.ContainsFunc(got, func(p string) bool {
		return slices.Contains([]byte(p), '1') || slices.Contains([]byte(p), '2')
	})
	require.True(t, middle, "versions in between")
	require.Len(t, picksOf(t, s, 3, 1), 3)
	require.Len(t, picksOf(t, wide(t, 200), 40, 1), 40)
}

func TestEachNearTheLimitEnds(t *testing.T) {
	got := picksOf(t, wide(t, 3), 63, 1)
	require.Greater(t, len(got), 50)
	require.LessOrEqual(t, len(got), 63)
}

func TestEachSamplesGarbage(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "syncdir .", "write a 0 ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ")
	s := c.State()
	last := len(s.Choices()) - 1
	require.True(t, s.Choices()[last].Garbage)
	got := picksOf(t, s, 400, 1)
	garbage := s.Oldest()
	for i, ch := range s.Choices() {
		if ch.Garbage {
			garbage[i] = ch.N - 1
		}
	}
	for k := range garbage {
		survivor, omission := slices.Clone(garbage), s.Newest()
		survivor[k], omission[k] = s.Newest()[k], garbage[k]
		require.Contains(t, got, fmt.Sprint(survivor), "survivor %d among garbage", k)
		require.Contains(t, got, fmt.Sprint(omission), "garbage instead of %d", k)
	}
}

func TestEachStops(t *testing.T) {
	for _, limit := range []int{64, 63} {
		n := 0
		wide(t, 3).Each(limit, 1, func([]int) bool { n++; return n < 5 })
		require.Equal(t, 5, n)
	}
}

func TestChoicesAreInOrderOfTime(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "write a 0 ABCDEF")
	c.State()
	play(t, c, "rename a b")
	require.Equal(t, "b", c.State().Choices()[1].Name)
	play(t, c, "write b 1 xx", "remove b")
	s := c.State()
	require.Equal(t, []vfs.Choice{
		{What: "entry", Op: vfs.Create, Name: "a", N: 2},
		{What: "size", Name: "b", N: 2},
		{What: "block", Name: "b", N: 4, Garbage: true},
		{What: "block", Name: "b", N: 3, Off: 4, Garbage: true},
		{What: "entry", Op: vfs.Rename, Name: "b", N: 2},
		{What: "entry", Op: vfs.Remove, Name: "b", N: 2},
	}, s.Choices())
	require.Equal(t, []int{1, 1, 2, 1, 1, 1}, s.Newest())
	require.Equal(t, "1/2 entry a create\n1/2 size b 6\n3/4 block b at 0 garbage\n"+
		"2/3 block b at 4 garbage\n1/2 entry b rename from a\n0/2 entry b remove\n",
		s.Describe([]int{1, 1, 3, 2, 1, 0}))
	require.Panics(t, func() { s.Image([]int{1}) })
}

func TestStateDoesNotChange(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "write a 0 ABCDEFGH", "sync a", "syncdir .", "write a 0 w")
	s := c.State()
	before := []string{show(t, s.Image(s.Oldest()), "."), show(t, s.Image(s.Newest()), ".")}
	require.Equal(t, []string{"a=ABCDEFGH", "a=wBCDEFGH"}, before)
	play(t, c, "write a 0 w", "sync a", "write a 0 w")
	late := c.State() // looked at only after what follows
	play(t, c, "write a 0 x", "sync a", "write a 4 yyyyyyyyy", "trunc a 2", "create b", "rename a c", "sync c", "syncdir .")
	im := late.Image(late.Newest())
	f, err := im.Open("a", vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("IMAGE"), 0)
	require.NoError(t, err)
	require.Equal(t, before[0], show(t, s.Image(s.Oldest()), "."))
	require.Equal(t, before[1], show(t, s.Image(s.Newest()), "."))
	require.Equal(t, before[1], show(t, late.Image(late.Newest()), "."))
	leaves(t, c, "b= c=xB")
}

func TestImageCrashesAgain(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "mkdir d", "create d/a", "write d/a 0 ABCDEF", "create b")
	s := c.State()
	m := s.Image(s.Newest())
	again := vfs.NewCrashFrom(m, 4)
	leaves(t, again, "b= d/ d/a=ABCDEF")
	play(t, again, "write d/a 5 ZZZZ", "remove b")
	names := []string{"b= d/ d/a=", "d/ d/a="}
	leaves(t, again, append(
		each(names, []string{"ABCDEF", "ABCDEZ"}),
		each(names, []string{"ABCDEF__", "ABCDEZZZ"}, []string{"_", "Z", "#"})...)...)
	require.Equal(t, "b= d/ d/a=ABCDEF", show(t, m, "."), "the image itself stays")
	require.EqualValues(t, 6, m.Used())

	s = again.State()
	require.EqualValues(t, 6, s.Image(s.Oldest()).Used())
	play(t, again, "sync d/a")
	s = again.State()
	f, err := s.Image(s.Newest()).Open("d/a", vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("IMAGE"), 0)
	require.NoError(t, err)
	require.Equal(t, "d/ d/a=ABCDEZZZZ", show(t, s.Image(s.Newest()), "."), "one image does not show in another")
	play(t, c, "write d/a 0 x")
	require.Equal(t, "b= d/ d/a=ABCDEF", show(t, m, "."))
}

func TestStatesBesideWriters(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "sync a", "syncdir .")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		defer close(stop)
		for i := range 300 {
			off := int64(i * 5 % 64)
			f, err := c.Open("a", vfs.ReadWrite)
			if err == nil {
				_, err = f.WriteAt([]byte("ABCDEF"), off)
			}
			if err == nil && i%3 == 0 {
				err = f.Sync()
			}
			if err == nil && i%7 == 0 {
				err = f.Truncate(off)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := c.State()
				s.Each(20, 1, func(picks []int) bool {
					a, b := s.Image(picks), s.Image(picks)
					if a.Hash() != b.Hash() {
						t.Error("two images of one pick")
					}
					return true
				})
			}
		})
	}
	wg.Wait()
}
