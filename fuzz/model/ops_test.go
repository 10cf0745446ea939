package model

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed3918b8df/tidemark/wal"
)

// do runs one operation.
func (r *run) do(o op) error {
	r.floor = r.line.handed
	switch o.kind {
	case opAppend:
		return r.append(o)
	case opAsync:
		return r.async(o)
	case opBatch:
		return r.batch(o, true)
	case opBatchAsync:
		return r.batch(o, false)
	case opWait:
		return r.resolve(int(o.a % 4 * 2))
	case opSync:
		return r.outcome(r.line.order(r.line.now()), true, r.log.Sync())
	case opRotate:
		if err := r.settle(); err != nil {
			return err
		}
		return r.outcome(r.line.order(r.line.now()), true, r.log.Rotate())
	case opFront:
		return r.truncateFront(o)
	case opBack:
		return r.truncateBack(o)
	case opReset:
		return r.reset(o)
	case opHold, opMove, opRelease:
		return r.hold(o)
	case opRead:
		return r.read(o)
	case opReader:
		return r.reader(o)
	case opFollow:
		return r.startFollowing(o)
	case opLook:
		return r.look()
	case opViewer:
		return r.view()
	case opPass:
		return r.pass([]time.Duration{late + time.Millisecond, late + 10*time.Millisecond, late + syncEvery, time.Second}[o.a%4])
	case opFull:
		r.limited = true
		if o.a%8 > 4 {
			r.process.take(100 + int(o.b))
		}
		r.disk.SetLimit(max(1, r.disk.Used()+[]int64{0, 0, 500, 3000, 9000, 20_000}[o.a%6]))
		return nil
	case opSpace:
		return r.space()
	case opMistake:
		return r.mistake(o)
	case opReopen:
		return r.reopen()
	case opKill:
		return r.kill(o)
	case opPower:
		return r.power(o)
	case opFault:
		r.process.light(1+int(o.a%32), int(o.b))
		return nil
	}
	panic("no such operation")
}

// always reports whether an append returns when it is durable.
func (r *run) always() bool { return r.policy == wal.SyncAlways }

func (r *run) append(o op) error {
	for range 1 + o.a%6 {
		data := r.record(o.b)
		v := r.line.now().add(data)
		n := r.line.order(v)
		lsn, err := r.log.Append([]byte(data))
		if err == nil && lsn != v.last() {
			return fmt.Errorf("append got LSN %d, want %d", lsn, v.last())
		}
		if oerr := r.outcome(n, r.always(), err); err != nil || oerr != nil {
			return oerr
		}
	}
	return nil
}

func (r *run) async(o op) error {
	for range 1 + o.a%12 {
		data := r.record(o.b)
		v := r.line.now().add(data)
		n := r.line.order(v)
		p, err := r.log.AppendAsync([]byte(data))
		if err != nil {
			return r.outcome(n, false, err)
		}
		if p.First != v.last() || p.Last != v.last() {
			return fmt.Errorf("ordered as %d to %d, want %d", p.First, p.Last, v.last())
		}
		r.pending = append(r.pending, pending{Pending: p, n: n})
	}
	return nil
}

// drawn is a batch and what must come of it.
type drawn struct {
	wal.Batch
	view  view
	back  wal.LSN // the next LSN after the truncation; 0: it does not take anything away
	first wal.LSN // of its first record
	want  error   // nil: it is appended
}

func (r *run) drawBatch(o op) *drawn {
	d := &drawn{view: r.line.now()}
	now := d.view
	if o.a&1 != 0 {
		keep := between(max(now.first, 2)-2, now.last()+2, o.b)
		d.TruncateBack(keep)
		switch {
		case keep+1 < now.first:
			d.want = wal.ErrTruncated
		case keep < now.last():
			d.view, d.back = now.back(keep), keep+1
		}
	}
	if o.a&2 != 0 {
		d.view.meta, d.view.hasMeta = fmt.Sprint("meta ", o.a, strings.Repeat("m", int(o.b%50))), true
		if o.b%13 == 0 {
			d.view.meta = ""
		}
		d.SetMeta([]byte(d.view.meta))
	}
	d.first = d.view.last() + 1
	if n := o.a >> 2 % 8; n > 0 {
		for i := range n {
			data := r.record(o.b + i)
			if i%3 == 2 {
				copy(d.Extend(len(data)), data)
			} else {
				d.Add([]byte(data))
			}
			d.view = d.view.add(data)
		}
		switch o.a >> 5 % 4 {
		case 1:
			d.SetFirst(d.first)
		case 2:
			d.SetFirst(d.first + 1 + wal.LSN(o.b%3))
			if d.want == nil {
				d.want = wal.ErrConflict
			}
		}
	}
	return d
}

func (r *run) batch(o op, wait bool) error {
	d := r.drawBatch(o)
	n := r.line.order(d.view)
	p, err := wal.Pending{}, error(nil)
	if wait {
		p.First, err = r.log.AppendBatch(&d.Batch)
	} else {
		p, err = r.log.AppendBatchAsync(&d.Batch)
	}
	switch {
	case d.want != nil && errors.Is(err, d.want):
		r.hits["batches refused"]++
		return r.line.drop(n)
	case d.want != nil && err == nil:
		return fmt.Errorf("the batch was appended, want %v", d.want)
	case err == nil && p.First != d.first:
		return fmt.Errorf("the batch begins at %d, want %d", p.First, d.first)
	case err == nil && !wait:
		if want := d.first + wal.LSN(d.Len()) - 1; p.Last != want {
			return fmt.Errorf("the batch ends at %d, want %d", p.Last, want)
		}
		r.pending = append(r.pending, pending{Pending: p, n: n, back: d.back})
		return nil
	}
	if err == nil {
		if r.truncating() { // in their order
			if err := r.resolve(0); err != nil {
				return err
			}
		}
		r.rewound(d.back)
	}
	return r.outcome(n, r.always(), err)
}

// refused checks the error of a call that must fail before it is ordered.
func (r *run) refused(what string, err, want error) error {
	switch {
	case errors.Is(err, want):
		return nil
	case errors.Is(err, wal.ErrFailed) && r.process.broken(), errors.Is(err, wal.ErrNoSpace) && (r.limited || r.process.broken()):
		return nil
	}
	return fmt.Errorf("%s: %v, want %w", what, err, want)
}

func (r *run) truncateFront(o op) error {
	if err := r.settle(); err != nil {
		return err
	}
	now := r.line.now()
	to := between(max(now.first, 2)-1, now.last()+2, o.a)
	if to > now.last()+1 {
		return r.refused("truncate front", r.log.TruncateFront(to), wal.ErrNotFound)
	}
	target := to
	for _, h := range r.holds {
		target = min(target, h.lsn)
	}
	n := r.line.order(now.front(target))
	err := r.log.TruncateFront(to)
	if errors.Is(err, wal.ErrNotFound) && r.process.broken() { // a truncation that failed had been ordered
		return r.line.drop(n)
	}
	if err != nil && !r.process.broken() {
		return fmt.Errorf("truncate front to %d, limited %v: %w", to, r.limited, err)
	}
	return r.outcome(n, true, err)
}

func (r *run) truncateBack(o op) error {
	if err := r.settle(); err != nil {
		return err
	}
	now := r.line.now()
	to := between(max(now.first, 2)-2, now.last()+2, o.a)
	if to+1 < now.first {
		return r.refused("truncate back", r.log.TruncateBack(to), wal.ErrTruncated)
	}
	n := r.line.order(now.back(to))
	err := r.log.TruncateBack(to)
	if err == nil && to < now.last() {
		r.rewound(to + 1)
	}
	return r.outcome(n, true, err)
}

func (r *run) reset(o op) error {
	if err := r.settle(); err != nil {
		return err
	}
	now := r.line.now()
	to := between(max(now.first, 4)-3, now.last()+20, o.a)
	n := r.line.order(now.reset(to))
	err := r.log.Reset(to)
	if err == nil {
		r.rewound(to)
	}
	return r.outcome(n, true, err)
}

func (r *run) hold(o op) error {
	if o.kind != opHold && len(r.holds) == 0 {
		return nil
	}
	at := int(o.a) % max(1, len(r.holds))
	switch now := r.line.now(); o.kind {
	case opMove:
		to := between(now.first, now.last()+2, o.b)
		r.holds[at].Move(to)
		r.holds[at].lsn = max(r.holds[at].lsn, to)
	case opRelease:
		r.holds[at].Release()
		r.holds[at].Release()
		r.holds = append(r.holds[:at], r.holds[at+1:]...)
	case opHold:
		lsn := between(max(now.first, 2)-1, now.last()+2, o.a)
		h, err := r.log.Hold("test", lsn)
		if lsn < now.first {
			return r.refused("hold", err, wal.ErrTruncated)
		}
		if err != nil {
			return err
		}
		r.holds = append(r.holds, hold{h, lsn})
	}
	return nil
}

// pass lets time pass, after which what was ordered is handed over and synced.
func (r *run) pass(d time.Duration) error {
	time.Sleep(d) // the bubble's clock
	if r.limited || r.process.broken() {
		return nil
	}
	if r.policy != wal.SyncAlways { // else what is handed over is not seen yet
		r.line.setHanded(r.line.since(time.Now().Add(-late - time.Millisecond)))
	}
	switch r.policy {
	case wal.SyncAlways:
		r.line.setDurable(r.line.since(time.Now().Add(-late - 10*time.Millisecond)))
	case wal.SyncInterval:
		r.line.setDurable(r.line.since(time.Now().Add(-late - syncEvery)))
	}
	return nil
}

func (r *run) space() error {
	if err := r.resolve(0); err != nil {
		return err
	}
	r.disk.SetLimit(0)
	r.process.take(0)
	r.limited = false
	return nil
}

// mistake calls what must fail, and change nothing.
func (r *run) mistake(o op) error {
	large := make([]byte, maxRecord+1)
	var b wal.Batch
	switch o.a % 8 {
	case 0:
		_, err := r.log.Append(large)
		return r.refused("append", err, wal.ErrTooLarge)
	case 1:
		_, err := r.log.AppendAsync(large)
		return r.refused("append", err, wal.ErrTooLarge)
	case 2:
		b.Add(large)
		_, err := r.log.AppendBatch(&b)
		return r.refused("batch", err, wal.ErrTooLarge)
	case 3:
		for range r.segment/maxRecord + 1 {
			b.Add(large[:maxRecord])
		}
		_, err := r.log.AppendBatchAsync(&b)
		return r.refused("batch", err, wal.ErrTooLarge)
	case 4:
		b.SetMeta(make([]byte, wal.MaxMetaSize+1))
		_, err := r.log.AppendBatch(&b)
		return r.refused("meta", err, wal.ErrTooLarge)
	case 5:
		if r.log.Reset(0) == nil || r.log.Reset(wal.MaxFirstLSN+1) == nil {
			return errors.New("reset to an LSN that is none")
		}
	case 6:
		_, err := wal.Open(dir, &wal.Options{FS: r.disk, SegmentSize: r.segment})
		return r.refused("a second writer", err, wal.ErrLocked)
	case 7:
		ended, cancel := context.WithCancel(ctx)
		cancel()
		for _, p := range r.pending {
			if err := p.Wait(ended); !errors.Is(err, context.Canceled) {
				return fmt.Errorf("wait with an ended context: %w", err)
			}
		}
		return r.refused("wait for nothing", wal.Pending{}.Wait(ctx), wal.ErrNotFound)
	}
	return nil
}
