package wal

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// directFS returns a file system in memory that has WriteSync, and a trace of its calls.
func directFS(block int) (*vfs.Mem, *vfs.Trace) {
	m := vfs.NewMem()
	m.UseDirect(block)
	return m, vfs.NewTrace(m)
}

// TestDirectCalls: a commit is one call, unless what is before it is not durable or it is not
// to be durable at once.
func TestDirectCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, trace := directFS(4096)
		l := openWith(t, Options{FS: trace, Direct: true, firstSegment: 1 << 20, largeRecord: 10_000})
		requireAppend(t, l, "one")
		calls := func(want string) {
			t.Helper()
			synctest.Wait()
			require.Equal(t, want, strings.ReplaceAll(trace.Take(), "0000000000000001.seg", "1"))
		}
		trace.Take()
		requireAppend(t, l, "two")
		calls("writesync 1 4096+4096\n")
		requireAppend(t, l, strings.Repeat("x", 5000))
		calls("writesync 1 4096+8192\n")
		requireAppend(t, l, "four")
		calls("writesync 1 8192+4096\n")

		p, err := l.AppendAsync([]byte("five"))
		require.NoError(t, err)
		pass(2 * time.Millisecond)
		calls("write 1 9584+88\n")
		requireAppend(t, l, "six")
		calls("write 1 9672+88\nsync 1\n")
		require.NoError(t, p.Wait(context.Background()))
		requireAppend(t, l, "seven")
		calls("writesync 1 8192+4096\n")

		pass(time.Minute) // a mark
		calls("write 1 9848+64\nsync 1\n")
		requireAppend(t, l, strings.Repeat("y", 30_000)) // from where it is
		trace.Take()
		requireAppend(t, l, "nine")
		calls("writesync 1 36864+4096\n")
		s := l.Stats()
		require.EqualValues(t, 5, s.Direct)
		require.EqualValues(t, 9, s.Syncs)
		require.EqualValues(t, 9, s.SyncTime.Count)
		require.NoError(t, l.Close())
	})
}

// TestDirectIsForWhatIsToBeDurableAtOnce, and where the file system has it.
func TestDirectIsForWhatIsToBeDurableAtOnce(t *testing.T) {
	m, _ := directFS(512)
	var said bytes.Buffer
	for name, o := range map[string]Options{
		"interval":     {FS: m, Direct: true, Sync: SyncInterval},
		"none":         {FS: m, Direct: true, Sync: SyncNone},
		"not asked":    {FS: m},
		"no such call": {FS: vfs.NewMem(), Direct: true},
	} {
		said.Reset()
		o.Logger, o.SegmentSize = slog.New(slog.NewTextHandler(&said, nil)), small
		l, err := Open(name, &o)
		require.NoError(t, err)
		requireAppend(t, l, "one", "two", strings.Repeat("3", small))
		for range 3 {
			p, err := l.AppendAsync([]byte("more"))
			require.NoError(t, err)
			require.NoError(t, p.Wait(context.Background()))
		}
		require.Zero(t, l.Stats().Direct, name)
		require.NotZero(t, l.Stats().Syncs, name)
		require.NoError(t, l.Close())
		require.Equal(t, name == "no such call", strings.Count(said.String(), "Options.Direct") == 1, "%s: %s", name, &said)
	}
}

// TestDirectReadsFromMemory what was written past the page cache, until it is sealed.
func TestDirectReadsFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, trace := directFS(4096)
		trace.Also(vfs.ReadAt)
		l := openWith(t, Options{FS: trace, Direct: true})
		requireAppend(t, l, "zero", "one")
		synctest.Wait()
		trace.Take()
		var got []string
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			for r, err := range l.Follow(ctx, 3) {
				if err == nil {
					got = append(got, string(r.Data))
				}
			}
		}()
		var want []string
		for i := range 20 {
			data := fmt.Sprint("data ", i, strings.Repeat("-", 500*i))
			want = append(want, data)
			requireAppend(t, l, data)
			synctest.Wait()
			read, err := l.Read(l.LastLSN(), nil)
			require.NoError(t, err)
			require.Equal(t, data, string(read))
		}
		require.Equal(t, want, got)
		require.NotContains(t, trace.Take(), "read")
		require.NoError(t, l.Rotate())
		requireAppend(t, l, "more")
		cancel()
		synctest.Wait()
		require.Contains(t, trace.Take(), "write 0000000000000001.seg") // the seal
		read, err := l.Read(l.LastLSN()-1, nil)
		require.NoError(t, err)
		require.Equal(t, want[19], string(read))
		require.Contains(t, trace.Take(), "read 0000000000000001.seg")
		require.NoError(t, l.Close())
	})
}

// TestMirrorIsTheFile: whatever is written in whatever way, memory has nothing but what is in
// the file, and has the end of it when that was written past the page cache.
func TestMirrorIsTheFile(t *testing.T) {
	for _, block := range []int{512, 4096} {
		synctest.Test(t, func(t *testing.T) { mirrorIsTheFile(t, block) })
	}
}

func mirrorIsTheFile(t *testing.T, block int) {
	random := rand.New(rand.NewPCG(uint64(block), 1))
	m, _ := directFS(block)
	l := openWith(t, Options{FS: m, Direct: true, firstSegment: 32 << 20})
	requireAppend(t, l, "one")
	file, hits, turns := l.lead.tail.File(), 0, 0
	mirror := l.lead.segments[0].mirror.Load()
	require.EqualValues(t, mirrorSize, mirror.size)
	check := func(off, n int64) bool {
		got, want := make([]byte, n), make([]byte, n)
		if !mirror.read(got, off) {
			return false
		}
		_, err := file.ReadAt(want, off)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got), "block %d, %d bytes at %d", block, n, off)
		return true
	}
	for l.lead.tail.Off() < 8<<20 {
		start := l.lead.segments[0].mirror.Load().parts[0].start
		size := random.IntN(3000)
		switch random.IntN(100) {
		case 0:
			size = random.IntN(2 * directMost)
		case 1:
			require.NoError(t, l.exclusive(func(r *round) error { return l.mark(r, random.IntN(2) == 0) }))
			continue
		case 2:
			p, err := l.AppendAsync(make([]byte, size))
			require.NoError(t, err)
			require.NoError(t, p.Wait(context.Background()))
			continue
		}
		direct, before := l.Stats().Direct, l.lead.tail.Off()
		requireAppend(t, l, string(bytes.Repeat([]byte{byte(size)}, size)))
		end := l.lead.tail.Off()
		if l.Stats().Direct > direct {
			require.True(t, check(before, end-before), "the newest group")
		}
		require.False(t, mirror.read(make([]byte, 1), end), "nothing is behind the end")
		for range 10 {
			off := max(0, end-random.Int64N(2*mirrorSize))
			if check(off, random.Int64N(min(end-off, 100_000))) {
				hits++
			}
		}
		if mirror.parts[0].start != start {
			turns++
		}
	}
	require.Greater(t, hits, 4_000)
	require.Greater(t, turns, 4)
	require.NoError(t, l.Close())
}

// TestMirrorsShareMemory: those of later segments have that of the ones that were sealed, and
// who still has one of a sealed segment finds nothing in it.
func TestMirrorsShareMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := directFS(4096)
		l := openWith(t, Options{FS: m, Direct: true, SegmentSize: 32 << 10, firstSegment: 32 << 10})
		parts := map[*byte]int{}
		for range 10 {
			requireAppend(t, l, "one", "two")
			mirror, off := l.lead.segments[len(l.lead.segments)-1].mirror.Load(), l.lead.tail.Off()-1
			require.True(t, mirror.read(make([]byte, 1), off))
			parts[&mirror.parts[0].buf[0]]++
			require.NoError(t, l.Rotate())
			synctest.Wait() // until it is sealed
			requireAppend(t, l, "more")
			require.False(t, mirror.read(make([]byte, 1), off), "nothing is in a mirror that has ended")
		}
		require.Len(t, parts, 1)
		dropped := l.lead.segments[len(l.lead.segments)-1]
		require.NoError(t, l.Reset(100))
		require.True(t, dropped.mirror.Load() == nil, "memory waits for no removal")
		require.Len(t, l.spareParts.free, 1)
		require.NoError(t, l.Close())
		require.True(t, l.spareParts.free == nil)
	})
}

// TestMirrorThatCannotBeFilled leaves the group to the page cache.
func TestMirrorThatCannotBeFilled(t *testing.T) {
	m, _ := directFS(512)
	f := vfs.NewFaulty(m)
	l := openWith(t, Options{FS: f, Direct: true})
	requireAppend(t, l, "one")
	f.Set(vfs.Fault{Match: func(c vfs.Call) bool { return c.Op == vfs.ReadAt && strings.HasSuffix(c.Name, segment.Ext) }})
	requireAppend(t, l, "two")
	require.Equal(t, 1, f.Hits())
	require.Zero(t, l.Stats().Direct)
	requireAppend(t, l, "three")
	require.EqualValues(t, 1, l.Stats().Direct)
	require.NoError(t, l.Close())
}

// TestFailedDirectWriteEndsTheLog: nobody knows what of it is on the disk.
func TestFailedDirectWriteEndsTheLog(t *testing.T) {
	m, _ := directFS(512)
	f := vfs.NewFaulty(m)
	l := openWith(t, Options{FS: f, Direct: true})
	requireAppend(t, l, "one", "two")
	f.Set(vfs.Fault{Match: on(vfs.WriteSync), Err: syscall.ENOSPC, Short: 40})
	_, err := l.Append([]byte("three"))
	require.ErrorIs(t, err, ErrUnknownOutcome)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NotErrorIs(t, err, ErrNoSpace)
	_, err = l.Append([]byte("four"))
	require.ErrorIs(t, err, ErrFailed)
	require.EqualValues(t, 2, l.LastLSN())
	read, err := l.Read(2, nil)
	require.NoError(t, err)
	require.Equal(t, "two", string(read))
	require.ErrorIs(t, l.Close(), ErrFailed)
}

// TestDirectBesideReaders on the disk: who reads while others append sees what they did,
// from memory of which parts come and go.
func TestDirectBesideReaders(t *testing.T) {
	l, err := Open(t.TempDir()+"/log", &Options{Direct: true, SegmentSize: 256 << 10, firstSegment: 256 << 10, mirrorSize: 8 << 10})
	require.NoError(t, err)
	const writers, each = 3, 200
	data := func(n int) []byte { return bytes.Repeat([]byte{byte(n), byte(n >> 8)}, 50+n%1000) }
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				n := w*each + n
				lsn, err := l.Append(data(n))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := l.Read(lsn, nil); err != nil || !bytes.Equal(data(n), got) {
					t.Errorf("record %d is not what was appended: %v", lsn, err)
				}
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // a hang
	defer cancel()
	for range 2 {
		wg.Go(func() {
			seen := 0
			for r, err := range l.Follow(ctx, 1) {
				if err != nil {
					t.Error(err)
					return
				}
				n := int(r.Data[0]) | int(r.Data[1])<<8
				if !bytes.Equal(data(n), r.Data) {
					t.Errorf("record %d is damaged", r.LSN)
				}
				if seen++; seen == writers*each {
					return
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, l.Close())
	if l.Stats().Direct == 0 {
		t.Skip("NOT TESTED: the directory for temporary files is neither on ext4 nor on XFS")
	}
}

// TestMirrorTurnsBesideReaders, who have what they read in a part that is used again, in the
// same segment and in the next ones.
func TestMirrorTurnsBesideReaders(t *testing.T) {
	m, _ := directFS(512)
	l := openWith(t, Options{FS: m, Direct: true, SegmentSize: 64 << 10, firstSegment: 64 << 10, mirrorSize: 2 << 10})
	data := func(lsn LSN) []byte { return bytes.Repeat([]byte{byte(lsn)}, 100+int(lsn%500)) }
	const n = 1500
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for last := LSN(0); last < n; {
				if last = l.LastLSN(); last == 0 {
					continue
				}
				for lsn := max(1, last-3); lsn <= last; lsn++ {
					if got, err := l.Read(lsn, nil); err != nil || !bytes.Equal(data(lsn), got) {
						t.Errorf("record %d is not what was appended: %v", lsn, err)
						return
					}
				}
			}
		})
	}
	for lsn := LSN(1); lsn <= n; lsn++ {
		requireAppend(t, l, string(data(lsn)))
	}
	wg.Wait()
	require.Greater(t, l.Stats().Direct, uint64(n/2))
	require.NoError(t, l.Close())
}

// TestDirectOnFilesThatAreUsedAgain: they are as others are.
func TestDirectOnFilesThatAreUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := directFS(4096)
		l := openWith(t, Options{FS: m, Direct: true, SegmentSize: 32 << 10, firstSegment: 32 << 10})
		again := uint64(0)
		for range 400 {
			before := l.Stats().Direct
			requireAppend(t, l, strings.Repeat("x", 1000))
			synctest.Wait()
			if l.lead.tail.Header().Reused() {
				again += l.Stats().Direct - before
			}
			if l.LastLSN()%20 == 0 {
				require.NoError(t, l.TruncateFront(l.LastLSN()))
			}
		}
		require.Greater(t, again, uint64(100))
		require.NoError(t, l.Close())
		l = openWith(t, Options{FS: m})
		require.EqualValues(t, 400, l.LastLSN())
		require.NoError(t, l.Close())
	})
}

// TestDirectTakesOneDescriptorMore until the segment is sealed or cut.
func TestDirectTakesOneDescriptorMore(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir+"/log", &Options{Direct: true, SegmentSize: 64 << 10, firstSegment: 64 << 10})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	requireAppend(t, l, "one", "two")
	if l.Stats().Direct == 0 {
		t.Skip("NOT TESTED: the directory for temporary files is neither on ext4 nor on XFS")
	}
	path := l.Segments()[0].Path
	count := func() (n int) {
		fds, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		for _, fd := range fds {
			if at, _ := os.Readlink("/proc/self/fd/" + fd.Name()); at == path {
				n++
			}
		}
		return n
	}
	require.Equal(t, 2, count())
	require.NoError(t, l.Rotate())
	requireAppend(t, l, "three")
	require.Eventually(t, func() bool { return count() == 1 }, 10*time.Second, time.Millisecond) // sealed in the background
	require.NoError(t, l.Close())
	require.Zero(t, count())
}
