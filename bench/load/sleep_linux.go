package load

import (
	"syscall"
	"time"
)

// sleep sleeps for d as exactly as the kernel does. A timer of the runtime is a
// millisecond late when nothing else is to be done.
func sleep(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // a signal cuts it short: the caller looks at the clock
}
