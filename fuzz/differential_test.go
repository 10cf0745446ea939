package fuzz_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/fuzz/refdecoder"
	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/segment"
)

// The differential holds two decoders of the format against each other: package
// segment, and package refdecoder, which was written from the text alone. For
// every image of a file they must agree on everything that the text defines.

// decoded is what one of them says of a file.
type decoded struct {
	headVerdict refdecoder.Verdict
	head        refdecoder.Header
	openVerdict refdecoder.Verdict
	opening     refdecoder.Opening
	scan        refdecoder.Scan
}

// byReference decodes file with the second decoder.
func byReference(file []byte) (d decoded) {
	d.head, d.headVerdict = refdecoder.DecodeHeader(file)
	if d.headVerdict != refdecoder.Valid {
		return d
	}
	d.opening, d.openVerdict = refdecoder.DecodeOpening(file, d.head)
	d.scan = refdecoder.ScanSegment(file, d.head)
	return d
}

// verdictOf sorts an error of package segment.
func verdictOf(err error) refdecoder.Verdict {
	switch {
	case err == nil:
		return refdecoder.Valid
	case errors.Is(err, segment.ErrVersion):
		return refdecoder.Newer
	case errors.Is(err, segment.ErrCorrupt):
		return refdecoder.Damaged
	}
	panic(err)
}

// bySegment decodes file with package segment.
func bySegment(file []byte) (d decoded) {
	const path = "x"
	h, err := segment.DecodeHeader(file, path)
	if d.headVerdict = verdictOf(err); err != nil {
		return d
	}
	d.head = refdecoder.Header{Log: h.Log, ID: h.ID, Salt: h.Salt, Unit: h.Unit, Created: h.Created, Compat: h.Compat, Size: h.Size}
	first, err := segment.ReadFirst(bytes.NewReader(file), path, h, int64(len(file)))
	if d.openVerdict = verdictOf(err); err == nil {
		p := first.Prev
		d.opening = refdecoder.Opening{ID: p.ID, Salt: p.Salt, Length: p.Length, Durable: p.Durable, Chain: p.Chain, Last: uint64(p.Last),
			Irregular: first.Irregular, Time: first.Time, Base: uint64(first.Base), Meta: first.Meta, HasMeta: first.HasMeta}
	}
	d.scan = scanBySegment(file, h)
	return d
}

// scanBySegment does what a recovery does with the steps of a Scanner.
func scanBySegment(file []byte, h segment.Header) (d refdecoder.Scan) {
	size := max(int64(len(file)), segment.HeaderSize)
	var sc segment.Scanner
	sc.Start(bytes.NewReader(file), "x", h, size)
	d.X, d.C, d.Frames = segment.HeaderSize, segment.HeaderSize, []refdecoder.Frame{}
	whole := d // as it was behind the last whole group
	var sealed bool
	for step := sc.Next(); step != segment.StepEnd; step = sc.Next() {
		if step == segment.StepGroup {
			g := sc.Group()
			if len(d.Frames) == 0 && sc.GroupOff() == segment.HeaderSize {
				d.Last = uint64(g.Base) - 1
			}
			d.X, d.C, d.Last = sc.GroupOff(), sc.GroupOff(), uint64(g.Base)-1
			if sealed = g.Kind == segment.KindSeal; sealed {
				break
			}
			d.W = max(d.W, g.Durable)
			whole = d
			continue
		}
		f := *sc.Frame()
		d.Frames = append(d.Frames, refdecoder.Frame{Off: f.Off, Type: uint8(f.Type), LSN: uint64(f.LSN), More: f.More, Data: slices.Clone(f.Data)})
		if !f.More {
			d.C, d.Last = f.End(), uint64(sc.NextLSN())-1
		}
	}
	inside := false
	if !sealed {
		stop := sc.Stop()
		d.X, d.Newer = stop.Off, stop.Kind == segment.StopVersion
		if _, inside = sc.GroupEnd(); !inside && sc.NextLSN() != 0 {
			d.C, d.Last = d.X, uint64(sc.NextLSN())-1
		}
		if d.X == sc.GroupOff() && inside {
			w := d.W
			d.Frames, d.C, d.Last, d.W = whole.Frames, whole.C, whole.Last, w
		}
		for n := len(d.Frames); n > 0 && d.Frames[n-1].Off >= d.X; n-- {
			d.Frames = d.Frames[:n-1]
		}
	}
	c, err := new(segment.Scanner).Claims(bytes.NewReader(file), h, d.X, size)
	if err != nil {
		panic(err)
	}
	d.W, d.Sealed, d.Clean, d.Unknown = max(d.W, c.Durable), c.Sealed, c.Zero && !inside, c.Newer != ""
	return d
}

// differ returns how two decoders disagree, or "".
func differ(got, want decoded) string {
	got.opening.End, want.opening.End = 0, 0 // the text does not name it
	if len(got.opening.Meta) == 0 && len(want.opening.Meta) == 0 {
		got.opening.Meta, want.opening.Meta = nil, nil
	}
	for n := range min(len(got.scan.Frames), len(want.scan.Frames)) {
		a, b := got.scan.Frames[n], want.scan.Frames[n]
		if a.Off != b.Off || a.Type != b.Type || a.LSN != b.LSN || a.More != b.More || !bytes.Equal(a.Data, b.Data) {
			return fmt.Sprintf("frame %d: segment %+v, reference %+v", n, a, b)
		}
	}
	if len(got.scan.Frames) != len(want.scan.Frames) {
		return fmt.Sprintf("frames: segment %d, reference %d", len(got.scan.Frames), len(want.scan.Frames))
	}
	got.scan.Frames, want.scan.Frames = nil, nil
	if !reflect.DeepEqual(got, want) {
		return fmt.Sprintf("\nsegment   %+v\nreference %+v", got, want)
	}
	return ""
}

// agree counts the images on which both agree, by verdict, and reports the others.
type agree struct {
	t       *testing.T
	images  int
	headers [3]int // by verdict
	opening [3]int
	clean   int
	newer   int
	below   int // X < W
	bad     int
}

func (a *agree) on(where string, file []byte) {
	a.t.Helper()
	got, want := bySegment(file), byReference(file)
	a.images++
	a.headers[want.headVerdict]++
	if want.headVerdict == refdecoder.Valid {
		a.opening[want.openVerdict]++
		if want.scan.Clean {
			a.clean++
		}
		if want.scan.Newer {
			a.newer++
		}
		if want.scan.X < want.scan.W {
			a.below++
		}
	}
	if bad := differ(got, want); bad != "" {
		if a.bad++; a.bad <= 20 {
			a.t.Errorf("%s: %s", where, bad)
		}
	}
}

func (a *agree) done() {
	a.t.Helper()
	a.t.Logf("%d images; headers valid, damaged, newer: %v; openings: %v; %d scans clean, %d newer, %d fail below the watermark; %d disagreements",
		a.images, a.headers, a.opening, a.clean, a.newer, a.below, a.bad)
	require.Zero(a.t, a.bad)
}

// TestDecodersAgreeOnDamage compares them on flipped bits, cuts and sectors.
func TestDecodersAgreeOnDamage(t *testing.T) {
	stride := scale.Pick(t, 997, 29, 29, 1)
	eachCorpus(t, func(t *testing.T, c *corpus, closed bool) {
		a := &agree{t: t}
		for name := range c.layouts {
			file := slices.Clone(c.files[name])
			a.on(name, file)
			for n := 0; n < len(file)*8; n += stride {
				file[n/8] ^= 1 << (n % 8)
				a.on(fmt.Sprintf("bit %d of byte %d of %s", n%8, n/8, name), file)
				file[n/8] ^= 1 << (n % 8)
			}
			for n := 0; n < len(file); n += (stride + 7) / 8 {
				a.on(fmt.Sprintf("%s cut at %d", name, n), file[:n])
			}
			for off := 0; off < len(file); off += sectorSize {
				damaged := slices.Clone(file)
				clear(damaged[off:min(off+sectorSize, len(file))])
				a.on(fmt.Sprintf("sector at %d of %s", off, name), damaged)
			}
		}
		a.done()
		for _, n := range []int{a.headers[refdecoder.Damaged], a.opening[refdecoder.Damaged], a.clean, a.below} {
			require.NotZero(t, n)
		}
	})
}

// TestDecodersAgreeOnDamagedFiles compares them on files that were deleted, swapped,
// replaced and cut.
func TestDecodersAgreeOnDamagedFiles(t *testing.T) {
	foreign := foreignFiles(t)
	eachCorpus(t, func(t *testing.T, c *corpus, closed bool) {
		a := &agree{t: t}
		for _, d := range fileDamages(c, foreign) {
			files := maps.Clone(c.files)
			d.do(files)
			for name, file := range files {
				a.on(d.what+": "+name, file)
			}
		}
		a.done()
	})
}

// TestRecoveryAgreesWithTheSecondDecoder compares what a recovery finds in the last
// segment of the log: X, W and the last record, and whether the file was cut off.
func TestRecoveryAgreesWithTheSecondDecoder(t *testing.T) {
	stride := scale.Pick[int64](t, 499, 17, 17, 1)
	eachCorpus(t, func(t *testing.T, c *corpus, closed bool) {
		w := newDamageWorker(t, c)
		defer w.alarm.Stop()
		mended, compared := 0, 0
		front, _, _ := refdecoder.DecodeFront(c.files["FRONT"])
		on := func(where string, file []byte) {
			h, _ := refdecoder.DecodeHeader(file)
			_, v := refdecoder.DecodeOpening(file, h)
			if v != refdecoder.Valid { // then another segment is the last one
				return
			}
			w.at(where)
			w.write(c.newest, file)
			plan, err := recovery.Examine(recovery.Config{FS: w.mem, Dir: corpusDir})
			require.NoError(t, err, where)
			if len(plan.Report.Flipped) > 0 {
				mended++
				return
			}
			compared++
			s, want := plan.Last, refdecoder.ScanSegment(file, h)
			require.Equal(t, []any{want.X, want.W, want.Last}, []any{s.X, s.Proved, uint64(s.EndLSN)}, "%s: X, W, last", where)
			least := h.Size
			if front.Trimmed == h.ID {
				least = int64(front.Length)
			}
			require.Equal(t, want.X < want.W || int64(len(file)) < least, plan.Refusal() != nil, where)
		}
		file := slices.Clone(c.files[c.newest])
		for n := int64(4096 * 8); n < int64(len(file))*8; n += stride {
			file[n/8] ^= 1 << (n % 8)
			on(fmt.Sprintf("bit %d of byte %d", n%8, n/8), file)
			file[n/8] ^= 1 << (n % 8)
		}
		for n := int64(4096); n < int64(len(file)); n += stride {
			on(fmt.Sprintf("cut at %d", n), file[:n])
		}
		t.Logf("%d images compared, %d were mended", compared, mended)
		require.NotZero(t, compared)
	})
}

// TestDecodersAgreeOnFront compares them on FRONT, damaged and forged.
func TestDecodersAgreeOnFront(t *testing.T) {
	_, c := corpora(t)
	stride := scale.Pick(t, 97, 5, 5, 1)
	verdicts := [3]int{}
	on := func(where string, file []byte) {
		t.Helper()
		f, whole, err := segment.DecodeFront(file, "x")
		want, wantWhole, v := refdecoder.DecodeFront(file)
		verdicts[v]++
		require.Equal(t, v, verdictOf(err), where)
		if v == refdecoder.Valid {
			require.Equal(t, want, refdecoder.Front{Log: f.Log, Generation: want.Generation, First: uint64(f.First), Oldest: f.Oldest, Newest: f.Newest,
				Trimmed: f.Trimmed, Length: uint64(f.Length)}, where)
			require.Equal(t, wantWhole, whole, where)
		}
	}
	good := c.files["FRONT"]
	rng := rand.New(rand.NewPCG(1, 1))
	for n := 0; n < len(good)*8; n += stride {
		file := slices.Clone(good)
		file[n/8] ^= 1 << (n % 8)
		on(fmt.Sprintf("bit %d", n), file)
		file[(n/8+4096)%8192] ^= 1 << (n % 8)
		on(fmt.Sprintf("bit %d of both", n), file)
		sumSlot(file, 0)
		on(fmt.Sprintf("bit %d of both, the first summed", n), file)
		file[rng.IntN(72)] ^= 1 << (n % 8)
		file[4096+rng.IntN(72)] ^= 1 << (n % 8)
		sumSlot(file, 0)
		sumSlot(file, 4096)
		on(fmt.Sprintf("bit %d of both, both summed", n), file)
		on(fmt.Sprintf("cut at %d", n/8), good[:n/8])
	}
	t.Log("valid, damaged, newer:", verdicts)
	for _, n := range verdicts {
		require.NotZero(t, n)
	}
}

func sumSlot(file []byte, off int) {
	b := file[off : off+4096]
	sum := append(slices.Clone(b[:4088]), make([]byte, 8)...)
	binary.LittleEndian.PutUint64(sum[4088:], uint64(off))
	binary.LittleEndian.PutUint64(b[4088:], xxhash.Sum64(sum))
}

// TestDecodersAgreeOnForgedImages compares them on images that no writer makes: fields
// set to what they must not be, with sums that hold, so that no sum shields the rule
// behind it.
func TestDecodersAgreeOnForgedImages(t *testing.T) {
	images := imagesOf(t, 2_000, 60_000, 60_000, 3_000_000)
	open, closed := corpora(t)
	var names []string
	for name := range closed.layouts {
		names = append(names, name)
	}
	slices.Sort(names)
	a := &agree{t: t}
	rng := rand.New(rand.NewPCG(7, 7))
	for n := range images {
		c := open
		if n%2 == 0 {
			c = closed
		}
		name := names[n%len(names)]
		f := &forger{rng: rng, file: slices.Clone(c.files[name]), salt: c.layouts[name].header.Salt}
		for range 1 + rng.IntN(3) {
			f.spoil(c.layouts[name])
		}
		f.sum(c.layouts[name])
		a.on(fmt.Sprintf("image %d of %s: %s", n, name, f.did), f.file)
	}
	a.done()
	for _, n := range []int{a.headers[refdecoder.Damaged], a.headers[refdecoder.Newer], a.opening[refdecoder.Damaged],
		a.opening[refdecoder.Newer], a.clean, a.newer, a.below} {
		require.NotZero(t, n)
	}
}

// forger changes fields of a segment, and then sums it as a writer would.
type forger struct {
	rng  *rand.Rand
	file []byte
	salt uint64
	did  string

	keepHead, keepBody bool // one of the sums is left as it was
}

// values are what fields are set to: the ends of ranges, and what is near.
var values = []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 64, 127, 128, 200, 4095, 4096, 4097, 4104, 1 << 30, 1<<30 + 1, 1 << 35, 1<<35 + 1, 1<<63 - 1, 1 << 63, 1<<64 - 1}

// put changes a field of the given size at off.
func (f *forger) put(off int64, size int, what string) {
	if off < 0 || off+int64(size) > int64(len(f.file)) {
		return
	}
	old := uint64(0)
	for n := size - 1; n >= 0; n-- {
		old = old<<8 | uint64(f.file[off+int64(n)])
	}
	v := values[f.rng.IntN(len(values))]
	switch f.rng.IntN(4) {
	case 0:
		v = old + 1
	case 1:
		v = old - 1
	case 2:
		v = old ^ 1<<f.rng.IntN(8*size)
	}
	for n := range size {
		f.file[off+int64(n)] = byte(v >> (8 * n))
	}
	f.did += fmt.Sprintf("%s at %d: %#x to %#x; ", what, off, old, v)
}

// spoil changes one field.
func (f *forger) spoil(l *layout) {
	group := []field{{0, 1, "kind"}, {1, 1, "flags"}, {2, 2, "magic"}, {4, 4, "frames"}, {8, 4, "length"}, {12, 4, "records"},
		{16, 8, "base"}, {24, 8, "durable"}, {32, 8, "chain"}, {40, 8, "body"}, {48, 8, "reserved"}}
	frame := []field{{0, 4, "length"}, {4, 1, "type"}, {5, 1, "flags"}, {6, 2, "skip"}, {16, 1, "data"}}
	opening := []field{{0, 8, "id"}, {8, 8, "salt"}, {16, 8, "length"}, {24, 8, "durable"}, {32, 8, "chain"}, {40, 8, "last"},
		{48, 8, "irregular"}, {56, 8, "time"}, {64, 8, "incompat"}, {72, 8, "compat"}, {80, 8, "reserved"}}
	header := []field{{8, 2, "version"}, {10, 1, "unit"}, {11, 1, "zero"}, {16, 8, "incompat"}, {24, 8, "compat"}, {48, 8, "id"},
		{72, 8, "origin"}, {0, 1, "magic"}, {500, 1, "zero"}}
	pick := func(at int64, what string, fields []field) {
		x := fields[f.rng.IntN(len(fields))]
		f.put(at+x.off, x.size, what+" "+x.what)
	}
	p := l.pieces[f.rng.IntN(len(l.pieces))]
	switch n := f.rng.IntN(20); {
	case n < 2:
		pick(0, "header", header)
		copy(f.file[2048:4096], bytes.Clone(f.file[:2048]))
		if f.rng.IntN(2) == 0 {
			pick(2048, "second header", header)
		}
	case n < 6:
		pick(l.pieces[1].from+16, "opening", opening)
	case n < 8:
		pick(l.pieces[0].from, "opening group", group)
	case n == 8:
		f.keepHead = true
		fallthrough
	case n == 9:
		f.keepBody = true
		fallthrough
	case n < 17 && p.header:
		pick(p.from, "group", group)
	case n < 17:
		pick(p.from, "frame", frame)
	case n == 17 && !p.header && p.to > p.from+16+p.size:
		f.put(p.to-1, 1, "padding")
	case n == 18:
		f.file = append(f.file, make([]byte, 8*f.rng.IntN(3))...)
		f.did += "longer; "
	default:
		f.file = f.file[:max(4096, int64(len(f.file))-8*int64(f.rng.IntN(300)))]
		f.did += fmt.Sprintf("cut at %d; ", len(f.file))
	}
}

// sum makes the sums hold, of all frames and groups that stand where they stood.
func (f *forger) sum(l *layout) {
	le := binary.LittleEndian
	for _, b := range [][]byte{f.file[:2048], f.file[2048:4096]} {
		if f.rng.IntN(8) > 0 {
			le.PutUint64(b[2040:], xxhash.Sum64(b[:2040]))
		}
	}
	chain, first := uint64(0), true
	for n, p := range l.pieces {
		if !p.header || p.from+64 > int64(len(f.file)) {
			continue
		}
		head := f.file[p.from : p.from+64]
		lsn, at := le.Uint64(head[16:]), n+1
		body := xxhash.New()
		for ; at < len(l.pieces) && !l.pieces[at].header; at++ {
			off := l.pieces[at].from
			if off+16 > int64(len(f.file)) {
				break
			}
			b := f.file[off:]
			size := int64(le.Uint32(b))
			if size > int64(len(b))-16 {
				continue
			}
			in := le.AppendUint64(le.AppendUint64(nil, f.salt), uint64(off))
			own := uint64(0)
			if b[4] == 1 {
				own = lsn
				lsn++
			}
			in = append(le.AppendUint64(in, own), b[:8]...)
			in = le.AppendUint64(in, xxhash.Sum64(b[16:16+size]))
			le.PutUint64(b[8:], xxhash.Sum64(in))
			_, _ = body.Write(b[8:16])
		}
		if !f.keepBody {
			le.PutUint64(head[40:], body.Sum64())
		}
		if !first && le.Uint64(head[32:]) == p.chain {
			le.PutUint64(head[32:], chain)
		}
		if !f.keepHead {
			in := le.AppendUint64(le.AppendUint64(nil, f.salt), uint64(p.from))
			le.PutUint64(head[56:], xxhash.Sum64(append(in, head[:56]...)))
		}
		chain, first = le.Uint64(head[56:]), false
	}
}

var askedImages = flag.Int("images", 0, "how many images the second decoder is compared on by the tests that forge them; 0: what -scale says")

// imagesOf returns how many images a test makes.
func imagesOf(t *testing.T, quick, test, ci, long int) int {
	if *askedImages > 0 {
		return *askedImages
	}
	return scale.Pick(t, quick, test, ci, long)
}

// TestOpenedLogsAgreeWithTheSecondDecoder compares what a recovery says of a whole
// directory with what the second decoder does: the verdict, which file is damaged, and
// of a log that is opened its first and last LSN, its meta, where it ends, X and W. Up
// to three files are damaged or forged, FRONT among them.
func TestOpenedLogsAgreeWithTheSecondDecoder(t *testing.T) {
	images := int64(imagesOf(t, 200, 4_000, 60_000, 2_000_000))
	open, closed := corpora(t)
	all := append([]*corpus{open, closed}, optioned(t)...)
	var verdicts [3]atomic.Int64
	var torn, short, bad atomic.Int64
	var mended, both, lies, endless atomic.Int64 // what the text does not decide: a bit flipped back, one file damaged and another newer, a FRONT that holds its sum and contradicts itself or the segments, a length of 2^63, LSN 0, a salt of 0
	for k, c := range all {
		n := images / int64(len(all))
		eachChunk(t, c, n, 64, func(w *damageWorker, from, to int64) {
			for i := from; i < to; i++ {
				d := c.forge(rand.New(rand.NewPCG(uint64(i), uint64(k))))
				w.at(d.what)
				for name, data := range d.files {
					w.put(name, data)
				}
				l, undo := w.read2(d)
				newer := slices.ContainsFunc(slices.Collect(maps.Values(w.segments)), func(s *refdecoder.Segment) bool {
					return s.Head == refdecoder.Newer || s.Open == refdecoder.Newer || s.Scan.Newer || s.Scan.Unknown
				})
				front, _, _ := refdecoder.DecodeFront(w.front(d))
				unsalted := slices.ContainsFunc(slices.Collect(maps.Values(w.segments)), func(s *refdecoder.Segment) bool {
					return s.Opening.ID != 0 && s.Opening.Salt == 0
				})
				bit, _, _ := w.mendOpening(d)
				if whole := l; bit == 0 {
					bit, _ = w.mendTail(d, &whole)
				}
				plan, err := recovery.Examine(recovery.Config{FS: w.mem, Dir: corpusDir, Full: true})
				var version *segment.VersionError
				behind := false // recovery saw behind what the second decoder stopped at: it flipped a bit back
				if errors.As(err, &version) {
					id, _ := segment.ParseName(filepath.Base(version.Path))
					behind = w.segments[id] != nil && version.Offset > w.segments[id].Scan.X
				}
				undo()
				w.restore()
				verdicts[l.Verdict].Add(1)
				if l.Torn {
					torn.Add(1)
				}
				if l.Verdict == refdecoder.Valid && l.Last < uint64(c.last) {
					short.Add(1)
				}
				switch {
				case bit != 0, behind, err == nil && len(plan.Report.Flipped) > 0:
					mended.Add(1)
					continue
				case l.Verdict != refdecoder.Newer && newer && errors.Is(err, segment.ErrVersion):
					both.Add(1)
					continue
				case l.Verdict == refdecoder.Newer && err == nil && plan.Refusal() != nil && l.BadID != 0 && namesAnother(plan, l.BadID):
					both.Add(1)
					continue
				case front.Log != [16]byte{} && err == nil && frontLies(plan):
					lies.Add(1)
					continue
				case int64(front.Length) < 0, front.First == 0, unsalted:
					endless.Add(1)
					continue
				}
				if what := disagree(plan, err, l); what != "" && bad.Add(1) <= 20 {
					t.Errorf("%s: image %d: %s: %s", c.name, i, d.what, what)
				}
			}
		})
	}
	t.Logf("%d images of %d logs: %d opened (%d torn, %d short), %d damaged, %d newer; not compared: %d were mended, %d are damaged and newer, %d have a FRONT that contradicts, %d with a length beyond any file, LSN 0 or salt 0; %d disagreements",
		images/int64(len(all))*int64(len(all)), len(all), verdicts[0].Load(), torn.Load(), short.Load(), verdicts[1].Load(), verdicts[2].Load(), mended.Load(), both.Load(), lies.Load(), endless.Load(), bad.Load())
	require.Zero(t, bad.Load())
	for _, n := range []int64{verdicts[0].Load(), verdicts[1].Load(), verdicts[2].Load(), torn.Load(), short.Load()} {
		require.NotZero(t, n)
	}
}

// frontLies reports whether the damage that refuses a log is in FRONT.
func frontLies(plan *recovery.Plan) bool {
	var damage *segment.CorruptError
	return errors.As(plan.Refusal(), &damage) && filepath.Base(damage.Path) == segment.FrontName
}

// namesAnother reports whether the damage that refuses a log is in another segment.
func namesAnother(plan *recovery.Plan, id uint64) bool {
	var damage *segment.CorruptError
	return errors.As(plan.Refusal(), &damage) && filepath.Base(damage.Path) != segment.Name(id)
}

// disagree returns how a recovery and the second decoder differ, or "".
func disagree(plan *recovery.Plan, err error, l refdecoder.Log) string {
	if errors.Is(err, segment.ErrVersion) {
		if l.Verdict != refdecoder.Newer {
			return fmt.Sprintf("recovery: %v; reference %+v", err, l)
		}
		return ""
	}
	if err != nil {
		return "recovery: " + err.Error()
	}
	var damage *segment.CorruptError
	if errors.As(plan.Refusal(), &damage) {
		name := segment.FrontName
		if l.BadID != 0 {
			name = segment.Name(l.BadID)
		}
		if l.Verdict != refdecoder.Damaged || filepath.Base(damage.Path) != name {
			return fmt.Sprintf("recovery: %v; reference %+v", damage, l)
		}
		return ""
	}
	got := refdecoder.Log{First: uint64(plan.Report.First), Last: uint64(plan.Report.Last), Meta: plan.Meta}
	want := refdecoder.Log{Verdict: l.Verdict, First: l.First, Last: l.Last, Meta: l.Meta}
	if len(got.Meta) == 0 && len(want.Meta) == 0 {
		got.Meta, want.Meta = nil, nil
	}
	if s := plan.Last; s != nil && l.Ends != 0 {
		got.Ends, got.X, got.W = s.ID, s.X, s.Proved
		want.Ends, want.X, want.W = l.Ends, l.X, l.W
		if s.ID != plan.NextID-1 { // an earlier one that ran ahead: what proves it is compared by the verdict
			got.W, want.W = 0, 0
		}
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Sprintf("\nrecovery  %+v\nreference %+v", got, want)
	}
	return ""
}

// forge damages one to three files, or sets fields to what they must not be, with sums
// that hold.
func (c *corpus) forge(rng *rand.Rand) damage {
	d := damage{files: map[string][]byte{}}
	for range 1 + rng.IntN(3) {
		name := c.names[rng.IntN(len(c.names))]
		if rng.IntN(3) == 0 {
			name = c.newest
		}
		file, ok := d.files[name]
		if !ok {
			file = slices.Clone(c.files[name])
		}
		l := c.layouts[name]
		switch n := rng.IntN(10); {
		case name == segment.FrontName && n < 8 && len(file) == 8192:
			f := &forger{rng: rng, file: file}
			for range 1 + rng.IntN(2) {
				x := frontFields[rng.IntN(len(frontFields))]
				f.put(x.off, x.size, "front "+x.what)
			}
			if rng.IntN(2) == 0 {
				copy(file[4096:], bytes.Clone(file[:4096])) // go1.26 for s390x does not end a copy of 4096 bytes to right behind them
				sumSlot(file, 4096)
			}
			sumSlot(file, 0)
			d.what += f.did
		case l != nil && n < 6 && len(file) >= 4096:
			f := &forger{rng: rng, file: file, salt: l.header.Salt}
			f.spoil(l)
			f.sum(l)
			file = f.file
			d.what += name + " " + f.did
		case n == 6 && rng.IntN(4) == 0:
			file = nil
			d.what += name + " gone; "
		case len(file) == 0:
		case n == 7:
			file = file[:rng.IntN(len(file))]
			d.what += fmt.Sprintf("%s cut at %d; ", name, len(file))
		case n == 8 && l != nil:
			off := 4096 + rng.IntN(max(1, min(int(l.end), len(file))-4096+1))
			clear(file[min(off, len(file)):])
			d.what += fmt.Sprintf("%s zero from %d; ", name, off)
		default:
			off := rng.IntN(len(file))
			file[off] ^= byte(1 + rng.IntN(255))
			d.what += fmt.Sprintf("%s byte %d; ", name, off)
		}
		d.files[name] = file
		if file == nil {
			break
		}
	}
	return d
}

// field is one of a header.
type field struct {
	off  int64
	size int
	what string
}

var frontFields = []field{{8, 2, "version"}, {16, 8, "incompat"}, {24, 1, "log"}, {40, 8, "generation"}, {48, 8, "first"},
	{56, 8, "oldest"}, {64, 8, "newest"}, {72, 8, "trimmed"}, {80, 8, "length"}, {100, 1, "zero"}}
