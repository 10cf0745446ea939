package fuzz

import (
	"errors"
	"fmt"
	"sync"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/wal"
)

// dir is the directory of the logs of this package.
const dir = "log"

// Checker opens logs on what crashes left. It remembers what it has seen: an image
// that came before, of whatever script, is not opened again. Its methods may be
// called concurrently.
type Checker struct {
	mu     sync.Mutex
	images map[uint64]uint64 // by hash: the digest of what was recovered
	judged map[uint64]bool   // images with bounds
	rows   map[string]int    // of the decision table: images that reach it
}

// NewChecker returns a Checker that has seen nothing.
func NewChecker() *Checker {
	return &Checker{images: map[uint64]uint64{}, judged: map[uint64]bool{}, rows: map[string]int{}}
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

// Check returns an error unless the log recovers from img as b and opts allow. It
// keeps img as it is. process says that only the process ended. If the image is a new
// one, fresh says so, and v is what the log was recovered to.
func (k *Checker) Check(img *vfs.Mem, opts wal.Options, b Bounds, process bool) (v View, fresh bool, err error) {
	image := img.Hash() ^ uint64(opts.FirstLSN)*0x9e3779b97f4a7c15
	key := image*3 + b.Key()
	if process {
		key++
	}
	k.mu.Lock()
	done := k.judged[key]
	k.judged[key] = true
	digest, seen := k.images[image]
	k.mu.Unlock()
	switch {
	case done, seen && b.allow(digest, process):
		return v, false, nil
	case seen: // once more, for the message
		if v, _, _, err = openOn(img.Clone(), opts, nil); err == nil {
			err = b.Check(v, process)
		}
		return v, false, err
	}
	v, rows, err := recoverImage(img, opts, image)
	if err != nil {
		return v, true, fmt.Errorf("%w\n  it must be %v", err, b.views)
	}
	k.mu.Lock()
	k.images[image] = v.Digest()
	for _, row := range rows {
		k.rows[row]++
	}
	k.mu.Unlock()
	return v, true, b.Check(v, process)
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

// goOn opens a recovered log again, appends, ends it in one of two ways, and opens
// it once more.
func goOn(m *vfs.Mem, opts wal.Options, v View, pick uint64) error {
	found := v.Digest()
	v2, again, m, err := openOn(m, opts, func(l *wal.Log) error {
		var b wal.Batch
		more := []string{"one", "two, which is longer than the others", ""}
		for _, r := range more {
			b.Add([]byte(r))
		}
		if pick>>16%2 == 0 {
			b.SetMeta([]byte("meta"))
			v = v.WithMeta("meta")
		}
		v = v.Append(more...)
		lsn, err := l.AppendBatch(&b)
		if want := v.Last() - 2; err == nil && lsn != want {
			return fmt.Errorf("the next append got LSN %d, want %d", lsn, want)
		}
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

// openOn opens the log on m, reads it and calls fn, which may be nil. Then the
// process ends, and left is what it leaves.
func openOn(m *vfs.Mem, opts wal.Options, fn func(*wal.Log) error) (v View, r wal.Report, left *vfs.Mem, err error) {
	opts.FS = m
	l, err := wal.Open(dir, &opts)
	if err != nil {
		return v, r, nil, err
	}
	defer l.Close() // ends the goroutines; left is a copy
	v, err = Look(l)
	if err == nil && fn != nil {
		err = fn(l)
	}
	return v, l.Recovery(), m.Clone(), err
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
