package fuzz_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/fuzz"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// FuzzOpScript runs operations on a log and on a model of it, side by side. how: bits 0
// and 1 the policy, 3 is past the page cache, bits 2 and 3 the size of segments, bit 4 the first LSN.
func FuzzOpScript(f *testing.F) {
	f.Fuzz(func(t *testing.T, how byte, data []byte) {
		bubble(t, 'o', func(t *testing.T) {
			m := newModel(t, how)
			p := &tape{data}
			for m.n = 0; m.n < 60 && !p.done(); m.n++ {
				m.step(p)
			}
			m.end()
		})
	})
}

// model is a log and what it must be.
type model struct {
	*testing.T
	o    wal.Options
	mem  *vfs.Mem
	log  *wal.Log
	view fuzz.View // as ordered
	n    int       // of the operation

	pendings []wal.Pending
	holds    []heldAt
	reader   *wal.Reader
	next     wal.LSN // of the reader
	rewound  bool    // what the reader had passed was dropped
	ops      []string
}

type heldAt struct {
	hold *wal.Hold
	lsn  wal.LSN
}

func newModel(t *testing.T, how byte) *model {
	m := &model{T: t, mem: vfs.NewMem()}
	m.mem.UseDirect(512)
	m.o = wal.Options{FS: m.mem, SegmentSize: []int64{8 << 10, 8 << 10, 9001, 32 << 10}[how>>2&3], Sync: wal.SyncPolicy(how & 3 % 3), Direct: how&3 == 3, MaxRecordSize: 6000}
	m.view.First = 1
	if how&16 != 0 {
		m.o.FirstLSN, m.view.First = 1<<40, 1<<40
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("policy %d, segments of %d: %s", m.o.Sync, m.o.SegmentSize, strings.Join(m.ops, ", "))
			t.Logf("the model is %v", m.view)
		}
	})
	m.open()
	return m
}

func (m *model) open() {
	var err error
	m.log, err = wal.Open(corpusDir, &m.o)
	require.NoError(m, err)
	log := m.log
	m.Cleanup(func() { _ = log.Close() })
	m.reader, m.holds, m.pendings = nil, nil, nil
}

// did notes an operation.
func (m *model) did(format string, args ...any) { m.ops = append(m.ops, fmt.Sprintf(format, args...)) }

// lsn returns an LSN in the log, or a little beside it.
func (m *model) lsn(p *tape) wal.LSN {
	n := len(m.view.Records) + 4
	return m.view.First + wal.LSN(p.below(n)) - min(2, m.view.First)
}

// record returns a record, of which no two are equal but those without bytes.
func (m *model) record(p *tape) []byte {
	size := []int{0, 1, 8, 30, 100, 500, 512, 1500, 4000, 6000}[p.below(10)]
	b := bytes.Repeat([]byte{byte(m.n)}, size)
	copy(b, fmt.Sprintf("%d.%d", m.n, len(m.view.Records)))
	return b
}

// visible is whether all that was ordered can be seen.
func (m *model) settle() {
	require.NoError(m, m.log.Sync())
	m.pendings = nil
}

func (m *model) step(p *tape) {
	switch op := p.below(24); {
	case op < 3:
		data := m.record(p)
		m.did("append %d", len(data))
		lsn, err := m.log.Append(data)
		require.NoError(m, err)
		m.view = m.view.Append(string(data))
		require.Equal(m, m.view.Last(), lsn)
	case op < 6:
		data := m.record(p)
		m.did("async %d", len(data))
		pending, err := m.log.AppendAsync(data)
		require.NoError(m, err)
		m.view = m.view.Append(string(data))
		require.Equal(m, [2]wal.LSN{m.view.Last(), m.view.Last()}, [2]wal.LSN{pending.First, pending.Last})
		m.pendings = append(m.pendings, pending)
	case op < 9:
		m.batch(p)
	case op == 9:
		m.did("too large")
		_, err := m.log.Append(make([]byte, m.o.MaxRecordSize+1))
		require.ErrorIs(m, err, wal.ErrTooLarge)
	case op == 10:
		m.did("sync")
		m.settle()
	case op == 11 && len(m.pendings) > 0:
		n := p.below(len(m.pendings))
		m.did("wait")
		require.NoError(m, m.pendings[n].Wait(context.Background()))
		m.pendings = slices.Delete(m.pendings, n, n+1)
	case op == 12:
		m.did("rotate")
		require.NoError(m, m.log.Rotate())
	case op == 13:
		m.truncateFront(m.lsn(p))
	case op == 14:
		m.truncateBack(m.lsn(p))
	case op == 15:
		next := []wal.LSN{1, m.view.Last() + 1, m.view.Last() + 100, m.view.First, 0, wal.MaxFirstLSN + 1}[p.below(6)]
		m.did("reset %d", next)
		if err := m.log.Reset(next); next == 0 || next > wal.MaxFirstLSN {
			require.Error(m, err)
			break
		} else {
			require.NoError(m, err)
		}
		m.rewind(next) // a higher one looks like TruncateFront to a reader
		m.view = m.view.Reset(next)
	case op == 16:
		m.hold(p)
	case op < 20:
		m.read(p)
	case op == 20:
		m.did("idle")
		pass(time.Duration(1+p.below(400)) * time.Millisecond)
		synctest.Wait() // something may be due in this very moment
	case op == 21:
		m.did("close")
		require.NoError(m, m.log.Close())
		_, err := m.log.Append(nil)
		require.ErrorIs(m, err, wal.ErrClosed)
		m.open()
		m.whole()
	case op == 22: // the process ends; nothing is lost that was handed over
		m.settle()
		m.did("kill")
		image := m.mem.Clone()
		require.NoError(m, m.log.Close())
		m.mem, m.o.FS = image, image
		m.open()
		m.whole()
	default:
		m.settle()
		m.whole()
	}
	require.NoError(m, m.log.Err())
	require.LessOrEqual(m, m.log.DurableLSN(), m.log.LastLSN())
	if m.o.Sync == wal.SyncAlways {
		require.Equal(m, m.log.LastLSN(), m.log.DurableLSN())
	}
}

// batch appends a batch of records, with what goes with them.
func (m *model) batch(p *tape) {
	var b wal.Batch
	v, want := m.view, error(nil)
	bits := p.next()
	if bits&1 != 0 {
		last := m.lsn(p)
		b.TruncateBack(last)
		if last < v.First-1 {
			want = wal.ErrTruncated
		}
		v = v.TruncateBack(max(last, v.First-1))
	}
	if bits&6 == 6 {
		first := v.Last() + 1 + wal.LSN(bits>>6&1)
		b.SetFirst(first)
		if want == nil && first != v.Last()+1 {
			want = wal.ErrConflict
		}
	}
	for n := range int(bits >> 3 & 3) {
		data := m.record(p)
		if n%2 == 0 {
			b.Add(data)
		} else {
			copy(b.Extend(len(data)), data)
		}
		v = v.Append(string(data))
	}
	if bits&32 != 0 {
		meta := fmt.Sprint("meta ", m.n)[:p.below(6)]
		b.SetMeta([]byte(meta))
		v = v.WithMeta(meta)
	}
	if int64(b.Size()) > max(m.o.SegmentSize, int64(m.o.MaxRecordSize)) {
		want = wal.ErrTooLarge
	}
	m.did("batch %#x", bits)
	var err error
	if bits&128 != 0 {
		var pending wal.Pending
		if pending, err = m.log.AppendBatchAsync(&b); err == nil {
			require.Equal(m, v.Last(), pending.Last)
			m.pendings = append(m.pendings, pending)
		}
	} else {
		var first wal.LSN
		if first, err = m.log.AppendBatch(&b); err == nil {
			require.Equal(m, v.Last()+1, first+wal.LSN(b.Len()))
		}
	}
	if want != nil {
		require.ErrorIs(m, err, want)
		return
	}
	require.NoError(m, err)
	if kept := v.Last() - wal.LSN(b.Len()); kept < m.view.Last() {
		m.rewind(kept + 1)
	}
	m.view = v
}

// rewind notes that the records from next on were dropped: a reader that has passed one
// of them must say so.
func (m *model) rewind(next wal.LSN) {
	if m.reader != nil && next < m.next {
		m.rewound = true
	}
}

func (m *model) truncateFront(first wal.LSN) {
	m.did("front %d", first)
	err := m.log.TruncateFront(first)
	if first > m.view.Last()+1 {
		require.ErrorIs(m, err, wal.ErrNotFound)
		return
	}
	require.NoError(m, err)
	for _, h := range m.holds {
		first = min(first, h.lsn)
	}
	m.view = m.view.TruncateFront(first)
	require.Equal(m, m.view.First, m.log.FirstLSN())
}

func (m *model) truncateBack(last wal.LSN) {
	m.did("back %d", last)
	err := m.log.TruncateBack(last)
	if last < m.view.First-1 {
		require.ErrorIs(m, err, wal.ErrTruncated)
		return
	}
	require.NoError(m, err)
	if last < m.view.Last() {
		m.rewind(last + 1)
	}
	m.view = m.view.TruncateBack(last)
	require.Equal(m, m.view.Last(), m.log.LastLSN())
}

// hold makes a hold, moves one or releases one.
func (m *model) hold(p *tape) {
	n := p.below(3)
	if n == 0 || len(m.holds) == 0 {
		lsn := m.lsn(p)
		m.did("hold %d", lsn)
		h, err := m.log.Hold("x", lsn)
		if lsn < m.view.First {
			require.ErrorIs(m, err, wal.ErrTruncated)
			return
		}
		require.NoError(m, err)
		m.holds = append(m.holds, heldAt{h, lsn})
		return
	}
	at := p.below(len(m.holds))
	if n == 1 {
		lsn := m.lsn(p)
		m.did("move hold %d to %d", m.holds[at].lsn, lsn)
		m.holds[at].hold.Move(lsn)
		m.holds[at].lsn = max(m.holds[at].lsn, lsn)
		return
	}
	m.did("release %d", m.holds[at].lsn)
	m.holds[at].hold.Release()
	m.holds = slices.Delete(m.holds, at, at+1)
}

// at returns the record that the model has.
func (m *model) at(lsn wal.LSN) string { return m.view.Records[lsn-m.view.First] }

// read reads one record, or lets the reader go on.
func (m *model) read(p *tape) {
	m.settle()
	lsn := m.lsn(p)
	switch n := p.below(4); {
	case n == 0:
		m.did("read %d", lsn)
		data, err := m.log.Read(lsn, []byte("before"))
		switch {
		case lsn < m.view.First:
			require.ErrorIs(m, err, wal.ErrTruncated)
		case lsn > m.view.Last():
			require.ErrorIs(m, err, wal.ErrNotFound)
		default:
			require.NoError(m, err)
			require.Equal(m, "before"+m.at(lsn), string(data))
		}
	case n == 1 || m.reader == nil:
		m.did("reader at %d", lsn)
		r, err := m.log.NewReader(lsn)
		switch {
		case lsn < m.view.First:
			require.ErrorIs(m, err, wal.ErrTruncated)
		case lsn > m.view.Last()+1:
			require.ErrorIs(m, err, wal.ErrNotFound)
		default:
			require.NoError(m, err)
			m.reader, m.next, m.rewound = r, lsn, false
		}
	default:
		steps := 1 + p.below(12)
		m.did("next %d", steps)
		for range steps {
			if !m.nextRecord() {
				break
			}
		}
	}
}

// nextRecord lets the reader step, and returns whether it can again.
func (m *model) nextRecord() bool {
	got := m.reader.Next()
	switch {
	case m.rewound:
		require.False(m, got)
		require.ErrorIs(m, m.reader.Err(), wal.ErrRewound)
		m.reader = nil
	case m.next < m.view.First:
		require.False(m, got)
		require.ErrorIs(m, m.reader.Err(), wal.ErrTruncated)
		m.reader = nil
	case m.next > m.view.Last():
		require.False(m, got)
		require.NoError(m, m.reader.Err())
	default:
		require.True(m, got, "%v", m.reader.Err())
		r := m.reader.Record()
		require.Equal(m, m.next, r.LSN)
		require.Equal(m, m.at(m.next), string(r.Data))
		m.next++
		return true
	}
	return false
}

// whole reads all, and compares.
func (m *model) whole() {
	v, err := fuzz.Look(m.log)
	require.NoError(m, err)
	if len(v.Records) == 0 {
		v.Records = nil
	}
	want := m.view
	if len(want.Records) == 0 {
		want.Records = nil
	}
	require.Equal(m, want, v)
	last := wal.LSN(0)
	for _, s := range m.log.Segments() {
		require.True(m, s.ID > uint64(last))
		last = wal.LSN(s.ID)
	}
}

// end closes the log and opens it once more.
func (m *model) end() {
	require.NoError(m, m.log.Close())
	m.open()
	m.whole()
	require.NoError(m, m.log.Close())
	names, err := m.mem.List(corpusDir)
	require.NoError(m, err)
	for _, name := range names {
		_, ok := segment.ParseName(name)
		require.True(m, ok || name == segment.FrontName || name == segment.LockName, "%s is left", name)
	}
}

// FuzzCrashScript runs a script of operations, crashes it where the input says, and
// checks what may be left, and that the log goes on. how: bits 0 and 1 the policy, 3 is past
// the page cache, bit 2 the unit of the disk, bit 3 whether deletions are late, bits 4 and 5
// the size of segments, bit 6 the first LSN, bit 7 whether a recovery is interrupted too.
func FuzzCrashScript(f *testing.F) {
	f.Fuzz(func(t *testing.T, how byte, ops []byte, crash []byte) {
		letters := make([]byte, min(len(ops), 10))
		for i := range letters {
			letters[i] = fuzz.Operations[int(ops[i])%len(fuzz.Operations)]
		}
		s := fuzz.Script{Ops: string(letters), Unit: []int{512, 4096}[how>>2&1], Lazy: how&8 != 0, Seed: uint64(how)}
		s.Options.Sync, s.Options.Direct = wal.SyncPolicy(how&3%3), how&3 == 3
		s.Options.SegmentSize = []int64{8 << 10, 8 << 10, 16 << 10, 8200}[how>>4&3]
		if how&64 != 0 {
			s.Options.FirstLSN = 1000
		}
		var points []fuzz.Point
		bubble(t, 's', func(t *testing.T) {
			var err error
			points, err = s.Execute()
			if errors.Is(err, wal.ErrFailed) && slices.Contains(letters, 'q') {
				points = nil // the short write was one of FRONT: that ends a log, and the script
				return
			}
			require.NoError(t, err)
		})
		if len(points) == 0 {
			return
		}
		p := &tape{crash}
		checker := fuzz.NewChecker()
		for n := 0; n < 3 && (n == 0 || !p.done()); n++ {
			at := &points[p.below(len(points))]
			picks := picksOf(p, at.State)
			bubble(t, 'c', func(t *testing.T) {
				_, _, err := checker.Check(at.State.Hash(picks), func() *vfs.Mem { return at.State.Image(picks) }, s.Options, at.Bounds, slices.Equal(picks, at.State.Newest()))
				if err != nil {
					t.Fatalf("script %v\n  after call %d, %v\n  %v\n%s", s, at.Number, at.After, err, at.State.Describe(picks))
				}
				if how&128 != 0 {
					crashAgain(t, p, at.State.Image(picks), s, at)
				}
			})
		}
	})
}

// picksOf returns what a crash leaves, as the tape decides.
func picksOf(p *tape, s *vfs.State) []int {
	picks := s.Oldest()
	choices := s.Choices()
	switch p.below(8) {
	case 0:
		return picks
	case 1:
		return s.Newest()
	case 2: // only the first ones are there
		n := p.below(len(picks) + 1)
		copy(picks, s.Newest()[:n])
		return picks
	case 3: // all but one
		picks = s.Newest()
		if len(picks) > 0 {
			picks[p.below(len(picks))] = 0
		}
		return picks
	}
	var b byte
	for i, c := range choices {
		if c.N > 2 {
			picks[i] = p.below(c.N)
			continue
		}
		if i%8 == 0 {
			b = p.next()
		}
		picks[i] = int(b>>(i%8)&1) % c.N
	}
	return picks
}

// crashAgain interrupts the recovery of img, and checks what that leaves.
func crashAgain(t *testing.T, p *tape, img *vfs.Mem, s fuzz.Script, at *fuzz.Point) {
	t.Helper()
	disk := vfs.NewCrashFrom(img, s.Unit)
	stop, calls := p.below(20), 0
	var mu sync.Mutex
	var state *vfs.State
	o := s.Options
	o.FS = vfs.Wrap(disk, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		n, err := do(int(c.Size))
		if c.Op.Mutates() {
			mu.Lock()
			if calls++; calls == stop+1 {
				state = disk.State()
			}
			mu.Unlock()
		}
		return n, err
	})
	l, err := wal.Open(corpusDir, &o)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	if state == nil {
		state = disk.State()
	}
	picks := picksOf(p, state)
	if _, _, err := fuzz.NewChecker().Check(state.Hash(picks), func() *vfs.Mem { return state.Image(picks) }, s.Options, at.Bounds, false); err != nil {
		t.Fatalf("script %v\n  after call %d, %v, and call %d of the recovery\n  %v\n%s", s, at.Number, at.After, stop, err, state.Describe(picks))
	}
}

// FuzzReaderTail lets a writer work, and at some of its calls, half done, has a
// read-only log, a reader of it and one that follows look at the files. how: bits 0 and
// 1 the policy, 3 is past the page cache, bits 2 and 3 the size of segments.
func FuzzReaderTail(f *testing.F) {
	f.Fuzz(func(t *testing.T, how byte, ops, when []byte) {
		bubble(t, 't', func(t *testing.T) {
			newTail(t, how, when).run(&tape{ops})
		})
	})
}

// tail is a writer and those who read beside it.
type tail struct {
	*testing.T
	o    wal.Options
	mem  *vfs.Mem // what both see
	view vfs.FS   // mem, for those beside the writer
	log  *wal.Log
	when *tape

	mu      turn // taken for a call of the writer that changes something
	history []fuzz.View
	begun   bool // the readers are there
	looking bool
	mixing  sync.RWMutex // held while what is written whole is made half written
	wrong   error
	oneBit  bool // once a write was whole but for one bit, which a reader may have flipped back

	viewer *wal.Log
	seenAt int // which view of the history the viewer showed last
	reader *wal.Reader
	from   wal.LSN // where reader is
	ops    []string
	n      int
}

// turn is a lock. In a bubble time goes on while somebody waits for it, and its owner
// sleeps.
type turn chan struct{}

func (t turn) Lock()   { t <- struct{}{} }
func (t turn) Unlock() { <-t }

func newTail(t *testing.T, how byte, when []byte) *tail {
	l := &tail{T: t, mu: make(turn, 1), mem: vfs.NewMem(), when: &tape{when}}
	l.mem.UseDirect(512)
	l.o = wal.Options{Sync: wal.SyncPolicy(how & 3 % 3), Direct: how&3 == 3, SegmentSize: []int64{8 << 10, 8 << 10, 16 << 10, 9001}[how>>2&3]}
	l.history = []fuzz.View{{First: 1}}
	l.view = vfs.Wrap(l.mem, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		if c.Op == vfs.ReadAt {
			l.mixing.RLock()
			defer l.mixing.RUnlock()
		}
		return do(int(c.Size))
	})
	o := l.o
	o.FS = vfs.Wrap(l.mem, l.call)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("policy %d, segments of %d: %s", o.Sync, o.SegmentSize, strings.Join(l.ops, ", "))
		}
	})
	var err error
	l.log, err = wal.Open(corpusDir, &o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.log.Close() })
	return l
}

func (l *tail) now() fuzz.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.history[len(l.history)-1]
}

// orders notes what the log is when an operation that begins now is done.
func (l *tail) orders(v fuzz.View, what string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ops = append(l.ops, fmt.Sprintf(what, args...))
	l.history = append(l.history, v)
}

// call does what the writer asks, a write in parts, and has the readers look between.
func (l *tail) call(c vfs.Call, do func(int) (int, error)) (int, error) {
	if !c.Op.Mutates() {
		return do(int(c.Size))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	look := 0
	if l.begun && !l.looking {
		look = l.when.below(8)
	}
	if look&1 != 0 {
		l.look(fmt.Sprintf("before %v of %s", c.Op, c.Name))
	}
	if look&2 == 0 || c.Op != vfs.WriteAt && c.Op != vfs.WriteSync || c.Size < 16 {
		n, err := do(int(c.Size))
		if look&4 != 0 {
			l.look(fmt.Sprintf("behind %v of %s", c.Op, c.Name))
		}
		return n, err
	}
	// A reader beside a write may see any of its bytes, or not: here, of each piece.
	file, err := l.mem.Open(c.Name, vfs.ReadWrite)
	if err != nil {
		return do(int(c.Size))
	}
	defer file.Close()
	old := make([]byte, c.Size)
	got, _ := file.ReadAt(old, c.Off)
	old = old[:got]
	l.mixing.Lock()
	n, err := do(int(c.Size))
	new := make([]byte, c.Size)
	_, _ = file.ReadAt(new, c.Off)
	mixed := bytes.Clone(new)
	piece := []int{8, 64, 512, 4096}[l.when.below(4)]
	word := byte(0)
	for at, i := 0, 0; at < len(old); at, i = at+piece, i+1 {
		if i%8 == 0 {
			word = l.when.next()
		}
		if word>>(i%8)&1 != 0 {
			copy(mixed[at:min(at+piece, len(old))], old[at:])
		}
	}
	missing := 0
	for i := range mixed {
		missing += bits.OnesCount8(mixed[i] ^ new[i])
	}
	l.oneBit = l.oneBit || missing == 1
	_, _ = file.WriteAt(mixed, c.Off)
	l.mixing.Unlock()
	l.look(fmt.Sprintf("within %v of %s at %d, %d bytes", c.Op, c.Name, c.Off, c.Size))
	_, _ = file.WriteAt(new, c.Off)
	return n, err
}

// interrupted reports whether a reader of a read-only log ended for what the writer
// does beside it, and can be had again: what it was to read was truncated, or it is read
// with a bit flipped back that was written meanwhile.
func (l *tail) interrupted(err error) bool {
	var e *wal.CorruptError
	return errors.Is(err, wal.ErrTruncated) || errors.Is(err, wal.ErrRewound) || l.oneBit && errors.As(err, &e)
}

// look has everybody look while a call is under way, and notes what is wrong: the
// goroutine is the writer's. Requires mu.
func (l *tail) look(where string) {
	l.looking = true
	defer func() { l.looking = false }()
	pass(2 * time.Millisecond) // a viewer looks once a millisecond
	err := l.viewed(l.viewer, l.seenAt)
	if err == nil {
		var v *wal.Log
		if v, err = wal.Open(corpusDir, &wal.Options{FS: l.view, ReadOnly: true}); err == nil {
			err = errors.Join(l.viewed(v, l.seenAt), v.Close())
		}
	}
	if err == nil {
		err = l.readOn()
	}
	if err != nil && l.wrong == nil {
		l.wrong = fmt.Errorf("behind %s, %s: %w", l.ops[len(l.ops)-1], where, err)
	}
}

// viewed returns an error unless v shows a view of the history, from that one on.
func (l *tail) viewed(v *wal.Log, from int) error {
	got, err := fuzz.Look(v)
	switch {
	case l.interrupted(err), errors.Is(err, wal.ErrNotFound):
		return nil // what it shows was dropped while it was read
	case err != nil:
		return err
	}
	for n, view := range l.history[from:] {
		if view.Digest() == got.Digest() {
			if v == l.viewer {
				l.seenAt = from + n
			}
			return nil
		}
	}
	return fmt.Errorf("a read-only log shows what never was:\n  it is %v\n  may be from %v\n  to %v", got, l.history[from], l.history[len(l.history)-1])
}

// readOn lets the reader take what there is. Each record is one that the log had at
// that LSN.
func (l *tail) readOn() error {
	for l.reader.Next() {
		r := l.reader.Record()
		if r.LSN != l.from || !l.had(r.LSN, string(r.Data)) {
			return fmt.Errorf("record %d was never %.20q; %d was to come", r.LSN, r.Data, l.from)
		}
		l.from++
	}
	if err := l.reader.Err(); !l.interrupted(err) {
		return err
	}
	return l.newReader()
}

func (l *tail) newReader() (err error) {
	for range 3 { // the log may be truncated between the two
		l.from = l.viewer.FirstLSN()
		if l.reader, err = l.viewer.NewReader(l.from); err == nil {
			return nil
		}
	}
	return err
}

// had reports whether the log ever had that record.
func (l *tail) had(lsn wal.LSN, data string) bool {
	for _, v := range l.history {
		if lsn >= v.First && lsn <= v.Last() && v.Records[lsn-v.First] == data {
			return true
		}
	}
	return false
}

// begin opens the readers.
func (l *tail) begin() {
	v, err := wal.Open(corpusDir, &wal.Options{FS: l.view, ReadOnly: true})
	require.NoError(l, err)
	l.Cleanup(func() { _ = v.Close() })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.viewer, l.begun = v, true
	require.NoError(l, l.newReader())
}

// run lets the writer do what the tape says.
func (l *tail) run(p *tape) {
	for l.n = 0; l.n < 3 && !p.done(); l.n++ {
		l.step(p)
	}
	l.begin()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	viewer := l.viewer
	go func() {
		for r, err := range viewer.Follow(ctx, viewer.FirstLSN()) {
			if err != nil {
				ended <- err
				return
			}
			l.mu.Lock()
			ok := l.had(r.LSN, string(r.Data))
			l.mu.Unlock()
			if !ok {
				ended <- fmt.Errorf("record %d was never %.20q", r.LSN, r.Data)
				return
			}
		}
	}()
	for ; l.n < 24 && !p.done(); l.n++ {
		l.step(p)
	}
	l.orders(l.now().Append("end"), "end")
	_, err := l.log.Append([]byte("end"))
	require.NoError(l, err)
	require.NoError(l, l.log.Sync())
	pass(500 * time.Millisecond) // the log marks itself durable
	cancel()
	if err := <-ended; !l.interrupted(err) {
		require.ErrorIs(l, err, context.Canceled)
	}
	require.NoError(l, l.quiet())
	require.NoError(l, l.log.Close())
	pass(2 * time.Millisecond)
	got, err := fuzz.Look(l.viewer)
	require.NoError(l, err)
	require.Equal(l, l.now(), got)
	require.NoError(l, l.viewer.Close())
}

// quiet returns an error unless all see the newest, since nothing is under way.
func (l *tail) quiet() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun = false
	if l.wrong != nil {
		return l.wrong
	}
	got, err := fuzz.Look(l.viewer)
	want := l.history[len(l.history)-1]
	switch {
	case err != nil:
		return err
	case got.Digest() != want.Digest():
		return fmt.Errorf("a read-only log is %v, want %v", got, want)
	}
	for range 2 { // the reader it was may have been overtaken
		if err := l.readOn(); err != nil {
			return err
		}
	}
	if l.from != want.Last()+1 {
		return fmt.Errorf("a reader is at %d, the log ends at %d", l.from, want.Last())
	}
	return nil
}

// step runs one operation of the writer.
func (l *tail) step(p *tape) {
	v := l.now()
	record := func() string {
		size := []int{0, 3, 40, 600, 1500, 3000}[p.below(6)]
		return fmt.Sprintf("%d.", l.n) + strings.Repeat(string(rune('a'+l.n%26)), size)
	}
	var err error
	switch op := p.below(16); {
	case op < 5:
		r := record()
		l.orders(v.Append(r), "append %d", len(r))
		_, err = l.log.Append([]byte(r))
	case op < 8:
		r := record()
		l.orders(v.Append(r), "async %d", len(r))
		_, err = l.log.AppendAsync([]byte(r))
	case op < 11:
		var b wal.Batch
		if op == 8 {
			last := v.Last() - min(1, wal.LSN(len(v.Records)))
			b.TruncateBack(last)
			v = v.TruncateBack(last)
		}
		for range p.below(3) {
			r := record()
			b.Add([]byte(r))
			v = v.Append(r)
		}
		if op == 9 {
			b.SetMeta([]byte(fmt.Sprint("meta ", l.n)))
			v = v.WithMeta(fmt.Sprint("meta ", l.n))
		}
		l.orders(v, "batch")
		_, err = l.log.AppendBatch(&b)
	case op == 11:
		l.orders(v, "sync")
		err = l.log.Sync()
	case op == 12:
		l.orders(v, "rotate")
		err = l.log.Rotate()
	case op == 13:
		first := v.First + wal.LSN(len(v.Records)+1)/2
		l.orders(v.TruncateFront(first), "front %d", first)
		err = l.log.TruncateFront(first)
	case op == 14:
		last := v.Last() - min(2, wal.LSN(len(v.Records)))
		l.orders(v.TruncateBack(last), "back %d", last)
		err = l.log.TruncateBack(last)
	case p.below(2) == 0:
		l.orders(v, "idle")
		pass(300 * time.Millisecond)
	default:
		next := v.Last() + 10
		l.orders(v.Reset(next), "reset %d", next)
		err = l.log.Reset(next)
	}
	require.NoError(l, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	require.NoError(l, l.wrong)
}

// pass lets time pass, on the clock of the bubble.
func pass(d time.Duration) { <-time.After(d) }
