package vfs

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
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
