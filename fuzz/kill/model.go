package kill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/seed3918b8df/tidemark/wal"
)

// Model is what a log must be, by the reports of those who wrote it. It is for one
// goroutine.
type Model struct {
	Records int // acknowledged as durable, in all reports so far
	Copied  int // acknowledged as handed to the operating system
	Lost    int // not acknowledged as durable, and not there when the log was opened
	Found   int // nor these, which were
	Late    int // acknowledged as durable by a disk that was going
	Gone    int // of these, not there when the log was opened

	base state    // durable, and all of it known
	ops  []*entry // called since, in that order
	byID map[ID]*entry
	done map[ID]bool // in the base, or dropped by what is
	line int         // of the report
}

// entry is an operation that was called.
type entry struct {
	Op
	fate  fate
	first wal.LSN // of its first record; 0: not known, it has not said so

	called, placed int // lines of the report; placed is when its LSN was known, 0 before
}

// fate is what the caller of an operation was told.
type fate uint8

const (
	underWay fate = iota // nothing; or that the outcome is unknown
	late                 // that it is done, by a disk that was going: it may be
	handed               // that the end of the process will not take it
	durable              // that a power loss will not take it
	refused              // that it is certainly not in the log
)

// state is a log of which everything is known.
type state struct {
	first   wal.LSN
	records []Rec
	meta    ID // 0: never set
}

func (s state) last() wal.LSN { return s.first + wal.LSN(len(s.records)) - 1 }

// NewModel returns the model of a log that is yet to be made, with that first LSN.
func NewModel(first wal.LSN) *Model {
	return &Model{base: state{first: first}, byID: map[ID]*entry{}, done: map[ID]bool{}}
}

// Line reads one line of a report.
//
//	i ID KIND RECORDS ARGUMENT    the operation is about to be called
//	o ID LSN                      it was ordered, and begins there
//	h ID LSN                      it returned, and was handed to the operating system
//	a ID LSN                      it is durable
//	u ID                          it has no known outcome
//	r ID                          it is certainly not in the log
//
// An acknowledgement that is late proves nothing of the disk.
func (m *Model) Line(text string, late bool) error {
	var letter, kind byte
	var id ID
	var n int
	var arg wal.LSN
	got, _ := fmt.Sscanf(text, "%c %d %d", &letter, &id, &arg)
	switch {
	case letter == 'i':
		if _, err := fmt.Sscanf(text, "i %d %c %d %d", &id, &kind, &n, &arg); err != nil {
			return fmt.Errorf("report %q: %w", text, err)
		}
		m.Called(Op{id, Kind(kind), n, arg})
		return nil
	case letter == 'o' && got == 3:
		return m.Placed(id, arg)
	case letter == 'h' && got == 3 && late:
		return m.Placed(id, arg)
	case letter == 'a' && got == 3 && late:
		return m.Done(id, arg)
	case letter == 'h' && got == 3:
		return m.Handed(id, arg)
	case letter == 'a' && got == 3:
		return m.Durable(id, arg)
	case letter == 'u' && got == 2:
		return m.Unknown(id)
	case letter == 'r' && got == 2:
		return m.Refused(id)
	}
	return fmt.Errorf("report %q", text)
}

// Called notes that an operation is about to be called.
func (m *Model) Called(op Op) {
	m.line++
	e := &entry{Op: op, called: m.line}
	m.ops = append(m.ops, e)
	m.byID[op.ID] = e
}

// Placed notes that an operation got its place: its first record has that LSN.
func (m *Model) Placed(id ID, first wal.LSN) error { return m.returned(id, first, underWay) }

// Handed notes that an operation returned, and was handed to the operating system.
func (m *Model) Handed(id ID, first wal.LSN) error { return m.returned(id, first, handed) }

// Durable notes that an operation returned, and is durable.
func (m *Model) Durable(id ID, first wal.LSN) error { return m.returned(id, first, durable) }

// Done notes that an operation returned, and is durable if the disk was still there.
func (m *Model) Done(id ID, first wal.LSN) error { return m.returned(id, first, late) }

// Refused notes that an operation is certainly not in the log.
func (m *Model) Refused(id ID) error { return m.returned(id, 0, refused) }

// Unknown notes that an operation has no known outcome.
func (m *Model) Unknown(id ID) error { return m.returned(id, 0, underWay) }

func (m *Model) returned(id ID, first wal.LSN, f fate) error {
	m.line++
	e := m.byID[id]
	switch {
	case m.done[id] && f == refused:
		return fmt.Errorf("operation %x was durable, and is refused", uint64(id))
	case m.done[id]:
		return nil
	case e == nil:
		return fmt.Errorf("operation %x returned and was not called", uint64(id))
	case e.first != 0 && first != 0 && e.first != first:
		return fmt.Errorf("%v was ordered at LSN %d, and returned %d", e, e.first, first)
	case e.fate == durable && f == refused:
		return fmt.Errorf("%v was durable, and is refused", e)
	}
	if first != 0 && e.first == 0 {
		e.first, e.placed = first, m.line
	}
	switch {
	case e.fate != underWay:
	case f == durable:
		m.Records += e.N
	case f == handed:
		m.Copied += e.N
	case f == late:
		m.Late += e.N
	}
	e.fate = max(e.fate, f)
	if f != durable {
		return nil
	}
	if e.Kind == Sync || e.Kind.alone() {
		for _, other := range m.ops {
			if other.placed != 0 && other.placed < e.called && other.fate < durable {
				other.fate = durable
			}
		}
	}
	if e.Kind.alone() {
		return m.settle(e)
	}
	return nil
}

// settle makes the state behind e, before and during which nothing else was under way,
// the base.
func (m *Model) settle(e *entry) error {
	s, err := m.base.after(m.ops[:slices.Index(m.ops, e)])
	if err == nil {
		s, err = s.apply(e)
	}
	if err != nil {
		return fmt.Errorf("%v returned: %w", e, err)
	}
	for _, e := range m.ops {
		m.done[e.ID] = true
	}
	m.base, m.ops, m.byID = s, nil, map[ID]*entry{}
	return nil
}

// after returns s with all of ops that were not refused, of which the places are known.
// None of them is alone.
func (s state) after(ops []*entry) (state, error) {
	s.records = slices.Clip(s.records)
	first := s.first
	var placed []*entry
	for _, e := range ops {
		switch {
		case e.fate == refused:
		case e.Kind == Front && e.fate == underWay:
			return s, fmt.Errorf("%v had not", e)
		case e.Kind == Front:
			first = max(first, e.Arg)
		case e.N > 0 && e.first == 0:
			return s, fmt.Errorf("%v had no place", e)
		case e.N > 0:
			placed = append(placed, e)
		}
	}
	slices.SortFunc(placed, func(a, b *entry) int { return cmp.Compare(a.first, b.first) })
	for _, e := range placed {
		if e.first != s.last()+1 {
			return s, fmt.Errorf("%v is at LSN %d, want %d", e, e.first, s.last()+1)
		}
		s = s.append(e)
	}
	if first > s.last()+1 {
		return s, fmt.Errorf("truncated to %d, the last record is %d", first, s.last())
	}
	s.records = s.records[first-s.first:]
	s.first = first
	return s, nil
}

// append returns s with the records and the meta of e.
func (s state) append(e *entry) state {
	for i := range e.N {
		s.records = append(s.records, Rec{e.ID, i, e.N})
	}
	if e.Kind.setsMeta() {
		s.meta = e.ID
	}
	return s
}

// apply returns s after an operation that was alone.
func (s state) apply(e *entry) (state, error) {
	switch e.Kind {
	case Back, Replace:
		if e.Arg+1 < s.first {
			return s, fmt.Errorf("the first LSN is %d, it truncated back to %d", s.first, e.Arg)
		}
		if e.Arg < s.last() {
			s.records = slices.Clip(s.records[:e.Arg+1-s.first])
		}
	case Reset:
		s.first, s.records = e.Arg, nil
	}
	if e.Kind == Replace && e.first != 0 && e.first != s.last()+1 {
		return s, fmt.Errorf("it is at LSN %d, want %d", e.first, s.last()+1)
	}
	return s.append(e), nil
}

// Check returns an error unless v is what may be left. power says that what was not
// synced may be gone; else only the process ended. If there is none, the log is v from
// now on.
func (m *Model) Check(v View, power bool) error {
	found, err := v.state()
	if err != nil {
		return err
	}
	meta, err := m.match(found, v.Meta, power)
	if err != nil {
		return fmt.Errorf("the log is not what may be left: %w\n%s", err, m.describe(v))
	}
	m.count(found)
	found.meta = meta
	m.begin(found)
	return nil
}

// begin makes s what the log is, durably.
func (m *Model) begin(s state) {
	m.base, m.ops, m.byID, m.done = s, nil, map[ID]*entry{}, map[ID]bool{}
}

// state returns v as the model knows logs, but for its meta.
func (v View) state() (state, error) {
	s := state{first: v.First, records: make([]Rec, len(v.Records))}
	for i, data := range v.Records {
		r, err := parse(data)
		if err != nil {
			return s, fmt.Errorf("LSN %d: %w", v.First+wal.LSN(i), err)
		}
		s.records[i] = r
	}
	return s, nil
}

// match returns an error unless found may be left, and the operation of its meta.
func (m *Model) match(found state, meta []byte, power bool) (ID, error) {
	rest := slices.DeleteFunc(slices.Clone(m.ops), func(e *entry) bool {
		return e.Kind == Close || e.Kind.alone() && e.fate == refused
	})
	s, why := m.base, ""
	for {
		next := slices.IndexFunc(rest, func(e *entry) bool { return e.Kind.alone() })
		if next < 0 {
			next = len(rest)
		}
		id, err := s.allow(found, meta, rest[:next], power)
		if i := slices.IndexFunc(rest[next:], func(e *entry) bool { return e.promised(power) }); i >= 0 {
			err = fmt.Errorf("%v was acknowledged, and %v before it was not done", rest[next+i], rest[next])
		}
		if err == nil || next == len(rest) {
			if err != nil {
				err = fmt.Errorf("%s%w", why, err)
			}
			return id, err
		}
		why += fmt.Sprintf("%v\nor, if %v was done: ", err, rest[next])
		if s, err = s.after(rest[:next]); err == nil {
			s, err = s.apply(rest[next])
		}
		if err != nil {
			return 0, fmt.Errorf("%s%w", why, err)
		}
		rest = rest[next+1:]
	}
}

// promised reports whether the operation must be there.
func (e *entry) promised(power bool) bool {
	return e.fate == durable || e.fate == handed && !power
}

// count notes what became of the records under way.
func (m *Model) count(found state) {
	there := map[ID]bool{}
	for _, r := range found.records {
		there[r.ID] = true
	}
	for _, e := range m.ops {
		switch {
		case e.N == 0 || e.fate == refused || e.fate == durable:
		case there[e.ID]:
			m.Found += e.N
		case e.first == 0 || e.first > found.last():
			m.Lost += e.N
			if e.fate == late {
				m.Gone += e.N
			}
		}
	}
}

// describe returns what a failure is explained by: the end of what was expected.
func (m *Model) describe(v View) string {
	var s strings.Builder
	fmt.Fprintf(&s, "it is %d..%d, meta %.25q; it was %d..%d, meta of %x; then, of %d operations:",
		v.First, v.Last(), v.Meta, m.base.first, m.base.last(), uint64(m.base.meta), len(m.ops))
	for _, e := range m.ops[max(0, len(m.ops)-40):] {
		fmt.Fprintf(&s, "\n  %v called %d placed %d: LSN %d %v", e, e.called, e.placed, e.first, e.fate)
	}
	return s.String()
}

// String returns the operation in a few words.
func (o Op) String() string {
	return fmt.Sprintf("operation %x (%c, %d records, argument %d)", uint64(o.ID), o.Kind, o.N, o.Arg)
}

// String returns what was told.
func (f fate) String() string {
	return [...]string{"under way", "late", "handed", "durable", "refused"}[f]
}

// add adds the counts of another model.
func (m *Model) add(other *Model) {
	m.Records, m.Copied = m.Records+other.Records, m.Copied+other.Copied
	m.Lost, m.Found = m.Lost+other.Lost, m.Found+other.Found
	m.Late, m.Gone = m.Late+other.Late, m.Gone+other.Gone
}
