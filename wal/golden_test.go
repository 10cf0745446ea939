package wal

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

var updateGolden = flag.Bool("update", false, "write the calls as they are now to testdata")

// golden compares the calls of the file system with testdata/NAME.golden.
func golden(t *testing.T, name, calls string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *updateGolden {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(calls), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), calls, "the calls of %s; -update writes them down", name)
}

// traced is a file system of which the calls are written down. What the log does
// in the background can be held up, so that the order is the same every time.
type traced struct {
	FS
	trace *vfs.Trace
	held  [len(background)]atomic.Pointer[chan struct{}] // calls of that kind wait until it is closed; nil: they don't
}

// background are the functions that goroutines of the log's own begin with, in the order in
// which they may go on.
var background = [...]string{"wal.(*keeper).prepareAhead(", "wal.(*keeper).run("}

func newTraced(base FS) *traced {
	tr := &traced{trace: vfs.NewTrace(base)}
	tr.FS = vfs.Wrap(tr.trace, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		var stack [4 << 10]byte
		for i := range tr.held {
			if held := tr.held[i].Load(); held != nil && bytes.Contains(stack[:runtime.Stack(stack[:], false)], []byte(background[i])) {
				<-*held
			}
		}
		return do(int(c.Size))
	})
	return tr
}

// quiet waits until nothing is left to be done, forgets the calls so far, and
// holds up what happens in the background from now on.
func (tr *traced) quiet() {
	tr.release()
	time.Sleep(time.Second) // of the bubble's clock: the idle mark is written
	synctest.Wait()
	tr.trace.Take()
	for i := range tr.held {
		held := make(chan struct{})
		tr.held[i].Store(&held)
	}
}

// release lets the log go on in the background, one goroutine after the other.
func (tr *traced) release() {
	for i := range tr.held {
		if held := tr.held[i].Swap(nil); held != nil {
			close(*held)
			synctest.Wait()
		}
	}
}

// calls returns the calls since quiet, those in the background last.
func (tr *traced) calls() string {
	synctest.Wait()
	calls := tr.trace.Take()
	tr.release()
	if background := tr.trace.Take(); background != "" {
		calls += "in the background:\n" + background
	}
	return calls
}

// half is more than half a segment, so that the next one is made ready.
var half = strings.Repeat("-", 6000)

// setAside leaves a log with a file that is set aside, and the last segment half full.
func setAside(t *testing.T, l *Log, tr *traced) {
	for range 5 {
		requireAppend(t, l, half[:5900]) // two of them fill a segment
		tr.quiet()
	}
	require.NoError(t, l.TruncateFront(l.LastLSN()))
	tr.quiet()
}

// TestCallsOfTheFileSystem writes down which calls the log makes, in which
// order: a sync that is missing, or one too many, shows here.
func TestCallsOfTheFileSystem(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, l *Log, tr *traced)
	}{
		{"append", func(t *testing.T, l *Log, tr *traced) {
			requireAppend(t, l, "four")
		}},
		{"append-batch", func(t *testing.T, l *Log, tr *traced) {
			var b Batch
			b.Add([]byte("four"))
			b.Add([]byte("five"))
			b.SetMeta([]byte("meta"))
			_, err := l.AppendBatch(&b)
			require.NoError(t, err)
		}},
		{"append-meta", func(t *testing.T, l *Log, tr *traced) {
			var b Batch
			b.SetMeta([]byte("meta"))
			_, err := l.AppendBatch(&b)
			require.NoError(t, err)
		}},
		{"make-ready", func(t *testing.T, l *Log, tr *traced) {
			requireAppend(t, l, half)
		}},
		{"make-ready-again", func(t *testing.T, l *Log, tr *traced) {
			setAside(t, l, tr)
			requireAppend(t, l, half)
		}},
		{"append-again", func(t *testing.T, l *Log, tr *traced) {
			setAside(t, l, tr)
			for range 2 { // the second begins the segment
				requireAppend(t, l, half)
				tr.quiet()
			}
			requireAppend(t, l, "in the page of the record before", strings.Repeat("-", 4096), "and again")
		}},
		{"rotation", func(t *testing.T, l *Log, tr *traced) {
			requireAppend(t, l, half) // the next segment is made ready
			tr.quiet()
			requireAppend(t, l, half)
		}},
		{"rotation-not-ready", func(t *testing.T, l *Log, tr *traced) {
			requireAppend(t, l, half+half)
		}},
		{"rotate", func(t *testing.T, l *Log, tr *traced) {
			require.NoError(t, l.Rotate())
		}},
		{"truncate-front", func(t *testing.T, l *Log, tr *traced) {
			require.NoError(t, l.TruncateFront(3))
		}},
		{"truncate-front-segments", func(t *testing.T, l *Log, tr *traced) {
			require.NoError(t, l.Rotate())
			requireAppend(t, l, "four")
			require.NoError(t, l.Rotate())
			requireAppend(t, l, "five")
			tr.quiet()
			require.NoError(t, l.TruncateFront(5))
		}},
		{"truncate-back", func(t *testing.T, l *Log, tr *traced) {
			require.NoError(t, l.TruncateBack(1))
		}},
		{"truncate-back-segments", func(t *testing.T, l *Log, tr *traced) {
			require.NoError(t, l.Rotate())
			requireAppend(t, l, "four")
			tr.quiet()
			require.NoError(t, l.TruncateBack(2))
		}},
		{"reset", func(t *testing.T, l *Log, tr *traced) {
			require.NoError(t, l.Reset(100))
		}},
		{"sync", func(t *testing.T, l *Log, tr *traced) {
			_, err := l.AppendAsync([]byte("four"))
			require.NoError(t, err)
			require.NoError(t, l.Sync())
		}},
		{"idle-mark", func(t *testing.T, l *Log, tr *traced) {
			requireAppend(t, l, "four")
			tr.trace.Take()
			time.Sleep(time.Hour)
		}},
		{"close", func(t *testing.T, l *Log, tr *traced) {
			requireAppend(t, l, "four")
			tr.trace.Take()
			require.NoError(t, l.Close())
		}},
		{"close-idle", func(t *testing.T, l *Log, tr *traced) {
			require.NoError(t, l.Close())
		}},
		{"reads", func(t *testing.T, l *Log, tr *traced) {
			tr.trace.Also(vfs.ReadAt, vfs.Open, vfs.Stat, vfs.List)
			_, err := l.Read(2, nil)
			require.NoError(t, err)
			requireHolds(t, l, 1, "one", "two", "three")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := newTraced(vfs.NewMem())
				l := openWith(t, Options{FS: tr, SegmentSize: 16 << 10})
				requireAppend(t, l, "one", "two", "three")
				tr.quiet()
				c.do(t, l, tr)
				golden(t, c.name, tr.calls())
			})
		})
	}
}

// TestCallsOfOpen writes down the calls of Open, with those that read.
func TestCallsOfOpen(t *testing.T) {
	closed := func(t *testing.T) *vfs.Mem {
		m := vfs.NewMem()
		l := openOn(t, m)
		requireAppend(t, l, "one", "two", half)
		synctest.Wait()
		require.NoError(t, l.Close())
		return m
	}
	for _, c := range []struct {
		name string
		mem  func(t *testing.T) *vfs.Mem
	}{
		{"open-new", func(*testing.T) *vfs.Mem { return vfs.NewMem() }},
		{"open-closed", closed},
		{"open-torn", func(t *testing.T) *vfs.Mem { return tear(t, vfs.NewCrash(512)) }},
		{"open-killed", func(t *testing.T) *vfs.Mem {
			m := vfs.NewMem()
			l := openOn(t, m)
			requireAppend(t, l, "one", "two", half)
			synctest.Wait()
			image := m.Clone()
			require.NoError(t, l.Close())
			return image
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := newTraced(c.mem(t))
				tr.trace.Also(vfs.ReadAt, vfs.Open, vfs.List, vfs.Lock)
				tr.quiet()
				openOn(t, tr)
				golden(t, c.name, tr.calls())
			})
		})
	}
}
