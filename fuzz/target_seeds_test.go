package fuzz_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The seeds of the targets are files in testdata/fuzz, and run as tests. They come from
// the worked bytes of the format, from what the corpus has, and from what was found:
// those have names that begin with "found-", and are not made here.

var updateSeeds = flag.Bool("update", false, "write the seeds of the fuzz targets again")

// seed is an input of a target, and what it is.
type seed struct {
	target, name string
	args         []any
}

// encode returns the seed as package testing reads it.
func (s seed) encode() []byte {
	b := []byte("go test fuzz v1\n")
	for _, a := range s.args {
		switch a := a.(type) {
		case []byte:
			b = fmt.Appendf(b, "[]byte(%s)\n", strconv.Quote(string(a)))
		case byte:
			b = fmt.Appendf(b, "byte('\\x%02x')\n", a)
		default:
			b = fmt.Appendf(b, "%T(%v)\n", a, a)
		}
	}
	return b
}

const (
	seedDir  = "testdata/fuzz"
	seedSize = 20 << 10 // bytes, at most: a zero takes four
)

// TestSeedsAreOfThisFormat makes the seeds again and compares: if it fails after a
// change of the format or of a target, run it with -update.
func TestSeedsAreOfThisFormat(t *testing.T) {
	want := map[string][]byte{}
	for _, s := range slices.Concat(codecSeeds()) {
		path := filepath.Join(seedDir, s.target, s.name)
		require.Nil(t, want[path], "two seeds are %s", path)
		want[path] = s.encode()
		require.Less(t, len(want[path]), seedSize, path)
	}
	if *updateSeeds {
		for path, b := range want {
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
			require.NoError(t, os.WriteFile(path, b, 0o666))
		}
	}
	targets := map[string]bool{}
	paths, err := filepath.Glob(seedDir + "/*/*")
	require.NoError(t, err)
	for _, path := range paths {
		targets[filepath.Base(filepath.Dir(path))] = true
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		if strings.HasPrefix(filepath.Base(path), "found-") {
			continue
		}
		switch {
		case want[path] == nil:
			t.Errorf("%s: a seed that nothing makes", path)
		case !bytes.Equal(want[path], got):
			t.Errorf("%s: want\n%s\ngot\n%s", path, want[path], got)
		}
		delete(want, path)
	}
	for path := range want {
		t.Errorf("%s: the seed is missing", path)
	}
	require.GreaterOrEqual(t, len(targets), 6)
}

// workedPieces are where the pieces of the worked bytes begin; 4432 is their end.
const (
	workedGroup  = 4096
	workedRecord = 4304
	workedMeta   = 4328
	workedMark   = 4368
)

// codecSeeds are those of the targets that decode one file, or a part of it.
func codecSeeds() (list []seed) {
	file := workedBytes()
	add := func(target, name string, args ...any) { list = append(list, seed{target, name, args}) }

	// Frames: as they stand in the worked bytes; their sums must be made right, at
	// another offset.
	for name, b := range map[string][]byte{
		"opening":        file[4160:workedRecord],
		"record":         file[workedRecord:workedMeta],
		"meta-of-batch":  file[workedMeta:4352],
		"record-empty":   file[4352:workedMark],
		"record-sectors": append([]byte{0x84, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, bytes.Repeat([]byte{7}, 1416)...),
		"type-skipped":   append([]byte{8, 0, 0, 0, 200, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "skipped!"...),
		"type-unknown":   append([]byte{8, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "unknown!"...),
		"codec":          append([]byte{8, 0, 0, 0, 1, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "encoded!"...),
		"gap-of-lsns":    append([]byte{8, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "skipping"...),
		"padding":        append([]byte{1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "1nonzero"...),
		"too-long":       {1, 0, 0, 0x40, 1, 0, 0, 0},
		"looks-a-group":  {1, 0, 0, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"cut":            file[workedRecord : workedRecord+11],
		"none":           {},
	} {
		add("FuzzFrameDecode", name, uint16(0x83<<1|1), uint64(7), b)
	}
	add("FuzzFrameDecode", "record-bad-sum", uint16(0), uint64(7), file[workedRecord:workedMeta])
	add("FuzzFrameDecode", "record-last-lsn", uint16(1), uint64(1<<64-1), file[workedRecord:workedMeta])
	add("FuzzFrameDecode", "record-lsn-0", uint16(1), uint64(0), file[workedRecord:workedMeta])

	// Groups: tapes of makeGroups. In turn: base, kind, frames (type, more, byte, size) …,
	// watermark, spoiled.
	tapes := map[string][]byte{
		"one-record":      {0, 0, 1, 0, 0, 7, 6, 3, 0},
		"worked-bytes":    {0, 0, 3, 0, 0, 't', 4, 3, 2, 'm', 1, 0, 0, 0, 0, 3, 0, 4, 3, 0},
		"batch-and-marks": {0, 0, 2, 3, 2, 'm', 6, 0, 0, 1, 8, 3, 0, 4, 0, 0, 0, 4, 0, 0, 1, 0, 1, 1, 0, 1, 1, 0, 2, 3, 0, 4, 3, 0},
		"sectors":         {1, 0, 4, 0, 0, 1, 9, 0, 0, 2, 9, 0, 0, 3, 8, 0, 0, 4, 9, 3, 0, 1, 2, 0, 0, 5, 9, 0, 0, 6, 9, 0, 0},
		"skipped-types":   {0, 0, 2, 6, 2, 's', 5, 6, 0, 's', 5, 0, 0, 1, 2, 0, 0, 1, 1, 0, 0, 2, 2, 3, 0},
		"no-frames":       {0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 3, 0},
		"unknown-kind":    {0, 0, 1, 0, 0, 7, 6, 0, 0, 7, 5, 1, 0, 0, 7, 6, 0, 0},
		"skipped-kind":    {0, 0, 1, 0, 0, 7, 6, 0, 0, 7, 12, 1, 0, 0, 7, 6, 0, 0, 1, 1, 0, 0, 8, 8, 0, 0},
		"runs-on":         {0, 0, 1, 0, 2, 7, 6, 0, 0},
	}
	for what := range 20 {
		tapes[fmt.Sprintf("spoiled-%02d", what)] = []byte{0, 0, 1, 0, 0, 7, 6, 3, 0, 0, 2, 0, 0, 1, 8, 0, 0, 2, 8, 0, 5, byte(what), 4, 25, 1, 1, 1, 0, 0, 3, 9, 3, 0}
	}
	for name, b := range tapes {
		add("FuzzGroupDecode", name, byte(4), b)
	}
	for n, unit := range units[1:] {
		add("FuzzGroupDecode", fmt.Sprintf("batch-unit-%d", unit), byte(n+1), tapes["batch-and-marks"])
	}

	// Headers, as far as they are not zero.
	head := bytes.Clone(file[:128])
	change := func(b []byte, off int, v byte) []byte {
		b = bytes.Clone(b)
		b[off] = v
		return b
	}
	for name, b := range map[string][]byte{
		"worked":   append(bytes.Clone(head), head...),
		"version":  append(change(head, 8, 2), change(head, 8, 2)...),
		"feature":  append(change(head, 16, 1), change(head, 16, 1)...),
		"origin":   append(change(head, 72, 1), change(head, 72, 1)...),
		"unit":     append(change(head, 10, 13), change(head, 10, 2)...),
		"size":     append(change(head, 125, 1), change(head, 124, 9)...),
		"magic":    append(change(head, 0, 0), head...),
		"compat":   append(change(head, 24, 7), head...),
		"one-copy": head,
	} {
		add("FuzzSegmentHeader", name, uint32(7|4100<<3), b)
	}
	add("FuzzSegmentHeader", "worked-bytes", uint32(0), file[:4096])
	add("FuzzSegmentHeader", "first-copy-rotten", uint32(4|2), append(change(head, 48, 1), head...))
	add("FuzzSegmentHeader", "cut", uint32(0), file[:200])
	add("FuzzSegmentHeader", "none", uint32(0), []byte{})

	// FRONT.
	slot := func(generation, first, oldest, newest byte) []byte {
		b := make([]byte, 128)
		copy(b, "TIDEFRNT\x01")
		copy(b[24:], head[32:48])
		b[40], b[48], b[56], b[64] = generation, first, oldest, newest
		return b
	}
	a, b := slot(5, 7, 2, 3), slot(4, 7, 2, 3)
	trimmed := change(change(a, 72, 3), 81, 17)
	for name, x := range map[string][]byte{
		"settled":  append(bytes.Clone(a), b...),
		"unequal":  append(bytes.Clone(a), slot(6, 9, 3, 4)...),
		"equal":    append(bytes.Clone(a), slot(5, 9, 3, 4)...),
		"trimmed":  append(bytes.Clone(trimmed), b...),
		"version":  append(change(a, 8, 2), change(b, 8, 2)...),
		"feature":  append(change(a, 16, 1), change(b, 16, 1)...),
		"one-slot": a,
		"none":     {},
	} {
		add("FuzzFront", name, uint32(7|3<<3), x)
	}
	add("FuzzFront", "first-slot-rotten", uint32(4|2|5<<3), append(bytes.Clone(a), b...))

	// Indexes: of records and length, and a tape for the seal.
	entries := func(v ...uint32) (b []byte) {
		for _, x := range v {
			b = le.AppendUint32(b, x)
		}
		return b
	}
	for name, x := range map[string][]byte{
		"right":           entries(0, 4304/8, 2, 6400/8),
		"one-entry":       entries(0, 4304/8),
		"empty":           {},
		"not-rising":      entries(2, 6400/8, 0, 4304/8),
		"same-offset":     entries(0, 4304/8, 1, 4304/8),
		"padded":          append(entries(0, 4304/8), make([]byte, 16)...),
		"beyond":          entries(0, 4304/8, 2, 1<<31),
		"too-many":        entries(0, 4304/8, 9, 6400/8),
		"no-multiple":     entries(0, 4304/8, 1)[:11],
		"to-another":      entries(0, 6336/8, 1, 6400/8),
		"inside-a-record": entries(0, 4400/8),
	} {
		add("FuzzIndexDecode", name, uint32(4), uint32(7000), []byte{0, 1}, x)
	}
	for at := range byte(8) {
		add("FuzzIndexDecode", fmt.Sprintf("seal-field-%d", at), uint32(3), uint32(1<<31), []byte{0, 1, 3, at, 26}, entries(0, 4304/8, 2, 6400/8))
	}
	add("FuzzIndexDecode", "seal-unit-512", uint32(3), uint32(1<<31), []byte{1, 3}, entries(0, 4304/8))

	// The whole.
	add("FuzzDifferential", "worked-bytes", byte(0), file[4096:])
	add("FuzzDifferential", "worked-file", byte(64), file)
	add("FuzzDifferential", "worked-cut", byte(0), file[4096:workedMark+40])
	for name, off := range map[string]int{"kind": workedGroup, "record": workedRecord + 16, "meta": workedMeta + 4, "more": workedMeta + 5,
		"mark-durable": workedMark + 24, "mark-chain": workedMark + 33, "opening-irregular": 4224, "opening-id": 4176, "length": 4104, "records": 4108} {
		add("FuzzDifferential", "worked-"+name, byte(4), change(file[4096:], off-4096, file[off]+1))
		add("FuzzDifferential", "rotten-"+name, byte(0), change(file[4096:], off-4096, file[off]+1))
	}
	for name, x := range tapes {
		if strings.HasPrefix(name, "spoiled") {
			continue
		}
		m, _, _ := makeGroups(&tape{x}, 8)
		add("FuzzDifferential", "made-"+name, byte(0), m.file[4096:])
	}
	return list
}
