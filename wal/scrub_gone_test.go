package wal

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestScrubOfASegmentThatIsGoneSaysNothing truncates the segment that the scrub is in the
// middle of: that the rest of it cannot be read is no damage.
func TestScrubOfASegmentThatIsGoneSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen sights
		l := open(t, Options{SegmentSize: 8 * scrubStep, ScrubRate: scrubStep, Hooks: Hooks{
			Damaged: func(err error) { seen.errs = append(seen.errs, err) },
		}})
		for len(l.Segments()) < 3 {
			requireAppend(t, l.Log, string(make([]byte, scrubStep/4)))
		}
		l = l.reopen()
		passes(3 * time.Second) // three of its eight steps
		require.Positive(t, l.Stats().Scrubbed)
		l.truncateFront(l.Segments()[1].First)
		passes(time.Minute)
		require.Empty(t, seen.errs)
		require.Equal(t, uint64(1), l.Stats().Passes)
		require.Zero(t, l.Stats().Damaged)
	})
}
