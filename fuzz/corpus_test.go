package fuzz_test

import (
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/fuzz/refdecoder"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// The corpus is a small log with everything in it that a log can have: three
// segments, one sealed with an index, one that a truncation in a batch ended, one
// active; opening groups, groups of one record and of many, batches, metas, marks,
// empty records and ones of several sectors. It is the same in every run.
//
// The open one is what a crash leaves right behind the last append: nothing proves
// its last group. The closed one is the same log, closed in order.

const (
	corpusDir         = "log"
	corpusSegmentSize = 64 << 10 // bytes
	corpusFirst       = 1008     // FirstLSN, in the middle of the oldest segment
)

// corpusOptions open the corpus on fsys.
func corpusOptions(fsys vfs.FS) *wal.Options {
	return &wal.Options{FS: fsys, SegmentSize: corpusSegmentSize, FirstLSN: 1000}
}

// usingFilesOnce returns a file system where a log cannot make a segment of the file of
// another, so that what is in a file does not depend on when the other was given up.
func usingFilesOnce(fsys vfs.FS) vfs.FS {
	return vfs.Wrap(fsys, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		if c.Op == vfs.Rename && filepath.Ext(c.Name) == segment.Ext {
			return 0, fs.ErrPermission
		}
		return do(int(c.Size))
	})
}

// reopenOptions open the corpus again; what is opened behind it is small.
func reopenOptions(fsys vfs.FS) *wal.Options {
	return &wal.Options{FS: fsys, SegmentSize: wal.MinSegmentSize}
}

// corpusRecord is a record that must be read back.
type corpusRecord struct {
	data []byte
	more bool
}

// corpus is a log, its files, and what they mean.
type corpus struct {
	name      string
	mem       *vfs.Mem // pristine; to be cloned
	files     map[string][]byte
	names     []string // of files that are not empty, sorted
	records   map[wal.LSN]corpusRecord
	first     wal.LSN
	last      wal.LSN
	lastGroup wal.LSN // the first record of the last group that has one
	meta      []byte
	layouts   map[string]*layout // by name, of segments
	newest    string             // name of the last segment
	open      bool               // it was not closed
	size      int64              // of all files, in bytes

	segments map[uint64]*refdecoder.Segment // by id, as the second decoder reads them
	read     refdecoder.Log                 // and what it says that they are together
	floor    wal.LSN                        // the newest record that the files prove durable
}

// corpusPair is the open and the closed corpus.
type corpusPair struct{ open, closed *corpus }

// buildCorpus writes a log with a log id and salts that seed decides.
func buildCorpus(t *testing.T, seed byte) (pair corpusPair) {
	old := crand.Reader
	crand.Reader = rand.NewChaCha8([32]byte{seed})
	defer func() { crand.Reader = old }()
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		b := &corpusBuilder{t: t, records: map[wal.LSN]corpusRecord{}}
		var err error
		b.log, err = wal.Open(corpusDir, corpusOptions(usingFilesOnce(mem)))
		require.NoError(t, err)
		b.write()
		synctest.Wait()
		pair.open = b.corpus("open", mem.Clone())
		pair.open.open = true
		require.NoError(t, b.log.Close())
		synctest.Wait()
		pair.closed = b.corpus("closed", mem.Clone())
	})
	return pair
}

var builtCorpus struct {
	once sync.Once
	pair corpusPair
}

// corpora returns the open and the closed corpus, the same ones each time.
func corpora(t *testing.T) (open, closed *corpus) {
	t.Helper()
	builtCorpus.once.Do(func() { builtCorpus.pair = buildCorpus(t, 'c') })
	require.NotNil(t, builtCorpus.pair.closed, "building the corpus has failed")
	return builtCorpus.pair.open, builtCorpus.pair.closed
}

// readyHeader makes head, the header of a segment, that of a new one with the given
// id and size.
func readyHeader(head []byte, id, size uint64) []byte {
	for _, b := range [][]byte{head[:2048], head[2048:]} {
		binary.LittleEndian.PutUint64(b[48:], id)
		binary.LittleEndian.PutUint64(b[56:], 0x5a17)
		binary.LittleEndian.PutUint64(b[120:], size)
		binary.LittleEndian.PutUint64(b[2040:], xxhash.Sum64(b[:2040]))
	}
	return head
}

// corpusBuilder writes the log and notes what is in it.
type corpusBuilder struct {
	t       *testing.T
	mem     *vfs.Mem // of one of the optionCorpora
	image   *vfs.Mem // what it held when the log was last reopened
	asItIs  bool     // that is the corpus
	log     *wal.Log
	n       byte
	records map[wal.LSN]corpusRecord
	last    wal.LSN
	meta    []byte
}

// data returns size bytes that no other record has.
func (b *corpusBuilder) data(size int) []byte {
	b.n++
	data := make([]byte, size)
	for i := range data {
		data[i] = b.n + byte(i)*3 + byte(i>>8)
	}
	return data
}

// group appends records of the given sizes as one group, by themselves.
func (b *corpusBuilder) group(sizes ...int) {
	var p wal.Pending
	var err error
	for _, size := range sizes {
		data := b.data(size)
		p, err = b.log.AppendAsync(data)
		require.NoError(b.t, err)
		b.last = p.Last
		b.records[p.Last] = corpusRecord{data: data}
	}
	require.NoError(b.t, p.Wait(b.t.Context()))
}

// batch appends records of the given sizes as one batch, with a meta unless it is
// "". If keep is not 0, the records above it are dropped first.
func (b *corpusBuilder) batch(keep wal.LSN, meta string, sizes ...int) {
	var batch wal.Batch
	if keep != 0 {
		batch.TruncateBack(keep)
		b.drop(keep)
	}
	if meta != "" {
		b.meta = []byte(meta)
		batch.SetMeta(b.meta)
	}
	for i, size := range sizes {
		data := b.data(size)
		batch.Add(data)
		b.last++
		b.records[b.last] = corpusRecord{data: data, more: i+1 < len(sizes)}
	}
	first, err := b.log.AppendBatch(&batch)
	require.NoError(b.t, err)
	require.Equal(b.t, b.last+1, first+wal.LSN(len(sizes)))
}

func (b *corpusBuilder) drop(keep wal.LSN) {
	for lsn := range b.records {
		if lsn > keep {
			delete(b.records, lsn)
		}
	}
	b.last = keep
}

// write makes the log of segments 1 to 5, of which 1 and 4 are gone in the end.
func (b *corpusBuilder) write() {
	require := require.New(b.t)
	b.last = 999
	b.group(100, 200)
	b.group(300, 20)
	require.NoError(b.log.TruncateBack(1002)) // begins segment 2
	b.drop(1002)

	b.group(0, 1, 7, 8, 9)
	b.batch(0, "term 1", 40, 0, 513)
	b.group(4100)
	require.NoError(b.log.Sync())
	b.batch(0, "term 2")
	b.group(256, 256, 256, 256)
	b.group(100)
	require.NoError(b.log.Rotate()) // seals segment 2, with an index

	b.group(60, 60, 60)
	b.batch(0, "", 520, 90)
	b.group(600)
	keep := b.last + 1
	b.group(33, 34, 35)
	require.NoError(b.log.Rotate())
	b.group(80, 80)
	b.batch(keep, "term 3", 15, 16, 17) // ends segment 3 within a group, and begins segment 5

	b.group(300, 300)
	b.group(600)
	require.NoError(b.log.Sync())
	b.batch(0, "term 4", 200, 30)
	b.group(64, 64, 64)
	require.NoError(b.log.TruncateFront(corpusFirst))
	b.group(1, 2)
	b.group(50, 300, 3, 4200, 9, 0) // nothing proves it
}

func readAll(t *testing.T, fsys vfs.FS, name string) []byte {
	file, err := fsys.Open(filepath.Join(corpusDir, name), vfs.ReadOnly)
	require.NoError(t, err)
	defer file.Close()
	info, err := file.Stat()
	require.NoError(t, err)
	data := make([]byte, info.Size)
	_, err = file.ReadAt(data, 0)
	if err != io.EOF {
		require.NoError(t, err)
	}
	return data
}

// corpus describes the log in mem.
func (b *corpusBuilder) corpus(name string, mem *vfs.Mem) *corpus {
	c := describe(b.t, name, mem)
	require.Equal(b.t, []any{wal.LSN(corpusFirst), b.last, b.meta}, []any{c.first, c.last, c.meta})
	for lsn, r := range b.records {
		c.records[lsn] = r
	}
	for name, l := range c.layouts {
		require.Equal(b.t, name == c.newest, l.proved == 0)
	}
	return c
}

// describe says what the log in mem is, as the second decoder reads it, but for its
// records.
func describe(t *testing.T, name string, mem *vfs.Mem) *corpus {
	c := &corpus{name: name, mem: mem, files: map[string][]byte{}, layouts: map[string]*layout{}, records: map[wal.LSN]corpusRecord{},
		segments: map[uint64]*refdecoder.Segment{}}
	names, err := mem.List(corpusDir)
	require.NoError(t, err)
	for _, name := range names {
		data := readAll(t, mem, name)
		c.files[name] = data
		c.size += int64(len(data))
		if len(data) == 0 {
			continue
		}
		c.names = append(c.names, name)
		if id, ok := segment.ParseName(name); ok {
			s := refdecoder.DecodeSegment(id, data)
			if c.segments[id] = s; s.Open == refdecoder.Valid {
				c.layouts[name] = layoutOf(t, data)
				c.newest = name
			}
		}
	}
	c.read = refdecoder.ReadLog(c.files["FRONT"], c.segments)
	require.Equal(t, refdecoder.Valid, c.read.Verdict)
	c.first, c.last, c.meta = wal.LSN(c.read.First), wal.LSN(c.read.Last), c.read.Meta
	for _, l := range c.layouts {
		for _, other := range c.layouts {
			if other.opening.ID == l.header.ID {
				l.end, l.proved = other.opening.Length, other.opening.Durable
			}
		}
		l.cut(l.end)
	}
	for _, p := range c.layouts[c.newest].pieces {
		if p.header && p.next <= c.last {
			c.lastGroup = p.next
		}
	}
	c.floor = c.provedLast(c.layouts[c.newest], c.read.W)
	return c
}

// provedLast returns the newest record that is durable if the segment with the layout
// l, and nothing newer, is known durable up to w.
func (c *corpus) provedLast(l *layout, w int64) wal.LSN {
	last := wal.LSN(l.opening.Base) - 1
	for _, p := range l.pieces {
		if p.record && p.to <= w && !p.more {
			last = p.next
		}
	}
	before := c.layouts[segment.Name(l.opening.ID)]
	if w > 4096 || before == nil {
		return max(last, c.first-1)
	}
	return c.provedLast(before, max(l.opening.Durable, c.segments[before.header.ID].Scan.W))
}

// layout is what stands where in a segment, as the second decoder reads it.
type layout struct {
	header  refdecoder.Header
	opening refdecoder.Opening
	pieces  []piece // without a hole, from 4096 to the end
	end     int64   // of what counts
	proved  int64   // of an earlier segment: how far the one behind proves it
}

// piece is a header of a group, a frame with its padding, or the padding of a group.
type piece struct {
	from, to int64
	header   bool
	durable  int64   // of a header: the watermark
	kind     byte    // of a header: of the group
	chain    uint64  // of a header
	typ      byte    // of a frame
	size     int64   // of a frame's data
	next     wal.LSN // of the record that it is or, if it is none, of the next one
	record   bool
	more     bool
	pad      bool // it is neither, but zero up to a multiple of the unit
}

// layoutOf walks the groups of file and holds what it finds against the second
// decoder.
func layoutOf(t *testing.T, file []byte) *layout {
	header, v := refdecoder.DecodeHeader(file)
	require.Equal(t, refdecoder.Valid, v)
	opening, v := refdecoder.DecodeOpening(file, header)
	require.Equal(t, refdecoder.Valid, v)
	l := &layout{header: header, opening: opening}
	scan := refdecoder.ScanSegment(file, header)
	frames := scan.Frames
	u32 := func(off int64) int64 { return int64(binary.LittleEndian.Uint32(file[off:])) }
	u64 := func(off int64) uint64 { return binary.LittleEndian.Uint64(file[off:]) }
	off := int64(4096)
	for off < scan.X {
		next := wal.LSN(u64(off + 16))
		end := off + 8*u32(off+8)
		l.pieces = append(l.pieces, piece{from: off, to: off + 64, header: true, durable: int64(u64(off + 24)), kind: file[off], chain: u64(off + 32), next: next})
		n := u32(off + 4)
		off += 64
		for ; n > 0 && off < scan.X; n-- {
			to := off + 16 + (u32(off)+7)&^7
			p := piece{from: off, to: to, typ: file[off+4], size: u32(off), next: next, record: file[off+4] == 1, more: file[off+5]&1 != 0}
			require.Equal(t, frames[0].Off, off)
			require.Equal(t, frames[0].Type, p.typ)
			frames = frames[1:]
			if p.record {
				next++
			}
			l.pieces = append(l.pieces, p)
			off = to
		}
		if off < end && off < scan.X { // up to the unit
			l.pieces = append(l.pieces, piece{from: off, to: end, pad: true, next: next})
			off = end
		}
	}
	l.end = off
	return l
}

// cut drops the pieces behind end.
func (l *layout) cut(end int64) {
	for len(l.pieces) > 0 && l.pieces[len(l.pieces)-1].from >= end {
		l.pieces = l.pieces[:len(l.pieces)-1]
	}
}

// at returns the index of the first piece that ends behind off.
func (l *layout) at(off int64) int {
	n, _ := slices.BinarySearchFunc(l.pieces, off, func(p piece, off int64) int {
		if p.to <= off {
			return -1
		}
		return 1
	})
	return n
}

// lsnsOf returns the first and the last LSN of the records in the file.
func (c *corpus) lsnsOf(name string) (first, last wal.LSN) {
	l := c.layouts[name]
	if l == nil {
		return c.first, c.last
	}
	first, last = wal.LSN(l.opening.Base), wal.LSN(l.opening.Base)-1
	for _, p := range l.pieces {
		if p.record {
			last = p.next
		}
	}
	return max(first, c.first), last
}

func (c *corpus) String() string {
	s := fmt.Sprintf("records %d to %d, %d bytes in", c.first, c.last, c.size)
	for _, name := range c.names {
		s += fmt.Sprintf(" %s:%d", name, len(c.files[name]))
	}
	return s
}

// TestCorpusHasEveryKind reads the corpus back, and looks for every kind of group
// and frame in it.
func TestCorpusHasEveryKind(t *testing.T) {
	open, closed := corpora(t)
	for name, c := range map[string]*corpus{"open": open, "closed": closed} {
		t.Run(name, func(t *testing.T) {
			t.Log(c)
			require.Len(t, c.layouts, 3)
			kinds, types, headers := map[byte]int{}, map[byte]int{}, 0
			for _, name := range c.names {
				if c.layouts[name] == nil {
					continue
				}
				h, _ := refdecoder.DecodeHeader(c.files[name])
				s := refdecoder.ScanSegment(c.files[name], h)
				for _, f := range s.Frames {
					types[f.Type]++
				}
				for off := int64(4096); off+64 <= int64(len(c.files[name])); off += 8 {
					if b := c.files[name][off:]; b[2] == 0x1d && b[3] == 0xf7 {
						kinds[b[0]]++
						headers++
					}
				}
			}
			t.Logf("%d groups %v", headers, kinds)
			for kind := byte(1); kind <= 4; kind++ {
				require.NotZero(t, kinds[kind], "group kind %d", kind)
			}
			for typ := byte(1); typ <= 3; typ++ { // the seal's frames stand behind what a scan takes
				require.NotZero(t, types[typ], "frame type %d", typ)
			}
			w := newDamageWorker(t, c)
			got := w.observe(c.names[0], c.first, c.last)
			require.Equal(t, whole, got.class, "%v", got)
		})
	}
	require.Equal(t, open.last, closed.last)
}
