// Command kv is a small storage engine on top of Tidemark: an ordered map in
// memory, the log, and a snapshot of the map now and then. It shows how an engine
// uses package wal:
//
//   - Each change is appended to the log and applied to the map under the engine's
//     own lock, with AppendAsync, and waited for after the lock (store.go).
//   - A snapshot is made durable, and then TruncateFront drops what it covers
//     (snapshot.go).
//   - At start the snapshot is read, and then the records behind it; ExpectLSN
//     tells the log how far it must reach.
//   - The calls of its own files go through a seam (files.go), so that its tests
//     put them and the log on one disk that loses power.
//
// The commands load, get, scan, put, delete and snapshot use a store from the
// shell. The command crash loads real input with many writers, kills the process
// that loads with SIGKILL, and proves that nothing acknowledged is lost. That
// shows what a process crash does: what a killed process handed to the operating
// system stays. What a power loss does is shown by the tests, with package
// wal/waltest: power_test.go enumerates what one may leave, at every call of the
// store and of its log, and fault_test.go lets every call fail.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/seed3918b8df/tidemark/wal"
)

const usage = `kv is a small storage engine on top of a write-ahead log.

usage: kv [-dir DIR] COMMAND

  load FILE...      put each line of the files; the key is FILE:LINE
  put KEY VALUE     set a key
  get KEY           print the value of a key
  delete KEY        drop a key
  scan [FROM [N]]   print keys and values, from the key FROM on, at most N of them
  snapshot          write the map to a file, and drop the log it covers
  crash [-rounds N] [-writers N] [FILE|DIR]...
                    start a process that loads input, kill it, and prove that
                    nothing it acknowledged is lost; see kv crash -help

-dir is the directory of the store, kv.data if it is not given; crash makes a
temporary one. get and scan change nothing and work while another process writes.
`

// defaultDir is the directory of a store that nobody named.
const defaultDir = "kv.data"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// errUsage says that the command line was wrong; the rest has been printed.
var errUsage = errors.New("usage")

// run runs the command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("kv", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	dir := flags.String("dir", "", "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() == 0:
		flags.Usage()
		return 2
	}
	out := bufio.NewWriter(stdout)
	c := &command{dir: *dir, name: flags.Arg(0), args: flags.Args()[1:], out: out, stderr: stderr}
	err := c.run()
	if ferr := out.Flush(); err == nil {
		err = ferr
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	case err != nil:
		fmt.Fprintf(stderr, "kv: %v\n", err)
		return 1
	}
	return 0
}

// command is one call of the program.
type command struct {
	dir    string // "": not given
	name   string
	args   []string
	out    *bufio.Writer
	stderr io.Writer
}

func (c *command) run() error {
	type handler struct {
		min, max int // arguments
		readOnly bool
		create   bool
		run      func(*store) error
	}
	handlers := map[string]handler{
		"load":     {min: 1, max: -1, create: true, run: c.load},
		"put":      {min: 2, max: 2, create: true, run: c.put},
		"get":      {min: 1, max: 1, readOnly: true, run: c.get},
		"delete":   {min: 1, max: 1, run: c.delete},
		"scan":     {min: 0, max: 2, readOnly: true, run: c.scan},
		"snapshot": {min: 0, max: 0, run: c.snapshot},
	}
	switch c.name {
	case "crash":
		return crash(c)
	case "crash-child": // what crash starts
		return crashChild(c)
	}
	h, ok := handlers[c.name]
	if !ok {
		return c.misused("no command %q", c.name)
	}
	if n := len(c.args); n < h.min || h.max >= 0 && n > h.max {
		return c.misused("%s: %d arguments are not what it takes", c.name, n)
	}
	if c.name == "load" {
		if err := checkFiles(c.args); err != nil {
			return err
		}
	}
	dir := c.dir
	if dir == "" {
		dir = defaultDir
	}
	s, err := openStore(dir, options{create: h.create, readOnly: h.readOnly})
	if err != nil {
		return err
	}
	err = h.run(s)
	if cerr := s.close(); err == nil {
		err = cerr
	}
	return err
}

// misused prints what is wrong with the command line, and the usage.
func (c *command) misused(format string, args ...any) error {
	fmt.Fprintf(c.stderr, "kv: "+format+"\n\n%s", append(args, usage)...)
	return errUsage
}

func (c *command) put(s *store) error {
	_, err := s.put(c.args[0], c.args[1])
	return err
}

func (c *command) get(s *store) error {
	value, ok, err := s.get(c.args[0])
	if err == nil && !ok {
		err = fmt.Errorf("no key %q in %s", c.args[0], s.dir)
	}
	if err == nil {
		_, err = fmt.Fprintln(c.out, value)
	}
	return err
}

func (c *command) delete(s *store) error {
	_, ok, err := s.get(c.args[0])
	if err == nil && !ok {
		err = fmt.Errorf("no key %q in %s", c.args[0], s.dir)
	}
	if err != nil {
		return err
	}
	return s.delete(c.args[0])
}

func (c *command) scan(s *store) error {
	from, n := "", -1
	if len(c.args) > 0 {
		from = c.args[0]
	}
	if len(c.args) > 1 {
		var err error
		if n, err = strconv.Atoi(c.args[1]); err != nil || n < 0 {
			return c.misused("scan: %q is no number of entries", c.args[1])
		}
	}
	for e := range s.scan(from) {
		if n == 0 {
			break
		}
		n--
		if _, err := fmt.Fprintf(c.out, "%s\t%s\n", e.key, e.value); err != nil {
			return err
		}
	}
	return nil
}

func (c *command) snapshot(s *store) error {
	lsn, err := s.snapshot()
	if err == nil {
		_, err = fmt.Fprintf(c.out, "%d keys as of LSN %d\n", s.state().keys, lsn)
	}
	return err
}

// checkFiles returns an error unless all the files can be read.
func checkFiles(names []string) error {
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		info, err := f.Stat()
		_ = f.Close() // nothing was written
		if err != nil {
			return err
		}
		if info.IsDir() {
			return fmt.Errorf("%s is a directory, want a file of lines", name)
		}
	}
	return nil
}

// maxLine is the longest line that load takes, in bytes.
const maxLine = wal.DefaultMaxRecordSize / 2

// load puts each line of the files. It waits for the last line of each file: the
// lines before it are durable then too.
func (c *command) load(s *store) error {
	start, lines := time.Now(), 0
	show := newProgress(c.stderr)
	for _, name := range c.args {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		n, err := loadLines(s, name, f, func(n int) { show.set("%d lines", lines+n) })
		_ = f.Close() // nothing was written
		if err != nil {
			return err
		}
		lines += n
	}
	show.done()
	_, err := fmt.Fprintf(c.out, "%d lines of %d files in %.1f s\n", lines, len(c.args), time.Since(start).Seconds())
	return err
}

func loadLines(s *store, name string, r io.Reader, each func(n int)) (int, error) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, maxLine)
	n := 0
	var last wal.Pending
	for scanner.Scan() {
		var err error
		if last, err = s.order(op{kind: opPut, key: lineKey(name, n+1), value: scanner.Text()}); err != nil {
			return n, fmt.Errorf("%s: line %d: %w", name, n+1, err)
		}
		n++
		each(n)
	}
	if err := scanner.Err(); err != nil {
		return n, fmt.Errorf("%s: line %d: %w", name, n+1, err)
	}
	if n == 0 {
		return 0, nil
	}
	return n, s.wait(last)
}

// lineKey is the key of a line; the keys of a file sort as its lines do.
func lineKey(name string, line int) string { return fmt.Sprintf("%s:%07d", name, line) }

// progress shows how far something is, on a terminal only.
type progress struct {
	w    io.Writer // nil: nowhere
	next time.Time
}

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	if !ok {
		return &progress{}
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return &progress{}
	}
	return &progress{w: w}
}

func (p *progress) set(format string, args ...any) {
	if p.w == nil || time.Now().Before(p.next) {
		return
	}
	p.next = time.Now().Add(100 * time.Millisecond)
	fmt.Fprintf(p.w, "\r\x1b[K"+format, args...)
}

func (p *progress) done() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
