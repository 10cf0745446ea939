package fuzz_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/fuzz/refdecoder"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// dirAllowance is what an open log allocates whatever it reads, in bytes: buffers for
// what is ordered, and the segment that the next append needs.
const dirAllowance = 512 << 10

// FuzzOpenDir opens directories with arbitrary files of arbitrary names, most of them
// made from those of a log. how: bits 0 and 1 the mode, bits 2 to 4 what else is asked,
// bits 5 and 6 how the log goes on.
func FuzzOpenDir(f *testing.F) {
	f.Fuzz(func(t *testing.T, how byte, data []byte) {
		list := bases(t)
		bubble(t, 'd', func(t *testing.T) {
			p := &tape{data}
			d := newDirImage(list[p.below(len(list))])
			for n := 0; n < 16 && !p.done(); n++ {
				editDir(p, d, list)
			}
			d.explain(t)
			openDir(t, d.mem(t), how, len(d.dirs) > 0)
		})
	})
}

// oddNames are names that something may have in a log's directory.
var oddNames = []string{"FRONT.tmp", "front", "LOCK", ".seg", ".tmp", "x.seg", "0000000000000000.seg", "000000000000000A.seg",
	"00000000000000001.seg", "7fffffffffffffff.seg", "0000000000000002.seg.tmp", "0000000000000002.quarantined", "lost+found", "a\x00b", "ü.seg", "FRONT.quarantined"}

// name returns the name of a file.
func (p *tape) name() string {
	switch n := p.below(16); {
	case n < 2:
		return segment.FrontName
	case n < 9:
		return segment.Name(uint64(1 + p.below(9)))
	case n == 9:
		return segment.Name(max(1, p.value(5)))
	case n == 10:
		return strings.TrimSuffix(segment.Name(uint64(1+p.below(9))), segment.Ext) + segment.TempExt
	case n == 11:
		return strings.TrimSuffix(segment.Name(uint64(1+p.below(9))), segment.Ext) + segment.QuarantinedExt
	case n < 15:
		return oddNames[p.below(len(oddNames))]
	}
	raw := strings.Map(func(r rune) rune {
		if r == '/' || r == '\\' {
			return '_'
		}
		return r
	}, string(p.take(1+p.below(24))))
	if raw == "" || raw == "." || raw == ".." {
		return "x"
	}
	return raw
}

// editDir changes one thing.
func editDir(p *tape, d *dirImage, list []*base) {
	names := d.names()
	pick := func() string {
		if len(names) == 0 {
			return ""
		}
		return names[p.below(len(names))]
	}
	switch p.below(10) {
	case 0: // any bytes
		d.set(p.name(), p.take(p.below(4200)))
	case 1: // a file of a log, or a part of it
		b := list[p.below(len(list))]
		data := b.files[b.names[p.below(len(b.names))]]
		if p.below(4) == 3 {
			data = data[:min(len(data), p.below(9000))]
		}
		d.set(p.name(), data)
	case 2: // made ready
		h := workedHeader(units[p.below(len(units))])
		h.ID, h.Size = uint64(1+p.below(9)), wal.MinSegmentSize
		if front, _, err := segment.DecodeFront(d.files[segment.FrontName], ""); err == nil {
			h.Log = front.Log
		}
		d.set(segment.Name(h.ID), append(h.Encode(), make([]byte, h.Size-4096)...))
	case 3:
		delete(d.files, pick())
	case 4: // renamed
		from := pick()
		to := p.name()
		if data, ok := d.files[from]; ok {
			delete(d.files, from)
			d.set(to, data)
		}
	case 5: // another name, or a directory
		if from := pick(); p.below(4) > 0 && from != "" {
			d.links[p.name()] = from
		} else {
			d.dirs = append(d.dirs, p.name())
		}
	default:
		if name := pick(); name != "" {
			editFile(p, d, name)
		}
	}
}

// editFile changes a file: some bytes, or a field, of which the sums may be made right.
func editFile(p *tape, d *dirImage, name string) {
	b := d.edit(name)
	keep := -1
	off := p.below(max(1, len(b)))
	switch p.below(12) {
	case 0:
		copy(b[off:], p.take(1+p.below(16)))
	case 1:
		if len(b) > 0 {
			b[off] ^= 1 << p.below(8)
		}
	case 2:
		off &^= 511
		clear(b[off:min(len(b), off+512*(1+p.below(3)))])
	case 3:
		d.files[name] = b[:off]
	case 4:
		d.files[name] = append(b, make([]byte, p.below(9000))...)
	case 5: // a sector of another place
		from := p.below(max(1, len(b)))
		copy(b[off&^511:min(len(b), off&^511+512)], b[from&^511:])
	case 6, 7: // a field of both copies, or slots
		keep = 0
		at, size := 8*p.below(16), 2048
		if name == segment.FrontName {
			size = 4096
		}
		both := p.below(4)
		for n := range 2 {
			if both != n+2 && n*size+at+8 <= len(b) {
				le.PutUint64(b[n*size+at:], p.value(le.Uint64(b[n*size+at:])))
			}
		}
	default: // a field of a group or of a frame
		if places := structure(b); len(places) > 0 {
			at := places[p.below(len(places))] + 8*p.below(8)
			if at+8 <= len(b) {
				le.PutUint64(b[at:], p.value(le.Uint64(b[at:])))
			}
			keep = p.below(12) - 4
		}
	}
	if keep >= 0 {
		d.pressed(name, keep&7)
	}
}

// structure returns where groups and frames begin in a segment.
func structure(file []byte) (places []int) {
	for off := 4096; off+64 <= len(file) && file[off+3] >= 0x80; {
		places = append(places, off)
		n := 8 * int64(le.Uint32(file[off+8:]))
		if n < 64 || int64(off)+n > int64(len(file)) {
			break
		}
		for at := off + 64; at+16 <= off+int(n); {
			size := int64(le.Uint32(file[at:]))
			if file[at+3] >= 0x80 || int64(at)+16+size > int64(off)+n || le.Uint64(file[at:]) == 0 {
				break
			}
			places = append(places, at)
			at += int(16 + (size+7)&^7)
		}
		off += int(n)
	}
	return places
}

// used returns the sum of the sizes of all files.
func used(mem *vfs.Mem) int { return int(mem.Used()) }

// openDir examines and opens what is in mem, in more ways than one.
func openDir(t *testing.T, mem *vfs.Mem, how byte, dirs bool) {
	o := wal.Options{Recovery: []wal.RecoveryMode{wal.Strict, wal.Strict, wal.Paranoid, wal.PointInTime}[how&3]}
	before := mem.Hash()
	var plan *recovery.Plan
	var err error
	bounded(t, used(mem), dirAllowance, func() {
		plan, err = recovery.Examine(recovery.Config{FS: mem, Dir: corpusDir, Full: true, Mode: o.Recovery})
	})
	require.Equal(t, before, mem.Hash(), "a look changed something")
	var whole bool // all of it verifies
	if err == nil {
		whole = plan.Refusal() == nil && len(plan.Report.Corruptions) == 0
		again, err := recovery.Examine(recovery.Config{FS: mem, Dir: corpusDir, Full: true, Mode: o.Recovery})
		require.NoError(t, err)
		require.Equal(t, plan.Report.String(), again.Report.String(), "two looks differ")
		if plan.Refusal() != nil {
			understood(t, plan.Refusal())
		}
	} else if !dirs {
		understood(t, err)
	}
	viewed := viewDir(t, mem, o, dirs)
	require.Equal(t, before, mem.Hash(), "reading changed something")

	left := mem.Clone()
	locked := hasName(t, left, segment.LockName)
	var l *wal.Log
	if how&4 != 0 {
		bounded(t, used(mem), dirAllowance, func() {
			if l != nil {
				_ = l.Close()
			}
			left = mem.Clone()
			l, err = openLog(t, left, o)
		})
	} else {
		l, err = openLog(t, left, o)
	}
	if err != nil {
		refusedDir(t, err, left, before, locked, dirs)
		if o.Recovery == wal.PointInTime {
			require.False(t, errors.Is(err, wal.ErrCorrupt), "PointInTime gives up what is damaged: %v", err)
		}
		require.True(t, plan == nil || plan.Refusal() != nil || dirs || !plan.Exists || errors.Is(err, wal.ErrVersion), "verify finds nothing, and Open: %v", err)
		return
	}
	s := lookAt(t, l)
	require.NotZero(t, s.view.First, "no record has that LSN")
	require.False(t, plan != nil && whole && s.err != nil, "verify finds nothing, and reading: %v", s.err)
	if o.Recovery == wal.PointInTime {
		require.NoError(t, s.err, "PointInTime has verified all")
	}
	if !dirs {
		isReference(t, left, l, s, whole)
	}
	if viewed != nil && viewed.err == nil && s.err == nil {
		require.Equal(t, viewed.view, s.view, "a read-only log is another")
	}
	if how&8 != 0 && !dirs {
		full := mem.Clone()
		full.SetLimit(full.Used())
		noSpace(t, full, o, s)
	}
	if !dirs {
		goesOn(t, left, l, s, how>>5)
	}
}

func hasName(t *testing.T, mem *vfs.Mem, name string) bool {
	t.Helper()
	names, err := mem.List(corpusDir)
	require.NoError(t, err)
	return slices.Contains(names, name)
}

// refusedDir fails t unless err is understood and nothing was changed, but for the lock.
func refusedDir(t *testing.T, err error, left *vfs.Mem, before uint64, locked, dirs bool) {
	t.Helper()
	if dirs {
		return
	}
	understood(t, err)
	if !locked && hasName(t, left, segment.LockName) {
		require.NoError(t, left.Remove(filepath.Join(corpusDir, segment.LockName)))
	}
	require.Equal(t, before, left.Hash(), "refused, and changed: %v", err)
}

// viewDir opens the directory for reading. It returns nil if it is not opened.
func viewDir(t *testing.T, mem *vfs.Mem, o wal.Options, dirs bool) *seen {
	t.Helper()
	o.ReadOnly = true
	l, err := openLog(t, mem, o)
	if err != nil {
		if !dirs {
			understood(t, err)
		}
		return nil
	}
	s := lookAt(t, l)
	require.NoError(t, l.Close())
	return &s
}

// noSpace opens the log where there is no room for anything: it is what it is where
// there is.
func noSpace(t *testing.T, full *vfs.Mem, o wal.Options, want seen) {
	t.Helper()
	l, err := openLog(t, full, o)
	if err != nil { // there is no FRONT yet, or what is given up must be named
		if o.Recovery != wal.PointInTime && hasName(t, full, segment.FrontName) {
			require.NoError(t, err, "without space")
		}
		return
	}
	got := lookAt(t, l)
	require.Equal(t, want.err == nil, got.err == nil)
	if want.err == nil {
		require.Equal(t, want.view, got.view, "without space it is another log")
	}
	require.NoError(t, l.Close())
}

// FuzzRecoverStructured damages a valid log, and opens it. The second decoder says what
// must become of it. how: bits 0 to 2 the log; bit 3: sums are made right again; bits 4
// to 6 how it goes on; bit 7: in mode PointInTime.
func FuzzRecoverStructured(f *testing.F) {
	f.Fuzz(func(t *testing.T, how byte, data []byte) {
		list := bases(t)
		bubble(t, 'r', func(t *testing.T) {
			p := &tape{data}
			d := newDirImage(list[int(how&7)%len(list)])
			for n := 0; n < 6 && !p.done(); n++ {
				spoil(p, d, how&8 != 0)
			}
			d.explain(t)
			recoverDamaged(t, d, how)
		})
	})
}

// damage does to a file of the log what a disk, or its owner, may do; or, if forge is
// set, what neither would: then sums hold.
func spoil(p *tape, d *dirImage, forge bool) {
	names := d.names()
	names = slices.DeleteFunc(names, func(name string) bool { return name == segment.LockName })
	if len(names) == 0 {
		return
	}
	name := names[p.below(len(names))]
	if forge {
		editFile(p, d, name)
		return
	}
	b := d.edit(name)
	places := structure(b)
	off := p.below(max(1, len(b)))
	if len(places) > 0 && off%4 > 0 { // most damage is in what is used
		off = min(len(b)-1, places[off/4%len(places)]+p.below(80))
	}
	if len(b) == 0 {
		return
	}
	switch p.below(10) {
	case 0, 1, 2, 3:
		b[off] ^= 1 << p.below(8)
	case 4, 5:
		copy(b[off:], p.take(1+p.below(16)))
	case 6:
		off &^= 511
		clear(b[off:min(len(b), off+512*(1+p.below(3)))])
	case 7:
		from := p.below(max(1, len(b)))
		copy(b[off&^511:min(len(b), off&^511+512)], b[from&^511:])
	case 8:
		d.files[name] = b[:off]
	case 9:
		if p.below(4) == 0 {
			delete(d.files, name)
		} else {
			d.files[name] = append(b, make([]byte, p.below(600))...)
		}
	}
}

// must is what the second decoder says of a damaged log.
type must struct {
	known  bool // it can tell
	refuse bool // by a full verification
	last   wal.LSN
	why    string
}

// judge looks at the files of a log, which did not run ahead of its syncs and of which
// nothing was forged, as recovery does when it verifies all.
func (d *dirImage) judge() (m must) {
	front, _, v := refdecoder.DecodeFront(d.files[segment.FrontName])
	if _, ok := d.files[segment.FrontName]; !ok || v != refdecoder.Valid {
		return must{known: v != refdecoder.Newer, refuse: len(d.files) > 1 || ok, why: "FRONT"}
	}
	var ids []uint64
	for name := range d.files {
		if id, ok := segment.ParseName(name); ok && id >= front.Oldest {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	if len(ids) == 0 {
		return must{known: true, refuse: front.Newest > 0, why: "the newest is gone", last: wal.LSN(front.First) - 1}
	}
	at := ids[len(ids)-1]
	file := d.files[segment.Name(at)]
	h, hv := refdecoder.DecodeHeader(file)
	o, ov := refdecoder.DecodeOpening(file, h)
	if hv != refdecoder.Valid || ov != refdecoder.Valid || at < front.Newest {
		return m
	}
	least := h.Size
	if front.Trimmed == at {
		least = int64(front.Length)
	}
	s := refdecoder.ScanSegment(file, h)
	m = must{known: true, last: wal.LSN(s.Last)}
	switch {
	case s.X < s.W:
		m.refuse, m.why = true, "X is below W"
	case s.Sealed:
		m.refuse, m.why = true, "the last one is sealed"
	case int64(len(file)) < least:
		m.refuse, m.why = true, "it was cut off"
	}
	for o.ID != 0 && o.ID >= front.Oldest && !m.refuse {
		m.refuse, m.why = true, segment.Name(o.ID)
		file, ok := d.files[segment.Name(o.ID)]
		if !ok {
			return m
		}
		h, hv := refdecoder.DecodeHeader(file)
		before, ov := refdecoder.DecodeOpening(file, h)
		if hv != refdecoder.Valid || ov != refdecoder.Valid || h.Salt != o.Salt || int64(len(file)) < o.Length {
			return m
		}
		s := refdecoder.ScanSegment(file[:o.Length], h)
		if s.X != o.Length {
			return m
		}
		m.refuse, o = false, before
	}
	if m.last+1 < wal.LSN(front.First) {
		m.last = wal.LSN(front.First) - 1
	}
	return m
}

// recoverDamaged opens what is left of a log and holds it against what it was and what
// the second decoder says.
func recoverDamaged(t *testing.T, d *dirImage, how byte) {
	b, forged := d.base, how&8 != 0
	if !slices.ContainsFunc(d.names(), func(name string) bool { return name != segment.LockName }) {
		return // a new log
	}
	mem := d.mem(t)
	before := mem.Hash()
	o := wal.Options{}
	if how&128 != 0 {
		o.Recovery = wal.PointInTime
	}
	plan, err := recovery.Examine(recovery.Config{FS: mem, Dir: corpusDir, Full: true, Mode: o.Recovery})
	require.Equal(t, before, mem.Hash(), "a look changed something")
	if err != nil {
		require.True(t, errors.Is(err, wal.ErrVersion), "%v", err)
	}
	left := mem.Clone()
	l, openErr := openLog(t, left, o)
	strict := o.Recovery == wal.Strict
	if want := d.judge(); strict && !forged && !b.ahead && want.known && err == nil && len(plan.Report.Flipped) == 0 {
		require.Equal(t, want.refuse, plan.Refusal() != nil, "%s: %v", want.why, plan.Refusal())
		if !want.refuse {
			require.NoError(t, openErr)
			require.Equal(t, want.last, l.LastLSN())
		}
	}
	if openErr != nil {
		require.True(t, err != nil || plan.Refusal() != nil || errors.Is(openErr, wal.ErrVersion) || errors.Is(openErr, fs.ErrNotExist), "verify finds nothing, and Open: %v", openErr)
		require.False(t, !strict && errors.Is(openErr, wal.ErrCorrupt), "PointInTime: %v", openErr)
		refusedDir(t, openErr, left, before, true, false)
		return
	}
	whole := err == nil && plan.Refusal() == nil
	if forged && !whole { // by a forged length, say, scans and point reads may end a segment elsewhere
		scanAll(t, l)
		return
	}
	s := lookAt(t, l)
	require.NotZero(t, s.view.First, "no record has that LSN")
	if whole {
		require.NoError(t, s.err, "verify finds nothing, and there should be %d to %d in %v: %s", s.view.First, s.last, l.Segments(), s.report)
	}
	isReference(t, left, l, s, whole && len(plan.Report.Corruptions) == 0)
	if !forged {
		isPrefix(t, b, s, strict)
	}
	if err == nil && plan.Last != nil && plan.Last.End == segment.HeaderSize { // an opening of which all sums hold but the group's
		require.True(t, forged)
		return
	}
	if forged && plan.NextID > segment.MaxID-8 { // FRONT knows of an id behind which few are left
		return
	}
	goesOn(t, left, l, s, how>>4)
}

// isPrefix fails t unless what a log shows is what it was, up to some record.
func isPrefix(t *testing.T, b *base, s seen, strict bool) {
	t.Helper()
	want := b.view
	if strict || s.view.First == want.First {
		require.Equal(t, want.First, s.view.First)
	}
	if strict {
		require.LessOrEqual(t, s.last, want.Last())
	}
	for i, r := range s.view.Records {
		lsn := s.view.First + wal.LSN(i)
		switch {
		case strict:
			require.Equal(t, want.Records[lsn-want.First], r, "record %d", lsn)
		case lsn < want.First || lsn > want.Last() || want.Records[lsn-want.First] != r:
			// FRONT was lost, or the opening that had ended a segment: what was dropped
			// cannot be told from what was not.
			require.True(t, b.ever[everKey(lsn, r)], "record %d: %q was never there", lsn, r)
		}
	}
	if s.err == nil && s.last == want.Last() && s.view.First == want.First && strict {
		require.Equal(t, want.Meta, s.view.Meta)
	}
}
