package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func numberedLines(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d", i+1)
	}
	return lines
}

func TestCrashLosesNothing(t *testing.T) {
	t.Setenv(asCommand, "1")
	a, b := writeLines(t, "a.go", numberedLines(6000)...), writeLines(t, "b.go", numberedLines(200)...)
	dir := filepath.Join(t.TempDir(), "store")
	code, out, errs := kv(dir, "crash", "-rounds", "3", "-writers", "16", a, filepath.Dir(b))
	require.Zero(t, code, errs)
	require.Contains(t, out, "6200 lines of 2 files")
	require.Contains(t, out, "loaded to the end")
	require.Regexp(t, `(?m)^round +1: acknowledged +\d+  recovered +\d+  in flight +\d+ `, out)
	require.Regexp(t, `\n\d+ puts acknowledged, 0 lost; \d+ more were in flight and kept; \d+ keys at LSN \d+ are what the log says`, out)
	require.GreaterOrEqual(t, len(regexp.MustCompile(`(?m)last report(, in a snapshot)?$`).FindAllString(out, -1)), 3)
}

func TestProcessThatDoesNotLoadFailsTheTest(t *testing.T) {
	t.Setenv(asCommand, "1")
	c := &crashTest{command: &command{dir: t.TempDir(), stderr: new(bytes.Buffer)}, writers: 4, quota: 10, show: &progress{},
		roots: []string{"/nowhere/at/all"}}
	_, err := c.runChild(work{writers: 4}, 0, 5)
	require.ErrorContains(t, err, "the process that loads ended by itself")
	require.Contains(t, c.stderr.(*bytes.Buffer).String(), "/nowhere/at/all")
}

// lockedBuffer is a pipe to ourselves.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// loadRound loads a few hundred lines into s as a child would and returns what
// the parent would see.
func loadRound(t *testing.T, s *store) loaded {
	t.Helper()
	in, err := findInput([]string{writeLines(t, "f", numberedLines(400)...)})
	require.NoError(t, err)
	pipe := &lockedBuffer{}
	l := &loader{work: work{in: in, round: 1, writers: 8}, store: s, every: 1 << 30, acks: pipe,
		due: make(chan struct{}, 1), halt: make(chan struct{})}
	require.NoError(t, l.load())
	r := loaded{work: l.work}
	for text := pipe.String(); text != ""; text = text[ackSize:] {
		r.acks = append(r.acks, parseAck(text[:ackSize]))
	}
	require.Len(t, r.acks, 400)
	return r
}

// forget has the parent miss the last n acknowledgements of writer w.
func (r *loaded) forget(w, n int) {
	for i := len(r.acks) - 1; n > 0; i-- {
		if r.acks[i].writer == w {
			r.acks = slices.Delete(r.acks, i, i+1)
			n--
		}
	}
}

func TestCheckAcceptsWhatAKillLeaves(t *testing.T) {
	for name, snapshots := range map[string]bool{"with its log": false, "with a snapshot alone": true} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			r := loadRound(t, s)
			for w := range 5 {
				r.forget(w, 1)
			}
			if snapshots {
				_, err := s.snapshot()
				require.NoError(t, err)
			}
			o := oracle{m: map[string]entry{}}
			v, err := o.check(s, r)
			require.NoError(t, err)
			require.Equal(t, verdict{recovered: 400, unacked: 5}, v)
			require.Equal(t, s.log.LastLSN(), o.last)
		})
	}
}

// TestCheckNotices breaks what a store or its child says, in each way that the
// check is for.
func TestCheckNotices(t *testing.T) {
	swap := func(s *store, a, b string) { // the values of two keys
		x, _ := s.mu.m.get(a)
		y, _ := s.mu.m.get(b)
		s.mu.m.set(entry{key: a, value: y.value, lsn: x.lsn})
	}
	for name, c := range map[string]struct {
		harm func(s *store, r *loaded)
		want string
	}{
		"a put that is lost": {func(s *store, r *loaded) {
			_ = s.log.TruncateBack(399)
		}, `violation: an acknowledged put is lost: key "f:`},
		"a record that is another put": {func(s *store, r *loaded) {
			a, b := &r.acks[10], &r.acks[11]
			if a.writer == b.writer {
				b = &r.acks[12]
			}
			*a, *b = ack{a.writer, a.seq, b.lsn}, ack{b.writer, b.seq, a.lsn}
		}, "the record is not what was acknowledged|not above"},
		"a record of nobody": {func(s *store, r *loaded) {
			_, _ = s.put("phantom", "x")
		}, `neither acknowledged nor in flight: key "phantom", LSN 401`},
		"two puts in flight of one writer": {func(s *store, r *loaded) {
			r.forget(3, 2)
		}, "neither acknowledged nor in flight"},
		"an LSN twice": {func(s *store, r *loaded) {
			i := slices.IndexFunc(r.acks, func(a ack) bool { return a.writer != r.acks[0].writer && a.seq == 0 })
			r.acks[i].lsn = r.acks[0].lsn
		}, "two puts were acknowledged with one LSN"},
		"an LSN out of order": {func(s *store, r *loaded) {
			r.acks[len(r.acks)-1].lsn = 1
		}, "not above what was there before it"},
		"an acknowledgement out of order": {func(s *store, r *loaded) {
			r.acks[0].seq = 5
		}, "want 0"},
		"a value of another key": {func(s *store, r *loaded) {
			swap(s, "f:0000004", "f:0000008")
		}, `the map is not what the log says: key "f:0000004"`},
		"an older value": {func(s *store, r *loaded) {
			o, _, _ := r.op(3, 0) // line 4
			if e, _ := s.mu.m.get(o.key); e.value == o.value {
				o, _, _ = r.op(4, 0)
			}
			s.mu.m.set(entry{key: o.key, value: o.value, lsn: 2})
		}, `the map is not what the log says: key "f:0000004"`},
		"a key too few": {func(s *store, r *loaded) {
			s.mu.m.remove("f:0000008")
		}, `key "f:0000008", LSN \d+: expected .* got no such key`},
		"a key too many": {func(s *store, r *loaded) {
			s.mu.m.set(entry{key: "g", value: "x", lsn: 7})
		}, `key "g", LSN 7: expected no such key, got "x" of LSN 7`},
		"a value changed behind a snapshot": {func(s *store, r *loaded) {
			_, _ = s.snapshot()
			swap(s, "f:0000004", "f:0000008")
		}, `the map is not what the log says: key "f:0000004"`},
		"records of nobody behind a snapshot": {func(s *store, r *loaded) {
			r.forget(1, 9)
			_, _ = s.snapshot()
		}, "unaccounted for"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			r := loadRound(t, s)
			c.harm(s, &r)
			o := oracle{m: map[string]entry{}}
			_, err := o.check(s, r)
			require.Error(t, err)
			require.Regexp(t, c.want, err.Error())
		})
	}
}

func TestCheckNoticesALogThatEndsBeforeWhatItHad(t *testing.T) {
	s := open(t, t.TempDir())
	o := oracle{m: map[string]entry{}}
	_, err := o.check(s, loadRound(t, s))
	require.NoError(t, err)
	require.NoError(t, s.log.TruncateBack(390))
	_, err = o.check(s, loaded{work: work{in: &input{}, writers: 1}})
	require.ErrorContains(t, err, "LSN 400: expected a record, got an end at 390")
}
