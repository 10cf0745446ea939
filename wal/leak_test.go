package wal

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// openBelow returns the files below dir that this process has open.
func openBelow(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, fd := range list {
		name, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name()))
		if err == nil && strings.HasPrefix(name, dir) { // else it was closed meanwhile
			names = append(names, name)
		}
	}
	return names
}

// leaky does what opens files and starts goroutines; errors are welcome.
func leaky(o Options) {
	l, err := Open(o.Name, &o)
	if err != nil {
		return
	}
	for range 6 {
		_, _ = l.Append(make([]byte, 3000))
	}
	_, _ = l.AppendAsync([]byte("x"))
	for _, err := range l.Records(l.FirstLSN()) {
		if err != nil {
			break
		}
	}
	_ = l.TruncateFront(3)
	_ = l.TruncateBack(l.LastLSN() - 1)
	_ = l.Rotate()
	time.Sleep(time.Second) // real time: the bubble's
	_ = l.Close()
}

// TestNothingIsOpenBehindClose counts the descriptors that the system knows of, and the
// goroutines, after a log whose calls failed was closed, or could not be opened: each
// call once, and all from each on.
func TestNothingIsOpenBehindClose(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("NOT TESTED: there is no /proc/self/fd")
	}
	stride, runs, failed := scale.Pick(t, 23, 7, 2, 1), 0, 0
	for _, sticky := range []bool{false, true} {
		for at, calls := -1, 1; at < calls; at += stride {
			dir := filepath.Join(t.TempDir(), "log")
			synctest.Test(t, func(t *testing.T) {
				f := vfs.NewFaulty(vfs.OS())
				f.Set(vfs.Fault{At: at, Sticky: sticky, Err: syscall.EIO})
				leaky(Options{FS: f, Name: dir, SegmentSize: MinSegmentSize})
				if at < 0 {
					calls = f.Calls()
				} else if f.Hits() > 0 {
					failed++
				}
				synctest.Wait()
				require.Empty(t, bubbleGoroutines(), "call %d", at)
				require.Empty(t, openBelow(t, dir), "call %d", at)
			})
			runs++
		}
	}
	t.Logf("%d runs, in %d of which a call failed", runs, failed)
	require.GreaterOrEqual(t, failed, scale.Pick(t, 8, 25, 100, 200))
	require.LessOrEqual(t, runs, failed+30)
}

// TestDescriptorsAreAsManyAsWhatIsOpen is the control of the one above: it sees what
// is open, and a goroutine.
func TestDescriptorsAreAsManyAsWhatIsOpen(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("NOT TESTED: there is no /proc/self/fd")
	}
	dir := filepath.Join(t.TempDir(), "log")
	synctest.Test(t, func(t *testing.T) {
		require.Empty(t, bubbleGoroutines())
		l := openAt(t, dir, Options{SegmentSize: 1 << 20})
		l.fill(1)
		synctest.Wait()
		require.ElementsMatch(t, []string{dir + "/LOCK", dir + "/FRONT", dir + "/0000000000000001.seg"}, openBelow(t, dir))
		require.Len(t, bubbleGoroutines(), 1, "the flusher")
		stop := make(chan struct{})
		go func() { <-stop }()
		synctest.Wait()
		require.Len(t, bubbleGoroutines(), 2)
		close(stop)
		require.NoError(t, l.Close())
		synctest.Wait()
		require.Empty(t, openBelow(t, dir))
		require.Empty(t, bubbleGoroutines())
	})
}
