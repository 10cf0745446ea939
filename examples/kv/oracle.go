package main

import (
	"fmt"

	"github.com/seed3918b8df/tidemark/wal"
)

// oracle is what the store must hold: the fold of all records so far, made from
// what the child acknowledged, not from what the store says.
type oracle struct {
	last wal.LSN // of the log
	m    map[string]entry
}

// loaded is a round as the parent saw it.
type loaded struct {
	work
	acks []ack
}

// verdict is what a check found out.
type verdict struct {
	recovered int // records of this round
	unacked   int // of these, were in flight
}

// violation says what the store broke.
type violation struct {
	rule      string
	key       string
	lsn       wal.LSN
	want, got string
}

func (v *violation) Error() string {
	return fmt.Sprintf("violation: %s: key %q, LSN %d: expected %s, got %s", v.rule, v.key, v.lsn, v.want, v.got)
}

// slot says which put the record at an LSN is.
type slot struct {
	writer, seq int32
	known       bool
}

// check is the comparison of one store with the oracle after one round.
type check struct {
	*oracle
	loaded
	store *store
	slots []slot // of LSN last+1 and those behind

	next   []int          // of each writer, the put after those acknowledged
	newest []wal.LSN      // of each writer, its last LSN acknowledged
	flight map[string]int // the records of those next puts, and the writer
}

// check returns a violation unless s is what it must be after the round. The
// proof: the log is dense; every LSN of the round is that of an acknowledged
// put, and then its record is that put; or of the one put that its writer had in
// flight, and no put has two. That places every put of the round, so the order is
// known, and with it the whole map: each key, value and LSN in it. Of a record
// that a snapshot made go, the map is the witness. Then the oracle moves on.
func (o *oracle) check(s *store, r loaded) (verdict, error) {
	c := &check{oracle: o, loaded: r, store: s, flight: map[string]int{}}
	end := s.log.LastLSN()
	if end < o.last {
		return verdict{}, &violation{"the log ends before what the last round left", "", o.last, "a record", fmt.Sprintf("an end at %d", end)}
	}
	c.slots = make([]slot, end-o.last)
	for _, step := range []func() error{c.placeAcks, c.listFlight, c.checkLog, c.askMap, c.fold, c.checkMap} {
		if err := step(); err != nil {
			return verdict{}, err
		}
	}
	o.last = end
	return verdict{recovered: len(c.slots), unacked: len(c.slots) - len(r.acks)}, nil
}

// placeAcks notes which put each acknowledged LSN is.
func (c *check) placeAcks() error {
	c.next, c.newest = make([]int, c.writers), make([]wal.LSN, c.writers)
	for w := range c.newest {
		c.newest[w] = c.last
	}
	for _, a := range c.acks {
		o, ok, err := c.op(a.writer, a.seq)
		if err != nil {
			return err
		}
		switch {
		case !ok || a.seq != c.next[a.writer]:
			return fmt.Errorf("writer %d acknowledged put %d, want %d", a.writer, a.seq, c.next[a.writer])
		case a.lsn <= c.newest[a.writer]:
			return &violation{"a put has an LSN that is not above what was there before it", o.key, a.lsn,
				fmt.Sprintf("above %d", c.newest[a.writer]), fmt.Sprint(a.lsn)}
		case a.lsn > c.last+wal.LSN(len(c.slots)):
			return &violation{"an acknowledged put is lost", o.key, a.lsn,
				fmt.Sprintf("%q", o.value), fmt.Sprintf("a log that ends at LSN %d", c.last+wal.LSN(len(c.slots)))}
		}
		at := &c.slots[a.lsn-c.last-1]
		if at.known {
			return &violation{"two puts were acknowledged with one LSN", o.key, a.lsn,
				fmt.Sprintf("put %d of writer %d", at.seq, at.writer), fmt.Sprintf("put %d of writer %d", a.seq, a.writer)}
		}
		*at = slot{writer: int32(a.writer), seq: int32(a.seq), known: true}
		c.next[a.writer], c.newest[a.writer] = a.seq+1, a.lsn
	}
	return nil
}

// listFlight notes what each writer may have had in flight.
func (c *check) listFlight() error {
	for w, seq := range c.next {
		o, ok, err := c.op(w, seq)
		if err != nil {
			return err
		}
		if ok {
			c.flight[string(appendOp(nil, o))] = w
		}
	}
	return nil
}

// checkLog compares the records of the round that the log retains.
func (c *check) checkLog() error {
	next := max(c.store.log.FirstLSN(), c.last+1)
	var want []byte
	for r, err := range c.store.log.Records(next) {
		if err != nil {
			return fmt.Errorf("reading LSN %d: %w", next, err)
		}
		if r.LSN != next {
			return &violation{"the log is not dense", "", r.LSN, fmt.Sprintf("LSN %d", next), fmt.Sprint(r.LSN)}
		}
		next++
		at := &c.slots[r.LSN-c.last-1]
		if !at.known {
			if err := c.placeFlight(string(r.Data), r.LSN); err != nil {
				return err
			}
			continue
		}
		o, _, err := c.op(int(at.writer), int(at.seq))
		if err != nil {
			return err
		}
		if want = appendOp(want[:0], o); string(want) != string(r.Data) {
			return &violation{"the record is not what was acknowledged", o.key, r.LSN, fmt.Sprintf("%q", want), fmt.Sprintf("%q", r.Data)}
		}
	}
	if end := c.last + wal.LSN(len(c.slots)); next != end+1 {
		return &violation{"reading ends before the log does", "", end, "a record", fmt.Sprintf("an end before LSN %d", next)}
	}
	return nil
}

// placeFlight notes that the record at lsn, which nobody acknowledged, was in
// flight.
func (c *check) placeFlight(record string, lsn wal.LSN) error {
	w, ok := c.flight[record]
	key := ""
	if o, err := parseOp([]byte(record)); err == nil {
		key = o.key
	}
	if !ok {
		return &violation{"a record was neither acknowledged nor in flight", key, lsn, "one of the puts in flight", fmt.Sprintf("%q", record)}
	}
	if lsn <= c.newest[w] {
		return &violation{"a put has an LSN that is not above its writer's last", key, lsn, fmt.Sprintf("above %d", c.newest[w]), fmt.Sprint(lsn)}
	}
	delete(c.flight, record)
	c.slots[lsn-c.last-1] = slot{writer: int32(w), seq: int32(c.next[w]), known: true}
	return nil
}

// askMap places the puts in flight whose records a snapshot made go: those that
// the map still holds. Others of them were followed by a put of the same key.
func (c *check) askMap() error {
	unknown := 0
	for _, at := range c.slots {
		if !at.known {
			unknown++
		}
	}
	if unknown > len(c.flight) {
		return fmt.Errorf("violation: %d records below LSN %d are unaccounted for, and %d puts were in flight",
			unknown, c.store.log.FirstLSN(), len(c.flight))
	}
	if unknown == 0 {
		return nil
	}
	for e := range c.store.scan("") {
		lsn := wal.LSN(e.lsn)
		if lsn <= c.last || lsn > c.last+wal.LSN(len(c.slots)) || c.slots[lsn-c.last-1].known {
			continue
		}
		if err := c.placeFlight(string(appendOp(nil, op{kind: opPut, key: e.key, value: e.value})), lsn); err != nil {
			return err
		}
	}
	return nil
}

// fold applies the puts of the round in the order of their LSNs.
func (c *check) fold() error {
	for i, at := range c.slots {
		if !at.known {
			continue
		}
		o, _, err := c.op(int(at.writer), int(at.seq))
		if err != nil {
			return err
		}
		c.m[o.key] = entry{key: o.key, value: o.value, lsn: uint64(c.last) + 1 + uint64(i)}
	}
	return nil
}

// checkMap compares the store's map.
func (c *check) checkMap() error {
	n := 0
	for got := range c.store.scan("") {
		if want, ok := c.m[got.key]; !ok || got != want {
			return wrongEntry(got.key, want, got)
		}
		n++
	}
	if n == len(c.m) {
		return nil
	}
	for key, want := range c.m {
		if _, ok, err := c.store.get(key); !ok || err != nil {
			return wrongEntry(key, want, entry{})
		}
	}
	return fmt.Errorf("violation: a scan gives %d keys, and there are %d", n, len(c.m))
}

// wrongEntry is a key that the map holds otherwise than the log says. An entry
// without an LSN is none.
func wrongEntry(key string, want, got entry) error {
	tell := func(e entry) string {
		if e.lsn == 0 {
			return "no such key"
		}
		return fmt.Sprintf("%q of LSN %d", e.value, e.lsn)
	}
	return &violation{"the map is not what the log says", key, wal.LSN(max(want.lsn, got.lsn)), tell(want), tell(got)}
}
