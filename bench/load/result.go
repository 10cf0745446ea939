package load

import (
	"slices"
	"sync"
	"time"
)

// Result is what one target did with one workload in one round.
type Result struct {
	Records int64         // that were acknowledged, or read
	Bytes   int64         // of their data
	Before  int64         // bytes of the data that was appended before
	Took    time.Duration // from the first to the last

	Latency Latency // of an operation: an append, a batch, a read …; zero where there is none

	CPU      time.Duration // of the process, user and system
	Switches uint64        // of context
	Allocs   uint64        // allocations of the process
	Resident int64         // bytes of memory of the process, at the end
	Disk     Disk          // what the device did meanwhile, for everybody
	OnDisk   int64         // bytes that the log takes behind Close; 0: not looked at
}

// Rate returns records a second.
func (r Result) Rate() float64 { return float64(r.Records) / r.Took.Seconds() }

// PerFlush returns how many records were acknowledged per flush of the device; 0 where
// the device does not count them.
func (r Result) PerFlush() float64 {
	if r.Disk.Flushes == 0 {
		return 0
	}
	return float64(r.Records) / float64(r.Disk.Flushes)
}

// onDisk returns how many bytes the log takes behind Close for each byte of its data; 0: not
// looked at.
func (r Result) onDisk() float64 { return part(r.OnDisk, r.Before+r.Bytes) }

// toDevice returns how many bytes were written to the device for each byte of data.
func (r Result) toDevice() float64 { return part(int64(r.Disk.Sectors)*512, r.Bytes) }

func part(n, of int64) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// Latency is how long operations took.
type Latency struct {
	Mean, P50, P90, P99, P999, Max time.Duration
}

// samples are how long the operations of one goroutine took. It holds each of them:
// no bucket blurs a percentile.
type samples struct {
	took []uint32 // in units of 16 ns, so that 68 s fit
}

const sampleUnit = 16 * time.Nanosecond

func newSamples(n int) *samples { return &samples{took: make([]uint32, 0, n)} }

func (s *samples) add(d time.Duration) {
	s.took = append(s.took, uint32(min(d/sampleUnit, 1<<32-1)))
}

// latencyOf sorts what all goroutines saw.
func latencyOf(all []*samples) (l Latency) {
	var merged []uint32
	for _, s := range all {
		merged = append(merged, s.took...)
	}
	if len(merged) == 0 {
		return l
	}
	slices.Sort(merged)
	at := func(q float64) time.Duration {
		return time.Duration(merged[min(len(merged)-1, int(q*float64(len(merged))))]) * sampleUnit
	}
	var sum float64
	for _, t := range merged {
		sum += float64(t)
	}
	return Latency{Mean: time.Duration(sum/float64(len(merged))) * sampleUnit,
		P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999), Max: at(1)}
}

// measured runs do between two looks at the machine.
func measured(dir string, do func() (records, bytes int64, all []*samples, err error)) (r Result, err error) {
	before := usageOf(dir)
	start := time.Now()
	var all []*samples
	r.Records, r.Bytes, all, err = do()
	r.Took = time.Since(start)
	after := usageOf(dir)
	r.CPU, r.Switches, r.Allocs = after.cpu-before.cpu, after.switches-before.switches, after.allocs-before.allocs
	r.Disk = after.disk.less(before.disk)
	r.Resident = resident()
	r.Latency = latencyOf(all)
	return r, err
}

// clients runs do on n goroutines at once and returns their samples and the first error.
func clients(n int, do func(client int, s *samples) error) ([]*samples, error) {
	all := make([]*samples, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for c := range n {
		all[c] = newSamples(1 << 16)
		wg.Go(func() {
			<-begin
			errs[c] = do(c, all[c])
		})
	}
	close(begin)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return all, err
		}
	}
	return all, nil
}
