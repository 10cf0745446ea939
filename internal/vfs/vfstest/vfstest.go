// Package vfstest checks that a file system does what package vfs promises.
package vfstest

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// Run checks fsys in the directory dir, which must exist and be empty, and leaves files
// there. It returns nil or, joined, one error for each promise that was broken, the
// first one of each of its groups of promises. It checks nothing about durability.
func Run(fsys vfs.FS, dir string) error {
	var errs []error
	for _, g := range groups {
		if err := run(fsys, filepath.Join(dir, g.name), g.check); err != nil {
			errs = append(errs, fmt.Errorf("vfstest: %s: %w", g.name, err))
		}
	}
	return errors.Join(errs...)
}

// groups are run one after the other, each in a directory of its own.
var groups = []struct {
	name  string
	check func(*suite)
}{
	{"directories", directories},
	{"create", create},
	{"errors", errorsNamePaths},
	{"readwrite", readWrite},
	{"allocate", allocate},
	{"writesync", writeSync},
	{"truncate", truncate},
	{"readonly", readOnly},
	{"rename", rename},
	{"renameopen", renameOpen},
	{"remove", remove},
	{"removeopen", removeOpen},
	{"link", link},
	{"lock", lock},
	{"closed", closed},
	{"concurrent", concurrent},
}

// suite is a group that runs. Its methods end the group where a promise is broken.
type suite struct {
	fs  vfs.FS
	dir string
}

// failure is what ends a group.
type failure struct{ err error }

func run(fsys vfs.FS, dir string, check func(*suite)) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			err = r.err
		default:
			panic(r)
		}
	}()
	s := &suite{fsys, dir}
	s.ok(fsys.Mkdir(dir))
	check(s)
	return nil
}

// failf ends the group; it says where the check is.
func failf(format string, args ...any) {
	where := "?"
	for skip := 1; ; skip++ {
		pc, file, line, ok := runtime.Caller(skip)
		if !ok {
			break
		}
		name := runtime.FuncForPC(pc).Name()
		if filepath.Base(file) == "checks.go" {
			where = fmt.Sprintf("%s:%d (%s)", filepath.Base(file), line, filepath.Ext(name)[1:])
			break
		}
	}
	panic(failure{fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...))})
}

func (s *suite) path(name string) string { return filepath.Join(s.dir, name) }

// ok wants no error.
func (s *suite) ok(err error) {
	if err != nil {
		failf("%v", err)
	}
}

// is wants an error that errors.Is takes for target.
func (s *suite) is(err, target error) {
	if !errors.Is(err, target) {
		failf("error %v, want %v", err, target)
	}
}

// fails wants any error.
func (s *suite) fails(err error) {
	if err == nil {
		failf("no error, want one")
	}
}

// that wants a condition to hold.
func (s *suite) that(cond bool, format string, args ...any) {
	if !cond {
		failf(format, args...)
	}
}

// create makes a file with that content.
func (s *suite) create(name, content string) vfs.File {
	f, err := s.fs.Create(s.path(name))
	s.ok(err)
	if content != "" {
		s.write(f, content, 0)
	}
	return f
}

// open opens a file.
func (s *suite) open(name string, mode vfs.Mode) vfs.File {
	f, err := s.fs.Open(s.path(name), mode)
	s.ok(err)
	return f
}

// write wants all of p to be written.
func (s *suite) write(f vfs.File, p string, off int64) {
	n, err := f.WriteAt([]byte(p), off)
	s.ok(err)
	s.that(n == len(p), "WriteAt wrote %d bytes of %d", n, len(p))
}

// holds wants the whole file to be content.
func (s *suite) holds(f vfs.File, content string) {
	info, err := f.Stat()
	s.ok(err)
	s.that(info.Size == int64(len(content)), "size %d, want %d", info.Size, len(content))
	p := make([]byte, len(content))
	if len(p) > 0 {
		n, err := f.ReadAt(p, 0)
		s.ok(err)
		s.that(n == len(p), "ReadAt read %d bytes of %d", n, len(p))
	}
	s.that(string(p) == content, "content %q, want %q", brief(string(p)), brief(content))
}

// links wants the file to have n names.
func (s *suite) links(f vfs.File, n int) {
	info, err := f.Stat()
	s.ok(err)
	s.that(info.Links == n, "%d links, want %d", info.Links, n)
}

// lists wants the directory to hold exactly these names.
func (s *suite) lists(dir string, want ...string) {
	got, err := s.fs.List(dir)
	s.ok(err)
	s.that(slices.Equal(got, want), "list %q, want %q", got, want)
}

// brief cuts what is too long to be read.
func brief(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}
