package segment

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// TestAFrameThatWentAstrayIsNotRead: a disk may write a sector to another place, or not
// at all over what a file that was there before held. A frame of the same record number
// and shape, whole in itself, is not the record if it was written to another file or to
// another place.
func TestAFrameThatWentAstrayIsNotRead(t *testing.T) {
	attempt := func(salt uint64, marks int, data string) (s *seg, off int64) {
		h := header(8)
		h.Salt = salt
		s = create(t, vfs.NewMem(), h).open(Pin{}, 10, "")
		for range marks {
			s.mark()
		}
		off = s.w.Off() + GroupHeaderSize
		require.NoError(t, s.w.Write(addRecord(drafts(), data, false)))
		return s.sync(), off
	}
	const size = FrameHeaderSize + 8
	s, off := attempt(77, 1, "written!")
	x := new(Index)
	x.Add(0, off)
	var d Reader
	read := func(b []byte) (string, error) {
		got, err := s.read(&d, b, x, 10)
		return string(got), err
	}
	got, err := read(s.bytes())
	require.NoError(t, err)
	require.Equal(t, "written!", got)
	for what, other := range map[string]struct {
		salt  uint64
		marks int
	}{"of another file": {78, 1}, "of another place": {77, 0}} {
		from, at := attempt(other.salt, other.marks, "strayed!")
		b := s.bytes()
		copy(b[off:off+size], from.bytes()[at:])
		require.Contains(t, string(bytes.TrimRight(b[off:off+size], "\x00")), "strayed!")
		got, err := read(b)
		require.ErrorIs(t, err, ErrCorrupt, "a frame %s", what)
		require.Empty(t, got)
	}
}
