package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
)

// input is the lines of some files, numbered through from 0. It reads a file
// when one of its lines is asked for. Its methods are safe for concurrent use.
type input struct {
	files []inputFile

	mu struct {
		sync.RWMutex
		read   int      // files
		starts []int    // number of the first line of each that was read
		lines  []string // of these files
	}
}

type inputFile struct{ path, name string }

// findInput returns the files named, and all .go files in the directories named,
// in an order that is always the same.
func findInput(roots []string) (*input, error) {
	in := &input{}
	for _, root := range roots {
		info, err := os.Stat(root)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			in.files = append(in.files, inputFile{path: root, name: filepath.Base(root)})
			continue
		}
		err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() && strings.HasSuffix(path, ".go") {
				name, rerr := filepath.Rel(root, path)
				in.files = append(in.files, inputFile{path: path, name: filepath.ToSlash(name)})
				err = rerr
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return in, nil
}

// line is one line of the input.
type line struct {
	file   string
	number int // from 1
	text   string
}

// line returns line i; false: there are not so many.
func (in *input) line(i int) (line, bool, error) {
	for {
		in.mu.RLock()
		if i < len(in.mu.lines) {
			defer in.mu.RUnlock()
			f := in.fileOf(i)
			return line{file: in.files[f].name, number: i - in.mu.starts[f] + 1, text: in.mu.lines[i]}, true, nil
		}
		read := in.mu.read
		in.mu.RUnlock()
		if read == len(in.files) {
			return line{}, false, nil
		}
		if err := in.readFile(read); err != nil {
			return line{}, false, err
		}
	}
}

// readFile reads file f, unless somebody else did.
func (in *input) readFile(f int) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.mu.read != f {
		return nil
	}
	text, err := os.ReadFile(in.files[f].path)
	if err != nil {
		return fmt.Errorf("input: %w", err)
	}
	in.mu.starts = append(in.mu.starts, len(in.mu.lines))
	for l := range strings.Lines(string(text)) {
		in.mu.lines = append(in.mu.lines, strings.TrimRight(l, "\r\n"))
	}
	in.mu.read++
	return nil
}

// fileOf returns the file that holds line i, which has been read. Requires mu.
func (in *input) fileOf(i int) int {
	return sort.Search(len(in.mu.starts), func(f int) bool { return in.mu.starts[f] > i }) - 1
}

// readAll reads all files and returns the number of lines.
func (in *input) readAll() (int, error) {
	for f := range in.files {
		if err := in.readFile(f); err != nil {
			return 0, err
		}
	}
	return len(in.mu.lines), nil
}

// fileAt returns the file that holds line i and the number of its first line.
func (in *input) fileAt(i int) (f, start int) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	f = in.fileOf(i)
	return f, in.mu.starts[f]
}
