//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package vfs

import (
	"errors"
	"os"
)

// osLock refuses: a lock that does not exclude is worse than none.
func osLock(*os.File) error { return errors.ErrUnsupported }
