package load

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// fill appends about total bytes in records of size bytes, and returns how many. It
// does not wait for each, where the log lets it.
func fill(r *Running, total int64, size int) (records int64, err error) {
	p := newPayload(r.Seed, 0, size)
	records = max(1, total/int64(size))
	if log, ok := r.Log.(Batcher); ok {
		batch := make([][]byte, 0, 256)
		for n := int64(0); n < records; {
			batch = batch[:0]
			for ; n < records && len(batch) < cap(batch); n++ {
				batch = append(batch, p.next(size))
			}
			if err := log.AppendBatch(batch); err != nil {
				return n, err
			}
		}
		return records, nil
	}
	for n := range records {
		if err := r.Log.Append(p.next(size)); err != nil {
			return n, err
		}
	}
	return records, nil
}

// Scan reads a log of the given bytes from its first record to its last, from memory
// or, cold, from the disk.
func Scan(total int64, size int, cold bool) Workload {
	how := "warm"
	limit := func(dir string, d time.Duration) (float64, error) { return RawScan(dir, total, size, d) }
	if cold {
		how, limit = "cold", nil // the file of the loop is in memory
	}
	return Workload{
		Limit:   limit,
		Name:    fmt.Sprintf("scan, %s, %s of %s", how, bytesOf(int(total)), bytesOf(size)),
		Options: Options{Relaxed: true},
		Lacks:   func(l Log) string { return lacks[Scanner](l, "cannot be scanned") },
		Run: func(r *Running) (res Result, err error) {
			records, err := fill(r, total, size)
			if err == nil {
				_, err = r.reopen()
			}
			if err != nil {
				return res, err
			}
			end := time.Now().Add(r.For)
			for first := true; first || time.Now().Before(end); first = false {
				if cold {
					if err := dropCache(r.Dir); err != nil {
						return res, err
					}
				} else if first {
					if _, _, err := r.Log.(Scanner).Scan(); err != nil {
						return res, err
					}
				}
				one, err := measured(r.Dir, func() (int64, int64, []*samples, error) {
					n, bytes, err := r.Log.(Scanner).Scan()
					if err == nil && n != records {
						err = fmt.Errorf("scan: %d records, want %d", n, records)
					}
					return n, bytes, nil, err
				})
				if err != nil {
					return res, err
				}
				if first || one.Rate() > res.Rate() { // the best: what disturbs it is not its own
					res = one
				}
				if cold {
					break
				}
			}
			return res, nil
		},
	}
}

// Points reads records at random places of a log, from memory, by n goroutines.
func Points(n int, total int64, size int) Workload {
	var limit func(dir string, d time.Duration) (float64, error)
	if n == 1 { // as the loop is
		limit = func(dir string, d time.Duration) (float64, error) { return RawPoints(dir, size, d) }
	}
	return Workload{
		Limit:   limit,
		Name:    fmt.Sprintf("point reads, %s, %s of %s", goroutines(n), bytesOf(int(total)), bytesOf(size)),
		Options: Options{Relaxed: true},
		Lacks:   func(l Log) string { return lacks[Reader](l, "has no point reads") },
		Run: func(r *Running) (Result, error) {
			records, err := fill(r, total, size)
			if err == nil {
				_, err = r.reopen()
			}
			if err != nil {
				return Result{}, err
			}
			log := r.Log.(Reader)
			run := func(d time.Duration) (int64, int64, []*samples, error) {
				var count atomic.Int64
				all, err := clients(n, func(c int, s *samples) error {
					rng := rand.New(rand.NewPCG(r.Seed, uint64(c)))
					dst := make([]byte, 0, size)
					var mine int64
					defer func() { count.Add(mine) }()
					end := time.Now().Add(d)
					for at := time.Now(); at.Before(end); mine++ {
						data, err := log.Read(rng.Uint64N(uint64(records)), dst[:0])
						if err == nil && len(data) != size {
							err = fmt.Errorf("read: %d bytes, want %d", len(data), size)
						}
						if err != nil {
							return err
						}
						now := time.Now()
						s.add(now.Sub(at))
						at = now
					}
					return nil
				})
				return count.Load(), count.Load() * int64(size), all, err
			}
			return r.measured(run)
		},
	}
}

// Reading is Durable beside goroutines that follow the log and others that read at
// random places of it.
func Reading(n, size, followers, readers int) Workload {
	return Workload{
		Name: fmt.Sprintf("durable, %s, %s, beside %d followers and %d readers", goroutines(n), bytesOf(size), followers, readers),
		Lacks: func(l Log) string {
			return lacks[Follower](l, "has no followers") + lacks[Reader](l, "has no point reads")
		},
		Run: func(r *Running) (Result, error) {
			var seen, done atomic.Int64
			var stop atomic.Bool
			side := make(chan error, followers+readers)
			for range followers {
				go func() { side <- r.Log.(Follower).Follow(func([]byte) { seen.Add(1) }) }()
			}
			if err := r.Log.Append(make([]byte, size)); err != nil {
				return Result{}, err
			}
			for c := range readers {
				go func() {
					rng := rand.New(rand.NewPCG(r.Seed, uint64(c)))
					dst := make([]byte, 0, size)
					for !stop.Load() {
						if _, err := r.Log.(Reader).Read(rng.Uint64N(uint64(done.Load()+1)), dst[:0]); err != nil {
							side <- err
							return
						}
					}
					side <- nil
				}()
			}
			counted := *r
			counted.Log = countingLog{r.Log, &done}
			res, err := closedLoop(&counted, n, size, fixed(size))
			stop.Store(true)
			if cerr := r.Log.Close(); err == nil {
				err = cerr
			}
			for range followers + readers {
				if serr := <-side; err == nil {
					err = serr
				}
			}
			if want := done.Load() + 1; err == nil && seen.Load() != want*int64(followers) {
				err = fmt.Errorf("followers saw %d records, want %d each", seen.Load(), want)
			}
			r.Log = nil
			return res, err
		},
	}
}

// countingLog counts what was acknowledged.
type countingLog struct {
	Log
	done *atomic.Int64
}

func (l countingLog) Append(data []byte) error {
	err := l.Log.Append(data)
	if err == nil {
		l.done.Add(1)
	}
	return err
}

// Opening closes a log of the given bytes and opens it again. The latency is that of
// opening it.
func Opening(total int64, size int) Workload {
	return Workload{
		Name:    fmt.Sprintf("open, %s of %s", bytesOf(int(total)), bytesOf(size)),
		Options: Options{Relaxed: true},
		Run: func(r *Running) (Result, error) {
			if _, err := fill(r, total, size); err != nil {
				return Result{}, err
			}
			return openings(r)
		},
	}
}

// OpeningSegments is Opening of a log of so many segments, which are small ones: what
// opening a log takes may grow with their number.
func OpeningSegments(segments int) Workload {
	const segment = 64 << 10
	w := Opening(int64(segments)*segment, CommonSize)
	w.Name = fmt.Sprintf("open, %d segments", segments)
	w.Options.SegmentSize = segment
	w.Limit = func(dir string, d time.Duration) (float64, error) { return RawList(dir, segments, d) }
	return w
}

// Verifying is Opening, with all of the log verified. It counts the records.
func Verifying(total int64, size int) Workload {
	return Workload{
		Name:    fmt.Sprintf("verify, %s of %s", bytesOf(int(total)), bytesOf(size)),
		Options: Options{Relaxed: true, Whole: true},
		Lacks:   func(l Log) string { return lacks[Verifier](l, "does not verify all of itself when it is opened") },
		Run: func(r *Running) (res Result, err error) {
			records, err := fill(r, total, size)
			if err == nil {
				res, err = openings(r)
			}
			res.Records *= records
			return res, err
		},
	}
}

// openings closes the log and opens it again for as long as r says.
func openings(r *Running) (Result, error) {
	return measured(r.Dir, func() (int64, int64, []*samples, error) {
		s := newSamples(16)
		end := time.Now().Add(r.For)
		for first := true; first || time.Now().Before(end); first = false {
			took, err := r.reopen()
			if err != nil {
				return 0, 0, nil, err
			}
			s.add(took)
		}
		return int64(len(s.took)), 0, []*samples{s}, nil
	})
}

// Truncating drops all but the last record of a log of the given number of segments.
func Truncating(segments int, size int) Workload {
	const segment = 64 << 10
	return Workload{
		Name:    fmt.Sprintf("truncate the front, %d segments", segments),
		Options: Options{Relaxed: true, SegmentSize: segment},
		Lacks:   func(l Log) string { return lacks[Truncater](l, "has no truncation") },
		Run: func(r *Running) (Result, error) {
			records, err := fill(r, int64(segments)*segment, size)
			if err != nil {
				return Result{}, err
			}
			return measured(r.Dir, func() (int64, int64, []*samples, error) {
				s := newSamples(1)
				start := time.Now()
				err := r.Log.(Truncater).TruncateFront(uint64(records - 1))
				s.add(time.Since(start))
				return 1, 0, []*samples{s}, err
			})
		},
	}
}
