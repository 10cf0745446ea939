package main

import (
	"bytes"
	"crypto/rand"
	"flag"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

var update = flag.Bool("update", false, "write the files in testdata anew")

// result is what a run of walctl printed and returned.
type result struct {
	exit        int
	out, errors string
}

// walctl runs the program on a file system.
func walctl(fsys vfs.FS, stdin string, args ...string) result {
	var out, errs bytes.Buffer
	exit := runOn(fsys, args, strings.NewReader(stdin), &out, &errs)
	return result{exit, out.String(), errs.String()}
}

// inFixedWorld runs f where the clock begins in the year 2000 and stands still,
// and where random numbers are the same each time: a log made in it has the same
// bytes in every run.
func inFixedWorld(t *testing.T, f func(t *testing.T)) {
	before := rand.Reader
	rand.Reader = mathrand.NewChaCha8([32]byte{})
	defer func() { rand.Reader = before }()
	inStillTime(t, f)
}

var timeIsStill bool

// inStillTime runs f where the clock stands still, so that a log does nothing
// unasked, however slow the machine is.
func inStillTime(t *testing.T, f func(t *testing.T)) {
	if timeIsStill {
		f(t)
		return
	}
	timeIsStill = true
	defer func() { timeIsStill = false }()
	synctest.Test(t, f)
}

// must returns v, and ends the test if there is an error.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

const dir = "log"

// open opens the log in dir with small segments.
func open(t *testing.T, fsys vfs.FS) *wal.Log {
	l, err := wal.Open(dir, &wal.Options{FS: fsys, SegmentSize: 8 << 10})
	require.NoError(t, err)
	return l
}

func appendAll(t *testing.T, l *wal.Log, records ...string) {
	for _, r := range records {
		_, err := l.Append([]byte(r))
		require.NoError(t, err)
	}
}

// threeSegments returns a file system with a log of records 1 to 6, two in each of the
// segments 1 to 3, closed in order.
func threeSegments(t *testing.T) *vfs.Mem {
	fsys := vfs.NewMem()
	inStillTime(t, func(t *testing.T) {
		l := open(t, fsys)
		appendAll(t, l, "one", "two")
		require.NoError(t, l.Rotate())
		appendAll(t, l, "three", "four")
		require.NoError(t, l.Rotate())
		appendAll(t, l, "five", "six")
		require.NoError(t, l.Close())
	})
	return fsys
}

// crashed returns a file system with a log of one segment, as the death of the
// process leaves it after the last of the records was acknowledged and before
// anything claims it.
func crashed(t *testing.T, records ...string) *vfs.Mem {
	var left *vfs.Mem
	inStillTime(t, func(t *testing.T) {
		fsys := vfs.NewMem()
		l, err := wal.Open(dir, &wal.Options{FS: fsys, SegmentSize: 64 << 10}) // too large for the next one to be made ready
		require.NoError(t, err)
		appendAll(t, l, records...)
		left = fsys.Clone()
		require.NoError(t, l.Close())
	})
	return left
}

// path returns the path of a segment of the log.
func path(id uint64) string { return segment.Path(dir, id) }

// read returns the bytes of a file.
func read(t *testing.T, fsys vfs.FS, name string) []byte {
	f, err := fsys.Open(name, vfs.ReadOnly)
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	b := make([]byte, info.Size)
	if _, err = f.ReadAt(b, 0); err != io.EOF {
		require.NoError(t, err)
	}
	return b
}

// write makes a file have the bytes b, and no others.
func write(t *testing.T, fsys vfs.FS, name string, b []byte) {
	f, err := fsys.Open(name, vfs.ReadWrite)
	if err != nil {
		f, err = fsys.Create(name)
	}
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(int64(len(b))))
	_, err = f.WriteAt(b, 0)
	require.NoError(t, err)
}

// flip changes one bit of the first place in a file where text stands.
func flip(t *testing.T, fsys vfs.FS, name, text string) {
	b := read(t, fsys, name)
	at := bytes.Index(b, []byte(text))
	require.GreaterOrEqual(t, at, 0, "%s is not in %s", text, name)
	b[at] ^= 1
	write(t, fsys, name, b)
}

// zero clears bytes of a file.
func zero(t *testing.T, fsys vfs.FS, name string, from, to int) {
	b := read(t, fsys, name)
	clear(b[from:min(to, len(b))])
	write(t, fsys, name, b)
}

// golden compares what walctl printed with a file in testdata.
func golden(t *testing.T, name, got string) {
	file := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o777))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o666))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(string(want), "\r\n", "\n"), got)
}

// session runs commands, each a line, and returns what a terminal would show.
func session(fsys vfs.FS, lines ...string) string {
	var s strings.Builder
	for _, line := range lines {
		r := walctl(fsys, "", strings.Fields(line)...)
		s.WriteString("$ walctl " + line + "\n" + r.out + r.errors)
		if r.exit != 0 {
			s.WriteString("exit " + string(rune('0'+r.exit)) + "\n")
		}
	}
	return s.String()
}
