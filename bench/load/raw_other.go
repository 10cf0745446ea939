//go:build !linux

package load

import "os"

const directFlags = os.O_SYNC

func syncData(file *os.File) error { return file.Sync() }

func addressOf([]byte) uintptr { return 0 }
