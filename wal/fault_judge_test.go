package wal

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// worldIn returns what the log in a copy of m is when it is opened.
func worldIn(t *testing.T, m *vfs.Mem, mode RecoveryMode) (w world) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var err error
		w, err = openAndRead(m.Clone(), mode)
		require.NoError(t, err)
	})
	return w
}

// openAndRead opens the log, reads all of it and closes it.
func openAndRead(fsys FS, mode RecoveryMode) (world, error) {
	o := faultOptions
	o.FS, o.Recovery = fsys, mode
	l, err := Open("log", &o)
	if err != nil {
		return world{}, err
	}
	w, err := worldOf(l)
	return w, errors.Join(err, l.Close())
}

// read is openAndRead as the run opened the log.
func (r *run) read(fsys FS) (world, error) { return openAndRead(fsys, r.opts.Recovery) }

// judgeLive looks at a log that may have failed, before it is closed: what is
// durable can be read, what is not cannot, and it has ended if, and only if, what
// failed ends a log.
func (r *run) judgeLive() {
	r.pause(true)
	r.ended = errors.Is(r.log.Err(), ErrFailed)
	r.judgeVerdict(inUse)
	r.judgeVisible()
	switch {
	case r.fault.closes:
		r.pause(false)
	case r.ended:
		r.judgeRefusals()
	default:
		r.useOn()
	}
	r.rest()
	ended, calls := r.ended, len(r.made())
	r.close()
	if ended {
		r.judgeQuiet(r.made()[calls:])
	}
	if r.judgeVerdict(closing); r.pages != late && r.hit.phase != closing && r.fault.lasts == once && r.fault.gap == 0 && r.ended != ended {
		r.problem("Close ended the log")
	}
}

// judgeVisible requires that readers see what was acknowledged, and nothing that may
// yet be taken back.
func (r *run) judgeVisible() {
	w, err := worldOf(r.log)
	if r.pages == reverted && r.ended && r.opts.Sync != SyncAlways { // what was visible and not durable is gone
		for lsn := r.log.FirstLSN(); lsn <= r.log.DurableLSN(); lsn++ {
			if _, err := r.log.Read(lsn, nil); err != nil {
				r.problem("reading what is durable: %v", err)
			}
		}
		return
	}
	if err != nil {
		r.problem("reading a log after the fault: %v", err)
	}
	if all := r.model.worlds(false); !all[w.String()] {
		r.problem("the log shows\n%v, want one of\n%v", w, all)
	}
	if least := r.model.least(); len(r.pending) == 0 && r.model.only("append") && w.String() != least.String() {
		r.problem("the log shows\n%v, want what was acknowledged:\n%v", w, least)
	}
}

// judgeVerdict requires what is documented of a single call that failed in p.
func (r *run) judgeVerdict(p phase) {
	h := r.hit
	if !h.ok || r.pages == late || r.fault.lasts != once || r.fault.gap > 0 || r.full && p == inUse && r.ended {
		return
	}
	v := mustNot // the log was not open, or is not being closed yet
	if h.phase == p {
		v = h.verdict(r.fault.err)
	} else if h.phase != opening {
		return
	}
	if r.ended && v == mustNot || !r.ended && v == mustEnd {
		r.problem("%v of %s in a log %s, active segment %s: it %s; ended: %v", h.Op, h.Name, h.phase, h.active, v, r.ended)
	}
}

// judgeRefusals requires that a log that has failed refuses whatever changes it, and
// says why.
func (r *run) judgeRefusals() {
	var b Batch
	b.SetMeta([]byte("refused"))
	first := r.log.FirstLSN()
	for what, do := range map[string]func() error{
		"Append":        func() error { return second(r.log.Append([]byte("refused"))) },
		"AppendAsync":   func() error { return second(r.log.AppendAsync([]byte("refused"))) },
		"AppendBatch":   func() error { return second(r.log.AppendBatch(&b)) },
		"Sync":          r.log.Sync,
		"Rotate":        r.log.Rotate,
		"TruncateFront": func() error { return r.log.TruncateFront(r.log.LastLSN() + 1) },
		"TruncateBack":  func() error { return r.log.TruncateBack(first - 1) },
		"Reset":         func() error { return r.log.Reset(1000) },
	} {
		if what == "TruncateBack" && first > r.log.LastLSN() {
			continue // there is nothing to drop
		}
		if err := do(); !errors.Is(err, ErrFailed) || errors.Is(err, ErrUnknownOutcome) || !r.caused(err) {
			r.problem("%s in a log that has failed: %v", what, err)
		}
	}
	if r.log.FirstLSN() != first {
		r.problem("a refused truncation moved FirstLSN from %d to %d", first, r.log.FirstLSN())
	}
}

// useOn uses a log that has not failed: all of it must succeed again.
func (r *run) useOn() {
	r.wait()
	if r.log.Err() != nil {
		r.sync() // whoever asks is told what was lost, once
	}
	told := r.told
	r.told = false
	r.append(30)
	r.truncateFront(1)
	r.batch(2, 20, 1, "on")
	r.rotate()
	r.async(10)
	r.wait()
	r.sync()
	if r.told && !(r.ended && r.latent()) {
		r.problem("the log has not failed, and does not go on")
	}
	r.told = told
	r.rest()
}

// latent reports whether a sync failed in the background that ends the log once the
// file is needed for which it was.
func (r *run) latent() bool {
	return slices.ContainsFunc(r.made(), func(c called) bool {
		return c.err != nil && (c.Op == vfs.SyncDir || c.Op == vfs.Sync && strings.HasSuffix(c.Name, segment.TempExt))
	})
}

// judgeQuiet requires that a log that has failed writes nothing more: it removes a
// segment that was made ready, and gives back what it has open.
func (r *run) judgeQuiet(calls []called) {
	for _, c := range calls {
		if c.Op.Mutates() && c.Op != vfs.Remove {
			r.problem("%v of %s by a log that has failed", c.Op, c.Name)
		}
	}
}

// judgeLeaks requires that nothing is left of a log that was closed.
func (r *run) judgeLeaks() {
	synctest.Wait()
	if r.open != 0 {
		r.problem("%d files and locks are open behind Close", r.open)
	}
	if left := bubbleGoroutines(); len(left) > 0 {
		r.problem("goroutines are left behind Close:\n%s", strings.Join(left, "\n\n"))
	}
}

// bubbleGoroutines returns the stacks of the goroutines in the caller's bubble, but
// for the caller and those of package synctest.
func bubbleGoroutines() (stacks []string) {
	buf := make([]byte, 64<<10)
	n := runtime.Stack(buf, true)
	for n == len(buf) {
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	var bubble []byte
	for i, stack := range bytes.Split(buf[:n], []byte("\n\n")) {
		head, _, _ := bytes.Cut(stack, []byte("\n"))
		if i == 0 { // the caller
			at := bytes.Index(head, []byte("synctest bubble "))
			if at < 0 {
				panic("not in a bubble: " + string(head))
			}
			bubble = head[at : bytes.IndexByte(head, ']')+1]
			continue
		}
		if bytes.Contains(head, bubble) && !bytes.Contains(stack, []byte("synctest.testingSynctestTest(")) && !bytes.Contains(stack, []byte("internal/synctest.Run(")) {
			stacks = append(stacks, string(stack))
		}
	}
	return stacks
}

// judge looks at what is left when the log was closed, or could not be opened:
// after a crash when something had just failed, after a crash now, and without a
// crash.
func (r *run) judge() {
	r.pause(true)
	r.judgeLeaks()
	if r.failed != nil {
		r.judgeImages("a crash behind the failure", r.failed, r.failedAt)
	}
	r.judgeImages("a crash behind Close", r.crash.State(), r.model)
	r.judgeSurvivor(r.model.worlds(false))
}

func (r *run) judgeImages(when string, s *vfs.State, m *model) {
	newest := fmt.Sprint(s.Newest())
	atPowerLoss, atKill := m.worlds(true), m.worlds(false)
	s.Each(r.each, uint64(r.fault.at), func(picks []int) bool {
		r.images++
		want := atPowerLoss
		if fmt.Sprint(picks) == newest {
			want = atKill
		}
		w, err := r.read(s.Image(picks))
		if err != nil {
			r.problem("%s: Open: %v\n%s", when, err, s.Describe(picks))
		} else if !want[w.String()] {
			r.problem("%s: the log is\n%v, want one of\n%v\n%s", when, w, want, s.Describe(picks))
		}
		return true
	})
}

// judgeSurvivor opens what is there, where the system did not crash. What that
// hands out is durable from then on, although a sync may have failed before.
func (r *run) judgeSurvivor(want map[string]bool) {
	r.images++
	o := faultOptions
	o.FS, o.Recovery = r.crash, r.opts.Recovery
	l, err := Open("log", &o)
	if err != nil {
		r.problem("Open after the fault: %v", err)
		return
	}
	w, err := worldOf(l)
	if err != nil || !want[w.String()] {
		r.problem("after the fault the log is\n%v, %v, want one of\n%v", w, err, want)
	}
	r.judgeDurable("Open handed out", r.crash.State(), w)
	data := r.data(100)
	if _, err := l.Append([]byte(data)); err != nil {
		r.problem("Append after the fault: %v", err)
	}
	if err := l.Close(); err != nil {
		r.problem("Close after the fault: %v", err)
	}
	state := r.crash.State()
	w = appends(data)(w)
	r.images++
	if got, err := r.read(state.Image(state.Oldest())); err != nil || got.String() != w.String() {
		r.problem("after another append the log is\n%v, %v, want\n%v", got, err, w)
	}
}

// judgeDurable requires that the log is w after any crash now.
func (r *run) judgeDurable(what string, state *vfs.State, w world) {
	for _, picks := range [][]int{state.Oldest(), state.Newest()} {
		r.images++
		if got, err := r.read(state.Image(picks)); err != nil || got.String() != w.String() {
			r.problem("%s\n%v, after a crash it is\n%v, %v\n%s", what, w, got, err, state.Describe(picks))
		}
	}
}
