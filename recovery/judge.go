package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/seed3918b8df/tidemark/segment"
)

// row decides, and notes what was decided and damage.
func (p *Plan) row(f Facts, damage func(why string) *segment.CorruptError) Row {
	r := Decide(f)
	p.Report.Rows = append(p.Report.Rows, r.Label)
	if r.Verdict == Corrupt {
		p.corrupt(damage(r.Why))
	}
	return r
}

// damaged returns err, a CorruptError, as one that says why it matters.
func damaged(err error, path string) func(string) *segment.CorruptError {
	return func(why string) *segment.CorruptError {
		var at *segment.CorruptError
		if !errors.As(err, &at) {
			return &segment.CorruptError{Path: path, Reason: why}
		}
		e := *at
		e.Reason = why + ": " + e.Reason
		return &e
	}
}

// judge finds the chain and judges its segments, newest first. It stops at the
// first damage that leaves nothing to go on with.
func (p *Plan) judge(d *directory) error {
	if p.refusal != nil {
		return nil
	}
	var live []uint64
	for _, id := range d.segments {
		if id >= p.Front.Oldest {
			live = append(live, id)
		} else {
			p.removeAll([]string{segment.Name(id)})
		}
	}
	for {
		top, older, err := p.newest(d, live)
		if err != nil || top == nil {
			return err
		}
		torn, err := p.judgeChain(d, top, older)
		if err != nil || torn == 0 {
			return err
		}
		live = p.forget(d, torn)
	}
}

// newest returns the newest segment of live with a valid opening group, nil if
// there is none, and the ids before it. It judges those that are newer.
func (p *Plan) newest(d *directory, live []uint64) (top *candidate, older []uint64, err error) {
	for len(live) > 0 && top == nil {
		c, err := p.open(live[len(live)-1])
		if err != nil {
			return nil, nil, err
		}
		live = live[:len(live)-1]
		if c.headErr == nil && c.openErr == nil {
			top = c
			break
		}
		what, err := p.judgeBeyond(d, c)
		if what == Keep && err == nil {
			top = c
			break
		}
		if what == Remove {
			p.remove(c.id)
		}
		c.close()
		if err != nil {
			return nil, nil, err
		}
	}
	if newest := p.Front.Newest; newest > 0 && (top == nil || top.id < newest) && p.refusal == nil {
		path := segment.Path(p.cfg.Dir, newest)
		file := FileAbsent
		if d.has(newest) {
			file = FileHeaderless
		}
		p.row(Facts{Role: RoleLast, File: file}, damaged(nil, path))
	}
	return top, live, nil
}

// forget gives up the segment torn, of which the opening group was lost before any
// sync, and all that is newer, since it follows torn. It returns the ids before it.
func (p *Plan) forget(d *directory, torn uint64) (live []uint64) {
	for _, id := range d.segments {
		if p.Front.Oldest <= id && id < torn {
			live = append(live, id)
		}
	}
	p.removeAllOf(d, torn, p.Last.ID)
	r := p.Report
	if p.drop(); r.CutPath == segment.Path(p.cfg.Dir, torn) { // judgeBeyond found more than zeros
		p.Report.Tail, p.Report.CutPath, p.Report.CutAt, p.Report.CutBytes = r.Tail, r.CutPath, r.CutAt, r.CutBytes
	}
	return live
}

// drop takes back what accept planned for a segment that is no part of the log.
func (p *Plan) drop() {
	r := &p.Report
	p.Last, p.repairs, p.Renew = nil, nil, false
	r.Tail, r.CutPath, r.CutAt, r.CutBytes = TailTorn, "", 0, 0
	r.Flipped, r.Rewritten, r.Closed, r.Durable = nil, 0, false, 0
}

// removeAllOf plans the removal of the segments with ids from first to last.
func (p *Plan) removeAllOf(d *directory, first, last uint64) {
	for i := len(d.segments) - 1; i >= 0; i-- {
		if id := d.segments[i]; first <= id && id <= last {
			p.remove(id)
		}
	}
}

// judgeBeyond judges a segment without a valid opening group, behind which the
// log cannot go on: there is no newer one with a valid one, or it was never
// durable. It returns Keep if it has one but for one flipped bit, and nothing
// proves that it was durable; else Remove, or Refuse.
func (p *Plan) judgeBeyond(d *directory, c *candidate) (Action, error) {
	if c.headErr != nil {
		p.row(Facts{Role: RoleBeyond, File: FileHeaderless}, damaged(c.headErr, c.path))
		return Refuse, nil
	}
	if c.size < c.least {
		p.row(Facts{Role: RoleBeyond, File: FileShort}, c.short)
		return Refuse, nil
	}
	claims, err := p.scanner.Claims(c.file, c.header, segment.HeaderSize, c.size)
	if err != nil {
		return Refuse, err
	}
	if claims.Newer != "" {
		return Refuse, &segment.VersionError{Path: c.path, Offset: claims.At, What: claims.Newer}
	}
	if !claims.Zero && !claims.Hole && claims.Durable <= segment.HeaderSize && c.id > p.Front.Newest {
		damage := c.openErr
		whole, err := c.unflip()
		if whole {
			var sealed bool
			sealed, err = p.sealedBefore(d, c)
			whole = !sealed && err == nil
		}
		if whole || err != nil {
			return Keep, err
		}
		c.openErr = damage
	}
	r := p.row(Facts{Role: RoleBeyond, Below: claims.Durable > segment.HeaderSize, Torn: !claims.Zero, Sealed: claims.Sealed},
		damaged(c.openErr, c.path))
	if r.Action == Remove && !claims.Zero { // the first records of a segment, and with them what could have been acknowledged
		p.Report.Tail = TailAmbiguous
		if tornAt(segment.HeaderSize, claims) {
			p.Report.Tail = TailTorn
		}
		p.Report.CutPath, p.Report.CutAt = c.path, segment.HeaderSize
		p.Report.CutBytes = claims.Used - segment.HeaderSize
		p.Report.LostTo = max(p.Report.LostTo, claims.Last)
	}
	return r.Action, nil
}

// remove plans the removal of a segment that is newer than what the log
// consists of. The directory is synced behind each, so that a segment never
// outlives the one that it names.
func (p *Plan) remove(id uint64) {
	p.removals = append(p.removals, step{kind: stepRemove, name: segment.Name(id)}, step{kind: stepSyncDir})
	p.Report.Removed = append(p.Report.Removed, segment.Name(id))
}

// judgeChain judges the last segment, top, and those before it: all, or as many
// as a crash can have touched. older are the ids of the files before top. torn is
// not 0 if the segment with that id lost its opening group before any sync: it and
// what follows it are no part of the log.
func (p *Plan) judgeChain(d *directory, top *candidate, older []uint64) (torn uint64, err error) {
	at := top
	defer func() { at.close() }()
	if p.cfg.Full {
		p.ahead.begin(top)
		defer p.ahead.end()
	}
	s, err := top.scan(nil)
	if err != nil {
		return 0, err
	}
	whole, err := s.unflip(top.read)
	if err != nil {
		return 0, err
	}
	if whole != nil {
		s = whole
	}
	p.row(s.facts(), s.damage)
	p.accept(s)
	p.noteGivenUp(d, top)
	chain := []uint64{top.id}               // newest first
	proved := s.Proved > segment.HeaderSize // all before at is
	for {
		pin := at.first.Prev
		if pin.ID == 0 || pin.ID < p.Front.Oldest {
			break
		}
		proved = proved || pin.Durable == pin.Length
		if proved && !p.cfg.Full && at.first.Irregular != at.id {
			// The ids down to the irregular one follow each other.
			oldest := max(at.first.Irregular, p.Front.Oldest)
			id := at.id - 1
			for ; id > oldest && d.has(id); id-- {
				chain = append(chain, id)
			}
			chain = append(chain, id)
			if pin = (segment.Pin{ID: id}); id == p.Front.Oldest && id <= p.Front.Newest && d.has(id) {
				break // FRONT says what begins there
			}
		} else {
			chain = append(chain, pin.ID)
		}
		c, err := p.openEarlier(d, pin, proved)
		if c == nil {
			return 0, err
		}
		at.close()
		at = c
		p.noteGivenUp(d, c)
		if c.openErr != nil {
			switch what, err := p.judgeBeyond(d, c); {
			case err != nil, what == Refuse:
				return 0, err
			case what == Remove:
				return c.id, nil
			}
		}
		if proved && !p.cfg.Full {
			continue
		}
		died, err := p.judgeEarlier(c, pin, proved)
		if err != nil {
			return 0, err
		}
		if died {
			p.Renew = true // what proved c goes
			p.removeAllOf(d, c.id+1, chain[0])
			chain = []uint64{c.id}
		}
		proved = proved || pin.Durable > segment.HeaderSize
	}
	p.finishChain(at, chain, older)
	return 0, nil
}

// noteGivenUp notes which segments c's opening says are to be kept aside.
func (p *Plan) noteGivenUp(d *directory, c *candidate) {
	if c.first.Compat&segment.CompatGivenUp == 0 {
		return
	}
	if p.aside == nil {
		p.aside = map[uint64]bool{}
	}
	for _, id := range d.segments {
		p.aside[id] = p.aside[id] || c.first.Prev.ID < id && id < c.id
	}
}

// openEarlier opens the segment that pin names; of one that was skipped to only the id
// is known. proved says that something newer proves it. It returns nil after damage,
// which it noted, or an error. Without an opening group it is not damaged if nothing
// proves that.
func (p *Plan) openEarlier(d *directory, pin segment.Pin, proved bool) (*candidate, error) {
	path := segment.Path(p.cfg.Dir, pin.ID)
	if !d.has(pin.ID) {
		p.row(Facts{Role: RoleEarlier, File: FileAbsent}, func(why string) *segment.CorruptError {
			return &segment.CorruptError{Path: path, LSN: pin.Last, Reason: why, ValidBeyond: true}
		})
		return nil, nil
	}
	c, err := p.ahead.open(p, pin.ID)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		p.Report.Rows = append(p.Report.Rows, Decide(Facts{Role: RoleEarlier, File: FileUnreadable}).Label)
		return nil, err
	}
	switch {
	case c.headErr == nil && pin != segment.Pin{ID: pin.ID} && c.header.Salt != pin.Salt:
		c.headErr = &segment.CorruptError{Path: path, Reason: "sum of salt of the segment", Stored: c.header.Salt, Computed: pin.Salt}
		fallthrough
	case c.headErr != nil:
		p.row(Facts{Role: RoleEarlier, File: FileHeaderless}, damaged(c.headErr, path))
	case c.openErr != nil && (proved || pin.Durable > segment.HeaderSize):
		p.row(Facts{Role: RoleEarlier, Below: true}, damaged(c.openErr, path))
	default:
		return c, nil
	}
	c.close()
	return nil, nil
}

// judgeEarlier judges a segment that a later one ends at pin. proved says that
// something newer proves all of it. died says that the log ends in it.
func (p *Plan) judgeEarlier(c *candidate, pin segment.Pin, proved bool) (died bool, err error) {
	s, err := c.scan(&pin)
	if err != nil {
		return false, err
	}
	s.Proved = max(min(s.Proved, pin.Length), pin.Durable)
	if proved || s.claims.Sealed {
		s.Proved = pin.Length
	}
	whole := s.X == pin.Length && s.EndChain == pin.Chain && s.EndLSN == pin.Last
	if s.X == pin.Length && !whole {
		s.X = 0 // its bytes verify and are not those that were pinned
		s.Why = nil
	}
	r := p.row(Facts{Role: RoleEarlier, File: s.file(whole), Below: s.X < s.Proved, Torn: !whole, Sealed: s.claims.Sealed, Unproved: s.EndFrame > s.Proved},
		s.damage)
	if s.Durable, err = s.provedLSN(c.read); err != nil {
		return false, err
	}
	switch r.Action {
	case Rewrite:
		p.rewrite(s)
		p.Report.Durable = min(p.Report.Durable, s.Durable) // nothing newer proves what this does not
	case RewriteAndCut:
		p.drop()
		p.accept(s)
		return true, nil
	}
	return false, nil
}

// accept makes s the last segment of the log, and plans what its tail asks for.
func (p *Plan) accept(s *Scan) {
	r := &p.Report
	p.Last, r.Closed, r.Durable = s, s.Closed && s.claims.Zero, s.Durable
	tail, from, to := s.tail()
	r.LostFrom, r.LostTo = from, max(r.LostTo, to)
	p.rewrite(s)
	if tail == TailClean {
		if s.Size < s.Header.Size && !s.Closed && !p.Renew {
			// It was cut for want of space. The sync of that may have failed, or may never
			// have been, and then a crash would bring back what was cut.
			p.repairs = append(p.repairs, step{kind: stepSync, name: segment.Name(s.ID)})
		}
		return
	}
	r.Tail, r.CutPath, r.CutAt, r.CutBytes = tail, s.Path, s.End, max(0, s.claims.Used-s.End)
	p.Renew = true
}

// rewrite plans that what nothing proves of s is written again.
func (p *Plan) rewrite(s *Scan) {
	for _, f := range s.Flips {
		p.repairs = append(p.repairs, step{kind: stepFlip, name: segment.Name(s.ID), from: f.Off, flip: f})
		p.Report.Flipped = append(p.Report.Flipped, Place{Path: s.Path, Off: f.Off})
		p.Renew = true
	}
	if s.EndFrame <= s.Proved {
		return
	}
	from := max(s.Proved, segment.HeaderSize)
	p.repairs = append(p.repairs, step{kind: stepRewrite, name: segment.Name(s.ID), from: from, to: s.End})
	p.Report.Rewritten += s.End - from
	p.Renew = true
}

// finishChain notes the chain, of which root is the oldest segment, and plans
// the removal of the files that are not in it.
func (p *Plan) finishChain(root *candidate, chain, older []uint64) {
	in := map[uint64]bool{}
	for i := len(chain) - 1; i >= 0; i-- {
		p.Chain = append(p.Chain, chain[i])
		in[chain[i]] = true
	}
	for _, id := range older {
		switch {
		case in[id], p.Last == nil, id > p.Last.ID:
		case p.aside[id]:
			p.setAside(segment.Name(id))
		default:
			p.removeAll([]string{segment.Name(id)}) // dead, or older than a reset
		}
	}
	if root.id == chain[len(chain)-1] {
		p.judgeFirst(root)
	}
}

// judgeFirst holds the first LSN that FRONT says against the oldest segment. Of one
// that follows nothing and that FRONT does not know yet the segment says it.
func (p *Plan) judgeFirst(oldest *candidate) {
	base := oldest.first.Base
	if oldest.first.Prev.ID == 0 && oldest.id > p.Front.Newest {
		p.Front.First = base
	} else if p.Front.First < base {
		p.corrupt(&segment.CorruptError{Path: filepath.Join(p.cfg.Dir, segment.FrontName), LSN: p.Front.First,
			Reason: fmt.Sprintf("the log begins with LSN %d, and its oldest segment with %d", p.Front.First, base)})
		if p.cfg.Mode == PointInTime {
			p.Front.First, p.refuted = base, true
		}
	}
}
