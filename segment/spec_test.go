package segment

import (
	_ "embed"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

//go:embed doc.go
var spec string

var update = flag.Bool("update", false, "write the worked bytes of doc.go again")

// drafts returns a buffer with room for a group's header.
func drafts() []byte { return make([]byte, GroupHeaderSize) }

func addRecord(buf []byte, data string, more bool) []byte {
	return AppendDraft(buf, TypeRecord, more, []byte(data), Hash([]byte(data)))
}

func addMeta(buf []byte, data string, more bool) []byte {
	return AppendDraft(buf, TypeMeta, more, []byte(data), Hash([]byte(data)))
}

func exampleHeader() Header {
	h := Header{ID: 2, Salt: 0x1122334455667788, Unit: 8}
	for i := range h.Log {
		h.Log[i] = byte(i)
	}
	return h
}

// example writes the segment that section 9 describes and returns its bytes.
func example(t *testing.T) []byte {
	fsys := vfs.NewMem()
	require.NoError(t, fsys.Mkdir("log"))
	w, err := Create(fsys, "log", exampleHeader(), 0, nil)
	require.NoError(t, err)
	buf := addRecord(drafts(), "tide", false)
	buf = addMeta(buf, "m", true)
	buf = addRecord(buf, "", false)
	require.NoError(t, w.Open(Opening{Irregular: 2}, nil, 7, buf, false))
	require.NoError(t, w.Sync())
	require.NoError(t, w.Mark(false))
	return contents(t, w.File())
}

func contents(t *testing.T, f vfs.File) []byte {
	info, err := f.Stat()
	require.NoError(t, err)
	b := make([]byte, info.Size)
	if len(b) > 0 {
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
	}
	return b
}

var worked = regexp.MustCompile(`(?m)^//\t(\d+): ((?:[0-9a-f]{2} ?)+)`)

// workedBytes decodes section 9.
func workedBytes(t testing.TB) []byte {
	var b []byte
	for _, m := range worked.FindAllStringSubmatch(spec, -1) {
		off, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		line, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		require.NoError(t, err)
		b = append(append(b, make([]byte, max(0, off-len(b)))...), line...)
	}
	return b
}

// dump writes the bytes that are not zero, 16 a line, as section 9 shows them.
func dump(b []byte) string {
	var s strings.Builder
	for off := 0; off < len(b); off += 16 {
		if line := b[off:min(len(b), off+16)]; !allZero(line) {
			fmt.Fprintf(&s, "//\t%d: % x\n", off, line)
		}
	}
	return s.String()
}

// TestSpecExample decodes the worked bytes out of doc.go and encodes them again.
func TestSpecExample(t *testing.T) {
	want := example(t)
	if *update {
		head, rest, _ := strings.Cut(spec, "// them zero.\n//\n")
		_, tail, _ := strings.Cut(rest, "package segment\n")
		require.NoError(t, os.WriteFile(filepath.Join("doc.go"),
			[]byte(head+"// them zero.\n//\n"+dump(want)+"package segment\n"+tail), 0o644))
		return
	}
	got := workedBytes(t)
	require.Equal(t, dump(want), dump(got))

	r := strings.NewReader(string(got))
	h, err := ReadHeader(r, "example", 2)
	require.NoError(t, err)
	wantHead := exampleHeader()
	wantHead.Size = HeaderSize
	require.Equal(t, wantHead, h)
	first, err := ReadFirst(r, "example", h, int64(len(got)))
	require.NoError(t, err)
	require.Equal(t, LSN(7), first.Base)
	require.False(t, first.HasMeta)

	var s Scanner
	s.Start(r, "example", h, int64(len(got)))
	var seen []string
	for step := s.Next(); step != StepEnd; step = s.Next() {
		if step == StepGroup {
			seen = append(seen, fmt.Sprintf("group %d of %d frames, watermark %d", s.Group().Kind, s.Group().Frames, s.Group().Durable))
		} else if f := *s.Frame(); f.Type != typeOpening {
			seen = append(seen, fmt.Sprintf("type %d LSN %d more %t %q", f.Type, f.LSN, f.More, f.Data))
		}
	}
	require.NoError(t, s.Stop().Err)
	require.Equal(t, []string{
		"group 2 of 4 frames, watermark 4096",
		`type 1 LSN 7 more false "tide"`,
		`type 2 LSN 0 more true "m"`,
		`type 1 LSN 8 more false ""`,
		"group 3 of 0 frames, watermark 4368",
	}, seen)
}
