package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// verified is one state of a directory, and what verify says of it.
type verified struct {
	name string
	make func(t *testing.T) vfs.FS
	exit int
	says string // in its output or its error
}

// after returns a log of three segments that was closed in order, and then
// changed.
func after(change func(t *testing.T, fsys *vfs.Mem)) func(*testing.T) vfs.FS {
	return func(t *testing.T) vfs.FS {
		fsys := threeSegments(t)
		change(t, fsys)
		return fsys
	}
}

// afterCrash returns a log that a crash left, and that was then changed.
func afterCrash(change func(t *testing.T, fsys *vfs.Mem)) func(*testing.T) vfs.FS {
	return func(t *testing.T) vfs.FS {
		fsys := crashed(t, "one", "two", strings.Repeat("three", 500))
		change(t, fsys)
		return fsys
	}
}

var verdicts = []verified{
	{"closed in order", after(func(t *testing.T, fsys *vfs.Mem) {}), 0, "closed in order"},
	{"strays", after(func(t *testing.T, fsys *vfs.Mem) { write(t, fsys, "log/README", nil) }), 0, "README"},
	{"one copy of a header", after(func(t *testing.T, fsys *vfs.Mem) { zero(t, fsys, path(2), 0, 2048) }), 0, "sound"},
	{"process died", afterCrash(func(t *testing.T, fsys *vfs.Mem) {}), 0, "Open would: write 0000000000000001.seg"},
	{"index of a seal", after(func(t *testing.T, fsys *vfs.Mem) {
		b := read(t, fsys, path(1))
		b[len(b)-1] ^= 1
		write(t, fsys, path(1), b)
	}), 0, "sound"},
	{"segment made ready", afterCrash(func(t *testing.T, fsys *vfs.Mem) {
		b := read(t, fsys, path(1))
		h := must(segment.DecodeHeader(b, path(1)))
		h.ID = 2
		write(t, fsys, path(2), append(h.Encode(), make([]byte, h.Size-segment.HeaderSize)...))
	}), 0, "remove 0000000000000002.seg"},

	{"missing directory", func(t *testing.T) vfs.FS { return vfs.NewMem() }, 1, "list log"},
	{"empty directory", func(t *testing.T) vfs.FS { return emptyDir(t) }, 1, "log is not a log's directory"},
	{"other files", func(t *testing.T) vfs.FS {
		fsys := emptyDir(t)
		write(t, fsys, "log/main.go", []byte("package main"))
		return fsys
	}, 1, "log is not a log's directory"},
	{"segment with another's name", after(func(t *testing.T, fsys *vfs.Mem) { write(t, fsys, "log/1.seg", nil) }), 1, "log/1.seg: not a segment's name"},
	{"newer version of a segment", after(func(t *testing.T, fsys *vfs.Mem) {
		b := read(t, fsys, path(3))
		b[8], b[2048+8] = 2, 2
		write(t, fsys, path(3), b)
	}), 1, "version 2 is not known"},
	{"newer version of FRONT", after(func(t *testing.T, fsys *vfs.Mem) {
		b := read(t, fsys, "log/FRONT")
		b[8], b[4096+8] = 7, 7
		write(t, fsys, "log/FRONT", b)
	}), 1, "version 7 is not known"},
	{"unreadable", func(t *testing.T) vfs.FS {
		fsys := vfs.NewFaulty(threeSegments(t))
		fsys.Set(vfs.Fault{Sticky: true, Match: func(c vfs.Call) bool { return c.Op == vfs.ReadAt && c.Name == path(2) }})
		return fsys
	}, 1, syscall.EIO.Error()},

	{"record in a sealed segment", after(func(t *testing.T, fsys *vfs.Mem) { flip(t, fsys, path(1), "two") }), 2, "records 1 to 1"},
	{"record below the watermark", after(func(t *testing.T, fsys *vfs.Mem) { flip(t, fsys, path(3), "five") }), 2, "records 1 to 4"},
	{"missing segment", after(func(t *testing.T, fsys *vfs.Mem) { remove(t, fsys, path(2)) }), 2, "the file is missing"},
	{"missing oldest segment", after(func(t *testing.T, fsys *vfs.Mem) { remove(t, fsys, path(1)) }), 2, "the file is missing"},
	{"missing only segment", afterCrash(func(t *testing.T, fsys *vfs.Mem) { remove(t, fsys, path(1)) }), 2, "the file is missing"},
	{"missing newest segment", after(func(t *testing.T, fsys *vfs.Mem) { remove(t, fsys, path(3)) }), 2, "the segment that follows is not there"},
	{"missing FRONT", after(func(t *testing.T, fsys *vfs.Mem) { remove(t, fsys, "log/FRONT") }), 2, "log/FRONT"},
	{"both slots of FRONT", after(func(t *testing.T, fsys *vfs.Mem) { zero(t, fsys, "log/FRONT", 0, 8192) }), 2, "neither slot verifies"},
	{"header", after(func(t *testing.T, fsys *vfs.Mem) { zero(t, fsys, path(2), 0, 4096) }), 2, "neither copy of the header"},
	{"opening group that was durable", after(func(t *testing.T, fsys *vfs.Mem) { zero(t, fsys, path(3), 4096, 4200) }), 2, path(3)},
	{"segment cut short", after(func(t *testing.T, fsys *vfs.Mem) { write(t, fsys, path(1), read(t, fsys, path(1))[:4300]) }), 2, path(1)},
	{"active segment cut short", afterCrash(func(t *testing.T, fsys *vfs.Mem) {
		write(t, fsys, path(1), read(t, fsys, path(1))[:5000])
	}), 2, "it has 5000 bytes of at least 65536"},
	{"last segment of a closed log cut short", after(func(t *testing.T, fsys *vfs.Mem) {
		write(t, fsys, path(3), read(t, fsys, path(3))[:4480])
	}), 2, "it has 4480 bytes of at least 4544"},
	{"segment of another log", after(func(t *testing.T, fsys *vfs.Mem) {
		write(t, fsys, path(2), read(t, threeSegments(t), path(2)))
	}), 2, "of log"},
	{"segment under another's name", after(func(t *testing.T, fsys *vfs.Mem) {
		write(t, fsys, path(2), read(t, fsys, path(1)))
	}), 2, "header is of segment 1"},

	{"one slot of FRONT", after(func(t *testing.T, fsys *vfs.Mem) { zero(t, fsys, "log/FRONT", 0, 4096) }), 3, "one slot of FRONT is damaged"},
	{"one bit of the last group, unclaimed", afterCrash(func(t *testing.T, fsys *vfs.Mem) { flip(t, fsys, path(1), "three") }), 3, "one bit"},
	{"a header that never arrived", afterCrash(func(t *testing.T, fsys *vfs.Mem) { zero(t, fsys, path(1), 4416, 4608) }), 3, "tail torn"},
	{"zero sectors, which a record may hold", afterCrash(func(t *testing.T, fsys *vfs.Mem) { zero(t, fsys, path(1), 4608, 6144) }), 3, "tail ambiguous"},
	{"last group, unclaimed", afterCrash(func(t *testing.T, fsys *vfs.Mem) {
		b := read(t, fsys, path(1))
		copy(b[5000:], "?!*?!*")
		write(t, fsys, path(1), b)
	}), 3, "tail ambiguous"},
}

func emptyDir(t *testing.T) *vfs.Mem {
	fsys := vfs.NewMem()
	require.NoError(t, fsys.Mkdir(dir))
	return fsys
}

func remove(t *testing.T, fsys vfs.FS, name string) { require.NoError(t, fsys.Remove(name)) }

func TestVerifyTellsByItsExitCode(t *testing.T) {
	for _, v := range verdicts {
		t.Run(strings.ReplaceAll(v.name, " ", "-"), func(t *testing.T) {
			r := walctl(v.make(t), "", "verify", dir)
			require.Equal(t, v.exit, r.exit, "%s%s", r.out, r.errors)
			require.Contains(t, r.out+r.errors, v.says)
			require.Equal(t, v.exit == exitError, r.errors != "", "an error, and nothing but an error, goes to standard error: %s", r.errors)
		})
	}
}

// What verify finds, Open finds, or whoever reads what Open had no need to read.
func TestOpenOrReadingAgreesWithVerify(t *testing.T) {
	for _, v := range verdicts {
		t.Run(strings.ReplaceAll(v.name, " ", "-"), func(t *testing.T) {
			err := openAndRead(&wal.Options{FS: v.make(t), MustExist: v.exit == exitError})
			switch v.exit {
			case exitSound, exitTorn:
				require.NoError(t, err)
			case exitCorrupt:
				require.ErrorIs(t, err, wal.ErrCorrupt)
			default:
				require.Error(t, err)
				require.False(t, errors.Is(err, wal.ErrCorrupt), "%v", err)
			}
		})
	}
}

func openAndRead(o *wal.Options) error {
	l, err := wal.Open(dir, o)
	if err != nil {
		return err
	}
	for _, rerr := range l.Records(l.FirstLSN()) {
		err = rerr
	}
	return errors.Join(err, l.Close())
}

func TestVerifySaysWhetherOpenWouldNotice(t *testing.T) {
	old := threeSegments(t)
	flip(t, old, path(1), "two")
	require.Contains(t, walctl(old, "", "verify", dir).out, "takes this log; reading what is damaged fails")
	fresh := threeSegments(t)
	flip(t, fresh, path(3), "five")
	require.Contains(t, walctl(fresh, "", "verify", dir).out, "Open refuses this log")
}

// What verify says of a point-in-time recovery is what one does.
func TestPointInTimeKeepsWhatVerifySays(t *testing.T) {
	for _, v := range verdicts {
		if v.exit != exitCorrupt {
			continue
		}
		t.Run(strings.ReplaceAll(v.name, " ", "-"), func(t *testing.T) {
			fsys := v.make(t)
			before := must(fsys.List(dir))
			_, said, _ := strings.Cut(walctl(fsys, "", "verify", dir).out, "a point-in-time recovery would keep ")
			said, _, _ = strings.Cut(said, ",")
			l, err := wal.Open(dir, &wal.Options{FS: fsys, SegmentSize: 8 << 10, Recovery: wal.PointInTime})
			require.NoError(t, err)
			kept, _, _ := strings.Cut(span(l.FirstLSN(), l.LastLSN()), ",")
			require.Equal(t, said, kept)
			appendAll(t, l, "it goes on")
			require.NoError(t, l.Close())
			require.Equal(t, 0, walctl(fsys, "", "verify", dir).exit)
			after := must(fsys.List(dir))
			for _, name := range before {
				require.True(t, slices.Contains(after, name) || slices.Contains(after, name+segment.QuarantinedExt), name)
			}
		})
	}
}

func TestNothingButAppendWrites(t *testing.T) {
	for _, v := range verdicts {
		t.Run(strings.ReplaceAll(v.name, " ", "-"), func(t *testing.T) {
			trace := vfs.NewTrace(v.make(t))
			trace.Except(vfs.Close)
			trace.Also(vfs.Lock)
			for _, cmd := range []string{"ls", "dump", "verify"} {
				walctl(trace, "", cmd, dir)
			}
			require.Empty(t, trace.Take())
		})
	}
}

func TestLsAndDumpShowWhatIsDamaged(t *testing.T) {
	for _, v := range verdicts {
		if v.exit != exitCorrupt && v.exit != exitTorn {
			continue
		}
		t.Run(strings.ReplaceAll(v.name, " ", "-"), func(t *testing.T) {
			fsys := v.make(t)
			for _, cmd := range []string{"ls", "dump"} {
				r := walctl(fsys, "", cmd, dir)
				require.Equal(t, 0, r.exit, "%s%s", r.out, r.errors)
				require.Contains(t, r.out, "FRONT")
			}
		})
	}
}

func TestExpectDecidesWhatIsAmbiguous(t *testing.T) {
	fsys := crashed(t, "one", "two", "three")
	flip(t, fsys, path(1), "three")
	b := read(t, fsys, path(1))
	copy(b[4480:], "damaged!") // more than one bit: it cannot be put right
	write(t, fsys, path(1), b)
	require.Equal(t, 3, walctl(fsys, "", "verify", dir).exit)
	require.Equal(t, 3, walctl(fsys, "", "verify", dir, "-expect", "2").exit)
	require.Equal(t, 2, walctl(fsys, "", "verify", "-expect", "3", dir).exit)
}

func TestBehindTwoDashesThereAreNoFlags(t *testing.T) {
	require.Contains(t, walctl(threeSegments(t), "", "ls", "--", "-x").errors, "list -x")
	require.Contains(t, walctl(threeSegments(t), "", "dump", "--", dir, "-x").errors, "got 2 arguments")
}

// A segment that was reset away and whose file is still there.
func TestLsTellsWhatIsDead(t *testing.T) {
	fsys := vfs.NewMem()
	inStillTime(t, func(t *testing.T) {
		l := open(t, fsys)
		appendAll(t, l, "one")
		was := read(t, fsys, path(1))
		require.NoError(t, l.Reset(10))
		appendAll(t, l, "ten")
		require.NoError(t, l.Close())
		write(t, fsys, path(1), was)
	})
	require.Regexp(t, `0000000000000001 .* dead `, walctl(fsys, "", "ls", dir).out)
	require.Regexp(t, `0000000000000002 .* active `, walctl(fsys, "", "ls", dir).out)
}

// A segment is followed by the one that names it with its salt, not by one that
// names another file of its id.
func TestLsKnowsASegmentByItsSalt(t *testing.T) {
	fsys := threeSegments(t)
	write(t, fsys, path(1), read(t, crashed(t, "another"), path(1)))
	require.Regexp(t, `0000000000000001 .* active `, walctl(fsys, "", "ls", dir).out)
}

func TestExpectBeyondTheEndIsCorruption(t *testing.T) {
	r := walctl(crashed(t, "one", "two"), "", "verify", "-expect", "7", dir)
	require.Equal(t, 2, r.exit)
	require.Contains(t, r.out, "Open refuses this log")
	require.Contains(t, r.out, "would keep records 1 to 2")
}

// A write under way looks like a torn tail until the log has moved on.
func TestVerifyWaitsOutAWriteUnderWay(t *testing.T) {
	mem := crashed(t, "one", "two", strings.Repeat("three", 500))
	whole := read(t, mem, path(1))
	zero(t, mem, path(1), 4608, 6144)
	looks := 0
	writer := vfs.Wrap(mem, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		if c.Op == vfs.List {
			if looks++; looks == 2 {
				write(t, mem, path(1), whole)
			}
		}
		return do(int(c.Size))
	})
	r := walctl(writer, "", "verify", dir)
	require.Equal(t, 0, r.exit, r.out)
	require.Contains(t, r.out, "a writer is at work")
}

// A writer may remove a segment between the listing and the look at it.
func TestSegmentRemovedMeanwhileIsNoError(t *testing.T) {
	for _, cmd := range []string{"ls", "dump", "verify"} {
		for at := range 2 {
			fsys := vfs.NewFaulty(threeSegments(t))
			fsys.Set(vfs.Fault{At: at, Err: fs.ErrNotExist, Match: func(c vfs.Call) bool { return c.Op == vfs.Open && c.Name == path(1) }})
			r := walctl(fsys, "", cmd, dir)
			require.Equal(t, 0, r.exit, "%s, %d: %s%s", cmd, at, r.out, r.errors)
		}
	}
}

// walctl on the operating system beside a writer that appends, rotates and truncates.
func TestLookingBesideALiveWriter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l, err := wal.Open(dir, &wal.Options{SegmentSize: 8 << 10})
	require.NoError(t, err)
	_, err = l.Append([]byte("first"))
	require.NoError(t, err)
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			_, err := l.Append([]byte(strings.Repeat("x", n%700)))
			if err == nil && n%50 == 49 {
				err = l.TruncateFront(l.LastLSN() - 20)
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	for n := range 60 {
		for _, cmd := range []string{"ls", "dump", "verify"} {
			var out, errs strings.Builder
			exit := run([]string{cmd, dir}, nil, &out, &errs)
			allowed := []int{0}
			if cmd == "verify" {
				allowed = []int{0, 3} // the writer may be slower than two looks
			}
			require.True(t, slices.Contains(allowed, exit), "%d: %s: exit %d: %s%s", n, cmd, exit, out.String(), errs.String())
		}
	}
	close(stop)
	require.NoError(t, <-done)
	require.NoError(t, l.Close())
	require.Equal(t, 0, run([]string{"verify", dir}, nil, io.Discard, io.Discard))
}

func TestReadOnlyMedium(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	require.Equal(t, 0, run([]string{"append", dir}, strings.NewReader("a\nb\n"), io.Discard, io.Discard))
	require.NoError(t, os.Remove(filepath.Join(dir, segment.LockName)))
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, n := range names {
		require.NoError(t, os.Chmod(filepath.Join(dir, n.Name()), 0o444))
	}
	require.NoError(t, os.Chmod(dir, 0o555))
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
	for _, cmd := range []string{"ls", "dump", "verify"} {
		var errs strings.Builder
		require.Equal(t, 0, run([]string{cmd, dir}, nil, io.Discard, &errs), errs.String())
	}
	after, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, after, len(names))
}

func TestBadUsage(t *testing.T) {
	for line, says := range map[string]string{
		"":                          "Only append writes",
		"list log":                  `no command "list"`,
		"help list":                 `no command "list"`,
		"ls":                        "ls: got 0 arguments, want: walctl ls DIR",
		"ls log other":              "got 2 arguments",
		"verify -expect x log":      `invalid value "x"`,
		"dump -q log":               "flag provided but not defined: -q",
		"dump nowhere":              "nowhere",
		"ls nowhere":                "nowhere",
		"append -batch 0 log":       "-batch is 0",
		"append -segment-size 9 x":  "SegmentSize is 9",
		"append log no-such-file":   "no-such-file",
		"dump log/FRONT":            "log/FRONT",
		"dump log/short":            "neither copy of the header",
		"append log -segment-size":  "flag needs an argument",
		"verify log/FRONT -expect=": "invalid value",
	} {
		t.Run(line, func(t *testing.T) {
			fsys := threeSegments(t)
			write(t, fsys, "log/short", []byte("TIDEMARK"))
			r := walctl(fsys, "", strings.Fields(line)...)
			require.Contains(t, r.out+r.errors, says)
			if !strings.HasPrefix(line, "dump log/") {
				require.Equal(t, 1, r.exit, "%s%s", r.out, r.errors)
			}
		})
	}
}

func TestAppendThatFailsSaysWhatIsDurable(t *testing.T) {
	cases := map[string]struct {
		args  string
		stdin io.Reader
		fault vfs.Fault
		says  string
	}{
		"line too long": {"append log -segment-size 8192", io.MultiReader(strings.NewReader("a\nb\n"), io.LimitReader(zeros{}, wal.DefaultMaxRecordSize+1)),
			vfs.Fault{At: -1}, "standard input, line 3: longer than 16777216 bytes; durable are the first 2 lines, records 1 to 2"},
		"input fails": {"append log -segment-size 8192", io.MultiReader(strings.NewReader("a\nb\nc\n"), failing{}),
			vfs.Fault{At: -1}, "line 4: the cable is out; durable are the first 3 lines, records 1 to 3"},
		"sync fails": {"append log -segment-size 8192", strings.NewReader("a\n"),
			vfs.Fault{Sticky: true, Match: func(c vfs.Call) bool { return c.Op == vfs.Sync && c.Name == path(1) }}, "durable are the first 0 lines"},
		"no space": {"append log -segment-size 8192", strings.NewReader("a\n"),
			vfs.Fault{Err: syscall.ENOSPC, Sticky: true, Match: func(c vfs.Call) bool { return c.Op == vfs.Allocate }}, "no space"},
	}
	for name, c := range cases {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			fsys := vfs.NewFaulty(vfs.NewMem())
			fsys.Set(c.fault)
			var errs strings.Builder
			exit := runOn(fsys, strings.Fields(c.args), c.stdin, io.Discard, &errs)
			require.Equal(t, 1, exit)
			require.Contains(t, errs.String(), c.says)
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the cable is out") }

func TestAppendRefusesWhatIsNotItsOwn(t *testing.T) {
	fsys := threeSegments(t)
	flip(t, fsys, path(3), "five")
	before := fsys.Hash()
	r := walctl(fsys, "x\n", "append", dir)
	require.Equal(t, 2, r.exit)
	require.Contains(t, r.errors, path(3))
	require.Equal(t, before, fsys.Hash())

	fsys = threeSegments(t)
	l := open(t, fsys)
	defer l.Close()
	require.Contains(t, walctl(fsys, "x\n", "append", dir).errors, "open elsewhere")
}

func TestAppendReadsAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lines")
	require.NoError(t, os.WriteFile(file, []byte("a\nb\n"), 0o666))
	fsys := vfs.NewMem()
	require.Contains(t, walctl(fsys, "", "append", dir, file).out, "2 lines, 2 bytes, durable: records 1 to 2")
	require.Equal(t, 0, walctl(fsys, "", "verify", dir).exit)
}

func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	var errs strings.Builder
	require.Equal(t, 1, runOn(threeSegments(t), []string{"ls", dir}, nil, full{}, &errs))
	require.Contains(t, errs.String(), "pipe is closed")
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, fmt.Errorf("the pipe is closed") }
