package model

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed3918b8df/tidemark/wal"
)

// cursor is a reader and what must become of it.
type cursor struct {
	*wal.Reader
	next wal.LSN // that it returns
	low  wal.LSN // the lowest next LSN that the log was taken back to since it was asked
}

const noRewind = ^wal.LSN(0)

// ending is how a reader ends that would return record next; nil: it goes on.
func ending(next, low, first wal.LSN) error {
	switch {
	case low < next:
		return wal.ErrRewound
	case next < first:
		return wal.ErrTruncated
	}
	return nil
}

// visible is what readers see, where no truncation is under way that nobody waits for.
func (r *run) visible() (view, error) {
	if r.truncating() {
		if err := r.resolve(0); err != nil {
			return view{}, err
		}
		if err := r.see(); err != nil {
			return view{}, err
		}
	}
	return r.line.views[r.line.handed], nil
}

// read reads some records, some of which are not there.
func (r *run) read(o op) error {
	v, err := r.visible()
	if err != nil || r.process.broken() {
		return err
	}
	dst := []byte("before")
	for i := range 4 + o.a%4 {
		lsn := between(max(v.first, 3)-2, v.last()+3, o.b+i*o.a)
		got, err := r.log.Read(lsn, dst)
		switch want, there := v.at(lsn); {
		case lsn < v.first && errors.Is(err, wal.ErrTruncated), lsn > v.last() && errors.Is(err, wal.ErrNotFound):
		case !there || err != nil || string(got) != "before"+want:
			return fmt.Errorf("read %d of %v: %.20q, %v", lsn, v, got, err)
		}
	}
	return nil
}

// reader makes a reader, or moves one, and reads on with all.
func (r *run) reader(o op) error {
	v, err := r.visible()
	if err != nil || r.process.broken() { // what of a truncation without a known outcome they see is open
		return err
	}
	if len(r.readers) < 3 && o.a%2 == 0 {
		lsn := between(max(v.first, 2)-1, v.last()+2, o.b)
		rd, err := r.log.NewReader(lsn)
		if err := checkSeek(v, lsn, err); err != nil || lsn < v.first || lsn > v.last()+1 {
			return err
		}
		r.readers = append(r.readers, &cursor{Reader: rd, next: lsn, low: noRewind})
		return nil
	}
	if len(r.readers) > 0 && o.b%5 == 0 {
		c := r.readers[int(o.a)%len(r.readers)]
		lsn := between(max(v.first, 2)-1, v.last()+2, o.b/5)
		err := c.Seek(lsn)
		if err == nil {
			c.next, c.low = lsn, noRewind
		}
		return checkSeek(v, lsn, err)
	}
	for i, c := range r.readers {
		if err := r.advance(c, v, int(o.b>>i)%50); err != nil {
			return err
		}
		if err := r.see(); err != nil || r.process.broken() { // time has passed
			return err
		}
		v = r.line.views[r.line.handed]
	}
	return nil
}

// checkSeek checks the error of a Seek to record lsn.
func checkSeek(v view, lsn wal.LSN, err error) error {
	switch {
	case lsn < v.first && errors.Is(err, wal.ErrTruncated), lsn > v.last()+1 && errors.Is(err, wal.ErrNotFound):
	case lsn < v.first || lsn > v.last()+1 || err != nil:
		return fmt.Errorf("seek to %d of %v: %v", lsn, v, err)
	}
	return nil
}

// advance steps a reader n records on, or to its end.
func (r *run) advance(c *cursor, v view, n int) error {
	want := ending(c.next, c.low, v.first)
	c.low = noRewind
	if want != nil {
		r.hits["readers overtaken"]++
		if c.Next() || !errors.Is(c.Err(), want) {
			return fmt.Errorf("a reader at %d ends with %v, want %w", c.next, c.Err(), want)
		}
		c.next = v.first
		return c.Seek(v.first)
	}
	for range n {
		if c.next > v.last() {
			if c.Next() || c.Err() != nil {
				return fmt.Errorf("a reader has %d, %v behind the end %d", c.Record().LSN, c.Err(), v.last())
			}
			return r.wait(c)
		}
		if !c.Next() {
			return fmt.Errorf("a reader stops before %d of %v: %v", c.next, v, c.Err())
		}
		rec := c.Record()
		if want, _ := v.at(c.next); rec.LSN != c.next || string(rec.Data) != want {
			return fmt.Errorf("a reader has %d %.20q, want %d %.20q", rec.LSN, rec.Data, c.next, want)
		}
		c.next++
	}
	return nil
}

// wait waits a moment for a record at the end of the log.
func (r *run) wait(c *cursor) error {
	moment, cancel := context.WithTimeout(ctx, 300*time.Microsecond)
	defer cancel()
	err := c.Wait(moment)
	switch {
	case err == nil && c.next > r.log.LastLSN():
		return fmt.Errorf("there is news of %d, and LastLSN is %d", c.next, r.log.LastLSN())
	case err == nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, wal.ErrFailed) && r.process.broken():
		return nil
	}
	return fmt.Errorf("wait: %w", err)
}

// follower follows the log on a goroutine of its own.
type follower struct {
	cancel context.CancelFunc
	low    wal.LSN // the lowest next LSN that the log was taken back to

	mu   sync.Mutex
	next wal.LSN
	got  []string // from next-len(got) on, not looked at yet
	err  error    // why it ended
}

func (r *run) startFollowing(o op) error {
	v, err := r.visible()
	if err != nil || len(r.followers) == 2 {
		return err
	}
	c, cancel := context.WithCancel(ctx)
	f := &follower{cancel: cancel, next: between(v.first, v.last()+1, o.a), low: noRewind}
	r.followers = append(r.followers, f)
	l := r.log
	go f.run(c, l)
	return nil
}

func (f *follower) run(ctx context.Context, l *wal.Log) {
	for rec, err := range l.Follow(ctx, f.next) {
		f.mu.Lock()
		if err == nil && rec.LSN != f.next {
			err = fmt.Errorf("%d instead of %d", rec.LSN, f.next)
		}
		if f.err = err; err == nil {
			f.got = append(f.got, string(rec.Data))
			f.next++
		}
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// follow checks what followers have got by now, which is everything. Nothing runs.
func (r *run) follow() error {
	for i, f := range r.followers {
		f.mu.Lock()
		from, got, err := f.next-wal.LSN(len(f.got)), f.got, f.err
		f.got = nil
		f.mu.Unlock()
		for j, data := range got {
			if r.line.find(min(r.floor, r.line.handed), func(v view) bool {
				want, there := v.at(from + wal.LSN(j))
				return there && want == data
			}) < 0 {
				return fmt.Errorf("follower %d has %.20q as %d", i, data, from+wal.LSN(j))
			}
		}
		if r.truncating() || r.process.broken() {
			continue
		}
		switch want := ending(f.next, f.low, r.log.FirstLSN()); {
		case want == nil && err == nil && f.next == r.log.LastLSN()+1:
			f.low = noRewind // it took nothing that was passed
		case want != nil && errors.Is(err, want):
			r.hits["followers overtaken"]++
			r.followers = append(r.followers[:i:i], r.followers[i+1:]...)
			return r.follow()
		default:
			return fmt.Errorf("follower %d is at %d of %d, with %v, want %v", i, f.next, r.log.LastLSN(), err, want)
		}
	}
	return nil
}

// view looks at the log as another process does that only reads.
func (r *run) view() error {
	if err := r.resolve(0); err != nil || r.process.broken() {
		return err
	}
	if r.viewer == nil {
		v, err := wal.Open(dir, &wal.Options{FS: r.disk, ReadOnly: true})
		if err != nil {
			return fmt.Errorf("open read-only: %w", err)
		}
		r.viewer = v
	}
	r.hits["looks read-only"]++
	time.Sleep(2 * time.Millisecond) // the bubble's clock
	settled()
	if r.process.broken() {
		return nil
	}
	v, err := content(r.viewer)
	if err != nil {
		return fmt.Errorf("read-only: %w", err)
	}
	if !v.equal(r.line.now()) {
		return fmt.Errorf("read-only: %w", r.line.explain(r.line.newest(), v))
	}
	if mine, theirs := r.log.DurableLSN(), r.viewer.DurableLSN(); theirs > mine {
		return fmt.Errorf("read-only: DurableLSN is %d, the writer's %d", theirs, mine)
	}
	_, err = r.viewer.Append(nil)
	_, err2 := r.viewer.Hold("", v.first)
	for _, err := range []error{err, err2, r.viewer.Sync(), r.viewer.Rotate(), r.viewer.TruncateFront(v.first), r.viewer.TruncateBack(v.first), r.viewer.Reset(1)} {
		if !errors.Is(err, wal.ErrReadOnly) {
			return fmt.Errorf("read-only: %v, want %w", err, wal.ErrReadOnly)
		}
	}
	return r.segments(r.viewer)
}

// segments checks what l says about its segments.
func (r *run) segments(l *wal.Log) error {
	list := l.Segments()
	for i, s := range list {
		switch {
		case s.Size == 0:
			return fmt.Errorf("segment %d cannot be read", s.ID)
		case i > 0 && (s.ID <= list[i-1].ID || s.First < list[i-1].First):
			return fmt.Errorf("segment %d from %d after %d from %d", s.ID, s.First, list[i-1].ID, list[i-1].First)
		}
	}
	if first, last := l.FirstLSN(), l.LastLSN(); len(list) > 0 && first <= last && (list[0].First > first || list[len(list)-1].First > last+1) {
		return fmt.Errorf("segments %v of a log from %d to %d", list, first, last)
	}
	return nil
}
