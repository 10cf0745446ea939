package recovery

import (
	"slices"

	"github.com/seed3918b8df/tidemark/segment"
)

// salvage plans a point-in-time recovery. It goes from the oldest segment up,
// as far as each is whole up to the end that the next one names, and gives up
// what lies behind the first damage, and every file the log then has no use for.
func (p *Plan) salvage(d *directory) error {
	opened := map[uint64]*candidate{}
	defer func() {
		for _, c := range opened {
			c.close()
		}
	}()
	for _, id := range d.segments {
		c, err := p.open(id)
		if err != nil {
			return err
		}
		opened[id] = c
	}
	if !p.Exists {
		p.disown(d, opened)
	}
	after := map[uint64]*candidate{} // by the id of the segment before
	for _, id := range d.segments {
		if c := opened[id]; c.headErr == nil && c.openErr == nil {
			after[c.first.Prev.ID] = c // of two that name the same segment the newer counts
		}
	}
	at := p.root(d, opened, after)
	if at == nil && (len(d.segments) > 0 || p.Front.Newest > 0) {
		var err error
		if at, err = p.withoutRoot(d, opened, after); err != nil {
			return err
		}
		if at != nil && !p.Exists {
			p.frontFrom(at)
		}
	}
	if at != nil {
		p.judgeFirst(at)
	}
	kept := map[uint64]bool{}
	for at != nil {
		next := after[at.id]
		if next == nil {
			var err error
			if next, err = p.behind(d, at, opened, after); err != nil {
				return err
			}
		}
		next, err := p.climb(at, next, after)
		if err != nil {
			return err
		}
		p.Chain = append(p.Chain, at.id)
		kept[at.id] = true
		at = next
	}
	for _, id := range d.segments {
		if !kept[id] {
			p.quarantine = append(p.quarantine, segment.Name(id))
			p.Report.Quarantined = append(p.Report.Quarantined, segment.Name(id))
			p.Renew, p.GivenUp = true, true
		}
	}
	if len(p.Report.Corruptions) > 0 {
		p.Renew = true // what was accepted is not to be found again
	}
	return p.newestMeta(d, opened)
}

// disown excludes the segments of another log where FRONT, which names the log, is
// lost: the log is the one that most segments are of, or the oldest.
func (p *Plan) disown(d *directory, opened map[uint64]*candidate) {
	var log segment.LogID
	most, count := 0, map[segment.LogID]int{}
	for _, id := range slices.Backward(d.segments) {
		c := opened[id]
		if c.headErr != nil {
			continue
		}
		if count[c.header.Log]++; count[c.header.Log] >= most {
			log, most = c.header.Log, count[c.header.Log]
		}
	}
	p.Front.Log = log
	for _, id := range d.segments {
		c := opened[id]
		if c.headErr != nil {
			continue
		}
		if e := c.foreign(); e != nil {
			c.headErr = e
			p.corrupt(e)
		}
	}
}

// root returns the oldest segment of the log, or nil if it is not there. If
// FRONT is lost, it is the newest that follows nothing, or else the oldest that has
// a valid opening, and FRONT is to be written again.
func (p *Plan) root(d *directory, opened, after map[uint64]*candidate) *candidate {
	if r := after[0]; r != nil && r.id > p.Front.Newest {
		if !p.Exists {
			p.frontFrom(r)
		}
		return r
	}
	for _, id := range d.segments {
		c := opened[id]
		if c.headErr != nil || c.openErr != nil {
			continue
		}
		if !p.Exists {
			p.frontFrom(c)
			return c
		}
		if id >= p.Front.Oldest {
			if id == p.Front.Oldest || c.first.Prev.ID == 0 || c.first.Prev.ID < p.Front.Oldest {
				return c
			}
			return nil
		}
	}
	return nil
}

// frontFrom makes up a FRONT that is lost from the oldest segment.
func (p *Plan) frontFrom(c *candidate) {
	p.Front = segment.Front{Log: c.header.Log, First: c.first.Base, Oldest: c.id, Newest: c.id}
	p.Report.Log = p.Front.Log.String()
}

// withoutRoot judges the oldest segment, which has no valid opening group or is
// absent. It returns it if it has one but for one flipped bit.
func (p *Plan) withoutRoot(d *directory, opened, after map[uint64]*candidate) (*candidate, error) {
	c := opened[p.Front.Oldest]
	if c == nil { // it may never have come to be, if the one that is there follows nothing
		if at := slices.IndexFunc(d.segments, func(id uint64) bool { return id > p.Front.Oldest }); at >= 0 {
			c = opened[d.segments[at]]
		}
		if c == nil || c.id <= p.Front.Newest || c.headErr == nil && c.openErr == nil {
			p.row(Facts{Role: RoleEarlier, File: FileAbsent}, damaged(nil, segment.Path(p.cfg.Dir, p.Front.Oldest)))
			return nil, nil
		}
	}
	if newer, err := provedBy(after[c.id], after); err != nil {
		return nil, err
	} else if newer && c.headErr == nil {
		p.row(Facts{Role: RoleEarlier, Below: true}, damaged(c.openErr, c.path))
		return nil, nil
	}
	if what, err := p.judgeBeyond(d, c); what != Keep || err != nil {
		return nil, err
	}
	return c, nil
}

// behind judges the segments without a valid opening group that are newer than at,
// which none with one follows. It returns the one that follows at but for one flipped
// bit, if nothing proves that it was durable; nil: there is none.
func (p *Plan) behind(d *directory, at *candidate, opened, after map[uint64]*candidate) (*candidate, error) {
	for _, id := range d.segments {
		c := opened[id]
		if id <= at.id || c.headErr != nil || c.openErr == nil || after[id] != nil {
			continue
		}
		what, err := p.judgeBeyond(d, c)
		if err != nil {
			return nil, err
		}
		if what == Keep && c.first.Prev.ID == at.id && c.first.Prev.Salt == at.header.Salt {
			return c, nil
		}
	}
	return nil, nil
}

// climb judges at and returns next, which follows it if it is not nil, if at is whole.
func (p *Plan) climb(at, next *candidate, after map[uint64]*candidate) (*candidate, error) {
	var pin *segment.Pin
	if next != nil && next.first.Prev.Salt == at.header.Salt {
		pin = &next.first.Prev
	}
	s, err := at.scan(pin)
	if err != nil {
		return nil, err
	}
	if pin == nil {
		whole, err := s.unflip(at.read)
		if err != nil {
			return nil, err
		}
		if whole != nil {
			s = whole
		}
		p.row(s.facts(), s.damage)
		if s.ID < p.Front.Newest || next != nil {
			p.row(Facts{Role: RoleLast, File: FileAbsent}, damaged(nil, segment.Path(p.cfg.Dir, max(s.ID+1, p.Front.Newest))))
		}
		p.accept(s)
		return nil, nil
	}
	s.Proved = max(min(s.Proved, pin.Length), pin.Durable)
	whole := s.X == pin.Length && s.EndChain == pin.Chain && s.EndLSN == pin.Last
	newer := s.claims.Sealed
	if !whole && !newer {
		if newer, err = provedBy(next, after); err != nil {
			return nil, err
		}
	}
	if newer {
		s.Proved = pin.Length
	}
	p.row(Facts{Role: RoleEarlier, File: s.file(whole), Below: s.X < s.Proved || !whole && s.X == pin.Length, Torn: !whole,
		Sealed: s.claims.Sealed, Unproved: s.EndFrame > s.Proved}, s.damage)
	if whole {
		p.rewrite(s)
		return next, nil
	}
	if s.Durable, err = s.provedLSN(at.read); err != nil {
		return nil, err
	}
	p.accept(s)
	return nil, nil
}

// provedBy reports whether next, or one that follows it, claims that something of it
// was durable: then all before was.
func provedBy(next *candidate, after map[uint64]*candidate) (bool, error) {
	for ; next != nil; next = after[next.id] {
		c, err := next.plan.scanner.Claims(next.file, next.header, segment.HeaderSize, next.size)
		if err != nil || c.Durable > segment.HeaderSize {
			return err == nil, err
		}
	}
	return false, nil
}

// newestMeta notes the newest meta that verifies anywhere: the one in force may
// be older, when the log was ended at damage.
func (p *Plan) newestMeta(d *directory, opened map[uint64]*candidate) error {
	for i := len(d.segments) - 1; i >= 0; i-- {
		c := opened[d.segments[i]]
		if c.headErr != nil || c.openErr != nil {
			continue
		}
		s, err := c.scan(nil)
		if err != nil {
			return err
		}
		p.Report.NewestMeta = s.Meta
		return nil
	}
	return nil
}
