package load

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// standard returns a report of all that a full run does, in which what this log does is
// quality times what the other does, and the raw loop.
func standard(quality float64) *Report {
	result := func(q float64, n uint64) Result {
		d := func(us float64) time.Duration { return time.Duration(us / q * float64(time.Microsecond)) }
		return Result{Records: int64(1e6 * q), Took: time.Second, Disk: Disk{Flushes: 1e6 / n}, Bytes: 100, OnDisk: int64(150 / q),
			Latency: Latency{Mean: d(2), P50: d(1), P99: d(5), P999: d(10), Max: d(20)}}
	}
	r := &Report{Machine: "m", Targets: []string{"tidemark", "pebble"}}
	for _, w := range Standard() {
		n := uint64(1)
		for _, g := range Goroutines {
			if w.Name == Durable(g, CommonSize).Name {
				n = uint64(g)
			}
		}
		m := Measured{Workload: w.Name}
		for range 3 {
			m.Rounds = append(m.Rounds, Round{Limit: [2]float64{1e6, 1e6}, Results: map[string]Result{
				"tidemark": result(quality, n), "pebble": result(1, n)}})
		}
		r.Measured = append(r.Measured, m)
	}
	return r
}

// TestEveryGoalCanBeMetAndMissed but for those that compare this log with itself.
func TestEveryGoalCanBeMetAndMissed(t *testing.T) {
	lines := func(quality float64) map[string]string {
		var b bytes.Buffer
		require.NoError(t, standard(quality).Goals(&b))
		found := map[string]string{}
		for line := range strings.Lines(b.String()) {
			if f := strings.Split(strings.TrimSpace(line), "  "); len(f) > 1 && f[0] != "goal" {
				found[f[0]] = strings.TrimSpace(f[len(f)-1])
			}
		}
		require.Len(t, found, len(goals()))
		return found
	}
	good, bad := lines(2), lines(0.4)
	for _, g := range goals() {
		require.Equal(t, "met", good[g.what], g.what)
		if strings.Contains(g.what, " to ") && !strings.Contains(g.what, "flush") {
			continue
		}
		require.Equal(t, "missed", bad[g.what], g.what)
	}
	one := standard(1)
	for i, m := range one.Measured {
		if m.Workload == Rotation(8, 4<<10, 4<<20).Name || m.Workload == OpeningSegments(1600).Name {
			res := m.Rounds[0].Results["tidemark"]
			res.Latency.P50, res.Latency.P999 = time.Second, time.Second
			one.Measured[i].Rounds = []Round{{Results: map[string]Result{"tidemark": res}}}
		}
	}
	var b bytes.Buffer
	require.NoError(t, one.Goals(&b))
	require.Regexp(t, `p99\.9 with segments.* missed`, b.String())
	require.Regexp(t, `open, 1600 segments.* missed`, b.String())
}

// TestGoalsAreToldForEachWayOfUse, none of which is another's rival.
func TestGoalsAreToldForEachWayOfUse(t *testing.T) {
	r := standard(1)
	r.Targets = append(r.Targets, "tidemark, truncated")
	for _, m := range r.Measured[:len(Goroutines)] {
		for _, round := range m.Rounds {
			res := round.Results["tidemark"]
			res.Records *= 3
			round.Results["tidemark, truncated"] = res
		}
	}
	var b bytes.Buffer
	require.NoError(t, r.Goals(&b))
	require.Regexp(t, `durable, 64 goroutines +0\.75 of raw, 2x the best +1\.00 of raw, 1\.00x +missed`, b.String())
	require.Regexp(t, `durable, 64 goroutines \(truncated\) +0\.75 of raw, 2x the best +3\.00 of raw, 3\.00x +met`, b.String())
	require.NotRegexp(t, `scan.*truncated`, b.String())
}

// TestGoalsThatWereNotMeasuredAreLeftOut, whatever else was.
func TestGoalsThatWereNotMeasuredAreLeftOut(t *testing.T) {
	r := standard(1)
	r.Measured = r.Measured[:1]
	var b bytes.Buffer
	require.NoError(t, r.Goals(&b))
	require.Contains(t, b.String(), "durable, 1 goroutine ")
	require.NotContains(t, b.String(), "durable, 8 goroutines")
	require.NotContains(t, b.String(), "scan")
}

func TestReportsAreReadAgainAndPutTogether(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, r *Report) string {
		path := filepath.Join(dir, name)
		file, err := os.Create(path)
		require.NoError(t, err)
		require.NoError(t, r.JSON(file))
		require.NoError(t, file.Close())
		return path
	}
	all := standard(1)
	a, b := *all, *all
	b.Targets, b.Gaps = []string{"tidemark", "etcd"}, map[string][]string{"etcd": {"none"}}
	a.Measured, b.Measured = all.Measured[:3], all.Measured[2:5]
	got, err := Read(write("a", &a), write("b", &b))
	require.NoError(t, err)
	require.Len(t, got.Measured, 5)
	require.Equal(t, []string{"tidemark", "pebble", "etcd"}, got.Targets)
	require.Equal(t, b.Gaps, got.Gaps)
	require.Len(t, got.Measured[2].Rounds, 6)
	require.Equal(t, all.Measured[4].Rounds, got.Measured[4].Rounds)

	b.Machine = "another"
	_, err = Read(write("a", &a), write("b", &b))
	require.ErrorContains(t, err, "another machine")
	_, err = Read(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bad"), []byte("{"), 0o600))
	_, err = Read(filepath.Join(dir, "bad"))
	require.ErrorContains(t, err, "bad: ")
}
