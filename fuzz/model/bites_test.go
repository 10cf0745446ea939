package model

import (
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/wal"
)

// told is a history told call by call, each after the one before.
type told struct {
	calls []porcupine.Operation
}

func (h *told) did(c call, a answer) *told {
	at := int64(2 * len(h.calls))
	o := porcupine.Operation{Input: c, Call: at, Output: a, Return: at + 1}
	if a.unknown {
		o.Return = crashTime
	}
	h.calls = append(h.calls, o)
	return h
}

func (h *told) append(lsn wal.LSN, records ...string) *told {
	return h.did(call{verb: callAppend, records: records}, answer{lsn: lsn})
}

func (h *told) lost(records ...string) *told {
	return h.did(call{verb: callAppend, records: records}, answer{unknown: true})
}

func (h *told) refused(record string) *told {
	return h.did(call{verb: callAppend, records: []string{record}}, answer{refused: true})
}

func (h *told) back(last wal.LSN) *told   { return h.did(call{verb: callBack, lsn: last}, answer{}) }
func (h *told) front(first wal.LSN) *told { return h.did(call{verb: callFront, lsn: first}, answer{}) }

func (h *told) read(lsn wal.LSN, data string) *told {
	return h.did(call{verb: callRead, lsn: lsn}, answer{data: data})
}

func (h *told) last(lsn wal.LSN) *told { return h.did(call{verb: callLast}, answer{lsn: lsn}) }

func (h *told) found(first wal.LSN, records ...string) *told {
	h.did(call{verb: callFound}, answer{found: view{first: first, records: records}})
	h.calls[len(h.calls)-1].Call, h.calls[len(h.calls)-1].Return = crashTime+1, crashTime+2
	return h
}

func start() *told { return &told{} }

func TestTheCheckerTellsLegalFromBroken(t *testing.T) {
	for name, c := range map[string]struct {
		told  *told
		legal bool
	}{
		"all that was acknowledged is there":        {start().append(1, "a").append(2, "b", "c").found(1, "a", "b", "c"), true},
		"what was not may be there":                 {start().append(1, "a").lost("b").found(1, "a", "b"), true},
		"or not":                                    {start().append(1, "a").lost("b").found(1, "a"), true},
		"two that were not, in either order":        {start().lost("a").lost("b").found(1, "b", "a"), true},
		"truncations hold":                          {start().append(1, "a", "b", "c").back(2).front(2).append(3, "d").found(2, "b", "d"), true},
		"a read by a client whose append was lost":  {start().append(1, "a").lost("b").read(1, "a").found(1, "a"), true},
		"an acknowledged record is lost":            {start().append(1, "a").append(2, "b").found(1, "a"), false},
		"one in the middle is lost":                 {start().append(1, "a").append(2, "b").append(3, "c").found(1, "a", "c"), false},
		"two are swapped":                           {start().append(1, "a").append(2, "b").found(1, "b", "a"), false},
		"two LSNs are swapped":                      {start().append(2, "a").append(1, "b").found(1, "b", "a"), false},
		"one LSN is given out twice":                {start().append(1, "a").append(1, "b").found(1, "b"), false},
		"an LSN is left out":                        {start().append(1, "a").append(3, "b").found(1, "a"), false},
		"a batch is torn":                           {start().append(1, "a").lost("b", "c").found(1, "a", "b"), false},
		"a refused append is there":                 {start().append(1, "a").refused("b").found(1, "a", "b"), false},
		"nobody appended it":                        {start().append(1, "a").found(1, "a", "x"), false},
		"what a truncation dropped is back":         {start().append(1, "a", "b").back(1).found(1, "a", "b"), false},
		"what a truncation at the front dropped is": {start().append(1, "a", "b").front(2).found(1, "a", "b"), false},
		"a truncation took too much":                {start().append(1, "a", "b", "c").back(2).found(1, "a"), false},
		"what was read is taken back":               {start().append(1, "a").lost("b").read(2, "b").found(1, "a"), false},
		"what LastLSN counted is taken back":        {start().append(1, "a").lost("b").last(2).found(1, "a"), false},
		"LastLSN falls":                             {start().append(1, "a").append(2, "b").last(2).last(1).found(1, "a", "b"), false},
		"a read of what was truncated":              {start().append(1, "a", "b").back(1).read(2, "b").found(1, "a"), false},
		"a stale read":                              {start().append(1, "a").back(0).append(1, "b").read(1, "a").found(1, "b"), false},
		"a batch in the wrong place": {start().append(1, "a").did(call{verb: callAppend, records: []string{"b"}, expect: 3}, answer{lsn: 2}).
			found(1, "a", "b"), false},
		"DurableLSN runs ahead": {start().append(1, "a").did(call{verb: callDurable}, answer{lsn: 2}).found(1, "a"), false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := legal(view{first: 1}, c.told.calls); (err == nil) != c.legal {
				t.Errorf("legal is %v, want %v: %v", err == nil, c.legal, err)
			}
		})
	}
}

// TestTheCheckerTellsRealHistoriesFromBroken breaks what was found after the crashes
// of real histories.
func TestTheCheckerTellsRealHistoriesFromBroken(t *testing.T) {
	var dropped, swapped int
	for seed := range uint64(scale.Pick(t, 6, 15, 40, 400)) {
		list, err := runHistory(1<<32 + seed)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			n := len(r.calls) - 1 // the last call is what was found
			found := r.calls[n].Output.(answer).found
			refuse := func(records []string) {
				t.Helper()
				broken := slices.Clone(r.calls)
				broken[n].Output = answer{found: view{first: found.first, records: records, meta: found.meta, hasMeta: found.hasMeta}}
				if porcupine.CheckOperations(model(r.start), likely(broken)) {
					t.Errorf("seed %d: %v was found, and %v would do as well", seed, found.records, records)
				}
			}
			last := len(found.records) - 1
			if last < 1 {
				continue
			}
			if at := acknowledged(r.calls, found.records[last]); at >= 0 && len(r.calls[at].Input.(call).records) == 1 &&
				!slices.ContainsFunc(r.calls, func(o porcupine.Operation) bool { // can a truncation have taken it?
					c := o.Input.(call)
					return (c.verb == callBack || c.cuts) && o.Return > r.calls[at].Call
				}) {
				refuse(found.records[:last])
				dropped++
			}
			if a := found.records; a[last-1][:2] == a[last][:2] { // of the same round
				b := slices.Clone(a)
				b[last-1], b[last] = b[last], b[last-1]
				if acknowledged(r.calls, a[last-1]) >= 0 && acknowledged(r.calls, a[last]) >= 0 {
					refuse(b)
					swapped++
				}
			}
		}
	}
	t.Logf("%d histories with the last record dropped and %d with two swapped were refused", dropped, swapped)
	if dropped < 2 || swapped < 2 {
		t.Error("too few to prove anything")
	}
}

// acknowledged returns which call appended that record and has a known outcome; -1:
// none.
func acknowledged(list []porcupine.Operation, data string) int {
	return slices.IndexFunc(list, func(o porcupine.Operation) bool {
		c, a := o.Input.(call), o.Output.(answer)
		return c.verb == callAppend && !a.unknown && !a.refused && slices.Contains(c.records, data)
	})
}
