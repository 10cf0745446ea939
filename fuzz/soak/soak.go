package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed3918b8df/tidemark/wal"
)

// stuck is how long a child may report nothing.
const stuck = time.Minute

// parent starts the children and checks what they leave.
type parent struct {
	settings
	stderr io.Writer

	mu      sync.Mutex
	out     io.Writer
	killed  ledger // of the child that is killed
	lasting ledger
	kills   int
	checks  int
}

// soak is the command.
func soak(ctx context.Context, s settings, stdout, stderr io.Writer) error {
	p := &parent{settings: s, out: stdout, stderr: stderr, killed: ledger{first: 1}, lasting: ledger{first: 1}}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.last)
	defer cancel()
	p.say("%d writers in each of two processes, for %v, in %s\n", s.writers, s.last, s.dir)

	var all sync.WaitGroup
	var killErr, lastErr error
	all.Go(func() {
		defer cancel()
		killErr = p.killing(ctx)
	})
	all.Go(func() {
		defer cancel()
		lastErr = p.round(ctx, "lasting", &p.lasting, 1, wal.SyncAlways, nil)
	})
	all.Go(func() { p.tell(ctx, began) })
	all.Wait()
	if err := errors.Join(killErr, lastErr); err != nil {
		return err
	}
	slopes, err := judge(p.lasting.samples)
	p.say("%s\n%s\n", p.status(began), slopes)
	return err
}

func (p *parent) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format, args...)
}

// status is what happened so far.
func (p *parent) status(began time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, l := &p.killed, &p.lasting
	return fmt.Sprintf("%v: %d acknowledged, 0 lost; %d reopen cycles (%d kills), %d checks; disk full %d times",
		time.Since(began).Round(time.Second), k.acknowledged+l.acknowledged, p.kills+l.reopened, p.kills, p.checks, k.episodes+l.episodes)
}

// tell prints the status and the last sample every minute.
func (p *parent) tell(ctx context.Context, began time.Time) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		line := p.status(began)
		p.mu.Lock()
		if n := len(p.lasting.samples); n > 0 {
			line += "; " + p.lasting.samples[n-1].String()
		}
		p.mu.Unlock()
		p.say("%s\n", line)
	}
}

// killing starts a child, kills it, and checks what it left, until ctx ends. The last
// one is not killed.
func (p *parent) killing(ctx context.Context) error {
	for round := 1; ; round++ {
		after := rand.N(500 * time.Millisecond)
		if round%8 == 0 {
			after = rand.N(10 * time.Second)
		}
		policy := wal.SyncPolicy(round % 3)
		if err := p.round(ctx, "killed", &p.killed, round, policy, &after); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// round runs a child until ctx ends, or kills it after a while, and compares what it
// left with its ledger.
func (p *parent) round(ctx context.Context, name string, l *ledger, round int, policy wal.SyncPolicy, after *time.Duration) error {
	p.mu.Lock()
	l.begin(round)
	p.mu.Unlock()
	killed, err := p.run(ctx, name, l, policy, after)
	if err != nil {
		return fmt.Errorf("%s, round %d: %w", name, round, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if killed {
		p.kills++
	}
	if !killed && !l.closed {
		return fmt.Errorf("%s, round %d: violation: the process ended by itself", name, round)
	}
	if err := check(p.logDir(name), l, round%2 == 0); err != nil {
		return fmt.Errorf("%s, round %d, policy %d: violation: %w", name, round, policy, err)
	}
	p.checks++
	return nil
}

// check compares the log in dir with l. readOnly leaves the recovery to the next
// child.
func check(dir string, l *ledger, readOnly bool) error {
	log, err := wal.Open(dir, &wal.Options{SegmentSize: segmentSize, MustExist: true, ReadOnly: readOnly})
	if errors.Is(err, os.ErrNotExist) && l.acknowledged == 0 && len(l.cuts) == 0 {
		return nil // it was killed before there was a log
	}
	if err != nil {
		return err
	}
	var buf []byte
	var got []id
	first := log.FirstLSN()
	for r, err := range log.Records(first) {
		if err != nil {
			return errors.Join(err, log.Close())
		}
		var n id
		if n, buf, err = parseRecord(r.Data, buf); err != nil {
			return errors.Join(fmt.Errorf("LSN %d: %w", r.LSN, err), log.Close())
		}
		got = append(got, n)
	}
	meta := 0
	if m := log.Meta(); m != nil {
		if meta, err = strconv.Atoi(string(m)); err != nil {
			return errors.Join(err, log.Close())
		}
	}
	if err := log.Close(); err != nil {
		return err
	}
	return l.check(first, got, meta)
}

// run starts a child and takes its reports until it ends. It is told to end when ctx
// is done, or killed after a while.
func (p *parent) run(ctx context.Context, name string, l *ledger, policy wal.SyncPolicy, after *time.Duration) (killed bool, err error) {
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	cmd := exec.Command(self, "-child", name, "-dir", p.dir, "-writers", strconv.Itoa(p.writers), "-rate", strconv.Itoa(p.rate),
		"-round", strconv.Itoa(l.round), "-policy", strconv.Itoa(int(policy)))
	var complaint strings.Builder
	cmd.Stderr = io.MultiWriter(p.stderr, &complaint)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return false, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	reported := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() { ended <- p.take(stdout, l, reported) }()
	hung := time.NewTimer(stuck)
	defer hung.Stop()
	var due <-chan time.Time
	done := ctx.Done()
	for {
		select {
		case err := <-ended:
			waitErr := cmd.Wait()
			if err == nil && !killed && waitErr != nil {
				err = fmt.Errorf("%s %w", complaint.String(), waitErr)
			}
			return killed, err
		case <-reported:
			hung.Reset(stuck)
			if after != nil && due == nil && !killed {
				due = time.After(*after)
			}
		case <-done:
			done, due = nil, nil
			_ = stdin.Close() // tells it
		case <-due:
			due, killed = nil, true
			_ = cmd.Process.Kill() // its end is what counts
		case <-hung.C:
			_ = cmd.Process.Kill()
			return false, fmt.Errorf("violation: nothing was reported for %v", stuck)
		}
	}
}

// take takes the reports, also what is in the pipe when the child is dead.
func (p *parent) take(r io.Reader, l *ledger, reported chan<- struct{}) error {
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := lines.ReadString('\n')
		if err != nil { // what is left is a part of a line
			return nil
		}
		p.mu.Lock()
		err = l.note(strings.TrimSuffix(line, "\n"))
		p.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case reported <- struct{}{}:
		default:
		}
	}
}
