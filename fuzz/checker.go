package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// dir is the directory of the logs of this package.
const dir = "log"

// Checker opens logs on what crashes left. It remembers what it has seen, 16 bytes
// an image: one that came before, of whatever script, is not opened again. Its methods
// may be called concurrently.
type Checker struct {
	mu     sync.Mutex
	images map[uint64]uint64 // by hash: the digest of what was recovered
	rows   map[string]int    // of the decision table: images that reach it
}

// NewChecker returns a Checker that has seen nothing.
func NewChecker() *Checker {
	return &Checker{images: map[uint64]uint64{}, rows: map[string]int{}}
}

// Images returns how many different images there were.
func (k *Checker) Images() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.images)
}

// Row returns how many different images reached that row of the decision table.
func (k *Checker) Row(label string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.rows[label]
}

// Check returns an error unless the log recovers from the image of that hash as b and
// opts allow. process says that only the process ended. If the image is a new one, img
// is that, unchanged, and v what the log was recovered to; otherwise img is nil, unless
// there is an error.
func (k *Checker) Check(hash uint64, make func() *vfs.Mem, opts wal.Options, b Bounds, process bool) (img *vfs.Mem, v View, err error) {
	image := hash ^ uint64(opts.FirstLSN)*0x9e3779b97f4a7c15
	k.mu.Lock()
	digest, seen := k.images[image]
	k.mu.Unlock()
	if seen && b.allow(digest, process) {
		return nil, v, nil
	}
	img = make()
	if seen { // once more, for the message
		if v, _, _, err = openOn(img, opts, nil); err == nil {
			err = b.Check(v, process)
		}
		return img, v, err
	}
	v, rows, err := recoverImage(img, opts, image)
	if err != nil {
		return img, v, fmt.Errorf("%w\n  it must be %v", err, b.views)
	}
	if err = b.Check(v, process); !k.add(image, v.Digest(), rows) {
		img = nil
	}
	return img, v, err
}

// add notes what was recovered, and reports whether nobody else did meanwhile.
func (k *Checker) add(image, digest uint64, rows []string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, seen := k.images[image]; seen {
		return false
	}
	k.images[image] = digest
	for _, row := range rows {
		k.rows[row]++
	}
	return true
}

// recoverImage opens the log in img and asks of it what must hold of every log. It
// returns what the log is, and the rows of the decision table that were reached.
// Some of the questions are asked of some images only, as pick decides.
func recoverImage(img *vfs.Mem, opts wal.Options, pick uint64) (v View, rows []string, err error) {
	reached := map[string]bool{}
	if err := examineImage(img, reached); err != nil {
		return v, nil, err
	}
	v, report, first, err := openOn(img.Clone(), opts, nil)
	if err != nil {
		return v, nil, fmt.Errorf("open: %w", err)
	}
	for _, row := range report.Rows {
		reached[row] = true
	}
	switch pick >> 8 % 8 {
	case 0:
		full := img.Clone()
		full.SetLimit(full.Used())
		err = sameOn(full, opts, v, "with no space left")
	case 1:
		o := opts
		o.Recovery = wal.PointInTime
		err = sameOn(img.Clone(), o, v, "in mode point-in-time")
	case 2:
		err = sameReadOnly(img, opts, v)
	case 3:
		err = sameTwice(img.Clone())
	}
	if err != nil {
		return v, nil, err
	}
	if err := goOn(first, opts, v, pick); err != nil {
		return v, nil, fmt.Errorf("recovered as %v\n  from %s\n  %w", v, report, err)
	}
	for row := range reached {
		rows = append(rows, row)
	}
	return v, rows, nil
}

// examineImage verifies all of the log, as walctl does.
func examineImage(img *vfs.Mem, reached map[string]bool) error {
	before := img.Hash()
	plan, err := recovery.Examine(recovery.Config{FS: img, Dir: dir, Full: true})
	if err != nil {
		if names, lerr := img.List(dir); lerr != nil || len(names) == 0 {
			return nil // there is no directory, or nothing in it
		}
		return fmt.Errorf("examine: %w", err)
	}
	for _, row := range plan.Report.Rows {
		reached[row] = true
	}
	if img.Hash() != before {
		return errors.New("examine: it changed something")
	}
	if err := plan.Refusal(); err != nil {
		return fmt.Errorf("examine all: %w", err)
	}
	return nil
}

// goOn opens a recovered log again, which must change nothing of it; appends three
// groups, ends it in one of two ways, and opens it once more.
func goOn(m *vfs.Mem, opts wal.Options, v View, pick uint64) error {
	found, before := v.Digest(), m.Clone()
	v2, again, m, err := openOn(m, opts, func(l *wal.Log) error {
		if err := sameFiles(l, before, m); err != nil {
			return err
		}
		err := appendGroups(l, &v, pick>>16%2 == 0)
		if err == nil && pick>>17%2 == 0 {
			err = l.Close()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("second open: %w", err)
	}
	if v2.Digest() != found {
		return fmt.Errorf("the second open found %v", v2)
	}
	if again.Tail != recovery.TailClean || again.Rewritten > 0 || again.FrontDamaged {
		return fmt.Errorf("the second open still had to repair: %s", again)
	}
	v3, _, _, err := openOn(m, opts, nil)
	if err != nil {
		return fmt.Errorf("third open: %w", err)
	}
	if v3.Digest() != v.Digest() {
		return fmt.Errorf("the third open found %v, want %v", v3, v)
	}
	return nil
}

// appendGroups appends three groups to a log, which is v: a batch, a record, and
// another batch.
func appendGroups(l *wal.Log, v *View, meta bool) error {
	for _, records := range [][]string{{"one", "two, which is longer than the others", ""}, {"four"}, {"five", "six"}} {
		want := v.Last() + 1
		*v = v.Append(records...)
		var lsn wal.LSN
		var err error
		if len(records) == 1 {
			lsn, err = l.Append([]byte(records[0]))
		} else {
			var b wal.Batch
			for _, r := range records {
				b.Add([]byte(r))
			}
			if meta {
				b.SetMeta([]byte(records[0]))
				*v = v.WithMeta(records[0])
			}
			lsn, err = l.AppendBatch(&b)
		}
		if err != nil {
			return err
		}
		if lsn != want {
			return fmt.Errorf("the next append got LSN %d, want %d", lsn, want)
		}
	}
	return nil
}

// sameFiles returns an error unless the files that l consists of are what they were
// before it was opened.
func sameFiles(l *wal.Log, before, now vfs.FS) error {
	paths := []string{filepath.Join(dir, segment.FrontName)}
	for _, s := range l.Segments() {
		paths = append(paths, s.Path)
	}
	for _, path := range paths {
		a, err := readFile(before, path)
		if err != nil {
			return err
		}
		b, err := readFile(now, path)
		if err != nil {
			return err
		}
		if !bytes.Equal(a, b) {
			return fmt.Errorf("%s is not what it was", path)
		}
	}
	return nil
}

// readFile returns what is in the file of that path.
func readFile(fsys vfs.FS, path string) ([]byte, error) {
	f, err := fsys.Open(path, vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size == 0 {
		return nil, err
	}
	b := make([]byte, info.Size)
	_, err = f.ReadAt(b, 0)
	return b, err
}

// sameTwice does on m what a recovery has to do, and then again, and returns an error
// unless that changes nothing.
func sameTwice(m *vfs.Mem) error {
	if names, err := m.List(dir); err != nil || len(names) == 0 {
		return nil
	}
	var left uint64
	for try := range 2 {
		plan, err := recovery.Examine(recovery.Config{FS: m, Dir: dir})
		if err == nil {
			err = plan.Apply()
		}
		if err != nil {
			return fmt.Errorf("recovery %d: %w", try, err)
		}
		if now := m.Hash(); try == 0 {
			left = now
		} else if now != left {
			return errors.New("the second recovery changed what the first one left")
		}
	}
	return nil
}

// openOn opens the log on m, reads it and calls fn, which may be nil. Then the
// process ends, and left is what it leaves.
func openOn(m *vfs.Mem, opts wal.Options, fn func(*wal.Log) error) (v View, r wal.Report, left *vfs.Mem, err error) {
	opts.FS = m
	l, err := wal.Open(dir, &opts)
	if err != nil {
		return v, r, nil, err
	}
	v, err = Look(l)
	if err == nil && fn != nil {
		err = fn(l)
	}
	left = m.Clone()
	m.Kill()
	_ = l.Close() // ends the goroutines; it has nothing to write to any more
	return v, l.Recovery(), left, err
}

// sameOn opens the log on m, which is how, and returns an error unless it is v.
func sameOn(m *vfs.Mem, opts wal.Options, v View, how string) error {
	got, _, _, err := openOn(m, opts, nil)
	if err != nil {
		return fmt.Errorf("open %s: %w", how, err)
	}
	if got.Digest() != v.Digest() {
		return fmt.Errorf("open %s finds %v, not %v", how, got, v)
	}
	return nil
}

// sameReadOnly opens the log on m for reading, if there is one, and returns an error
// unless it is v and nothing was changed.
func sameReadOnly(m *vfs.Mem, opts wal.Options, v View) error {
	plan, err := recovery.Examine(recovery.Config{FS: m, Dir: dir})
	if err != nil || !plan.Exists {
		return nil
	}
	before := m.Hash()
	opts.ReadOnly = true
	if err := sameOn(m.Clone(), opts, v, "for reading"); err != nil {
		return err
	}
	if m.Hash() != before {
		return errors.New("opening for reading changed something")
	}
	return nil
}

// Look reads all of l, in more ways than one.
func Look(l *wal.Log) (View, error) {
	v := View{First: l.FirstLSN()}
	if meta := l.Meta(); meta != nil {
		v.Meta, v.HasMeta = string(meta), true
	}
	for r, err := range l.Records(v.First) {
		if err != nil {
			return v, fmt.Errorf("records: %w", err)
		}
		if r.LSN != v.Last()+1 {
			return v, fmt.Errorf("record %d after %d", r.LSN, v.Last())
		}
		v.Records = append(v.Records, string(r.Data))
	}
	if last := l.LastLSN(); last != v.Last() {
		return v, fmt.Errorf("records end at %d, and LastLSN is %d", v.Last(), last)
	}
	if n := len(v.Records); n > 0 {
		at := n * 2 / 3
		got, err := l.Read(v.First+wal.LSN(at), nil)
		if err != nil {
			return v, fmt.Errorf("read: %w", err)
		}
		if string(got) != v.Records[at] {
			return v, fmt.Errorf("record %d: Read returns %.20q, Records %.20q", v.First+wal.LSN(at), got, v.Records[at])
		}
	}
	return v, nil
}
