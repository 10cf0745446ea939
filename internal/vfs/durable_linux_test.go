package vfs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// BenchmarkDurableWrite writes so many bytes to a file that was written before, and makes
// them durable, in the ways that Linux has: as WriteAt and Sync do, by one call that does
// both, and by one that goes past the page cache, as WriteSync does.
func BenchmarkDurableWrite(b *testing.B) {
	const size = 64 << 20
	both := func(f *os.File, p []byte, off int64) error {
		_, err := unix.Pwritev2(int(f.Fd()), [][]byte{p}, off, unix.RWF_DSYNC)
		return err
	}
	for _, n := range []int{4 << 10, 20 << 10, 72 << 10, 256 << 10, 1 << 20} {
		for _, way := range []struct {
			name  string
			flags int
			write func(f *os.File, p []byte, off int64) error
		}{
			{"fdatasync", 0, func(f *os.File, p []byte, off int64) error {
				if _, err := f.WriteAt(p, off); err != nil {
					return err
				}
				return unix.Fdatasync(int(f.Fd()))
			}},
			{"dsync", 0, both},
			{"direct", unix.O_DIRECT, both},
		} {
			b.Run(fmt.Sprintf("%dKiB/%s", n>>10, way.name), func(b *testing.B) {
				name := filepath.Join(b.TempDir(), "f")
				require.NoError(b, os.WriteFile(name, make([]byte, size), filePerm))
				f, err := os.OpenFile(name, os.O_RDWR|way.flags, 0)
				require.NoError(b, err)
				defer f.Close()
				require.NoError(b, f.Sync())
				p, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
				require.NoError(b, err)
				defer func() { _ = unix.Munmap(p) }()
				b.SetBytes(int64(n))
				var off int64
				for b.Loop() {
					if off+int64(n) > size {
						off = 0
					}
					p[0]++
					require.NoError(b, way.write(f, p, off))
					off += int64(n)
				}
			})
		}
	}
}
