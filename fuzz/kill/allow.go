package kill

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/seed3918b8df/tidemark/wal"
)

// allow returns an error unless a log that was s, and of which ops were called, may be
// found as it was; and the operation of the meta that was found. None of ops is alone.
func (s state) allow(found state, foundMeta []byte, ops []*entry, power bool) (ID, error) {
	if err := s.allowFirst(found.first, ops); err != nil {
		return 0, err
	}
	if found.last() < s.last() {
		return 0, fmt.Errorf("it ends at LSN %d, and %d was durable", found.last(), s.last())
	}
	for lsn := max(s.first, found.first); lsn <= s.last(); lsn++ {
		if is, was := found.records[lsn-found.first], s.records[lsn-s.first]; is != was {
			return 0, fmt.Errorf("LSN %d is record %v, and was %v", lsn, is, was)
		}
	}
	at, err := s.match(found, ops)
	if err != nil {
		return 0, err
	}
	for _, e := range ops {
		if e.promised(power) && e.N > 0 && at[e.ID] == 0 && e.first+wal.LSN(e.N) > found.first {
			return 0, fmt.Errorf("%v was acknowledged at LSN %d, and is lost", e, e.first)
		}
	}
	if err := ordered(ops, at); err != nil {
		return 0, err
	}
	return s.allowMeta(found, foundMeta, ops, at)
}

// allowFirst judges the first LSN: that of the last truncation that returned, or of one
// under way.
func (s state) allowFirst(first wal.LSN, ops []*entry) error {
	least := s.first
	for _, e := range ops {
		if e.Kind == Front && e.fate == durable {
			least = max(least, e.Arg)
		}
	}
	if first == least {
		return nil
	}
	for _, e := range ops {
		if e.Kind == Front && e.fate <= late && e.Arg == first && first > least {
			return nil
		}
	}
	return fmt.Errorf("the first LSN is %d, want %d", first, least)
}

// match finds the operations of the records behind s, and returns at which LSN each of
// them begins. Each record must be of one of ops, which is there once, whole, and where
// it was said to be.
func (s state) match(found state, ops []*entry) (at map[ID]wal.LSN, err error) {
	byID := map[ID]*entry{}
	for _, e := range ops {
		byID[e.ID] = e
	}
	at = map[ID]wal.LSN{}
	lsn := max(s.last()+1, found.first)
	for lsn <= found.last() {
		r := found.records[lsn-found.first]
		e := byID[r.ID]
		begins := lsn - wal.LSN(r.I)
		switch {
		case e == nil:
			return nil, fmt.Errorf("LSN %d is record %v, which nobody appended, or which was dropped", lsn, r)
		case e.fate == refused:
			return nil, fmt.Errorf("LSN %d is of %v, which was refused", lsn, e)
		case at[r.ID] != 0:
			return nil, fmt.Errorf("LSN %d is of %v, which is at LSN %d as well", lsn, e, at[r.ID])
		case r.N != e.N, r.I != 0 && lsn != found.first, wal.LSN(r.I) >= lsn, begins <= s.last():
			return nil, fmt.Errorf("LSN %d is record %v, not the first of %v", lsn, r, e)
		case e.first != 0 && e.first != begins:
			return nil, fmt.Errorf("%v is at LSN %d, and was said to be at %d", e, begins, e.first)
		}
		at[r.ID] = begins
		for i := r.I; i < r.N; i, lsn = i+1, lsn+1 {
			if lsn > found.last() || found.records[lsn-found.first] != (Rec{r.ID, i, r.N}) {
				return nil, fmt.Errorf("LSN %d is not record %d of %v, of which others are there", lsn, i, e)
			}
		}
	}
	for _, e := range ops { // those that a truncation dropped have a place too
		if e.fate != refused && e.N > 0 && e.first != 0 && e.first+wal.LSN(e.N) <= found.first {
			at[e.ID] = e.first
		}
	}
	return at, nil
}

// byPlace returns those of ops that have a place, in the order of the log.
func byPlace(ops []*entry, at map[ID]wal.LSN) []*entry {
	var placed []*entry
	for _, e := range ops {
		if at[e.ID] != 0 {
			placed = append(placed, e)
		}
	}
	slices.SortFunc(placed, func(a, b *entry) int { return cmp.Compare(at[a.ID], at[b.ID]) })
	return placed
}

// ordered returns an error if one operation stands before another that had its place
// when it was called.
func ordered(ops []*entry, at map[ID]wal.LSN) error {
	var newest *entry // called last, of those before
	for _, e := range byPlace(ops, at) {
		if newest != nil && e.placed != 0 && e.placed < newest.called {
			return fmt.Errorf("%v is at LSN %d, before %v at %d, which had returned when it was called", newest, at[newest.ID], e, at[e.ID])
		}
		if newest == nil || e.called > newest.called {
			newest = e
		}
	}
	return nil
}

// allowMeta judges the meta: that of the last operation in the log that set one.
func (s state) allowMeta(found state, foundMeta []byte, ops []*entry, at map[ID]wal.LSN) (ID, error) {
	id, first := s.meta, wal.LSN(0)
	known := s.last() // LSNs up to here are accounted for
	for _, e := range byPlace(ops, at) {
		if at[e.ID] == known+1 {
			known += wal.LSN(e.N)
		}
		if e.Kind.setsMeta() {
			id, first = e.ID, at[e.ID]
		}
	}
	if same(foundMeta, id) {
		return id, nil
	}
	if known+1 < found.first && first < found.first { // a truncation dropped records of which nobody told
		for _, e := range ops {
			if e.Kind.setsMeta() && e.fate <= late && e.first == 0 && same(foundMeta, e.ID) {
				return e.ID, nil
			}
		}
	}
	return 0, fmt.Errorf("the meta is %.40q, want that of operation %x", foundMeta, uint64(id))
}

// same reports whether b is the meta of that operation; nil is that of none.
func same(b []byte, id ID) bool {
	if id == 0 {
		return b == nil
	}
	return bytes.Equal(b, meta(id))
}
