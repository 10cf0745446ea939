package vfs

import "unsafe"

// Aligned returns n bytes that begin at a multiple of align, a power of two.
func Aligned(n, align int) []byte {
	b := make([]byte, n+align)
	skip := align - misaligned(b, align)
	return b[skip : skip+n : skip+n]
}

// misaligned returns how far behind a multiple of align b begins.
func misaligned(b []byte, align int) int {
	return int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % uintptr(align))
}
