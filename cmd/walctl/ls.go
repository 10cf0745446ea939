package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"text/tabwriter"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

var lsCommand = command{
	name: "ls", line: "DIR", min: 1, max: 1,
	short: "the segments: LSNs, sizes, states",
	long: `
Lists FRONT, the segments in DIR, oldest first, and what the log consists of.
The column used says how many bytes of the file are taken; a file that is
written to is larger. The states:

  active         the newest segment with records; appends go there, or behind it
  sealed         ended and proved whole by its seal
  ended          another segment says where it ends, and it has no seal (yet)
  ready          made ahead and not used yet
  dead           no part of the log any more: truncated away, reset or cut off
  damaged        header or opening group does not verify; "walctl verify" judges
  newer version  written by a newer version of Tidemark

ls reads no records but those of the active segment, judges nothing and writes
nothing. The exit code is 0 unless DIR cannot be read or is not a log's.`,
	setup: func(t *tool, flags *flag.FlagSet) action {
		return func(args []string) (int, error) { return exitSound, t.ls(args[0]) }
	},
}

func (t *tool) ls(dir string) error {
	s, err := t.look(dir)
	if err != nil {
		return err
	}
	t.printFront(s)
	table := tabwriter.NewWriter(t.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "segment\trecords\tused\tfile\tstate\tcreated")
	for _, p := range s.parts {
		row, err := t.describe(s, p)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a writer removed it meanwhile
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%016x\t%s\t%s\t%d\t%s\t%s\n", p.id, row.records, row.used, p.size, row.state, row.created)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if s.err != nil {
		return s.err
	}
	r := s.plan.Report
	if refusal := s.plan.Refusal(); refusal != nil {
		fmt.Fprintf(t.stdout, "damaged: %v\nsee walctl verify\n", refusal)
		return nil
	}
	fmt.Fprintf(t.stdout, "%s in %s, tail %s\n", span(r.First, r.Last), count(r.Segments, "segment"), r.Tail)
	return nil
}

func (t *tool) printFront(s *survey) {
	if s.frontErr != nil {
		fmt.Fprintf(t.stdout, "FRONT: %v\n", s.frontErr)
		return
	}
	f := s.front
	fmt.Fprintf(t.stdout, "FRONT of log %s: first LSN %d, oldest segment %d, newest %d", f.Log, f.First, f.Oldest, f.Newest)
	if f.Trimmed != 0 {
		fmt.Fprintf(t.stdout, ", segment %d cut to %d bytes", f.Trimmed, f.Length)
	}
	if !s.whole {
		fmt.Fprint(t.stdout, "; one of its slots is damaged, the other is not")
	}
	fmt.Fprintln(t.stdout)
}

// span says which records there are from first to last.
func span(first, last segment.LSN) string {
	if last < first {
		return fmt.Sprintf("no records, the next gets LSN %d", last+1)
	}
	return fmt.Sprintf("records %d to %d", first, last)
}

// count returns n and what there are n of.
func count[N int | uint32 | int64 | segment.LSN](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// row is what ls says of one segment.
type row struct{ records, used, state, created string }

// describe looks at p once more. It judges nothing.
func (t *tool) describe(s *survey, p *part) (row, error) {
	if p.headErr != nil {
		return row{"-", "-", notSound(p.headErr), "-"}, nil
	}
	r := row{records: "-", used: "-", created: stamp(p.header.Created)}
	file, err := t.fsys.Open(p.path, vfs.ReadOnly)
	if err != nil {
		return r, err
	}
	defer file.Close()
	if p.openErr != nil {
		c, err := new(segment.Scanner).Claims(file, p.header, segment.HeaderSize, p.size)
		if err != nil {
			return r, err
		}
		r.state = notSound(p.openErr)
		if c.Zero {
			r.state, r.used = "ready", fmt.Sprint(segment.HeaderSize)
		}
		return r, nil
	}
	last, used, state := segment.LSN(0), int64(0), "active"
	if p.end != nil {
		last, used, state = p.end.Last, p.end.Length, "ended"
		_, _, sealed, err := segment.ReadSeal(file, p.path, p.header, p.first, used, p.size)
		if err != nil {
			return r, err
		}
		if sealed {
			state = "sealed"
		}
	} else {
		var sealed bool
		if last, used, sealed, err = scan(file, p); err != nil {
			return r, err
		}
		if sealed {
			state = "sealed"
		}
	}
	if s.dead(p) {
		state = "dead"
	}
	r.state, r.used = state, fmt.Sprint(used)
	if r.records = fmt.Sprintf("%d..%d", p.first.Base, last); last < p.first.Base {
		r.records = "none"
	}
	return r, nil
}

// scan reads a segment that no other ends, as far as it verifies: its last LSN,
// where it ends, and whether a seal says so.
func scan(file vfs.File, p *part) (last segment.LSN, used int64, sealed bool, err error) {
	var sc segment.Scanner
	sc.Start(file, p.path, p.header, p.size)
	last = p.first.Base - 1
	for step := sc.Next(); step != segment.StepEnd; step = sc.Next() {
		if step == segment.StepGroup && sc.Group().Kind == segment.KindSeal {
			return last, sc.GroupOff(), true, nil
		}
		if step == segment.StepFrame && sc.Frame().LSN != 0 {
			last = sc.Frame().LSN
		}
	}
	if stop := sc.Stop(); stop.Kind == segment.StopRead {
		return 0, 0, false, stop.Err
	}
	return last, sc.Stop().Off, false, nil
}

// dead reports whether p is known to be no part of the log.
func (s *survey) dead(p *part) bool {
	if s.plan == nil || s.plan.Refusal() != nil || len(s.plan.Chain) == 0 {
		return false
	}
	for _, id := range s.plan.Chain {
		if id == p.id {
			return false
		}
	}
	return p.id < s.plan.Chain[len(s.plan.Chain)-1] // a newer one was opened meanwhile
}
