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

// stepKind is a way to change the directory.
type stepKind uint8

const (
	stepRewrite stepKind = iota // write [from, to) of the file again, and sync it
	stepFlip                    // write the byte of flip, and sync it
	stepSync                    // sync the file, which is shorter than it was made
	stepRemove                  // remove the file
	stepAside                   // rename the file, so that it is no segment's any more
	stepSyncDir
)

// step is one change that a plan asks for.
type step struct {
	kind     stepKind
	name     string
	from, to int64
	flip     segment.Flip
}

// String says what the step does, as an operator reads it.
func (s step) String() string {
	switch s.kind {
	case stepRewrite:
		return fmt.Sprintf("write %s from %d to %d again", s.name, s.from, s.to)
	case stepFlip:
		return fmt.Sprintf("flip bit %#x of %s at %d back", s.flip.Mask, s.name, s.from)
	case stepSync:
		return "sync " + s.name + ", which was cut"
	case stepRemove:
		return "remove " + s.name
	case stepAside:
		return "rename " + s.name + " to " + s.name + segment.QuarantinedExt
	}
	return "sync the directory"
}

// all returns the steps of Apply in their order.
func (p *Plan) all() []step { return slices.Concat(p.front, p.repairs, p.removals) }

// FrontDue reports whether both slots of FRONT are to be written, since they do not say
// the same, and whether they must be, since a point-in-time recovery found them wrong.
func (p *Plan) FrontDue() (due, must bool) { return len(p.front) > 0 || p.refuted, p.refuted }

// Steps returns what [Plan.Apply] and [Plan.Finish] would do, a line each.
func (p *Plan) Steps() []string {
	var lines []string
	for _, s := range p.all() {
		lines = append(lines, s.String())
	}
	if due, _ := p.FrontDue(); due || !p.Exists && len(p.Chain) > 0 {
		lines = append(lines, "write both slots of "+segment.FrontName)
	}
	if p.Renew {
		lines = append(lines, p.renewal())
	}
	for _, name := range p.quarantine {
		lines = append(lines, "rename "+name+" to "+name+segment.QuarantinedExt)
	}
	return lines
}

// renewal says what the next segment is opened for.
func (p *Plan) renewal() string {
	if p.Pin.ID == 0 {
		return fmt.Sprintf("open segment %d", p.NextID)
	}
	return fmt.Sprintf("open segment %d, which ends %s at %d", p.NextID, segment.Name(p.Pin.ID), p.Pin.Length)
}

// Apply brings the log in order, but for what must wait until the next segment
// is open: [Plan.Finish]. It may be interrupted at any call, and another examination
// then gives the same log. After it returned nil every record of the log is durable,
// unless the kernel forgot a page meanwhile: see [Settle]. The caller holds the lock.
func (p *Plan) Apply() error {
	if p.refusal != nil {
		return p.refusal
	}
	return p.applyAll(p.all())
}

func (p *Plan) applyAll(steps []step) error {
	for _, s := range steps {
		if err := p.apply(s); err != nil {
			return fmt.Errorf("recovery: %s: %w", s, err)
		}
	}
	return nil
}

func (p *Plan) apply(s step) error {
	path := filepath.Join(p.cfg.Dir, s.name)
	switch s.kind {
	case stepRemove:
		if err := p.cfg.FS.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	case stepAside:
		return p.cfg.FS.Rename(path, path+segment.QuarantinedExt)
	case stepSyncDir:
		return p.cfg.FS.SyncDir(p.cfg.Dir)
	}
	file, err := p.cfg.FS.Open(path, vfs.ReadWrite)
	if err != nil {
		return err
	}
	switch s.kind {
	case stepFlip:
		_, err = file.WriteAt([]byte{s.flip.Byte}, s.flip.Off) // not what stands there with a bit flipped: that may be another by now
	case stepRewrite:
		err = rewrite(file, s.from, s.to)
	}
	if err == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	return err
}

// settleTries is how often [Settle] looks again before it gives up.
const settleTries = 4

// Settle examines a directory and brings the log in order, so that every record of it
// is durable. Where there was anything to do it examines it once more, before it removes
// a file: the kernel may have dropped a page that a failed writeback left clean between
// two reads of it, and then what was verified is not what was written again. Its errors
// are those of Examine and [Plan.Apply], and one for a log that is another each time.
func Settle(cfg Config) (*Plan, error) {
	p, err := Examine(cfg)
	if err != nil {
		return nil, err
	}
	for range settleTries {
		if p.refusal != nil || !p.changes() {
			return p, p.Apply()
		}
		if err := p.applyAll(slices.Concat(p.front, p.repairs)); err != nil {
			return nil, err
		}
		again, err := Examine(cfg)
		if err != nil {
			return nil, err
		}
		if p.same(again) {
			return p, p.applyAll(p.removals)
		}
		again.Report.Flipped = slices.Concat(p.Report.Flipped, again.Report.Flipped)
		p = again
	}
	if p.refusal != nil {
		return p, p.refusal
	}
	return nil, fmt.Errorf("recovery: %s: the log is another each time that it is read", cfg.Dir)
}

// changes reports whether the plan changes more than leftovers that were never used.
func (p *Plan) changes() bool {
	return p.Renew || len(p.front)+len(p.repairs) > 0 || slices.ContainsFunc(p.removals, func(s step) bool {
		_, ok := segment.ParseName(s.name)
		return ok
	})
}

// same reports whether q, of a later examination, found the log that p did, and no bit
// flipped in it any more. The pin's sums are of all that the log holds.
func (p *Plan) same(q *Plan) bool {
	return q.refusal == nil && q.Front == p.Front && slices.Equal(q.Chain, p.Chain) && q.Pin == p.Pin && len(q.Report.Flipped) == 0
}

// rewriteChunk bounds the memory of a rewrite.
const rewriteChunk = 1 << 20

// rewrite writes the bytes of [from, to) where they are.
func rewrite(file vfs.File, from, to int64) error {
	buf := make([]byte, min(rewriteChunk, to-from))
	for off := from; off < to; off += int64(len(buf)) {
		b := buf[:min(int64(len(buf)), to-off)]
		if _, err := file.ReadAt(b, off); err != nil {
			return err
		}
		if _, err := file.WriteAt(b, off); err != nil {
			return err
		}
	}
	return nil
}

// Finish does what a point-in-time recovery must do last: it renames what the
// log gave up. The segment that ends the log must be open and durable. In the
// other modes it does nothing.
func (p *Plan) Finish() error {
	for _, name := range p.quarantine {
		if err := p.apply(step{kind: stepAside, name: name}); err != nil {
			return fmt.Errorf("recovery: %w", err)
		}
	}
	if len(p.quarantine) > 0 {
		return p.cfg.FS.SyncDir(p.cfg.Dir)
	}
	return nil
}

// setAside plans what a point-in-time recovery that was interrupted left to do.
func (p *Plan) setAside(name string) {
	p.removals = append(p.removals, step{kind: stepAside, name: name})
	p.Report.Quarantined = append(p.Report.Quarantined, name)
}

// removeAll plans the removal of files that nothing refers to, in any order.
func (p *Plan) removeAll(names []string) {
	for _, name := range names {
		p.removals = append(p.removals, step{kind: stepRemove, name: name})
		p.Report.Removed = append(p.Report.Removed, name)
	}
}
