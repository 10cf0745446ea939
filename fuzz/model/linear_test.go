package model

import (
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seed3918b8df/tidemark/wal"
)

// verb is what a call of a history does.
type verb uint8

const (
	callAppend  verb = iota // records, which get LSN first in the answer; with expect, only there
	callBack                // TruncateBack to lsn
	callFront               // TruncateFront to lsn
	callRead                // record lsn
	callFirst               // FirstLSN
	callLast                // LastLSN
	callDurable             // DurableLSN
	callMeta                // Meta
	callFound               // opens the log after a crash
)

// call is what a client asked for.
type call struct {
	verb    verb
	lsn     wal.LSN
	records []string
	meta    string  // "": it sets none
	expect  wal.LSN // with callAppend: SetFirst; 0: without
	cuts    bool    // with callAppend: TruncateBack to lsn before
}

// answer is what it got.
type answer struct {
	unknown bool    // the log ended before it was known
	refused bool    // certainly nothing happened
	lsn     wal.LSN // with unknown: 0 if it is not known either
	data    string
	err     error // of a read
	found   view
}

// step returns what v may be after a call with that answer; nothing if the answer is
// not one that v allows.
func step(v view, c call, a answer) []view {
	if a.refused {
		return []view{v}
	}
	ok := false
	switch c.verb {
	case callAppend, callBack, callFront:
		return change(v, c, a)
	case callRead:
		data, there := v.at(c.lsn)
		ok = a.err == nil && there && data == a.data || a.err == wal.ErrTruncated && c.lsn < v.first || a.err == wal.ErrNotFound && c.lsn > v.last()
	case callFirst:
		ok = v.first == a.lsn
	case callLast:
		ok = v.last() == a.lsn
	case callDurable:
		ok = v.last() >= a.lsn
	case callMeta:
		ok = v.meta == a.data
	case callFound:
		ok = v.equal(a.found)
	}
	if !ok {
		return nil
	}
	return []view{v}
}

// change is step for calls that change the log.
func change(v view, c call, a answer) []view {
	w := v
	may := c.lsn+1 >= v.first || c.verb == callFront || c.verb == callAppend && !c.cuts
	if may && (c.verb == callBack || c.cuts) {
		w = v.back(c.lsn)
	}
	switch c.verb {
	case callAppend:
		next := w.last() + 1
		may = may && (c.expect == 0 || next == c.expect) && (a.lsn == 0 || next == a.lsn)
		w.records = slices.Concat(w.records, c.records)
		if c.meta != "" {
			w.meta, w.hasMeta = c.meta, true
		}
	case callFront:
		if may = c.lsn <= v.last()+1; may {
			w = v.front(c.lsn)
		}
	}
	switch {
	case a.unknown && may:
		return []view{v, w}
	case a.unknown:
		return []view{v}
	case may:
		return []view{w}
	}
	return nil
}

// model is a log with one client, for porcupine.
func model(start view) porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{start} },
		Step: func(state, input, output any) []any {
			var next []any
			for _, v := range step(state.(view), input.(call), output.(answer)) {
				next = append(next, v)
			}
			return next
		},
		Equal:             func(a, b any) bool { return a.(view).equal(b.(view)) },
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
	}
	return m.ToModel()
}

// likely returns the calls with their likely outcomes: of appends without a known one
// those that somebody has read, or found after the crash, have happened, and the
// others have not.
func likely(list []porcupine.Operation) []porcupine.Operation {
	seen := map[string]wal.LSN{}
	for _, o := range list {
		c, a := o.Input.(call), o.Output.(answer)
		if c.verb == callRead && a.err == nil {
			seen[a.data] = c.lsn
		}
		for i, data := range a.found.records {
			seen[data] = a.found.first + wal.LSN(i)
		}
	}
	var sure []porcupine.Operation
	for _, o := range list {
		c, a := o.Input.(call), o.Output.(answer)
		if c.verb == callAppend && a.unknown {
			at := slices.IndexFunc(c.records, func(data string) bool { return seen[data] != 0 })
			if at < 0 {
				continue
			}
			o.Output = answer{lsn: seen[c.records[at]] - wal.LSN(at)}
		}
		if !a.refused {
			sure = append(sure, o)
		}
	}
	return sure
}

// legal returns an error unless there is an order of the calls that a log which
// begins as start could have had with one client.
func legal(start view, calls []porcupine.Operation) error {
	m := model(start)
	if porcupine.CheckOperationsTimeout(m, likely(calls), 20*time.Second) == porcupine.Ok {
		return nil
	}
	result := porcupine.CheckOperationsTimeout(m, calls, 20*time.Second) // all outcomes, which may be very many
	if result == porcupine.Ok {
		return nil
	}
	list := slices.Clone(calls)
	slices.SortFunc(list, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	text := ""
	for _, o := range list {
		text += fmt.Sprintf("\n  %3d to %3d client %d: %v -> %v", o.Call, o.Return, o.ClientId, o.Input.(call), o.Output.(answer))
	}
	return fmt.Errorf("no order of these calls explains the answers (%s); the log began as %v%s", result, start, text)
}

func (c call) String() string {
	name := [...]string{"append", "truncate back", "truncate front", "read", "FirstLSN", "LastLSN", "DurableLSN", "Meta", "found"}[c.verb]
	s := name
	if c.lsn != 0 || c.cuts || c.verb <= callRead && c.verb != callAppend {
		s += fmt.Sprint(" ", c.lsn)
	}
	if c.verb == callAppend {
		s += fmt.Sprintf(" %q meta %q expect %d", c.records, c.meta, c.expect)
	}
	return s
}

func (a answer) String() string {
	switch {
	case a.unknown:
		return fmt.Sprintf("unknown, at %d", a.lsn)
	case a.refused:
		return "refused"
	case a.err != nil:
		return a.err.Error()
	}
	return fmt.Sprintf("%d %q %v", a.lsn, a.data, a.found)
}
