package main

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"strings"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

var dumpCommand = command{
	name: "dump", line: "[-from LSN] [-n N] [-x] DIR|FILE", min: 1, max: 1,
	short: "the groups and frames of all segments, or of one file",
	long: `
Prints the groups of every segment in DIR, or of one segment's FILE, and their
frames, each with its offset in bytes, as far as they verify; then what does not
verify, and what still stands behind it. The FILE may have any name.

  4096 opening: LSN 1, 2 frames, 1 record, 232 bytes, watermark 4096
    4160 opening: follows nothing
    4304 record 1, 5 bytes: "alpha"

The watermark says how much of the file was durable when the group was written.
"more" says that the next frame belongs to the same batch, "dead" that another
segment ends this one before the frame. dump judges nothing and writes nothing.`,
	setup: func(t *tool, flags *flag.FlagSet) action {
		d := &dumper{tool: t}
		flags.Uint64Var((*uint64)(&d.from), "from", 0, "begin at the record with this `LSN`")
		flags.IntVar(&d.left, "n", -1, "end after `N` records; -1: with the last")
		flags.BoolVar(&d.hex, "x", false, "print all data, in hexadecimal; else the first 64 bytes, quoted")
		return func(args []string) (int, error) { return exitSound, d.run(args[0]) }
	},
}

// dumper is one run of dump.
type dumper struct {
	*tool
	from segment.LSN
	left int // records still to be printed; negative: all
	hex  bool
}

func (d *dumper) run(path string) error {
	if _, err := d.fsys.List(path); err != nil {
		p, err := d.readPart(path, 0)
		if err != nil {
			return err
		}
		return d.segment(p)
	}
	s, err := d.look(path)
	if err != nil {
		return err
	}
	d.printFront(s)
	for at, p := range s.parts {
		if d.left == 0 {
			break
		}
		if at+1 < len(s.parts) && p.end != nil && p.end.Last < d.from {
			continue
		}
		if err := d.segment(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // else a writer removed it meanwhile
		}
	}
	return nil
}

// segment prints one segment.
func (d *dumper) segment(p *part) error {
	if p.headErr != nil {
		fmt.Fprintf(d.stdout, "segment %d, %s: %d bytes: %v\n", p.id, p.path, p.size, p.headErr)
		return nil
	}
	file, err := d.fsys.Open(p.path, vfs.ReadOnly)
	if err != nil {
		return err
	}
	defer file.Close()
	h := p.header
	fmt.Fprintf(d.stdout, "segment %d, %s: %d bytes, log %s, salt %016x, unit %d, created %s with %d bytes\n",
		p.id, p.path, p.size, h.Log, h.Salt, h.Unit, stamp(h.Created), h.Size)
	var sc segment.Scanner
	sc.Start(file, p.path, h, p.size)
	if done := d.walk(&sc, p); done {
		return nil
	}
	stop := sc.Stop()
	if stop.Kind == segment.StopRead {
		return fmt.Errorf("%s: at %d: %w", p.path, stop.Off, stop.Err)
	}
	c, err := new(segment.Scanner).Claims(file, h, stop.Off, p.size)
	if err != nil {
		return err
	}
	switch {
	case p.end != nil && stop.Off == p.end.Length && c.Zero:
		fmt.Fprintf(d.stdout, "  %d end: segment %d says so\n", stop.Off, p.follower)
	case stop.Kind == segment.StopLimit:
		fmt.Fprintf(d.stdout, "  %d end of the file\n", stop.Off)
	case c.Zero && stop.Kind == segment.StopInvalid && sc.Off() == stop.Off && !within(&sc):
		if h.Reused() {
			fmt.Fprintf(d.stdout, "  %d zero; behind that page may be what the file had as another segment\n", stop.Off)
		} else {
			fmt.Fprintf(d.stdout, "  %d zero to the end of the file\n", stop.Off)
		}
	default:
		fmt.Fprintf(d.stdout, "  %d stop: %v\n", stop.Off, stop.Err)
		fmt.Fprintf(d.stdout, "    behind it: bytes that are not zero up to %d, %s that verify", c.Used, count(c.Headers, "group header"))
		if c.Headers > 0 {
			fmt.Fprintf(d.stdout, ", a watermark up to %d, LSNs up to %d", c.Durable, c.Last)
		}
		fmt.Fprintln(d.stdout)
	}
	return nil
}

// within reports whether the scan is inside of a group.
func within(sc *segment.Scanner) bool {
	_, inside := sc.GroupEnd()
	return inside
}

// walk prints what sc steps on, and reports whether that is all that was asked
// for.
func (d *dumper) walk(sc *segment.Scanner, p *part) (done bool) {
	for {
		switch sc.Next() {
		case segment.StepEnd:
			return false
		case segment.StepGroup:
			if d.left == 0 {
				return true
			}
			g := sc.Group()
			if d.from != 0 && g.End() <= d.from {
				if g.Kind < 128 {
					sc.SkipGroup()
				}
				continue
			}
			d.group(sc.GroupOff(), g, p)
		case segment.StepFrame:
			f := *sc.Frame()
			if f.LSN != 0 && f.LSN < d.from {
				continue
			}
			if f.LSN != 0 && d.left == 0 {
				return true
			}
			d.frame(f, p)
			if f.LSN != 0 && d.left > 0 {
				d.left--
			}
		}
	}
}

func (d *dumper) group(off int64, g segment.Group, p *part) {
	kinds := map[segment.Kind]string{segment.KindGroup: "group", segment.KindOpening: "opening",
		segment.KindMark: "mark", segment.KindSeal: "seal"}
	name, ok := kinds[g.Kind]
	if !ok {
		name = fmt.Sprintf("group of kind %d", g.Kind)
	}
	if g.Flags&segment.FlagClean != 0 {
		name += " of a log closed in order"
	}
	fmt.Fprintf(d.stdout, "  %d %s: LSN %d, %s, %s, %d bytes, watermark %d%s\n", off, name, g.Base,
		count(g.Frames, "frame"), count(g.Records, "record"), g.Length, g.Durable, p.deadGroup(off, g))
}

// deadGroup is dead for a group; one without records has nothing to lose.
func (p *part) deadGroup(off int64, g segment.Group) string {
	if g.Records == 0 {
		return ""
	}
	return p.dead(off)
}

// dead returns ", dead" if a segment that follows p ends it at off or before.
func (p *part) dead(off int64) string {
	if p.end == nil || off < p.end.Length {
		return ""
	}
	return fmt.Sprintf(", dead: segment %d ends this one at %d", p.follower, p.end.Length)
}

// Types of frames: package segment, section 4.
const (
	typeOpening segment.Type = 3
	typeSeal    segment.Type = 4
	typeIndex   segment.Type = 5
)

func (d *dumper) frame(f segment.Frame, p *part) {
	more := ""
	if f.More {
		more = ", more"
	}
	fmt.Fprintf(d.stdout, "    %d ", f.Off)
	switch f.Type {
	case segment.TypeRecord:
		d.data(fmt.Sprintf("record %d%s%s", f.LSN, more, p.dead(f.Off)), f.Data)
	case segment.TypeMeta:
		d.data("meta"+more+p.dead(f.Off), f.Data)
	case typeOpening:
		fmt.Fprintf(d.stdout, "opening%s: %s\n", more, p.follows())
	case typeSeal:
		fmt.Fprintln(d.stdout, "seal: the segment ends before its group")
	case typeIndex:
		fmt.Fprintf(d.stdout, "index, %s\n", count(len(f.Data), "byte"))
	default:
		d.data(fmt.Sprintf("frame of type %d%s", f.Type, more), f.Data)
	}
}

// follows says what the opening of p says of the segment before.
func (p *part) follows() string {
	pin := p.first.Prev
	switch {
	case p.openErr != nil:
		return p.openErr.Error()
	case pin.ID == 0:
		return "follows nothing"
	}
	return fmt.Sprintf("follows segment %d, which ends at %d with LSN %d, durable to %d", pin.ID, pin.Length, pin.Last, pin.Durable)
}

// excerpt is how many bytes of a record are printed.
const excerpt = 64

func (d *dumper) data(what string, data []byte) {
	fmt.Fprintf(d.stdout, "%s, %s", what, count(len(data), "byte"))
	switch {
	case len(data) == 0:
		fmt.Fprintln(d.stdout)
	case d.hex:
		fmt.Fprintf(d.stdout, "\n      %s\n", strings.ReplaceAll(strings.TrimSpace(hex.Dump(data)), "\n", "\n      "))
	case len(data) > excerpt:
		fmt.Fprintf(d.stdout, ": %q...\n", data[:excerpt])
	default:
		fmt.Fprintf(d.stdout, ": %q\n", data)
	}
}
