package wal

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// worldIn returns what the log in a copy of m is when it is opened.
func worldIn(t *testing.T, m *vfs.Mem) (w world) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var err error
		w, err = openAndRead(m.Clone())
		require.NoError(t, err)
	})
	return w
}

// openAndRead opens the log, reads all of it and closes it.
func openAndRead(fsys FS) (world, error) {
	o := faultOptions
	o.FS = fsys
	l, err := Open("log", &o)
	if err != nil {
		return world{}, err
	}
	w, err := worldOf(l)
	return w, errors.Join(err, l.Close())
}

// judgeLive looks at a log that may have failed, before it is closed: what is
// durable can be read, and want of space alone has not ended it.
func (r *run) judgeLive() {
	r.poisoned = errors.Is(r.log.Err(), ErrFailed)
	if r.fault.lasts == "once" && r.fault.isNoSpace(r.hit) && r.poisoned && r.hit.Name != "log/FRONT" {
		r.problem("a %v without space ended the log: %v", r.hit.Op, r.log.Err())
	}
	r.faulty.Clear()
	if _, err := worldOf(r.log); err != nil {
		r.problem("reading a log after the fault: %v", err)
	}
}

// judge looks at what is left when the log was closed, or could not be opened:
// after a crash when something had just failed, after a crash now, and without a
// crash.
func (r *run) judge() {
	r.faulty.Clear()
	if r.open != 0 {
		r.problem("%d files and locks are open behind Close", r.open)
	}
	if r.failed != nil {
		r.judgeImages("a crash behind the failure", r.failed, r.failedAt)
	}
	r.judgeImages("a crash behind Close", r.crash.State(), r.model)
	r.judgeSurvivor()
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
		w, err := openAndRead(s.Image(picks))
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
func (r *run) judgeSurvivor() {
	r.images++
	o := faultOptions
	o.FS = r.crash
	l, err := Open("log", &o)
	if err != nil {
		r.problem("Open after the fault: %v", err)
		return
	}
	w, err := worldOf(l)
	if want := r.model.worlds(false); err != nil || !want[w.String()] {
		r.problem("after the fault the log is\n%v, %v, want one of\n%v", w, err, want)
	}
	state := r.crash.State()
	for _, picks := range [][]int{state.Oldest(), state.Newest()} {
		r.images++
		if got, err := openAndRead(state.Image(picks)); err != nil || got.String() != w.String() {
			r.problem("Open handed out\n%v, after a crash it is\n%v, %v", w, got, err)
		}
	}
	data := r.data(100)
	if _, err := l.Append([]byte(data)); err != nil {
		r.problem("Append after the fault: %v", err)
	}
	if err := l.Close(); err != nil {
		r.problem("Close after the fault: %v", err)
	}
	state = r.crash.State()
	w = appends(data)(w)
	if got, err := openAndRead(state.Image(state.Oldest())); err != nil || got.String() != w.String() {
		r.problem("after another append the log is\n%v, %v, want\n%v", got, err, w)
	}
}
