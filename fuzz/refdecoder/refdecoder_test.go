package refdecoder_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/rand"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/seed3918b8df/tidemark/fuzz/refdecoder"
)

const (
	workedSalt = 0x1122334455667788
	workedSize = 4432 // bytes, the end of the mark
)

var workedLog = [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

// worked parses the bytes of section 9 out of the text.
func worked(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("../../segment/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n// # 9. Worked bytes\n")
	if !found {
		t.Fatal("segment/doc.go has no section 9")
	}
	var file []byte
	for _, m := range regexp.MustCompile(`(?m)^//\t(\d+): ([0-9a-f ]+)$`).FindAllStringSubmatch(section, -1) {
		off, _ := strconv.Atoi(m[1])
		line, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		if err != nil || off < len(file) {
			t.Fatalf("worked bytes at %d: %v", off, err)
		}
		file = append(file, make([]byte, off-len(file))...)
		file = append(file, line...)
	}
	if len(file) != workedSize {
		t.Fatalf("worked bytes end at %d, want %d", len(file), workedSize)
	}
	return file
}

// frame is one to write; records have type 1. Raw spoils the bytes before the
// sum is taken.
type frame struct {
	typ, flags uint8
	data       string
	raw        func(b []byte)
}

// builder writes the groups of a segment, so that a case is a few lines.
type builder struct {
	file        []byte
	salt        uint64
	next, chain uint64
	durable     uint64
}

// built is the worked segment written again, and more groups may follow.
func built(t *testing.T) *builder {
	b := &builder{file: worked(t)[:4096], salt: workedSalt, next: 7, durable: 4096}
	b.group(2, nil, opening(), frame{typ: 1, data: "tide"}, frame{typ: 2, flags: 1, data: "m"}, frame{typ: 1})
	b.durable = uint64(len(b.file))
	b.group(3, nil)
	return b
}

func opening() frame {
	data := make([]byte, 128)
	data[48] = 2
	return frame{typ: 3, data: string(data)}
}

// group writes one; raw, if any, spoils its header before the sum is taken.
func (b *builder) group(kind uint8, raw func(h []byte), frames ...frame) {
	off, records := len(b.file), uint64(0)
	var sums []byte
	h := make([]byte, 64)
	b.file = append(b.file, h...)
	for _, f := range frames {
		lsn := uint64(0)
		if f.typ == 1 {
			lsn = b.next + records
			records++
		}
		at := len(b.file)
		fh := binary.LittleEndian.AppendUint32(nil, uint32(len(f.data)))
		fh = append(fh, f.typ, f.flags, 0, 0)
		if f.raw != nil {
			f.raw(fh)
		}
		sum := words(b.salt, uint64(at), lsn)
		sum = append(append(sum, fh...), words(xxhash.Sum64String(f.data))...)
		fh = append(fh, words(xxhash.Sum64(sum))...)
		sums = append(sums, fh[8:]...)
		b.file = append(append(b.file, fh...), f.data...)
		b.file = append(b.file, make([]byte, -len(b.file)&7)...)
	}
	h = b.file[off : off+64]
	h[0], h[2], h[3] = kind, 0x1d, 0xf7
	binary.LittleEndian.PutUint32(h[4:], uint32(len(frames)))
	binary.LittleEndian.PutUint32(h[8:], uint32(len(b.file)-off)/8)
	binary.LittleEndian.PutUint32(h[12:], uint32(records))
	copy(h[16:], words(b.next, b.durable, b.chain, xxhash.Sum64(sums)))
	if raw != nil {
		raw(h)
	}
	b.chain = headerSum(b.salt, off, h)
	copy(h[56:], words(b.chain))
	if kind < 128 {
		b.next += records
	}
}

func headerSum(salt uint64, off int, h []byte) uint64 {
	return xxhash.Sum64(append(words(salt, uint64(off)), h[:56]...))
}

func words(vs ...uint64) (b []byte) {
	for _, v := range vs {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func (b *builder) scan(t *testing.T) refdecoder.Scan {
	t.Helper()
	h, v := refdecoder.DecodeHeader(b.file)
	if v != refdecoder.Valid {
		t.Fatalf("header: verdict %d, want valid", v)
	}
	return refdecoder.ScanSegment(b.file, h)
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func TestWorkedBytes(t *testing.T) {
	file := worked(t)
	header, v := refdecoder.DecodeHeader(file)
	equal(t, "verdict on the header", v, refdecoder.Valid)
	equal(t, "header", header, refdecoder.Header{Log: workedLog, ID: 2, Salt: workedSalt, Unit: 8, Size: 4096})

	o, v := refdecoder.DecodeOpening(file, header)
	equal(t, "verdict on the opening", v, refdecoder.Valid)
	equal(t, "opening", o, refdecoder.Opening{Irregular: 2, Base: 7, End: 4304})

	data := make([]byte, 128)
	data[48] = 2
	equal(t, "scan", refdecoder.ScanSegment(file, header), refdecoder.Scan{
		Frames: []refdecoder.Frame{
			{Off: 4160, Type: 3, Data: data},
			{Off: 4304, Type: 1, LSN: 7, Data: []byte("tide")},
			{Off: 4328, Type: 2, More: true, Data: []byte("m")},
			{Off: 4352, Type: 1, LSN: 8, Data: []byte{}},
		},
		X: workedSize, Clean: true, C: workedSize, Last: 8, W: 4368,
	})
	if !bytes.Equal(built(t).file, file) {
		t.Error("the builder of this test does not write the worked bytes")
	}
}

func TestHeaderHasTwoCopies(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(first, second []byte)
		want refdecoder.Verdict
	}{
		{"first lost", func(a, b []byte) { a[40]++ }, refdecoder.Valid},
		{"both lost", func(a, b []byte) { a[40]++; b[40]++ }, refdecoder.Damaged},
		{"version", func(a, b []byte) { a[8]++; b[0]++ }, refdecoder.Newer},
		{"incompat", func(a, b []byte) { a[16] = 1; resum(a); b[0]++ }, refdecoder.Newer},
		{"origin", func(a, b []byte) { a[119] = 1; resum(a); b[0]++ }, refdecoder.Newer},
		{"unit", func(a, b []byte) { a[10] = 13; resum(a); b[10] = 2; resum(b) }, refdecoder.Damaged},
		{"reserved", func(a, b []byte) { a[200] = 1; resum(a); b[0]++ }, refdecoder.Valid},
	} {
		file := worked(t)
		c.edit(file[:2048], file[2048:4096])
		_, v := refdecoder.DecodeHeader(file)
		equal(t, c.name, v, c.want)
	}
}

func resum(b []byte) { copy(b[2040:], words(xxhash.Sum64(b[:2040]))) }

func TestEveryFlippedByteStopsTheScan(t *testing.T) {
	file := worked(t)
	h, _ := refdecoder.DecodeHeader(file)
	for off := 4096; off < len(file); off++ {
		file[off] ^= 0x10
		s := refdecoder.ScanSegment(file, h)
		if s.X > int64(off) || s.C > s.X || s.Clean || s.Newer {
			t.Errorf("byte %d flipped: X %d, C %d, clean %t, newer %t", off, s.X, s.C, s.Clean, s.Newer)
		}
		if _, v := refdecoder.DecodeOpening(file, h); (v == refdecoder.Valid) != (off >= 4304) {
			t.Errorf("byte %d flipped: verdict %d on the opening", off, v)
		}
		file[off] ^= 0x10
	}
}

func TestCutBatchIsNotPartOfTheSegment(t *testing.T) {
	b := built(t)
	b.file[4356]++ // type of record 8
	s := b.scan(t)
	equal(t, "X", s.X, int64(4352))
	equal(t, "C", s.C, int64(4328))
	equal(t, "last", s.Last, uint64(7))
	equal(t, "frames", len(s.Frames), 3)
	equal(t, "W", s.W, int64(4368)) // the mark behind X claims
}

func TestGroupThatDoesNotHoldEndsWhereTheTextSays(t *testing.T) {
	for _, c := range []struct {
		name string
		raw  func(h []byte)
		x    int64
		last uint64
	}{
		{"body", func(h []byte) { h[40]++ }, workedSize, 8},
		{"records", func(h []byte) { h[12]++ }, workedSize, 8},
		{"length", func(h []byte) { h[8]++ }, workedSize + 96, 10},
	} {
		b := built(t)
		b.group(1, c.raw, frame{typ: 1}, frame{typ: 1})
		b.group(3, nil)
		s := b.scan(t)
		equal(t, c.name, []any{s.X, s.C, s.Last, s.Clean}, []any{c.x, c.x, c.last, false})
		equal(t, c.name+": frames", len(s.Frames), 4+int(c.last-8))
	}
	b := built(t)
	b.group(1, nil, frame{typ: 1}, frame{typ: 1, flags: 1})
	b.group(3, nil)
	s := b.scan(t)
	equal(t, "last has MORE", []any{s.X, s.C, s.Last, len(s.Frames)}, []any{int64(workedSize + 80), s.X, uint64(9), 5})
	b = built(t)
	b.group(1, nil, frame{typ: 1})
	b.file = append(b.file[:workedSize+72], make([]byte, 24)...)
	equal(t, "zero, but inside a group: clean", b.scan(t).Clean, false)
}

func TestGroupEndsAtTheUnit(t *testing.T) {
	b := built(t)
	b.group(1, func(h []byte) { h[8]++ }, frame{typ: 1, data: "8 bytes."})
	scan := func(unit int64) refdecoder.Scan {
		return refdecoder.ScanSegment(b.file, refdecoder.Header{Salt: workedSalt, Unit: unit})
	}
	s := scan(16)
	equal(t, "without padding", []any{s.X, s.C, s.Clean}, []any{int64(workedSize + 88), s.X, false})
	b.file = append(b.file, make([]byte, 8)...)
	s = scan(16)
	equal(t, "padding", []any{s.X, s.C, s.Clean}, []any{int64(workedSize + 96), s.X, true})
	equal(t, "another unit", scan(32).X, int64(4096))
	equal(t, "padding of a whole unit", scan(8).X, int64(workedSize+88))
	b.file[workedSize+95] = 1
	s = scan(16)
	equal(t, "padding not zero", []any{s.X, s.C, s.Clean}, []any{int64(workedSize + 88), s.X, false})
}

func TestHeaderThatDoesNotFollowStopsTheScan(t *testing.T) {
	for name, raw := range map[string]func(h []byte){
		"magic":    func(h []byte) { h[2]++ },
		"length":   func(h []byte) { h[8] = 7 },
		"base":     func(h []byte) { h[16]++ },
		"durable":  func(h []byte) { h[25]++ },
		"fallback": func(h []byte) { h[24]-- },
		"chain":    func(h []byte) { h[32]++ },
		"opening":  func(h []byte) { h[0] = 2 },
		"reserved": func(h []byte) { h[48] = 1 },
	} {
		b := built(t)
		b.group(3, raw)
		s := b.scan(t)
		equal(t, name+": X", s.X, int64(workedSize))
		equal(t, name+": newer", s.Newer, false)
	}
}

func TestNewerIsNotDamaged(t *testing.T) {
	for name, add := range map[string]func(b *builder){
		"kind":   func(b *builder) { b.group(5, nil) },
		"kind 0": func(b *builder) { b.group(0, nil) },
		"type 0": func(b *builder) { b.group(1, nil, frame{}) },
		"flag":   func(b *builder) { b.group(1, func(h []byte) { h[1] = 8 }) },
		"flag 7": func(b *builder) { b.group(1, func(h []byte) { h[1] = 0x80 }) },
		"type":   func(b *builder) { b.group(1, nil, frame{typ: 6}) },
		"codec":  func(b *builder) { b.group(1, nil, frame{typ: 1, flags: 0x10}) },
		"skip":   func(b *builder) { b.group(1, nil, frame{typ: 1, raw: func(f []byte) { f[6] = 1 }}) },
	} {
		b := built(t)
		add(b)
		s := b.scan(t)
		equal(t, name+": newer", s.Newer, true)
		equal(t, name+": C", s.C, int64(workedSize))
	}
}

func TestKindsAndTypesFrom128AreSkipped(t *testing.T) {
	b := built(t)
	b.group(128, nil, frame{typ: 77}, frame{typ: 1})
	b.group(1, nil, frame{typ: 200}, frame{typ: 1, data: "x"})
	s := b.scan(t)
	equal(t, "X", s.X, int64(len(b.file)))
	equal(t, "last", s.Last, uint64(9))
	equal(t, "frames", len(s.Frames), 6)
	equal(t, "LSN", s.Frames[5].LSN, uint64(9))
}

func TestSealBehindDamageIsSeen(t *testing.T) {
	b := built(t)
	b.durable = workedSize
	b.group(4, nil, frame{typ: 4, data: strings.Repeat("\x00", 64)})
	equal(t, "sealed", b.scan(t).Sealed, true)
	equal(t, "X of a seal", []any{b.scan(t).X, b.scan(t).C}, []any{int64(workedSize), int64(workedSize)})
	equal(t, "W", b.scan(t).W, int64(workedSize))
	b.file[4328]++
	equal(t, "sealed behind damage", b.scan(t).Sealed, true)
	equal(t, "W behind damage", b.scan(t).W, int64(workedSize))
	b.file[workedSize]++
	equal(t, "sealed without its sum", b.scan(t).Sealed, false)

	b.group(1, func(h []byte) { copy(h[24:], words(math.MaxUint64)) })
	equal(t, "W too large for an int64", b.scan(t).W, int64(math.MaxInt64))
}

func TestOpeningObeysItsRules(t *testing.T) {
	data := func(pairs ...uint64) string { // of field, value
		b := []byte(opening().data)
		for i := 0; i < len(pairs); i += 2 {
			binary.LittleEndian.PutUint64(b[pairs[i]:], pairs[i+1])
		}
		return string(b)
	}
	for _, c := range []struct {
		what   string
		frames []frame
		chain  uint64
		want   refdecoder.Verdict
	}{
		{"follows", []frame{{typ: 3, data: data(0, 1, 8, 5, 16, 4200, 24, 4100, 32, 9, 40, 6, 48, 1)}}, 9, refdecoder.Valid},
		{"chain", []frame{{typ: 3, data: data(0, 1, 16, 4200, 24, 4100, 32, 9, 40, 6, 48, 1)}}, 8, refdecoder.Damaged},
		{"base", []frame{{typ: 3, data: data(0, 1, 16, 4200, 24, 4100, 32, 9, 40, 7, 48, 1)}}, 9, refdecoder.Damaged},
		{"durable", []frame{{typ: 3, data: data(0, 1, 16, 4200, 24, 4201, 40, 6, 48, 1)}}, 0, refdecoder.Damaged},
		{"durable below 4096", []frame{{typ: 3, data: data(0, 1, 16, 4200, 24, 4095, 40, 6, 48, 1)}}, 0, refdecoder.Damaged},
		{"length", []frame{{typ: 3, data: data(0, 1, 16, 1<<35+1, 24, 4100, 40, 6, 48, 1)}}, 0, refdecoder.Damaged},
		{"follows itself", []frame{{typ: 3, data: data(0, 2, 16, 4200, 24, 4100, 40, 6)}}, 0, refdecoder.Damaged},
		{"irregular", []frame{{typ: 3, data: data(0, 1, 16, 4200, 24, 4100, 40, 6)}}, 0, refdecoder.Damaged},
		{"first and regular", []frame{{typ: 3, data: data(48, 1)}}, 0, refdecoder.Damaged},
		{"no id, but salt", []frame{{typ: 3, data: data(8, 1)}}, 0, refdecoder.Damaged},
		{"reserved", []frame{{typ: 3, data: data(80, 1)}}, 0, refdecoder.Damaged},
		{"incompat", []frame{{typ: 3, data: data(64, 1)}}, 0, refdecoder.Newer},
		{"size", []frame{{typ: 3, data: data()[:120]}}, 0, refdecoder.Damaged},
		{"type", []frame{{typ: 2, data: data()}}, 0, refdecoder.Damaged},
		{"empty", nil, 0, refdecoder.Damaged},
		{"cut step", []frame{{typ: 3, flags: 1, data: data()}}, 0, refdecoder.Damaged},
		{"newer step", []frame{{typ: 3, flags: 1, data: data()}, {typ: 9}}, 0, refdecoder.Newer},
	} {
		b := &builder{file: worked(t)[:4096], salt: workedSalt, next: 7, durable: 4096, chain: c.chain}
		b.group(2, nil, c.frames...)
		h, _ := refdecoder.DecodeHeader(b.file)
		o, v := refdecoder.DecodeOpening(b.file, h)
		equal(t, c.what, v, c.want)
		if c.what == "follows" {
			equal(t, c.what, o, refdecoder.Opening{ID: 1, Salt: 5, Length: 4200, Durable: 4100,
				Chain: 9, Last: 6, Irregular: 1, Base: 7, End: 4304})
		}
	}
	b := &builder{file: worked(t)[:4096], salt: workedSalt, next: 7, durable: 4095}
	b.group(2, nil, opening())
	equal(t, "watermark below 4096", b.scan(t).X, int64(4096))

	b = &builder{file: worked(t)[:4096], salt: workedSalt, next: 7, durable: 4096}
	b.group(2, nil, frame{typ: 3, flags: 1, data: data(56, 3)}, frame{typ: 2, flags: 1, data: "meta"}, frame{typ: 1}, frame{typ: 1})
	h, _ := refdecoder.DecodeHeader(b.file)
	o, v := refdecoder.DecodeOpening(b.file, h)
	equal(t, "verdict on a step of three", v, refdecoder.Valid)
	equal(t, "step of three", o, refdecoder.Opening{Irregular: 2, Time: 3, Base: 7, End: 4344, Meta: []byte("meta"), HasMeta: true})
}

func TestFrontIsTheNewerSlot(t *testing.T) {
	slot := func(off, generation uint64) []byte {
		b := append([]byte("TIDEFRNT"), words(1, 0)...)
		b = append(append(b, workedLog[:]...), words(generation, 20, 30, 40, 50, 60)...)
		b = append(b, make([]byte, 4088-len(b))...)
		return append(b, words(xxhash.Sum64(append(b[:4088:4088], words(off)...)))...)
	}
	want := refdecoder.Front{Log: workedLog, Generation: 8, First: 20, Oldest: 30, Newest: 40, Trimmed: 50, Length: 60}
	check := func(what string, file []byte, want refdecoder.Front, whole bool, verdict refdecoder.Verdict) {
		t.Helper()
		f, w, v := refdecoder.DecodeFront(file)
		equal(t, what, []any{f, w, v}, []any{want, whole, verdict})
	}
	file := append(slot(0, 7), slot(4096, 8)...)
	check("both", file, want, true, refdecoder.Valid)
	file[100]++
	check("second only", file, want, false, refdecoder.Valid)
	file = append(slot(0, 8), slot(4096, 7)...)
	check("first is newer", file, want, true, refdecoder.Valid)
	check("first only", file[:8191], want, false, refdecoder.Valid)
	check("slot of another place", append(slot(4096, 8), slot(0, 8)...), refdecoder.Front{}, false, refdecoder.Damaged)
	file[8], file[4096] = 2, 0
	check("version", file, refdecoder.Front{}, false, refdecoder.Newer)
}

// TestNoBytesPanic decodes random bytes, and the worked bytes with random ones
// in them whose headers are summed again, so that the sums do not shield what
// lies behind them.
func TestNoBytesPanic(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	good := worked(t)
	for i := range 4000 {
		file := make([]byte, rng.Intn(3*4096))
		rng.Read(file)
		h := refdecoder.Header{Salt: workedSalt, Unit: int64(i % 10)}
		if i%4 != 0 {
			file = append(append(file[:0:0], good...), file[:len(file)/8]...)
			for range 1 + rng.Intn(3) {
				file[4096+rng.Intn(len(file)-4096)] = byte(rng.Int())
			}
			for _, off := range []int{4096, 4368} {
				copy(file[off+56:], words(headerSum(workedSalt, off, file[off:])))
			}
		}
		decode(t, file, h)
		decode(t, file[:rng.Intn(len(file)+1)], h)
		decode(t, file, refdecoder.Header{})
	}
}

func decode(t *testing.T, file []byte, h refdecoder.Header) {
	t.Helper()
	refdecoder.DecodeHeader(file)
	refdecoder.DecodeFront(file)
	o, v := refdecoder.DecodeOpening(file, h)
	s := refdecoder.ScanSegment(file, h)
	end := int64(4096)
	for _, f := range s.Frames {
		if f.Off < end {
			t.Fatalf("frame at %d, the one before ends at %d", f.Off, end)
		}
		end = f.Off + 16 + int64(len(f.Data))
	}
	if end > s.X || s.C < 4096 || s.C > s.X || s.X > max(4096, int64(len(file))) || s.W < 0 {
		t.Fatalf("frames end at %d, C %d, X %d, W %d, file %d", end, s.C, s.X, s.W, len(file))
	}
	if v == refdecoder.Valid && o.End > s.X {
		t.Fatalf("opening step ends at %d, X %d", o.End, s.X)
	}
}

func TestClaimedSizesAreNotAllocated(t *testing.T) {
	b := built(t)
	b.group(1, func(h []byte) { copy(h[4:12], "\xff\xff\xff\xff\xff\xff\xff\xff") }, frame{typ: 1, raw: func(f []byte) { f[3] = 0x40 }})
	random := make([]byte, 1<<20)
	rand.New(rand.NewSource(2)).Read(random)
	for _, file := range [][]byte{b.file, random, bytes.Repeat([]byte{0, 0, 0x1d, 0xf7, 0, 0, 0, 0}, 1<<15)} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		decode(t, file, refdecoder.Header{Salt: workedSalt, Unit: 8})
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 2*uint64(len(file)) {
			t.Errorf("decoding %d bytes allocated %d", len(file), got)
		}
	}
}
