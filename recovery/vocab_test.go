package recovery

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// room is how large the files of a dir are before they are sealed or cut.
const room = 16 << 10

// dir is the directory of a log that a test builds, damages, and has examined.
type dir struct {
	testing.TB
	fs    vfs.FS
	disk  vfs.FS // what fs is on, without its faults
	front segment.Front
}

// part is one segment of it.
type part struct {
	d    *dir
	w    *segment.Writer
	id   uint64
	ends []int64 // of groups, in order
}

func newDir(t testing.TB) *dir { return newDirOn(t, vfs.NewMem()) }

// newDirOn returns a log without segments whose first LSN is 1.
func newDirOn(t testing.TB, fsys vfs.FS) *dir {
	t.Helper()
	d := &dir{TB: t, fs: fsys, disk: fsys, front: segment.Front{Log: segment.LogID{7}, First: 1, Oldest: 1}}
	require.NoError(t, d.fs.Mkdir("log"))
	require.NoError(t, d.fs.SyncDir("."))
	require.NoError(t, segment.CreateFront(d.fs, "log", "log/FRONT", d.front))
	return d
}

// newFaultyDir returns one whose calls can be made to fail.
func newFaultyDir(t testing.TB) (*dir, *vfs.Faulty) {
	t.Helper()
	mem := vfs.NewMem()
	faulty := vfs.NewFaulty(mem)
	d := newDirOn(t, faulty)
	d.disk = mem
	return d, faulty
}

// ready adds a segment without an opening group.
func (d *dir) ready(id uint64) *part {
	d.Helper()
	w, err := segment.Create(d.fs, "log", segment.Header{Log: d.front.Log, ID: id, Salt: 100 + id, Unit: 8}, room, nil)
	require.NoError(d, err)
	return &part{d: d, w: w, id: id}
}

// data is what record lsn holds.
func data(lsn LSN) []byte {
	b := bytes.Repeat([]byte{byte(lsn)}, 600) // more than a sector
	copy(b, fmt.Sprintf("record %d", lsn))
	return b
}

// drafts returns a group of n records of which the first gets lsn, with meta
// before them unless it is "".
func drafts(lsn LSN, n int, meta string, more bool) []byte {
	buf := make([]byte, segment.GroupHeaderSize)
	if meta != "" {
		buf = segment.AppendDraft(buf, segment.TypeMeta, more, []byte(meta), segment.Hash([]byte(meta)))
	}
	for i := range n {
		b := data(lsn + LSN(i))
		buf = segment.AppendDraft(buf, segment.TypeRecord, more && i < n-1, b, segment.Hash(b))
	}
	return buf
}

// root adds a segment that follows nothing: an opening group with n records from
// base on.
func (d *dir) root(id uint64, base LSN, n int) *part {
	d.Helper()
	p := d.ready(id)
	require.NoError(d, p.w.Open(segment.Opening{Irregular: id}, nil, base, drafts(base, n, "", false), false))
	return p.wrote()
}

func (p *part) wrote() *part {
	p.ends = append(p.ends, p.w.Off())
	return p
}

// next adds a segment that follows p, with n records; nothing of it is synced.
func (p *part) next(id uint64, n int) *part {
	p.d.Helper()
	return p.pinned(p.w.End(), id, n)
}

// pinned adds a segment that ends p at pin.
func (p *part) pinned(pin segment.Pin, id uint64, n int) *part {
	p.d.Helper()
	q := p.d.ready(id)
	o := segment.Opening{Prev: pin, Irregular: id}
	if id == p.id+1 {
		first, err := segment.ReadFirst(p.w.File(), p.w.Path(), p.w.Header(), room)
		require.NoError(p.d, err)
		o.Irregular = first.Irregular
	}
	require.NoError(p.d, q.w.Open(o, nil, pin.Last+1, drafts(pin.Last+1, n, "", false), false))
	return q.wrote()
}

// at returns the pin that ends p behind record lsn, with everything durable.
func (p *part) at(lsn LSN) segment.Pin {
	p.d.Helper()
	first, err := segment.ReadFirst(p.w.File(), p.w.Path(), p.w.Header(), room)
	require.NoError(p.d, err)
	end, chain, err := segment.Locate(p.w.File(), p.w.Path(), p.w.Header(), first, p.w.Off(), lsn)
	require.NoError(p.d, err)
	return segment.Pin{ID: p.id, Salt: p.w.Header().Salt, Length: end, Durable: end, Chain: chain, Last: lsn}
}

// group adds a group of n records.
func (p *part) group(n int) *part {
	p.d.Helper()
	require.NoError(p.d, p.w.Write(drafts(p.w.Next(), n, "", false)))
	return p.wrote()
}

// batch adds a group of one batch, of meta and n records.
func (p *part) batch(meta string, n int) *part {
	p.d.Helper()
	require.NoError(p.d, p.w.Write(drafts(p.w.Next(), n, meta, true)))
	return p.wrote()
}

func (p *part) mark() *part {
	p.d.Helper()
	require.NoError(p.d, p.w.Mark(false))
	return p.wrote()
}

// clean adds the mark of Close.
func (p *part) clean() *part {
	p.d.Helper()
	require.NoError(p.d, p.w.Mark(true))
	return p.wrote()
}

func (p *part) sync() *part {
	p.d.Helper()
	require.NoError(p.d, p.w.Sync())
	return p
}

// seal seals p, behind which next stands.
func (p *part) seal(next *part) *part {
	p.d.Helper()
	require.NoError(p.d, p.w.Seal(segment.Pin{ID: next.id, Salt: next.w.Header().Salt}, 1))
	return p
}

// start returns the offset of the group with that number.
func (p *part) start(group int) int64 {
	if group == 0 {
		return segment.HeaderSize
	}
	return p.ends[group-1]
}

// setFront writes FRONT again.
func (d *dir) setFront(first LSN, oldest, newest uint64) *dir {
	d.Helper()
	return d.changeFront(func(f *segment.Front) { f.First, f.Oldest, f.Newest = first, oldest, newest })
}

func (d *dir) changeFront(change func(f *segment.Front)) *dir {
	d.Helper()
	file, err := d.fs.Open("log/FRONT", vfs.ReadWrite)
	require.NoError(d, err)
	defer file.Close()
	f, _, err := segment.ReadFront(file, "FRONT")
	require.NoError(d, err)
	to := f
	change(&to)
	require.NoError(d, f.Update(file, to))
	d.front = to
	return d
}

// change changes the bytes of [from, to) of a file of the log.
func (d *dir) change(name string, from, to int64, change func(b []byte)) *dir {
	d.Helper()
	file, err := d.fs.Open(filepath.Join("log", name), vfs.ReadWrite)
	require.NoError(d, err)
	defer file.Close()
	b := make([]byte, to-from)
	_, err = file.ReadAt(b, from)
	require.NoError(d, err)
	change(b)
	_, err = file.WriteAt(b, from)
	require.NoError(d, err)
	return d
}

// zero is a sector that never reached the disk; rot is one that no longer holds
// what it did, in more than one bit.
func (p *part) zero(from, to int64) *part {
	p.d.Helper()
	p.d.change(segment.Name(p.id), from, to, func(b []byte) { clear(b) })
	return p
}

func (p *part) rot(off int64) *part {
	p.d.Helper()
	p.d.change(segment.Name(p.id), off, off+1, func(b []byte) { b[0] ^= 0x55 })
	return p
}

// lose takes the groups from that number on away, as if they never reached the
// disk.
func (p *part) lose(group int) *part {
	p.d.Helper()
	return p.zero(p.start(group), room)
}

// tear takes the n-th sector away that the group with that number lies in, counted
// from 0, as far as the group does: it never reached the disk.
func (p *part) tear(group int, n int64) *part {
	p.d.Helper()
	from := p.start(group)
	begin := (from/512 + n) * 512
	return p.zero(max(from, begin), min(begin+512, p.ends[group]))
}

// cut cuts the file at size.
func (p *part) cut(size int64) *part {
	p.d.Helper()
	file, err := p.d.fs.Open(p.w.Path(), vfs.ReadWrite)
	require.NoError(p.d, err)
	defer file.Close()
	require.NoError(p.d, file.Truncate(size))
	return p
}

// trimmed has FRONT say that the file may be as short as size.
func (p *part) trimmed(size int64) *part {
	p.d.Helper()
	p.d.changeFront(func(f *segment.Front) { f.Trimmed, f.Length = p.id, size })
	return p
}

func (d *dir) remove(name string) *dir {
	d.Helper()
	require.NoError(d, d.fs.Remove(filepath.Join("log", name)))
	return d
}

func (p *part) remove() { p.d.remove(segment.Name(p.id)) }

// add adds a file of that name.
func (d *dir) add(name string) *dir {
	d.Helper()
	file, err := d.fs.Create(filepath.Join("log", name))
	require.NoError(d, err)
	_, err = file.WriteAt([]byte("something"), 0)
	require.NoError(d, err)
	require.NoError(d, file.Close())
	return d
}

func (d *dir) names() []string {
	d.Helper()
	names, err := d.fs.List("log")
	require.NoError(d, err)
	return names
}

// plan examines the directory in full and fails on any error. It does so twice, the second
// time with all segments scanned ahead, and expects the same.
func (d *dir) plan(mode Mode) *Plan {
	d.Helper()
	p, err := Examine(Config{FS: d.fs, Dir: "log", Mode: mode, Full: true})
	require.NoError(d, err)
	disk := cmp.Or(d.disk, d.fs)
	a, err := Examine(Config{FS: disk, Dir: "log", Mode: mode, Full: true, aheadLeast: 1})
	require.NoError(d, err)
	require.Equal(d, p.Report, a.Report)
	require.Equal(d, p.Refusal(), a.Refusal())
	require.Equal(d, p.all(), a.all())
	require.Equal(d, found(p), found(a))
	return p
}

// recovers examines the directory, expects rows of the table, oldest segment
// last as they are judged, the last LSN and steps, applies them, and expects
// that another examination finds the same log and no damage.
func (d *dir) recovers(rows string, last LSN, steps ...string) Report {
	d.Helper()
	p := d.plan(Strict)
	require.Nil(d, p.Refusal(), "%v", p.Report)
	require.Equal(d, rows, fmt.Sprint(p.Report.Rows))
	if p.Renew {
		ends := fmt.Sprintf("ends %s at %d", segment.Name(p.Pin.ID), p.Pin.Length)
		if n := len(steps); n > 0 && strings.HasPrefix(steps[n-1], "ends ") {
			ends, steps = steps[n-1], steps[:n-1]
		}
		steps = append(steps, fmt.Sprintf("open segment %d, which %s", p.NextID, ends))
	}
	require.Equal(d, steps, p.Steps())
	require.Equal(d, last, p.Report.Last)
	d.holds(p)
	d.applies(p)
	return p.Report
}

// applies applies p, and expects that what it found is there, and is all.
func (d *dir) applies(p *Plan) *Plan {
	d.Helper()
	require.NoError(d, p.Apply())
	again := d.plan(p.cfg.Mode)
	require.Nil(d, again.Refusal(), "%v", again.Report)
	require.Equal(d, found(p), found(again))
	d.holds(again)
	require.NoError(d, again.Apply())
	return again
}

// found is what a plan says that must not change when it is applied. Marks at the
// end come and go with the claims behind them.
func found(p *Plan) string {
	var frame int64
	if p.Last != nil {
		frame = p.Last.EndFrame
	}
	return fmt.Sprint(p.Front.First, p.Chain, p.Report.First, p.Report.Last, p.Next, p.Pin.ID, p.Pin.Salt, p.Pin.Last, frame, string(p.Meta))
}

// holds reads all records that p says the log has, and checks each.
func (d *dir) holds(p *Plan) {
	d.Helper()
	next := p.Report.First
	for i, id := range p.Chain {
		from, pin := d.pinOf(p, i)
		file, err := d.fs.Open(segment.Path("log", id), vfs.ReadOnly)
		require.NoError(d, err)
		h, err := segment.ReadHeader(file, "x", id)
		require.NoError(d, err)
		var sc segment.Scanner
		sc.Start(file, "x", h, pin)
		for step := sc.Next(); step != segment.StepEnd; step = sc.Next() {
			f := *sc.Frame()
			if step == segment.StepFrame && f.LSN != 0 && f.LSN >= from {
				require.Equal(d, next, f.LSN)
				require.True(d, bytes.Equal(data(f.LSN), f.Data), "LSN %d is %.20q", f.LSN, f.Data)
				next++
			}
		}
		require.NoError(d, file.Close())
	}
	require.Equal(d, p.Report.Last+1, next)
}

// pinOf returns the first LSN that counts in the i-th segment of the chain, and
// where it ends.
func (d *dir) pinOf(p *Plan, i int) (from LSN, end int64) {
	if i == len(p.Chain)-1 {
		return p.Report.First, p.Last.End
	}
	file, err := d.fs.Open(segment.Path("log", p.Chain[i+1]), vfs.ReadOnly)
	require.NoError(d, err)
	defer file.Close()
	h, err := segment.ReadHeader(file, "x", p.Chain[i+1])
	require.NoError(d, err)
	first, err := segment.ReadFirst(file, "x", h, room)
	require.NoError(d, err)
	require.Equal(d, p.Chain[i], first.Prev.ID)
	return p.Report.First, first.Prev.Length
}

// refuses examines the directory and expects that it is corrupt at a place, and
// that Apply then changes nothing.
func (d *dir) refuses(rows, name string, off int64, lsn LSN) *segment.CorruptError {
	d.Helper()
	p := d.plan(Strict)
	require.Equal(d, rows, fmt.Sprint(p.Report.Rows))
	return d.refused(p, name, off, lsn)
}

func (d *dir) refused(p *Plan, name string, off int64, lsn LSN) *segment.CorruptError {
	d.Helper()
	before := d.image()
	var at *segment.CorruptError
	require.ErrorAs(d, p.Refusal(), &at)
	require.ErrorIs(d, p.Refusal(), segment.ErrCorrupt)
	require.NotErrorIs(d, p.Refusal(), segment.ErrVersion)
	require.Equal(d, filepath.Join("log", name), at.Path, "%v", at)
	require.Equal(d, off, at.Offset, "%v", at)
	require.Equal(d, lsn, at.LSN, "%v", at)
	require.Contains(d, p.Report.Corruptions, at)
	require.Equal(d, p.Refusal(), p.Apply())
	require.Equal(d, before, d.image())
	return at
}

// fails examines the directory in each mode and expects an error of the file
// system, or a version's, and that nothing was changed.
func (d *dir) fails(want error, text string) {
	d.Helper()
	before := d.image()
	for n, mode := range []Mode{Strict, Paranoid, PointInTime, Strict} {
		p, err := Examine(Config{FS: d.fs, Dir: "log", Mode: mode, Full: true, aheadLeast: int64(n / 3)})
		require.Nil(d, p)
		require.ErrorIs(d, err, want)
		require.NotErrorIs(d, err, segment.ErrCorrupt)
		require.ErrorContains(d, err, text)
	}
	require.Equal(d, before, d.image())
}

// image is all that is in the directory.
func (d *dir) image() string {
	d.Helper()
	files := map[string]string{}
	names, err := d.disk.List("log")
	require.NoError(d, err)
	for _, name := range names {
		file, err := d.disk.Open(filepath.Join("log", name), vfs.ReadOnly)
		require.NoError(d, err)
		info, err := file.Stat()
		require.NoError(d, err)
		b := make([]byte, info.Size)
		if len(b) > 0 {
			_, err = file.ReadAt(b, 0)
			require.NoError(d, err)
		}
		files[name] = fmt.Sprintf("%d %x", len(b), bytes.TrimRight(b, "\x00"))
		require.NoError(d, file.Close())
	}
	var s []byte
	for _, name := range slices.Sorted(maps.Keys(files)) {
		s = fmt.Appendf(s, "%s %s\n", name, files[name])
	}
	return string(s)
}

// The steps of a plan, as it prints them.
func rewrites(p *part, from, to int64) string {
	return fmt.Sprintf("write %s from %d to %d again", segment.Name(p.id), from, to)
}
func ends(p *part, off int64) string { return fmt.Sprintf("ends %s at %d", segment.Name(p.id), off) }
func removes(p *part) string         { return "remove " + segment.Name(p.id) }

const syncsDir = "sync the directory"
