package waltest_test

import (
	"bytes"
	"flag"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var updateAPI = flag.Bool("update", false, "write the API as it is now to testdata")

// TestAPIIsWhatWasReviewed compares all that is exported with testdata/api.txt: what
// is there is a promise, and what changes there shows in a review.
func TestAPIIsWhatWasReviewed(t *testing.T) {
	golden := filepath.Join("testdata", "api.txt")
	api := exported(t, ".")
	if *updateAPI {
		require.NoError(t, os.WriteFile(golden, []byte(api), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), api, "the API; -update writes it down")
}

// exported returns the exported declarations of the package in dir, without comments
// and bodies, sorted.
func exported(t *testing.T, dir string) string {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	var decls []string
	files := token.NewFileSet()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.FileExports(file)
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				d.Body = nil
				if d.Recv != nil && !receiver(d).IsExported() {
					continue
				}
			case *ast.GenDecl:
				if d.Tok == token.IMPORT {
					continue
				}
			}
			var b bytes.Buffer
			require.NoError(t, format.Node(&b, files, decl))
			decls = append(decls, b.String())
		}
	}
	slices.Sort(decls)
	return strings.Join(decls, "\n") + "\n"
}

// receiver returns the name of a method's type.
func receiver(method *ast.FuncDecl) *ast.Ident {
	typ := method.Recv.List[0].Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	return typ.(*ast.Ident)
}
