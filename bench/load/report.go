package load

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what a [Plan] measured.
type Report struct {
	Machine  string
	When     time.Time
	For      time.Duration // of each target in a round
	Targets  []string      // the first is the one that the others are compared with
	Gaps     map[string][]string
	Measured []Measured
}

// JSON writes all of it.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "\t")
	return e.Encode(r)
}

// Read returns what JSON wrote. Several are put together: they must be of the same machine,
// and begin with the same target.
func Read(paths ...string) (*Report, error) {
	var all *Report
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var r Report
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if all == nil {
			all = &r
			continue
		}
		if r.Machine != all.Machine || r.Targets[0] != all.Targets[0] {
			return nil, fmt.Errorf("%s: of another machine, or begins with another target, than %s", path, paths[0])
		}
		all.add(&r)
	}
	return all, nil
}

// add adds what other measured: its rounds to those of the same workload.
func (r *Report) add(other *Report) {
	for _, name := range other.Targets {
		if !slices.Contains(r.Targets, name) {
			r.Targets = append(r.Targets, name)
			r.Gaps = maps.Clone(r.Gaps)
			if r.Gaps == nil {
				r.Gaps = map[string][]string{}
			}
			r.Gaps[name] = other.Gaps[name]
		}
	}
	for _, m := range other.Measured {
		i := slices.IndexFunc(r.Measured, func(have Measured) bool { return have.Workload == m.Workload })
		if i < 0 {
			r.Measured = append(r.Measured, m)
			continue
		}
		r.Measured[i].Rounds = append(r.Measured[i].Rounds, m.Rounds...)
	}
}

// Kept returns the rounds that count: those in which the raw loop was steady, or all if
// it was in none.
func (m Measured) Kept() []Round {
	var kept []Round
	for _, r := range m.Rounds {
		if r.Steady() {
			kept = append(kept, r)
		}
	}
	if len(kept) == 0 {
		return m.Rounds
	}
	return kept
}

// Median returns the median over the rounds that count of what f says of the target's
// result, and whether there is one.
func (m Measured) Median(target string, f func(Round, Result) float64) (float64, bool) {
	var v []float64
	for _, r := range m.Kept() {
		if res, ok := r.Results[target]; ok {
			v = append(v, f(r, res))
		}
	}
	return median(v), len(v) > 0
}

// OfLimit returns the median of what the target did of what the disk alone does, and
// whether there is one.
func (m Measured) OfLimit(target string) (float64, bool) {
	limited := false
	v, ok := m.Median(target, func(round Round, res Result) float64 {
		if round.limit() == 0 {
			return 0
		}
		limited = true
		return res.Rate() / round.limit()
	})
	return v, ok && limited
}

// Text writes a table for each workload: the medians over the rounds, and of the ratios
// within each round.
func (r *Report) Text(w io.Writer) error {
	fmt.Fprintf(w, "%s\n%s, %v a target and round\n", r.Machine, r.When.Format(time.DateTime), r.For)
	for _, m := range r.Measured {
		if err := r.table(w, m); err != nil {
			return err
		}
	}
	if err := r.Goals(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, t := range r.Targets {
		if gaps := r.Gaps[t]; len(gaps) > 0 {
			fmt.Fprintf(w, "%s: %s\n", t, strings.Join(gaps, "; "))
		}
	}
	return nil
}

// table writes what was seen of one workload.
func (r *Report) table(w io.Writer, m Measured) error {
	fmt.Fprintf(w, "\n%s (%d of %d rounds count)\n", m.Workload, len(m.Kept()), len(m.Rounds))
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\trecords/s\tof raw\tto first\tp50\tp99\tp99.9\tmax\tper flush\tCPU s/M\tallocs\tRSS MiB\tdisk B/B\tdevice B/B\t")
	limited := false
	for _, name := range r.Targets {
		med := func(f func(Result) float64) float64 {
			v, _ := m.Median(name, func(_ Round, res Result) float64 { return f(res) })
			return v
		}
		rate, ok := m.Median(name, func(_ Round, res Result) float64 { return res.Rate() })
		if !ok {
			fmt.Fprintf(t, "%s\t%s\t\n", name, m.Left[name])
			continue
		}
		ofRaw, hasLimit := m.OfLimit(name)
		limited = limited || hasLimit
		toFirst, _ := m.Median(name, func(round Round, res Result) float64 {
			return res.Rate() / round.Results[r.Targets[0]].Rate()
		})
		us := func(f func(Latency) time.Duration) string {
			return micros(med(func(res Result) float64 { return float64(f(res.Latency)) }))
		}
		fmt.Fprintf(t, "%s\t%.0f\t%s\t%.2f\t%s\t%s\t%s\t%s\t%.1f\t%.2f\t%.2f\t%.0f\t%s\t%s\t\n", name, rate, ratio(ofRaw), toFirst,
			us(func(l Latency) time.Duration { return l.P50 }), us(func(l Latency) time.Duration { return l.P99 }),
			us(func(l Latency) time.Duration { return l.P999 }), us(func(l Latency) time.Duration { return l.Max }),
			med(Result.PerFlush),
			med(func(res Result) float64 { return res.CPU.Seconds() / float64(res.Records) * 1e6 }),
			med(func(res Result) float64 { return float64(res.Allocs) / float64(res.Records) }),
			med(func(res Result) float64 { return float64(res.Resident) / (1 << 20) }),
			ratio(med(Result.onDisk)), ratio(med(Result.toDevice)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if limited {
		raw, _ := m.Median(r.Targets[0], func(round Round, _ Result) float64 { return round.limit() })
		fmt.Fprintf(w, "raw: %.0f records/s\n", raw)
	}
	return nil
}

func ratio(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", v)
}

func micros(ns float64) string {
	if ns == 0 {
		return "-"
	}
	return time.Duration(ns).Round(100 * time.Nanosecond).String()
}
