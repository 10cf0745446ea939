package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// Mode says how much a recovery accepts.
type Mode uint8

// The modes.
const (
	// Strict accepts every state that a crash can leave and refuses all damage
	// to what was durable.
	Strict Mode = iota

	// Paranoid verifies the whole log and refuses everything that would change a
	// file, a torn tail too: for tests, and to check that a log was closed well.
	Paranoid

	// PointInTime verifies the whole log and ends it at the first damage. What
	// it gives up it renames; it deletes nothing but temporary files. Where the
	// opening that ended a segment for a truncation is what is damaged, the records
	// that were truncated are back.
	PointInTime
)

// Config says what to examine, and how.
type Config struct {
	FS   vfs.FS // nil: the operating system's
	Dir  string
	Mode Mode

	// Full verifies every segment, and not only those that a crash can have
	// touched. Paranoid and PointInTime imply it. But for PointInTime, several are read at
	// once where there are several processors.
	Full bool

	// Live says that the caller does not hold the lock, so that a writer may be
	// at work on the directory.
	Live bool

	// ExpectLSN is an LSN that the caller knows to have been durable: a log that
	// ends before it is corrupt. 0: the caller knows none.
	ExpectLSN LSN

	aheadLeast int64 // for tests: see the constant
}

// Plan is what an examination found: what the log is, and the steps that would
// bring it in order. Nothing has been changed.
type Plan struct {
	Report Report

	Exists bool // there is a FRONT
	Front  segment.Front
	Chain  []uint64    // ids of the segments that the log consists of, oldest first
	Last   *Scan       // the chain's last segment; nil if the log never had a record
	Next   LSN         // of the next append
	NextID uint64      // an id that no file has
	Pin    segment.Pin // where the log ends; zero if the next segment follows nothing
	Meta   []byte      // in force; nil: never set

	// Renew says that the tail was cut, or written again: the next segment must
	// be opened before the log is used, so that it ends the last one for good.
	Renew bool

	// GivenUp says that what the log gave up is to be kept aside: the next
	// segment's opening must say so. See [segment.CompatGivenUp].
	GivenUp bool

	cfg        Config
	front      []step          // of FRONT, before anything is removed by what it says
	refuted    bool            // FRONT was wrong about the first LSN
	repairs    []step          // of the segments that stay
	removals   []step          // of files that the log does not consist of
	aside      map[uint64]bool // ids of segments that an earlier point-in-time recovery gave up
	quarantine []string        // names of what a point-in-time recovery gives up
	refusal    error

	scanner segment.Scanner // of the scans, one after the other: it keeps its memory
	ahead   ahead           // has the others
}

// Inspect looks at the log in dir, on the operating system's file system,
// verifies all of it, by several goroutines, and returns what it is, and the plan that would
// bring it in order. It reads only, takes no lock and may run beside a writer. A log that
// is damaged is no error of Inspect: the report lists the damage, and
// [Plan.Refusal] is what Open would fail with. The error is one of the file
// system, or a [segment.VersionError].
func Inspect(dir string) (*Plan, Report, error) {
	p, err := Examine(Config{Dir: dir, Full: true, Live: true})
	if err != nil {
		return nil, Report{Dir: dir}, err
	}
	return p, p.Report, nil
}

// Refusal returns why a log in this state is not opened in the mode examined
// for: a [segment.CorruptError], or nil.
func (p *Plan) Refusal() error { return p.refusal }

// liveTries is how often a directory that a writer may be changing is looked at
// before what does not fit together, each time at another place, is believed.
const liveTries = 100

// Examine looks at a directory and changes nothing. Its errors are those of
// [Inspect].
func Examine(cfg Config) (*Plan, error) {
	if cfg.FS == nil {
		cfg.FS = vfs.OS()
	}
	if cfg.Mode != Strict {
		cfg.Full = true
	}
	var before segment.CorruptError
	for try := 1; ; try++ {
		p, err := examine(cfg)
		var now *segment.CorruptError
		again := cfg.Live && try < liveTries
		switch {
		case again && errors.Is(err, fs.ErrNotExist):
			// The writer removed a file between the listing and the look at it.
		case again && err == nil && errors.As(p.refusal, &now) && (now.Path != before.Path || now.Offset != before.Offset):
			// The writer may have been at work between the look at X and the one
			// behind it: damage is believed when it is found in the same place again.
			before = *now
		default:
			return p, err
		}
	}
}

func examine(cfg Config) (*Plan, error) {
	d, err := list(cfg)
	if err != nil {
		return nil, err
	}
	p := &Plan{cfg: cfg, NextID: d.highest() + 1}
	p.Report.Dir, p.Report.Strays = cfg.Dir, d.strays
	if err := p.readFront(d); err != nil {
		return nil, err
	}
	if !p.Exists && len(d.segments) == 0 && p.refusal == nil {
		p.removeAll(d.leftovers)
		if cfg.ExpectLSN > 0 {
			p.corrupt(&segment.CorruptError{Path: filepath.Join(cfg.Dir, segment.FrontName), LSN: cfg.ExpectLSN,
				Reason: fmt.Sprintf("there is no log, and LSN %d was durable", cfg.ExpectLSN)})
		}
		return p, nil
	}
	if p.NextID = max(p.NextID, p.Front.Newest+1, p.Front.Trimmed+1); p.NextID > segment.MaxID {
		return nil, fmt.Errorf("recovery: %s: no id is left behind it: %w", segment.Path(cfg.Dir, d.highest()), fs.ErrInvalid)
	}
	if cfg.Mode == PointInTime {
		err = p.salvage(d)
	} else {
		err = p.judge(d)
	}
	if err != nil {
		return nil, err
	}
	p.removeAll(d.leftovers)
	p.conclude()
	return p, nil
}

// directory is what the names in a log's directory say.
type directory struct {
	front     bool
	segments  []uint64 // ids, rising
	leftovers []string // temporary files
	strays    []string
}

func (d *directory) highest() uint64 {
	if len(d.segments) == 0 {
		return 0
	}
	return d.segments[len(d.segments)-1]
}

func (d *directory) has(id uint64) bool {
	_, found := slices.BinarySearch(d.segments, id)
	return found
}

// list sorts the names in the directory.
func list(cfg Config) (*directory, error) {
	names, err := cfg.FS.List(cfg.Dir)
	if err != nil {
		return nil, err
	}
	d := new(directory)
	for _, name := range names {
		ext := filepath.Ext(name)
		id, ok := segment.ParseName(name)
		switch {
		case name == segment.FrontName:
			d.front = true
		case name == segment.LockName, ext == segment.QuarantinedExt:
		case ok:
			d.segments = append(d.segments, id)
		case ext == segment.Ext:
			return nil, fmt.Errorf("recovery: %s: not a segment's name: want 16 lower-case hexadecimal digits, from 1 to 2^63-1, and %s: %w",
				filepath.Join(cfg.Dir, name), segment.Ext, fs.ErrInvalid)
		case isTemp(name):
			d.leftovers = append(d.leftovers, name)
		default:
			d.strays = append(d.strays, name)
		}
	}
	return d, nil
}

// isTemp reports whether a file of that name is one that the log was making.
func isTemp(name string) bool {
	base := name[:len(name)-len(filepath.Ext(name))]
	if filepath.Ext(name) != segment.TempExt {
		return false
	}
	_, ok := segment.ParseName(base + segment.Ext)
	return ok || base == segment.FrontName
}

// readFront reads FRONT. The file system's errors and a newer version are
// errors; damage is a refusal.
func (p *Plan) readFront(d *directory) error {
	path := filepath.Join(p.cfg.Dir, segment.FrontName)
	if !d.front {
		if len(d.segments) > 0 {
			p.corrupt(&segment.CorruptError{Path: path, Reason: "the file is missing, and there are segments"})
		}
		return nil
	}
	file, err := p.cfg.FS.Open(path, vfs.ReadOnly)
	if err != nil {
		return err
	}
	defer file.Close()
	front, whole, err := segment.ReadFront(file, path)
	var damage *segment.CorruptError
	if errors.As(err, &damage) {
		p.corrupt(damage)
		return nil
	}
	if err != nil {
		return err
	}
	if front.First == 0 || front.Oldest == 0 || front.Oldest > max(1, front.Newest) || max(front.Newest, front.Trimmed) >= segment.MaxID {
		p.corrupt(&segment.CorruptError{Path: path, Reason: fmt.Sprintf("it contradicts itself: first LSN %d, oldest segment %d, newest %d, trimmed %d",
			front.First, front.Oldest, front.Newest, front.Trimmed)})
		return nil
	}
	p.Exists, p.Front = true, front
	if !front.Settled() { // the page cache may show a slot that the disk does not have
		off, end := front.Slot()
		p.front = []step{{kind: stepRewrite, name: segment.FrontName, from: off, to: end}}
	}
	p.Report.FrontDamaged = !whole
	p.Report.Log = front.Log.String()
	p.Report.First, p.Report.Last = front.First, front.First-1
	return nil
}

// corrupt notes damage that refuses the log.
func (p *Plan) corrupt(e *segment.CorruptError) {
	p.Report.Corruptions = append(p.Report.Corruptions, e)
	if p.refusal == nil && p.cfg.Mode != PointInTime {
		p.refusal = e
	}
}

// conclude fills in what follows from the chain, and applies the mode.
func (p *Plan) conclude() {
	r := &p.Report
	r.Verified = p.cfg.Full
	r.Segments = len(p.Chain)
	p.Next = p.Front.First
	if s := p.Last; s != nil {
		p.Next, p.Pin, p.Meta = s.EndLSN+1, s.Pin(), s.Meta
	}
	if p.Next < p.Front.First { // the front was durable, what it was behind was not
		r.EmptyAt = p.Front.First
		p.Next, p.Pin = p.Front.First, segment.Pin{}
		p.Chain = p.Chain[len(p.Chain):]
	}
	r.First, r.Last = p.Front.First, p.Next-1
	if p.Next == 0 { // FRONT is lost, and nothing is known
		r.Last = 0
	}
	r.Durable = min(max(r.Durable, r.First-1), r.Last)
	if r.Tail != TailClean && r.LostFrom == 0 { // not one segment is left
		r.LostFrom, r.LostTo = r.Last+1, max(r.LostTo, r.Last)
	}
	if e := p.cfg.ExpectLSN; e > r.Last && p.refusal == nil {
		path := filepath.Join(p.cfg.Dir, segment.FrontName)
		var off int64
		if p.Last != nil {
			path, off = p.Last.Path, p.Last.End
		}
		p.corrupt(&segment.CorruptError{Path: path, Offset: off, LSN: r.Last + 1,
			Reason: fmt.Sprintf("the log ends at LSN %d, and LSN %d was durable", r.Last, e)})
	}
	if p.cfg.Mode == Paranoid && p.refusal == nil && (p.Renew || r.Tail != TailClean || len(p.front) > 0) {
		e := &segment.CorruptError{Path: p.cfg.Dir, Reason: "the log was not closed in order: " + p.firstStep()}
		if r.CutPath != "" {
			e.Path, e.Offset, e.LSN = r.CutPath, r.CutAt, r.LostFrom
		}
		p.corrupt(e)
	}
}

func (p *Plan) firstStep() string {
	for _, s := range p.all() {
		return s.String()
	}
	return "its tail is " + p.Report.Tail.String()
}
