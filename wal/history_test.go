package wal

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
)

var histories = flag.Int("histories", 150, "random histories of a log to be compared with the model")

// history drives a log through random steps, beside a model: a map of records,
// the range, the meta and some readers.
type history struct {
	*testLog
	rnd         *rand.Rand
	first, last LSN
	meta        []byte
	readers     []*cursor
	view        *history // the same log, read-only; nil: nobody looks
	steps       []string // so far, for messages
}

// cursor is a reader and what must become of it.
type cursor struct {
	*Reader
	next LSN // that it returns
	low  LSN // the lowest end that the log was taken back to since it was asked
}

const noRewind = ^LSN(0)

func newHistory(t *testing.T, seed uint64) *history {
	rnd := rand.New(rand.NewPCG(seed, 1))
	first := LSN(1 + rnd.IntN(3)*rnd.IntN(1000))
	l := open(t, Options{SegmentSize: small, FirstLSN: first, Sync: SyncPolicy(rnd.IntN(3))})
	return &history{testLog: l, rnd: rnd, first: first, last: first - 1}
}

// below returns a number from 0 to n, often at one of the ends.
func (h *history) below(n LSN) LSN {
	switch h.rnd.IntN(6) {
	case 0:
		return 0
	case 1:
		return n
	case 2, 3:
		return n - min(n, LSN(h.rnd.IntN(9)))
	}
	return LSN(h.rnd.Uint64N(uint64(n) + 1))
}

func (h *history) append(lsn LSN) []byte {
	h.life++
	h.want[lsn] = text(lsn, h.life)
	return []byte(h.want[lsn])
}

// beside opens a read-only log, if one is wanted, which the steps are seen from.
func (h *history) beside() {
	if h.view == nil {
		return
	}
	if h.view.testLog != nil {
		h.view.close()
	}
	h.view.testLog, h.view.readers = h.testLog.view(), nil
}

// took notes that the log was taken back to last, or began anew at first.
func (h *history) took(last LSN) {
	h.last = last
	for _, c := range h.readers {
		c.low = min(c.low, last+1)
	}
	if h.view != nil {
		h.view.took(last)
	}
}

func (h *history) step() {
	switch n := h.rnd.IntN(20); n {
	case 0, 1, 2:
		h.batchStep()
	case 3:
		first := h.first + h.below(h.last+1-h.first)
		h.steps = append(h.steps, fmt.Sprintf("front %d", first))
		require.NoError(h.t, h.TruncateFront(first))
		h.first = first
	case 4:
		last := h.first - 1 + h.below(h.last+1-h.first)
		h.steps = append(h.steps, fmt.Sprintf("back %d", last))
		require.NoError(h.t, h.TruncateBack(last))
		if last < h.last {
			h.took(last)
		}
	case 5:
		if h.rnd.IntN(3) == 0 {
			next := max(1, h.first+h.below(3*(h.last+2-h.first))-h.below(h.first))
			h.steps = append(h.steps, fmt.Sprintf("reset %d", next))
			require.NoError(h.t, h.Reset(next))
			h.first = next
			h.took(next - 1)
		}
	case 6:
		h.steps = append(h.steps, "rotate")
		require.NoError(h.t, h.Rotate())
	case 7:
		h.steps = append(h.steps, "reopen")
		h.reopen()
		h.readers = nil
	case 8:
		h.steps = append(h.steps, "kill")
		k := h.killed()
		h.close()
		h.Log, h.opts = k.Log, k.opts
		h.readers = nil
		h.beside()
	case 9:
		h.noSpaceStep()
	case 10, 11:
		h.steps = append(h.steps, "async")
		var last Pending
		for range h.rnd.IntN(30) {
			last = h.async(string(h.append(h.last + 1)))
			h.last++
		}
		if last.log != nil {
			require.NoError(h.t, last.Wait(ctx))
		}
	default:
		h.steps = append(h.steps, "append")
		for range h.rnd.IntN(12) {
			lsn, err := h.Append(h.append(h.last + 1))
			require.NoError(h.t, err)
			h.last++
			require.Equal(h.t, h.last, lsn)
		}
	}
}

// randomBatch returns a batch, and what the log is after it.
func (h *history) randomBatch() (b *Batch, last LSN, meta []byte) {
	b, last, meta = new(Batch), h.last, h.meta
	if h.rnd.IntN(2) == 0 {
		keep := h.first - 1 + h.below(h.last+2-h.first)
		b.TruncateBack(keep)
		last = min(last, keep)
	}
	if h.rnd.IntN(2) == 0 {
		meta = fmt.Appendf([]byte{}, "meta %d", h.rnd.Uint32())[:h.below(8)]
		b.SetMeta(meta)
	}
	if n := h.rnd.IntN(9); n > 0 {
		if h.rnd.IntN(2) == 0 {
			b.SetFirst(last + 1)
		}
		for range n {
			last++
			b.Add([]byte(text(last, h.life+1)))
		}
	}
	return b, last, meta
}

func (h *history) batchStep() {
	b, last, meta := h.randomBatch()
	h.steps = append(h.steps, fmt.Sprintf("batch of %d, truncates %v to %d, to %d", b.Len(), b.truncates, b.truncate, last))
	first, err := h.AppendBatch(b)
	require.NoError(h.t, err)
	require.Equal(h.t, last+1-LSN(b.Len()), first)
	if b.truncates && b.truncate < h.last {
		h.took(b.truncate)
	}
	h.life++
	for lsn := first; lsn <= last; lsn++ {
		h.want[lsn] = text(lsn, h.life)
	}
	h.last, h.meta = last, meta
}

// noSpaceStep has appends fail that would have changed everything.
func (h *history) noSpaceStep() {
	h.steps = append(h.steps, "no space")
	h.full()
	h.last = h.LastLSN()
	for range 1 + h.rnd.IntN(3) {
		b, _, _ := h.randomBatch()
		b.Extend(2 * small)
		b.SetFirst(0)
		require.ErrorIs(h.t, second(h.AppendBatch(b)), ErrNoSpace)
	}
	if h.rnd.IntN(2) == 0 {
		h.check()
	}
	h.spaceLeft(-1)
}

func (h *history) check() {
	require.Equal(h.t, [2]LSN{h.first, h.last}, [2]LSN{h.FirstLSN(), h.LastLSN()})
	require.Equal(h.t, h.meta, h.Meta())
	if h.rnd.IntN(8) == 0 {
		h.holds(h.first, h.last)
	}
	if v := h.view; v != nil {
		pass(2 * time.Millisecond)
		v.first, v.last, v.meta = h.first, h.last, h.meta
		v.check()
	}
	for _, c := range h.readers {
		h.advance(c)
	}
	if len(h.readers) < 4 {
		c := &cursor{next: h.first + h.below(h.last+1-h.first), low: noRewind}
		r, err := h.NewReader(c.next)
		require.NoError(h.t, err)
		c.Reader = r
		h.readers = append(h.readers, c)
	}
}

// advance steps a reader some records on, and checks how it ends.
func (h *history) advance(c *cursor) {
	var want error
	switch {
	case c.low < c.next:
		want = ErrRewound
	case c.next < h.first:
		want = ErrTruncated
	}
	c.low = noRewind
	if want != nil {
		require.False(h.t, c.Next())
		require.ErrorIs(h.t, c.Err(), want)
		c.next = h.first + h.below(h.last+1-h.first)
		require.NoError(h.t, c.Seek(c.next))
		return
	}
	for range h.rnd.IntN(40) {
		if c.next > h.last {
			require.False(h.t, c.Next())
			require.NoError(h.t, c.Err())
			return
		}
		require.True(h.t, c.Next(), "%v", c.Err())
		require.Equal(h.t, c.next, c.Record().LSN)
		require.Equal(h.t, h.want[c.next], string(c.Record().Data))
		c.next++
	}
}

func TestRandomHistoriesMatchTheModel(t *testing.T) {
	n := *histories
	if scale.Race {
		n /= 10
	}
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			h := newHistory(t, uint64(seed))
			defer func() {
				if t.Failed() {
					t.Logf("policy %d, steps %q", h.opts.Sync, h.steps)
				}
			}()
			for range 60 {
				h.step()
				h.check()
			}
			h.reopen()
			h.readers = nil
			h.check()
			h.is(h.first, h.last)
		})
	}
}

func TestRandomHistoriesAreSeenReadOnly(t *testing.T) {
	n := *histories / 2
	if scale.Race {
		n /= 10
	}
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHistory(t, uint64(seed)+1000)
				h.view = &history{rnd: h.rnd}
				h.beside()
				defer func() {
					if t.Failed() {
						t.Logf("policy %d, steps %q", h.opts.Sync, h.steps)
					}
				}()
				for range 60 {
					h.step()
					h.check()
				}
			})
		})
	}
}
