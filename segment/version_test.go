package segment

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// begun is a segment with one record, to which a test adds what is new.
func begun(t testing.TB, unit int64) *seg {
	return create(t, vfs.NewMem(), header(unit)).open(Pin{}, 10, "", rec(8)).sync()
}

// newerAt asserts that a scan ends at off because of what it finds there, and
// that it is not called damage.
func (s *seg) newerAt(off int64, what string) {
	s.Helper()
	_, stop := scanned(s.bytes(), s.w.Header())
	require.Equal(s, StopVersion, stop.Kind, "%v", stop.Err)
	require.Equal(s, off, stop.Off)
	require.ErrorIs(s, stop.Err, ErrVersion)
	require.NotErrorIs(s, stop.Err, ErrCorrupt)
	require.ErrorContains(s, stop.Err, what)
}

func TestUnknownFrameIsOfANewerVersion(t *testing.T) {
	for name, change := range map[string]func(frame []byte){
		"frame type 0":        func(b []byte) { b[frmType] = 0 },
		"frame type 6":        func(b []byte) { b[frmType] = 6 },
		"frame type 127":      func(b []byte) { b[frmType] = 127 },
		"frame flags 0x2":     func(b []byte) { b[frmFlags] = 2 },
		"frame flags 0x10":    func(b []byte) { b[frmFlags] = 0x10 }, // a codec
		"frame flags 0x81":    func(b []byte) { b[frmFlags] = 0x81 },
		"a gap of 1 LSNs":     func(b []byte) { b[frmSkip] = 1 },
		"a gap of 65280 LSNs": func(b []byte) { b[frmSkip+1] = 0xff },
	} {
		s := begun(t, 8)
		off := s.w.Off()
		buf := s.drafts(11, []item{rec(3), rec(9)})
		change(buf[GroupHeaderSize+rec(3).frame():])
		require.NoError(t, s.w.Write(buf))
		s.newerAt(off+GroupHeaderSize+rec(3).frame(), name)
	}
}

func TestUnknownGroupIsOfANewerVersion(t *testing.T) {
	for what, g := range map[string]Group{
		"group kind 0":    {Kind: 0},
		"group kind 5":    {Kind: 5},
		"group kind 127":  {Kind: 127},
		"group flags 0x2": {Kind: KindGroup, Flags: flagCompacted},
		"group flags 0x4": {Kind: KindGroup, Flags: flagCut},
		"group flags 0x9": {Kind: KindMark, Flags: 8 | FlagClean},
	} {
		s := begun(t, 8)
		off := s.w.Off()
		s.kind(g, rec(4)).newerAt(off, what)
		claims, err := new(Scanner).Claims(s.w.File(), s.w.Header(), HeaderSize, s.w.Off())
		require.NoError(t, err)
		require.Equal(t, what, claims.Newer)
	}
}

// TestUnknownAndDamagedIsDamaged needs a sum before it calls anything newer.
func TestUnknownAndDamagedIsDamaged(t *testing.T) {
	s := begun(t, 8)
	off := s.w.Off()
	s.kind(Group{Kind: 5})
	for _, at := range []int64{off + grpKind, off + grpSum} {
		b := s.bytes()
		b[at] ^= 2
		_, stop := scanned(b, s.w.Header())
		require.Equal(t, StopInvalid, stop.Kind)
		claims, err := new(Scanner).Claims(bytes.NewReader(b), s.w.Header(), off, s.w.Off())
		require.NoError(t, err)
		require.Equal(t, Claims{First: off, Used: s.w.Off()}, claims)
	}
}

func TestFrameTypesFrom128OnAreSkipped(t *testing.T) {
	for _, typ := range []Type{128, 200, 255} {
		s := begun(t, 8).group(rec(3).and(), typed(typ).and(), rec(5), typed(typ)).group(typed(typ)).group(rec(1))
		var sc Scanner
		n, wrong := scanWith(&sc, s.bytes(), s.w.Header(), s.w.Off(), s.frames)
		require.Empty(t, wrong)
		require.Equal(t, len(s.frames), n)
		require.NoError(t, sc.Stop().Err)
		var d Reader
		for _, f := range s.records() {
			got, err := s.read(&d, s.bytes(), s.w.Index(), f.LSN)
			require.NoError(t, err)
			require.Equal(t, f.Data, got)
		}
	}
}

// TestGroupKindsFrom128OnAreSkipped puts a group of unknown content, which has
// no frames that this version knows, between two others.
func TestGroupKindsFrom128OnAreSkipped(t *testing.T) {
	eachUnit(t, func(t *testing.T, unit int64) {
		for _, kind := range []Kind{128, 255} {
			s := begun(t, unit)
			off := s.w.Off()
			s.kind(Group{Kind: kind}, typed(1), typed(7), typed(99)) // the first looks like a record, and is none
			s.w.next, s.frames = 11, s.frames[:len(s.frames)-3]
			end := s.w.Off()
			s.group(rec(4), rec(5)).mark()
			var sc Scanner
			n, wrong := scanWith(&sc, s.bytes(), s.w.Header(), s.w.Off(), s.frames)
			require.Empty(t, wrong)
			require.Equal(t, len(s.frames), n, "%v", sc.Stop().Err)
			require.NoError(t, sc.Stop().Err)

			var d Reader
			one := new(Index)
			one.Add(0, s.records()[0].Off)
			for _, f := range s.records() {
				got, err := s.read(&d, s.bytes(), one, f.LSN)
				require.NoError(t, err)
				require.Equal(t, f.Data, got)
			}
			claims, err := new(Scanner).Claims(s.w.File(), s.w.Header(), off, end)
			require.NoError(t, err)
			require.Equal(t, LSN(10), claims.Last)

			for size := off + GroupHeaderSize; size < end; size += 8 { // it is not whole
				_, stop := scanned(s.bytes()[:size], s.w.Header())
				require.Equal(t, StopInvalid, stop.Kind)
				require.Equal(t, off+GroupHeaderSize, stop.Off)
			}
		}
	})
}

// TestOpeningWithAFeatureIsOfANewerVersion is for what a segment learned after
// its header was made.
func TestOpeningWithAFeatureIsOfANewerVersion(t *testing.T) {
	s := create(t, vfs.NewMem(), header(8))
	require.NoError(t, s.w.Open(Opening{Irregular: 2, incompat: 1}, nil, 1, drafts(), false))
	_, err := ReadFirst(s.w.File(), "x", s.w.Header(), s.w.Off())
	require.NoError(t, err, "encode leaves it out")

	o := Opening{Irregular: 2, Compat: 1 << 40}.encode()
	o[opnIncompat] = 4
	s = create(t, vfs.NewMem(), header(8))
	s.w.base, s.w.next = 1, 1
	s.kind(Group{Kind: KindOpening}, item{typ: typeOpening, size: openingSize, meta: string(o)})
	_, err = ReadFirst(s.w.File(), "x", s.w.Header(), s.w.Off())
	require.ErrorIs(t, err, ErrVersion)
	require.NotErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, "feature word 0x4")
}

// TestHeaderThatHoldsItsSumMustFit breaks each rule of a group's header under a
// sum that holds.
func TestHeaderThatHoldsItsSumMustFit(t *testing.T) {
	for why, change := range map[string]func(g *Group, off int64){
		"length of the group":                              func(g *Group, off int64) { g.Length = 56 },
		"length of the group (no multiple of the unit)":    func(g *Group, off int64) { g.Length += 8 },
		"the group does not follow the one before it":      func(g *Group, off int64) { g.Chain++ },
		"base LSN of the group":                            func(g *Group, off int64) { g.Base++ },
		"base LSN of the group is 0":                       func(g *Group, off int64) { g.Base = 0 },
		"watermark of the group":                           func(g *Group, off int64) { g.Durable = off + 8 },
		"watermark of the group (in the file's header)":    func(g *Group, off int64) { g.Durable = HeaderSize - 8 },
		"watermark of the group (lower than the last)":     func(g *Group, off int64) { g.Durable = HeaderSize },
		"watermark of the group (negative)":                func(g *Group, off int64) { g.Durable = -8 },
		"an opening group anywhere else":                   func(g *Group, off int64) { g.Kind = KindOpening },
		"no room for a frame (more frames than there are)": func(g *Group, off int64) { g.Frames = 1 << 31 },
		"number of records in the group":                   func(g *Group, off int64) { g.Records = 3 },
		"sum of the group's body":                          func(g *Group, off int64) { g.Body++ },
	} {
		s := begun(t, 512).mark()
		off := s.w.Off()
		s.group(rec(4), rec(5)).sync()
		b, h := s.bytes(), s.w.Header()
		g := decodeGroup(b[off:])
		change(&g, off)
		g.encode(b[off:], h.Salt, off)
		_, stop := scanned(b, h)
		require.Equal(t, StopInvalid, stop.Kind, why)
		want, _, _ := bytes.Cut([]byte(why), []byte(" ("))
		if why != "no room for a frame (more frames than there are)" && why != "base LSN of the group is 0" {
			require.ErrorContains(t, stop.Err, string(want))
			require.Equal(t, off, stop.Off, why)
		}
	}
	for _, durable := range []int64{0, HeaderSize - 8, -8} { // of the first group, which follows none
		s := begun(t, 8)
		b, h := s.bytes(), s.w.Header()
		g := decodeGroup(b[HeaderSize:])
		g.Durable = durable
		g.encode(b[HeaderSize:], h.Salt, HeaderSize)
		_, stop := scanned(b, h)
		require.ErrorContains(t, stop.Err, "watermark of the group")
	}
	s := begun(t, 8)
	off := s.w.Off()
	s.mark()
	b, h := s.bytes(), s.w.Header()
	b[off+grpZero+3] = 1
	_, stop := scanned(resumGroup(b, h, off), h)
	require.ErrorContains(t, stop.Err, "reserved bytes")
}

// TestAFrameEndsInItsGroup shortens the group in the header, so that its last frame
// runs into what follows.
func TestAFrameEndsInItsGroup(t *testing.T) {
	s := begun(t, 8)
	off := s.w.Off()
	s.group(rec(5), rec(30)).mark()
	b, h := s.bytes(), s.w.Header()
	g := decodeGroup(b[off:])
	g.Length -= 8
	g.encode(b[off:], h.Salt, off)
	_, stop := scanned(b, h)
	require.ErrorContains(t, stop.Err, "length of the frame")
	require.Equal(t, off+GroupHeaderSize+rec(5).frame(), stop.Off)
}

// resumGroup makes the sum of the header at off hold.
func resumGroup(b []byte, h Header, off int64) []byte {
	sum := groupSum(b[off:], h.Salt, off)
	for i := range 8 {
		b[off+grpSum+int64(i)] = byte(sum >> (8 * i))
	}
	return b
}

func TestABatchEndsInItsGroup(t *testing.T) {
	s := begun(t, 8)
	off := s.w.Off()
	s.group(rec(5), rec(6).and()).group(rec(7))
	_, stop := scanned(s.bytes(), s.w.Header())
	require.Equal(t, off+GroupHeaderSize+rec(5).frame(), stop.Off)
	require.ErrorContains(t, stop.Err, "a batch runs beyond its group")
}
