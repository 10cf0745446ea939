package arch

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// module begins the path of every import of ours.
const module = "github.com/seed3918b8df/tidemark"

// What fits a screen and an evening, with some slack. Tests are free of both.
const (
	maxFileLines = 450
	maxFuncLines = 80
)

// core is what any test file may import, and fuzz as well.
const core = "wal wal/waltest recovery segment index internal/vfs internal/vfs/vfstest internal/scale fuzz/refdecoder"

// diagram is the import rule: a package may import those named to its right. Each of
// them has a row of its own further down, so arrows point down and there is no cycle.
var diagram = []struct{ pkg, imports string }{
	{"cmd/walctl", "wal recovery segment internal/vfs"},
	{"examples/kv", "wal"},
	{"bench", "bench/load wal internal/vfs"},
	{"bench/load", "wal"},
	{"fuzz/soak", "wal segment internal/vfs"},
	{"fuzz", core},
	{"fuzz/kill", "wal segment internal/vfs"},
	{"fuzz/mutants", ""},    // a command: it breaks a copy of the module, and runs its tests
	{"fuzz/refdecoder", ""}, // a second reading of the format: it must not share the first one's mistakes
	{"wal/waltest", "wal internal/vfs"},
	{"wal", "recovery segment internal/vfs"},
	{"recovery", "segment internal/vfs"},
	{"segment", "index internal/vfs"},
	{"index", ""},
	{"internal/vfs/vfstest", "internal/vfs"},
	{"internal/vfs", ""},
	{"internal/scale", ""},
	{"internal/arch", ""},
}

// restricted says who may import what is not ours. A row also binds the packages below
// the one it names, where they have no row of their own. What has no row is free for all
// if it is in the standard library, and for nobody otherwise. A test file may import the
// whole standard library, testify, and what its package may import.
//
// An entry is a package, a package and all below it (x/...), or a pattern of file names.
var restricted = map[string]string{
	"os":              "internal/vfs/... fuzz/kill fuzz/mutants " + programs,
	"sync":            "wal/... internal/vfs/... fuzz/... " + programs,
	"sync/atomic":     "wal/... internal/vfs/... fuzz/... index " + programs,
	"reflect":         "fuzz/... " + programs,
	"unsafe":          "fuzz/... internal/vfs/*_windows.go internal/vfs/aligned.go " + programs,
	"C":               "",
	"encoding/binary": "segment index internal/vfs fuzz/refdecoder",

	"github.com/cespare/xxhash/v2": "segment fuzz/...",
	"golang.org/x/sys":             "internal/vfs",
	testify:                        "",
}

// programs run the log rather than being part of it.
const programs = "cmd/... examples/... bench/... fuzz/soak"

// testify is for test files only.
const testify = "github.com/stretchr/testify"

// vagueDirs are names of packages that say nothing about what is inside.
var vagueDirs = []string{"types", "common", "util", "base", "helpers"}

// vagueWords are parts of exported type names that say nothing about the type.
var vagueWords = []string{"Manager", "Helper"}

func TestModuleKeepsItsShape(t *testing.T) {
	broken, err := check(os.DirFS("../.."))
	require.NoError(t, err)
	for _, b := range broken {
		t.Error(b)
	}
}

func TestArrowsOfTheDiagramPointDown(t *testing.T) {
	for i, row := range diagram {
		for _, imported := range strings.Fields(row.imports) {
			at := slices.IndexFunc(diagram, func(r struct{ pkg, imports string }) bool { return r.pkg == imported })
			require.Greater(t, at, i, "%s -> %s", row.pkg, imported)
		}
	}
}
