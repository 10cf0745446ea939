package kill

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// scripts are what processes do under strace, from the first call to the last.
var scripts = []struct {
	name string
	work Work
	torn bool // the log is there, and was left in the middle of an append
}{
	{"create", Work{Ops: "ambAr"}, false},
	{"recover", Work{Ops: "aca"}, true},
	{"truncate", Work{Ops: "aabrmfkaxRa"}, false},
	{"unwaited", Work{Ops: "ddbdsdmrdcd", Sync: wal.SyncNone}, false},
	{"interval", Work{Ops: "adbfxdrd", Sync: wal.SyncInterval}, false},
	{"rotations", Work{Ops: "bbbbmbbbbbfbbbkbbb", SegmentSize: 8 << 10}, false},
	{"again", Work{Ops: "aRabraRbarkabra"}, false},
	{"direct", Work{Ops: "aaRabramdakbaxRaac", Direct: true}, false},
	{"bulk", Work{Ops: "aBsLsc", SegmentSize: 8 << 20, Sync: wal.SyncInterval}, false},
}

// killedAt are the calls that change something.
var killedAt = []string{"mkdirat", "openat", "fallocate", "pwrite64", "sync_file_range", "fdatasync", "renameat", "fsync", "ftruncate", "unlinkat"}

// failedAt are calls and what they may return in place of being done.
var failedAt = []struct {
	call  string
	errno syscall.Errno
}{
	{"fdatasync", syscall.EIO}, {"pwrite64", syscall.ENOSPC}, {"fallocate", syscall.ENOSPC}, {"renameat", syscall.EIO},
	{"pwrite64", syscall.EIO}, {"fallocate", syscall.EIO}, {"fdatasync", syscall.ENOSPC}, {"fsync", syscall.EIO},
	{"openat", syscall.EMFILE}, {"ftruncate", syscall.EIO}, {"unlinkat", syscall.EIO}, {"pread64", syscall.EIO}, {"pwrite64", syscall.EDQUOT},
	{"sync_file_range", syscall.EIO}, {"sync_file_range", syscall.ENOSPC},
}

var errnoNames = map[syscall.Errno]string{syscall.EIO: "EIO", syscall.ENOSPC: "ENOSPC", syscall.EMFILE: "EMFILE", syscall.EDQUOT: "EDQUOT"}

// traced is the processes of one script under strace.
type traced struct {
	t     *testing.T
	dir   string // beside others
	work  Work
	image string // the directory of the log as it is at the start; "": there is none
	state state  // and what it holds

	runs, records, hits int
}

func newTraced(t *testing.T, i int) *traced {
	s := &traced{t: t, dir: t.TempDir(), work: scripts[i].work}
	s.work.Dir = filepath.Join(s.dir, "log")
	s.work.SegmentSize = cmp.Or(s.work.SegmentSize, 32<<10)
	if scripts[i].torn {
		s.tear()
	}
	return s
}

// needStrace skips the test where there is no strace, or it may not trace; at the scales
// that are for machines of our own it must.
func needStrace(t *testing.T) {
	t.Helper()
	out, err := exec.Command("strace", "-o", os.DevNull, "true").CombinedOutput()
	if err == nil {
		return
	}
	text := fmt.Sprintf("NOT TESTED: a crash and an error at each call of the system need strace (apt-get install strace) and leave to trace: %v: %s", err, out)
	if scale.Of(t) >= scale.CI {
		t.Fatal(text)
	}
	t.Skip(text)
}

// tear makes the log that the script begins with: a process was killed in the middle of
// an append, and of that some bytes did not reach the disk.
func (s *traced) tear() {
	work := s.work
	s.work.Ops = "aabmaa"
	p, killed := s.process("fdatasync", "signal=SIGKILL", 100, NewModel(1))
	require.False(s.t, killed)
	n := p.counts["i"]
	syncs := 0
	for at := 1; ; at++ { // the last sync before Close
		require.NoError(s.t, os.RemoveAll(s.work.Dir))
		if p, killed = s.process("fdatasync", "signal=SIGKILL", at, NewModel(1)); !killed || p.counts["ic"] > 0 {
			break
		}
		syncs = at
	}
	require.NoError(s.t, os.RemoveAll(s.work.Dir))
	p, killed = s.process("fdatasync", "signal=SIGKILL", syncs, NewModel(1))
	require.True(s.t, killed && p.counts["i"] == n-1 && len(p.model.ops) > 0, "the last append is not under way")
	last := p.model.ops[len(p.model.ops)-1]
	s.damage(Data(last.ID, 0, last.N))
	require.NoError(s.t, p.found(s.work.Dir, wal.Options{ReadOnly: true}, true, 0), "what was torn was durable")
	s.state = p.model.base
	s.image = filepath.Join(s.dir, "image")
	require.NoError(s.t, os.CopyFS(s.image, os.DirFS(s.work.Dir)))
	s.work = work
}

// damage zeroes the middle of that record, wherever it is.
func (s *traced) damage(record []byte) {
	names, err := filepath.Glob(filepath.Join(s.work.Dir, "*"+segment.Ext))
	require.NoError(s.t, err)
	for _, name := range names {
		b, err := os.ReadFile(name)
		require.NoError(s.t, err)
		if at := bytes.Index(b, record); at >= 0 {
			clear(b[at+5 : at+20])
			require.NoError(s.t, os.WriteFile(name, b, 0o644))
			return
		}
	}
	s.t.Fatal("the record under way is nowhere")
}

var attached = regexp.MustCompile(`Process \d+ attached`)

// process runs the script under strace, which tampers with the nth of those calls, and
// reports whether the process was killed.
func (s *traced) process(call, tamper string, n int, m *Model) (p *process, killed bool) {
	s.t.Helper()
	p = start(s.t, m, job{Work: s.work, OneThread: true})
	require.True(s.t, p.until("t", 1), "the process ended: %v", &p.stderr)
	cmd := exec.Command("strace", "-p", fmt.Sprint(p.tid), "-o", os.DevNull, "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:%s:when=%d", call, tamper, n))
	out, err := cmd.StderrPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, cmd.Start())
	lines := bufio.NewScanner(out)
	said := ""
	for !attached.MatchString(said) {
		require.True(s.t, lines.Scan(), "strace: %s", said)
		said += lines.Text() + "\n"
	}
	_, err = p.stdin.Write([]byte("\n"))
	require.NoError(s.t, err)
	err = p.end()
	for lines.Scan() {
		said += lines.Text() + "\n"
	}
	_ = cmd.Wait() // it ends as the process does
	require.NoError(s.t, err, "%s %s %d; strace: %s", call, tamper, n, said)
	return p, !p.cmd.ProcessState.Exited()
}

// once runs the script, with one call tampered with, and judges what is left. It reports
// whether there were as many calls.
func (s *traced) once(call, tamper string, n int) bool {
	s.t.Helper()
	require.NoError(s.t, os.RemoveAll(s.work.Dir))
	m := NewModel(1)
	if s.image != "" {
		require.NoError(s.t, os.CopyFS(s.work.Dir, os.DirFS(s.image)))
		m.begin(s.state)
	}
	p, killed := s.process(call, tamper, n, m)
	hit := killed || p.counts["r"]+p.counts["u"] > 0
	s.runs++
	if hit {
		s.hits++
	}
	s.records += m.Records + m.Copied
	err := p.found(s.work.Dir, wal.Options{ReadOnly: true}, false, 0)
	if !errors.Is(err, fs.ErrNotExist) || m.Records+m.Copied > 0 {
		require.NoError(s.t, err, "read-only, %s %s %d", call, tamper, n)
	}
	require.NoError(s.t, p.found(s.work.Dir, wal.Options{SegmentSize: s.work.SegmentSize}, false, 1<<60), "%s %s %d", call, tamper, n)
	return hit
}

// count returns how many of each of those calls the script makes.
func (s *traced) count(calls []string) map[string]int {
	counts := map[string]int{}
	for _, call := range calls {
		counts[call] = 0
	}
	trace := filepath.Join(s.dir, "trace")
	require.NoError(s.t, os.RemoveAll(s.work.Dir))
	m := NewModel(1)
	if s.image != "" {
		require.NoError(s.t, os.CopyFS(s.work.Dir, os.DirFS(s.image)))
		m.begin(s.state)
	}
	p := start(s.t, m, job{Work: s.work, OneThread: true})
	require.True(s.t, p.until("t", 1), "the process ended: %v", &p.stderr)
	cmd := exec.Command("strace", "-p", fmt.Sprint(p.tid), "-o", trace, "-e", "trace="+strings.Join(calls, ","))
	out, err := cmd.StderrPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, cmd.Start())
	lines := bufio.NewScanner(out)
	require.True(s.t, lines.Scan())
	require.Regexp(s.t, attached, lines.Text())
	_, err = p.stdin.Write([]byte("\n"))
	require.NoError(s.t, err)
	require.NoError(s.t, p.end())
	_ = cmd.Wait()
	text, err := os.ReadFile(trace)
	require.NoError(s.t, err)
	for line := range strings.Lines(string(text)) {
		if call, _, ok := strings.Cut(line, "("); ok {
			counts[call]++
		}
	}
	return counts
}

func TestProcessKilledAtEachCallLosesNothing(t *testing.T) {
	needStrace(t)
	began := time.Now()
	runs, calls, records := 0, 0, 0
	for i := range scripts[:scale.Pick(t, 1, 2, len(scripts), len(scripts))] {
		t.Run(scripts[i].name, func(t *testing.T) {
			s := newTraced(t, i)
			counts := s.count(killedAt)
			step := scale.Pick(t, 7, 5, 1, 1)
			for _, call := range killedAt {
				calls += counts[call]
				n := 1
				for ; n <= counts[call] || step == 1; n += step {
					if !s.once(call, "signal=SIGKILL", n) {
						break
					}
				}
				require.Greater(t, n, counts[call]*3/4, "%s: a process that was to be killed ended", call)
			}
			runs, records = runs+s.hits, records+s.records
			t.Logf("%s: %d processes killed at the entry of a call, %v", scripts[i].name, s.hits, counts)
		})
	}
	t.Logf("%d processes killed, at the calls of %d; %d records acknowledged, 0 of them lost; %.1fs", runs, calls, records, time.Since(began).Seconds())
	require.GreaterOrEqual(t, runs, scale.Pick(t, 5, 20, 450, 450))
	require.GreaterOrEqual(t, records, runs)
}

func TestErrorOfEachCallIsReportedAsDocumented(t *testing.T) {
	needStrace(t)
	began := time.Now()
	runs, told := 0, 0
	for i := range scripts[:scale.Pick(t, 1, 1, len(scripts), len(scripts))] {
		t.Run(scripts[i].name, func(t *testing.T) {
			s := newTraced(t, i)
			counts := s.count(slices.Collect(maps.Keys(failing())))
			for _, f := range failedAt[:scale.Pick(t, 1, 4, len(failedAt), len(failedAt))] {
				s.work.Cause = f.errno
				for n := 1; n <= counts[f.call]; n += scale.Pick(t, 9, 7, 5, 1) {
					s.once(f.call, "error="+errnoNames[f.errno], n)
				}
			}
			runs, told = runs+s.runs, told+s.hits
			require.Positive(t, s.hits, "no error was ever reported")
		})
	}
	t.Logf("%d errors of calls, of which %d were told to a caller; %.1fs", runs, told, time.Since(began).Seconds())
	require.GreaterOrEqual(t, runs, scale.Pick(t, 1, 5, 200, 1_000))
	require.GreaterOrEqual(t, told, runs/2)
}

// failing returns the calls that fail.
func failing() map[string]bool {
	calls := map[string]bool{}
	for _, f := range failedAt {
		calls[f.call] = true
	}
	return calls
}
