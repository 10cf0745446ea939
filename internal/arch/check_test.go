package arch

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A source is one Go file of the module.
type source struct {
	path  string // below the module's root, with slashes
	pkg   string // directory of path: the package as the diagram names it
	test  bool
	lines int
	ast   *ast.File
}

// A violation is a rule broken at a line of a file, or, at line 0, by a whole package.
type violation struct {
	path string
	line int
	text string
}

func (v violation) String() string {
	if v.line == 0 {
		return v.path + ": " + v.text
	}
	return fmt.Sprintf("%s:%d: %s", v.path, v.line, v.text)
}

// A checker goes through the files of a module and collects what breaks its rules.
type checker struct {
	files *token.FileSet
	found []violation
}

// check returns the violations in the module at the root of tree, in the order of their
// paths and lines. The error is that of reading or parsing a file.
func check(tree fs.FS) ([]violation, error) {
	c := &checker{files: token.NewFileSet()}
	packages, err := c.load(tree)
	if err != nil {
		return nil, err
	}
	for dir, sources := range packages {
		c.checkPackage(dir, sources)
		for _, src := range sources {
			c.checkImports(src)
			c.checkSizes(src)
			c.checkTypeNames(src)
			c.checkCalls(src)
		}
	}
	slices.SortFunc(c.found, func(a, b violation) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.line, b.line), cmp.Compare(a.text, b.text))
	})
	return c.found, nil
}

// load parses the Go files of the module and returns them by directory.
func (c *checker) load(tree fs.FS) (map[string][]*source, error) {
	packages := make(map[string][]*source)
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != "." && outside(tree, name) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(c.files, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		packages[dir] = append(packages[dir], &source{
			path:  name,
			pkg:   dir,
			test:  strings.HasSuffix(name, "_test.go"),
			lines: strings.Count(string(text), "\n"),
			ast:   file,
		})
		return nil
	})
	return packages, err
}

// outside reports whether the module's packages end at dir: the go command does not look
// there, or another module begins.
func outside(tree fs.FS, dir string) bool {
	base := path.Base(dir)
	if base == "testdata" || base[0] == '.' || base[0] == '_' {
		return true
	}
	_, err := fs.Stat(tree, dir+"/go.mod")
	return err == nil
}

// report notes that node of src breaks a rule.
func (c *checker) report(src *source, node ast.Node, format string, args ...any) {
	c.found = append(c.found, violation{src.path, c.line(node.Pos()), fmt.Sprintf(format, args...)})
}

func (c *checker) line(pos token.Pos) int {
	return c.files.PositionFor(pos, false).Line // of the file itself, whatever a //line directive says
}

// checkPackage asks for a place in the diagram, a telling name and a package comment.
func (c *checker) checkPackage(dir string, sources []*source) {
	report := func(text string) { c.found = append(c.found, violation{dir, 0, text}) }
	if _, ok := importsOf(dir); !ok {
		report("not in the diagram of internal/arch: say where it belongs")
	}
	for _, part := range strings.Split(dir, "/") {
		if slices.Contains(vagueDirs, part) {
			report(fmt.Sprintf("the name %s says nothing about the package", part))
		}
	}
	if !slices.ContainsFunc(sources, documented) {
		report("no package comment outside of its tests")
	}
}

// documented reports whether src has the package comment in its usual form.
func documented(src *source) bool {
	name := src.ast.Name.Name
	doc := src.ast.Doc.Text()
	return !src.test && doc != "" && (name == "main" || strings.HasPrefix(doc, "Package "+name+" "))
}

// importsOf returns what the diagram lets pkg import, and whether pkg is in it.
func importsOf(pkg string) (imports []string, ok bool) {
	for _, row := range diagram {
		if row.pkg == pkg {
			return strings.Fields(row.imports), true
		}
	}
	return nil, false
}

func (c *checker) checkImports(src *source) {
	for _, spec := range src.ast.Imports {
		if spec.Name != nil && spec.Name.Name == "." {
			c.report(src, spec, "a dot import hides where names come from")
		}
		imported := importPath(spec)
		if ours, ok := strings.CutPrefix(imported+"/", module+"/"); ok {
			c.checkOurs(src, spec, path.Clean(ours))
		} else {
			c.checkForeign(src, spec, imported)
		}
	}
}

func importPath(spec *ast.ImportSpec) string {
	imported, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		panic(err) // the parser took it for a string
	}
	return imported
}

// checkOurs checks an import of a package of this module against the diagram.
func (c *checker) checkOurs(src *source, spec *ast.ImportSpec, imported string) {
	allowed, _ := importsOf(src.pkg)
	if src.test {
		allowed = append(strings.Fields(core), append(allowed, src.pkg)...)
	}
	if !slices.Contains(allowed, imported) {
		c.report(src, spec, "%s may not import %s", src.pkg, imported)
	}
}

// checkForeign checks an import of anything else against the restricted ones.
func (c *checker) checkForeign(src *source, spec *ast.ImportSpec, imported string) {
	first, _, _ := strings.Cut(imported, "/")
	std := !strings.Contains(first, ".")
	rule := imported
	for rule != "." && !isRestricted(rule) {
		rule = path.Dir(rule)
	}
	switch {
	case src.test && (std || rule == testify):
	case rule == "." && !std:
		c.report(src, spec, "%s is not among the dependencies of the module", imported)
	case rule != "." && !admits(restricted[rule], src):
		c.report(src, spec, "%s may not import %s", src.pkg, imported)
	}
}

func isRestricted(imported string) bool {
	_, ok := restricted[imported]
	return ok
}

// admits reports whether one of the entries, in the notation of restricted, covers src.
func admits(entries string, src *source) bool {
	for _, entry := range strings.Fields(entries) {
		if tree, ok := strings.CutSuffix(entry, "/..."); ok {
			if strings.HasPrefix(src.pkg+"/", tree+"/") {
				return true
			}
			continue
		}
		if entry == src.pkg {
			return true
		}
		if ok, _ := path.Match(entry, src.path); ok {
			return true
		}
	}
	return false
}

// checkSizes measures files, and functions from the word func to the closing brace.
func (c *checker) checkSizes(src *source) {
	if src.test {
		return
	}
	if src.lines > maxFileLines {
		text := fmt.Sprintf("the file has %d lines, more than %d", src.lines, maxFileLines)
		c.found = append(c.found, violation{src.path, src.lines, text})
	}
	ast.Inspect(src.ast, func(node ast.Node) bool {
		name := "a function"
		switch f := node.(type) {
		case *ast.FuncDecl:
			name = f.Name.Name
		case *ast.FuncLit:
		default:
			return true
		}
		if n := c.line(node.End()) - c.line(node.Pos()) + 1; n > maxFuncLines {
			c.report(src, node, "%s has %d lines, more than %d", name, n, maxFuncLines)
		}
		return false // what is inside is shorter
	})
}

func (c *checker) checkTypeNames(src *source) {
	for _, decl := range src.ast.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.TYPE {
			continue
		}
		for _, spec := range group.Specs {
			name := spec.(*ast.TypeSpec).Name
			for _, word := range vagueWords {
				if name.IsExported() && strings.Contains(name.Name, word) {
					c.report(src, name, "%s: %s says nothing about the type", name.Name, word)
				}
			}
		}
	}
}

// checkCalls looks for untyped atomics anywhere, and for sleeps in tests. Files
// that import testing/synctest sleep by a clock that waits for nobody.
func (c *checker) checkCalls(src *source) {
	atomics, clock := nameOf(src.ast, "sync/atomic"), nameOf(src.ast, "time")
	bubble := nameOf(src.ast, "testing/synctest") != ""
	realTime := c.realTimeLines(src.ast)
	ast.Inspect(src.ast, func(node ast.Node) bool {
		selector, ok := node.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		name := selector.Sel.Name
		if pkg.Name == atomics && untypedAtomic(name) {
			c.report(src, selector, "atomic.%s: use a type of sync/atomic", name)
		}
		if src.test && !bubble && pkg.Name == clock && name == "Sleep" && !realTime[c.line(selector.Pos())] {
			c.report(src, selector, "a test sleeps without saying why: // real time: ...")
		}
		return true
	})
}

// nameOf returns the name under which file imports a package, or "" if it does not.
func nameOf(file *ast.File, imported string) string {
	for _, spec := range file.Imports {
		if importPath(spec) == imported {
			if spec.Name != nil {
				return spec.Name.Name
			}
			return path.Base(imported)
		}
	}
	return ""
}

// untypedAtomic reports whether name is that of a function of sync/atomic, as opposed to
// one of its types.
func untypedAtomic(name string) bool {
	for _, verb := range []string{"Add", "And", "CompareAndSwap", "Load", "Or", "Store", "Swap"} {
		if strings.HasPrefix(name, verb) {
			return true
		}
	}
	return false
}

// realTimeLines returns the lines with a comment that says why a test needs real time.
func (c *checker) realTimeLines(file *ast.File) map[int]bool {
	lines := make(map[int]bool)
	for _, group := range file.Comments {
		for _, comment := range group.List {
			why, ok := strings.CutPrefix(comment.Text, "// real time:")
			if ok && strings.TrimSpace(why) != "" {
				lines[c.line(comment.Pos())] = true
			}
		}
	}
	return lines
}
