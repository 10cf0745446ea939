package segment

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// aside returns a file system with a file of size bytes, none of which is zero, that is set
// aside, and its path.
func aside(t testing.TB, size int64) (fsys *vfs.Mem, spare string) {
	t.Helper()
	fsys = vfs.NewMem()
	require.NoError(t, fsys.Mkdir("log"))
	file, err := fsys.Create(Path("log", 1))
	require.NoError(t, err)
	_, err = file.WriteAt(bytes.Repeat([]byte{0xee}, int(size)), 0)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	spare, err = SetAside(fsys, Path("log", 1), 0, size)
	require.NoError(t, err)
	return fsys, spare
}

// TestReuseCalls: what Create does, in that order, but that a name is taken away first.
func TestReuseCalls(t *testing.T) {
	for _, c := range []struct {
		was, size int64
		want      string
	}{
		{32 << 10, 32 << 10, "syncdir log\nwrite 0000000000000001.tmp 0+8192\n"},
		{40 << 10, 32 << 10, "syncdir log\ntruncate 0000000000000001.tmp 32768\nwrite 0000000000000001.tmp 0+8192\n"},
		{6000, 6000, "syncdir log\nwrite 0000000000000001.tmp 0+6000\n"},
		{30 << 10, 32 << 10, "syncdir log\nallocate 0000000000000001.tmp 32768\nzero 0000000000000001.tmp\nwrite 0000000000000001.tmp 0+8192\n"},
	} {
		fsys, spare := aside(t, c.was)
		fsys.UseZeros()
		trace := vfs.NewTrace(fsys)
		trace.Also(vfs.Zero)
		w, err := Reuse(trace, "log", spare, header(8), c.size, func(int64, int64) bool { return true })
		require.NoError(t, err)
		require.Equal(t, c.want+"sync 0000000000000001.tmp\nrename 0000000000000001.tmp 0000000000000002.seg\nsyncdir log\n", trace.Take())
		require.True(t, w.Header().Reused())
		require.Equal(t, c.size, w.Header().Size)
		h, err := ReadHeader(w.File(), w.Path(), 2)
		require.NoError(t, err)
		require.Equal(t, w.Header(), h)
		require.NoError(t, w.Close())
	}
}

// TestReuseTakesWhatSpaceThereIs: a file that cannot be enlarged is used as it is.
func TestReuseTakesWhatSpaceThereIs(t *testing.T) {
	fsys, spare := aside(t, 20<<10)
	fsys.SetLimit(fsys.Used() + 1000)
	w, err := Reuse(fsys, "log", spare, header(8), 64<<10, nil)
	require.NoError(t, err)
	require.EqualValues(t, 20<<10, w.Header().Size)
	info, err := w.File().Stat()
	require.NoError(t, err)
	require.EqualValues(t, 20<<10, info.Size)
	require.NoError(t, w.Close())
}

func TestSetAsideRefuses(t *testing.T) {
	fsys, spare := aside(t, 20<<10)
	require.NoError(t, fsys.Rename(spare, Path("log", 1)))
	for _, limits := range [][2]int64{{20<<10 + 1, 1 << 20}, {0, 20<<10 - 1}} {
		spare, err := SetAside(fsys, Path("log", 1), limits[0], limits[1])
		require.NoError(t, err)
		require.Empty(t, spare)
	}
	require.NoError(t, fsys.Link(Path("log", 1), "backup"))
	spare, err := SetAside(fsys, Path("log", 1), 0, 1<<20)
	require.NoError(t, err)
	require.Empty(t, spare)
	require.NoError(t, fsys.Rename(Path("log", 1), "log/0000000000000001.tmp"))
	_, err = Reuse(fsys, "log", "log/0000000000000001.tmp", header(8), 20<<10, nil)
	require.ErrorIs(t, err, ErrLinked)
	names, err := fsys.List("log")
	require.NoError(t, err)
	require.Empty(t, names)
	b, err := fsys.Open("backup", vfs.ReadOnly)
	require.NoError(t, err)
	got := make([]byte, 20<<10)
	_, err = b.ReadAt(got, 0)
	require.NoError(t, err)
	require.Equal(t, bytes.Repeat([]byte{0xee}, 20<<10), got)
}

// elsewhere is a file system that writes nothing in place, as one that copies on write.
type elsewhere struct{ vfs.FS }

type elsewhereFile struct{ vfs.File }

func (e elsewhere) Open(name string, mode vfs.Mode) (vfs.File, error) {
	f, err := e.FS.Open(name, mode)
	return elsewhereFile{f}, err
}

func (elsewhereFile) InPlace() bool { return false }

// TestSetAsideRefusesWhatIsNotWrittenInPlace: it would take space that was not reserved.
func TestSetAsideRefusesWhatIsNotWrittenInPlace(t *testing.T) {
	fsys, spare := aside(t, 20<<10)
	require.NoError(t, fsys.Rename(spare, Path("log", 1)))
	got, err := SetAside(elsewhere{fsys}, Path("log", 1), 0, 1<<20)
	require.NoError(t, err)
	require.Empty(t, got)
	got, err = SetAside(fsys, Path("log", 1), 0, 1<<20)
	require.NoError(t, err)
	require.Equal(t, spare, got)
}

// TestRestOfAReusedFile: whatever a group ends at, in whatever unit, a scan behind it finds
// zeros, and nothing of what the file had.
func TestRestOfAReusedFile(t *testing.T) {
	for i, unit := range []int64{8, 512, 4096, 8} {
		random := rand.New(rand.NewPCG(uint64(unit), uint64(i)))
		fsys, spare := aside(t, 256<<10)
		fsys.UseDirect([]int{512, 4096}[i%2])
		w, err := Reuse(fsys, "log", spare, header(unit), 256<<10, nil)
		require.NoError(t, err)
		clean := func(what string) {
			t.Helper()
			c, err := new(Scanner).Claims(w.File(), w.Header(), w.Off(), 256<<10)
			require.NoError(t, err)
			require.Equal(t, Claims{Zero: true, Used: w.Off()}, c, "unit %d, %s, end %d", unit, what, w.Off())
		}
		w.UseDirect()
		clean("ready")
		s := &seg{TB: t, w: w}
		s.open(Pin{}, 1, "m", rec(100))
		clean("open")
		for w.Off() < 240<<10 {
			switch size := random.IntN(6000); random.IntN(4) {
			case 0:
				s.group(rec(size), rec(0))
				clean("group")
			case 1:
				s.mark()
				clean("mark")
			case 2:
				s.sync().writeSync(rec(size), rec(0))
				clean("write and sync")
			default:
				require.NoError(t, w.WriteRecord(make([]byte, size+8), 1000))
				clean("record")
			}
		}
		require.NoError(t, w.Close())
	}
}

// TestClaimsOfAReusedFile: what lies behind the rest is nothing, unless a header verifies.
func TestClaimsOfAReusedFile(t *testing.T) {
	h := header(8)
	h.Compat |= compatReused
	const size = 20 << 10
	for _, c := range []struct {
		off, rest int64 // from off to rest the file is zero
		header    int64 // where the header of a group is; 0: nowhere
		want      Claims
	}{
		{4096, 8192, 0, Claims{Zero: true, Used: 4096}},
		{8192 - 64, 8192, 0, Claims{Zero: true, Used: 8192 - 64}},
		{8192 - 56, 12288, 0, Claims{Zero: true, Used: 8192 - 56}},
		{8192, 12288, 0, Claims{Zero: true, Used: 8192}},
		{16384, size, 0, Claims{Zero: true, Used: 16384}},
		{size - 8, size, 0, Claims{Zero: true, Used: size - 8}},
		{4096, 8191, 0, Claims{First: 8191, Used: 8192, Hole: true}},
		{4096, 4096, 0, Claims{First: 4096, Used: 8192}},
		{4096, 8192, 12000, Claims{First: 12000, Used: 12064, Headers: 1, Durable: 4100, At: 12000, Last: 40}},
		{4096, 8000, 12000, Claims{First: 8000, Used: 12064, Headers: 1, Durable: 4100, At: 12000, Last: 40, Hole: true}},
		{4096, 8192, size - 64, Claims{First: size - 64, Used: size, Headers: 1, Durable: 4100, At: size - 64, Last: 40}},
	} {
		b := bytes.Repeat([]byte{0xee}, size)
		clear(b[c.off:c.rest])
		if c.header != 0 {
			put(b, c.header, 4100)
		}
		got, err := new(Scanner).Claims(bytes.NewReader(b), h, c.off, size)
		require.NoError(t, err)
		require.Equal(t, c.want, got, fmt.Sprint(c.off, c.rest, c.header))
	}
}
