package vfstest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

func directories(s *suite) {
	s.lists(s.dir)
	s.is(s.fs.Mkdir(s.dir), fs.ErrExist)
	s.is(s.fs.Mkdir(s.path("no/sub")), fs.ErrNotExist)
	for _, name := range []string{"b", "B", "a", "10", "9"} {
		if name == "B" && caseless {
			continue
		}
		s.ok(s.create(name, "").Close())
	}
	s.ok(s.fs.Mkdir(s.path("aa")))
	s.is(s.fs.Mkdir(s.path("b")), fs.ErrExist)
	s.ok(s.create("aa/x", "").Close())
	if caseless {
		s.lists(s.dir, "10", "9", "a", "aa", "b")
	} else {
		s.lists(s.dir, "10", "9", "B", "a", "aa", "b")
	}
	s.lists(s.path("aa"), "x")
	s.lists(s.dir+string(filepath.Separator)+"."+string(filepath.Separator)+"aa", "x")
	_, err := s.fs.List(s.path("no"))
	s.is(err, fs.ErrNotExist)
	_, err = s.fs.List(s.path("a"))
	s.fails(err)
	s.ok(s.fs.SyncDir(s.dir))
	s.is(s.fs.SyncDir(s.path("no")), fs.ErrNotExist)
}

// caseless says that file systems here mostly take "b" and "B" for one name.
const caseless = runtime.GOOS == "windows" || runtime.GOOS == "darwin"

func create(s *suite) {
	f := s.create("f", "")
	s.holds(f, "")
	s.write(f, "content", 0)
	s.ok(f.Sync())
	_, err := s.fs.Create(s.path("f"))
	s.is(err, fs.ErrExist)
	_, err = s.fs.Create(s.dir)
	s.is(err, fs.ErrExist)
	_, err = s.fs.Create(s.path("no/f"))
	s.is(err, fs.ErrNotExist)
	s.holds(f, "content")
	s.ok(f.Close())
	f = s.open("f", vfs.ReadWrite)
	s.holds(f, "content")
	s.ok(f.Close())
	for _, mode := range []vfs.Mode{vfs.ReadOnly, vfs.ReadWrite} {
		_, err = s.fs.Open(s.path("no"), mode)
		s.is(err, fs.ErrNotExist)
	}
	_, err = s.fs.Open(s.dir, vfs.ReadWrite)
	s.fails(err)
}

func errorsNamePaths(s *suite) {
	no, other := s.path("no"), s.path("other")
	_, listErr := s.fs.List(no)
	_, openErr := s.fs.Open(no, vfs.ReadOnly)
	_, createErr := s.fs.Create(filepath.Join(no, "no"))
	_, lockErr := s.fs.Lock(filepath.Join(no, "no"))
	closedFile := s.create("no2", "")
	s.ok(closedFile.Close())
	for _, err := range []error{
		listErr, openErr, createErr, lockErr, closedFile.Sync(), closedFile.Close(),
		s.fs.Mkdir(filepath.Join(no, "no")), s.fs.Remove(no), s.fs.SyncDir(no),
	} {
		var path *fs.PathError
		s.that(errors.As(err, &path), "%#v is no *fs.PathError", err)
		s.that(strings.HasPrefix(path.Path, no), "%v: the path is %q", err, path.Path)
	}
	for _, err := range []error{s.fs.Rename(no, other), s.fs.Link(no, other)} {
		var link *os.LinkError
		s.that(errors.As(err, &link), "%#v is no *os.LinkError", err)
		s.that(link.Old == no && link.New == other, "%v: the paths are %q, %q", err, link.Old, link.New)
	}
}

func readWrite(s *suite) {
	f := s.create("f", "")
	p := make([]byte, 8)
	read := func(off int64, want string, wantErr error) {
		n, err := f.ReadAt(p, off)
		s.that(err == wantErr, "ReadAt %d: error %v, want %v itself", off, err, wantErr)
		s.that(string(p[:n]) == want, "ReadAt %d: %q, want %q", off, p[:n], want)
	}
	read(0, "", io.EOF)
	s.write(f, "0123456789", 0)
	read(0, "01234567", nil)
	read(2, "23456789", nil)
	read(3, "3456789", io.EOF)
	read(10, "", io.EOF)
	read(1<<40, "", io.EOF)
	s.write(f, "", 1000)
	s.write(f, "ab", 4)
	s.write(f, "xyz", 9)
	s.holds(f, "0123ab678xyz")
	n, err := f.ReadAt(nil, 1)
	s.that(n == 0 && err == nil, "ReadAt of nothing: %d, %v", n, err)
	_, err = f.ReadAt(p, -1)
	s.fails(err)
	_, err = f.WriteAt(p, -1)
	s.fails(err)

	const far = 100_000
	s.write(f, "end", far)
	s.holds(f, "0123ab678xyz"+strings.Repeat("\x00", far-12)+"end")
	buf := []byte("kept")
	_, err = f.WriteAt(buf, 0)
	s.ok(err)
	copy(buf, "lost")
	read(0, "keptab67", nil)
	s.ok(f.Sync())
	s.ok(f.Close())
}

func allocate(s *suite) {
	f := s.create("f", "abc")
	s.ok(f.Allocate(5))
	s.holds(f, "abc\x00\x00")
	s.ok(f.Allocate(0))
	s.ok(f.Allocate(4))
	s.ok(f.Allocate(5))
	s.holds(f, "abc\x00\x00")
	const size = 200_000
	s.ok(f.Allocate(size))
	s.write(f, "x", 70_000)
	s.holds(f, "abc"+strings.Repeat("\x00", 69_997)+"x"+strings.Repeat("\x00", size-70_001))
	s.ok(f.Close())
}

func writeSync(s *suite) {
	const size = 16 << 10
	f := s.create("f", "")
	s.ok(f.Allocate(size))
	s.ok(f.Sync())
	align := f.Direct()
	if align == 0 {
		s.is(f.WriteSync(make([]byte, 8), 0), errors.ErrUnsupported)
		s.ok(f.Close())
		return
	}
	s.that(align > 0 && align <= size/4 && align&(align-1) == 0, "alignment %d", align)
	s.that(f.Direct() == align, "another alignment the second time")
	a, n := int64(align), 2*align
	p := vfs.Aligned(n, align)
	s.that(len(p) == n, "Aligned returned %d bytes, want %d", len(p), n)
	for _, fill := range "xyz" { // over what is in memory, as it was read and written before
		for j := range p {
			p[j] = byte(fill)
		}
		s.write(f, "ab", a-1)
		s.ok(f.WriteSync(p, a))
		s.holds(f, strings.Repeat("\x00", align-1)+"a"+string(p)+strings.Repeat("\x00", size-3*align))
		s.write(f, "c", 3*a-1)
		s.holds(f, strings.Repeat("\x00", align-1)+"a"+string(p[1:])+"c"+strings.Repeat("\x00", size-3*align))
	}
	s.ok(f.EndDirect())
	s.is(f.WriteSync(p, 0), errors.ErrUnsupported)
	s.ok(f.EndDirect())
	s.that(f.Direct() == align, "another alignment once more")
	s.ok(f.WriteSync(p, 0))
	s.ok(f.Close())
	s.fails(f.WriteSync(p, 0))
}

func truncate(s *suite) {
	f := s.create("f", "0123456789")
	s.ok(f.Truncate(4))
	s.holds(f, "0123")
	s.ok(f.Truncate(6))
	s.holds(f, "0123\x00\x00")
	s.ok(f.Truncate(6))
	s.ok(f.Truncate(2))
	s.write(f, "z", 5)
	s.holds(f, "01\x00\x00\x00z")
	s.ok(f.Truncate(1))
	s.ok(f.Allocate(8))
	s.holds(f, "0"+strings.Repeat("\x00", 7))
	s.ok(f.Truncate(0))
	s.holds(f, "")
	s.ok(f.Truncate(3))
	s.holds(f, "\x00\x00\x00")
	s.fails(f.Truncate(-1))
	s.holds(f, "\x00\x00\x00")
	s.ok(f.Close())
}

func readOnly(s *suite) {
	s.ok(s.create("f", "abc").Close())
	f := s.open("f", vfs.ReadOnly)
	_, err := f.WriteAt([]byte("x"), 0)
	s.fails(err)
	s.fails(f.Truncate(1))
	s.fails(f.Allocate(100))
	s.holds(f, "abc")
	g := s.open("f", vfs.ReadWrite)
	s.write(g, "xyz", 1)
	s.holds(f, "axyz")
	s.ok(g.Close())
	s.ok(f.Close())
}

func rename(s *suite) {
	s.ok(s.create("a", "A").Close())
	s.ok(s.create("b", "B").Close())
	s.ok(s.fs.Rename(s.path("a"), s.path("b")))
	s.lists(s.dir, "b")
	f := s.open("b", vfs.ReadOnly)
	s.holds(f, "A")
	s.links(f, 1)
	s.ok(f.Close())
	s.is(s.fs.Rename(s.path("a"), s.path("b")), fs.ErrNotExist)
	s.is(s.fs.Rename(s.path("b"), s.path("no/b")), fs.ErrNotExist)
	s.ok(s.fs.Rename(s.path("b"), s.path("b")))
	s.ok(s.fs.Mkdir(s.path("d")))
	s.fails(s.fs.Rename(s.path("b"), s.path("d")))
	s.lists(s.dir, "b", "d")
}

// renameOpen is about files that are open when they get or lose a name.
func renameOpen(s *suite) {
	f := s.create("tmp", "one")
	s.ok(s.fs.Rename(s.path("tmp"), s.path("seg")))
	s.write(f, "two", 3)
	s.ok(f.Sync())
	g := s.open("seg", vfs.ReadOnly)
	s.holds(g, "onetwo")
	s.ok(f.Close())
	if runtime.GOOS != "windows" {
		s.ok(s.create("new", "new").Close())
		s.ok(s.fs.Rename(s.path("new"), s.path("seg")))
		s.holds(g, "onetwo")
		s.links(g, 0)
		h := s.open("seg", vfs.ReadOnly)
		s.holds(h, "new")
		s.ok(h.Close())
	}
	s.ok(g.Close())
}

func remove(s *suite) {
	s.ok(s.create("a", "A").Close())
	s.ok(s.fs.Remove(s.path("a")))
	s.is(s.fs.Remove(s.path("a")), fs.ErrNotExist)
	_, err := s.fs.Open(s.path("a"), vfs.ReadOnly)
	s.is(err, fs.ErrNotExist)
	s.lists(s.dir)
	f := s.create("a", "")
	s.holds(f, "")
	s.ok(f.Close())
}

// removeOpen is about files that are open when they lose their last name.
func removeOpen(s *suite) {
	if runtime.GOOS == "windows" {
		return
	}
	f := s.create("f", "abc")
	s.ok(s.fs.Remove(s.path("f")))
	s.links(f, 0)
	s.write(f, "def", 3)
	s.ok(f.Sync())
	g := s.create("f", "new")
	s.holds(f, "abcdef")
	s.holds(g, "new")
	s.ok(f.Close())
	s.holds(g, "new")
	s.ok(g.Close())
}

func link(s *suite) {
	f := s.create("a", "A")
	s.links(f, 1)
	s.ok(s.fs.Mkdir(s.path("d")))
	s.ok(s.fs.Link(s.path("a"), s.path("d/b")))
	s.links(f, 2)
	s.is(s.fs.Link(s.path("a"), s.path("d/b")), fs.ErrExist)
	s.is(s.fs.Link(s.path("no"), s.path("c")), fs.ErrNotExist)
	s.is(s.fs.Link(s.path("a"), s.path("no/c")), fs.ErrNotExist)
	if runtime.GOOS != "windows" {
		s.ok(s.fs.Link(s.path("a"), s.path("c")))
		s.ok(s.fs.Rename(s.path("a"), s.path("c"))) // names of one file: both stay
		s.lists(s.dir, "a", "c", "d")
		s.ok(s.fs.Remove(s.path("c")))
	}
	g := s.open("d/b", vfs.ReadWrite)
	s.write(g, "BC", 1)
	s.holds(f, "ABC")
	s.ok(g.Close())
	s.ok(f.Close())
	s.ok(s.fs.Remove(s.path("a")))
	g = s.open("d/b", vfs.ReadOnly)
	s.holds(g, "ABC")
	s.links(g, 1)
	s.ok(g.Close())
}

func lock(s *suite) {
	l, err := s.fs.Lock(s.path("LOCK"))
	s.ok(err)
	for range 2 {
		_, err = s.fs.Lock(s.path("LOCK"))
		s.is(err, vfs.ErrLocked)
	}
	other, err := s.fs.Lock(s.path("OTHER"))
	s.ok(err)
	s.ok(l.Close())
	s.lists(s.dir, "LOCK", "OTHER")
	l, err = s.fs.Lock(s.path("LOCK"))
	s.ok(err)
	_, err = s.fs.Lock(s.path("OTHER"))
	s.is(err, vfs.ErrLocked)
	s.ok(other.Close())
	s.is(other.Close(), fs.ErrClosed)
	s.ok(l.Close())

	s.ok(s.create("file", "content").Close())
	l, err = s.fs.Lock(s.path("file"))
	s.ok(err)
	s.ok(l.Close())
	f := s.open("file", vfs.ReadOnly)
	s.holds(f, "content")
	s.ok(f.Close())
	_, err = s.fs.Lock(s.path("no/LOCK"))
	s.is(err, fs.ErrNotExist)
}

func closed(s *suite) {
	f := s.create("f", "abc")
	s.ok(f.Close())
	s.is(f.Close(), fs.ErrClosed)
	_, err := f.ReadAt(make([]byte, 1), 0)
	s.is(err, fs.ErrClosed)
	_, err = f.WriteAt([]byte("x"), 0)
	s.is(err, fs.ErrClosed)
	_, err = f.Stat()
	s.is(err, fs.ErrClosed)
	s.is(f.Allocate(100), fs.ErrClosed)
	s.is(f.Truncate(0), fs.ErrClosed)
	s.is(f.Sync(), fs.ErrClosed)
	f = s.open("f", vfs.ReadOnly)
	s.holds(f, "abc")
	s.ok(f.Close())
}

// concurrent writes and reads disjoint ranges of one file that grows meanwhile.
func concurrent(s *suite) {
	const workers, rounds, size = 8, 50, 700
	f := s.create("f", "")
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			p, q := bytes.Repeat([]byte{byte(w + 1)}, size), make([]byte, size)
			for r := range rounds {
				off := int64((r*workers + w) * size)
				_, err := f.WriteAt(p, off)
				if err == nil {
					_, err = f.ReadAt(q, off)
				}
				if err == nil && !bytes.Equal(p, q) {
					err = errors.New("read other than was written")
				}
				if err != nil {
					errs[w] = err
					return
				}
				f.Sync()
				f.Stat()
			}
		})
	}
	wg.Wait()
	s.ok(errors.Join(errs...))
	var want strings.Builder
	for i := range rounds * workers {
		want.WriteString(strings.Repeat(string(rune(i%workers+1)), size))
	}
	s.holds(f, want.String())
	s.ok(f.Close())
}
