package kill

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/wal"
)

// workEnv is what makes the test binary a process that works: a job, as JSON.
const workEnv = "TIDEMARK_KILL_WORK"

// job is what a process is told to do.
type job struct {
	Work
	NoSync    bool // a lie, for controls: syncs do nothing
	OneThread bool // one thread makes all calls of the file system, and waits until stdin says a line
}

func TestMain(m *testing.M) {
	if text := os.Getenv(workEnv); text != "" {
		os.Exit(work(text))
	}
	os.Exit(m.Run())
}

// work does the job, reports to stdout and returns the exit code. It ends with whoever
// started it.
func work(text string) int {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		panic(err)
	}
	in := bufio.NewReader(os.Stdin)
	fsys := vfs.OS()
	if j.OneThread {
		var tid int
		fsys, tid = oneThread(fsys)
		fmt.Printf("t %d\n", tid)
		if _, err := in.ReadString('\n'); err != nil {
			return 1
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		os.Exit(1)
	}()
	if j.NoSync {
		fsys = vfs.Wrap(fsys, func(c vfs.Call, do func(int) (int, error)) (int, error) {
			switch c.Op {
			case vfs.Sync, vfs.SyncDir:
				return 0, nil
			case vfs.WriteSync:
				return do(-int(c.Size))
			}
			return do(int(c.Size))
		})
	}
	if err := j.Run(fsys, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return 0
}

// process is a process at work, and the model of what it reports. Its report is read by
// a goroutine.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr strings.Builder
	ended  chan struct{} // closed when the report has ended

	mu      sync.Mutex
	news    sync.Cond // on mu: a line was read
	model   *Model
	counts  map[string]int // lines by the letter they begin with, and calls by "i" and their kind
	tid     int
	out     *counted
	lateAt  int64 // lines that begin there in the report, or behind, count as late; 0: none
	err     error // of the report
	stopped bool  // the report has ended
}

// counted is a pipe that knows how many bytes were read from it.
type counted struct {
	*os.File
	n atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.File.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// start starts a process that does j.
func start(t *testing.T, m *Model, j job) *process {
	t.Helper()
	text, err := json.Marshal(j)
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	p := &process{cmd: exec.Command(self), model: m, counts: map[string]int{}, ended: make(chan struct{})}
	p.news.L = &p.mu
	p.cmd.Env = append(os.Environ(), workEnv+"="+string(text))
	p.cmd.Stderr = &p.stderr
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	p.out = &counted{File: out.(*os.File)}
	go p.read()
	return p
}

func (p *process) read() {
	at := int64(0)
	lines := bufio.NewScanner(p.out)
	for lines.Scan() {
		p.line(at, lines.Text())
		at += int64(len(lines.Text())) + 1
	}
	p.mu.Lock()
	p.stopped = true
	p.news.Broadcast()
	p.mu.Unlock()
	close(p.ended)
}

// line reads the line that begins at that byte.
func (p *process) line(at int64, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.news.Broadcast()
	p.counts[text[:1]]++
	if text[0] == 't' {
		_, p.err = fmt.Sscanf(text, "t %d", &p.tid)
		return
	}
	if f := strings.Fields(text); text[0] == 'i' && len(f) > 2 {
		p.counts["i"+f[2]]++
	}
	if err := p.model.Line(text, p.lateAt > 0 && at >= p.lateAt); err != nil && p.err == nil {
		p.err = err
	}
}

// until waits until n lines of that letter, or calls of that kind, were read, and reports
// whether they were; else the report has ended.
func (p *process) until(what string, n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.counts[what] < n && !p.stopped {
		p.news.Wait()
	}
	return p.counts[what] >= n
}

// hang is a time that only a process that hangs takes.
const hang = time.Minute

// end waits until the process has ended by itself, or was killed. The error is of its
// report, or what the process itself complains about.
func (p *process) end() error {
	timer := time.AfterFunc(hang, func() { _ = p.cmd.Process.Kill() })
	<-p.ended
	err := p.cmd.Wait()
	if !timer.Stop() {
		return fmt.Errorf("the process hangs: %v", &p.stderr)
	}
	var exit *exec.ExitError
	switch {
	case p.err != nil:
		return fmt.Errorf("the report of the process: %w", p.err)
	case p.stderr.Len() > 0:
		return fmt.Errorf("the process: %v", &p.stderr)
	case errors.As(err, &exit) && !exit.Exited(), err == nil: // killed
		return nil
	}
	return err
}

// kill kills the process and waits for its end.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.end()
}

// found opens the log, says what it is, and appends to it if it is not opened
// read-only.
func (p *process) found(dir string, opts wal.Options, power bool, next ID) error {
	l, err := wal.Open(dir, &opts)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer l.Close()
	v, err := Read(l)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if err := p.model.Check(v, power); err != nil {
		return err
	}
	if opts.ReadOnly {
		return nil
	}
	op := Op{ID: next, Kind: Append, N: 1}
	p.model.Called(op)
	first, err := l.Append(Data(op.ID, 0, 1))
	if err == nil {
		err = p.model.Durable(op.ID, first)
	}
	if err != nil {
		return fmt.Errorf("append behind the recovery: %w", err)
	}
	if v, err = Read(l); err == nil {
		err = p.model.Check(v, power)
	}
	return errors.Join(err, l.Close())
}
