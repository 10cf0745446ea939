package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/wal"
)

// small are the kinds of work of Standard, as little of each as there can be.
func small() []Workload {
	return []Workload{
		Durable(2, 64), Zipf(2), Batches(2, 3, 64), Window(8, 64), Relaxed(64), OpenLoop(1_000, 64),
		Rotation(2, 1<<10, 16<<10), Neighbour(2, 64), Reading(2, 64, 2, 1), Scan(1<<16, 64, false), Scan(1<<16, 64, true),
		Points(1, 1<<16, 64), Points(2, 1<<16, 64), Opening(1<<16, 64), Verifying(1<<16, 64), OpeningSegments(3), Ordered(64), Truncating(3, 64),
	}
}

func TestEveryWorkloadRuns(t *testing.T) {
	rawSize = 1 << 20
	limited := map[string]bool{}
	for _, w := range small() {
		limited[w.Name] = w.Limit != nil
	}
	rep, err := Run(Plan{Dir: t.TempDir(), Targets: []Target{Tidemark("tidemark", wal.Options{})}, Workloads: small(),
		Rounds: 2, For: 10 * time.Millisecond, Seed: 1})
	require.NoError(t, err)
	require.Len(t, rep.Measured, len(small()))
	for _, m := range rep.Measured {
		require.Empty(t, m.Left, m.Workload)
		require.Len(t, m.Rounds, 2)
		require.Equal(t, limited[m.Workload], m.Rounds[0].Limit[0] > 0 && m.Rounds[1].Limit[1] > 0, m.Workload)
		for _, r := range m.Rounds {
			res := r.Results["tidemark"]
			require.Positive(t, res.Records, m.Workload)
			require.Positive(t, res.Rate(), m.Workload)
			require.Positive(t, res.OnDisk+res.Bytes, m.Workload)
		}
	}
	var text, data bytes.Buffer
	require.NoError(t, rep.Text(&text))
	for _, w := range small() {
		require.Contains(t, text.String(), w.Name)
	}
	require.NoError(t, rep.JSON(&data))
	var back Report
	require.NoError(t, json.Unmarshal(data.Bytes(), &back))
	require.Equal(t, rep.Measured[0].Rounds, back.Measured[0].Rounds)
}

// TestEveryStandardWorkloadIsOfAKindThatIsTested so that none is first run in earnest.
func TestEveryStandardWorkloadIsOfAKindThatIsTested(t *testing.T) {
	digits := regexp.MustCompile(`\d+( (B|KiB|MiB))?`)
	kind := func(w Workload) string {
		return strings.ReplaceAll(digits.ReplaceAllString(w.Name, "n"), "goroutines", "goroutine")
	}
	tested := map[string]bool{kind(Bulk()): true} // Durable, and another raw loop
	for _, w := range small() {
		tested[kind(w)] = true
	}
	names := map[string]bool{}
	for _, w := range Standard() {
		require.True(t, tested[kind(w)], w.Name)
		require.False(t, names[w.Name], w.Name)
		names[w.Name] = true
	}
}

// forgetful is a log that has less than it acknowledged.
type forgetful struct {
	Log
	n int
}

func (f *forgetful) Append(data []byte) error {
	if f.n++; f.n%10 == 0 {
		return nil
	}
	return f.Log.Append(data)
}

func (f *forgetful) Scan() (records, bytes int64, err error) { return f.Log.(Scanner).Scan() }

func TestAScanThatFindsFewerRecordsThanWereAppendedFails(t *testing.T) {
	target := Tidemark("forgetful", wal.Options{})
	open := target.Open
	target.Open = func(dir string, o Options) (Log, error) {
		l, err := open(dir, o)
		return &forgetful{Log: l}, err
	}
	_, err := Run(Plan{Dir: t.TempDir(), Targets: []Target{target}, Workloads: []Workload{Scan(1<<12, 64, false)}, Rounds: 1, For: time.Millisecond})
	require.ErrorContains(t, err, "want 64")
}

func TestTargetsAreLeftOutOfWhatIsNotForThem(t *testing.T) {
	plain := Tidemark("plain", wal.Options{})
	open := plain.Open
	plain.Open = func(dir string, o Options) (Log, error) {
		l, err := open(dir, o)
		return struct{ Log }{l}, err // it can do nothing but append
	}
	loose := Tidemark("loose", wal.Options{})
	loose.NotDurable = true
	always := Tidemark("always", wal.Options{})
	always.AlwaysSyncs = true
	rep, err := Run(Plan{Dir: t.TempDir(), Targets: []Target{plain, loose, always},
		Workloads: []Workload{Batches(1, 2, 8), Relaxed(8)}, Rounds: 1, For: time.Millisecond})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"plain": "has no batches", "loose": "is not durable"}, rep.Measured[0].Left)
	require.Equal(t, map[string]string{"always": "syncs every append"}, rep.Measured[1].Left)
}

func TestBatchedAppendsFailTogether(t *testing.T) {
	bad := errors.New("bad")
	l, err := newBatcher(failing{bad}, nil)
	require.NoError(t, err)
	_, err = clients(8, func(int, *samples) error {
		if err := l.Append(nil); !errors.Is(err, bad) {
			return errors.New("not told")
		}
		return nil
	})
	require.NoError(t, err)
}

type failing struct{ err error }

func (f failing) Append([]byte) error        { return f.err }
func (f failing) AppendBatch([][]byte) error { return f.err }
func (failing) Close() error                 { return nil }

// TestRoundsInWhichTheDiskDriftedDoNotCount unless there is no other.
func TestRoundsInWhichTheDiskDriftedDoNotCount(t *testing.T) {
	round := func(a, b float64, records int64) Round {
		return Round{Limit: [2]float64{a, b}, Results: map[string]Result{"x": {Records: records, Took: time.Second}}}
	}
	rate := func(_ Round, r Result) float64 { return r.Rate() }
	m := Measured{Rounds: []Round{round(100, 95, 10), round(100, 50, 99), round(95, 100, 20), round(100, 100, 40)}}
	v, ok := m.Median("x", rate)
	require.True(t, ok)
	require.Equal(t, 20.0, v)
	m.Rounds = m.Rounds[1:2]
	v, _ = m.Median("x", rate)
	require.Equal(t, 99.0, v)
	_, ok = m.Median("y", rate)
	require.False(t, ok)
}

func TestPercentiles(t *testing.T) {
	a, b := newSamples(0), newSamples(0)
	for i := range 1000 {
		[]*samples{a, b}[i%2].add(time.Duration(i+1) * time.Microsecond)
	}
	l := latencyOf([]*samples{a, b})
	near := func(want, got time.Duration) { require.InDelta(t, want, got, float64(2*time.Microsecond)) }
	near(500*time.Microsecond, l.P50)
	near(990*time.Microsecond, l.P99)
	near(999*time.Microsecond, l.P999)
	near(1000*time.Microsecond, l.Max)
	near(500*time.Microsecond, l.Mean)
}

// TestWhatIsDoneBeforeARunLeavesNothing behind in the directory.
func TestWhatIsDoneBeforeARunLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, takePages(dir, 3<<20))
	require.NoError(t, settle(dir))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	require.Error(t, takePages(filepath.Join(dir, "none"), 1))
	require.Error(t, settle(filepath.Join(dir, "none")))
}
