package load

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Plan says what to measure, and how often.
type Plan struct {
	Dir       string // on the file system to be measured; what is made in it is removed
	Targets   []Target
	Workloads []Workload
	Rounds    int
	For       time.Duration // that each target works in a round
	Seed      uint64

	// Pages is how many bytes of memory each target finds free that the machine has: a
	// virtual one may hand what is free back to its host, and then the first write to a page
	// waits for it, 6 µs where it takes 0.8 otherwise.
	Pages int64

	Progress io.Writer // a line for each figure as it comes; nil: none
}

// Round is what all targets did with one workload, right after each other.
type Round struct {
	Limit   [2]float64        // the raw loop before and after, records a second; 0: there is none
	Results map[string]Result // by the target's name
}

// drift is by how much the raw loop may change within a round that counts.
const drift = 0.10

// Steady reports whether the disk was the same before and after.
func (r Round) Steady() bool {
	return r.Limit[0] == 0 || math.Abs(r.Limit[1]-r.Limit[0]) <= drift*max(r.Limit[0], r.Limit[1])
}

// limit returns the mean of the two looks at the raw loop.
func (r Round) limit() float64 { return (r.Limit[0] + r.Limit[1]) / 2 }

// Measured is a workload with its rounds.
type Measured struct {
	Workload string
	Rounds   []Round
	Left     map[string]string // targets that were left out, and why
}

// Run measures. In each round the targets take turns in an order drawn anew, each in an
// empty directory, between two looks at what the disk alone does.
func Run(p Plan) (*Report, error) {
	rep := &Report{Machine: Machine(p.Dir), When: time.Now(), For: p.For, Gaps: map[string][]string{}}
	for _, t := range p.Targets {
		rep.Targets = append(rep.Targets, t.Name)
		rep.Gaps[t.Name] = t.Gaps
	}
	rng := rand.New(rand.NewPCG(p.Seed, 3))
	for _, w := range p.Workloads {
		m := Measured{Workload: w.Name, Left: map[string]string{}}
		for n := range p.Rounds {
			round, err := p.round(w, &m, rng)
			if err != nil {
				return rep, fmt.Errorf("%s: %w", w.Name, err)
			}
			m.Rounds = append(m.Rounds, round)
			p.say("%s, round %d of %d, raw %.0f then %.0f/s\n", w.Name, n+1, p.Rounds, round.Limit[0], round.Limit[1])
		}
		rep.Measured = append(rep.Measured, m)
	}
	return rep, nil
}

func (p Plan) say(format string, args ...any) {
	if p.Progress != nil {
		fmt.Fprintf(p.Progress, format, args...)
	}
}

func (p Plan) round(w Workload, m *Measured, rng *rand.Rand) (r Round, err error) {
	r.Results = map[string]Result{}
	if r.Limit[0], err = p.limit(w); err != nil {
		return r, err
	}
	for _, i := range rng.Perm(len(p.Targets)) {
		t := p.Targets[i]
		if m.Left[t.Name] != "" {
			continue
		}
		res, left, err := p.one(w, t, rng.Uint64())
		if err != nil {
			return r, fmt.Errorf("%s: %w", t.Name, err)
		}
		if left != "" {
			m.Left[t.Name] = left
			continue
		}
		r.Results[t.Name] = res
		p.say("  %-24s %12.0f/s  p50 %v  p99 %v  p99.9 %v\n", t.Name, res.Rate(), res.Latency.P50, res.Latency.P99, res.Latency.P999)
	}
	r.Limit[1], err = p.limit(w)
	return r, err
}

func (p Plan) limit(w Workload) (float64, error) {
	if w.Limit == nil {
		return 0, nil
	}
	return w.Limit(p.Dir, p.For/3)
}

// unfit says why the workload is not for t, or "".
func (t Target) unfit(w Workload) string {
	switch {
	case t.NotDurable && !w.Options.Relaxed:
		return "is not durable"
	case t.AlwaysSyncs && w.Buffered:
		return "syncs every append"
	case t.Durable != nil && w.Goroutines == 0:
		return "is a program of its own, which has no such work"
	case t.OnlyAppends && (w.Limit == nil || w.Options.Relaxed):
		return "is measured in durable appends only"
	}
	return ""
}

// one has one target do the workload.
func (p Plan) one(w Workload, t Target, seed uint64) (res Result, left string, err error) {
	if left = t.unfit(w); left != "" {
		return res, left, nil
	}
	dir, err := os.MkdirTemp(p.Dir, "bench-")
	if err != nil {
		return res, "", err
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(takePages(dir, p.Pages), settle(dir)); err != nil {
		return res, "", err
	}
	r := &Running{Target: t, Dir: filepath.Join(dir, "log"), Options: w.Options, For: p.For, Seed: seed}
	if err := os.Mkdir(r.Dir, 0o755); err != nil {
		return res, "", err
	}
	if t.Durable != nil {
		before := diskOf(r.Dir)
		res, err = t.Durable(r.Dir, w.Goroutines, w.Size, p.For)
		res.Disk, res.OnDisk = diskOf(r.Dir).less(before), sizeOf(r.Dir)
		return res, "", err
	}
	if r.Log, err = t.Open(r.Dir, w.Options); err != nil {
		return res, "", err
	}
	if w.Lacks != nil {
		left = w.Lacks(r.Log)
	}
	if left == "" {
		res, err = w.Run(r)
	}
	if r.Log != nil {
		err = errors.Join(err, r.Log.Close())
	}
	res.OnDisk = sizeOf(r.Dir)
	return res, left, err
}

// takePages has the system take so many bytes of memory for a file, and give them free.
func takePages(dir string, bytes int64) error {
	file, err := os.Create(filepath.Join(dir, "pages"))
	if err != nil {
		return err
	}
	b := make([]byte, 1<<20)
	for off := int64(0); err == nil && off < bytes; off += int64(len(b)) {
		_, err = file.WriteAt(b, off)
	}
	remove(file)
	return err
}

// settle has the file system be done with what was removed before. The blocks of that go
// back to the device behind the next commit of the journal, which the one behind it waits
// for: that should not be one of the log.
func settle(dir string) error {
	file, err := os.Create(filepath.Join(dir, "settle"))
	if err != nil {
		return err
	}
	for range 2 {
		if err == nil {
			_, err = file.Write(make([]byte, 4096))
		}
		if err == nil {
			err = file.Sync()
		}
	}
	remove(file)
	return err
}

// median of the values; 0 if there is none.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Clone(v)
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
