package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/seed3918b8df/tidemark/recovery"
)

// viewer is what makes a log read-only: it looks at the directory each time the
// log is asked for something, changes nothing, and works beside a writer.
type viewer struct {
	cfg recovery.Config
	mu  sync.Mutex
	was time.Time // of the last look
}

// lookEvery is how long one look counts as now.
const lookEvery = time.Millisecond

func openViewer(dir string, o Options) (*Log, error) {
	v := &viewer{cfg: recovery.Config{FS: o.FS, Dir: dir, Mode: o.Recovery, ExpectLSN: o.ExpectLSN, Live: true}, was: time.Now()}
	plan, err := recovery.Examine(v.cfg)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	if err := plan.Refusal(); err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	if !plan.Exists {
		return nil, fmt.Errorf("wal: no log in %s: %w", dir, fs.ErrNotExist)
	}
	v.cfg.ExpectLSN = 0 // it has been checked
	l := newLog(dir, o, plan)
	l.viewer = v
	l.durable.Store(uint64(plan.Report.Durable))
	l.hooks.recovered(l.report)
	return l, nil
}

// look brings l up to date. What cannot be read now is left as it was: a read of
// it says why.
func (v *viewer) look(l *Log) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if l.ended.Load() || time.Since(v.was) < lookEvery {
		return
	}
	plan, err := recovery.Examine(v.cfg)
	if err != nil || plan.Refusal() != nil || !plan.Exists {
		l.logger.Log(nil, slog.LevelWarn, "wal: the log cannot be read now", "err", errors.Join(err, refusalOf(plan)))
		return
	}
	v.was = time.Now()
	old, last := *l.segments.Load(), LSN(l.last.Load())
	l.show(plan)
	if next := rewoundTo(old, l.lead.segments, last, plan.Next); next <= last {
		l.rewinds.add(next)
	}
	l.durable.Store(uint64(plan.Report.Durable))
	for _, e := range old {
		_ = e.drop() // it was only read
	}
	l.news.fire()
}

func refusalOf(p *recovery.Plan) error {
	if p == nil {
		return nil
	}
	return p.Refusal()
}

// rewoundTo returns the LSN of the first record of old, of which last was the
// newest, that now is not in the log any more, or is another; above last if all
// are.
func rewoundTo(old, now []*extent, last, next LSN) LSN {
	low := next
	still := map[uint64]*extent{}
	for _, e := range now {
		still[e.id] = e
	}
	for _, e := range old {
		if len(now) > 0 && e.id < now[0].id {
			continue // truncated in front
		}
		if still[e.id] != nil || e.loadHead() != nil {
			continue
		}
		low = min(low, e.baseLSN())
	}
	for at := 1; at < len(now); at++ {
		if e := now[at]; at == len(now)-1 || low <= last {
			if e.loadHead() == nil && e.opening.Prev.ID != 0 && !wasIn(old, e.id) {
				low = min(low, max(e.baseLSN(), 1))
			}
		}
	}
	return low
}

func wasIn(list []*extent, id uint64) bool {
	for _, e := range list {
		if e.id == id {
			return true
		}
	}
	return false
}
