package load

import (
	"os"
	"syscall"
	"unsafe"
)

const directFlags = syscall.O_DIRECT | syscall.O_DSYNC

func syncData(file *os.File) error {
	for {
		err := syscall.Fdatasync(int(file.Fd()))
		if err != syscall.EINTR {
			return err
		}
	}
}

func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
