package wal

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/segment"
)

// TestFileWithAnotherNameIsNotCut: who made a link to a segment, as a backup does, has
// what was in it, whatever becomes of the log.
func TestFileWithAnotherNameIsNotCut(t *testing.T) {
	l := open(t, Options{SegmentSize: 64 << 10}).fill(3)
	mem := l.memory().Clone()
	rot(t, mem, segment1, l.want[3])
	require.NoError(t, mem.Link(segment1, "backup"))
	was := content(t, mem, "backup")
	require.Len(t, was, 64<<10)
	k := l.on(mem)
	k.is(1, 2).life++
	k.fill(3).truncateBack(1)
	k.reset(9)
	k.close()
	require.Equal(t, segment.Hash(was), segment.Hash(content(t, mem, "backup")), "what the other name had")
}
