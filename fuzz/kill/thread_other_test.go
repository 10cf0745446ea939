//go:build !linux

package kill

import "github.com/seed3918b8df/tidemark/wal"

func oneThread(wal.FS) (wal.FS, int) { panic("there is no strace on this system") }
