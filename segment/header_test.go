package segment

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"
)

// resumHeader makes the sums of both copies hold.
func resumHeader(b []byte) {
	for off := 0; off < HeaderSize; off += headerCopy {
		binary.LittleEndian.PutUint64(b[off+hdrSum:], xxhash.Sum64(b[off:][:hdrSum]))
	}
}

// eachCopy applies change to each of the copies that copies names.
func eachCopy(b []byte, copies []int, change func(b []byte)) {
	for _, c := range copies {
		change(b[c*headerCopy:][:headerCopy])
	}
}

func TestHeaderSurvivesDamageToOneCopy(t *testing.T) {
	for _, unit := range []int64{8, 16, 512, 4096} {
		h := header(unit)
		b := h.Encode()
		for off := range b {
			b[off] ^= 1 << (off % 8)
			got, err := DecodeHeader(b, "x")
			require.NoError(t, err, "%d", off)
			require.Equal(t, h, got)
			b[off] ^= 1 << (off % 8)
		}
		for size := range b {
			got, err := DecodeHeader(b[:size], "x")
			if size < headerCopy {
				require.ErrorIs(t, err, ErrCorrupt, "%d bytes", size)
			} else {
				require.NoError(t, err)
				require.Equal(t, h, got)
			}
		}
	}
}

// TestHeaderWithBothCopiesDamagedIsCorrupt damages each byte of the first copy
// together with one of the second.
func TestHeaderWithBothCopiesDamagedIsCorrupt(t *testing.T) {
	b := header(8).Encode()
	for off := range headerCopy {
		c := bytes.Clone(b)
		c[off] ^= 0x40
		c[headerCopy+(off*7+100)%headerCopy] ^= 0x40
		_, err := DecodeHeader(c, "x")
		if off == hdrVersion || off == hdrVersion+1 || (off*7+100)%headerCopy/2 == hdrVersion/2 {
			require.ErrorIs(t, err, ErrVersion, "%d", off) // so it looks, and neither is it read
			continue
		}
		require.ErrorIs(t, err, ErrCorrupt, "%d", off)
		require.NotErrorIs(t, err, ErrVersion)
	}
	_, err := DecodeHeader(make([]byte, HeaderSize), "x")
	require.ErrorIs(t, err, ErrCorrupt)
}

func TestHeaderOfANewerVersionIsNotDamage(t *testing.T) {
	for name, test := range map[string]struct {
		off   int
		value byte
		holds bool // its sum; a newer version may sum differently
	}{
		"version 2":                    {hdrVersion, 2, false},
		"version 0":                    {hdrVersion, 0, true},
		"a feature":                    {hdrIncompat, 1, true},
		"the last feature":             {hdrIncompat + 7, 0x80, true},
		"salt of a rewritten segment":  {hdrOrigin, 1, true},
		"lowest of those it came from": {hdrSize - 1, 1, true},
	} {
		change := func(b []byte) { b[test.off] = test.value }
		for _, copies := range [][]int{{0, 1}, {0}, {1}} {
			b := header(8).Encode()
			eachCopy(b, copies, change)
			if test.holds {
				resumHeader(b)
			}
			got, err := DecodeHeader(b, "x")
			if len(copies) == 1 { // the other one counts
				require.NoError(t, err, name)
				require.Equal(t, header(8), got)
				b[headerCopy-copies[0]*headerCopy+100] ^= 1
				_, err = DecodeHeader(b, "x")
			}
			require.ErrorIs(t, err, ErrVersion, name)
			require.NotErrorIs(t, err, ErrCorrupt, name)
			require.ErrorContains(t, err, "x: at ")
		}
	}
}

func TestHeaderIgnoresWhatItMay(t *testing.T) {
	h := header(8)
	h.Compat = 1 << 63
	b := h.Encode()
	eachCopy(b, []int{0, 1}, func(b []byte) { b[hdrSize+13], b[12] = 1, 1 }) // reserved
	resumHeader(b)
	got, err := DecodeHeader(b, "x")
	require.NoError(t, err)
	require.Equal(t, h, got)
}

func TestHeaderUnitIsInRange(t *testing.T) {
	for unit := range byte(255) {
		b := header(8).Encode()
		eachCopy(b, []int{0, 1}, func(b []byte) { b[hdrUnit] = unit })
		resumHeader(b)
		_, err := DecodeHeader(b, "x")
		require.Equal(t, unit >= 3 && unit <= 12, err == nil, "%d", unit)
	}
}

func TestHeaderIsOfTheSegmentAskedFor(t *testing.T) {
	b := bytes.NewReader(header(8).Encode())
	h, err := ReadHeader(b, "x", 2)
	require.NoError(t, err)
	require.Equal(t, header(8), h)
	_, err = ReadHeader(b, "x", 3)
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, "header is of segment 2")
	_, err = ReadHeader(failing{}, "x", 2)
	require.Equal(t, errRead, err)
}

func TestNamesAreExact(t *testing.T) {
	for _, id := range []uint64{1, 17, MaxID} {
		got, ok := ParseName(Name(id))
		require.True(t, ok)
		require.Equal(t, id, got)
	}
	require.Equal(t, "0000000000000011.seg", Name(17))
	require.Equal(t, "7fffffffffffffff.seg", Name(MaxID))
	ids := []uint64{1, 17, MaxID}
	for _, dir := range []string{"", ".", "log", "/a/b/", "../x"} {
		for i, path := range Paths(dir, ids) {
			require.Equal(t, Path(dir, ids[i]), path)
		}
	}
	require.Empty(t, Paths("log", nil))
	for _, name := range []string{"", ".seg", "0000000000000000.seg", "000000000000001.seg", "00000000000000011.seg",
		"000000000000000A.seg", "+00000000000000a.seg", "0x00000000000001.seg", "0000000000000001.tmp", "0000000000000001",
		"0000000000000001.seg.quarantined", " 000000000000001.seg", "8000000000000000.seg", "ffffffffffffffff.seg"} {
		_, ok := ParseName(name)
		require.False(t, ok, "%q", name)
	}
}
