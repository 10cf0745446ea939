package vfs_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// limited returns an empty file, f, of a file system with that limit.
func limited(t *testing.T, limit int64) (*vfs.Mem, vfs.File) {
	t.Helper()
	m := vfs.NewMem()
	m.SetLimit(limit)
	f, err := m.Create("f")
	require.NoError(t, err)
	return m, f
}

func isFull(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.True(t, vfs.IsNoSpace(err))
	var path *fs.PathError
	require.ErrorAs(t, err, &path)
	require.Equal(t, "f", path.Path)
}

func TestLimitShortensWrites(t *testing.T) {
	m, f := limited(t, 10)
	n, err := f.WriteAt([]byte("ABCDEFGH"), 0)
	require.NoError(t, err)
	require.Equal(t, 8, n)
	n, err = f.WriteAt([]byte("wxyz"), 7)
	isFull(t, err)
	require.Equal(t, 3, n)
	require.Equal(t, "f=ABCDEFGwxy", show(t, m, "."))
	n, err = f.WriteAt([]byte("Z"), 10)
	isFull(t, err)
	require.Zero(t, n)
	n, err = f.WriteAt([]byte("Z"), 20)
	isFull(t, err)
	require.Zero(t, n)
	n, err = f.WriteAt([]byte("abcdefghij"), 0)
	require.NoError(t, err, "what is there costs nothing")
	require.Equal(t, 10, n)
	require.EqualValues(t, 10, m.Used())
	m.SetLimit(0)
	_, err = f.WriteAt([]byte("K"), 10)
	require.NoError(t, err)
	require.EqualValues(t, 11, m.Used())
}

func TestLimitOfAllocateAndTruncate(t *testing.T) {
	m, f := limited(t, 10)
	isFull(t, f.Truncate(11))
	require.EqualValues(t, 0, m.Used())
	require.NoError(t, f.Truncate(4))
	isFull(t, f.Allocate(11))
	require.EqualValues(t, 10, m.Used())
	require.NoError(t, f.Allocate(10))
	require.NoError(t, f.Truncate(3))
	require.EqualValues(t, 3, m.Used())
	m.SetLimit(2)
	isFull(t, f.Allocate(4))
	require.NoError(t, f.Allocate(3))
}

func TestSpaceComesBack(t *testing.T) {
	m, f := limited(t, 10)
	require.NoError(t, f.Allocate(10))
	require.NoError(t, m.Link("f", "g"))
	require.NoError(t, m.Remove("f"))
	require.NoError(t, f.Close())
	require.EqualValues(t, 10, m.Used(), "still has a name")
	f, err := m.Open("g", vfs.ReadOnly)
	require.NoError(t, err)
	require.NoError(t, m.Remove("g"))
	require.EqualValues(t, 10, m.Used(), "still open")
	require.NoError(t, f.Close())
	require.EqualValues(t, 0, m.Used())

	_, err = m.Create("a")
	require.NoError(t, err)
	f, err = m.Create("b")
	require.NoError(t, err)
	require.NoError(t, f.Allocate(7))
	require.NoError(t, f.Close())
	require.NoError(t, m.Rename("a", "b"))
	require.EqualValues(t, 0, m.Used(), "replaced")
}

func TestHugeFilesAreRefused(t *testing.T) {
	_, f := limited(t, 0)
	require.True(t, vfs.IsNoSpace(f.Allocate(1<<60)))
	require.True(t, vfs.IsNoSpace(f.Truncate(1<<60)))
	_, err := f.WriteAt([]byte("x"), 1<<63-1)
	require.ErrorIs(t, err, syscall.EFBIG)
}

func TestIsNoSpace(t *testing.T) {
	for _, err := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		require.True(t, vfs.IsNoSpace(fmt.Errorf("deep: %w", &fs.PathError{Err: err})))
	}
	for _, err := range []error{nil, syscall.EIO, fs.ErrNotExist} {
		require.False(t, vfs.IsNoSpace(err))
	}
}

func TestMemNamesAreCleaned(t *testing.T) {
	m := vfs.NewMem()
	require.NoError(t, m.Mkdir("/d/"))
	require.NoError(t, m.Mkdir("/d//./e"))
	f, err := m.Create("/d/../d/e/f")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = m.Create("//d/e/f")
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorIs(t, m.Mkdir("/"), fs.ErrExist)
	require.ErrorIs(t, m.Mkdir("."), fs.ErrExist)
	_, err = m.Create("../f")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = m.Open("..", vfs.ReadOnly)
	require.Error(t, err)
	list, err := m.List("/")
	require.NoError(t, err)
	require.Equal(t, []string{"d"}, list)
	list, err = m.List(".")
	require.NoError(t, err)
	require.Empty(t, list, "a relative root is another")
}

func TestMemAllocatesNothing(t *testing.T) {
	_, f := limited(t, 1<<20)
	require.NoError(t, f.Allocate(1<<16))
	p := make([]byte, 512)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		f.WriteAt(p, 1000)
		f.ReadAt(p, 5000)
	}))
}

func TestMemGrowthIsAmortised(t *testing.T) {
	_, f := limited(t, 0)
	p, off := make([]byte, 512), int64(0)
	allocs := testing.AllocsPerRun(1, func() {
		for range 20_000 {
			f.WriteAt(p, off)
			off += int64(len(p))
		}
	})
	require.Less(t, allocs, 60.0)
}

func TestCloneIsApart(t *testing.T) {
	m, f := limited(t, 100)
	_, err := f.WriteAt([]byte("ABC"), 0)
	require.NoError(t, err)
	require.NoError(t, m.Link("f", "g"))
	hash := m.Hash()
	c := m.Clone()
	require.Equal(t, hash, c.Hash())
	require.EqualValues(t, 3, c.Used())
	_, err = f.WriteAt([]byte("x"), 0)
	require.NoError(t, err)
	require.NotEqual(t, hash, m.Hash())
	g, err := c.Open("g", vfs.ReadWrite)
	require.NoError(t, err)
	_, err = g.WriteAt([]byte("DE"), 3)
	require.NoError(t, err)
	require.Equal(t, "f=xBC g=xBC", show(t, m, "."))
	require.Equal(t, "f=ABCDE g=ABCDE", show(t, c, "."), "links are links in the clone")
	require.EqualValues(t, 3, m.Used())
	require.EqualValues(t, 5, c.Used())
}

func TestHashIsStable(t *testing.T) {
	m := vfs.NewMem()
	require.Zero(t, m.Hash())
	require.NoError(t, m.Mkdir("d"))
	f, err := m.Create("d/f")
	require.NoError(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte("tidemark"), 100), 0)
	require.NoError(t, err)
	require.Equal(t, uint64(0xe3500497facc54a9), m.Hash())
}

func TestHashSeesEverything(t *testing.T) {
	seen := map[uint64]string{}
	add := func(what string, m *vfs.Mem) {
		h := m.Hash()
		require.Empty(t, seen[h], what)
		seen[h] = what
	}
	for _, name := range []string{"f", "g"} {
		m := vfs.NewMem()
		f, err := m.Create(name)
		require.NoError(t, err)
		add(name, m)
		for size := range int64(100) {
			require.NoError(t, f.Truncate(size+1))
			add(fmt.Sprint(name, size+1), m)
			for bit := range 8 {
				_, err := f.WriteAt([]byte{1 << bit}, size)
				require.NoError(t, err)
				add(fmt.Sprint(name, size, bit), m)
			}
			_, err := f.WriteAt([]byte{0}, size)
			require.NoError(t, err)
		}
	}
	m := vfs.NewMem()
	require.NoError(t, m.Mkdir("f"))
	add("directory", m)
}

func BenchmarkHash(b *testing.B) {
	m := vfs.NewMem()
	f, _ := m.Create("f")
	f.Allocate(1 << 20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		f.WriteAt([]byte{1}, 0)
		m.Hash()
	}
}

// BenchmarkCrash is a group written and synced, and 64 crashes in between.
func BenchmarkCrash(b *testing.B) {
	c := vfs.NewCrash(512)
	f, _ := c.Create("f")
	f.Allocate(1 << 16)
	f.Sync()
	c.SyncDir(".")
	p := make([]byte, 4096)
	for b.Loop() {
		for i := range p {
			p[i]++
		}
		f.WriteAt(p, 8192)
		s := c.State()
		s.Each(64, 1, func(picks []int) bool {
			s.Image(picks).Hash()
			return true
		})
		f.Sync()
	}
}
