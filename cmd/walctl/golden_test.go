package main

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/wal"
)

func TestHelpSaysWhatThereIs(t *testing.T) {
	golden(t, "help", session(vfs.NewMem(), "help", "help ls", "help dump", "help verify", "append -h"))
}

// everything returns a log with a batch, metas, truncations at both ends, a
// rotation, and a segment made ready.
func everything(t *testing.T) *vfs.Mem {
	fsys := vfs.NewMem()
	l := open(t, fsys)
	appendAll(t, l, "alpha", "beta\x00\xff", "")
	var b wal.Batch
	b.SetMeta([]byte("term 1"))
	b.Add([]byte("in a batch"))
	b.Add([]byte("of two"))
	_, err := l.AppendBatch(&b)
	require.NoError(t, err)
	untrimmed := read(t, fsys, path(1))
	require.NoError(t, l.TruncateBack(4))
	appendAll(t, l, "instead")
	require.NoError(t, l.Rotate())
	appendAll(t, l, string(make([]byte, 4500))) // more than half: the next one is made ready
	require.NoError(t, l.TruncateFront(2))
	synctest.Wait() // what is done in the background is done
	left := fsys.Clone()
	require.NoError(t, l.Close())
	write(t, left, path(1), untrimmed) // as if the process had died before it gave the space back
	return left
}

func TestLogWithEverythingInIt(t *testing.T) {
	inFixedWorld(t, func(t *testing.T) {
		fsys := everything(t)
		golden(t, "everything", session(fsys, "ls log", "dump log", "verify log"))
	})
}

func TestDumpOfAPart(t *testing.T) {
	inFixedWorld(t, func(t *testing.T) {
		fsys := threeSegments(t)
		require.NoError(t, fsys.Rename(path(2), "some.file"))
		golden(t, "part", session(fsys, "dump -n 1 some.file", "dump some.file -x -from 4",
			"dump -from 6 log", "dump log -n 0", "ls log", "verify log"))
	})
}

func TestTornTail(t *testing.T) {
	inFixedWorld(t, func(t *testing.T) {
		fsys := crashed(t, "one", "two", string(make([]byte, 2000)))
		b := read(t, fsys, path(1))
		clear(b[4416:5632]) // sectors of the last group that never reached the disk
		b[6000] = 1
		write(t, fsys, path(1), b)
		golden(t, "torn", session(fsys, "ls log", "dump log", "verify log", "verify -expect 2 log", "verify -expect 3 log"))
	})
}

func TestDamagedSegment(t *testing.T) {
	inFixedWorld(t, func(t *testing.T) {
		fsys := threeSegments(t)
		flip(t, fsys, path(2), "four")
		write(t, fsys, "log/notes.txt", nil)
		golden(t, "damaged", session(fsys, "ls log", "dump log", "verify log"))
	})
}

func TestAppendSaysHowMuchIsDurable(t *testing.T) {
	inFixedWorld(t, func(t *testing.T) {
		fsys := vfs.NewMem()
		r := walctl(fsys, "a\nb\r\n\nlast, without newline", "append", dir)
		require.Equal(t, result{0, "4 lines, 24 bytes, durable: records 1 to 4; 0s, 4000000 lines a second\n", ""}, r)
		r = walctl(fsys, "5\n6\n7\n", "append", "-batch", "2", "--", dir)
		require.Equal(t, result{0, "3 lines, 3 bytes, durable: records 5 to 7; 0s, 3000000 lines a second\n", ""}, r)
		r = walctl(fsys, "", "append", dir)
		require.Equal(t, result{0, "0 lines, 0 bytes, durable: no records, the next gets LSN 8; 0s, 0 lines a second\n", ""}, r)
		golden(t, "appended", session(fsys, "dump log"))
	})
}
