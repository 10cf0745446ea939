package model

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/wal"
)

var histories = flag.Int("histories", 0, "histories of eight clients to be checked; 0: as -scale says")

const (
	clients = 8
	rounds  = 3  // of a history: each ends with a crash
	calls   = 14 // of a client in a round, at most
)

// history is eight clients at one log, until a crash.
type history struct {
	log    *wal.Log
	policy wal.SyncPolicy
	clock  atomic.Int64
	count  atomic.Int64 // of records and metas
	names  string       // begins those of this round

	mu    sync.Mutex
	calls []porcupine.Operation
	err   error // an answer that nothing explains
}

// crashing is a disk of which all calls fail from one on, in the middle of which the
// machine stops.
type crashing struct {
	mu    sync.Mutex
	fuse  int
	ended bool
}

func (d *crashing) handle(c vfs.Call, do func(int) (int, error)) (int, error) {
	if !c.Op.Mutates() {
		return do(int(c.Size))
	}
	for range 3 { // so that others come to run on few processors
		runtime.Gosched()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fuse--
	switch {
	case d.ended:
		return 0, fs.ErrClosed
	case d.fuse == 0 && c.Op == vfs.WriteAt:
		n, _ := do(int(c.Size) / 2)
		return n, syscall.EIO
	case d.fuse == 0 && c.Op == vfs.WriteSync:
		_, _ = do(-int(c.Size) / 2)
		return 0, syscall.EIO
	case d.fuse <= 0:
		return 0, syscall.EIO
	}
	return do(int(c.Size))
}

// begin notes that a call begins, and returns what notes that it ended.
func (h *history) begin(client int, c call) func(answer) {
	start := h.clock.Add(1)
	return func(a answer) {
		end := h.clock.Add(1)
		h.mu.Lock()
		defer h.mu.Unlock()
		if a.unknown {
			end = crashTime
		}
		h.calls = append(h.calls, porcupine.Operation{ClientId: client, Input: c, Call: start, Output: a, Return: end})
	}
}

// crashTime is when calls end that had not returned.
const crashTime = 1 << 40

// ended sorts the error of a call that changes the log: it returns the answer, and
// whether the client stops.
func (h *history) ended(err error) (a answer, stop bool) {
	switch {
	case err == nil:
		return a, false
	case errors.Is(err, wal.ErrConflict), errors.Is(err, wal.ErrTruncated), errors.Is(err, wal.ErrNotFound):
		return answer{refused: true}, false
	case errors.Is(err, wal.ErrUnknownOutcome):
		return answer{unknown: true}, true
	case errors.Is(err, wal.ErrFailed), errors.Is(err, wal.ErrNoSpace):
		return answer{refused: true}, true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
	return answer{refused: true}, true
}

func (h *history) name() string { return fmt.Sprintf("%s%d", h.names, h.count.Add(1)) }

// appender appends one record after the other.
func (h *history) appender(client int, rnd *rand.Rand) {
	for range calls {
		c := call{verb: callAppend, records: []string{h.name()}}
		end := h.begin(client, c)
		lsn, err := h.log.Append([]byte(c.records[0]))
		a, stop := h.ended(err)
		if err == nil {
			a.lsn = lsn
		}
		if end(a); stop {
			return
		}
		for range rnd.IntN(3) {
			runtime.Gosched()
		}
	}
}

// async appends a few records at once, and waits for them in some order.
func (h *history) async(client int, rnd *rand.Rand) {
	type ordered struct {
		wal.Pending
		end func(answer)
	}
	for range calls / 3 {
		var list []ordered
		for range 1 + rnd.IntN(4) {
			c := call{verb: callAppend, records: []string{h.name()}}
			end := h.begin(client, c)
			p, err := h.log.AppendAsync([]byte(c.records[0]))
			if a, stop := h.ended(err); err != nil {
				if end(a); stop {
					break
				}
			}
			list = append(list, ordered{p, end})
		}
		stop := len(list) == 0
		for _, i := range rnd.Perm(len(list)) {
			a, ended := h.ended(list[i].Wait(context.Background()))
			stop = stop || ended
			if !a.refused {
				a.lsn = list[i].First
			}
			list[i].end(a)
		}
		if stop {
			return
		}
	}
}

// batcher appends batches where it believes that the log ends, or has them truncate
// what is above a record.
func (h *history) batcher(client int, rnd *rand.Rand) {
	var b wal.Batch
	for range calls {
		b.Reset()
		c := call{verb: callAppend}
		for range 1 + rnd.IntN(3) {
			c.records = append(c.records, h.name())
			b.Add([]byte(c.records[len(c.records)-1]))
		}
		if rnd.IntN(2) == 0 {
			c.meta = h.name()
			b.SetMeta([]byte(c.meta))
		}
		last := h.log.LastLSN()
		switch rnd.IntN(6) {
		case 0, 1, 2:
			c.expect = last + 1 + wal.LSN(rnd.IntN(2))
			b.SetFirst(c.expect)
		case 3:
			c.cuts, c.lsn = true, last-min(last, wal.LSN(rnd.IntN(3)))
			b.TruncateBack(c.lsn)
		}
		end := h.begin(client, c)
		first, err := h.log.AppendBatch(&b)
		a, stop := h.ended(err)
		if err == nil {
			a.lsn = first
		}
		if end(a); stop {
			return
		}
	}
}

// truncator truncates at both ends, and rotates.
func (h *history) truncator(client int, rnd *rand.Rand) {
	for range calls {
		var err error
		c := call{}
		var end func(answer)
		switch first, last := h.log.FirstLSN(), h.log.LastLSN(); rnd.IntN(5) {
		case 0, 1:
			c.verb, c.lsn = callBack, last-min(last, wal.LSN(rnd.IntN(4)))
			end = h.begin(client, c)
			err = h.log.TruncateBack(c.lsn)
		case 2, 3:
			c.verb, c.lsn = callFront, first+wal.LSN(rnd.IntN(5))
			end = h.begin(client, c)
			err = h.log.TruncateFront(c.lsn)
		default:
			err = h.log.Rotate()
			end = func(answer) {}
		}
		a, stop := h.ended(err)
		if end(a); stop {
			return
		}
	}
}

// reader asks what there is.
func (h *history) reader(client int, rnd *rand.Rand) {
	for range 3 * calls {
		first, last := h.log.FirstLSN(), h.log.LastLSN()
		c := call{verb: []verb{callRead, callRead, callFirst, callLast, callLast, callDurable, callMeta}[rnd.IntN(7)]}
		var a answer
		switch c.verb {
		case callRead:
			c.lsn = first + wal.LSN(rnd.IntN(int(last-first)+2+1)) - 1
			if rnd.IntN(2) == 0 {
				c.lsn = last + wal.LSN(rnd.IntN(2))
			}
			end := h.begin(client, c)
			data, err := h.log.Read(c.lsn, nil)
			end(h.read(string(data), err))
			continue
		case callFirst:
			end := h.begin(client, c)
			a.lsn = h.log.FirstLSN()
			end(a)
		case callLast:
			end := h.begin(client, c)
			a.lsn = h.log.LastLSN()
			end(a)
		case callDurable:
			end := h.begin(client, c)
			a.lsn = h.log.DurableLSN()
			end(a)
		case callMeta:
			end := h.begin(client, c)
			a.data = string(h.log.Meta())
			end(a)
		}
		runtime.Gosched()
	}
}

// iterator reads all of the log, a few times: each record is a read of its own.
func (h *history) iterator(client int, _ *rand.Rand) {
	for range 4 {
		r, err := h.log.NewReader(h.log.FirstLSN())
		if err != nil { // truncated meanwhile
			continue
		}
		for n := 0; n < 2*calls; n++ {
			start := h.clock.Add(1)
			if !r.Next() {
				if err := r.Err(); err != nil && !errors.Is(err, wal.ErrTruncated) && !errors.Is(err, wal.ErrRewound) {
					h.read("", err)
				}
				break
			}
			rec := r.Record()
			h.mu.Lock()
			h.calls = append(h.calls, porcupine.Operation{ClientId: client, Call: start, Return: h.clock.Add(1),
				Input: call{verb: callRead, lsn: rec.LSN}, Output: answer{data: string(rec.Data)}})
			h.mu.Unlock()
		}
		runtime.Gosched()
	}
}

// read sorts the error of a read.
func (h *history) read(data string, err error) answer {
	switch {
	case err == nil:
		return answer{data: data}
	case errors.Is(err, wal.ErrTruncated):
		return answer{err: wal.ErrTruncated}
	case errors.Is(err, wal.ErrNotFound):
		return answer{err: wal.ErrNotFound}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
	return answer{refused: true}
}

// round has all clients run on the disk until the crash, and returns the disk that
// is left and what the log on it holds.
func (h *history) round(disk *vfs.Crash, rnd *rand.Rand) (*vfs.Crash, view, error) {
	d := &crashing{fuse: 1 + rnd.IntN(120)}
	l, err := wal.Open(dir, &wal.Options{FS: vfs.Wrap(disk, d.handle), SegmentSize: wal.MinSegmentSize, Sync: h.policy, Direct: rnd.IntN(2) == 0})
	if err == nil {
		h.log = l
		var all sync.WaitGroup
		for i, run := range []func(int, *rand.Rand){h.appender, h.appender, h.appender, h.async, h.batcher, h.truncator, h.reader, h.iterator} {
			own := rand.New(rand.NewPCG(rnd.Uint64(), 0))
			all.Go(func() { run(i, own) })
		}
		all.Wait()
	} else if !errors.Is(err, syscall.EIO) {
		return nil, view{}, err
	}
	d.mu.Lock()
	d.ended = true
	state := disk.State()
	d.mu.Unlock()
	disk.Kill()
	if l != nil {
		_ = l.Close() // ends the goroutines
	}
	picks := state.Newest() // the process ends
	if h.policy == wal.SyncAlways {
		state.Each(1+rnd.IntN(20), rnd.Uint64(), func(p []int) bool { // the power fails
			copy(picks, p)
			return true
		})
	}
	disk = vfs.NewCrashFrom(state.Image(picks), 512)
	v, err := found(state.Image(picks))
	if err != nil {
		return nil, v, fmt.Errorf("%w\nafter a crash with\n%s", err, state.Describe(picks))
	}
	h.calls = append(h.calls, porcupine.Operation{Input: call{verb: callFound}, Call: crashTime + 1, Output: answer{found: v}, Return: crashTime + 2})
	return disk, v, h.err
}

// found returns what the log on m holds.
func found(m *vfs.Mem) (view, error) {
	l, err := wal.Open(dir, &wal.Options{FS: m, SegmentSize: wal.MinSegmentSize})
	if err != nil {
		return view{}, fmt.Errorf("open: %w", err)
	}
	defer l.Close()
	return content(l)
}

// checked is what is known of a round that was legal.
type checked struct {
	start view
	calls []porcupine.Operation
}

// runHistory runs and checks one history.
func runHistory(seed uint64) (list []checked, err error) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	disk := vfs.NewCrash(512)
	disk.UseDirect(4096)
	now := view{first: 1}
	policy := []wal.SyncPolicy{wal.SyncAlways, wal.SyncAlways, wal.SyncInterval, wal.SyncNone}[rnd.IntN(4)]
	for n := range rounds {
		h := &history{policy: policy, names: fmt.Sprintf("%d.", n)}
		next, v, err := h.round(disk, rnd)
		if err == nil {
			err = legal(now, h.calls)
		}
		if err == nil {
			err = monotone(h.calls)
		}
		if err != nil {
			return nil, fmt.Errorf("seed %d, round %d, policy %d: %w", seed, n, policy, err)
		}
		list = append(list, checked{now, h.calls})
		disk, now = next, v
	}
	return list, nil
}

// monotone returns an error if a client saw DurableLSN fall with no truncation under
// way meanwhile.
func monotone(list []porcupine.Operation) error {
	var cuts []porcupine.Operation
	seen := map[int]porcupine.Operation{} // by client, the last one
	for _, o := range list {
		if c := o.Input.(call); c.verb == callBack || c.cuts {
			cuts = append(cuts, o)
		}
	}
	for _, o := range list { // those of one client are in their order
		if o.Input.(call).verb != callDurable {
			continue
		}
		was, any := seen[o.ClientId]
		seen[o.ClientId] = o
		if !any || was.Output.(answer).lsn <= o.Output.(answer).lsn {
			continue
		}
		if !slices.ContainsFunc(cuts, func(c porcupine.Operation) bool { return c.Call < o.Return && was.Call < c.Return }) {
			return fmt.Errorf("DurableLSN falls from %d to %d", was.Output.(answer).lsn, o.Output.(answer).lsn)
		}
	}
	return nil
}

func TestHistoriesAreDurablyLinearizable(t *testing.T) {
	n := scale.Pick(t, 20, 60, 250, 20_000)
	if *histories > 0 {
		n = *histories
	}
	var next, done, all, unknown atomic.Int64
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for seed := next.Add(1); seed <= int64(n) && !t.Failed(); seed = next.Add(1) {
				list, err := runHistory(uint64(seed))
				if err != nil {
					t.Error(err)
					return
				}
				for _, r := range list {
					all.Add(int64(len(r.calls)))
					for _, o := range r.calls {
						if o.Output.(answer).unknown {
							unknown.Add(1)
						}
					}
				}
				done.Add(1)
			}
		})
	}
	workers.Wait()
	t.Logf("%d histories of %d clients and %d crashes, %d calls, of which %d have no known outcome", done.Load(), clients, rounds, all.Load(), unknown.Load())
	if done.Load() != int64(n) || all.Load() < int64(n*rounds*40) || unknown.Load() < int64(n/4) {
		t.Errorf("want %d histories, with calls and unknown outcomes to match", n)
	}
}
