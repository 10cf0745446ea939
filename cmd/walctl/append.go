package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed3918b8df/tidemark/wal"
)

var appendCommand = command{
	name: "append", line: "[-batch N] [-segment-size BYTES] DIR [FILE]", min: 1, max: 2,
	short: "appends lines as records, durably",
	long: `
Appends each line of FILE, or of the standard input, as one record, without its
newline, to the log in DIR, which is created if it is not there. It returns when
all of them are durable, and prints how many there are and the rate. A line has
at most 16 MiB. When it fails it says how many lines are durable.

The log is opened as an application would: for writing, alone, and brought in
order if a crash left it torn.`,
	setup: func(t *tool, flags *flag.FlagSet) action {
		a := &appender{tool: t}
		flags.IntVar(&a.batch, "batch", 1, "`N` lines are one batch: after a crash all of them are there, or none")
		flags.Int64Var(&a.segmentSize, "segment-size", wal.DefaultSegmentSize, "`BYTES` after which another segment begins")
		return func(args []string) (int, error) { return exitSound, a.run(args) }
	},
}

// appender is one run of append.
type appender struct {
	*tool
	batch       int
	segmentSize int64

	log   *wal.Log
	lines int
	bytes int64
}

func (a *appender) run(args []string) (err error) {
	if a.batch < 1 {
		return fmt.Errorf("append: -batch is %d, want at least 1", a.batch)
	}
	in, name := a.stdin, "standard input"
	if len(args) == 2 {
		file, err := os.Open(args[1])
		if err != nil {
			return err
		}
		defer file.Close()
		in, name = file, args[1]
	}
	a.log, err = wal.Open(args[0], &wal.Options{FS: a.fsys, SegmentSize: a.segmentSize})
	if err != nil {
		return err
	}
	before, start := a.log.LastLSN(), time.Now()
	err = a.copy(in, name)
	if serr := a.log.Sync(); err == nil {
		err = serr
	}
	took := time.Since(start)
	durable := a.log.DurableLSN()
	if cerr := a.log.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("%w; durable are the first %d lines, %s", err, durable-before, span(before+1, durable))
	}
	fmt.Fprintf(a.stdout, "%d lines, %d bytes, durable: %s; %v, %.0f lines a second\n",
		a.lines, a.bytes, span(before+1, durable), took.Round(time.Microsecond), float64(a.lines)/max(took.Seconds(), 1e-6))
	return nil
}

// copy orders every line of in.
func (a *appender) copy(in io.Reader, name string) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, wal.DefaultMaxRecordSize+1) // with the newline
	lines.Split(splitLines)
	var b wal.Batch
	for lines.Scan() {
		a.lines++
		a.bytes += int64(len(lines.Bytes()))
		b.Add(lines.Bytes())
		if b.Len() == a.batch {
			if err := a.order(&b, name); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("append: %s, line %d: longer than %d bytes", name, a.lines+1, wal.DefaultMaxRecordSize)
	} else if err != nil {
		return fmt.Errorf("append: %s, line %d: %w", name, a.lines+1, err)
	}
	if b.Len() > 0 {
		return a.order(&b, name)
	}
	return nil
}

func (a *appender) order(b *wal.Batch, name string) error {
	if _, err := a.log.AppendBatchAsync(b); err != nil {
		return fmt.Errorf("append: %s, line %d: %w", name, a.lines, err)
	}
	b.Reset()
	return nil
}

// splitLines is bufio.ScanLines but keeps a carriage return: a record is the
// line's bytes.
func splitLines(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
