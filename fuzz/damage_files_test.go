package fuzz_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// sectorSize is what a disk writes whole or not at all.
const sectorSize = 512

// TestEverySectorIsFoundOrHarmless replaces every sector of every file, by zeros, by
// random bytes and by the sector before it.
func TestEverySectorIsFoundOrHarmless(t *testing.T) {
	random := make([]byte, sectorSize)
	_, _ = rand.NewChaCha8([32]byte{'s'}).Read(random)
	eachCorpus(t, func(t *testing.T, c *corpus, closed bool) {
		y := new(tally)
		var want [classes]int
		w := newDamageWorker(t, c)
		defer w.alarm.Stop()
		for _, name := range c.names {
			file := c.files[name]
			for off := 0; off < len(file); off += sectorSize {
				end := min(off+sectorSize, len(file))
				for what, bytes := range map[string][]byte{
					"zero": make([]byte, sectorSize), "random": random, "stale": file[max(0, off-sectorSize):],
				} {
					where := fmt.Sprintf("sector at %d of %s: %s", off, name, what)
					w.at(where)
					damaged := slices.Clone(file)
					copy(damaged[off:end], bytes)
					from, to := differing(file, damaged)
					e := expectation{class: whole, last: c.last}
					if from < to {
						e = c.expectDamage(name, from, to)
					}
					o := w.replace(name, damaged)
					want[e.class]++
					y.add(o, where, e.check(name, o))
				}
			}
		}
		y.require(t, want)
	})
}

// differing returns the offsets that a and b, of the same size, differ between.
func differing(a, b []byte) (from, to int64) {
	for n := range a {
		if a[n] != b[n] {
			if to == 0 {
				from = int64(n)
			}
			to = int64(n) + 1
		}
	}
	return from, to
}

// require holds what was seen against what was expected.
func (y *tally) require(t *testing.T, want [classes]int) {
	t.Helper()
	t.Log(y)
	for _, bad := range y.bad {
		t.Error(bad)
	}
	require.Zero(t, y.bads)
	require.Equal(t, want, y.class, "opened whole, opened short, refused")
}

// fileDamage is damage to whole files of a log.
type fileDamage struct {
	what  string
	do    func(files map[string][]byte)
	class class
	rows  string // of the decision table, that must be among those reached
}

// fileDamages lists what may happen to the files of c, which is not changed.
func fileDamages(c *corpus, foreign map[string][]byte) []fileDamage {
	const front = "FRONT"
	a, b, z := c.names[0], c.names[1], c.newest
	remove := func(names ...string) func(map[string][]byte) {
		return func(files map[string][]byte) {
			for _, name := range names {
				delete(files, name)
			}
		}
	}
	set := func(name string, data []byte) func(map[string][]byte) {
		return func(files map[string][]byte) { files[name] = data }
	}
	swap := func(x, y string) func(map[string][]byte) {
		return func(files map[string][]byte) { files[x], files[y] = files[y], files[x] }
	}
	edit := func(name string, fn func(data []byte)) func(map[string][]byte) {
		return func(files map[string][]byte) {
			files[name] = slices.Clone(files[name])
			fn(files[name])
		}
	}
	longer := func(name string, more ...byte) func(map[string][]byte) {
		return func(files map[string][]byte) { files[name] = append(slices.Clone(files[name]), more...) }
	}
	list := []fileDamage{
		{"nothing", func(map[string][]byte) {}, whole, ""},
		{"LOCK gone", remove("LOCK"), whole, ""},
		{"FRONT gone", remove(front), refused, ""},
		{"the oldest gone", remove(a), refused, "@B"},
		{"the middle one gone", remove(b), refused, "@B"},
		{"the newest gone", remove(z), refused, "@B @D"},
		{"two gone", remove(b, z), refused, "@B @D"},
		{"the oldest two gone", remove(a, b), refused, "@B"},
		{"all segments gone", remove(a, b, z), refused, "@B"},
		{"the newest under a higher name too", set("0000000000000009.seg", c.files[z]), refused, "@C"},
		{"the newest renamed to a higher name", func(files map[string][]byte) {
			files["0000000000000009.seg"] = files[z]
			delete(files, z)
		}, refused, "@C"},
		{"the newest under a dead name too", set("0000000000000004.seg", c.files[z]), whole, ""},
		{"the oldest under a dead name too", set("0000000000000001.seg", c.files[a]), whole, ""},
		{"FRONT under another name too", set("FRONT.copy", c.files[front]), whole, ""},
		{"a temporary file", set("0000000000000007.tmp", c.files[z]), whole, ""},
		{"the oldest two swapped", swap(a, b), refused, "@C"},
		{"the newest two swapped", swap(b, z), refused, "@C"},
		{"the oldest and the newest swapped", swap(a, z), refused, "@C"},
		{"both copies of a header zero", edit(b, func(f []byte) { clear(f[:4096]) }), refused, "@C"},
		{"both copies of the newest header zero", edit(z, func(f []byte) { clear(f[:4096]) }), refused, "@C"},
		{"one bit in both copies", edit(a, func(f []byte) { f[100] ^= 1; f[2148] ^= 1 }), refused, "@C"},
		{"both slots of FRONT", edit(front, func(f []byte) { f[100] ^= 1; f[4196] ^= 1 }), refused, ""},
		{"one slot of FRONT zero", edit(front, func(f []byte) { clear(f[:4096]) }), whole, ""},
		{"the other slot of FRONT zero", edit(front, func(f []byte) { clear(f[4096:]) }), whole, ""},
		{"FRONT longer", longer(front, 1, 2, 3), whole, ""},
		{"the oldest longer", longer(a, 1, 2, 3), whole, ""},
		{"the middle one longer", longer(b, 1, 2, 3), whole, ""},
		{"the newest longer", longer(z, 1, 2, 3), whole, ""},
		{"the newest longer by zeros", longer(z, make([]byte, 4096)...), whole, ""},
		{"a directory listing with a stray", set("notes.txt", []byte("x")), whole, ""},
	}
	for _, name := range c.names {
		row := "@C"
		if name == front {
			row = ""
		}
		list = append(list, fileDamage{name + " empty", set(name, nil), refused, row},
			fileDamage{name + " zero", edit(name, func(f []byte) { clear(f) }), refused, row},
			fileDamage{name + " of another log", set(name, foreign[name]), refused, row})
	}
	for _, name := range []string{a, b} { // as it was before its last groups were written
		l := c.layouts[name]
		for _, p := range l.pieces {
			if p.header && p.from > 4096 && p.from < l.end {
				list = append(list, fileDamage{fmt.Sprintf("%s as it was when it ended at %d", name, p.from),
					edit(name, func(f []byte) { clear(f[p.from:]) }), refused, "@J"})
			}
		}
	}
	return list
}

// TestDamagedFilesAreFoundOrHarmless deletes, duplicates, renames, swaps and replaces
// files of the log.
func TestDamagedFilesAreFoundOrHarmless(t *testing.T) {
	eachCorpus(t, func(t *testing.T, c *corpus, closed bool) {
		y := new(tally)
		var want [classes]int
		for _, d := range fileDamages(c, foreignFiles(t)) {
			files := maps.Clone(c.files)
			d.do(files)
			mem := memOf(t, files)
			before := mem.Hash()
			w := newDamageWorker(t, c)
			w.mem, w.now = mem, nil
			w.at(d.what)
			o := w.observe("", c.first, c.last)
			w.alarm.Stop()
			e := expectation{class: d.class, last: c.last}
			bad := o.wrong
			switch {
			case bad != "":
			case o.class != d.class:
				bad = fmt.Sprintf("%v, want %v", o.class, d.class)
			case o.class == refused && o.byFull == nil:
				bad = "full verification finds nothing"
			case o.class == refused && o.byOpen == nil && o.byScan == nil && o.byRead == nil:
				bad = "neither Open nor reading finds anything"
			case o.byOpen != nil && mem.Hash() != before && files["LOCK"] != nil:
				bad = "Open has changed something, and failed"
			}
			for row := range strings.FieldsSeq(d.rows) {
				if !slices.Contains(o.rows, row) && bad == "" {
					bad = fmt.Sprintf("rows %v, want %s", o.rows, d.rows)
				}
			}
			want[e.class]++
			y.add(o, d.what, bad)
		}
		y.require(t, want)
		for _, row := range []string{"@B", "@C", "@D", "@J"} {
			require.NotZero(t, y.rows[row], "row %s was not reached", row)
		}
	})
}

// memOf returns a file system with these files.
func memOf(t *testing.T, files map[string][]byte) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	require.NoError(t, mem.Mkdir(corpusDir))
	for name, data := range files {
		file, err := mem.Create(filepath.Join(corpusDir, name))
		require.NoError(t, err)
		if len(data) > 0 {
			_, err = file.WriteAt(data, 0)
			require.NoError(t, err)
		}
		require.NoError(t, file.Close())
	}
	return mem
}

// foreignFiles returns the files of another log with the same names.
func foreignFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for name, data := range buildCorpus(t, 'f').closed.files {
		files[name] = data
	}
	return files
}

// TestEveryRefusingRowIsReached reaches each row of the decision table that refuses,
// by damage of one kind each.
func TestEveryRefusingRowIsReached(t *testing.T) {
	_, c := corpora(t)
	w := newDamageWorker(t, c)
	defer w.alarm.Stop()
	l := c.layouts[c.newest]
	data := func(name string, typ byte) int64 { // offset of the data of a frame that is proved
		for _, p := range c.layouts[name].pieces {
			if !p.header && p.typ == typ {
				return p.from + 16
			}
		}
		return 0
	}
	reached := map[string]int{}
	reach := func(row string, o outcome) {
		t.Helper()
		require.Equal(t, refused, o.class, "%s: %v", row, o)
		require.Contains(t, o.rows, row)
		reached[row]++
	}
	reach("@E", w.flip(c.newest, l.pieces[len(l.pieces)-4].from, 0))
	reach("@J", w.flip(c.names[0], data(c.names[0], 1), 0))
	reach("@N", w.flip(c.newest, data(c.newest, 3), 0))
	reach("@C", w.replace(c.newest, make([]byte, len(c.files[c.newest]))))
	for row, name := range map[string]string{"@B": c.names[1], "@D": c.newest} {
		files := maps.Clone(c.files)
		delete(files, name)
		gone := newDamageWorker(t, c)
		gone.mem, gone.now = memOf(t, files), nil
		reach(row, gone.observe("", c.first, c.last))
		gone.alarm.Stop()
	}
	reached["@A"] = unreadable(t, c)
	t.Log(reached)
	for _, row := range recovery.Labels() {
		if slices.Contains([]string{"@A", "@B", "@C", "@D", "@E", "@J", "@N"}, row) {
			require.NotZero(t, reached[row], "row %s was not reached", row)
		}
	}
}

// unreadable fails every call of an Open and of a full verification that only
// reads, one in each run, and returns how many there were.
func unreadable(t *testing.T, c *corpus) (n int) {
	t.Helper()
	reads := func(call vfs.Call) bool {
		return slices.Contains([]vfs.Op{vfs.List, vfs.ReadAt, vfs.Stat, vfs.Open}, call.Op)
	}
	for what, run := range map[string]func(fsys vfs.FS) error{
		"Open": func(fsys vfs.FS) error {
			log, err := wal.Open(corpusDir, reopenOptions(fsys))
			if err == nil {
				err = log.Close()
			}
			return err
		},
		"Examine": func(fsys vfs.FS) error {
			_, err := recovery.Examine(recovery.Config{FS: fsys, Dir: corpusDir, Full: true})
			return err
		},
	} {
		mem := c.mem.Clone()
		before := mem.Hash()
		faulty := vfs.NewFaulty(mem)
		faulty.Set(vfs.Fault{Match: reads, At: -1})
		require.NoError(t, run(faulty))
		calls := faulty.Calls()
		require.NotZero(t, calls)
		for at := range calls {
			faulty.Set(vfs.Fault{Match: reads, At: at, Err: syscall.EIO})
			err := run(faulty)
			require.ErrorIs(t, err, syscall.EIO, "%s: call %d of %d", what, at, calls)
			require.False(t, errors.Is(err, wal.ErrCorrupt), "%s: call %d: a read error is no damage: %v", what, at, err)
			require.Equal(t, before, mem.Hash(), "%s: call %d: a file was changed", what, at)
		}
		n += calls
	}
	return n
}

// TestClassifierComplains holds two ways to be wrong against the classifier: one that
// refuses all that was not closed in order, and one that cuts all that is damaged.
func TestClassifierComplains(t *testing.T) {
	open, closed := corpora(t)
	const stride = 499
	for _, control := range []struct {
		what      string
		c         *corpus
		mode      wal.RecoveryMode
		got, want class // what it does, and what it should do
	}{
		{"always refuses", open, wal.Paranoid, refused, whole},
		{"always refuses", closed, wal.Paranoid, refused, whole},
		{"always cuts", open, wal.PointInTime, short, refused},
		{"always cuts", closed, wal.PointInTime, short, refused},
	} {
		w := newDamageWorker(t, control.c)
		w.mode = control.mode
		cases, complaints, missed := 0, 0, 0
		for _, name := range control.c.names {
			for n := int64(0); n < int64(len(control.c.files[name]))*8; n += stride {
				w.at(fmt.Sprintf("%s: bit %d of %s", control.what, n, name))
				e := control.c.expectFlip(name, n/8)
				o := w.flip(name, n/8, int(n%8))
				cases++
				bad := e.check(name, o)
				if bad != "" {
					complaints++
				}
				if o.class == control.got && e.class == control.want && bad == "" {
					missed++
				}
			}
		}
		w.alarm.Stop()
		t.Logf("%s: %d of %d cases are wrong", control.what, complaints, cases)
		require.Greater(t, complaints, cases/20, control.what)
		require.Zero(t, missed)
	}

	bad := 0 // and ones that look at nothing
	for n := int64(0); n < closed.size*8; n += stride {
		name, off := closed.names[0], n/8%int64(len(closed.files[closed.names[0]]))
		e := closed.expectFlip(name, off)
		corrupt := &wal.CorruptError{Path: filepath.Join(corpusDir, name), Offset: off, Reason: "always"}
		refuses := e.check(name, outcome{class: refused, byFull: corrupt, byOpen: corrupt})
		cuts := e.check(name, outcome{class: short, last: closed.first})
		if refuses == "" || cuts == "" {
			require.Equal(t, refused, e.class)
			require.NotEmpty(t, cuts)
			continue
		}
		bad++
	}
	require.NotZero(t, bad)
}

// TestDamageAllocatesNoMoreThanTheFiles looks at what damaged lengths and counts make
// the log allocate, above what it does for the intact one.
func TestDamageAllocatesNoMoreThanTheFiles(t *testing.T) {
	if scale.Race {
		t.Skip("the race detector allocates too")
	}
	open, closed := corpora(t)
	logs := []*corpus{open, closed}
	if scale.Of(t) >= scale.Long {
		logs = append(logs, optioned(t)...)
	}
	for _, c := range logs {
		w := newDamageWorker(t, c)
		measure := func(look func()) uint64 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			look()
			runtime.ReadMemStats(&after)
			return after.TotalAlloc - before.TotalAlloc
		}
		intact := measure(func() { w.observe("", c.first, c.last) })
		w.restore()
		most, cases := uint64(0), 0
		for name, l := range c.layouts {
			for _, p := range l.pieces {
				for off := p.from; off < min(p.to, p.from+16); off++ { // lengths, counts and kinds
					for bit := 0; bit < 8; bit += 7 {
						w.at(fmt.Sprintf("bit %d of byte %d of %s", bit, off, name))
						most = max(most, measure(func() { w.flip(name, off, bit) }))
						cases++
					}
				}
			}
		}
		w.alarm.Stop()
		t.Logf("%s: %d bytes in files; intact %d bytes allocated in all; damaged in %d ways at most %d", c.name, c.size, intact, cases, most)
		require.Less(t, most, intact+2*uint64(c.size))
	}
}

// TestReadyFileIsHarmless flips bits of a segment that was made ready and not used:
// nothing is ever lost with it.
func TestReadyFileIsHarmless(t *testing.T) {
	open, _ := corpora(t)
	files := maps.Clone(open.files)
	const ready = "0000000000000006.seg"
	head := slices.Clone(open.files[open.newest][:4096])
	files[ready] = append(readyHeader(head, 6, 4096+256), make([]byte, 256)...)
	require.False(t, bytes.Equal(files[ready][:4096], open.files[open.newest][:4096]))
	c := &corpus{mem: memOf(t, files), files: files, names: append(slices.Clone(open.names), ready), records: open.records,
		first: open.first, last: open.last, meta: open.meta, layouts: open.layouts, newest: open.newest, size: open.size}
	y := new(tally)
	stride := scale.Pick[int64](t, 97, 7, 7, 1)
	eachChunk(t, c, int64(len(files[ready]))*8/stride, 512, func(w *damageWorker, from, to int64) {
		for n := from * stride; n < to*stride; n += stride {
			where := fmt.Sprintf("bit %d of byte %d of a ready segment", n%8, n/8)
			w.at(where)
			o := w.flip(ready, n/8, int(n%8))
			y.add(o, where, expectation{class: whole, last: c.last}.check(ready, o))
		}
	})
	y.require(t, [classes]int{whole: y.class[whole]})
	for _, row := range []string{"@O", "@P"} {
		require.NotZero(t, y.rows[row], row)
	}
}

// TestLyingIndexIsOnlyAHint puts indexes with wrong entries, under sums that hold, into
// a seal: every record is read back all the same.
func TestLyingIndexIsOnlyAHint(t *testing.T) {
	_, c := corpora(t)
	name := c.names[0]
	file, l := c.files[name], c.layouts[name]
	le := binary.LittleEndian
	seal := l.end
	index := seal + 64 + 16 + 64 // the frame behind that of the seal
	require.Equal(t, []byte{4, 5}, []byte{file[seal], file[index+4]})
	entries := int64(le.Uint32(file[index:])) / 8
	require.Greater(t, entries, int64(1))
	records := 0
	for _, p := range l.pieces {
		if p.record {
			records++
		}
	}
	lie := func(entry int64, ordinal, off uint32) []byte {
		lying := slices.Clone(file)
		at := index + 16 + 8*entry
		le.PutUint32(lying[at:], ordinal)
		le.PutUint32(lying[at+4:], off)
		sumSeal(lying, seal, l.header.Salt)
		return lying
	}
	w := newDamageWorker(t, c)
	defer w.alarm.Stop()
	believed := 0
	for entry := range entries {
		at := index + 16 + 8*entry
		ordinal, off := le.Uint32(file[at:]), le.Uint32(file[at+4:])
		var lies [][2]uint32
		for n := range uint32(records) {
			lies = append(lies, [2]uint32{n, off})
		}
		for n := range uint32(l.end/8) + 8 {
			lies = append(lies, [2]uint32{ordinal, n})
		}
		for n, to := range lies {
			if scale.Of(t) == scale.Quick && n%16 != 0 {
				continue
			}
			where := fmt.Sprintf("entry %d: record %d at %d instead of %d at %d", entry, to[0], 8*to[1], ordinal, 8*off)
			w.at(where)
			lying := lie(entry, to[0], to[1])
			if reads(t, name, lying, l.end) {
				believed++
			}
			require.Equal(t, "", indexed(w, name, lying), where)
		}
	}
	t.Logf("%d lies were believed at first", believed)
	require.Greater(t, believed, 20)
}

// reads reports whether the index in the seal of file is taken for one.
func reads(t *testing.T, name string, file []byte, end int64) bool {
	t.Helper()
	h, err := segment.DecodeHeader(file, name)
	require.NoError(t, err)
	size := int64(len(file))
	first, err := segment.ReadFirst(bytes.NewReader(file), name, h, size)
	require.NoError(t, err)
	_, x, ok, err := segment.ReadSeal(bytes.NewReader(file), name, h, first, end, size)
	require.NoError(t, err)
	require.True(t, ok)
	return x != nil
}

// indexed reads each record of the file, whose index is another, through Read, and
// through Records from each on, and returns what is wrong.
func indexed(w *damageWorker, name string, file []byte) string {
	w.now[name] = file
	w.write(name, file)
	defer w.restore()
	first, last := w.c.lsnsOf(name)
	read := func(log *wal.Log, lsn wal.LSN) ([]byte, error) { return log.Read(lsn, nil) }
	scan := func(log *wal.Log, lsn wal.LSN) ([]byte, error) {
		for r, err := range log.Records(lsn) {
			return slices.Clone(r.Data), err
		}
		return nil, errors.New("no record")
	}
	for what, get := range map[string]func(*wal.Log, wal.LSN) ([]byte, error){"Read": read, "Records": scan} {
		log, err := wal.Open(corpusDir, reopenOptions(w.mem)) // each has to find out for itself
		if err != nil {
			return "Open: " + err.Error()
		}
		for lsn := first; lsn <= last && err == nil; lsn++ {
			var data []byte
			if data, err = get(log, lsn); err == nil && !bytes.Equal(data, w.c.records[lsn].data) {
				err = fmt.Errorf("%d bytes", len(data))
			}
			if err != nil {
				err = fmt.Errorf("%s from %d: %w", what, lsn, err)
			}
		}
		if err = errors.Join(err, log.Close()); err != nil {
			return err.Error()
		}
	}
	return ""
}

// sumSeal makes the sums of the seal at off hold.
func sumSeal(file []byte, off int64, salt uint64) {
	le := binary.LittleEndian
	body := xxhash.New()
	for at := off + 64; at < off+8*int64(le.Uint32(file[off+8:])); {
		size := int64(le.Uint32(file[at:]))
		in := le.AppendUint64(le.AppendUint64(le.AppendUint64(nil, salt), uint64(at)), 0)
		in = le.AppendUint64(append(in, file[at:at+8]...), xxhash.Sum64(file[at+16:at+16+size]))
		le.PutUint64(file[at+8:], xxhash.Sum64(in))
		_, _ = body.Write(file[at+8 : at+16])
		at += 16 + (size+7)&^7
	}
	le.PutUint64(file[off+40:], body.Sum64())
	in := le.AppendUint64(le.AppendUint64(nil, salt), uint64(off))
	le.PutUint64(file[off+56:], xxhash.Sum64(append(in, file[off:off+56]...)))
}
