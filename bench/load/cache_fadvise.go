//go:build linux && (amd64 || arm64)

package load

import (
	"os"
	"path/filepath"
	"syscall"
)

// dropCache makes the system forget what it has cached of the files in dir, so that
// they are read from the disk.
func dropCache(dir string) error {
	const dontNeed = 4 // POSIX_FADV_DONTNEED
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err
	}
	for _, name := range names {
		file, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue // a directory
		}
		err = syncData(file) // what is dirty is not forgotten
		if _, _, errno := syscall.Syscall6(syscall.SYS_FADVISE64, file.Fd(), 0, 0, dontNeed, 0, 0); errno != 0 && err == nil {
			err = errno
		}
		if cerr := file.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
	}
	return nil
}
