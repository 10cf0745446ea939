package vfs_test

import (
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/internal/vfs/vfstest"
)

func TestConformance(t *testing.T) {
	crashed := func() vfs.FS {
		c := vfs.NewCrash(512)
		c.Mkdir("/t")
		s := c.State()
		return vfs.NewCrashFrom(s.Image(s.Newest()), 4096)
	}
	mem := func(wrap func(vfs.FS) vfs.FS) vfs.FS {
		m := vfs.NewMem()
		m.Mkdir("/t")
		return wrap(m)
	}
	for _, tc := range []struct {
		name, dir string
		fs        vfs.FS
	}{
		{"OS", t.TempDir(), vfs.OS()},
		{"Mem", "/t", mem(func(m vfs.FS) vfs.FS { return m })},
		{"MemRoot", ".", vfs.NewMem()},
		{"Clone", "/t", mem(func(m vfs.FS) vfs.FS { return m.(*vfs.Mem).Clone() })},
		{"Direct", "/t", mem(func(m vfs.FS) vfs.FS { m.(*vfs.Mem).UseDirect(512); return vfs.NewTrace(m) })},
		{"Crash", ".", vfs.NewCrash(512)},
		{"CrashDirect", ".", func() vfs.FS { c := vfs.NewCrash(512); c.UseDirect(4096); return c }()},
		{"CrashFrom", "/t", crashed()},
		{"Wrap", "/t", mem(func(m vfs.FS) vfs.FS { return vfs.Wrap(m, nil) })},
		{"Faulty", "/t", mem(func(m vfs.FS) vfs.FS { return vfs.NewFaulty(m) })},
		{"Trace", "/t", mem(func(m vfs.FS) vfs.FS { return vfs.NewTrace(m) })},
		{"TraceOS", t.TempDir(), vfs.NewTrace(vfs.NewFaulty(vfs.OS()))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := vfstest.Run(tc.fs, tc.dir); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestConformanceFindsFaults breaks one promise after the other.
func TestConformanceFindsFaults(t *testing.T) {
	pass := func(c vfs.Call, do func(int) (int, error)) (int, error) { return do(int(c.Size)) }
	skip := func(c vfs.Call, _ func(int) (int, error)) (int, error) { return int(c.Size), nil }
	mute := func(c vfs.Call, do func(int) (int, error)) (int, error) { n, _ := do(int(c.Size)); return n, nil }
	vague := func(c vfs.Call, do func(int) (int, error)) (int, error) {
		n, err := do(int(c.Size))
		if err != nil {
			err = errors.New("vague")
		}
		return n, err
	}
	for _, tc := range []struct {
		group string
		op    vfs.Op
		h     vfs.Handler
	}{
		{"directories", vfs.Mkdir, mute},
		{"directories", vfs.Mkdir, vague},
		{"directories", vfs.SyncDir, skip},
		{"directories", vfs.List, vague},
		{"create", vfs.Create, vague},
		{"create", vfs.Open, vague},
		{"errors", vfs.Remove, vague},
		{"readwrite", vfs.ReadAt, vague},
		{"readwrite", vfs.ReadAt, mute},
		{"readwrite", vfs.WriteAt, func(c vfs.Call, do func(int) (int, error)) (int, error) {
			return do(min(int(c.Size), 9))
		}},
		{"readwrite", vfs.ReadAt, func(c vfs.Call, do func(int) (int, error)) (int, error) {
			n, err := do(int(c.Size))
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}},
		{"allocate", vfs.Allocate, skip},
		{"writesync", vfs.WriteSync, skip},
		{"writesync", vfs.WriteSync, func(c vfs.Call, do func(int) (int, error)) (int, error) { return do(-int(c.Size) / 2) }},
		{"truncate", vfs.Truncate, skip},
		{"truncate", vfs.Truncate, mute},
		{"readonly", vfs.WriteAt, mute},
		{"rename", vfs.Rename, skip},
		{"renameopen", vfs.Rename, skip},
		{"remove", vfs.Remove, skip},
		{"removeopen", vfs.Remove, skip},
		{"link", vfs.Link, skip},
		{"link", vfs.Link, vague},
		{"lock", vfs.Lock, vague},
		{"lock", vfs.Close, skip},
		{"closed", vfs.Close, skip},
		{"closed", vfs.Sync, mute},
		{"concurrent", vfs.WriteAt, skip},
	} {
		m := vfs.NewMem()
		m.UseDirect(4096)
		require.NoError(t, m.Mkdir("/t"))
		err := vfstest.Run(vfs.Wrap(m, func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if c.Op == tc.op {
				return tc.h(c, do)
			}
			return pass(c, do)
		}), "/t")
		require.ErrorContains(t, err, "vfstest: "+tc.group+": checks.go:", "%v", tc.op)
	}
}
