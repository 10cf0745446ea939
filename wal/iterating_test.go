package wal

import (
	"iter"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// TestIteratorsHoldNoLock looks from within the body: who held one there would wait for
// ever for the caller, who may call any method, and hold up everybody else.
func TestIteratorsHoldNoLock(t *testing.T) {
	bubble(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
		l.fillSegments(3)
		synctest.Wait() // nobody else is at work
		for what, records := range map[string]iter.Seq2[Record, error]{
			"Records": l.Records(1), "Follow": l.Follow(ctx, 1),
		} {
			n, held := LSN(0), ""
			for r, err := range records {
				require.NoError(t, err)
				n++
				if held = l.held(); held != "" || r.LSN == l.LastLSN() {
					break
				}
			}
			require.Empty(t, held, "%s holds it in its body", what)
			require.Equal(t, l.LastLSN(), n)
		}
	})
}

// held says what of the log somebody holds; "" if nobody does.
func (l *testLog) held() string {
	held := ""
	try := func(what string, mu interface {
		TryLock() bool
		Unlock()
	}) {
		if mu.TryLock() {
			mu.Unlock()
		} else {
			held = what
		}
	}
	try("the log", &l.mu)
	try("who waits for news", &l.news.mu)
	try("truncations", &l.rewinds.mu)
	for _, e := range *l.segments.Load() {
		if !e.mu.TryLock() {
			return "a segment"
		}
		if n := e.users.Load(); n != 0 && n != fileOpen {
			held = "the file of a segment"
		}
		e.mu.Unlock()
	}
	return held
}
