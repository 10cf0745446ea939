package vfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAllocateReservesBlocks(t *testing.T) {
	const size = 1 << 20
	for name, grow := range map[string]func(f *osFile) error{
		"fallocate": func(f *osFile) error { return f.Allocate(size) },
		"zeros":     func(f *osFile) error { return f.writeZeros(0, size) },
	} {
		f, err := OS().Create(filepath.Join(t.TempDir(), "f"))
		require.NoError(t, err)
		require.NoError(t, grow(f.(*osFile)))
		require.NoError(t, f.Sync())
		fi, err := f.(*osFile).File.Stat()
		require.NoError(t, err)
		require.EqualValues(t, size, fi.Size())
		require.GreaterOrEqual(t, fi.Sys().(*syscall.Stat_t).Blocks*512, int64(size), name)
		require.NoError(t, f.Close())
	}
}

// TestZeroLeavesNothingToBeMarked as written by the sync of a write to it; Allocate does.
func TestZeroLeavesNothingToBeMarked(t *testing.T) {
	for _, written := range []bool{false, true} {
		f, err := OS().Create(filepath.Join(t.TempDir(), "f"))
		require.NoError(t, err)
		require.NoError(t, f.Allocate(3<<20))
		for off := int64(0); written && off < 3<<20; off += 1 << 20 {
			use, err := f.Zero(off, off+1<<20)
			require.NoError(t, err)
			if !use {
				t.Skip("the directory for temporary files is neither on ext4 nor on XFS")
			}
		}
		require.NoError(t, f.Sync())
		unwritten, known := unwrittenExtents(t, f.(*osFile))
		if !known {
			t.Skip("this file system does not tell its extents")
		}
		require.Equal(t, written, unwritten == 0, "%d extents are not written", unwritten)
		info, err := f.Stat()
		require.NoError(t, err)
		require.EqualValues(t, 3<<20, info.Size)
		require.NoError(t, f.Close())
	}
}

// unwrittenExtents counts extents by FS_IOC_FIEMAP.
func unwrittenExtents(t *testing.T, f *osFile) (n int, known bool) {
	const (
		fiemap    = 0xc020660b
		unwritten = 0x800
		last      = 0x1
		most      = 512
	)
	var m struct {
		start, length                  uint64
		flags, mapped, count, reserved uint32
		extents                        [most]struct {
			logical, physical, length uint64
			_                         [2]uint64
			flags                     uint32
			_                         [3]uint32
		}
	}
	m.length, m.count = 1<<63-1, most
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), fiemap, uintptr(unsafe.Pointer(&m)))
	if errno == syscall.EOPNOTSUPP || errno == syscall.ENOTTY {
		return 0, false
	}
	require.Zero(t, errno)
	require.NotZero(t, m.mapped)
	require.NotZero(t, m.extents[m.mapped-1].flags&last)
	for _, e := range m.extents[:m.mapped] {
		if e.flags&unwritten != 0 {
			n++
		}
	}
	return n, true
}

// TestDirectGoesPastThePageCache shows the flags of what WriteSync writes through.
func TestDirectGoesPastThePageCache(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	file, err := OS().Create(name)
	require.NoError(t, err)
	f := file.(*osFile)
	if !f.marksExtents() {
		require.Zero(t, f.Direct())
		t.Skip("the directory for temporary files is neither on ext4 nor on XFS")
	}
	require.Zero(t, f.Direct(), "it has no block that could be read")
	require.NoError(t, f.Allocate(3*directAlign))
	require.NoError(t, os.Rename(name, name+"2"))
	require.Equal(t, directAlign, f.Direct())
	flags, err := unix.FcntlInt(f.direct.Load().Fd(), unix.F_GETFL, 0)
	require.NoError(t, err)
	require.Equal(t, unix.O_DIRECT|unix.O_DSYNC, flags&(unix.O_DIRECT|unix.O_DSYNC))
	p := Aligned(directAlign, directAlign)
	copy(p, "abc")
	require.NoError(t, f.WriteSync(p, directAlign))
	got, err := os.ReadFile(name + "2")
	require.NoError(t, err)
	require.Equal(t, string(make([]byte, directAlign))+string(p)+string(make([]byte, directAlign)), string(got))

	read, err := OS().Open(name+"2", ReadOnly)
	require.NoError(t, err)
	require.Zero(t, read.Direct(), "it cannot be written")
	require.NoError(t, read.Close())
	direct := f.direct.Load()
	require.NoError(t, f.EndDirect())
	require.ErrorIs(t, direct.Close(), os.ErrClosed)
	err = f.WriteSync(p, 0)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.Equal(t, directAlign, f.Direct(), "once more")
	require.NoError(t, f.direct.Load().Close())
	err = f.WriteSync(p, 0)
	require.ErrorIs(t, err, os.ErrClosed)
	require.ErrorContains(t, err, name+": ")
}

func TestZerosFallbackKeepsWhatIsThere(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := OS().Create(name)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("abc"), 0)
	require.NoError(t, err)
	require.NoError(t, f.(*osFile).writeZeros(3, 100_000))
	require.NoError(t, f.Close())
	p, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "abc"+string(make([]byte, 99_997)), string(p))
}

// TestSyncIsAskedOfTheSystem shows with a descriptor that cannot be synced that Sync
// and its error come from the system.
func TestSyncIsAskedOfTheSystem(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer func() { _, _ = r.Close(), w.Close() }()
	f, err := newOSFile(w, nil)
	require.NoError(t, err)
	require.ErrorIs(t, f.Sync(), syscall.EINVAL)
	_, err = f.ReadAt(make([]byte, 1), 0)
	require.NotErrorIs(t, err, io.EOF)
}

func TestRetryGoesOnUntilNoSignal(t *testing.T) {
	n := 0
	err := retry(func() error {
		if n++; n < 3 {
			return syscall.EINTR
		}
		return syscall.EIO
	})
	require.Equal(t, syscall.EIO, err)
	require.Equal(t, 3, n)
}

// TestLargeWriteIsOneWrite although it is parted.
func TestLargeWriteIsOneWrite(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := OS().Create(name)
	require.NoError(t, err)
	for _, size := range []int{largeWrite - 1, largeWrite, largeWrite + 1, 3*largeWrite + writePiece/2} {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(i / 1000)
		}
		n, err := f.WriteAt(b, 5)
		require.NoError(t, err)
		require.Equal(t, size, n)
		got := make([]byte, size)
		_, err = f.ReadAt(got, 5)
		require.NoError(t, err)
		require.True(t, bytes.Equal(b, got), size)
	}
	require.NoError(t, f.Close())
	n, err := f.WriteAt(make([]byte, 2*largeWrite), 0)
	require.ErrorIs(t, err, os.ErrClosed)
	require.Zero(t, n)
}
