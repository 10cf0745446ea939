//go:build !windows

package vfs

import (
	"os"
	"syscall"
)

// noSpace lists what IsNoSpace knows beside ENOSPC, EDQUOT and EFBIG.
var noSpace []error

func osOpen(name string, flag int) (*os.File, error) {
	return os.OpenFile(name, flag, filePerm)
}

func osSyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		d.Close()
		return err
	}
	return d.Close()
}

func (f *osFile) links(fi os.FileInfo) (int, error) {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return int(st.Nlink), nil
	}
	return 1, nil
}
