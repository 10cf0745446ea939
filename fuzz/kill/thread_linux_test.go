package kill

import (
	"runtime"
	"syscall"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/wal"
)

// prSetPtracer and prSetPtracerAny let a process that is no ancestor trace this one.
const (
	prSetPtracer    = 0x59616d61
	prSetPtracerAny = ^uintptr(0)
)

// oneThread returns base with one thread that makes all its calls, and the number of
// that thread: strace counts the calls of each thread by itself.
func oneThread(base wal.FS) (wal.FS, int) {
	calls, tid := make(chan func()), make(chan int)
	go func() {
		runtime.LockOSThread()
		_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetPtracer, prSetPtracerAny, 0)
		tid <- syscall.Gettid()
		for call := range calls {
			call()
		}
	}()
	return vfs.Wrap(base, func(c vfs.Call, do func(int) (int, error)) (n int, err error) {
		done := make(chan struct{})
		calls <- func() {
			defer close(done)
			n, err = do(int(c.Size))
		}
		<-done
		return n, err
	}), <-tid
}
