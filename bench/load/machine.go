package load

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Disk is what the device under a directory has counted since the machine was started.
type Disk struct {
	Writes  uint64 // requests
	Sectors uint64 // of 512 bytes, written
	Flushes uint64 // requests that empty the device's cache
}

func (d Disk) less(b Disk) Disk {
	return Disk{d.Writes - b.Writes, d.Sectors - b.Sectors, d.Flushes - b.Flushes}
}

// diskOf returns the counters of the device under dir. Where the system has none, as
// in a container or on another system than Linux, it returns zeros.
func diskOf(dir string) (d Disk) {
	info, err := os.Stat(dir)
	if err != nil {
		return d
	}
	dev := deviceOf(info)
	text, err := os.ReadFile(filepath.Join("/sys/dev/block", dev, "stat"))
	if err != nil {
		return d
	}
	var f [17]uint64
	n, _ := fmt.Sscan(string(text), &f[0], &f[1], &f[2], &f[3], &f[4], &f[5], &f[6], &f[7], &f[8],
		&f[9], &f[10], &f[11], &f[12], &f[13], &f[14], &f[15], &f[16])
	if n < 16 {
		return d
	}
	return Disk{Writes: f[4], Sectors: f[6], Flushes: f[15]}
}

// usage is what the process has used.
type usage struct {
	cpu      time.Duration // user and system
	switches uint64        // of context
	allocs   uint64
	disk     Disk
}

func usageOf(dir string) (u usage) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.allocs, u.disk = m.Mallocs, diskOf(dir)
	u.cpu, u.switches = process()
	return u
}

// resident returns the bytes of memory that the process has.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages int64
	_, _ = fmt.Sscan(string(text), &size, &pages)
	return pages * int64(os.Getpagesize())
}

// sizeOf returns the bytes that the files in dir take on the disk.
func sizeOf(dir string) (bytes int64) {
	_ = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			bytes += allocated(info)
		}
		return nil
	})
	return bytes
}

// Machine says in one line what is measured on.
func Machine(dir string) string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	mount := "unknown file system"
	mounts, _ := os.ReadFile("/proc/self/mounts")
	longest := 0
	abs, _ := filepath.Abs(dir)
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) > 3 && strings.HasPrefix(abs, f[1]) && len(f[1]) > longest {
			longest = len(f[1])
			mount = fmt.Sprintf("%s on %s (%s)", f[2], f[0], f[3])
		}
	}
	return fmt.Sprintf("%s, %s/%s, %d CPUs, kernel %s, %s", runtime.Version(), runtime.GOOS, runtime.GOARCH,
		runtime.GOMAXPROCS(0), strings.TrimSpace(string(kernel)), mount)
}
