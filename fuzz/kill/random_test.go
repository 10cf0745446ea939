package kill

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/wal"
)

// mixes are what processes do, by what they are good for.
var mixes = []struct{ name, ops string }{
	{"appends", "aaaaaaAAAdbbm"},
	{"all of it", "aaaaaaAAddbbbmmfkxrsc"},
	{"truncations", "aaAdbmmffkkxxR"},
	{"rotations", "aaaAAdbmrrf"},
	{"closing", "aaAdbmcck"},
}

// kills is a directory in which processes are killed, one after the other.
type kills struct {
	t     *testing.T
	dir   string
	seed  uint64
	rnd   *rand.Rand
	model *Model
	next  ID // of operations of the next process

	opened, idle int // processes that had opened the log, and that had not
}

func newKills(t *testing.T, dir string, seed uint64) *kills {
	return &kills{t: t, dir: dir, seed: seed, rnd: rand.New(rand.NewPCG(seed, 0)), model: NewModel(1)}
}

// random returns a job that lasts until the process is killed.
func (k *kills) random() job {
	mix := mixes[k.rnd.IntN(len(mixes))]
	return job{Work: Work{
		Dir: k.dir, Ops: mix.ops, Loop: true, Writers: 1 + k.rnd.IntN(12), Seed: k.rnd.Uint64(), First: k.ids(),
		Sync: wal.SyncPolicy(max(0, k.rnd.IntN(5)-2)), SegmentSize: 8 << 10 << k.rnd.IntN(4), Direct: k.rnd.IntN(2) == 0,
	}}
}

// ids returns the first of IDs that nobody has.
func (k *kills) ids() ID {
	k.next += 1 << 32
	return k.next
}

// killed starts a process and kills it at a random moment: while it opens the log, when
// it has returned from a few operations, or a little later.
func (k *kills) killed(j job) (*process, error) {
	p := start(k.t, k.model, j)
	early := k.rnd.IntN(6) == 0
	if early {
		time.Sleep(time.Duration(k.rnd.IntN(20_000)) * time.Microsecond) // real time: a moment that no call decides
	} else if p.until("a", 1+k.rnd.IntN(250)) {
		time.Sleep(time.Duration(k.rnd.IntN(3_000)) * time.Microsecond) // real time: a moment that no call decides
	}
	err := p.kill()
	if k.opened++; p.counts["h"]+p.counts["a"] == 0 {
		k.opened, k.idle = k.opened-1, k.idle+1
	}
	return p, err
}

// round kills one process and looks at what it left; half of the times without changing
// anything, so that the next process finds the log as it was left.
func (k *kills) round(j job) error {
	p, err := k.killed(j)
	if err != nil {
		return err
	}
	if k.rnd.IntN(2) == 0 {
		err = p.found(k.dir, wal.Options{ReadOnly: true}, false, 0)
		if errors.Is(err, fs.ErrNotExist) && k.model.Records+k.model.Copied == 0 { // killed before it made the log
			return nil
		}
		return err
	}
	return p.found(k.dir, wal.Options{SegmentSize: j.SegmentSize}, false, k.ids())
}

// require ends the test if err is one, and keeps the directory.
func (k *kills) require(err error, what string, args ...any) {
	k.t.Helper()
	if err == nil {
		return
	}
	kept, kerr := os.MkdirTemp("", "tidemark-kill-")
	if kerr == nil {
		kerr = os.CopyFS(filepath.Join(kept, "log"), os.DirFS(k.dir))
	}
	k.t.Fatalf("%s: %v\nthe directory is kept in %s (%v), seed %d", fmt.Sprintf(what, args...), err, kept, kerr, k.seed)
}

func TestKilledProcessesLoseNothing(t *testing.T) {
	began := time.Now()
	want := scale.Pick(t, 4, 10, 200, 2_000)
	const each = 25 // a new log after so many
	var all Model   // its counts
	killed := 0
	for killed < want {
		k := newKills(t, filepath.Join(t.TempDir(), "log"), uint64(killed))
		for k.opened < min(each, want-killed) {
			j := k.random()
			k.require(k.round(j), "kill %d of log %d, %+v", k.opened+k.idle, k.seed, j)
			require.Less(t, k.idle, 1000, "no process gets to open the log")
		}
		killed += k.opened
		all.add(k.model)
	}
	t.Logf("%d processes killed while they wrote, %d records acknowledged, 0 of them lost; of those under way %d found, %d not; %.1fs",
		killed, all.Records+all.Copied, all.Found, all.Lost, time.Since(began).Seconds())
	require.Equal(t, want, killed)
	require.GreaterOrEqual(t, all.Records+all.Copied, 5*killed)
	require.Positive(t, all.Found+all.Lost, "nothing was under way when processes were killed")
}

// A process that says too early that its appends are durable must be found out.
func TestKillFindsAnAppendAcknowledgedTooEarly(t *testing.T) {
	k := newKills(t, filepath.Join(t.TempDir(), "log"), 1)
	for i := range 50 {
		j := job{Work: Work{Dir: k.dir, Ops: "A", Loop: true, Writers: 8, First: k.ids(), SegmentSize: 64 << 10, Early: true}}
		if err := k.round(j); err != nil {
			t.Logf("process %d is found out: %.300v", i, err)
			require.ErrorContains(t, err, "lost")
			return
		}
	}
	t.Fatal("50 processes acknowledged before they wrote, and nobody noticed")
}
