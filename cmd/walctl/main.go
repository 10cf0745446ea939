// Walctl shows what is in the directory of a Tidemark log, says what is damaged
// and what a recovery would do, and appends to a log from a script.
//
//	walctl ls DIR
//	walctl dump [-from LSN] [-n N] [-x] DIR|FILE
//	walctl verify [-expect LSN] DIR
//	walctl append [-batch N] [-segment-size BYTES] DIR [FILE]
//
// Only append writes. The other commands open files for reading alone, take no
// lock, and work beside a live writer and on a read-only medium. "walctl help
// COMMAND" says more, verify's exit codes among it.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// The exit codes.
const (
	exitSound   = 0 // done; of verify: nothing is damaged
	exitError   = 1 // bad usage, an error of the file system, a newer format
	exitCorrupt = 2 // something that was durable does not verify
	exitTorn    = 3 // of verify: a torn tail, or what else Open puts right by itself
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the program: it returns its exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return runOn(vfs.OS(), args, stdin, stdout, stderr)
}

// runOn is run on a file system.
func runOn(fsys vfs.FS, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := &tool{fsys: fsys, stdin: stdin, stdout: bufio.NewWriter(stdout), stderr: stderr}
	return t.run(args)
}

// tool is one run of the program.
type tool struct {
	fsys   vfs.FS
	stdin  io.Reader
	stdout *bufio.Writer
	stderr io.Writer
}

// command is one of the program's commands.
type command struct {
	name  string
	line  string // what follows the name
	short string
	long  string
	min   int // how many arguments it takes, and
	max   int

	// setup declares the command's flags and returns what it does.
	setup func(t *tool, flags *flag.FlagSet) action
}

// action does what a command is for. The exit code is that of the error, if
// there is one.
type action func(args []string) (exit int, err error)

var commands = []command{lsCommand, dumpCommand, verifyCommand, appendCommand}

// errUsage is an error that the flag package has told already.
var errUsage = errors.New("usage")

func (t *tool) run(args []string) int {
	exit, err := t.dispatch(args)
	if ferr := t.stdout.Flush(); err == nil {
		err = ferr
	}
	switch {
	case err == nil:
		return exit
	case errors.Is(err, errUsage):
		return exitError
	}
	fmt.Fprintf(t.stderr, "walctl: %v\n", err)
	if errors.Is(err, segment.ErrCorrupt) {
		return exitCorrupt
	}
	return exitError
}

func (t *tool) dispatch(args []string) (int, error) {
	if len(args) == 0 {
		t.usage(t.stderr)
		return exitError, nil
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		return t.help(args[1:])
	}
	c, err := find(args[0])
	if err != nil {
		return exitError, err
	}
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(t.stderr)
	flags.Usage = func() { c.usage(t.stderr, flags) }
	do := c.setup(t, flags)
	rest, err := parse(flags, args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitSound, nil
	case err != nil:
		return exitError, errUsage
	case len(rest) < c.min || len(rest) > c.max:
		return exitError, fmt.Errorf("%s: got %d arguments, want: walctl %s %s", c.name, len(rest), c.name, c.line)
	}
	return do(rest)
}

func find(name string) (command, error) {
	for _, c := range commands {
		if c.name == name {
			return c, nil
		}
	}
	return command{}, fmt.Errorf("no command %q: see walctl help", name)
}

// parse lets flags stand before, between and behind the other arguments, which
// it returns; behind "--" there are no flags.
func parse(flags *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		left := flags.Args()
		if n := len(args) - len(left); n > 0 && args[n-1] == "--" {
			return append(rest, left...), nil
		}
		if len(left) == 0 {
			return rest, nil
		}
		rest, args = append(rest, left[0]), left[1:]
	}
}

func (t *tool) usage(w io.Writer) {
	fmt.Fprint(w, "Walctl looks at the directory of a Tidemark log.\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  walctl %-7s %s\n  %14s %s\n", c.name, c.line, "", c.short)
	}
	fmt.Fprint(w, "\nOnly append writes. The others work beside a live writer and on a read-only\n"+
		"medium. \"walctl help COMMAND\" says more.\n")
}

func (t *tool) help(args []string) (int, error) {
	if len(args) == 0 {
		t.usage(t.stdout)
		return exitSound, nil
	}
	c, err := find(args[0])
	if err != nil {
		return exitError, err
	}
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	c.setup(t, flags)
	c.usage(t.stdout, flags)
	return exitSound, nil
}

func (c *command) usage(w io.Writer, flags *flag.FlagSet) {
	fmt.Fprintf(w, "walctl %s %s\n\n%s\n", c.name, c.line, strings.TrimSpace(c.long))
	any := false
	flags.VisitAll(func(f *flag.Flag) {
		if !any {
			fmt.Fprintln(w)
		}
		any = true
		name, usage := flag.UnquoteUsage(f)
		fmt.Fprintf(w, "  %-21s %s\n", strings.TrimSpace("-"+f.Name+" "+name), usage)
	})
}
