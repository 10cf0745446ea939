package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed3918b8df/tidemark/wal"
)

const crashUsage = `usage: kv [-dir DIR] crash [-rounds N] [-writers N] [FILE|DIR]...

Each round starts a process that puts the lines of the input into a store, with
many writers at once and several of them at the same key, while snapshots are
made and the log is truncated. It reports each put that has returned, with its
LSN, over a pipe, and is killed with SIGKILL while reports arrive (on Windows with
TerminateProcess), in every other round while it makes a snapshot. Then the store is opened and compared:

  - every put that was reported is in the log, at its LSN, with its value;
  - any other record is the one put that a writer had in flight;
  - every key of the map has the value that the order of the log says;
  - after a close and another open the map is the same.

A last round is not killed and loads to the end of the input. The input is the
lines of the files, and of all .go files in the directories; by default those of
the Go distribution. The exit code is 1 after any violation.

Killing a process shows what a process crash may do. It loses nothing that was
handed to the operating system: a power loss does, and is the matter of
go test ./examples/kv.

`

// flowing is how long ago the last report may be when the kill comes.
const flowing = 5 * time.Millisecond

// stuck is how long no report may arrive.
const stuck = 2 * time.Minute

// crashTest is the command crash.
type crashTest struct {
	*command
	roots   []string
	rounds  int
	writers int
	in      *input
	lines   int
	quota   int // puts of a round
	oracle  oracle
	acked   int // in all rounds
	unacked int
	show    *progress
}

func crash(c *command) error {
	t := &crashTest{command: c, oracle: oracle{m: map[string]entry{}}, show: newProgress(c.stderr)}
	flags := flag.NewFlagSet("kv crash", flag.ContinueOnError)
	flags.SetOutput(c.stderr)
	flags.Usage = func() {
		fmt.Fprint(c.stderr, crashUsage)
		flags.PrintDefaults()
	}
	flags.StringVar(&t.dir, "dir", c.dir, "an empty or new `directory` for the store, which is kept; without, a temporary one")
	flags.IntVar(&t.rounds, "rounds", 10, "how many times to kill")
	flags.IntVar(&t.writers, "writers", 64, "goroutines that put")
	switch err := flags.Parse(c.args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return errUsage
	case t.rounds < 0 || t.writers < 1:
		return c.misused("crash: %d rounds of %d writers make no test", t.rounds, t.writers)
	}
	t.roots = flags.Args()
	if err := t.findInput(); err != nil {
		return err
	}
	if t.lines < 4*t.writers*(t.rounds+1) {
		return fmt.Errorf("crash: %d lines of input are too few for %d rounds of %d writers", t.lines, t.rounds+1, t.writers)
	}
	t.quota = t.lines / (t.rounds + 1)
	return t.inDir(t.run)
}

// findInput reads the input.
func (t *crashTest) findInput() error {
	if len(t.roots) == 0 {
		out, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			return fmt.Errorf("crash: go env GOROOT, to find input: %w; name files or directories instead", err)
		}
		t.roots = []string{filepath.Join(strings.TrimSpace(string(out)), "src")}
	}
	var err error
	if t.in, err = findInput(t.roots); err == nil {
		t.lines, err = t.in.readAll()
	}
	return err
}

// inDir calls f with t.dir set to a directory that is there and empty. A
// temporary one is removed if f succeeds.
func (t *crashTest) inDir(f func() error) error {
	if t.dir != "" {
		list, err := os.ReadDir(t.dir)
		switch {
		case err == nil && len(list) > 0:
			return fmt.Errorf("crash: %s is not empty: it has %s", t.dir, list[0].Name())
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return err
		}
		return f()
	}
	var err error
	if t.dir, err = os.MkdirTemp("", "kv-crash-"); err != nil {
		return err
	}
	if err := f(); err != nil {
		return fmt.Errorf("%w\nthe store is left in %s", err, t.dir)
	}
	return os.RemoveAll(t.dir)
}

// run runs all rounds.
func (t *crashTest) run() error {
	start := time.Now()
	t.say("%d lines of %d files in %s; %d writers; the store is in %s\n", t.lines, len(t.in.files), strings.Join(t.roots, " "), t.writers, t.dir)
	at := 0 // line of the input at which the next round begins, or shortly before
	missed := 0
	for done := 0; done < t.rounds; {
		n := done + missed + 1
		acked, counts, err := t.round(n, at, t.quota/2+rand.IntN(t.quota/2)+1)
		if err != nil {
			return fmt.Errorf("round %d: %w", n, err)
		}
		if counts {
			done++
		} else if missed++; missed > 3*t.rounds+10 {
			return fmt.Errorf("crash: only %d of %d kills came while reports arrived: the input is too small, or the machine too busy", done, n)
		}
		// The next one puts some lines again.
		if at += acked * 3 / 4; at > t.lines-t.quota {
			at = 0
		}
	}
	if _, _, err := t.round(t.rounds+missed+1, at, 0); err != nil {
		return fmt.Errorf("last round: %w", err)
	}
	t.say("%d puts acknowledged, 0 lost; %d more were in flight and kept; %d keys at LSN %d are what the log says; %.1f s\n",
		t.acked, t.unacked, len(t.oracle.m), t.oracle.last, time.Since(start).Seconds())
	return nil
}

// say prints and does not wait for more.
func (t *crashTest) say(format string, args ...any) {
	t.show.done()
	fmt.Fprintf(t.out, format, args...)
	_ = t.out.Flush() // the error stays and comes at the end
}

// round loads from line at until target puts are acknowledged, or with target 0
// to the end, and checks what is left. It returns the number of puts
// acknowledged, and whether the kill came while they arrived.
func (t *crashTest) round(n, at, target int) (acked int, counts bool, err error) {
	file, start := t.in.fileAt(at)
	w := work{in: t.in, start: start, round: n, writers: t.writers}
	started := time.Now()
	c, err := t.runChild(w, file, target)
	if err != nil {
		return 0, false, err
	}
	took := time.Since(started)
	v, s, err := t.recover(loaded{work: w, acks: c.acks})
	if err != nil {
		return 0, false, err
	}
	how := fmt.Sprintf("killed after %.2f s, %.1f ms after the last report", took.Seconds(), float64(c.idle.Microseconds())/1000)
	if c.inSnapshot {
		how += ", in a snapshot"
	}
	if c.done != nil {
		how = fmt.Sprintf("loaded to the end in %.2f s", took.Seconds())
		c.done.keys = s.state.keys // the child does not tell; the digest is of all keys
		if *c.done != s.state {
			return 0, false, fmt.Errorf("violation: the map before the close, at LSN %d, is not the one after it, at LSN %d", c.done.last, s.state.last)
		}
		if left := t.lines - start - len(c.acks); left != 0 {
			return 0, false, fmt.Errorf("violation: loaded to the end, and %d lines were not acknowledged", left)
		}
	}
	counts = c.done == nil && c.idle <= flowing
	if target > 0 && !counts {
		how += ": does not count"
	}
	t.acked += len(c.acks)
	t.unacked += v.unacked
	t.say("round %2d: acknowledged %7d  recovered %7d  in flight %2d  keys %7d  snapshot at %8d  tail %s; %s\n",
		n, len(c.acks), v.recovered, v.unacked, s.state.keys, s.covered, s.tail, how)
	return len(c.acks), counts, nil
}

// recovered is the store after a round.
type recovered struct {
	state   state
	covered wal.LSN
	tail    string
}

// recover opens the store, checks it, closes it, and opens it once more.
func (t *crashTest) recover(r loaded) (v verdict, was recovered, err error) {
	t.show.set("recovering")
	s, err := openStore(t.dir, options{create: true, segmentSize: crashSegment})
	if err != nil {
		return v, was, fmt.Errorf("violation: after the kill the store does not open: %w", err)
	}
	v, err = t.oracle.check(s, r)
	was = recovered{state: s.state(), covered: s.covered, tail: s.log.Recovery().Tail.String()}
	if cerr := s.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return v, was, err
	}
	s, err = openStore(t.dir, options{segmentSize: crashSegment})
	if err != nil {
		return v, was, fmt.Errorf("violation: after a close the store does not open: %w", err)
	}
	if again := s.state(); again != was.state {
		err = fmt.Errorf("violation: the map before a close, %d keys at LSN %d, is not the one replayed, %d keys at LSN %d",
			was.state.keys, was.state.last, again.keys, again.last)
	} else if !s.log.Recovery().Closed && was.state.last > 0 {
		err = errors.New("violation: a log that was closed in order says it was not")
	}
	if cerr := s.close(); err == nil {
		err = cerr
	}
	return v, was, err
}

// childRun is what a child left behind.
type childRun struct {
	acks []ack
	idle time.Duration // at the kill, since the last report
	done *state        // nil: it was killed before the end

	inSnapshot bool          // it was killed while one was made
	began      time.Time     // the last one
	lasted     time.Duration // the last one that ended
}

// clock notes when something was last read.
type clock struct {
	r    io.Reader
	last atomic.Int64 // nanoseconds since 1970
}

func (c *clock) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.last.Store(time.Now().UnixNano())
	}
	return n, err
}

func (c *clock) idle() time.Duration { return time.Duration(time.Now().UnixNano() - c.last.Load()) }

// runChild starts a child that loads from a file of the input on, and kills it
// once it has acknowledged target puts, or, with target 0, never.
func (t *crashTest) runChild(w work, file, target int) (*childRun, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"-dir", t.dir, "crash-child", "-round", strconv.Itoa(w.round), "-writers", strconv.Itoa(w.writers),
		"-snapshot", strconv.Itoa(t.quota/3 + 1), "-from", strconv.Itoa(file), "--"}
	cmd := exec.Command(self, append(args, t.roots...)...)
	cmd.Stderr = t.stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	in := &clock{r: pipe}
	in.last.Store(time.Now().UnixNano())
	kill := newKiller(cmd.Process, in)
	run, readErr := t.readAcks(in, &aim{killer: kill, target: target, snapshot: w.round%2 == 0})
	killed := kill.stop()
	if readErr != nil {
		_ = cmd.Process.Kill() // it may write for ever
	}
	waitErr := cmd.Wait()
	switch {
	case readErr != nil:
		return nil, readErr
	case kill.hung:
		return nil, fmt.Errorf("violation: no put returned for %v", stuck)
	case run.done == nil && !killed:
		return nil, fmt.Errorf("violation: the process that loads ended by itself: %w", errors.Join(waitErr, errors.New("it was not done")))
	}
	run.idle = kill.idle
	return run, nil
}

// readAcks reads all that the child reports, also what it did before the kill
// and is still in the pipe.
func (t *crashTest) readAcks(in *clock, aim *aim) (*childRun, error) {
	run := &childRun{}
	buffered := bufio.NewReaderSize(in, 64<<10)
	var buf [ackSize]byte
	for {
		_, err := io.ReadFull(buffered, buf[:])
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return run, nil
		}
		if err != nil {
			return run, err
		}
		switch a := parseAck(string(buf[:])); {
		case a.writer < t.writers:
			run.acks = append(run.acks, a)
			t.show.set("%d acknowledged", len(run.acks))
		case a.writer == ackSnapshot:
			run.inSnapshot, run.began = true, time.Now()
		case a.writer == ackSnapshotEnded:
			run.inSnapshot, run.lasted = false, time.Since(run.began)
		case a.writer == ackDone:
			run.done = &state{last: a.lsn}
			if _, err := io.ReadFull(buffered, run.done.digest[:]); err != nil {
				return run, err
			}
		default:
			return run, fmt.Errorf("a report of writer %d, and there are %d", a.writer, t.writers)
		}
		aim.at(run)
	}
}

// aim says when to kill.
type aim struct {
	*killer
	target   int  // so many acknowledgements at least; 0: never
	snapshot bool // while a snapshot is made
	shot     bool
}

// at is called after each report.
func (a *aim) at(run *childRun) {
	switch {
	case a.shot || a.target == 0 || len(run.acks) < a.target:
		return
	case !a.snapshot:
		a.in(rand.N(10 * time.Millisecond)) // at any point of a commit
	case !run.inSnapshot:
		return
	default:
		a.in(rand.N(run.lasted + time.Millisecond)) // at any point of a snapshot
	}
	a.shot = true
}
