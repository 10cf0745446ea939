package segment

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// claims returns what Claims finds in b from off on.
func claims(t testing.TB, b []byte, off int64) Claims {
	t.Helper()
	c, err := new(Scanner).Claims(bytes.NewReader(b), header(8), off, int64(len(b)))
	require.NoError(t, err)
	return c
}

// put writes the header of a mark with that watermark at off.
func put(b []byte, off, durable int64) {
	g := Group{Kind: KindMark, Length: GroupHeaderSize, Base: 41, Durable: durable}
	g.encode(b[off:], header(8).Salt, off)
}

// TestClaimsAreFoundAtEveryMultipleOf8 puts a header across and around the
// borders of the chunks that the file is read in, from different starts.
func TestClaimsAreFoundAtEveryMultipleOf8(t *testing.T) {
	t.Parallel()
	for _, start := range []int64{HeaderSize, HeaderSize + 8, HeaderSize + 504} {
		b := make([]byte, HeaderSize+scanChunk+2048)
		var places []int64
		for _, around := range []int64{start + 64, start + scanChunk, int64(len(b)) - 128} {
			for d := int64(-64); d <= 64; d += 8 {
				places = append(places, around+d)
			}
		}
		for _, off := range places {
			put(b, off, 4200)
			require.Equal(t, Claims{Durable: 4200, At: off, Headers: 1, Last: 40, First: off, Used: int64(len(bytes.TrimRight(b, "\x00"))),
				Hole: off/sector > (start+sector-1)/sector}, claims(t, b, start), "start %d, header at %d", start, off)
			clear(b[off : off+GroupHeaderSize])
		}
		require.Equal(t, Claims{Zero: true, Used: start}, claims(t, b, start))
	}
}

func TestClaimsOfNoBytes(t *testing.T) {
	b := make([]byte, HeaderSize+100)
	for off := int64(HeaderSize); off <= int64(len(b)); off += 4 {
		require.Equal(t, Claims{Zero: true, Used: off}, claims(t, b, off))
	}
	require.Equal(t, Claims{Zero: true, Used: int64(len(b)) + 8}, claims(t, b, int64(len(b))+8))
}

func TestTheHighestWatermarkCounts(t *testing.T) {
	b := make([]byte, HeaderSize+1000)
	put(b, 4160, 4100)
	put(b, 4400, 4300)
	put(b, 4600, 4200)
	require.Equal(t, Claims{Durable: 4300, At: 4400, Headers: 3, Last: 40, First: 4160, Used: 4664}, claims(t, b, HeaderSize))
	b[4400] ^= 1
	require.Equal(t, Claims{Durable: 4200, At: 4600, Headers: 2, Last: 40, First: 4160, Used: 4664}, claims(t, b, HeaderSize))
}

// TestZeroSectorsAreHolesOnlyBeforeWhatIsNot is about where a disk's sectors
// are, not about where the scan begins.
func TestZeroSectorsAreHolesOnlyBeforeWhatIsNot(t *testing.T) {
	for name, test := range map[string]struct {
		start int64
		set   []int64 // bytes that are not zero
		want  Claims
	}{
		"nothing":                       {4096, nil, Claims{Zero: true, Used: 4096}},
		"the last byte":                 {4096, []int64{6143}, Claims{Hole: true, First: 6143, Used: 6144}},
		"the first byte":                {4096, []int64{4096}, Claims{First: 4096, Used: 4097}},
		"a byte in each sector":         {4096, []int64{4096, 4700, 5200, 6000}, Claims{First: 4096, Used: 6001}},
		"a sector between":              {4096, []int64{4096, 5200}, Claims{Hole: true, First: 4096, Used: 5201}},
		"511 zero bytes and a sector":   {4097, []int64{4608}, Claims{First: 4608, Used: 4609}},
		"less than a sector in between": {4096, []int64{4097, 5119}, Claims{First: 4097, Used: 5120}},
		"before the start":              {4608, []int64{4096}, Claims{Zero: true, Used: 4608}},
	} {
		b := make([]byte, 6144)
		for _, off := range test.set {
			b[off] = 1
		}
		require.Equal(t, test.want, claims(t, b, test.start), name)
	}
}

// TestHoleAcrossChunks has the only zero sector as the last one of a chunk, and
// as the first.
func TestHoleAcrossChunks(t *testing.T) {
	for _, start := range []int64{HeaderSize, HeaderSize + 8, HeaderSize + 480} {
		for sectorOff := int64(HeaderSize + scanChunk - 2*sector); sectorOff <= HeaderSize+scanChunk+2*sector; sectorOff += sector {
			b := bytes.Repeat([]byte{1}, HeaderSize+scanChunk+4096)
			clear(b[sectorOff : sectorOff+sector])
			require.True(t, claims(t, b, start).Hole)
			b[sectorOff+sector-1] = 1
			require.Equal(t, Claims{First: start, Used: int64(len(b))}, claims(t, b, start))
			clear(b[sectorOff:])
			require.False(t, claims(t, b, start).Hole, "nothing stands behind")
		}
	}
}

func TestClaimsFailAsTheFileDoes(t *testing.T) {
	_, err := new(Scanner).Claims(failing{}, header(8), HeaderSize, 1<<20)
	require.Equal(t, errRead, err)
	c, err := new(Scanner).Claims(bytes.NewReader(make([]byte, 5000)), header(8), HeaderSize, 1<<20) // it was cut
	require.NoError(t, err)
	require.True(t, c.Zero)
}

func TestClaimsTrustNoLength(t *testing.T) {
	b := make([]byte, HeaderSize+4096)
	g := Group{Kind: KindGroup, Length: 1 << 34, Frames: 1<<32 - 1, Base: 1, Durable: 4100}
	g.encode(b[HeaderSize:], header(8).Salt, HeaderSize)
	put(b, HeaderSize+GroupHeaderSize, 4150)
	n := allocated(func() { require.Equal(t, 2, claims(t, b, HeaderSize).Headers) })
	require.Less(t, n, int64(1<<20), "the counter is the whole process's; the length trusted would be 16 GiB")
}
