package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// asCommand makes the test binary the command: crash starts itself.
const asCommand = "KV_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// kv runs the command line on the store in dir.
func kv(dir string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(append([]string{"-dir", dir}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// requirePrints requires a command to succeed and to print want.
func requirePrints(t *testing.T, want, dir string, args ...string) {
	t.Helper()
	code, out, errs := kv(dir, args...)
	require.Equal(t, want, out)
	require.Empty(t, errs)
	require.Zero(t, code)
}

func writeLines(t *testing.T, name string, lines ...string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o644))
	return name
}

func TestCommandsPrint(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	file := writeLines(t, "f", "one", "", "three")
	code, out, errs := kv(dir, "load", file)
	require.Zero(t, code, errs)
	require.Contains(t, out, "3 lines of 1 files in ")
	require.Empty(t, errs, "progress is for terminals")

	requirePrints(t, "three\n", dir, "get", file+":0000003")
	requirePrints(t, "\n", dir, "get", file+":0000002")
	requirePrints(t, "", dir, "put", "zz", "last")
	requirePrints(t, "zz\tlast\n", dir, "scan", "zz")
	requirePrints(t, file+":0000002\t\n"+file+":0000003\tthree\n", dir, "scan", file+":0000002", "2")
	requirePrints(t, "", dir, "scan", file, "0")
	requirePrints(t, "4 keys as of LSN 4\n", dir, "snapshot")
	requirePrints(t, "", dir, "delete", file+":0000002")
	requirePrints(t, file+":0000001\tone\n"+file+":0000003\tthree\nzz\tlast\n", dir, "scan")
}

func TestHelpSaysWhatItShows(t *testing.T) {
	code, _, errs := kv("", "crash", "-help")
	require.Zero(t, code)
	require.Contains(t, errs, "a power loss does")
	code, _, errs = kv("", "-help")
	require.Zero(t, code)
	require.Equal(t, usage, errs)
}

func TestBadInputIsToldClearly(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	requirePrints(t, "", store, "put", "k", "v")
	file := writeLines(t, "f", "one")
	other := filepath.Dir(file)
	long := writeLines(t, "long", "short", strings.Repeat("x", maxLine+1))
	absent := filepath.Join(other, "absent")
	for _, c := range []struct {
		args []string // the first is the directory
		code int
		want string
	}{
		{[]string{store, "get", "nothing"}, 1, `no key "nothing" in `},
		{[]string{store, "delete", "nothing"}, 1, `no key "nothing" in `},
		{[]string{store, "load", absent}, 1, "absent: "},
		{[]string{store, "load", file, absent}, 1, "absent: "},
		{[]string{store, "load", other}, 1, "is a directory, want a file"},
		{[]string{store, "load", long}, 1, "long: line 2: "},
		{[]string{absent, "get", "k"}, 1, "no kv store in " + absent + ": it does not exist"},
		{[]string{absent, "snapshot"}, 1, "it does not exist"},
		{[]string{absent, "delete", "k"}, 1, "it does not exist"},
		{[]string{other, "get", "k"}, 1, "it has f, and no directory log"},
		{[]string{other, "load", file}, 1, "it has f, and no directory log"},
		{[]string{t.TempDir(), "scan"}, 1, "it is empty"},
		{[]string{file, "get", "k"}, 1, file},
		{[]string{file, "load", file}, 1, file},
		{[]string{filepath.Join(file, "below"), "load", file}, 1, "below"},
		{[]string{other, "crash", file}, 1, "too few"},
		{[]string{other, "crash", "-rounds", "0", "-writers", "1", writeLines(t, "l", "1", "2", "3", "4")}, 1, "is not empty: it has f"},
		{[]string{store, "crash", absent}, 1, "absent"},
		{[]string{store, "crash", "-rounds", "-1"}, 2, "make no test"},
		{[]string{store, "crash", "-round", "1"}, 2, "-round"},
		{[]string{store, "scan", "k", "many"}, 2, `"many" is no number`},
		{[]string{store, "get"}, 2, "get: 0 arguments"},
		{[]string{store, "frob"}, 2, `no command "frob"`},
		{[]string{store, "-frob"}, 2, "-frob"},
		{[]string{store}, 2, "usage"},
	} {
		code, out, errs := kv(c.args[0], c.args[1:]...)
		require.Contains(t, errs, c.want, c.args)
		require.Equal(t, c.code, code, c.args)
		require.Empty(t, out, c.args)
	}
	require.NoDirExists(t, absent)
	requirePrints(t, "v\n", store, "get", "k")
}

func TestSecondWriterIsTurnedAway(t *testing.T) {
	s := open(t, t.TempDir())
	_, err := s.put("k", "v")
	require.NoError(t, err)
	code, _, errs := kv(s.dir, "snapshot")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "the log is open elsewhere")
	requirePrints(t, "v\n", s.dir, "get", "k")
}
