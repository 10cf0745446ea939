package model

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/wal"
)

// outcomes is how many outcomes of a power loss are opened.
const outcomes = 3

// reopen closes the log, which makes all durable, and opens it again.
func (r *run) reopen() error {
	err := r.log.Close()
	settled()
	switch broken := r.process.broken(); {
	case err == nil && !broken:
		if rerr := r.resolve(0); rerr != nil {
			return fmt.Errorf("after Close: %w", rerr)
		}
		r.line.setDurable(r.line.newest())
	case errors.Is(err, wal.ErrNoSpace) && r.limited && !broken:
		lost := r.line.newest()
		if rerr := r.resolve(0); rerr != nil {
			return fmt.Errorf("after Close: %w", rerr)
		}
		if r.line.newest() == lost {
			return fmt.Errorf("close reports a loss, and nothing was lost: %w", err)
		}
		r.line.setDurable(r.line.newest())
	case broken && (err == nil || errors.Is(err, wal.ErrFailed) || errors.Is(err, wal.ErrNoSpace)):
		if rerr := r.resolve(0); rerr != nil {
			return fmt.Errorf("after Close: %w", rerr)
		}
		if err == nil {
			r.line.setDurable(r.line.newest())
		}
	default:
		return fmt.Errorf("close: %w", err)
	}
	if again := r.log.Close(); again != err {
		return fmt.Errorf("the second Close returns %v, the first %v", again, err)
	}
	if err := r.closed(); err != nil {
		return err
	}
	r.end()
	return r.open(true)
}

// closed checks that the log is closed to everybody.
func (r *run) closed() error {
	l := r.log
	_, err := l.Append([]byte("late"))
	_, err2 := l.Read(l.LastLSN(), nil)
	_, err3 := l.NewReader(l.FirstLSN())
	_, err4 := l.Hold("late", l.FirstLSN())
	errs := []error{err, err2, err3, err4, l.Sync(), l.Rotate(), l.TruncateBack(l.LastLSN()), l.Reset(1), l.TruncateFront(l.FirstLSN()), l.Err()}
	for _, c := range r.readers {
		if want := ending(c.next, c.low, l.FirstLSN()); want == nil && c.next > l.LastLSN() && !r.process.broken() {
			c.Next()
			errs = append(errs, c.Err())
		}
	}
	for _, f := range r.followers {
		f.mu.Lock()
		if want := ending(f.next, f.low, l.FirstLSN()); want == nil && !r.process.broken() {
			errs = append(errs, f.err)
		}
		f.mu.Unlock()
	}
	for i, err := range errs {
		if !errors.Is(err, wal.ErrClosed) {
			return fmt.Errorf("call %d of a closed log: %v, want %w", i, err, wal.ErrClosed)
		}
	}
	return nil
}

// kill ends the process. All that it wrote can be read, and is not durable.
func (r *run) kill(o op) error {
	r.end()
	r.hits["kills"]++
	return r.recover(o)
}

// power ends the process and takes from the disk what is not durable, or a part of
// it. Some outcomes are opened; the log goes on with one of them.
func (r *run) power(o op) error {
	r.end()
	state := r.disk.State()
	r.line.handed = r.line.durable
	var picks [][]int
	state.Each(outcomes, r.seed+uint64(o.b), func(p []int) bool {
		picks = append(picks, slices.Clone(p))
		return true
	})
	for _, p := range picks[1:] {
		if err := r.found(state.Image(p)); err != nil {
			return fmt.Errorf("%w\nafter a power loss with\n%s", err, state.Describe(p))
		}
	}
	r.disk = vfs.NewCrashFrom(state.Image(picks[0]), r.unit)
	r.limited = false
	r.hits["power losses"]++
	r.hits["outcomes of power losses"] += len(picks)
	if int(o.b)%len(picks) != 0 {
		r.disk = vfs.NewCrashFrom(state.Image(picks[int(o.b)%len(picks)]), r.unit)
		if err := r.found(state.Image(picks[0])); err != nil {
			return fmt.Errorf("%w\nafter a power loss with\n%s", err, state.Describe(picks[0]))
		}
	}
	return r.recover(o)
}

// found opens the log on m, which must be as the line says.
func (r *run) found(m *vfs.Mem) error {
	l, err := wal.Open(dir, r.options(m, true))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer l.Close()
	v, err := content(l)
	if err != nil {
		return err
	}
	if r.line.find(r.line.handed, v.equal) < 0 {
		return r.line.explain(r.line.handed, v)
	}
	return nil
}

// recover opens the log after a crash, sometimes with no space left, or on a disk
// that fails in the middle of it.
func (r *run) recover(o op) error {
	p := &process{disk: r.disk}
	switch o.a % 5 {
	case 1:
		r.limited = true
		r.disk.SetLimit(max(1, r.disk.Used()))
	case 2, 3:
		p.light(1+int(o.a/5%16), int(o.b))
	}
	err := r.openIn(p, true)
	if err == nil || !p.broken() {
		return err
	}
	r.hits["recoveries failed"]++
	r.end()
	if o.a%5 == 3 { // and then the power fails
		r.line.handed = r.line.durable
		state := r.disk.State()
		var last []int
		state.Each(1+int(o.b%7), uint64(o.b), func(p []int) bool {
			last = slices.Clone(p)
			return true
		})
		r.disk = vfs.NewCrashFrom(state.Image(last), r.unit)
		r.limited = false
	}
	if err := r.open(true); err != nil {
		return fmt.Errorf("after a recovery that failed: %w", err)
	}
	return nil
}

// afterFault checks a log on a disk that fails, and ends it in one of two ways. o is
// the operation that met the failure.
func (r *run) afterFault(o op) error {
	if err := r.log.Err(); errors.Is(err, wal.ErrFailed) {
		_, aerr := r.log.Append(nil)
		_, serr := r.log.AppendAsync(nil)
		for i, err := range []error{aerr, serr, r.log.Sync(), r.log.Rotate(), r.log.TruncateFront(0), r.log.TruncateBack(r.log.LastLSN()), r.log.Reset(1)} {
			if !errors.Is(err, wal.ErrFailed) || errors.Is(err, wal.ErrUnknownOutcome) {
				return fmt.Errorf("call %d of a failed log: %w", i, err)
			}
		}
		if err := r.resolve(0); err != nil {
			return fmt.Errorf("after the log failed: %w", err)
		}
	}
	if err := r.look(); err != nil {
		return fmt.Errorf("the disk fails: %w", err)
	}
	failed := errors.Is(r.log.Err(), wal.ErrFailed)
	if failed {
		r.hits["logs failed"]++
	}
	for i, f := range r.followers {
		f.mu.Lock()
		// Of a truncation of which the outcome is unknown the readers may know it.
		if failed && !errors.Is(f.err, wal.ErrFailed) && !errors.Is(f.err, wal.ErrRewound) && !errors.Is(f.err, wal.ErrTruncated) {
			return fmt.Errorf("follower %d at %d of a failed log: %v", i, f.next, f.err)
		}
		f.mu.Unlock()
	}
	if o.b%4 == 0 {
		return r.reopen()
	}
	if o.b%4 == 1 {
		return r.kill(o)
	}
	return r.power(o)
}
