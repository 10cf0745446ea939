package fuzz_test

import (
	"bytes"
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/fuzz/refdecoder"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// optionCorpora are small logs besides the open and the closed one, of which each was
// written in another way.
var optionCorpora = []struct {
	name  string
	opts  wal.Options // FS is filled in, and SegmentSize if it is 0
	write func(b *corpusBuilder)
	has   func(t *testing.T, c *corpus) // what is particular about it

	reuses bool // files may become others
}{
	{"interval", wal.Options{Sync: wal.SyncInterval, SyncEvery: time.Hour}, writeInterval, func(t *testing.T, c *corpus) {
		require.Less(t, c.floor+5, c.last, "hardly anything is unproved")
	}, false},
	{"none", wal.Options{Sync: wal.SyncNone}, writeNone, func(t *testing.T, c *corpus) {
		require.Less(t, c.floor+10, c.last, "hardly anything is unproved")
		require.Less(t, c.floor+1, c.lastGroup)
	}, false},
	{"unit512", wal.Options{}, func(b *corpusBuilder) { b.byHand(512, 2) }, hasUnit(512), false},
	{"unit4096", wal.Options{}, func(b *corpusBuilder) { b.byHand(4096, 2) }, hasUnit(4096), false},
	{"ahead", wal.Options{}, func(b *corpusBuilder) { b.byHand(8, 0) }, ranAhead, false},
	{"large", wal.Options{SegmentSize: 20 << 10}, writeLarge, func(t *testing.T, c *corpus) { require.Greater(t, len(c.records[c.last].data), 3*4096) }, false},
	{"tiny", wal.Options{FirstLSN: 1 << 40}, writeTiny, func(t *testing.T, c *corpus) { require.Greater(t, len(c.records), 240) }, false},
	{"torn", wal.Options{}, writeTorn, func(t *testing.T, c *corpus) {
		before := c.layouts[segment.Name(c.layouts[c.newest].opening.ID)]
		require.NotZero(t, len(bytes.Trim(c.files[segment.Name(before.header.ID)][before.end:], "\x00")), "nothing was cut off")
	}, false},
	{"truncated", wal.Options{}, writeTruncated, func(t *testing.T, c *corpus) {
		require.Equal(t, []any{wal.LSN(504), 3}, []any{c.first, len(c.layouts)})
	}, false},
	{"ready", wal.Options{}, writeReady, func(t *testing.T, c *corpus) { require.Equal(t, len(c.layouts)+1, len(c.segments)) }, false},
	{"fronts", wal.Options{}, writeFronts, func(t *testing.T, c *corpus) {
		front := bytes.Clone(c.files[segment.FrontName])
		front[4096+100] ^= 1 // the newer one
		older, _, v := refdecoder.DecodeFront(front)
		require.Equal(t, refdecoder.Valid, v)
		require.Less(t, wal.LSN(older.First), c.first, "both slots say the same")
	}, false},
	{"reused", wal.Options{SegmentSize: 16 << 10}, writeReused, func(t *testing.T, c *corpus) {
		for _, l := range c.layouts {
			require.NotZero(t, l.header.Compat, "segment %d", l.header.ID)
		}
		last := c.files[c.newest]
		require.NotZero(t, len(bytes.Trim(last[c.read.X+5000:], "\x00")), "nothing is left of what the file was")
	}, true},
}

// ranAhead asks for a log whose newest segment nothing proves, nor all of the one
// before.
func ranAhead(t *testing.T, c *corpus) {
	l := c.layouts[c.newest]
	require.Equal(t, int64(4096), c.read.W)
	require.Less(t, l.opening.Durable, l.opening.Length)
	require.Less(t, c.floor, wal.LSN(l.opening.Last))
}

func hasUnit(unit int64) func(t *testing.T, c *corpus) {
	return func(t *testing.T, c *corpus) { require.Equal(t, unit, c.layouts[c.newest].header.Unit) }
}

// handed appends records of the given sizes as one group, which nothing syncs.
func (b *corpusBuilder) handed(sizes ...int) {
	for n, size := range sizes {
		data := b.data(size)
		var err error
		if n+1 < len(sizes) {
			_, err = b.log.AppendAsync(data)
		} else {
			_, err = b.log.Append(data)
		}
		require.NoError(b.t, err)
		b.last++
		b.records[b.last] = corpusRecord{data: data}
	}
}

func writeInterval(b *corpusBuilder) {
	b.handed(10, 600)
	require.NoError(b.t, b.log.Sync())
	b.handed(20, 30)
	b.batch(0, "interval", 7, 700)
	require.NoError(b.t, b.log.Rotate())
	for n := range 4 {
		b.handed(500, n)
	}
}

func writeNone(b *corpusBuilder) {
	b.batch(0, "none", 10, 600)
	for n := range 8 {
		b.handed(n, 700)
	}
	require.NoError(b.t, b.log.Sync())
	for n := range 6 {
		b.handed(30*n, 5, 6)
	}
	b.batch(0, "none at all", 1, 2, 3)
	b.handed(1000)
}

func writeLarge(b *corpusBuilder) {
	b.batch(0, string(make([]byte, 3000)), 4200, 3)
	b.group(4096-16, 4096)
	b.group(9000)
	require.NoError(b.t, b.log.Sync())
	b.group(12<<10, 20, 4097)
	b.group(3*4096 + 1)
}

func writeTiny(b *corpusBuilder) {
	for n := range 12 {
		b.group(0, 1, 2, 3, 0, 0, 8, 1)
		b.batch(0, fmt.Sprint(n), slices.Repeat([]int{n % 3}, n)...)
		b.group(slices.Repeat([]int{1}, n+1)...)
	}
	b.batch(0, "")
	b.group(0)
	b.group(0, 0)
}

func writeTorn(b *corpusBuilder) {
	b.group(100, 200)
	b.batch(0, "torn", 300, 40)
	keep := b.last
	b.group(50, 600, 60) // of which the last two records do not reach the disk
	b.reopen(func(files map[string][]byte) {
		name := newestOf(files)
		l := layoutOf(b.t, files[name])
		for _, p := range l.pieces {
			if p.record && p.next == keep+2 {
				clear(files[name][p.from+100 : p.from+512])
			}
		}
	})
	b.drop(keep + 1)
	b.group(5, 6)
	b.batch(0, "whole again", 70)
	b.group(80, 90)
}

func writeTruncated(b *corpusBuilder) {
	for range 5 {
		b.group(900, 900)
	}
	require.NoError(b.t, b.log.TruncateFront(4))
	b.batch(0, "before", 10)
	require.NoError(b.t, b.log.Reset(500))
	b.drop(0)
	b.last = 499
	b.group(10, 20, 30, 40, 50)
	require.NoError(b.t, b.log.Rotate())
	b.batch(0, "behind", 60, 70)
	b.group(80, 90, 100)
	require.NoError(b.t, b.log.TruncateBack(508))
	b.drop(508)
	b.group(11, 12)
	require.NoError(b.t, b.log.TruncateFront(504))
	b.group(13)
}

// writeReused has segments in files that were segments before.
func writeReused(b *corpusBuilder) {
	for n := range 9 {
		b.group(3000, 6000, 2800)
		synctest.Wait()
		if n > 0 {
			require.NoError(b.t, b.log.TruncateFront(b.last-1))
		}
		synctest.Wait()
	}
	b.batch(0, "reused", 10, 20)
	b.group(3000)
	b.group(10, 20)
	b.group(300)
}

// writeReady leaves a segment behind that was made and not used.
func writeReady(b *corpusBuilder) {
	b.group(100, 0, 200)
	require.NoError(b.t, b.log.Rotate())
	b.batch(0, "ready", 30, 40)
	b.group(500, 50)
	b.reopen(func(files map[string][]byte) {
		newest := newestOf(files)
		id, _ := segment.ParseName(newest)
		head := readyHeader(bytes.Clone(files[newest][:4096]), id+1, 5000)
		files[segment.Name(id+1)] = append(head, make([]byte, 904)...)
	})
	b.asItIs = true
}

// writeFronts leaves a FRONT of which the second slot was not written when the first
// one was.
func writeFronts(b *corpusBuilder) {
	b.group(10, 20, 30)
	require.NoError(b.t, b.log.Rotate())
	b.group(40, 50, 60)
	before := b.files()
	require.NoError(b.t, b.log.TruncateFront(5))
	b.batch(0, "fronts", 70)
	b.reopen(func(files map[string][]byte) {
		front := files[segment.FrontName]
		for off := 0; off < len(front); off += 4096 { // the one that is not the newer one
			one := bytes.Clone(front)
			copy(one[off:off+4096], before[segment.FrontName][off:off+4096])
			if f, _, _ := refdecoder.DecodeFront(one); wal.LSN(f.First) == 5 {
				files[segment.FrontName] = one
				break
			}
		}
		for name, data := range before { // what TruncateFront removed had better not be needed
			if _, ok := files[name]; !ok {
				files[name] = data
			}
		}
	})
	b.asItIs = true
}

// byHand writes a log as package wal does not: with groups that begin at multiples of
// unit, or with segments that run ahead of their syncs. Of each segment so many groups
// are synced before the next is opened; 2 is all of them.
func (b *corpusBuilder) byHand(unit int64, synced int) {
	require := require.New(b.t)
	require.NoError(b.log.Close())
	b.log, b.mem = nil, vfs.NewMem()
	require.NoError(b.mem.Mkdir(corpusDir))
	front := segment.Front{Log: segment.LogID{1, 2, 3}, First: 1, Oldest: 1}
	require.NoError(segment.CreateFront(b.mem, corpusDir, filepath.Join(corpusDir, segment.FrontName), front))
	lock, err := b.mem.Create(filepath.Join(corpusDir, segment.LockName))
	require.NoError(err)
	require.NoError(lock.Close())
	drafts := func(meta string, more bool, sizes ...int) []byte {
		d := make([]byte, segment.GroupHeaderSize)
		if meta != "" {
			b.meta = []byte(meta)
			d = segment.AppendDraft(d, segment.TypeMeta, more, b.meta, segment.Hash(b.meta))
		}
		for n, size := range sizes {
			data, joined := b.data(size), more && n+1 < len(sizes)
			d = segment.AppendDraft(d, segment.TypeRecord, joined, data, segment.Hash(data))
			b.last++
			b.records[b.last] = corpusRecord{data, joined}
		}
		return d
	}
	var before *segment.Writer
	segments, groups, small := uint64(3), 3, min(int(unit), 600) // recovery looks long for a bit in more
	if unit == 4096 {                                            // they are large
		segments, groups = 2, 1
	}
	for id := uint64(1); id <= segments; id++ {
		h := segment.Header{Log: front.Log, ID: id, Salt: 0x5a17 + id, Unit: unit}
		w, err := segment.Create(b.mem, corpusDir, h, 4096+max(3*512, 4*int64(groups)*unit), nil)
		require.NoError(err)
		all := synced == 2 || id == 1 // the first one is sealed in any case
		o := segment.Opening{Irregular: id}
		if before != nil {
			o.Prev, o.Irregular = before.End(), 1
		}
		base := b.last + 1
		require.NoError(w.Open(o, b.meta, base, drafts("", false, 20, 30), false))
		if all {
			require.NoError(w.Sync())
		}
		if before != nil && (all || id == 2) {
			require.NoError(before.Seal(segment.Pin{ID: id, Salt: h.Salt}, 0))
			require.NoError(before.Sync())
		}
		for n := range groups {
			require.NoError(w.Write(drafts(fmt.Sprintf("unit %d, %d", id, n), n == 1, 100*n, small/3, 7)))
			if all || id == 2 && n == 0 {
				require.NoError(w.Sync())
			}
		}
		if all {
			require.NoError(w.Mark(false))
			require.NoError(w.Sync())
		}
		require.NoError(w.Write(drafts("", false, 1, small))) // nothing of this segment proves it
		if all {
			require.NoError(w.Sync())
		}
		before = w
	}
	require.NoError(before.Close())
}

// newestOf returns the name of the newest segment that has an opening.
func newestOf(files map[string][]byte) (newest string) {
	for name, data := range files {
		if id, ok := segment.ParseName(name); ok && refdecoder.DecodeSegment(id, data).Open == refdecoder.Valid {
			newest = max(newest, name)
		}
	}
	return newest
}

// files returns the files of the log.
func (b *corpusBuilder) files() map[string][]byte {
	synctest.Wait()
	files := map[string][]byte{}
	names, err := b.mem.List(corpusDir)
	require.NoError(b.t, err)
	for _, name := range names {
		files[name] = readAll(b.t, b.mem, name)
	}
	return files
}

// reopen opens the log as a crash, and what change makes of the files, leave it.
func (b *corpusBuilder) reopen(change func(files map[string][]byte)) {
	files := b.files()
	require.NoError(b.t, b.log.Close())
	change(files)
	b.mem = memOf(b.t, files)
	b.image = b.mem.Clone()
	var err error
	b.log, err = wal.Open(corpusDir, reopenOptions(b.mem))
	require.NoError(b.t, err)
}

var builtOptions struct {
	once sync.Once
	list []*corpus
}

// optioned returns the corpora of optionCorpora, the same ones each time.
func optioned(t *testing.T) []*corpus {
	t.Helper()
	builtOptions.once.Do(func() {
		for n := range optionCorpora {
			builtOptions.list = append(builtOptions.list, buildOption(t, n))
		}
	})
	require.Len(t, builtOptions.list, len(optionCorpora), "building the corpora has failed")
	return builtOptions.list
}

// buildOption writes the log n of optionCorpora.
func buildOption(t *testing.T, n int) (c *corpus) {
	t.Helper()
	old := crand.Reader
	crand.Reader = rand.NewChaCha8([32]byte{'o', byte(n)})
	defer func() { crand.Reader = old }()
	o := optionCorpora[n]
	synctest.Test(t, func(t *testing.T) {
		b := &corpusBuilder{t: t, mem: vfs.NewMem(), records: map[wal.LSN]corpusRecord{}}
		opts := o.opts
		if opts.FS = b.mem; !o.reuses {
			opts.FS = usingFilesOnce(b.mem)
		}
		if opts.SegmentSize == 0 {
			opts.SegmentSize = wal.MinSegmentSize
		}
		log, err := wal.Open(corpusDir, &opts)
		require.NoError(t, err)
		b.log, b.last = log, max(opts.FirstLSN, 1)-1
		o.write(b)
		synctest.Wait()
		image := b.mem.Clone()
		if b.asItIs {
			image = b.image
		}
		if b.log != nil {
			require.NoError(t, b.log.Close())
		}
		c = describe(t, o.name, image)
		for lsn, r := range b.records {
			c.records[lsn] = r
		}
	})
	w := newDamageWorker(t, c)
	got, _, bad := w.lookAt(damage{what: o.name + " as it is"})
	w.alarm.Stop()
	require.Equal(t, "", bad, "%s: %v", o.name, got)
	require.Equal(t, whole, got.class)
	o.has(t, c)
	return c
}

// TestOptionCorporaAreWhatTheySay builds them and prints what each is.
func TestOptionCorporaAreWhatTheySay(t *testing.T) {
	for _, c := range optioned(t) {
		t.Logf("%s: %v; proved to %d", c.name, c, c.floor)
		for _, name := range c.names {
			if l := c.layouts[name]; l != nil {
				t.Logf("  %s: unit %d, base %d, %d pieces, end %d, follows %d", name, l.header.Unit, l.opening.Base, len(l.pieces), l.end, l.opening.ID)
			}
		}
	}
}
