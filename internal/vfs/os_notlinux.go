//go:build !linux

package vfs

// allocate writes the new part of the file, which is what reserves space everywhere.
func (f *osFile) allocate(old, size int64) error { return f.writeZeros(old, size) }
