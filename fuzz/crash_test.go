package fuzz

import (
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// lockedReader makes a reader safe for concurrent use.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}

// seedRandom makes the ids and salts of logs the same each time. It also lets garbage
// lie for longer than usual, of which an enumeration makes much, up to 2 GiB.
func seedRandom(t testing.TB, seed byte) {
	old, percent, limit := rand.Reader, debug.SetGCPercent(1600), debug.SetMemoryLimit(2<<30)
	t.Cleanup(func() {
		rand.Reader = old
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	reseed(seed)
}

func reseed(seed byte) {
	rand.Reader = &lockedReader{r: mathrand.NewChaCha8([32]byte{seed})}
}

// execute runs fn in a bubble, with the random numbers that every script begins with.
func execute(t *testing.T, fn func() error) {
	t.Helper()
	reseed(1)
	synctest.Test(t, func(t *testing.T) {
		if err := fn(); err != nil {
			t.Error(err)
		}
	})
}

// states and nested are how many images the crash tests look at with -scale long, and
// part says which part of the scripts they take.
var (
	states = flag.Int("states", 10_000_000, "with -scale long: how many images of crashes")
	nested = flag.Int("nested", 1_000_000, "with -scale long: how many images of crashes of a recovery")
	part   = flag.String("part", "1/1", "with -scale long: i/n, the i-th of n parts of the scripts")
)

// parts returns which part of the scripts the test takes, from 0, and of how many.
func parts(t *testing.T) (i, n int) {
	t.Helper()
	_, err := fmt.Sscanf(*part, "%d/%d", &i, &n)
	require.NoError(t, err, "-part %s", *part)
	require.True(t, 0 < i && i <= n, "-part %s", *part)
	return i - 1, n
}

// rounds returns the rounds of the enumeration of all sequences, shortest first.
// Where not all are run, or not all images of a point are looked at, the limits grow
// from one pass to the next, until there are enough.
func rounds(t *testing.T) (list []Round) {
	// By length: how many scripts, 0 is all, and how many images of a point.
	type size struct{ count, images int }
	passes := scale.Pick(t,
		[][]size{{{0, 8}, {0, 8}}},
		[][]size{{{0, 64}, {0, 32}}},
		[][]size{{{0, 1 << 14}, {0, 1 << 14}, {0, 1 << 11}, {0, 48}, {900, 48}, {1_200, 48}}},
		[][]size{
			{{0, 1 << 15}, {0, 1 << 15}, {0, 1 << 12}, {0, 256}, {2_000, 256}, {2_000, 256}},
			{{}, {}, {0, 1 << 14}, {0, 1 << 12}, {0, 128}, {20_000, 64}},
			{{}, {}, {}, {0, 1 << 14}, {0, 1 << 11}, {0, 256}},
		})
	for _, pass := range passes {
		for length, size := range pass {
			for _, like := range Settings() {
				if size.images > 0 {
					list = append(list, Round{like, length, size.count, size.images})
				}
			}
		}
	}
	return list
}

func TestEveryCrashStateIsRecovered(t *testing.T) {
	seedRandom(t, 1)
	e := newEnumeration(scale.Pick(t, 6, 56, 72, 200))
	e.enough = scale.Pick(t, 0, 0, 0, *states)
	i, n := parts(t)
	for j, s := range Scripts(scale.Pick(t, 0, 190, 190, 2_000)) {
		if j%scale.Pick(t, 2, 1, 1, 1) == 0 && j%n == i {
			e.run(t, s)
		}
	}
	e.check()
	t.Logf("%d of the scripts drawn at random", e.scripts)
	for _, r := range rounds(t) {
		before, scripts := e.checker.Images(), e.scripts
		e.perPoint = r.Images
		for s := range r.Scripts(i, n) {
			e.run(t, s)
		}
		e.check()
		if e.done() {
			break
		}
		t.Logf("%d of %d sequences of %d operations, unit %d, policy %v, at most %d images of a point: %d new ones",
			e.scripts-scripts, r.All(), r.Length, r.Like.Unit, r.Like.Options.Sync, r.Images, e.checker.Images()-before)
	}
	e.report(t)
	e.reaches(t, "@F", "@G", "@H", "@I", "@K", "@O", "@P")
	require.GreaterOrEqual(t, e.scripts, 200)
	require.GreaterOrEqual(t, e.checker.Images(), scale.Pick(t, 3_000, 50_000, 350_000, *states))
}

// TestLargeRecordsSurviveEveryCrash is about records that are written in pieces, their
// headers last.
func TestLargeRecordsSurviveEveryCrash(t *testing.T) {
	seedRandom(t, 1)
	e := newEnumeration(scale.Pick(t, 3, 8, 40, 400))
	for i, s := range LargeScripts() {
		if i%scale.Pick(t, 8, 4, 1, 1) == 0 {
			e.run(t, s)
		}
	}
	e.check()
	e.report(t)
	require.GreaterOrEqual(t, e.checker.Images(), scale.Pick(t, 20, 100, 2_500, 15_000))
}

// TestFilesThatAreUsedAgainSurviveEveryCrash is about segments in files that have the bytes
// of others.
func TestFilesThatAreUsedAgainSurviveEveryCrash(t *testing.T) {
	seedRandom(t, 1)
	e := newEnumeration(scale.Pick(t, 8, 12, 96, 1000))
	for i, s := range ReuseScripts() {
		if i%scale.Pick(t, 8, 4, 1, 1) != 0 {
			continue
		}
		execute(t, func() error {
			r := NewRun(s, vfs.NewCrash(s.Unit), NewHistory(View{First: 1}))
			err := r.All()
			if err == nil && reused(t, r.Disk) == 0 {
				t.Errorf("%v uses no file again", s)
			}
			return err
		})
		e.run(t, s)
	}
	e.check()
	e.report(t)
	e.reaches(t, "@F", "@G", "@H", "@I", "@O")
	require.GreaterOrEqual(t, e.checker.Images(), scale.Pick(t, 100, 500, 5_000, 30_000))
}

// TestDirectWritesSurviveEveryCrash is about groups that one call writes and makes durable,
// with the bytes of the block before them; crashes in the middle of it are among them.
func TestDirectWritesSurviveEveryCrash(t *testing.T) {
	seedRandom(t, 1)
	e := newEnumeration(scale.Pick(t, 6, 12, 48, 600))
	e.enough = scale.Pick(t, 0, 0, 0, 1_000_000)
	for i, s := range DirectScripts(scale.Pick(t, 0, 0, 60, 1_000)) {
		if i < 10 || i%scale.Pick(t, 24, 6, 1, 1) == 0 {
			e.run(t, s)
		}
	}
	images := scale.Pick(t, []int{0, 8}, []int{0, 64, 8}, []int{0, 1 << 12, 1 << 10, 24}, []int{0, 1 << 15, 1 << 14, 1 << 11, 96})
	for length, images := range images {
		for i, s := range Settings() {
			if s.Options.Sync != wal.SyncAlways || i > 1 && length > 2 {
				continue
			}
			s.Options.Direct, s.Ops, s.Seed = true, "a", uint64(length) // the first group of a segment is written otherwise
			e.perPoint = max(1, images)
			for s := range (Round{Like: s, Length: length, Images: images}).Scripts(0, 1) {
				e.run(t, s)
			}
		}
	}
	e.check()
	e.report(t)
	e.reaches(t, "@F", "@G", "@H", "@I", "@O")
	require.GreaterOrEqual(t, e.byCall["writesync"], scale.Pick(t, 50, 700, 10_000, 80_000))
	require.GreaterOrEqual(t, e.checker.Images(), scale.Pick(t, 300, 3_000, 50_000, e.enough))
}

// reused returns how many segments of the log are in files that were segments before.
func reused(t *testing.T, fsys vfs.FS) (n int) {
	names, err := fsys.List(dir)
	require.NoError(t, err)
	for _, name := range names {
		id, ok := segment.ParseName(name)
		if !ok {
			continue
		}
		file, err := fsys.Open(filepath.Join(dir, name), vfs.ReadOnly)
		require.NoError(t, err)
		h, err := segment.ReadHeader(file, name, id)
		require.NoError(t, err)
		require.NoError(t, file.Close())
		if h.Reused() {
			n++
		}
	}
	return n
}

func TestSequencesAreAllThereAre(t *testing.T) {
	for length, all := range []int{1, 11, 121, 1_331, 14_641, 161_051}[:scale.Pick(t, 5, 6, 6, 6)] {
		r := Round{Length: length}
		require.Equal(t, all, r.All())
		seen := map[string]bool{}
		for part := range 3 {
			for s := range r.Scripts(part, 3) {
				if len(s.Ops) != length || strings.Trim(s.Ops, Kinds) != "" {
					t.Fatalf("%q is no sequence of %d operations", s.Ops, length)
				}
				seen[s.Ops] = true
			}
		}
		require.Equal(t, all, len(seen))

		r.Count = 100
		clear(seen)
		for s := range r.Scripts(0, 1) {
			seen[s.Ops] = true
		}
		require.Equal(t, min(all, 100), len(seen))
	}
	for _, kind := range []byte(Kinds) {
		require.Contains(t, Operations, string(kind))
	}
}

// reaches fails t unless some image reached each of these rows of the decision
// table, and none a row that refuses.
func (e *enumeration) reaches(t *testing.T, rows ...string) {
	t.Helper()
	for _, row := range rows {
		require.Positive(t, e.checker.Row(row), "row %s was not reached", row)
	}
	for _, row := range []string{"@A", "@B", "@C", "@D", "@E", "@J", "@N", "@Q"} {
		require.Zero(t, e.checker.Row(row), "row %s was reached", row)
	}
}
