package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/seed3918b8df/tidemark/wal"
	"github.com/stretchr/testify/require"
)

// small has many segments after a few puts.
var small = options{create: true, segmentSize: 16 << 10}

func open(t *testing.T, dir string) *store {
	t.Helper()
	s, err := openStore(dir, small)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.close() }) // it may have been closed by the test
	return s
}

// fill puts and deletes n times, with values that differ from call to call.
func fill(t *testing.T, s *store, n int) {
	t.Helper()
	var last wal.Pending
	for range n {
		o := op{kind: opPut, key: fmt.Sprintf("k%03d", rand.IntN(200)), value: fmt.Sprint(rand.Uint64())}
		if rand.IntN(5) == 0 {
			o.kind, o.value = opDelete, ""
		}
		var err error
		last, err = s.order(o)
		require.NoError(t, err)
	}
	require.NoError(t, s.wait(last))
}

// requireReopens closes s and requires the store in its directory to hold the
// same; it returns the one opened again.
func requireReopens(t *testing.T, s *store) *store {
	t.Helper()
	want := s.state()
	require.NoError(t, s.close())
	s = open(t, s.dir)
	require.Equal(t, want, s.state())
	return s
}

func TestReplayGivesTheSameMap(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "a", "b"))
	for range 5 {
		fill(t, s, 500)
		s = requireReopens(t, s)
	}
	require.Equal(t, wal.LSN(2500), s.state().last)
}

func TestSnapshotDropsTheLogItCovers(t *testing.T) {
	s := open(t, t.TempDir())
	for range 3 {
		fill(t, s, 700)
		lsn, err := s.snapshot()
		require.NoError(t, err)
		require.Equal(t, s.state().last, lsn)
		require.Equal(t, lsn+1, s.log.FirstLSN())
		s = requireReopens(t, s)
		require.Equal(t, lsn+1, s.log.FirstLSN())
	}
	again, err := s.snapshot() // nothing is new
	require.NoError(t, err)
	require.Equal(t, s.state().last, again)
	fill(t, s, 100)
	requireReopens(t, s)
}

func TestSnapshotOfAnEmptyStore(t *testing.T) {
	s := open(t, t.TempDir())
	lsn, err := s.snapshot()
	require.NoError(t, err)
	require.Zero(t, lsn)
	requireReopens(t, s)
}

// TestCrashWhileASnapshotIsMade has each state that a crash may leave.
func TestCrashWhileASnapshotIsMade(t *testing.T) {
	for name, crash := range map[string]func(t *testing.T, s *store, snap snapshot){
		"a part of the temporary file": func(t *testing.T, s *store, snap snapshot) {
			require.NoError(t, os.WriteFile(filepath.Join(s.dir, snapshotTemp), []byte(snapshotMagic+"\x07"), 0o644))
		},
		"an empty temporary file": func(t *testing.T, s *store, snap snapshot) {
			require.NoError(t, os.WriteFile(filepath.Join(s.dir, snapshotTemp), nil, 0o644))
		},
		"the snapshot, and the log not truncated": func(t *testing.T, s *store, snap snapshot) {
			require.NoError(t, writeSnapshot(osStorage, s.dir, snap))
		},
		"the snapshot, and the log truncated": func(t *testing.T, s *store, snap snapshot) {
			require.NoError(t, writeSnapshot(osStorage, s.dir, snap))
			require.NoError(t, s.log.TruncateFront(wal.LSN(snap.lsn)+1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			for range 2 { // without and with a snapshot before
				fill(t, s, 300)
				snap, _, err := s.copy()
				require.NoError(t, err)
				fill(t, s, 50) // while it is written
				crash(t, s, snap)
				s = requireReopens(t, s)
				require.NoFileExists(t, filepath.Join(s.dir, snapshotTemp))
				_, err = s.snapshot()
				require.NoError(t, err)
				s = requireReopens(t, s)
			}
		})
	}
}

func TestSnapshotReplacesOneThatIsThere(t *testing.T) {
	dir := t.TempDir()
	for lsn := range uint64(3) {
		want := snapshot{lsn: lsn, entries: []entry{{key: "k", value: fmt.Sprint(lsn), lsn: lsn}}}
		require.NoError(t, writeSnapshot(osStorage, dir, want))
		got, err := readSnapshot(osStorage, dir)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.NoFileExists(t, filepath.Join(dir, snapshotTemp))
}

func TestSnapshotThatCannotBeWrittenLeavesTheOneBefore(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s, 100)
	_, err := s.snapshot()
	require.NoError(t, err)
	fill(t, s, 100)
	require.NoError(t, os.MkdirAll(filepath.Join(s.dir, snapshotTemp, "full"), 0o755))
	_, err = s.snapshot()
	require.ErrorContains(t, err, snapshotTemp)
	require.Equal(t, wal.LSN(101), s.log.FirstLSN(), "nothing covers what would be dropped")
	require.NoError(t, os.RemoveAll(filepath.Join(s.dir, snapshotTemp)))
	requireReopens(t, s)
}

func TestEveryDamagedByteOfASnapshotIsNoticed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, writeSnapshot(osStorage, dir, snapshot{lsn: 7, entries: []entry{{key: "a", value: "first", lsn: 3}, {key: "b", lsn: 7}}}))
	text, err := os.ReadFile(filepath.Join(dir, snapshotName))
	require.NoError(t, err)
	for i := range text {
		bad := append([]byte{}, text...)
		bad[i] ^= 0x40
		_, err := parseSnapshot(string(bad))
		require.Error(t, err, "byte %d", i)
		_, err = parseSnapshot(string(text[:i]))
		require.Error(t, err, "cut at %d", i)
	}
	_, err = parseSnapshot(string(text) + "x")
	require.Error(t, err)
}

func TestStoreRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(t *testing.T, dir string)
		want string
	}{
		"a damaged snapshot": {func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, snapshotName), []byte("KVSNAP1\nand no more, which is less than it takes"), 0o644))
		}, "snapshot is damaged"},
		"a lost snapshot": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, snapshotName)))
		}, "begins at LSN 301, and the snapshot covers only up to 0"},
		"an older snapshot": {func(t *testing.T, dir string) {
			require.NoError(t, writeSnapshot(osStorage, dir, snapshot{lsn: 200}))
		}, "begins at LSN 301, and the snapshot covers only up to 200"},
		"a snapshot of more than the log has": {func(t *testing.T, dir string) {
			require.NoError(t, writeSnapshot(osStorage, dir, snapshot{lsn: 1000}))
		}, "1000"},
		"a snapshot without a log": {func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, logName)))
		}, "no directory log"},
		"a snapshot and an empty directory of a log": {func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, logName)))
			require.NoError(t, os.Mkdir(filepath.Join(dir, logName), 0o755))
		}, "no log in"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			fill(t, s, 300)
			_, err := s.snapshot()
			require.NoError(t, err)
			fill(t, s, 50)
			require.NoError(t, s.close())
			c.harm(t, s.dir)
			_, err = openStore(s.dir, small)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestStoreRefusesRecordsThatAreNoOps(t *testing.T) {
	for _, record := range []string{"", "P", "X\x00\x00\x00\x00", "P\x02\x00\x00\x00k", "D\x01\x00\x00\x00kv", "P\xff\xff\xff\xffk"} {
		s := open(t, t.TempDir())
		_, err := s.log.Append([]byte(record))
		require.NoError(t, err)
		require.NoError(t, s.close())
		_, err = openStore(s.dir, small)
		require.ErrorContains(t, err, "LSN 1", "%q", record)
	}
}

func TestStoreIsOfNoUseOnceItsLogWentBack(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s, 10)
	require.NoError(t, s.log.TruncateBack(8))
	_, err := s.put("k", "v")
	require.ErrorContains(t, err, "from LSN 10 to 9")
	_, _, err = s.get("k")
	require.ErrorContains(t, err, "must be opened again")
	_, err = s.snapshot()
	require.ErrorContains(t, err, "must be opened again")
	require.NoFileExists(t, filepath.Join(s.dir, snapshotName))
}

func TestPutThatIsTooLargeHarmsNothing(t *testing.T) {
	s := open(t, t.TempDir())
	_, err := s.put("k", string(make([]byte, wal.DefaultMaxRecordSize)))
	require.ErrorIs(t, err, wal.ErrTooLarge)
	_, err = s.put("k", "v")
	require.NoError(t, err)
	requireReopens(t, s)
}

func TestClosedStoreTakesNothing(t *testing.T) {
	s := open(t, t.TempDir())
	require.NoError(t, s.close())
	_, err := s.put("k", "v")
	require.ErrorIs(t, err, wal.ErrClosed)
	_, err = s.snapshot()
	require.ErrorIs(t, err, wal.ErrClosed)
}

// TestWritersOfOneKeyLeaveWhatTheLogSays runs writers and deleters of few keys
// beside snapshots.
func TestWritersOfOneKeyLeaveWhatTheLogSays(t *testing.T) {
	s := open(t, t.TempDir())
	var writers sync.WaitGroup
	errs := make(chan error, 100)
	for w := range 8 {
		writers.Go(func() {
			for i := range 150 {
				key := fmt.Sprintf("k%d", i%7)
				_, err := s.put(key, fmt.Sprintf("%d.%d", w, i))
				if err == nil && i%10 == 9 {
					err = s.delete(key)
				}
				if err == nil && i%50 == 49 {
					_, err = s.snapshot()
				}
				if _, _, gerr := s.get(key); err == nil {
					err = gerr
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	writers.Wait()
	require.Empty(t, errs)
	requireReopens(t, s)
}

func TestReaderWorksBesideAWriter(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s, 100)
	stop, ended := make(chan struct{}), make(chan error)
	go func() {
		var err error
		for i := 0; err == nil; i++ {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if _, err = s.put(fmt.Sprintf("k%03d", i%200), fmt.Sprint(i)); err == nil && i%20 == 0 {
				_, err = s.snapshot()
			}
		}
		ended <- err
	}()
	was := wal.LSN(0)
	for range 20 {
		r, err := openStore(s.dir, options{readOnly: true})
		require.NoError(t, err)
		now := r.state().last
		require.GreaterOrEqual(t, now, was)
		was = now
		require.NoError(t, r.close())
	}
	close(stop)
	require.NoError(t, <-ended)
	requireReopens(t, s)
}
