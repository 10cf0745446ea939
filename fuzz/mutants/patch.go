package main

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// mutant is one file of patches.
type mutant struct {
	name  string // of the file, without .patch
	rule  string
	pkg   string // as ./wal
	test  string
	run   string
	args  string
	says  string
	guard string
	files []filePatch
}

// filePatch is what a diff changes in one file.
type filePatch struct {
	path  string // below the module's root, with slashes
	hunks []hunk
}

// hunk replaces lines by others. Each line ends with a newline.
type hunk struct {
	line     int // of the diff, in the patch
	old, new string
}

const patchExt = ".patch"

// loadMutants reads all patches, by name.
func loadMutants(dir fs.FS) ([]*mutant, error) {
	names, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, err
	}
	var all []*mutant
	for _, e := range names {
		text, err := fs.ReadFile(dir, e.Name())
		if err != nil {
			return nil, err
		}
		m, err := parseMutant(e.Name(), string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// parseMutant reads one patch.
func parseMutant(file, text string) (*mutant, error) {
	m := &mutant{name: strings.TrimSuffix(file, patchExt)}
	if path.Ext(file) != patchExt {
		return nil, fmt.Errorf("%s: want a name that ends in %s", file, patchExt)
	}
	head, diff, found := strings.Cut(text, "\n\n")
	if !found {
		return nil, fmt.Errorf("%s: want an empty line between the head and the diff", file)
	}
	if err := m.parseHead(head); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := m.parseDiff(diff, strings.Count(head, "\n")+3); err != nil {
		return nil, fmt.Errorf("%s:%w", file, err)
	}
	return m, nil
}

func (m *mutant) parseHead(head string) error {
	var kills string
	fields := map[string]*string{"rule": &m.rule, "kills": &kills, "run": &m.run, "args": &m.args, "says": &m.says, "guard": &m.guard}
	for _, line := range strings.Split(head, "\n") {
		key, value, _ := strings.Cut(line, ":")
		field, ok := fields[key]
		if !ok || *field != "" {
			return fmt.Errorf("the head has no place for %q", line)
		}
		*field = strings.TrimSpace(value)
	}
	var ok bool
	m.pkg, m.test, ok = strings.Cut(kills, " ")
	if !ok || m.rule == "" || (m.says == "") == (m.guard == "") {
		return fmt.Errorf("the head needs a rule, a package and a test that it kills, and what that says or what its guard says")
	}
	if _, err := regexp.Compile(m.pattern()); err != nil {
		return err
	}
	return nil
}

// pattern returns what go test is to run.
func (m *mutant) pattern() string {
	if m.run != "" {
		return m.run
	}
	return "^" + m.test + "$"
}

// parseDiff reads a unified diff of which the first line is line number n of the file.
func (m *mutant) parseDiff(diff string, n int) error {
	var file *filePatch
	var at *hunk
	for _, line := range strings.Split(strings.TrimSuffix(diff, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "--- a/"):
			file, at = nil, nil
		case strings.HasPrefix(line, "+++ b/"):
			m.files = append(m.files, filePatch{path: line[len("+++ b/"):]})
			file = &m.files[len(m.files)-1]
		case strings.HasPrefix(line, "@@ ") && file != nil:
			file.hunks = append(file.hunks, hunk{line: n})
			at = &file.hunks[len(file.hunks)-1]
		case at == nil:
			return fmt.Errorf("%d: no line of a diff: %q", n, line)
		case line == "" || line[0] == ' ':
			text := strings.TrimPrefix(line, " ") + "\n"
			at.old, at.new = at.old+text, at.new+text
		case line[0] == '-':
			at.old += line[1:] + "\n"
		case line[0] == '+':
			at.new += line[1:] + "\n"
		default:
			return fmt.Errorf("%d: no line of a diff: %q", n, line)
		}
		n++
	}
	if len(m.files) == 0 {
		return fmt.Errorf("%d: there is no diff", n)
	}
	return nil
}

// apply returns text with the hunks applied. Each must fit at exactly one place.
func (f *filePatch) apply(text string) (string, error) {
	for _, h := range f.hunks {
		if h.old == "" || h.old == h.new {
			return "", fmt.Errorf("the hunk at line %d replaces nothing, or changes nothing", h.line)
		}
		at := places(text, h.old)
		if len(at) != 1 {
			return "", fmt.Errorf("the old lines of the hunk at line %d stand %d times in %s, want once", h.line, len(at), f.path)
		}
		text = text[:at[0]] + h.new + text[at[0]+len(h.old):]
	}
	return text, nil
}

// places returns where in text these whole lines stand.
func places(text, lines string) (at []int) {
	for i := 0; i < len(text); {
		if strings.HasPrefix(text[i:], lines) {
			at = append(at, i)
		}
		_, rest, _ := strings.Cut(text[i:], "\n")
		i = len(text) - len(rest)
	}
	return at
}
