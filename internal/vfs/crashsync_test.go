package vfs_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

func TestRevertedSyncReadsWhatTheDiskHas(t *testing.T) {
	for script, want := range map[string]string{
		"write a 2 wxyz": "a=ABCDEFGH", // over what is there
		"write a 6 wxyz": "a=ABCDEFGH", // and behind it
		"trunc a 3":      "a=ABCDEFGH",
		"alloc a 20":     "a=ABCDEFGH",
	} {
		c := vfs.NewCrash(4)
		play(t, c, "create a", "write a 0 ABCDEFGH", "sync a", "syncdir .", script, "revert a")
		require.Equal(t, want, show(t, c, "."), script)
		leaves(t, c, want)
		play(t, c, "write a 8 k", "sync a")
		leaves(t, c, "a=ABCDEFGHk")
	}
	c := vfs.NewCrash(4)
	play(t, c, "create a", "syncdir .", "write a 0 AB", "sync a", "trunc a 0")
	c.SetLimit(1)
	require.True(t, vfs.IsNoSpace(c.RevertSync("a")))
	require.Error(t, c.RevertSync("no"))
}

// TestEvictedPageIsReadFromTheDisk shows that until a page is evicted it is read as
// it was written, and from then on as the disk has it.
func TestEvictedPageIsReadFromTheDisk(t *testing.T) {
	begin := []string{"create a", "write a 0 ABCDEFGH", "sync a", "syncdir .",
		"write a 2 w", "write a 2 x", "write a 4 y", "fail a", "sync a"}
	c := vfs.NewCrash(4)
	play(t, c, begin...)
	require.Equal(t, "a=ABxDyFGH", show(t, c, "."))
	play(t, c, "evict a 0 0")
	require.Equal(t, "a=ABCDyFGH", show(t, c, "."))
	leaves(t, c, "a=ABCDEFGH", "a=ABCDyFGH")
	play(t, c, "evict a 4 1", "evict a 0 1", "evict b 0 0") // the second is on the disk since
	require.Equal(t, "a=ABCDyFGH", show(t, c, "."))
	leaves(t, c, "a=ABCDyFGH")

	c = vfs.NewCrash(4)
	play(t, c, begin...)
	play(t, c, "evict a 0 1")
	require.Equal(t, "a=ABwDyFGH", show(t, c, "."))
	leaves(t, c, "a=ABwDEFGH", "a=ABwDyFGH")
	play(t, c, "write a 3 k", "sync a")
	leaves(t, c, "a=ABwkEFGH", "a=ABwkyFGH")
}

// TestOnlyLostPagesAreEvicted has pages that a sync could not write, and dirty ones,
// which the system must keep.
func TestOnlyLostPagesAreEvicted(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "create b", "write a 0 ABCDEFGH", "write b 0 A", "sync a", "sync b", "syncdir .")
	play(t, c, "write a 0 w", "write a 4 x", "write b 0 z", "fail a", "write a 5 y")
	var asked []int64
	c.Evict(func(name string, off int64, n int) int {
		require.Equal(t, "a", name)
		asked = append(asked, off)
		return 0
	})
	require.Equal(t, []int64{0}, asked)
	require.Equal(t, "a=ABCDxyGH b=z", show(t, c, "."))
	before := c.State()
	play(t, c, "fail b", "evict b 0 0")
	require.Equal(t, "a=ABCDxyGH b=A", show(t, c, "."))
	require.Equal(t, "a=ABCDxyGH b=z", show(t, before.Image(before.Newest()), "."), "a state does not change")
}

// TestEvictionOfAFreshUnit evicts what was written behind the durable end, of a size
// that a sync has made durable.
func TestEvictionOfAFreshUnit(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "alloc a 12", "sync a", "syncdir .", "write a 8 AB")
	require.NoError(t, errors.Join(c.FailSync("a"), step(c, []string{"sync", "a"})))
	play(t, c, "evict a 8 0")
	require.Equal(t, "a=____________", show(t, c, "."))
	leaves(t, c, "a=____________")
}
