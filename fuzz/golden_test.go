package fuzz_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/fuzz/refdecoder"
	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// The golden logs are those that every version of this module has ever written, and are
// opened for ever. testdata/golden has two files for each: VERSION-NAME.zip is the
// log's directory, VERSION-NAME.txt what is in it. Neither is written twice.

var update = flag.Bool("update", false, "write the seeds of the fuzz targets again, and the golden logs that are not there yet")

// goldenVersion begins the names of the golden logs that this version writes: that of
// the format, and a letter.
const goldenVersion = "1a"

// goldenLogs are how many were written, by version.
var goldenLogs = map[string]int{"1a": 14}

var goldenDir = filepath.Join("testdata", "golden")

// TestGoldenLogsAreReadForEver opens each and compares what is in it with what was in it
// when it was written; then it appends to it and opens it again.
func TestGoldenLogsAreReadForEver(t *testing.T) {
	if *update {
		open, closed := corpora(t)
		for _, c := range append([]*corpus{open, closed}, optioned(t)...) {
			writeGolden(t, c)
		}
	}
	paths, err := filepath.Glob(filepath.Join(goldenDir, "*.zip"))
	require.NoError(t, err)
	found := map[string]int{}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".zip")
		version, _, _ := strings.Cut(name, "-")
		found[version]++
		t.Run(name, func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join(goldenDir, name+".txt"))
			require.NoError(t, err)
			require.Equal(t, string(want), goldenText(t, name, unzip(t, path)))
		})
	}
	require.Equal(t, goldenLogs, found, "golden logs by version")
}

// unzip returns the files of a golden log.
func unzip(t *testing.T, path string) map[string][]byte {
	t.Helper()
	r, err := zip.OpenReader(path)
	require.NoError(t, err)
	defer r.Close()
	files := map[string][]byte{}
	for _, f := range r.File {
		in, err := f.Open()
		require.NoError(t, err)
		files[f.Name], err = io.ReadAll(in)
		require.NoError(t, err)
		require.NoError(t, in.Close())
	}
	return files
}

// writeGolden writes c down, unless that was done before.
func writeGolden(t *testing.T, c *corpus) {
	t.Helper()
	name := goldenVersion + "-" + c.name
	path := filepath.Join(goldenDir, name)
	if _, err := os.Stat(path + ".zip"); !errors.Is(err, fs.ErrNotExist) {
		t.Logf("%s is there, and stays", name)
		return
	}
	require.NoError(t, os.MkdirAll(goldenDir, 0o755))
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		file, err := w.Create(name)
		require.NoError(t, err)
		_, err = file.Write(c.files[name])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	text := goldenText(t, name, c.files)
	for lsn, r := range c.records { // what was appended, not only what is read
		if lsn >= c.first {
			require.Contains(t, text, goldenRecord(lsn, r.data))
		}
	}
	for ext, data := range map[string][]byte{".zip": out.Bytes(), ".txt": []byte(text)} {
		file, err := os.OpenFile(path+ext, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		require.NoError(t, err)
		_, err = file.Write(data)
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
}

func goldenRecord(lsn wal.LSN, data []byte) string {
	return fmt.Sprintf("record %d, %d bytes, sha256 %.8x", lsn, len(data), sha256.Sum256(data))
}

// goldenText says what is in a log.
func goldenText(t *testing.T, name string, files map[string][]byte) string {
	t.Helper()
	mem := memOf(t, files)
	plan, err := recovery.Examine(recovery.Config{FS: mem, Dir: corpusDir, Full: true})
	require.NoError(t, err)
	require.NoError(t, plan.Refusal())
	log, err := wal.Open(corpusDir, reopenOptions(mem))
	require.NoError(t, err)
	var s strings.Builder
	fmt.Fprintf(&s, "log %s of %s\n", plan.Report.Log, name)
	segments := map[uint64]*refdecoder.Segment{}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&s, "file %s, %d bytes, sha256 %.8x\n", file, len(files[file]), sha256.Sum256(files[file]))
		if id, ok := segment.ParseName(file); ok {
			segments[id] = refdecoder.DecodeSegment(id, files[file])
		}
	}
	r := log.Recovery()
	fmt.Fprintf(&s, "chain %v, tail %v, closed %v, proved to %d, rewritten %d\n", plan.Chain, r.Tail, r.Closed, r.Durable, r.Rewritten)
	fmt.Fprintf(&s, "first %d\nlast %d\nmeta %d bytes, sha256 %.8x\n", log.FirstLSN(), log.LastLSN(), len(log.Meta()), sha256.Sum256(log.Meta()))
	read := refdecoder.ReadLog(files[segment.FrontName], segments)
	require.Equal(t, []any{refdecoder.Valid, uint64(log.FirstLSN()), uint64(log.LastLSN()), string(log.Meta())},
		[]any{read.Verdict, read.First, read.Last, string(read.Meta)}, "the second decoder")
	records(t, log, &s)
	appended, err := log.Append([]byte("appended"))
	require.NoError(t, err)
	require.Equal(t, wal.LSN(read.Last)+1, appended)
	require.NoError(t, log.Close())

	log, err = wal.Open(corpusDir, reopenOptions(mem))
	require.NoError(t, err)
	var again strings.Builder
	records(t, log, &again)
	require.Contains(t, s.String()+goldenRecord(appended, []byte("appended"))+"\n", again.String())
	require.NoError(t, log.Close())
	return s.String()
}

// records writes down the records of log, each read twice.
func records(t *testing.T, log *wal.Log, s *strings.Builder) {
	t.Helper()
	for r, err := range log.Records(log.FirstLSN()) {
		require.NoError(t, err)
		fmt.Fprint(s, goldenRecord(r.LSN, r.Data))
		if r.More {
			fmt.Fprint(s, ", more")
		}
		fmt.Fprintln(s)
		data, err := log.Read(r.LSN, nil)
		require.NoError(t, err)
		require.True(t, bytes.Equal(r.Data, data), "record %d", r.LSN)
	}
}
