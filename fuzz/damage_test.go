package fuzz_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/fuzz/refdecoder"
	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/wal"
)

// class is what became of a damaged log.
type class uint8

const (
	whole   class = iota // opened, and every record is there
	short                // opened, and a strict dense prefix is there
	refused              // opening, reading or verifying it says what is damaged
	classes
)

func (c class) String() string { return [...]string{"opened whole", "opened short", "refused"}[c] }

// outcome is what was seen of one log.
type outcome struct {
	class   class
	last    wal.LSN // with class short
	byFull  *wal.CorruptError
	byOpen  *wal.CorruptError
	byScan  *wal.CorruptError // through Records
	byRead  *wal.CorruptError // through Read
	wrong   string            // what must never be: a wrong byte, another error, a change although it was refused
	changed bool
	rows    []string         // of the decision table
	mended  []recovery.Place // bytes of which a bit was flipped back
	newer   bool             // refused as of a newer version

	tail recovery.Tail
}

func (o outcome) String() string {
	return fmt.Sprintf("%v, last %d, verify: %v, open: %v, records: %v, read: %v, wrong: %q",
		o.class, o.last, o.byFull, o.byOpen, o.byScan, o.byRead, o.wrong)
}

// damageWorker damages a copy of a corpus, of its own, in place, and looks at it.
type damageWorker struct {
	c             *corpus
	mode          wal.RecoveryMode
	mem           *vfs.Mem
	files         map[string]vfs.File // open for damaging
	now           map[string][]byte   // what the files hold but for what is looked at changes
	where         atomic.Pointer[string]
	alarm         *time.Timer
	buf           []byte
	page, flipped []byte // scratch
	full          int    // cases since all was read

	segments map[uint64]*refdecoder.Segment // of the corpus; some are changed while a case is looked at
	first    wal.LSN                        // what FirstLSN must be
	meta     *[]byte                        // what Meta must be, if that is known; else that of the corpus, if all is there
}

// damageTimeout is how long one case may take before it counts as a hang.
const damageTimeout = time.Minute

func newDamageWorker(t testing.TB, c *corpus) *damageWorker {
	w := &damageWorker{c: c, mem: c.mem.Clone(), files: map[string]vfs.File{}, now: maps.Clone(c.files),
		segments: maps.Clone(c.segments), first: c.first}
	w.alarm = time.AfterFunc(damageTimeout, func() { panic("hangs: " + *w.where.Load()) })
	t.Cleanup(func() { w.alarm.Stop() })
	w.at("start")
	for _, name := range w.c.names {
		file, err := w.mem.Open(filepath.Join(corpusDir, name), vfs.ReadWrite)
		require.NoError(t, err)
		w.files[name] = file
		w.write(name, c.files[name])
	}
	return w
}

// at says which case begins.
func (w *damageWorker) at(where string) {
	w.where.Store(&where)
	w.alarm.Reset(damageTimeout)
}

// changed reports whether anything but the worker has changed a file or a name.
// Without a list of what the files hold it does not know.
func (w *damageWorker) changed() bool {
	if w.now == nil {
		return false
	}
	names, err := w.mem.List(corpusDir)
	if err != nil {
		panic(err)
	}
	if len(names) != len(w.now) {
		return true
	}
	for _, name := range w.c.names {
		if data, ok := w.now[name]; ok && !w.holds(name, data) {
			return true
		}
	}
	return false
}

// holds reports whether the file, and nothing else of that name, holds data.
func (w *damageWorker) holds(name string, data []byte) bool {
	if info, err := w.files[name].Stat(); err != nil || info.Links != 1 || info.Size != int64(len(data)) {
		return false
	}
	w.page = slices.Grow(w.page[:0], len(data))[:len(data)]
	n, err := w.files[name].ReadAt(w.page, 0)
	return n == len(data) && (err == nil || err == io.EOF) && bytes.Equal(w.page, data)
}

// restore makes all files what they are in the corpus.
func (w *damageWorker) restore() {
	names, err := w.mem.List(corpusDir)
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		if _, ok := w.c.files[name]; !ok {
			if err := w.mem.Remove(filepath.Join(corpusDir, name)); err != nil {
				panic(err)
			}
			delete(w.now, name)
		}
	}
	if len(w.now) != len(w.c.files) {
		w.now = maps.Clone(w.c.files)
	}
	for _, name := range w.c.names {
		if w.now[name] = w.c.files[name]; w.holds(name, w.now[name]) {
			continue
		}
		w.files[name].Close()
		path := filepath.Join(corpusDir, name)
		if w.files[name], err = w.mem.Open(path, vfs.ReadWrite); err != nil {
			if w.files[name], err = w.mem.Create(path); err != nil {
				panic(err)
			}
		}
		w.write(name, w.now[name])
	}
}

// write makes data the content of the file.
func (w *damageWorker) write(name string, data []byte) {
	err := w.files[name].Truncate(int64(len(data)))
	if err == nil {
		_, err = w.files[name].WriteAt(data, 0)
	}
	if err != nil {
		panic(err)
	}
}

// flip looks at the log with one bit of the file flipped.
func (w *damageWorker) flip(name string, off int64, bit int) outcome {
	w.flipped = append(w.flipped[:0], w.c.files[name]...)
	w.flipped[off] ^= 1 << bit
	w.now[name] = w.flipped
	if _, err := w.files[name].WriteAt(w.flipped[off:off+1], off); err != nil {
		panic(err)
	}
	o := w.look(name)
	w.restore()
	return o
}

// replace looks at the log with another content of the file.
func (w *damageWorker) replace(name string, data []byte) outcome {
	w.now[name] = data
	w.write(name, data)
	o := w.look(name)
	w.restore()
	return o
}

// look reads the records of the file, the others being what they were; now and
// then all the same.
func (w *damageWorker) look(name string) outcome {
	first, last := w.c.lsnsOf(name)
	if w.full++; w.full%64 == 0 {
		first, last = w.c.first, w.c.last
	}
	return w.observe(name, first, last)
}

// observe verifies, opens and reads the log: the records from first to last, as
// far as they are there.
func (w *damageWorker) observe(name string, first, last wal.LSN) (o outcome) {
	plan, err := recovery.Examine(recovery.Config{FS: w.mem, Dir: corpusDir, Full: true, Mode: w.mode})
	if errors.Is(err, wal.ErrVersion) {
		o.class, o.newer = refused, true
		if log, err := wal.Open(corpusDir, reopenOptions(w.mem)); err == nil {
			o.wrong = "Open takes what Examine calls newer"
			_ = log.Close()
		}
		return o
	}
	if err != nil {
		o.wrong = "Examine: " + err.Error()
		return o
	}
	o.rows, o.tail = plan.Report.Rows, plan.Report.Tail
	if err := plan.Refusal(); !o.corrupt(&o.byFull, "Examine", err) {
		return o
	}
	options := reopenOptions(w.mem)
	options.Recovery = w.mode
	log, err := wal.Open(corpusDir, options)
	if err != nil {
		if o.corrupt(&o.byOpen, "Open", err) && w.changed() {
			o.wrong = "Open changed a file, and failed"
		}
		return o
	}
	r := log.Recovery()
	o.changed = r.Rewritten > 0 || r.Tail != recovery.TailClean || r.FrontDamaged || len(r.Removed) > 0
	o.mended = r.Flipped
	w.read(log, first, last, &o)
	o.last = log.LastLSN()
	if got := log.FirstLSN(); got != w.first && w.first != 0 && o.wrong == "" {
		o.wrong = fmt.Sprintf("FirstLSN %d, want %d", got, w.first)
	}
	if got := log.Meta(); w.meta != nil && !bytes.Equal(got, *w.meta) && o.wrong == "" {
		o.wrong = fmt.Sprintf("Meta %q, want %q", got, *w.meta)
	}
	if err := log.Close(); err != nil && o.wrong == "" {
		o.wrong = "Close: " + err.Error()
	}
	if o.class == refused {
		return o
	}
	switch o.class = short; {
	case o.last > w.c.last || o.last < min(w.c.first, max(w.first, 1))-1:
		o.wrong = "it ends at another record"
	case o.last == w.c.last:
		o.class = whole
		if !bytes.Equal(log.Meta(), w.c.meta) && o.wrong == "" {
			o.wrong = fmt.Sprintf("Meta %q", log.Meta())
		}
	}
	return o
}

// corrupt notes err, which must be nil or a CorruptError that names a file, and
// returns whether it is.
func (o *outcome) corrupt(at **wal.CorruptError, what string, err error) bool {
	if err == nil {
		return true
	}
	o.class = refused
	if !errors.As(err, at) || !errors.Is(err, wal.ErrCorrupt) || (*at).Path == "" || (*at).Offset < 0 || (*at).Reason == "" {
		o.wrong = what + ": " + err.Error()
		return false
	}
	return true
}

// read reads the records from first to last through Records, and some of them
// through Read.
func (w *damageWorker) read(log *wal.Log, first, last wal.LSN, o *outcome) {
	first, last = max(first, log.FirstLSN()), min(last, log.LastLSN())
	next := first
	if first <= last {
		for r, err := range log.Records(first) {
			if err != nil {
				o.corrupt(&o.byScan, "Records", err)
				break
			}
			want, more := w.c.records[r.LSN], false
			if more = want.more; r.LSN == log.LastLSN() {
				more = false
			}
			if r.LSN != next || !bytes.Equal(r.Data, want.data) || r.More != more {
				o.wrong = fmt.Sprintf("Records: record %d at %d: %d bytes, more %v", r.LSN, next, len(r.Data), r.More)
				return
			}
			if next++; r.LSN == last {
				break
			}
		}
	}
	if o.byScan == nil && next != last+1 && first <= last {
		o.wrong = fmt.Sprintf("Records ended at %d, want %d", next-1, last)
		return
	}
	for _, lsn := range []wal.LSN{next, first, (first + last) / 2, last} { // next: the one that could not be read
		if lsn < log.FirstLSN() || lsn > log.LastLSN() {
			continue
		}
		data, err := log.Read(lsn, w.buf[:0])
		if err != nil {
			if !o.corrupt(&o.byRead, "Read", err) {
				return
			}
			continue
		}
		if !bytes.Equal(data, w.c.records[lsn].data) {
			o.wrong = fmt.Sprintf("Read: record %d: %d bytes", lsn, len(data))
			return
		}
		w.buf = data
	}
}

// expectation is what must be seen.
type expectation struct {
	class class
	last  wal.LSN
	piece *piece // with refused: what is damaged; nil: the file as such

	front  bool  // what is damaged stands before the first record retained: reading may begin behind it
	mended bool  // one bit, at off, is flipped back
	off    int64 // with mended
}

// expectDamage says what damage to the bytes [from, to) of the file must lead to,
// by what the second decoder found in it.
func (c *corpus) expectDamage(name string, from, to int64) expectation {
	l := c.layouts[name]
	intact := expectation{class: whole, last: c.last}
	unit := int64(4096) // of FRONT
	if l != nil {
		unit = 2048 // of the header
	}
	if l == nil || from < 4096 {
		if from < unit && to > unit {
			return expectation{class: refused}
		}
		if to <= 4096 || l == nil {
			return intact
		}
		from = 4096
	}
	n := l.at(from)
	if n == len(l.pieces) {
		return intact // a seal, or what is no part of the log
	}
	hit := &l.pieces[n]
	if name != c.newest {
		if hit.from >= l.proved {
			panic("the corpus ran ahead of its syncs")
		}
		front := hit.next < c.first || hit.next == c.first && !hit.record
		return expectation{class: refused, piece: hit, front: front}
	}
	watermark := int64(4096)
	for _, p := range l.pieces {
		if p.header && (p.to <= from || p.from >= to) {
			watermark = max(watermark, p.durable)
		}
	}
	if hit.from < watermark {
		return expectation{class: refused, piece: hit}
	}
	return c.endsBefore(l, n)
}

// mendable is the most data in which recovery looks for a single flipped bit.
const mendable = 4 << 10

// expectFlip says what must become of the log if one bit of the byte at off is
// flipped: what nothing proves is flipped back, unless that would take too long.
func (c *corpus) expectFlip(name string, off int64) expectation {
	e := c.expectDamage(name, off, off+1)
	if e.class != short {
		return e
	}
	l := c.layouts[name]
	if p := l.pieces[l.at(off)]; p.header || p.size <= mendable || off < p.from+16 || off >= p.from+16+p.size {
		return expectation{class: whole, last: c.last, mended: true, off: off}
	}
	if e.last+1 < c.lastGroup {
		panic("more than the last group would be lost")
	}
	return e
}

// expectCut says what must become of the log if the file is cut at size.
func (c *corpus) expectCut(name string, size int64) expectation {
	l := c.layouts[name]
	switch {
	case l == nil && size < 4096, l != nil && size < 2048:
		return expectation{class: refused}
	case l == nil:
		return expectation{class: whole, last: c.last}
	}
	n := l.at(size)
	switch {
	case n == len(l.pieces) && name != c.newest:
		return expectation{class: whole, last: c.last}
	case n == len(l.pieces), name == c.newest && size < l.opening.End:
		return expectation{class: refused}
	}
	return expectation{class: refused, piece: &l.pieces[n]}
}

// endsBefore is what is expected if the last segment ends before its piece n.
func (c *corpus) endsBefore(l *layout, n int) expectation {
	last := wal.LSN(l.opening.Base) - 1
	for _, p := range l.pieces[:n] {
		if p.record && !p.more {
			last = p.next
		}
	}
	if last == c.last {
		return expectation{class: whole, last: last}
	}
	return expectation{class: short, last: last}
}

// check returns what is wrong with o, or "".
func (e expectation) check(name string, o outcome) string {
	switch {
	case o.wrong != "":
		return o.wrong
	case o.class != e.class:
		return fmt.Sprintf("%v, want %v", o.class, e.class)
	case o.class != refused && o.last != e.last:
		return fmt.Sprintf("ends at %d, want %d", o.last, e.last)
	case e.mended && !slices.Equal(o.mended, []recovery.Place{{Path: filepath.Join(corpusDir, name), Off: e.off}}):
		return fmt.Sprintf("bytes were flipped back: %v, want the one at %d", o.mended, e.off)
	case o.class != refused:
		return ""
	case o.byFull == nil:
		return "full verification finds nothing"
	case o.byOpen == nil && o.byScan == nil && o.byRead == nil && !e.front:
		return "neither Open nor reading finds anything"
	}
	for what, err := range map[string]*wal.CorruptError{"verification": o.byFull, "Open": o.byOpen, "Records": o.byScan} {
		if err == nil {
			continue
		}
		if got := filepath.Base(err.Path); got != name {
			return what + " names " + got
		}
		if p := e.piece; p != nil && (err.Offset != p.from || err.LSN != p.next && err.LSN != 0 || err.LSN == 0 && p.from > 4096) {
			return fmt.Sprintf("%s names offset %d and LSN %d, want %d and %d", what, err.Offset, err.LSN, p.from, p.next)
		}
	}
	return ""
}

// tally counts what was seen.
type tally struct {
	mu      sync.Mutex
	class   [classes]int
	byOpen  int // refused, and Open said so
	byRead  int // reading said so, and Open did not
	byFull  int // full verification alone
	mended  int // opened whole because a bit was flipped back
	changed int // Open brought something in order

	ambiguous int // opened short, and the report says that what was cut may have been acknowledged
	torn      int // opened short, and the report says that a write was interrupted
	unseen    int // opened short, and nothing is left to be seen of what is gone
	lost      int // of those that opened short: what had been proved is gone, and with it all that proved it
	newer     int // refused as of a newer version

	rows map[string]int
	bad  []string
	bads int
}

func (y *tally) add(o outcome, where, bad string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.class[o.class]++
	if y.rows == nil {
		y.rows = map[string]int{}
	}
	for _, row := range o.rows {
		y.rows[row]++
	}
	switch {
	case o.class == short && o.tail == recovery.TailAmbiguous:
		y.ambiguous++
	case o.class == short && o.tail == recovery.TailTorn:
		y.torn++
	case o.class == short:
		y.unseen++
	case o.class != refused:
	case o.newer:
		y.newer++
	case o.byOpen != nil:
		y.byOpen++
	case o.byScan != nil || o.byRead != nil:
		y.byRead++
	default:
		y.byFull++
	}
	if o.changed {
		y.changed++
	}
	if o.class == whole && len(o.mended) > 0 {
		y.mended++
	}
	if bad != "" {
		y.bads++
		if len(y.bad) < 20 {
			y.bad = append(y.bad, where+": "+bad+"; "+o.String())
		}
	}
}

func (y *tally) String() string {
	return fmt.Sprintf("%d opened whole (%d mended), %d opened short (%d reported ambiguous, %d torn, %d with nothing left to see; %d below what was proved), "+
		"%d refused (by Open %d, else by reading %d, else by full verification %d; %d as newer); Open brought %d in order; rows %v",
		y.class[whole], y.mended, y.class[short], y.ambiguous, y.torn, y.unseen, y.lost,
		y.class[refused], y.byOpen, y.byRead, y.byFull, y.newer, y.changed, y.rows)
}

// eachChunk runs fn for [0, n) in chunks, on all processors, each with a worker of
// its own.
func eachChunk(t *testing.T, c *corpus, n, chunk int64, fn func(w *damageWorker, from, to int64)) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		w := newDamageWorker(t, c)
		wg.Go(func() {
			defer w.alarm.Stop()
			for {
				from := next.Add(chunk) - chunk
				if from >= n {
					return
				}
				fn(w, from, min(from+chunk, n))
			}
		})
	}
	wg.Wait()
}

// corpusRest is how many unused bytes behind the open log have every bit flipped at
// scale test.
const corpusRest = 1 << 10

// rests reports whether bit n of the file is left to a higher scale: of the open log test
// and ci flip one bit of each byte in the files that the closed log has too, and test one
// bit in 65 of what is unused.
func (c *corpus) rests(level scale.Level, name string, n int64) bool {
	switch off := n / 8; {
	case !c.open || level == scale.Quick || level == scale.Long:
		return false
	case name != c.newest:
		return n%8 != off%8
	default:
		return level == scale.Test && n%65 != 0 && off >= c.layouts[name].end+corpusRest
	}
}

// damageCounts are the exact counts of what is opened whole, opened short and refused.
// The expectation of each single case is what is asserted first; these show when the
// corpus, and with it what the tests look at, has become another.
var damageCounts = map[string][classes]int{
	"TestEveryFlippedBitIsFoundOrHarmless/open":      {604800, 33600, 91584},
	"ci TestEveryFlippedBitIsFoundOrHarmless/open":   {486920, 33600, 29480},
	"test TestEveryFlippedBitIsFoundOrHarmless/open": {68686, 33600, 29480},
	"TestEveryFlippedBitIsFoundOrHarmless/closed":    {168000, 0, 129536},
	"TestEveryCutIsFoundOrHarmless/open":             {4552, 0, 86696},
	"TestEveryCutIsFoundOrHarmless/closed":           {4552, 0, 32640},
}

// pinnedCounts returns what damageCounts has for a test at this scale.
func pinnedCounts(t *testing.T) (want [classes]int, ok bool) {
	level := scale.Of(t)
	if want, ok = damageCounts[level.String()+" "+t.Name()]; !ok && level != scale.Quick {
		want, ok = damageCounts[t.Name()]
	}
	return want, ok
}

// try looks at the cases of every file, and asserts what is seen: at all of them, or
// for quick at one in 97.
// shorts says whether some must open short.
func try(t *testing.T, c *corpus, shorts bool, perByte int64,
	look func(w *damageWorker, name string, n int64) (where string, o outcome, e expectation)) {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	y := new(tally)
	var want [classes]int
	for _, name := range c.names {
		start := time.Now()
		stride, level := scale.Pick[int64](t, 97, 1, 1, 1), scale.Of(t)
		cases := int64(len(c.files[name])) * perByte
		var mu sync.Mutex
		eachChunk(t, c, cases, 512, func(w *damageWorker, from, to int64) {
			var part [classes]int
			for n := from + (stride-from%stride)%stride; n < to; n += stride {
				if perByte == 8 && c.rests(level, name, n) {
					continue
				}
				where, o, e := look(w, name, n)
				part[e.class]++
				y.add(o, where, e.check(name, o))
			}
			mu.Lock()
			defer mu.Unlock()
			for class, n := range part {
				want[class] += n
			}
		})
		t.Logf("%s: of %d cases, one in %d, in %v", name, cases, stride, time.Since(start).Round(time.Millisecond))
	}
	t.Log(c)
	t.Log(y)
	for _, bad := range y.bad {
		t.Error(bad)
	}
	require.Zero(t, y.bads)
	require.Equal(t, want, y.class, "opened whole, opened short, refused")
	if golden, ok := pinnedCounts(t); ok {
		require.Equal(t, golden, y.class, "opened whole, opened short, refused: if the corpus was changed on purpose, change damageCounts")
	}
	for class, n := range y.class {
		require.True(t, n > 0 || class == int(short) && !shorts, "%v: never", class)
	}
}

// TestEveryFlippedBitIsFoundOrHarmless flips every bit of every file.
func TestEveryFlippedBitIsFoundOrHarmless(t *testing.T) {
	eachCorpus(t, func(t *testing.T, c *corpus, closed bool) {
		try(t, c, !closed, 8, func(w *damageWorker, name string, n int64) (string, outcome, expectation) {
			off, bit := n/8, int(n%8)
			where := fmt.Sprintf("bit %d of byte %d of %s", bit, off, name)
			w.at(where)
			return where, w.flip(name, off, bit), c.expectFlip(name, off)
		})
	})
}

// TestEveryCutIsFoundOrHarmless cuts every file at every length. None opens short: a
// file has its full size before it is used.
func TestEveryCutIsFoundOrHarmless(t *testing.T) {
	eachCorpus(t, func(t *testing.T, c *corpus, _ bool) {
		try(t, c, false, 1, func(w *damageWorker, name string, n int64) (string, outcome, expectation) {
			where := fmt.Sprintf("%s cut at %d", name, n)
			w.at(where)
			return where, w.replace(name, c.files[name][:n]), c.expectCut(name, n)
		})
	})
}

func eachCorpus(t *testing.T, run func(t *testing.T, c *corpus, closed bool)) {
	open, closed := corpora(t)
	t.Run("open", func(t *testing.T) { run(t, open, false) })
	t.Run("closed", func(t *testing.T) { run(t, closed, true) })
}
