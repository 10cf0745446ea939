//go:build !linux

package vfs

// allocate writes the new part of the file, which is what reserves space everywhere.
func (f *osFile) allocate(old, size int64) error { return f.writeZeros(old, size) }

// Zero does nothing: allocate wrote zeros.
func (f *osFile) Zero(int64, int64) (bool, error) { return false, nil }

// Direct is 0: other systems have no such call, or none that was measured.
func (f *osFile) Direct() int { return 0 }

// forget does nothing: no WriteSync fails.
func (f *osFile) forget(int64, int64) {}

// InPlace is false: APFS writes elsewhere, and of the others nothing was measured.
func (f *osFile) InPlace() bool { return false }

// dataSync is empty: the Sync of an os.File is what there is.
type dataSync struct{}
