package arch

import (
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// goFile returns a file of the package that its path implies, with a package comment on
// lines 1 and 2: body begins on line 3. Our own packages are written as tidemark/x.
func goFile(name, body string) *fstest.MapFile {
	pkg := path.Base(path.Dir(name))
	body = strings.ReplaceAll(body, `"tidemark/`, `"`+module+`/`)
	return &fstest.MapFile{Data: []byte("// Package " + pkg + " is small.\npackage " + pkg + "\n" + body + "\n")}
}

// TestCheckReports breaks each rule in a small module. A case holds the file, what it
// says, and the violations wanted, one a line, without the name of the file.
func TestCheckReports(t *testing.T) {
	statements := func(n int) string { return strings.Repeat("\n_ = 0", n) }
	for name, c := range map[string]struct{ file, body, want string }{
		"an upward arrow":            {"recovery/plan.go", `import "tidemark/wal"`, "3: recovery may not import wal"},
		"an arrow past a layer":      {"wal/log.go", `import "tidemark/index"`, "3: wal may not import index"},
		"an arrow from the bottom":   {"index/index.go", `import "tidemark/internal/vfs"`, "3: index may not import internal/vfs"},
		"an example below the log":   {"examples/kv/kv.go", `import "tidemark/segment"`, "3: examples/kv may not import segment"},
		"a decoder not independent":  {"fuzz/refdecoder/d.go", `import "tidemark/segment"`, "3: fuzz/refdecoder may not import segment"},
		"a test double in the log":   {"wal/log.go", `import "tidemark/internal/vfs/vfstest"`, "3: wal may not import internal/vfs/vfstest"},
		"a package of ours unknown":  {"wal/log.go", `import "tidemark/adapter/hashiraft"`, "3: wal may not import adapter/hashiraft"},
		"a test of the wrong things": {"wal/log_test.go", `import "tidemark/bench"`, "3: wal may not import bench"},
		"all in one import group": {"segment/scan.go", "import (\n\"os\"\n\"tidemark/wal\"\n)",
			"4: segment may not import os\n5: segment may not import wal"},

		"os":                       {"wal/log.go", `import "os"`, "3: wal may not import os"},
		"os below":                 {"recovery/plan.go", `import "os/exec"`, "3: recovery may not import os/exec"},
		"os in a test double":      {"wal/waltest/run.go", `import "os"`, "3: wal/waltest may not import os"},
		"x/sys":                    {"segment/seal.go", `import "golang.org/x/sys/unix"`, "3: segment may not import golang.org/x/sys/unix"},
		"x/sys in a test":          {"segment/seal_test.go", `import "golang.org/x/sys/unix"`, "3: segment may not import golang.org/x/sys/unix"},
		"xxhash":                   {"index/index.go", `import "github.com/cespare/xxhash/v2"`, "3: index may not import github.com/cespare/xxhash/v2"},
		"encoding/binary":          {"wal/log.go", `import "encoding/binary"`, "3: wal may not import encoding/binary"},
		"sync":                     {"segment/scan.go", `import "sync"`, "3: segment may not import sync"},
		"sync/atomic":              {"recovery/plan.go", `import "sync/atomic"`, "3: recovery may not import sync/atomic"},
		"sync beside sync/atomic":  {"index/index.go", "import \"sync/atomic\"\nimport \"sync\"", "4: index may not import sync"},
		"unsafe":                   {"internal/vfs/os_unix.go", `import "unsafe"`, "3: internal/vfs may not import unsafe"},
		"unsafe elsewhere":         {"wal/log_windows.go", `import "unsafe"`, "3: wal may not import unsafe"},
		"reflect":                  {"wal/log.go", `import "reflect"`, "3: wal may not import reflect"},
		"cgo":                      {"bench/disk.go", `import "C"`, "3: bench may not import C"},
		"testify outside of tests": {"internal/vfs/vfstest/run.go", `import "github.com/stretchr/testify/require"`, "3: internal/vfs/vfstest may not import github.com/stretchr/testify/require"},
		"a fourth dependency":      {"bench/run.go", `import "go.etcd.io/bbolt"`, "3: go.etcd.io/bbolt is not among the dependencies of the module"},
		"a dependency of tests":    {"wal/log_test.go", `import "github.com/google/go-cmp/cmp"`, "3: github.com/google/go-cmp/cmp is not among the dependencies of the module"},
		"a dot import":             {"wal/log.go", `import . "fmt"`, "3: a dot import hides where names come from"},
		"an import under a name":   {"wal/log.go", `import _ "os"`, "3: wal may not import os"},
		"a file for one platform":  {"wal/log_plan9.go", `import "os"`, "3: wal may not import os"},

		"several in a file, by line": {"index/index.go", "type RowHelper int" + strings.Repeat("\n", 448),
			"3: RowHelper: Helper says nothing about the type\n451: the file has 451 lines, more than 450"},

		"a long file":     {"index/index.go", strings.Repeat("\n", 448), "451: the file has 451 lines, more than 450"},
		"a long function": {"index/index.go", "// F is long.\n// It is.\nfunc F() {" + statements(79) + "\n}", "5: F has 81 lines, more than 80"},
		"a long method":   {"index/index.go", "type T int\nfunc (T) M() {" + statements(79) + "\n}", "4: M has 81 lines, more than 80"},
		"a long literal":  {"index/index.go", "var f = func() {" + statements(79) + "\n}", "3: a function has 81 lines, more than 80"},

		"a Manager": {"wal/log.go", "type SegmentManager struct{}", "3: SegmentManager: Manager says nothing about the type"},
		"a Helper":  {"wal/log.go", "type (\n\tHelperFunc func()\n)", "4: HelperFunc: Helper says nothing about the type"},

		"a plain atomic": {"wal/log.go", "import \"sync/atomic\"\nfunc f(n *int64) { atomic.AddInt64(n, 1) }", "4: atomic.AddInt64: use a type of sync/atomic"},
		"a plain atomic in a test": {"wal/log_test.go", "import a \"sync/atomic\"\nfunc f(n *int64) int64 { return a.LoadInt64(n) }",
			"4: atomic.LoadInt64: use a type of sync/atomic"},
		"a plain atomic not called": {"wal/log.go", "import \"sync/atomic\"\nvar cas = atomic.CompareAndSwapUint32", "4: atomic.CompareAndSwapUint32: use a type of sync/atomic"},

		"a sleep": {"wal/log_test.go", "import \"time\"\nvar f = time.Sleep", "4: a test sleeps without saying why: // real time: ..."},
		"a sleep under a name": {"wal/log_test.go", "import clock \"time\"\nvar f = clock.Sleep // soon",
			"4: a test sleeps without saying why: // real time: ..."},
		"a sleep with an empty why": {"wal/log_test.go", "import \"time\"\nvar f = time.Sleep // real time: ",
			"4: a test sleeps without saying why: // real time: ..."},
		"a sleep with the why above": {"wal/log_test.go", "import \"time\"\n// real time: the timer under test\nvar f = time.Sleep",
			"5: a test sleeps without saying why: // real time: ..."},
	} {
		t.Run(name, func(t *testing.T) {
			// doc.go carries the package comment where the file is only a test.
			tree := fstest.MapFS{c.file: goFile(c.file, c.body), path.Dir(c.file) + "/doc.go": goFile(c.file, "")}
			found, err := check(tree)
			require.NoError(t, err)
			var got []string
			for _, v := range found {
				got = append(got, strings.TrimPrefix(v.String(), c.file+":"))
			}
			require.Equal(t, c.want, strings.Join(got, "\n"))
		})
	}
}

func TestCheckReportsPackages(t *testing.T) {
	undocumented := &fstest.MapFile{Data: []byte("package index\n")}
	for name, c := range map[string]struct {
		tree fstest.MapFS
		want string
	}{
		"one unknown": {fstest.MapFS{"queue/queue.go": goFile("queue/queue.go", "")},
			"queue: not in the diagram of internal/arch: say where it belongs"},
		"one unknown below a known one": {fstest.MapFS{"wal/queue/queue.go": goFile("wal/queue/queue.go", "")},
			"wal/queue: not in the diagram of internal/arch: say where it belongs"},
		"one that only sounds like a known one": {fstest.MapFS{"benches/b.go": goFile("benches/b.go", `import "os"`)},
			"benches: not in the diagram of internal/arch: say where it belongs\nbenches/b.go:3: benches may not import os"},
		"one with a vague name": {fstest.MapFS{"internal/util/ring/ring.go": goFile("internal/util/ring/ring.go", "")},
			"internal/util/ring: not in the diagram of internal/arch: say where it belongs\n" +
				"internal/util/ring: the name util says nothing about the package"},
		"one without a comment": {fstest.MapFS{"index/index.go": undocumented},
			"index: no package comment outside of its tests"},
		"one with the comment in a test": {fstest.MapFS{"index/index.go": undocumented, "index/index_test.go": goFile("index/index_test.go", "")},
			"index: no package comment outside of its tests"},
		"one with another's comment": {fstest.MapFS{"index/index.go": {Data: []byte("// Package indices is small.\npackage index\n")}},
			"index: no package comment outside of its tests"},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := check(c.tree)
			require.NoError(t, err)
			var got []string
			for _, v := range found {
				got = append(got, v.String())
			}
			require.Equal(t, c.want, strings.Join(got, "\n"))
		})
	}
}

// TestCheckAcceptsTheRest walks along the edge of every rule, on the right side of it.
func TestCheckAcceptsTheRest(t *testing.T) {
	tree := fstest.MapFS{
		"go.mod": {Data: []byte("module " + module + "\n")},
		"cmd/walctl/main.go": {Data: []byte("// Walctl inspects logs.\npackage main\nimport (\n_ \"os\"\n_ \"reflect\"\n_ \"" +
			module + "/recovery\"\n)\n")},

		// Not packages of this module, whatever they hold.
		"bench/peers/go.mod":        {Data: []byte("module peers\n")},
		"bench/peers/util/u.go":     {Data: []byte("package util\nimport _ \"os\"\n")},
		"segment/testdata/bad.go":   {Data: []byte("package bad\nimport _ \"os\"\n")},
		"_attic/a.go":               {Data: []byte("package attic\n")},
		".ci/tool.go":               {Data: []byte("package main\n")},
		"segment/testdata/x/go.mod": {Data: []byte("not a go.mod\n")},
	}
	for name, body := range map[string]string{
		"bench/bench.go":              `import ("os"; "sync"; "sync/atomic"; "tidemark/wal"; "tidemark/internal/vfs")`,
		"fuzz/fuzz.go":                `import ("sync"; "tidemark/wal/waltest"; "tidemark/index"; "tidemark/fuzz/refdecoder")`,
		"fuzz/refdecoder/decoder.go":  `import ("encoding/binary"; "io"; "github.com/cespare/xxhash/v2")`,
		"index/doc.go":                "",
		"index/index.go":              strings.Repeat("\n", 447) + `import ("encoding/binary"; "sync/atomic")`,
		"internal/vfs/os_windows.go":  `import ("os"; "unsafe"; "golang.org/x/sys/windows")`,
		"internal/vfs/vfstest/run.go": `import ("sync"; "tidemark/internal/vfs")`,
		"recovery/plan.go":            `import ("tidemark/segment"; "tidemark/internal/vfs")`,
		"segment/frame.go":            `import ("encoding/binary"; "github.com/cespare/xxhash/v2"; "tidemark/index")`,
		"segment/frame_test.go":       `import ("os"; "sync"; "reflect"; "github.com/stretchr/testify/require"; "tidemark/wal"; "tidemark/segment")`,
		"segment/frame_bench_test.go": strings.Repeat("\n", 1000) + "func f() {" + strings.Repeat("\n", 100) + "}",
		"wal/log.go":                  "import \"sync/atomic\"\nimport \"time\"\nvar n atomic.Int64\ntype segmentManager struct{}\nfunc f() { n.Add(1) }\nvar sleep = time.Sleep",
		"wal/log_test.go":             "import \"time\"\nvar f = time.Sleep // real time: the timer of the operating system",
		"wal/flusher_test.go":         "import (\"time\"; \"testing/synctest\")\nvar f = time.Sleep",
		"wal/edge.go":                 "func edge() {" + strings.Repeat("\n_ = 0", 78) + "\n}",
		"wal/waltest/disks.go":        `import "tidemark/wal"`,
		"examples/kv/kv.go":           `import ("os"; "tidemark/wal")`,
		"examples/kv/kv_test.go":      `import "tidemark/examples/kv"`,
	} {
		tree[name] = goFile(name, body)
	}
	found, err := check(tree)
	require.NoError(t, err)
	require.Empty(t, found)
}

func TestCheckFailsOnWhatDoesNotParse(t *testing.T) {
	_, err := check(fstest.MapFS{"index/index.go": {Data: []byte("package index\nfunc {\n")}})
	require.ErrorContains(t, err, "index/index.go:2:")
}
