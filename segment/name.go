package segment

import (
	"path/filepath"
	"strings"
)

// Names of the files of a log. Section 1.
const (
	FrontName       = "FRONT"
	LockName        = "LOCK"
	Ext             = ".seg"
	TempExt         = ".tmp"
	QuarantinedExt  = ".quarantined"
	nameDigits      = 16
	maxSegmentBytes = int64(1) << 35 // offsets in an index are u32 in units of 8
)

// MaxID is the highest id of a segment, so that there is always a next one.
const MaxID = 1<<63 - 1

// Name returns the name of the segment with the given id, without a directory.
func Name(id uint64) string {
	name := []byte("0000000000000000" + Ext)
	for at := nameDigits - 1; id != 0; at-- {
		name[at] = hexDigits[id%16]
		id /= 16
	}
	return string(name)
}

const hexDigits = "0123456789abcdef"

// Path returns the path of the segment with the given id in dir.
func Path(dir string, id uint64) string { return filepath.Join(dir, Name(id)) }

// Paths returns the path of each of the segments. All share memory.
func Paths(dir string, ids []uint64) []string {
	if len(ids) == 0 {
		return nil
	}
	dir = strings.TrimSuffix(Path(dir, ids[0]), Name(ids[0]))
	var all strings.Builder
	all.Grow(len(ids) * (len(dir) + nameDigits + len(Ext)))
	for _, id := range ids {
		all.WriteString(dir)
		all.WriteString(Name(id))
	}
	paths := make([]string, len(ids))
	for i := range paths {
		size := all.Len() / len(ids)
		paths[i] = all.String()[i*size:][:size]
	}
	return paths
}

// ParseName returns the id in a segment's name. ok is false when name is not
// exactly what [Name] returns for some id from 1 to [MaxID].
func ParseName(name string) (id uint64, ok bool) {
	digits, found := strings.CutSuffix(name, Ext)
	if !found || len(digits) != nameDigits {
		return 0, false
	}
	for _, c := range []byte(digits) {
		d := strings.IndexByte(hexDigits, c)
		if d < 0 {
			return 0, false
		}
		id = id<<4 | uint64(d)
	}
	return id, 0 < id && id <= MaxID
}
