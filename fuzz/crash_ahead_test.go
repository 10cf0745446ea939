package fuzz

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// ahead writes segments that run ahead of their syncs, which package wal does not,
// and the format allows. A sync of a segment comes after those of all before it.
// The operations:
//
//	g  a group of two records
//	n  the next segment, with two records
//	o  a sync of the oldest segment that is not synced
//	s  syncs of all
//	l  the seals of those that may have one
type ahead struct {
	disk     *vfs.Crash
	fs       vfs.FS
	history  *History
	points   []Point
	pending  *Point
	segments []*segment.Writer
	newest   []int // number of the last operation in each segment
	sealed   int
	synced   int // of segments, with all that they hold
	count    int
	op       byte
	silent   bool // takes no points
}

func newAhead(unit int) (*ahead, error) {
	a := &ahead{disk: vfs.NewCrash(unit), history: NewHistory(View{First: 1})}
	a.fs = vfs.Wrap(a.disk, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		if !c.Op.Mutates() {
			return do(int(c.Size))
		}
		a.flush()
		n, err := do(int(c.Size))
		a.pending = &Point{State: a.disk.State(), Op: a.op, After: c.Op, Number: len(a.points)}
		return n, err
	})
	if err := a.fs.Mkdir(dir); err != nil {
		return nil, err
	}
	if err := a.fs.SyncDir("."); err != nil {
		return nil, err
	}
	front := segment.Front{Log: segment.LogID{7}, First: 1, Oldest: 1}
	return a, segment.CreateFront(a.fs, dir, filepath.Join(dir, segment.FrontName), front)
}

func (a *ahead) flush() {
	if a.pending != nil && !a.silent {
		a.pending.Bounds = a.history.Bounds()
		a.points = append(a.points, *a.pending)
	}
	a.pending = nil
}

// records returns drafts of two records, and notes that they are on their way.
func (a *ahead) records() []byte {
	drafts := make([]byte, segment.GroupHeaderSize)
	for range 2 {
		a.count++
		data := fmt.Sprintf("ahead %0*d", a.count%2*700+20, a.count)
		drafts = segment.AppendDraft(drafts, segment.TypeRecord, false, []byte(data), segment.Hash([]byte(data)))
		a.history.Begin(a.history.Now().Append(data))
	}
	return drafts
}

func (a *ahead) do(op byte) error {
	a.op = op
	switch op {
	case 'g':
		w, drafts := a.segments[len(a.segments)-1], a.records()
		a.newest[len(a.newest)-1] = a.history.All()
		a.synced = min(a.synced, len(a.segments)-1)
		return w.Write(drafts)
	case 'n':
		return a.next()
	case 'o':
		if a.synced == len(a.segments) {
			return nil
		}
		if err := a.segments[a.synced].Sync(); err != nil {
			return err
		}
		a.history.Durable(a.newest[a.synced])
		a.synced++
	case 's':
		for a.synced < len(a.segments) {
			if err := a.do('o'); err != nil {
				return err
			}
		}
	case 'l':
		for ; a.sealed+1 < a.synced; a.sealed++ {
			next := a.segments[a.sealed+1].End()
			if err := a.segments[a.sealed].Seal(next, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// next opens another segment.
func (a *ahead) next() error {
	id := uint64(len(a.segments) + 1)
	w, err := segment.Create(a.fs, dir, segment.Header{Log: segment.LogID{7}, ID: id, Salt: id * 0x1234567, Unit: 8}, 8<<10, nil)
	if err != nil {
		return err
	}
	opening := segment.Opening{Irregular: 1}
	if id > 1 {
		opening.Prev = a.segments[id-2].End()
	}
	drafts, base := a.records(), a.history.Now().Last()-1
	a.segments = append(a.segments, w)
	a.newest = append(a.newest, a.history.All())
	return w.Open(opening, nil, base, drafts, false)
}

// aheadScripts returns all sequences of up to that many operations. Each begins with
// a segment.
func aheadScripts(length int) []string {
	list := []string{"n"}
	for from := 0; len(list[from]) < length; from++ {
		for _, op := range "gnosl" {
			list = append(list, list[from]+string(op))
		}
	}
	return list
}

// runAhead checks all points of these scripts.
func (e *enumeration) runAhead(t *testing.T, scripts []string) {
	t.Helper()
	for _, ops := range scripts {
		s := Script{Ops: ops, Unit: 512, Options: wal.Options{SegmentSize: 8 << 10}}
		var a *ahead
		synctest.Test(t, func(t *testing.T) {
			var err error
			a, err = newAhead(s.Unit)
			require.NoError(t, err)
			for i, op := range []byte(ops) {
				a.flush()
				a.silent = i < len(ops)-1 // another script takes them
				require.NoError(t, a.do(op), "script %s, operation %c", ops, op)
			}
			a.flush()
		})
		e.add(s, a.points)
		e.check()
		if len(e.failed) > 20 {
			break
		}
	}
}

func TestSegmentsThatRanAheadOfTheirSyncsAreRecovered(t *testing.T) {
	e := newEnumeration(scale.Pick(t, 4, 12, 12, 200))
	e.runAhead(t, aheadScripts(scale.Pick(t, 4, 5, 5, 7)))
	e.report(t)
	e.reaches(t, "@G", "@H", "@I", "@K", "@L", "@M", "@O", "@P")
	require.GreaterOrEqual(t, e.checker.Images(), scale.Pick(t, 200, 1_500, 1_500, 20_000))
}
