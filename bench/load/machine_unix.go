//go:build unix

package load

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// deviceOf returns major:minor of the device that holds a file.
func deviceOf(info os.FileInfo) string {
	dev := uint64(info.Sys().(*syscall.Stat_t).Dev)
	return fmt.Sprintf("%d:%d", dev>>8&0xfff|dev>>32&^0xfff, dev&0xff|dev>>12&^0xff)
}

// allocated returns the bytes that a file takes on the disk.
func allocated(info os.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }

// process returns what the process has used of processors, and how often it gave one up.
func process() (cpu time.Duration, switches uint64) {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // it fails for no process of its own
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), uint64(r.Nvcsw + r.Nivcsw)
}
