package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

const root = "../.." // of the module, where README.md is

func readme(t *testing.T) string {
	b, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

// fenced returns the first block of README that begins with the given line.
func fenced(t *testing.T, begin string) string {
	_, rest, found := strings.Cut(readme(t), begin)
	require.True(t, found, "README has no block %q", begin)
	block, _, found := strings.Cut(rest, "\n```\n")
	require.True(t, found)
	return block + "\n"
}

// The program of the README compiles, and does what it says.
func TestProgramOfTheReadmeRuns(t *testing.T) {
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command")
	}
	here := t.TempDir()
	source := filepath.Join(here, "main.go")
	require.NoError(t, os.WriteFile(source, []byte(fenced(t, "```go\n")), 0o666))
	binary := filepath.Join(here, "program.exe")
	build := exec.Command(tool, "build", "-o", binary, source)
	build.Dir = root
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, want := range []string{"1 first <nil>\n2 second <nil>\n", "1 first <nil>\n2 second <nil>\n3 first <nil>\n4 second <nil>\n"} {
		program := exec.Command(binary)
		program.Dir = here
		out, err := program.CombinedOutput()
		require.NoError(t, err)
		require.Equal(t, want, string(out))
	}
}

func TestProgramOfTheReadmeIsFormattedAndShort(t *testing.T) {
	source := fenced(t, "```go\n")
	formatted, err := format.Source([]byte(source))
	require.NoError(t, err)
	require.Equal(t, string(formatted), source)
	_, body, _ := strings.Cut(source, "func main() {\n")
	require.LessOrEqual(t, strings.Count(body, "\n")-1, 12)
}

// The program of the README is package wal's example, from its Open on.
func TestProgramOfTheReadmeIsTheExampleOfPackageWal(t *testing.T) {
	example := body(t, filepath.Join(root, "wal", "example_test.go"), nil, "Example")
	require.Equal(t, body(t, "README.md", []byte(fenced(t, "```go\n")), "main"), example)
}

// body returns the statements of a function as text, from that with Open on,
// without comments, and as if Open had the arguments "data" and nil.
func body(t *testing.T, name string, source []byte, function string) string {
	var src any
	if source != nil {
		src = source
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, src, parser.SkipObjectResolution)
	require.NoError(t, err)
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != function {
			continue
		}
		var b bytes.Buffer
		opened := false
		for _, statement := range f.Body.List {
			ast.Inspect(statement, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && len(call.Args) == 2 {
					if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Open" {
						opened = true
						call.Args[0], call.Args[1] = &ast.BasicLit{Kind: token.STRING, Value: `"data"`}, ast.NewIdent("nil")
					}
				}
				return true
			})
			if opened {
				require.NoError(t, format.Node(&b, token.NewFileSet(), statement))
				b.WriteByte('\n')
			}
		}
		return b.String()
	}
	t.Fatalf("%s has no function %s", name, function)
	return ""
}

func TestReadmeShowsWhatVerifyPrints(t *testing.T) {
	torn, err := os.ReadFile(filepath.Join("testdata", "torn.golden"))
	require.NoError(t, err)
	require.Contains(t, strings.ReplaceAll(string(torn), "\r\n", "\n"), fenced(t, "```\n$ walctl verify log\n"))
}

func TestNumbersOfTheReadmeAreThoseOfTheCode(t *testing.T) {
	text := readme(t)
	for _, want := range []string{
		fmt.Sprintf("0 bytes to %s, by `Options.MaxRecordSize` up to %s", size(wal.DefaultMaxRecordSize), size(segment.MaxData)),
		fmt.Sprintf("| the meta kept beside the records | %s |", size(wal.MaxMetaSize)),
		fmt.Sprintf("| a segment | %s, by `Options.SegmentSize` %s to %s;", size(wal.DefaultSegmentSize), size(wal.MinSegmentSize), size(wal.MaxSegmentSize)),
		fmt.Sprintf("%d bytes a record and up to %d of padding, %d a group, %d a segment", segment.FrameHeaderSize,
			segment.FrameSize(1)-segment.FrameHeaderSize-1, segment.GroupHeaderSize, segment.HeaderSize),
		fmt.Sprintf("`SyncEvery` (%d ms)", wal.DefaultSyncEvery.Milliseconds()),
	} {
		require.Contains(t, text, want)
	}
	_, err := wal.Open(dir, &wal.Options{FS: wal.NewMemFS(), MaxRecordSize: segment.MaxData + 1})
	require.ErrorContains(t, err, fmt.Sprint(segment.MaxData))
}

// size returns a power of 1024, or a few, as people write it.
func size(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB"}
	for n >= 1024 && n%1024 == 0 && len(units) > 1 {
		n, units = n/1024, units[1:]
	}
	return fmt.Sprintf("%d %s", n, units[0])
}

func TestFilesAndCommandsOfTheReadmeExist(t *testing.T) {
	text := readme(t)
	for _, name := range regexp.MustCompile("`([a-z./]+\\.go)`").FindAllStringSubmatch(text, -1) {
		require.FileExists(t, filepath.Join(root, name[1]))
	}
	for _, dir := range regexp.MustCompile(`go run \./(\S+)`).FindAllStringSubmatch(text, -1) {
		require.DirExists(t, filepath.Join(root, dir[1]))
	}
	commands := regexp.MustCompile("`walctl ([a-z]+)`").FindAllStringSubmatch(text, -1)
	require.NotEmpty(t, commands)
	for _, c := range commands {
		_, err := find(c[1])
		require.NoError(t, err)
	}
	require.Contains(t, text, "\ngo test ./...\n")
}
