package load

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A goal is a figure that this log is to reach, of one run on one machine: a ratio to what
// the disk does without a log, to what the best of the others does, or to itself.
type goal struct {
	what   string
	target string
	is     func(r *Report) (found []string, met bool) // nothing: not measured
}

// Goals are what Tidemark is measured by.
func goals() []goal {
	list := []goal{
		{"durable, 1 goroutine", "0.95 of raw, first", func(r *Report) ([]string, bool) { return r.durable(1, 0.95, 1) }},
		{"durable, 8 goroutines", "0.80 of raw, 2x the best", func(r *Report) ([]string, bool) { return r.durable(8, 0.80, 2) }},
		{"durable, 64 goroutines", "0.75 of raw, 2x the best", func(r *Report) ([]string, bool) { return r.durable(64, 0.75, 2) }},
		{"durable, 256 goroutines", "0.45 of raw, 2x the best", func(r *Report) ([]string, bool) { return r.durable(256, 0.45, 2) }},
		{"records a flush, of the goroutines, 2 to 64", "0.85", (*Report).perFlush},
	}
	for _, rate := range openLoopRates {
		w := OpenLoop(rate, CommonSize).Name
		list = append(list, goal{w + ": p50, p99", "at most pebble's", func(r *Report) ([]string, bool) {
			return r.all(1, false,
				r.part("p50 ", w, "pebble", func(x Result) float64 { return float64(x.Latency.P50) }),
				r.part("p99 ", w, "pebble", func(x Result) float64 { return float64(x.Latency.P99) }))
		}})
	}
	for _, size := range []int{CommonSize, 4 << 10} {
		w := Ordered(size).Name
		list = append(list, goal{w, "1.3x pebble", func(r *Report) ([]string, bool) {
			return r.all(1.3, true, r.part("", w, "pebble", Result.Rate))
		}})
	}
	list = append(list, goal{Bulk().Name, "0.90 of raw", func(r *Report) ([]string, bool) {
		return r.all(0.9, true, r.ofLimit(Bulk().Name))
	}})
	for _, size := range []int{CommonSize, 4 << 10} {
		w := Scan(scanned, size, false).Name
		list = append(list, goal{w, "1.3x the best", func(r *Report) ([]string, bool) {
			return r.all(1.3, true, r.part("", w, "", Result.Rate))
		}})
	}
	points := Points(1, pointed, CommonSize).Name
	return append(list,
		goal{points, "1 µs", func(r *Report) ([]string, bool) { return r.mean(points, time.Microsecond) }},
		goal{"bytes on disk for each of data, 64 goroutines, 256 B", "1.10", func(r *Report) ([]string, bool) {
			m, _ := r.measured(Durable(64, CommonSize).Name)
			v, ok := m.Median(r.first(), func(_ Round, res Result) float64 { return res.onDisk() })
			if strings.Contains(r.first(), ",") { // all that was written is to be there
				return nil, false
			}
			return r.all(1.10, false, found{"", v, ok && v > 0})
		}},
		goal{"p99.9 with segments of 4 MiB to that of 64 MiB", "1.5", func(r *Report) ([]string, bool) {
			p999 := func(x Result) float64 { return float64(x.Latency.P999) }
			return r.all(1.5, false, r.ratio(Rotation(8, 4<<10, 4<<20).Name, Rotation(8, 4<<10, 64<<20).Name, p999))
		}},
		goal{"open, 1600 segments to 16", "1.3", func(r *Report) ([]string, bool) {
			p50 := func(x Result) float64 { return float64(x.Latency.P50) }
			return r.all(1.3, false, r.ratio(OpeningSegments(1600).Name, OpeningSegments(16).Name, p50))
		}},
	)
}

// found is a figure, if it was measured.
type found struct {
	what  string
	value float64
	ok    bool
}

// all returns the figures as text, and whether each is limit or more, or limit or less.
func (r *Report) all(limit float64, more bool, list ...found) (text []string, met bool) {
	met = true
	for _, f := range list {
		if !f.ok {
			return nil, false
		}
		text = append(text, fmt.Sprintf("%s%.2f", f.what, f.value))
		met = met && (more && f.value >= limit || !more && f.value <= limit)
	}
	return text, met
}

func (r *Report) measured(workload string) (m Measured, ok bool) {
	for _, m := range r.Measured {
		if m.Workload == workload {
			return m, true
		}
	}
	return m, false
}

// first is the target that the goals are of.
func (r *Report) first() string { return r.Targets[0] }

// own reports whether a target is the first one, or that one used in another way.
func (r *Report) own(name string) bool {
	ours, _, _ := strings.Cut(r.first(), ",")
	its, _, _ := strings.Cut(name, ",")
	return its == ours
}

// as returns r with another target as the first.
func (r *Report) as(name string) *Report {
	to := *r
	to.Targets = append([]string{name}, slices.DeleteFunc(slices.Clone(r.Targets), func(n string) bool { return n == name })...)
	return &to
}

func (r *Report) ofLimit(workload string) (f found) {
	if m, ok := r.measured(workload); ok {
		f.value, f.ok = m.OfLimit(r.first())
	}
	return f
}

// part returns the median over the rounds of what f says of the first target, to what it
// says of another; "": of the one of which it says most.
func (r *Report) part(what, workload, other string, f func(Result) float64) found {
	m, _ := r.measured(workload)
	var v []float64
	for _, round := range m.Kept() {
		ours, ok := round.Results[r.first()]
		best := 0.0
		for name, res := range round.Results {
			if !r.own(name) && (other == "" || other == name) {
				best = max(best, f(res))
			}
		}
		if ok && best > 0 {
			v = append(v, f(ours)/best)
		}
	}
	return found{what, median(v), len(v) > 0}
}

// ratio returns what f says of the first target in one workload to what it says in another.
func (r *Report) ratio(workload, to string, f func(Result) float64) found {
	a, _ := r.measured(workload)
	b, _ := r.measured(to)
	of := func(_ Round, res Result) float64 { return f(res) }
	x, okx := a.Median(r.first(), of)
	y, oky := b.Median(r.first(), of)
	return found{"", x / y, okx && oky && y > 0}
}

// durable is about appends of n goroutines: what they are of the raw loop, and of the best
// of the others.
func (r *Report) durable(n int, ofRaw, ofBest float64) ([]string, bool) {
	w := Durable(n, CommonSize).Name
	raw, met := r.all(ofRaw, true, r.ofLimit(w))
	best, first := r.all(ofBest, true, r.part("", w, "", Result.Rate))
	if raw == nil || best == nil {
		return nil, false
	}
	return []string{raw[0] + " of raw", best[0] + "x"}, met && first
}

func (r *Report) perFlush() (text []string, met bool) {
	met = true
	for _, n := range Goroutines {
		if n == 1 || n > 64 {
			continue
		}
		m, _ := r.measured(Durable(n, CommonSize).Name)
		v, ok := m.Median(r.first(), func(_ Round, res Result) float64 { return res.PerFlush() / float64(n) })
		if !ok || v == 0 {
			return nil, false
		}
		text = append(text, fmt.Sprintf("%d: %.2f", n, v))
		met = met && v >= 0.85
	}
	return text, met
}

func (r *Report) mean(workload string, limit time.Duration) ([]string, bool) {
	m, _ := r.measured(workload)
	v, ok := m.Median(r.first(), func(_ Round, res Result) float64 { return float64(res.Latency.Mean) })
	if !ok {
		return nil, false
	}
	return []string{micros(v)}, v <= float64(limit)
}

// Goals writes what the first target is measured by, in each way that it was used: the
// goal, what was measured, and whether that is enough. What was not measured is left out.
func (r *Report) Goals(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "\ngoal\ttarget\tmeasured\t")
	for _, g := range goals() {
		for _, name := range r.Targets {
			if !r.own(name) {
				continue
			}
			text, met := g.is(r.as(name))
			if text == nil {
				continue
			}
			mark := "missed"
			if met {
				mark = "met"
			}
			_, way, _ := strings.Cut(name, ", ")
			if way != "" {
				way = " (" + way + ")"
			}
			fmt.Fprintf(t, "%s%s\t%s\t%s\t%s\n", g.what, way, g.target, strings.Join(text, ", "), mark)
		}
	}
	return t.Flush()
}
