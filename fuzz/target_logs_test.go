package fuzz_test

import (
	"bytes"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/fuzz"
	"github.com/seed3918b8df/tidemark/fuzz/refdecoder"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// seeded is a source of random numbers that is the same each time.
type seeded struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func (s *seeded) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(p)
}

// bubble runs fn, which opens logs, with the same random numbers and at the same time
// each time. It ends when all goroutines have: what is left running is a failure.
func bubble(t *testing.T, seed byte, fn func(t *testing.T)) {
	t.Helper()
	old := crand.Reader
	defer func() { crand.Reader = old }()
	crand.Reader = &seeded{r: rand.NewChaCha8([32]byte{seed})}
	watch(t, func() { synctest.Test(t, fn) })
}

// base is a small log that targets begin with, and what is in it.
type base struct {
	ops   string
	mem   *vfs.Mem
	files map[string][]byte
	names []string // of the files, sorted
	view  fuzz.View
	ever  map[string]bool // "LSN data" of every record in the files, also of those that were dropped
	ahead bool            // it ran ahead of its syncs: not every segment but the last is proved
}

// baseScripts are the logs, as operations of a [fuzz.Script]. No truncation is the last
// thing that was done, or damage to it brought back what it dropped.
var baseScripts = []struct {
	ops  string
	sync wal.SyncPolicy
}{
	{"aAm", wal.SyncAlways},                // one segment, of which nothing proves the last group
	{"aAmyc", wal.SyncAlways},              // closed
	{"aAmyrAAeBmAfarmAam", wal.SyncAlways}, // several segments, cut and truncated
	{"aAmyrAtAAmfaUaAmc", wal.SyncAlways},  // a reset, and closed
	{"aAwrAAmrwAm", wal.SyncNone},          // ran ahead over rotations
	{"aAAAAAykAmka", wal.SyncAlways},       // the process died twice
	{"xFaxm", wal.SyncAlways},              // emptied
	{"", wal.SyncAlways},                   // empty
}

func everKey(lsn wal.LSN, data string) string { return fmt.Sprint(lsn, " ", data) }

var builtBases []*base

// bases returns the logs, the same ones each time.
func bases(t *testing.T) []*base {
	t.Helper()
	if builtBases != nil {
		return builtBases
	}
	var list []*base
	for n, s := range baseScripts {
		bubble(t, byte(n+1), func(t *testing.T) {
			script := fuzz.Script{Ops: s.ops, Unit: 512, Seed: uint64(n), From: 1 << 20}
			script.Options.SegmentSize, script.Options.Sync = wal.MinSegmentSize, s.sync
			if n == 3 {
				script.Options.FirstLSN = 1000
			}
			disk := vfs.NewCrash(512)
			r := fuzz.NewRun(script, disk, fuzz.NewHistory(fuzz.View{First: max(1, script.Options.FirstLSN)}))
			require.NoError(t, r.Go())
			b := &base{ops: s.ops, view: r.History.Now(), ahead: s.sync != wal.SyncAlways, files: map[string][]byte{}}
			state := disk.State()
			b.mem = state.Image(state.Newest())
			r.End()
			names, err := b.mem.List(corpusDir)
			require.NoError(t, err)
			for _, name := range names {
				b.files[name] = readAll(t, b.mem, name)
			}
			b.names, b.ever = names, map[string]bool{}
			for _, file := range b.files {
				if h, v := refdecoder.DecodeHeader(file); v == refdecoder.Valid {
					for _, f := range refdecoder.ScanSegment(file, h).Frames {
						b.ever[everKey(wal.LSN(f.LSN), string(f.Data))] = true
					}
				}
			}
			list = append(list, b)
		})
	}
	builtBases = list
	return list
}

// dirImage is a directory in the making: files over those of a base.
type dirImage struct {
	base    *base
	files   map[string][]byte
	changed map[string]bool
	links   map[string]string // a second name, and of what
	dirs    []string
}

func newDirImage(b *base) *dirImage {
	d := &dirImage{base: b, files: map[string][]byte{}, changed: map[string]bool{}, links: map[string]string{}}
	for name, data := range b.files {
		d.files[name] = data
	}
	return d
}

// names returns the names of the files, sorted.
func (d *dirImage) names() []string {
	names := make([]string, 0, len(d.files))
	for name := range d.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// edit returns the content of a file, to be changed.
func (d *dirImage) edit(name string) []byte {
	if !d.changed[name] {
		d.files[name] = bytes.Clone(d.files[name])
		d.changed[name] = true
	}
	return d.files[name]
}

func (d *dirImage) set(name string, data []byte) {
	d.files[name], d.changed[name] = data, true
}

// mem returns the directory. Names that clash are left out.
func (d *dirImage) mem(t *testing.T) *vfs.Mem {
	t.Helper()
	mem := d.base.mem.Clone()
	for name := range d.base.files {
		if _, ok := d.files[name]; !ok {
			require.NoError(t, mem.Remove(filepath.Join(corpusDir, name)))
		}
	}
	for name, data := range d.files {
		if !d.changed[name] {
			continue
		}
		path := filepath.Join(corpusDir, name)
		f, err := mem.Open(path, vfs.ReadWrite)
		if err != nil {
			f, err = mem.Create(path)
		}
		require.NoError(t, err)
		require.NoError(t, f.Truncate(int64(len(data))))
		_, err = f.WriteAt(data, 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	for to, from := range d.links {
		_ = mem.Link(filepath.Join(corpusDir, from), filepath.Join(corpusDir, to))
	}
	for _, dir := range d.dirs {
		_ = mem.Mkdir(filepath.Join(corpusDir, dir))
	}
	return mem
}

// explain has t say, if it fails, how the directory differs from the base.
func (d *dirImage) explain(t *testing.T) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		t.Logf("log %v", d.base)
		for name := range d.base.files {
			if _, ok := d.files[name]; !ok {
				t.Logf("%s is gone", name)
			}
		}
		for name := range d.changed {
			data, old := d.files[name], d.base.files[name]
			t.Logf("%q: %d bytes, %d before", name, len(data), len(old))
			for n, off := 0, 0; off < len(data) && n < 12; off++ {
				if off >= len(old) && data[off] != 0 || off < len(old) && data[off] != old[off] {
					end := min(off+16, len(data))
					t.Logf("  %d: % x, before % x", off, data[off:end], old[min(off, len(old)):min(end, len(old))])
					n, off = n+1, off+15
				}
			}
		}
		t.Logf("links %v, directories %q", d.links, d.dirs)
	})
}

// pressed makes all sums of the file hold.
func (d *dirImage) pressed(name string, keep int) {
	b := d.edit(name)
	if name == segment.FrontName {
		for off := 0; off+4096 <= len(b) && off < 8192; off += 4096 {
			sumCopy(b[off:off+4096], int64(off))
		}
		return
	}
	if len(b) >= 2048 {
		sumCopy(b[:2048], -1)
		press(b, le.Uint64(b[56:]), keep)
	}
	if len(b) >= 4096 {
		sumCopy(b[2048:4096], -1)
	}
}

// seen is what a log shows of itself.
type seen struct {
	view   fuzz.View // what could be read, from the first record on
	last   wal.LSN
	err    error // why not all could be read
	report wal.Report
}

// cannotBeRead reports whether err is one of what a directory holds: damage, a newer
// version, or a directory where a segment should be.
func cannotBeRead(err error) bool {
	return errors.Is(err, wal.ErrCorrupt) || errors.Is(err, wal.ErrVersion) || errors.Is(err, syscall.EISDIR)
}

// lookAt reads all of l, in more ways than one. What cannot be read is [cannotBeRead]; all
// else fails t.
func lookAt(t *testing.T, l *wal.Log) seen {
	t.Helper()
	s := scanAll(t, l)
	readsAgree(t, l, s)
	return s
}

// scanAll is lookAt without point reads.
func scanAll(t *testing.T, l *wal.Log) seen {
	t.Helper()
	s := seen{view: fuzz.View{First: l.FirstLSN()}, last: l.LastLSN(), report: l.Recovery()}
	if meta := l.Meta(); meta != nil {
		s.view.Meta, s.view.HasMeta = string(meta), true
	}
	require.LessOrEqual(t, s.view.First, s.last+1)
	for r, err := range l.Records(s.view.First) {
		if err != nil {
			require.True(t, cannotBeRead(err), "records: %v", err)
			s.err = err
			break
		}
		require.Equal(t, s.view.Last()+1, r.LSN)
		s.view.Records = append(s.view.Records, string(r.Data))
	}
	if s.err == nil {
		require.Equal(t, s.last, s.view.Last())
	}
	return s
}

// readsAgree fails t unless point reads of l return what s has of its records.
func readsAgree(t *testing.T, l *wal.Log, s seen) {
	t.Helper()
	n := wal.LSN(len(s.view.Records))
	for _, lsn := range []wal.LSN{s.view.First, s.view.First + n/2, s.view.Last(), s.view.Last() + 1, s.last, s.last + 1} {
		data, err := l.Read(lsn, nil)
		switch {
		case lsn < s.view.First:
			require.ErrorIs(t, err, wal.ErrTruncated)
		case lsn > s.last:
			require.ErrorIs(t, err, wal.ErrNotFound)
		case lsn-s.view.First < n && (s.err == nil || err == nil): // damage may keep an index from being built
			require.NoError(t, err)
			require.Equal(t, s.view.Records[lsn-s.view.First], string(data), "record %d", lsn)
		case err != nil:
			require.True(t, cannotBeRead(err), "read: %v", err)
		}
	}
}

// isReference fails t unless every record that l showed is in the file of its segment
// as the second decoder reads it: all of them, if the log is whole. Else the last ones
// may be of a group of which only the sum of all does not hold, or an index led past
// what does not verify.
func isReference(t *testing.T, mem *vfs.Mem, l *wal.Log, s seen, whole bool) {
	t.Helper()
	list := l.Segments()
	next := s.view.First
	for i, info := range list {
		if !hasName(t, mem, filepath.Base(info.Path)) {
			names, _ := mem.List(corpusDir)
			t.Fatalf("the log consists of %v, and there is %q: %s", list, names, s.report)
		}
		file := readAll(t, mem, filepath.Base(info.Path))
		h, v := refdecoder.DecodeHeader(file)
		if v != refdecoder.Valid {
			continue // reading said so, or nothing of it was read
		}
		for _, f := range refdecoder.ScanSegment(file, h).Frames {
			lsn := wal.LSN(f.LSN)
			if lsn != next || next-s.view.First >= wal.LSN(len(s.view.Records)) || f.Off >= info.Size || i+1 < len(list) && list[i+1].First <= lsn && list[i+1].First > 0 {
				continue
			}
			require.Equal(t, s.view.Records[next-s.view.First], string(f.Data), "record %d in %s at %d", next, info.Path, f.Off)
			next++
		}
	}
	if whole && s.err == nil {
		require.Equal(t, s.view.Last()+1, next, "records that the second decoder does not find")
	}
}

// openLog opens the log in mem; it is closed when t ends.
func openLog(t *testing.T, mem *vfs.Mem, o wal.Options) (*wal.Log, error) {
	t.Helper()
	o.FS = mem
	if o.SegmentSize == 0 {
		o.SegmentSize = wal.MinSegmentSize
	}
	l, err := wal.Open(corpusDir, &o)
	if err == nil {
		t.Cleanup(func() { _ = l.Close() })
	}
	return l, err
}

// understood fails t unless err is one that bytes on a disk can lead to.
func understood(t *testing.T, err error) {
	t.Helper()
	var e *wal.CorruptError
	switch {
	case errors.As(err, &e):
		require.True(t, e.Path != "" && e.Offset >= 0 && e.Reason != "", "%v", err)
	case errors.Is(err, wal.ErrVersion), errors.Is(err, fs.ErrInvalid), errors.Is(err, fs.ErrNotExist):
	default:
		require.ErrorContains(t, err, "is not a log's directory")
	}
}

// goesOn appends to the log that l is, which showed s, ends it in one of two ways, and
// opens it again, twice.
func goesOn(t *testing.T, mem *vfs.Mem, l *wal.Log, s seen, how byte) {
	t.Helper()
	if s.last >= wal.MaxFirstLSN { // no log begins there
		return
	}
	want := s.view
	if how&1 != 0 {
		var b wal.Batch
		for _, r := range []string{"one", "", "three"} {
			b.Add([]byte(r))
			want = want.Append(r)
		}
		b.SetMeta([]byte("m"))
		want = want.WithMeta("m")
		first, err := l.AppendBatch(&b)
		require.NoError(t, err)
		require.Equal(t, s.last+1, first)
	}
	left := mem
	if how&2 != 0 {
		require.NoError(t, l.Close())
	} else {
		left = mem.Clone()
	}
	for n := range 2 {
		again, err := openLog(t, left, wal.Options{})
		require.NoError(t, err)
		got := lookAt(t, again)
		require.Equal(t, s.err == nil, got.err == nil, "%v, %v", s.err, got.err)
		if s.err == nil {
			require.Equal(t, want, got.view)
		}
		r := got.report
		require.True(t, how&3 == 1 && n == 0 || r.Tail == recovery.TailClean && r.Rewritten == 0, "the next Open still had to repair: %s", r)
		require.False(t, r.FrontDamaged)
		left = left.Clone()
		require.NoError(t, again.Close())
	}
}

func (b *base) String() string {
	return fmt.Sprintf("%q: %v", b.ops, b.view)
}
