package load

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Workload is work that is put on each target.
type Workload struct {
	Name    string
	Options Options

	// Goroutines and Size are set where they say all: that many append records of so many
	// bytes, each durable before the next.
	Goroutines, Size int

	// Buffered says that appends that are not synced are what is measured.
	Buffered bool

	// Lacks says why l cannot do it, or "". nil: all can.
	Lacks func(l Log) string

	// Limit returns what the disk alone does of it, in records a second: the same
	// bytes in the same writes and flushes, by one loop without a log. nil: no limit
	// is known.
	Limit func(dir string, d time.Duration) (float64, error)

	// Run does it for about d, behind a warm-up, on an open log of a target.
	Run func(r *Running) (Result, error)
}

// Running is a workload at work on one target.
type Running struct {
	Target  Target
	Log     Log
	Dir     string
	Options Options
	For     time.Duration
	Seed    uint64
}

// reopen closes the log and opens it again.
func (r *Running) reopen() (took time.Duration, err error) {
	if err := r.Log.Close(); err != nil {
		return 0, err
	}
	open := r.Target.Reopen
	if open == nil {
		open = r.Target.Open
	}
	start := time.Now()
	l, err := open(r.Dir, r.Options)
	if err == nil {
		r.Log = l
	}
	return time.Since(start), err
}

// payload hands out records of bytes that nothing compresses. All clients read them from
// the same memory, which is in the processor's cache, as what was just made is.
type payload struct {
	rng  *rand.Rand
	pool []byte
}

func newPayload(seed uint64, client, largest int) *payload {
	return &payload{rng: rand.New(rand.NewPCG(seed, uint64(client)+1)), pool: poolOf(largest + 64<<10)}
}

// pool is random; poolOf returns n bytes of it at least.
var pool struct {
	sync.Mutex
	bytes []byte
}

func poolOf(n int) []byte {
	pool.Lock()
	defer pool.Unlock()
	if len(pool.bytes) < n {
		rng := rand.NewChaCha8([32]byte{1})
		pool.bytes = make([]byte, n)
		_, _ = rng.Read(pool.bytes) // it does not fail
	}
	return pool.bytes[:n]
}

// next returns size bytes, which are valid until the next call.
func (p *payload) next(size int) []byte { return p.pool[p.rng.IntN(len(p.pool)-size+1):][:size] }

// warmUp is how much of the time goes before what is measured.
const warmUp = 5

// measured lets run work for a part of the time, and then for all of it, which is measured.
func (r *Running) measured(run func(time.Duration) (records, bytes int64, all []*samples, err error)) (Result, error) {
	_, warm, _, err := run(r.For / warmUp)
	if err != nil {
		return Result{}, err
	}
	res, err := measured(r.Dir, func() (int64, int64, []*samples, error) { return run(r.For) })
	res.Before = warm
	return res, err
}

// closedLoop has n clients append without a pause, each its next record when the last
// one is acknowledged. size draws how large a record is.
func closedLoop(r *Running, n, largest int, size func(*rand.Rand) int) (Result, error) {
	pools := make([]*payload, n)
	for c := range pools {
		pools[c] = newPayload(r.Seed, c, largest)
	}
	run := func(d time.Duration) (records, bytes int64, all []*samples, err error) {
		var count, total atomic.Int64
		all, err = clients(n, func(c int, s *samples) error {
			p := pools[c]
			var mine, sum int64
			defer func() { count.Add(mine); total.Add(sum) }()
			end := time.Now().Add(d)
			for at := time.Now(); at.Before(end); {
				data := p.next(size(p.rng))
				if err := r.Log.Append(data); err != nil {
					return err
				}
				now := time.Now()
				s.add(now.Sub(at))
				at = now
				mine++
				sum += int64(len(data))
			}
			return nil
		})
		return count.Load(), total.Load(), all, err
	}
	return r.measured(run)
}

func fixed(size int) func(*rand.Rand) int { return func(*rand.Rand) int { return size } }

// Durable has n goroutines append records of size bytes, each durable before the next.
func Durable(n, size int) Workload {
	return Workload{
		Name:       fmt.Sprintf("durable, %s, %s", goroutines(n), bytesOf(size)),
		Goroutines: n, Size: size,
		Limit: func(dir string, d time.Duration) (float64, error) { return RawSync(dir, n, size, d) },
		Run:   func(r *Running) (Result, error) { return closedLoop(r, n, size, fixed(size)) },
	}
}

// Zipf is Durable with sizes of which most are small and few are large: 16 bytes to
// 64 KiB, a size s as often as 1/s.
func Zipf(n int) Workload {
	const least, most = 16, 64 << 10
	draw := func(rng *rand.Rand) int { return int(least * math.Pow(most/least, rng.Float64())) }
	return Workload{Name: fmt.Sprintf("durable, %s, sizes by Zipf", goroutines(n)),
		Run: func(r *Running) (Result, error) { return closedLoop(r, n, most, draw) }}
}

// Bulk appends records of 1 MiB, each durable before the next.
func Bulk() Workload {
	w := Durable(1, 1<<20)
	w.Name = "bulk, records of 1 MiB"
	w.Limit = func(dir string, d time.Duration) (float64, error) { return RawDirect(dir, 1<<20, d) }
	return w
}

// Rotation is Durable in small segments.
func Rotation(n, size int, segment int64) Workload {
	w := Durable(n, size)
	w.Name = fmt.Sprintf("%s, segments of %s", w.Name, bytesOf(int(segment)))
	w.Options.SegmentSize, w.Goroutines = segment, 0
	return w
}

// Neighbour is Durable beside a program that writes and syncs files of its own on the same
// file system, 1 MiB at a time and without a pause.
func Neighbour(n, size int) Workload {
	w := Durable(n, size)
	w.Name += ", beside another writer"
	w.Limit, w.Goroutines = nil, 0 // the disk is not there for one alone
	w.Run = func(r *Running) (Result, error) {
		file, err := os.Create(r.Dir + ".neighbour")
		if err != nil {
			return Result{}, err
		}
		defer remove(file)
		stop, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- writeAndSync(file, stop) }()
		res, err := closedLoop(r, n, size, fixed(size))
		close(stop)
		return res, errors.Join(err, <-ended)
	}
	return w
}

// writeAndSync writes to file until stop is closed.
func writeAndSync(file *os.File, stop <-chan struct{}) error {
	b := poolOf(1 << 20)[:1<<20]
	for off := int64(0); ; off = (off + int64(len(b))) % rawSize {
		select {
		case <-stop:
			return nil
		default:
		}
		_, err := file.WriteAt(b, off)
		if err == nil {
			err = file.Sync()
		}
		if err != nil {
			return err
		}
	}
}

// Relaxed has one goroutine append records that need not be durable.
func Relaxed(size int) Workload {
	return Workload{Name: fmt.Sprintf("buffered, 1 goroutine, %s", bytesOf(size)), Options: Options{Relaxed: true}, Buffered: true,
		Run: func(r *Running) (Result, error) { return closedLoop(r, 1, size, fixed(size)) }}
}

// Batches has n goroutines append batches of records, each batch durable before the
// next.
func Batches(n, records, size int) Workload {
	return Workload{
		Name:  fmt.Sprintf("batches of %d, %s, %s", records, goroutines(n), bytesOf(size)),
		Lacks: func(l Log) string { return lacks[Batcher](l, "has no batches") },
		Limit: func(dir string, d time.Duration) (float64, error) { return RawSync(dir, n*records, size, d) },
		Run: func(r *Running) (Result, error) {
			log := r.Log.(Batcher)
			pools := make([]*payload, n)
			for c := range pools {
				pools[c] = newPayload(r.Seed, c, size)
			}
			run := func(d time.Duration) (int64, int64, []*samples, error) {
				var count atomic.Int64
				all, err := clients(n, func(c int, s *samples) error {
					batch := make([][]byte, records)
					end := time.Now().Add(d)
					for at := time.Now(); at.Before(end); {
						for i := range batch {
							batch[i] = pools[c].next(size)
						}
						if err := log.AppendBatch(batch); err != nil {
							return err
						}
						now := time.Now()
						s.add(now.Sub(at))
						at = now
						count.Add(int64(records))
					}
					return nil
				})
				return count.Load(), count.Load() * int64(size), all, err
			}
			return r.measured(run)
		},
	}
}

// Window has one goroutine append without waiting, with at most window records that
// are not known durable. The latency is that of the call that orders a record.
func Window(window, size int) Workload {
	return Workload{
		Name:  fmt.Sprintf("async, window of %d, %s", window, bytesOf(size)),
		Lacks: func(l Log) string { return lacks[Async](l, "waits for each append") },
		Run: func(r *Running) (Result, error) {
			log := r.Log.(Async)
			p := newPayload(r.Seed, 0, size)
			log.Slots(window)
			run := func(d time.Duration) (int64, int64, []*samples, error) {
				var n int64
				s := newSamples(1 << 20)
				end := time.Now().Add(d)
				for at := time.Now(); at.Before(end); n++ {
					slot := int(n % int64(window))
					if n >= int64(window) {
						if err := log.Wait(slot); err != nil {
							return n, 0, nil, err
						}
					}
					data := p.next(size)
					at = time.Now()
					if err := log.AppendAsync(slot, data); err != nil {
						return n, 0, nil, err
					}
					s.add(time.Since(at))
				}
				for slot := range min(n, int64(window)) {
					if err := log.Wait(int(slot)); err != nil {
						return n, 0, nil, err
					}
				}
				return n, n * int64(size), []*samples{s}, nil
			}
			return r.measured(run)
		},
	}
}

// Ordered has one goroutine append records that nobody waits for and that need not be
// durable: what an append costs besides the disk.
func Ordered(size int) Workload {
	return Workload{
		Name:     fmt.Sprintf("async, never waited for, %s", bytesOf(size)),
		Options:  Options{Relaxed: true},
		Buffered: true,
		Lacks:    func(l Log) string { return lacks[Orderer](l, "waits for each append") },
		Run: func(r *Running) (Result, error) {
			log := r.Log.(Orderer)
			p := newPayload(r.Seed, 0, size)
			run := func(d time.Duration) (int64, int64, []*samples, error) {
				var n int64
				end := time.Now().Add(d)
				for n%64 != 0 || time.Now().Before(end) {
					if err := log.Order(p.next(size)); err != nil {
						return n, 0, nil, err
					}
					n++
				}
				return n, n * int64(size), nil, nil
			}
			return r.measured(run)
		},
	}
}

// OpenLoop has records arrive at a rate a second, at random moments, whoever waits; each
// is appended by a goroutine of a pool that is large enough. The latency is from the
// moment that the record was to arrive, so that a log that stalls is charged for all
// that it keeps waiting.
func OpenLoop(rate, size int) Workload {
	return Workload{
		Name: fmt.Sprintf("open loop, %d a second, %s", rate, bytesOf(size)),
		Run: func(r *Running) (Result, error) {
			return measured(r.Dir, func() (int64, int64, []*samples, error) { return openLoop(r, rate, size) })
		},
	}
}

// openLoopClients is how many appends may wait at once in an open loop.
const openLoopClients = 512

func openLoop(r *Running, rate, size int) (int64, int64, []*samples, error) {
	// The runtime takes a processor away from who sleeps in the kernel after up to 10 ms: it
	// is to be one that the log would not have.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1))
	rng := rand.New(rand.NewPCG(r.Seed, 7))
	arrivals := make(chan time.Time, rate) // never full: a second's worth
	arrive := func() {
		defer close(arrivals)
		start := time.Now()
		at := time.Duration(0)
		for {
			at += time.Duration(rng.ExpFloat64() / float64(rate) * float64(time.Second))
			if at >= r.For {
				return
			}
			if ahead := at - time.Since(start); ahead > 100*time.Microsecond {
				sleep(ahead)
			}
			arrivals <- start.Add(at)
		}
	}
	var ready, count atomic.Int64
	all, err := clients(openLoopClients, func(c int, s *samples) error {
		p := newPayload(r.Seed, c, size)
		if ready.Add(1) == openLoopClients { // all are there, with their memory
			go arrive()
		}
		for due := range arrivals {
			if err := r.Log.Append(p.next(size)); err != nil {
				return err
			}
			s.add(max(0, time.Since(due)))
			count.Add(1)
		}
		return nil
	})
	return count.Load(), count.Load() * int64(size), all, err
}

// lacks returns why if l has not the methods of T.
func lacks[T any](l Log, why string) string {
	if _, ok := l.(T); ok {
		return ""
	}
	return why
}

func goroutines(n int) string {
	if n == 1 {
		return "1 goroutine"
	}
	return fmt.Sprintf("%d goroutines", n)
}

// bytesOf returns a size as it is read.
func bytesOf(size int) string {
	switch {
	case size >= 1<<20 && size%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", size>>20)
	case size >= 1<<10 && size%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", size>>10)
	}
	return fmt.Sprintf("%d B", size)
}
