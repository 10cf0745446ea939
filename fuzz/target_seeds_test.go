package fuzz_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/fuzz"
)

// The seeds of the targets are files in testdata/fuzz, and run as tests. They come from
// the worked bytes of the format, from what the corpus has, and from what was found:
// those have names that begin with "found-", and are not made here.

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
	for _, s := range slices.Concat(codecSeeds(), dirSeeds(), scriptSeeds()) {
		path := filepath.Join(seedDir, s.target, s.name)
		require.Nil(t, want[path], "two seeds are %s", path)
		want[path] = s.encode()
		require.Less(t, len(want[path]), seedSize, path)
	}
	if *update {
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
	require.Len(t, targets, 11)
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
	add("FuzzDifferential", "wrong-chain", byte(4|keepChain<<3), change(file[4096:], workedMark+33-4096, file[workedMark+33]+1))
	add("FuzzDifferential", "wrong-body", byte(4|keepBody<<3), change(file[4096:], 40, file[4136]+1))
	for name, x := range tapes {
		if strings.HasPrefix(name, "spoiled") {
			continue
		}
		m, _, _ := makeGroups(&tape{x}, 8)
		add("FuzzDifferential", "made-"+name, byte(0), m.file[4096:])
	}
	return list
}

// The tapes of a name.
var (
	nameFront = []byte{0}
	nameOdd   = func(n byte) []byte { return []byte{12, n} }
	nameSeg   = func(id byte) []byte { return []byte{2, id - 1} }
	nameTemp  = func(id byte) []byte { return []byte{10, id - 1} }
	nameGone  = func(id byte) []byte { return []byte{11, id - 1} }
	nameRaw   = func(s string) []byte { return append([]byte{15, byte(len(s) - 1)}, s...) }
)

// dirSeeds are those of the targets that open a directory.
func dirSeeds() (list []seed) {
	dir := func(name string, how byte, parts ...[]byte) {
		list = append(list, seed{"FuzzOpenDir", name, []any{how, slices.Concat(parts...)}})
	}
	b := func(v ...byte) []byte { return v }
	at := func(file byte, off uint16, kind byte) []byte { return []byte{6, file, byte(off), byte(off >> 8), kind} }
	for n := range baseScripts {
		for what, how := range map[string]byte{"strict": 0x20, "paranoid": 0x62, "point-in-time": 0x23, "bounded": 0x4c} {
			dir(fmt.Sprintf("log-%d-%s", n, what), how, b(byte(n)))
		}
	}
	dir("junk-segment", 0x20, b(1, 0), nameSeg(2), b(4, 0), b('j', 'u', 'n', 'k'))
	dir("junk-segment-point-in-time", 0x23, b(1, 0), nameSeg(2), b(4, 0), b('j', 'u', 'n', 'k'))
	dir("junk-front", 0x20, b(1, 0), nameFront, b(3, 0), b('a', 'b', 'c'))
	dir("not-ours", 0x20, b(7, 3, 0, 3, 0, 0), nameRaw("photo.jpg"), b(1, 0, 'x'))
	for n := range oddNames {
		dir(fmt.Sprintf("odd-name-%02d", n), 0x28, b(2, 0), nameOdd(byte(n)), b(9, 0), b('s', 'o', 'm', 'e', 't', 'h', 'i', 'n', 'g'))
	}
	dir("front-gone", 0x20, b(1, 3, 1))
	dir("front-gone-point-in-time", 0x23, b(2, 3, 5))
	dir("segment-gone", 0x20, b(2, 3, 1))
	dir("segment-gone-point-in-time", 0x23, b(2, 3, 1))
	dir("newest-gone", 0x60, b(2, 3, 4))
	dir("newest-gone-point-in-time", 0x63, b(2, 3, 4))
	dir("all-gone-point-in-time", 0x23, b(1, 3, 0))
	dir("segments-swapped", 0x20, b(2, 4, 0), nameTemp(9), b(4, 0), nameSeg(1), b(4, 0), nameSeg(2))
	dir("segment-of-another-log", 0x20, b(1, 1, 0, 1, 0), nameSeg(2))
	dir("segment-cut", 0x20, b(1, 1, 0, 0, 3, 0, 20), nameSeg(1))
	dir("leftovers", 0x28, b(2, 1, 2, 1, 0), nameTemp(7), b(1, 2, 1, 0), nameGone(3))
	dir("made-ready", 0x28, b(1, 2, 0, 1))
	dir("made-ready-beyond", 0x20, b(2, 2, 0, 8))
	dir("linked", 0x20, b(1, 5, 0, 1), nameSeg(9))
	dir("directory", 0x20, b(1, 5, 0, 0), nameSeg(3))
	dir("zeros-behind", 0x28, at(0, 4200, 4))
	dir("bit", 0x20, b(2), at(3, 5000, 1), b(3))
	dir("sector-lost", 0x20, b(2), at(4, 4608, 2), b(1))
	dir("sector-misplaced", 0x20, b(2), at(3, 5120, 5), b(0, 18))
	dir("cut", 0x20, b(2), at(3, 5120, 3))
	for field := range byte(8) {
		dir(fmt.Sprintf("forged-group-field-%d", field), 0x28, b(2), at(3, 0, 8), b(0, field, 26, 4))
		dir(fmt.Sprintf("forged-frame-field-%d", field), 0x28, b(2), at(3, 0, 8), b(4, field, 28, 4))
	}
	for field := range byte(16) {
		dir(fmt.Sprintf("forged-header-field-%02d", field), 0x28, b(2), at(2, 0, 6), b(field, 0, 26, 26))
		dir(fmt.Sprintf("forged-front-field-%02d", field), 0x28, b(2), at(5, 0, 7), b(field, 0, 26, 26))
	}

	hurt := func(name string, how byte, parts ...[]byte) {
		list = append(list, seed{"FuzzRecoverStructured", name, []any{how, slices.Concat(parts...)}})
	}
	for n := range byte(len(baseScripts)) {
		hurt(fmt.Sprintf("log-%d-whole", n), n|0x10)
		hurt(fmt.Sprintf("log-%d-bit", n), n|0x10, b(0, 0x31, 0x12, 20, 0, 3))
		hurt(fmt.Sprintf("log-%d-bits", n), n|0x30, b(0, 5, 0, 70, 1, 3), b(1, 9, 0, 1, 2, 3), b(0, 13, 0, 30, 1, 7))
		hurt(fmt.Sprintf("log-%d-sector", n), n|0x30, b(1, 0, 0x12, 6, 0))
		hurt(fmt.Sprintf("log-%d-stale-sector", n), n|0x30, b(0, 0, 0x14, 7, 0, 0x12))
		hurt(fmt.Sprintf("log-%d-cut", n), n|0x10, b(0, 0, 0x12, 8))
		hurt(fmt.Sprintf("log-%d-gone", n), n|0x10, b(0, 0, 0x12, 9, 0))
		hurt(fmt.Sprintf("log-%d-forged", n), n|0x18, b(0, 0, 0, 8, 3, 2, 26, 4))
		hurt(fmt.Sprintf("log-%d-point-in-time", n), n|0x90, b(0, 0x31, 0x12, 20, 0, 3), b(1, 0, 0x12, 6, 0))
	}
	return list
}

// scriptSeeds are those of the targets that run operations.
func scriptSeeds() (list []seed) {
	add := func(target, name string, args ...any) { list = append(list, seed{target, name, args}) }
	var all []byte
	for op := range byte(24) {
		all = append(all, op, op*5+1, op*3, 2, 1)
	}
	appends := bytes.Repeat([]byte{0, 7, 3, 5}, 6)
	for how := range byte(20) {
		if how&3 < 3 {
			add("FuzzOpScript", fmt.Sprintf("every-operation-%02x", how), how, all)
		}
	}
	for name, b := range map[string][]byte{
		"truncate-back-and-read":  {14, 5, 16, 0, 3, 17, 1, 4, 17, 2, 9, 14, 3, 17, 2, 9},
		"truncate-front-and-read": {17, 1, 3, 17, 2, 2, 13, 6, 17, 2, 9, 13, 255, 23},
		"holds":                   {16, 0, 4, 16, 0, 6, 13, 8, 16, 1, 0, 5, 13, 8, 16, 2, 0, 13, 8, 23},
		"reset":                   {15, 0, 0, 3, 15, 2, 0, 3, 21, 15, 4, 15, 5, 22},
		"batches":                 {6, 0x18, 3, 4, 5, 6, 0x29, 4, 3, 2, 6, 0x46, 1, 6, 0x06, 1, 6, 0x99, 3, 5, 5, 5, 21},
		"batch-conflict":          {6, 0x4e, 4, 23},
		"batch-meta-alone":        {6, 0x20, 3, 12, 21, 12, 6, 0x20, 0, 22, 23},
		"rotations":               {12, 0, 3, 12, 12, 0, 3, 12, 3, 4, 12, 22, 0, 3, 23},
		"idle":                    {20, 200, 3, 4, 20, 5, 3, 4, 10, 20, 250, 22},
	} {
		add("FuzzOpScript", name, byte(0), append(bytes.Clone(appends), b...))
		add("FuzzOpScript", name+"-no-sync", byte(2), append(bytes.Clone(appends), b...))
	}

	ops := func(s string) (b []byte) {
		for _, c := range []byte(s) {
			b = append(b, byte(strings.IndexByte(fuzz.Operations, c)))
		}
		return b
	}
	crash := []byte{9, 4, 0xa5, 0x5a, 3, 2, 5, 40, 5, 0x33, 0xcc, 60, 6, 0x0f, 0xf0, 255}
	for n, s := range []string{"", "aA", "aAmr", "aAt", "aAT", "aAfB", "aAUa", "aADa", "aAwr", "aAyp", "aAxc", "aAnN", "aAzq", "aAkaka", "aAFhi", "aAerm"} {
		name := s
		if s == "" {
			name = "open"
		}
		add("FuzzCrashScript", fmt.Sprintf("%02d-%s", n, name), byte(n), ops(s), crash)
		add("FuzzCrashScript", fmt.Sprintf("%02d-%s-twice", n, name), byte(n|128), ops(s), crash[:6])
	}

	when := bytes.Repeat([]byte{6, 1, 0xa5, 0x5a, 5, 2, 0, 0xf0}, 12)
	for how := range byte(12) {
		if how&3 < 3 {
			add("FuzzReaderTail", fmt.Sprintf("every-operation-%02x", how), how,
				[]byte{0, 2, 5, 3, 8, 2, 3, 2, 9, 1, 4, 10, 2, 4, 4, 11, 12, 0, 4, 13, 14, 0, 3, 15, 0, 15, 1, 0, 2, 9, 1, 2}, when)
		}
	}
	for name, b := range map[string][]byte{
		"rotations":   {0, 3, 12, 0, 3, 12, 0, 5, 0, 5, 0, 5, 0, 5},
		"truncations": {0, 3, 0, 3, 0, 3, 13, 0, 3, 14, 0, 2, 8, 2, 1, 2, 13, 14, 0, 1},
		"large":       {0, 5, 0, 5, 0, 5, 5, 5, 5, 5, 0, 5, 0, 5},
		"asynchron":   {5, 2, 5, 3, 5, 4, 5, 1, 11, 5, 2, 5, 3, 15, 0, 5, 4},
	} {
		add("FuzzReaderTail", name, byte(0), b, when)
		add("FuzzReaderTail", name+"-no-sync", byte(2), b, when[3:])
	}
	return list
}
