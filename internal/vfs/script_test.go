package vfs_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// Tests of Crash are scripts in a small language, run with units of 4 bytes. Words are
// separated by spaces:
//
//	create a      write a 0 text      alloc a 8      trunc a 2      sync a
//	writesync a 0 text
//	rename a b    remove a            link a b       mkdir d        syncdir d
//	lock a        fail a (a sync that fails)       revert a (so does this one)
//	evict a 4 0   (of the unit at 4 the disk has what it had before, or the n-th since)
func play(t *testing.T, c *vfs.Crash, script ...string) {
	t.Helper()
	for _, line := range script {
		if err := step(c, strings.Fields(line)); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

func step(c *vfs.Crash, w []string) error {
	num := func(i int) (n int64) { fmt.Sscan(w[i], &n); return n }
	with := func(fn func(vfs.File) error) error {
		f, err := c.Open(w[1], vfs.ReadWrite)
		if err != nil {
			return err
		}
		return errors.Join(fn(f), f.Close())
	}
	switch w[0] {
	case "create":
		f, err := c.Create(w[1])
		if err != nil {
			return err
		}
		return f.Close()
	case "write":
		return with(func(f vfs.File) error { _, err := f.WriteAt([]byte(w[3]), num(2)); return err })
	case "alloc":
		return with(func(f vfs.File) error { return f.Allocate(num(2)) })
	case "trunc":
		return with(func(f vfs.File) error { return f.Truncate(num(2)) })
	case "writesync":
		return with(func(f vfs.File) error {
			p := vfs.Aligned(len(w[3]), f.Direct())
			copy(p, w[3])
			return f.WriteSync(p, num(2))
		})
	case "sync":
		return with(func(f vfs.File) error { return f.Sync() })
	case "rename":
		return c.Rename(w[1], w[2])
	case "remove":
		return c.Remove(w[1])
	case "link":
		return c.Link(w[1], w[2])
	case "mkdir":
		return c.Mkdir(w[1])
	case "syncdir":
		return c.SyncDir(w[1])
	case "fail":
		return c.FailSync(w[1])
	case "revert":
		return c.RevertSync(w[1])
	case "evict":
		c.Evict(func(name string, off int64, n int) int {
			if name == w[1] && off == num(2) {
				return min(int(num(3)), n-1)
			}
			return -1
		})
		return nil
	case "lock":
		l, err := c.Lock(w[1])
		if err != nil {
			return err
		}
		return l.Close()
	}
	return errors.New("no such step")
}

// show writes a file system as "a=text b=", in which _ is a zero, #### a unit of
// garbage, and directories end in a slash.
func show(t *testing.T, fsys vfs.FS, dir string) string {
	t.Helper()
	var words []string
	names, err := fsys.List(dir)
	require.NoError(t, err)
	for _, name := range names {
		path := name
		if dir != "." {
			path = dir + "/" + name
		}
		f, err := fsys.Open(path, vfs.ReadOnly)
		if errors.Is(err, syscall.EISDIR) {
			words = append(words, path+"/")
			if below := show(t, fsys, path); below != "" {
				words = append(words, below)
			}
			continue
		}
		require.NoError(t, err)
		words = append(words, path+"="+text(t, f))
		require.NoError(t, f.Close())
	}
	return strings.Join(words, " ")
}

func text(t *testing.T, f vfs.File) string {
	t.Helper()
	info, err := f.Stat()
	require.NoError(t, err)
	p := make([]byte, info.Size)
	if len(p) > 0 {
		_, err = f.ReadAt(p, 0)
		require.NoError(t, err)
	}
	for block := range slices.Chunk(p, 4) {
		if slices.ContainsFunc(block, func(b byte) bool { return b != 0 && (b < 'A' || b > 'z') }) {
			copy(block, "####")
		}
	}
	return strings.ReplaceAll(string(p), "\x00", "_")
}

// leaves wants a crash now to leave exactly these file systems.
func leaves(t *testing.T, c *vfs.Crash, want ...string) {
	t.Helper()
	got := map[string]bool{}
	hashes := map[uint64]string{}
	s := c.State()
	s.Each(1<<16, 0, func(picks []int) bool {
		m := s.Image(picks)
		require.Equal(t, m.Hash(), s.Hash(picks), "%v", picks)
		img := show(t, m, ".")
		got[img] = true
		if was, ok := hashes[m.Hash()]; ok && was != img {
			t.Errorf("one hash for %q and %q", was, img)
		}
		hashes[m.Hash()] = img
		return true
	})
	var list []string
	for img := range got {
		list = append(list, img)
	}
	slices.Sort(list)
	slices.Sort(want)
	require.Equal(t, want, list)
	require.Len(t, hashes, len(got))
	require.Equal(t, show(t, c, "."), show(t, s.Image(s.Newest()), "."), "newest is what can be read")
}

// each returns every combination of one word of each list, joined.
func each(lists ...[]string) []string {
	all := []string{""}
	for _, list := range lists {
		var next []string
		for _, head := range all {
			for _, word := range list {
				next = append(next, head+word)
			}
		}
		all = next
	}
	return all
}
