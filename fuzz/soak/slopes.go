package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is what a process uses: heap after a collection, resident memory,
// descriptors, goroutines, and bytes on disk. -1: not known.
type sample [5]float64

const (
	sampleEvery = 5 * time.Second

	// Growth is judged from this many samples on, which is ten minutes of them; the
	// first fifth, in which everything finds its size, is left out.
	minSamples = 120
)

// resource says how much one of them may grow from the first judged sample to the
// last, however long that takes: so the bound on the slope is the tighter the longer
// it runs. It is what samples differ by where nothing grows.
type resource struct {
	name  string
	grows float64
	unit  float64 // for printing
	label string
}

var resources = [len(sample{})]resource{
	{"heap", 3 << 20, 1 << 20, "MiB"},
	{"RSS", 24 << 20, 1 << 20, "MiB"},
	{"descriptors", 6, 1, ""},
	{"goroutines", 6, 1, ""},
	{"disk", 6 * segmentSize, 1 << 20, "MiB"},
}

// takeSample looks at this process and at the files of a log.
func takeSample(dir string) sample {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s := sample{float64(m.HeapAlloc), -1, -1, float64(runtime.NumGoroutine()), 0}
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		if words := strings.Fields(string(text)); len(words) > 1 {
			if pages, err := strconv.Atoi(words[1]); err == nil {
				s[1] = float64(pages * os.Getpagesize())
			}
		}
	}
	if list, err := os.ReadDir("/proc/self/fd"); err == nil {
		s[2] = float64(len(list))
	}
	list, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, name := range list {
		if info, err := os.Stat(name); err == nil {
			s[4] += float64(info.Size())
		}
	}
	return s
}

func (s sample) String() string {
	var b strings.Builder
	for i, r := range resources {
		if s[i] < 0 {
			fmt.Fprintf(&b, "%s unknown, ", r.name)
			continue
		}
		fmt.Fprintf(&b, "%s %.4g%s, ", r.name, s[i]/r.unit, r.label)
	}
	return strings.TrimSuffix(b.String(), ", ")
}

// slope is the median of the slopes between any two samples that are half the
// samples apart or more, per sample: outliers do not count (after Theil and Sen).
func slope(values []float64) float64 {
	var all []float64
	n := len(values)
	step := max(1, n/400) // of very many samples some do
	for i := 0; i < n; i += step {
		for j := i + n/2; j < n; j += step {
			all = append(all, (values[j]-values[i])/float64(j-i))
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// judge says how what is used grew over the samples, in a line, and returns an error
// if that is too much.
func judge(samples []sample) (string, error) {
	if len(samples) < minSamples {
		return fmt.Sprintf("slopes not judged: %d samples, want %d, which takes %v", len(samples), minSamples, sampleEvery*minSamples), nil
	}
	samples = samples[len(samples)/5:]
	hours := (sampleEvery * time.Duration(len(samples)-1)).Hours()
	var line strings.Builder
	var err error
	for i, r := range resources {
		values := make([]float64, len(samples))
		for j, s := range samples {
			values[j] = s[i]
		}
		if slices.Min(values) < 0 {
			fmt.Fprintf(&line, "%s not known, ", r.name)
			continue
		}
		grown := slope(values) * float64(len(values)-1)
		fmt.Fprintf(&line, "%s %+.3g%s/h, ", r.name, grown/hours/r.unit, r.label)
		if grown > r.grows {
			err = fmt.Errorf("%s grew by %.4g%s in %.2f h, want at most %.4g%s", r.name, grown/r.unit, r.label, hours, r.grows/r.unit, r.label)
		}
	}
	return fmt.Sprintf("slopes over %.2f h: %s", hours, strings.TrimSuffix(line.String(), ", ")), err
}
