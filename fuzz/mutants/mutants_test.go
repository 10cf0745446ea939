package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

// atLeast is how many mutants there are, and then some may go.
const atLeast = 60

func load(t *testing.T) []*mutant {
	t.Helper()
	all, err := loadMutants(os.DirFS("patches"))
	require.NoError(t, err)
	return all
}

// TestEveryPatchAppliesExactly to the tree as it is, and leaves Go behind.
func TestEveryPatchAppliesExactly(t *testing.T) {
	all := load(t)
	require.GreaterOrEqual(t, len(all), atLeast)
	for _, m := range all {
		for _, f := range m.files {
			require.False(t, strings.HasSuffix(f.path, "_test.go") || strings.Contains(f.path, "testdata"), "%s breaks a test and no rule", m.name)
			was, err := os.ReadFile(filepath.Join(root, f.path))
			require.NoError(t, err, m.name)
			now, err := f.apply(string(was))
			require.NoError(t, err, "%s%s does not apply any more: make it anew", m.name, patchExt)
			_, err = parser.ParseFile(token.NewFileSet(), f.path, now, parser.SkipObjectResolution)
			require.NoError(t, err, m.name)
		}
	}
}

func TestEveryMutantNamesATestThatExists(t *testing.T) {
	tests := map[string][]string{} // by package
	for _, m := range load(t) {
		if tests[m.pkg] == nil {
			tests[m.pkg] = testsOf(t, filepath.Join(root, m.pkg))
		}
		require.Contains(t, tests[m.pkg], m.test, "%s: there is no such test in %s", m.name, m.pkg)
		require.True(t, strings.HasPrefix(m.pattern(), "^"+m.test+"$"), "%s runs %s", m.name, m.pattern())
	}
}

// testsOf returns the names of the tests in a directory.
func testsOf(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	require.NoError(t, err)
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}

func TestNamesAndRulesAreUnique(t *testing.T) {
	names, rules, diffs := map[string]bool{}, map[string]string{}, map[string]string{}
	for _, m := range load(t) {
		require.False(t, names[m.name])
		require.Regexp(t, `^[a-z][a-z0-9-]+$`, m.name)
		require.Empty(t, rules[m.rule], "%s has the same rule", m.name)
		require.True(t, strings.HasSuffix(m.rule, "."), "%s: a rule is a sentence", m.name)
		diff := fmt.Sprint(m.files)
		require.Empty(t, diffs[diff], "%s is the same", m.name)
		names[m.name], rules[m.rule], diffs[diff] = true, m.name, m.name
	}
}

const patch = `rule: Two follows one.
kills: ./a TestX
says: want 2

--- a/a.go
+++ b/a.go
@@ -1,3 +1,3 @@
 one
-two
+three
 four
`

func TestPatchReplacesItsLines(t *testing.T) {
	m, err := parseMutant("x.patch", patch)
	require.NoError(t, err)
	require.Equal(t, &mutant{name: "x", rule: "Two follows one.", pkg: "./a", test: "TestX", says: "want 2",
		files: []filePatch{{"a.go", []hunk{{7, "one\ntwo\nfour\n", "one\nthree\nfour\n"}}}}}, m)
	got, err := m.files[0].apply("zero\none\ntwo\nfour\none\n")
	require.NoError(t, err)
	require.Equal(t, "zero\none\nthree\nfour\none\n", got)
}

func TestPatchThatDoesNotFitExactlyIsRefused(t *testing.T) {
	m, err := parseMutant("x.patch", patch)
	require.NoError(t, err)
	for text, want := range map[string]string{
		"one\ntwo\nfive\n":                      "stand 0 times in a.go",
		"one\n two\nfour\n":                     "stand 0 times",
		"someone\ntwo\nfour\n":                  "stand 0 times",
		"one\ntwo\nfour\none\ntwo\nfour\n":      "stand 2 times",
		"one\ntwo\nfour":                        "stand 0 times",
		"one\nthree\nfour\n(it is there now)\n": "stand 0 times",
	} {
		_, err := m.files[0].apply(text)
		require.ErrorContains(t, err, want, "%q", text)
	}
}

func TestPatchesThatSayTooLittleAreRefused(t *testing.T) {
	for old, wrong := range map[string]string{
		"rule: Two":              "role: Two",
		"./a TestX":              "TestX",
		"says: want 2":           "says:",
		"want 2":                 "want 2\nguard: deadlock",
		"rule: Two follows one.": "rule: a\nrule: b",
		"--- a/a.go":             "diff",
		"+++ b/a.go\n":           "",
		"kills: ./a TestX":       "kills: ./a TestX\nrun: (",
		"says: want 2\n\n":       "says: want 2\n",
	} {
		_, err := parseMutant("x.patch", strings.Replace(patch, old, wrong, 1))
		require.Error(t, err, wrong)
	}
	_, err := parseMutant("x.diff", patch)
	require.Error(t, err)
}

// run is what go test -json prints of a test that failed, and what else was said.
func failed(test string, said ...string) string {
	var b strings.Builder
	for _, s := range said {
		fmt.Fprintf(&b, "{\"Action\":\"output\",\"Test\":%q,\"Output\":%q}\n", test, s+"\n")
	}
	fmt.Fprintf(&b, "{\"Action\":\"fail\",\"Test\":%q}\n{\"Action\":\"fail\"}\n", test)
	return b.String()
}

// TestOnlyTheNamedAssertionKills, or the guard where somebody would wait for ever.
func TestOnlyTheNamedAssertionKills(t *testing.T) {
	says := &mutant{test: "TestX", says: "want 2"}
	guard := &mutant{test: "TestX", guard: "deadlock"}
	for _, c := range []struct {
		m      *mutant
		output string
		why    string
	}{
		{says, failed("TestX", "got 1", "want 2"), ""},
		{says, failed("TestX/of_a_part", "want 2") + failed("TestX"), ""},
		{says, `{"Action":"pass","Test":"TestX"}`, "it survives"},
		{says, failed("TestX", "want 3"), "does not say want 2"},
		{says, failed("TestXY", "want 2"), "another test fails"},
		{says, failed("TestXY", "want 2") + failed("TestX", "want 3"), "does not say"},
		{says, failed("TestX", "want 2", "panic: nil"), "did not end by itself: panic: nil"},
		{says, failed("TestX", "want 2", "panic: test timed out after 1m0s"), "did not end by itself"},
		{says, `{"Action":"build-output","Output":"want 2"}` + "\n" + `{"Action":"build-fail"}`, "does not build"},
		{says, `{"Action":"fail","FailedBuild":"a"}`, "does not build"},
		{guard, failed("TestX", "panic: deadlock: all sleep"), ""},
		{guard, failed("TestX", "deadlock"), "no guard"},
		{guard, failed("TestX", "panic: nil"), "did not end by itself"},
		{guard, `{"Action":"pass","Test":"TestX"}`, "no guard"},
	} {
		res, err := parseEvents(bytes.NewBufferString(c.output))
		require.NoError(t, err)
		why := c.m.judge(res)
		require.Equal(t, c.why == "", why == "", "%s: %s", c.output, why)
		require.Contains(t, why, c.why)
	}
}

func TestSeedChooses(t *testing.T) {
	all := load(t)
	names := func(seed string) (names []string) {
		for _, m := range choose(all, 6, seed) {
			names = append(names, m.name)
		}
		return names
	}
	require.Len(t, names("a"), 6)
	require.Equal(t, names("a"), names("a"))
	require.NotEqual(t, names("a"), names("b"))
	require.True(t, slices.IsSorted(names("a")))
	chosen := map[string]bool{}
	for seed := range 400 {
		for _, name := range names(fmt.Sprint(seed)) {
			chosen[name] = true
		}
	}
	require.Len(t, chosen, len(all), "each has its turn")
	require.Len(t, choose(all, len(all)+1, "a"), len(all))
}
