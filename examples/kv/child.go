package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/seed3918b8df/tidemark/wal"
)

// This file is the process that loads, and is killed.
//
// The work of a round is the lines of the input from one file on. Writer w of n
// takes the lines w, w+n, w+2n …, one after the other, and waits for each: so at
// most n puts are under way. Four lines that follow each other have one key; they
// are put by four writers at about the same time, and the value says by which:
// what the map holds in the end is a matter of order.

// work is what the writers of one round do; the parent computes it too.
type work struct {
	in      *input
	start   int // line of the input
	round   int
	writers int
}

// linesPerKey is how many lines that follow each other share a key.
const linesPerKey = 4

// op returns put seq, from 0, of a writer; false: it has no more.
func (w *work) op(writer, seq int) (op, bool, error) {
	l, ok, err := w.in.line(w.start + seq*w.writers + writer)
	if !ok || err != nil {
		return op{}, false, err
	}
	key := lineKey(l.file, l.number/linesPerKey*linesPerKey)
	return op{kind: opPut, key: key, value: fmt.Sprintf("%d.%d.%d %s", w.round, writer, seq, l.text)}, true, nil
}

// ack is what the child writes to its standard output when a put has returned,
// in one piece, so that what arrives is whole.
type ack struct {
	writer, seq int
	lsn         wal.LSN
}

const (
	ackSize = 16

	// Reports that are no put's. The last one comes when all was loaded and the
	// store was closed: the LSN is the store's last, the digest of its state
	// follows. The others come before a snapshot is written, and when it is in
	// force and the log truncated.
	ackDone          = 1<<31 - 1
	ackSnapshot      = 1<<31 - 2
	ackSnapshotEnded = 1<<31 - 3
)

func appendAck(dst []byte, a ack) []byte {
	return appendU64(appendU32(appendU32(dst, uint32(a.writer)), uint32(a.seq)), uint64(a.lsn))
}

func parseAck(s string) ack {
	return ack{writer: int(u32(s)), seq: int(u32(s[4:])), lsn: wal.LSN(u64(s[8:]))}
}

// crashSegment is the size of the log's segments, small enough that rotation and
// truncation happen all the time.
const crashSegment = 4 << 20

// loader is the child.
type loader struct {
	work
	store *store
	every int       // snapshot after so many records
	acks  io.Writer // of the operating system: nothing is buffered

	due   chan struct{} // a snapshot is
	halt  chan struct{} // closed after the first error
	first sync.Once
	err   error
}

func crashChild(c *command) error {
	flags := flag.NewFlagSet("crash-child", flag.ContinueOnError)
	flags.SetOutput(c.stderr)
	l := &loader{acks: os.Stdout, due: make(chan struct{}, 1), halt: make(chan struct{})}
	flags.IntVar(&l.round, "round", 0, "")
	flags.IntVar(&l.writers, "writers", 1, "")
	flags.IntVar(&l.every, "snapshot", 1, "")
	from := flags.Int("from", 0, "")
	if err := flags.Parse(c.args); err != nil {
		return errUsage
	}
	var err error
	if l.in, err = findInput(flags.Args()); err != nil {
		return err
	}
	l.in.files = l.in.files[*from:]
	if l.store, err = openStore(c.dir, options{create: true, segmentSize: crashSegment}); err != nil {
		return err
	}
	l.store.writing = l.reportSnapshot
	err = l.load()
	state := l.store.state()
	if cerr := l.store.close(); err == nil {
		err = cerr
	}
	if err == nil {
		done := appendAck(nil, ack{writer: ackDone, lsn: state.last})
		_, err = l.acks.Write(append(done, state.digest[:]...))
	}
	return err
}

// load runs the writers, and snapshots beside them.
func (l *loader) load() error {
	var writers, snapshots sync.WaitGroup
	snapshots.Go(func() {
		for range l.due {
			if _, err := l.store.snapshot(); err != nil {
				l.fail(fmt.Errorf("snapshot: %w", err))
				return
			}
		}
	})
	for w := range l.writers {
		writers.Go(func() {
			if err := l.write(w); err != nil {
				l.fail(fmt.Errorf("writer %d: %w", w, err))
			}
		})
	}
	writers.Wait()
	close(l.due)
	snapshots.Wait()
	return l.err
}

// reportSnapshot tells the parent, which may want to kill right then.
func (l *loader) reportSnapshot(begins bool) {
	a := ack{writer: ackSnapshotEnded}
	if begins {
		a.writer = ackSnapshot
	}
	if _, err := l.acks.Write(appendAck(nil, a)); err != nil {
		l.fail(fmt.Errorf("reporting a snapshot: %w", err))
	}
}

// fail notes the first error and has all writers stop.
func (l *loader) fail(err error) {
	l.first.Do(func() {
		l.err = err
		close(l.halt)
	})
}

// write is writer w.
func (l *loader) write(w int) error {
	var buf []byte
	for seq := 0; ; seq++ {
		o, ok, err := l.op(w, seq)
		if !ok || err != nil {
			return err
		}
		lsn, err := l.store.put(o.key, o.value)
		if err != nil {
			return err
		}
		buf = appendAck(buf[:0], ack{writer: w, seq: seq, lsn: lsn})
		if _, err := l.acks.Write(buf); err != nil {
			return errors.Join(errors.New("acknowledging"), err)
		}
		if lsn%wal.LSN(l.every) == 0 {
			select {
			case l.due <- struct{}{}:
			default: // one is being made
			}
		}
		select {
		case <-l.halt:
			return nil
		default:
		}
	}
}
