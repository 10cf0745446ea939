package fuzz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// complaints runs some scripts, each broken in the way that change and handler say,
// and returns how many times the oracle complains. A nil handler breaks nothing.
func complaints(t *testing.T, handler func(*vfs.Crash) vfs.Handler, change func(*Script)) int {
	seedRandom(t, 1)
	n := 0
	for _, ops := range []string{"", "aA", "aArA", "aAB", "aAyF", "atac"} {
		s := Script{Ops: ops, Unit: 512, Options: wal.Options{SegmentSize: 8 << 10}}
		if change != nil {
			change(&s)
		}
		e := newEnumeration(8)
		disk := vfs.NewCrash(s.Unit)
		if handler != nil {
			s.Break = handler(disk)
		}
		r := NewRun(s, disk, NewHistory(View{First: 1}))
		execute(t, r.All)
		e.add(s, r.Points)
		e.check()
		n += len(e.failed)
		if len(e.failed) > 0 {
			t.Logf("one of %d complaints about %q: %.300s", len(e.failed), ops, e.failed[0])
		}
	}
	return n
}

// skip is a handler that lets calls of op do nothing, and succeed.
func skip(op vfs.Op) func(*vfs.Crash) vfs.Handler {
	return func(*vfs.Crash) vfs.Handler {
		return func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if c.Op == op {
				return 0, nil
			}
			return do(int(c.Size))
		}
	}
}

func TestOracleIsSilentAboutWhatIsSound(t *testing.T) {
	require.Zero(t, complaints(t, nil, nil))
}

func TestOracleSeesASyncThatDoesNothing(t *testing.T) {
	require.Positive(t, complaints(t, skip(vfs.Sync), nil))
}

func TestOracleSeesAWriteSyncThatOnlyWrites(t *testing.T) {
	require.Positive(t, complaints(t, skip(vfs.WriteSync), func(s *Script) { s.Options.Direct = true }))
}

func TestOracleSeesASyncDirThatDoesNothing(t *testing.T) {
	require.Positive(t, complaints(t, skip(vfs.SyncDir), nil))
}

// A log that does not sync is judged as one that does.
func TestOracleSeesAnAppendAcknowledgedBeforeTheSync(t *testing.T) {
	require.Positive(t, complaints(t, nil, func(s *Script) { s.Options.Sync, s.strict = wal.SyncNone, true }))
}

// The disk does what a sync asks for, but later: before the next call.
func TestOracleSeesASyncThatReturnsEarly(t *testing.T) {
	require.Positive(t, complaints(t, func(disk *vfs.Crash) vfs.Handler {
		var late string
		return func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if late != "" && !strings.HasSuffix(late, segment.TempExt) {
				f, err := disk.Open(late, vfs.ReadWrite)
				if err != nil {
					return 0, err
				}
				if err := errors.Join(f.Sync(), f.Close()); err != nil {
					return 0, err
				}
			}
			late = ""
			if c.Op == vfs.Sync && !strings.HasSuffix(c.Name, segment.TempExt) {
				late = c.Name
				return 0, nil
			}
			return do(int(c.Size))
		}
	}, nil))
}

// withoutWatermark is a handler that takes the watermark out of each group written to
// a segment: it claims what an empty segment claims. All sums are made to fit.
func withoutWatermark(disk *vfs.Crash) vfs.Handler {
	last := map[string]uint64{} // the sum of the last header of each file, as it is now
	return func(c vfs.Call, do func(int) (int, error)) (int, error) {
		n, err := do(int(c.Size))
		if err != nil || c.Op != vfs.WriteAt || filepath.Ext(c.Name) != segment.Ext || c.Off < segment.HeaderSize || c.Size < segment.GroupHeaderSize {
			return n, err
		}
		f, err := disk.Open(c.Name, vfs.ReadWrite)
		if err != nil {
			return n, err
		}
		defer f.Close()
		var file [2048]byte
		b := make([]byte, segment.GroupHeaderSize)
		if _, err := f.ReadAt(file[:], 0); err != nil {
			return n, err
		}
		if _, err := f.ReadAt(b, c.Off); err != nil || b[3] != 0xf7 || b[2] != 0x1d {
			return n, err // no header of a group
		}
		le := binary.LittleEndian
		le.PutUint64(b[24:], segment.HeaderSize)
		if sum, ok := last[c.Name]; ok {
			le.PutUint64(b[32:], sum)
		}
		in := bytes.Join([][]byte{file[56:64], le.AppendUint64(nil, uint64(c.Off)), b[:56]}, nil)
		last[c.Name] = xxhash.Sum64(in)
		le.PutUint64(b[56:], last[c.Name])
		_, err = f.WriteAt(b, c.Off)
		return n, err
	}
}

// damageDurable appends a few durable records, damages the first of them, and returns
// what Open then says; or an error of ours if it says nothing and a record is missing.
func damageDurable(t *testing.T, handler func(*vfs.Crash) vfs.Handler) (opened, silent error) {
	seedRandom(t, 1)
	disk := vfs.NewCrash(512)
	s := Script{Ops: "aaaa", Unit: 512, Options: wal.Options{SegmentSize: 16 << 10}}
	if handler != nil {
		s.Break = handler(disk)
	}
	r := NewRun(s, disk, NewHistory(View{First: 1}))
	execute(t, r.All)
	require.Empty(t, r.pending)
	path := segment.Path(dir, 1)
	img := r.Points[len(r.Points)-1].State
	m := img.Image(img.Newest())
	f, err := m.Open(path, vfs.ReadWrite)
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	b := make([]byte, info.Size)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	at := bytes.Index(b, []byte(r.History.Now().Records[0]))
	require.Positive(t, at)
	_, err = f.WriteAt([]byte("rotten"), int64(at))
	require.NoError(t, err)
	v, _, _, opened := openOn(m, s.Options, nil)
	if opened == nil {
		silent = r.History.Bounds().Check(v, false)
	}
	return opened, silent
}

func TestOracleSeesAWatermarkThatDoesNotAdvance(t *testing.T) {
	opened, silent := damageDurable(t, nil)
	require.ErrorIs(t, opened, wal.ErrCorrupt)
	require.NoError(t, silent)

	opened, silent = damageDurable(t, withoutWatermark)
	require.NoError(t, opened)
	require.Error(t, silent, "the log was cut below what was durable, and nobody noticed")
}

// notRewritten lets writes to segments that are there at the first call do nothing.
func notRewritten(disk *vfs.Crash) vfs.Handler {
	var old []string
	return func(c vfs.Call, do func(int) (int, error)) (int, error) {
		if old == nil {
			names, err := disk.List(dir)
			if err != nil {
				return 0, err
			}
			old = append(names, "")
		}
		if name := filepath.Base(c.Name); c.Op == vfs.WriteAt && filepath.Ext(name) == segment.Ext && slices.Contains(old, name) {
			return int(c.Size), nil
		}
		return do(int(c.Size))
	}
}

func TestOracleSeesATailThatIsNotWrittenAgain(t *testing.T) {
	seedRandom(t, 1)
	count := func(again func(*vfs.Crash) vfs.Handler) (n int) {
		for _, ops := range []string{"a", "aa", "aA"} {
			syncs := 1
			for at := -1; at < syncs; at++ {
				s := Script{Ops: ops, Unit: 512, Options: wal.Options{SegmentSize: 8 << 10}}
				var points []Point
				execute(t, func() (err error) {
					var made int
					points, made, err = runFailed(s, at, kept, again)
					syncs = max(syncs, made)
					return err
				})
				e := newEnumeration(8)
				e.add(s, points)
				e.check()
				if n += len(e.failed); len(e.failed) > 0 {
					t.Logf("one of %d complaints: %.300s", len(e.failed), e.failed[0])
				}
			}
		}
		return n
	}
	require.Zero(t, count(nil))
	require.Positive(t, count(notRewritten))
}
