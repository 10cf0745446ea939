// Command soak uses two logs for as long as it is told to, on the real file system,
// and checks them all the time.
//
//	go run ./fuzz/soak -for 2h -dir DIR
//
// One log is used by a process that is killed at random moments and started again,
// the other by one that runs all the time, and opens its log anew now and then. Both
// have writers, batches, followers, readers of single records, and truncations at
// both ends; and now and then the disk is full, or says so: calls that need space
// fail in the process, so that neither root nor a disk of its own is needed.
//
// Each process reports what it began and what has returned. After each kill, and at
// the end, the log is opened and compared: see ledger.go. What the lasting process
// uses of memory, descriptors, goroutines and disk is sampled, and must not grow:
// see slopes.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

const usage = `usage: soak [-for DURATION] [-dir DIR] [-writers N] [-rate N]

Uses two logs, kills the process that uses one of them again and again, lets the
disk be full now and then, and compares both with what was acknowledged. The exit
code is 1 if anything was lost, came back or grows. An interrupt ends it in order.

`

// settings are the command line.
type settings struct {
	last    time.Duration
	dir     string
	writers int
	rate    int // appends a second, of each of the two processes

	child  string // "": this is the parent; else "killed" or "lasting"
	round  int    // of a child
	policy int    // of a child: a wal.SyncPolicy
}

var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run runs the command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case s.child != "":
		signal.Ignore(os.Interrupt) // that is the parent's
		err = child(s, stdin, stdout)
	default:
		err = inDir(&s, func() error { return soak(ctx, s, stdout, stderr) })
	}
	if err != nil {
		fmt.Fprintln(stderr, "soak:", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (s settings, err error) {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	flags.DurationVar(&s.last, "for", time.Minute, "how long")
	flags.StringVar(&s.dir, "dir", "", "an empty or new `directory` for the logs, which is kept; without, a temporary one")
	flags.IntVar(&s.writers, "writers", 8, "goroutines that append, in each of two processes")
	flags.IntVar(&s.rate, "rate", 4000, "appends a second at most, in each of two processes")
	flags.StringVar(&s.child, "child", "", "for the command itself")
	flags.IntVar(&s.round, "round", 0, "for the command itself")
	flags.IntVar(&s.policy, "policy", 0, "for the command itself")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 || s.last <= 0 || s.writers < 1 || s.rate < 1 {
		flags.Usage()
		return s, errUsage
	}
	return s, nil
}

// inDir calls f with a directory that is there and empty. A temporary one is removed
// if f succeeds.
func inDir(s *settings, f func() error) error {
	if s.dir != "" {
		list, err := os.ReadDir(s.dir)
		switch {
		case err == nil && len(list) > 0:
			return fmt.Errorf("%s is not empty: it has %s", s.dir, list[0].Name())
		case errors.Is(err, os.ErrNotExist):
			err = os.MkdirAll(s.dir, 0o755)
		}
		if err != nil {
			return err
		}
		return f()
	}
	dir, err := os.MkdirTemp("", "soak-")
	if err != nil {
		return err
	}
	s.dir = dir
	if err := f(); err != nil {
		return fmt.Errorf("%w\nthe logs are left in %s", err, dir)
	}
	return os.RemoveAll(dir)
}

// logDir is where the log of a child is.
func (s settings) logDir(child string) string { return filepath.Join(s.dir, child) }
