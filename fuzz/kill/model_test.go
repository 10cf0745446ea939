package kill

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/wal"
)

// judged returns what the judge says of a log that is opened after a report. A report is
// lines joined by commas, see [Model.Line]; a late one begins with "late". A log is
//
//	FIRST: OPERATION.RECORD/RECORDS … [meta OPERATION]
func judged(t *testing.T, report, log string, power bool) error {
	t.Helper()
	m := NewModel(1)
	for line := range strings.SplitSeq(report, ", ") {
		text, late := strings.CutPrefix(line, "late ")
		if err := m.Line(text, late); err != nil {
			return err
		}
	}
	return m.Check(viewOf(t, log), power)
}

func viewOf(t *testing.T, log string) (v View) {
	first, rest, _ := strings.Cut(log, ":")
	_, err := fmt.Sscan(first, &v.First)
	require.NoError(t, err)
	fields := strings.Fields(rest)
	for i := 0; i < len(fields); i++ {
		var id ID
		var at, n int
		if fields[i] == "meta" {
			_, err = fmt.Sscan(fields[i+1], &id)
			require.NoError(t, err)
			v.Meta = meta(id)
			break
		}
		_, err = fmt.Sscanf(fields[i], "%d.%d/%d", &id, &at, &n)
		require.NoError(t, err)
		v.Records = append(v.Records, Data(id, at, n))
	}
	return v
}

func TestJudgeAllowsWhatMayBeLeft(t *testing.T) {
	for _, c := range []struct{ report, log string }{
		{"i 1 a 1 0, a 1 1", "1: 1.0/1"},
		{"i 1 a 1 0", "1:"},
		{"i 1 a 1 0", "1: 1.0/1"},
		{"i 1 a 1 0, i 2 a 1 0, a 2 1", "1: 2.0/1"},
		{"i 1 a 1 0, i 2 a 1 0, a 2 1", "1: 2.0/1 1.0/1"},
		{"i 1 a 1 0, r 1", "1:"},
		{"i 1 m 2 0", "1: 1.0/2 1.1/2 meta 1"},
		{"i 1 m 2 0", "1:"},
		{"i 1 b 3 0, a 1 1, i 2 f 0 3", "3: 1.2/3"},
		{"i 1 b 3 0, i 2 f 0 3", "3: 1.2/3"},
		{"i 1 b 3 0, a 1 1, i 2 f 0 3", "1: 1.0/3 1.1/3 1.2/3"},
		{"i 1 b 3 0, a 1 1, i 2 k 0 1", "1: 1.0/3"},
		{"i 1 b 3 0, a 1 1, i 2 k 0 1", "1: 1.0/3 1.1/3 1.2/3"},
		{"i 1 b 3 0, a 1 1, i 2 k 0 1, u 2, i 3 c 0 0, r 3", "1: 1.0/3"},
		{"i 1 b 3 0, a 1 1, i 2 x 1 1", "1: 1.0/3 2.0/1 meta 2"},
		{"i 1 a 1 0, a 1 1, i 2 R 0 9, a 2 0, i 3 a 1 0", "9: 3.0/1"},
		{"i 1 m 1 0, i 2 a 1 0, a 2 2, i 3 f 0 3, a 3 0", "3: meta 1"},
	} {
		require.NoError(t, judged(t, c.report, c.log, false), "%s: %s", c.report, c.log)
	}
	require.NoError(t, judged(t, "i 1 a 1 0, h 1 1", "1:", true), "what was not synced may go with the power")
	require.NoError(t, judged(t, "i 1 a 1 0, late a 1 1", "1:", true), "and what a going disk synced")
	require.NoError(t, judged(t, "i 1 a 1 0, a 1 1, i 2 k 0 0, late a 2 0, i 3 a 1 0, late a 3 1", "1: 3.0/1", true))
	require.NoError(t, judged(t, "i 1 a 1 0, a 1 1, i 2 k 0 0, late a 2 0, i 3 a 1 0, late a 3 1", "1: 1.0/1", true))
}

func TestJudgeRefusesWhatMustNotBeLeft(t *testing.T) {
	for _, c := range []struct{ report, log, complaint string }{
		{"i 1 a 1 0, a 1 1", "1:", "lost"},
		{"i 1 a 1 0, h 1 1", "1:", "lost"},
		{"i 1 a 1 0, a 1 1, i 2 s 0 0, a 2 0", "2:", "first LSN"},
		{"i 1 d 1 0, o 1 1, i 2 s 0 0, a 2 0", "1:", "lost"},
		{"i 1 d 1 0, o 1 1, i 2 s 0 0, a 2 0, r 1", "1:", "was durable, and is refused"},
		{"i 1 a 1 0, a 1 2, i 2 a 1 0", "1: 1.0/1", "was said to be at 2"},
		{"i 1 a 1 0, o 1 2, a 1 3", "1: 1.0/1", "ordered at LSN 2"},
		{"i 1 a 1 0, a 1 1", "1: 1.0/1 1.0/1", "as well"},
		{"i 1 a 1 0, a 1 1", "1: 1.0/1 7.0/1", "nobody appended"},
		{"i 1 a 1 0, r 1", "1: 1.0/1", "refused"},
		{"i 1 b 2 0", "1: 1.0/2", "of which others are there"},
		{"i 1 b 2 0", "1: 1.1/2", "not the first"},
		{"i 1 b 2 0", "1: 1.1/2 1.0/2", "not the first"},
		{"i 1 b 2 0, i 2 a 1 0", "1: 1.0/2 2.0/1 1.1/2", "others are there"},
		{"i 1 a 1 0, o 1 1, i 2 a 1 0", "1: 2.0/1 1.0/1", "was said to be"},
		{"i 1 a 1 0, a 1 2, i 2 a 1 0", "1: 2.0/1 1.0/1", "had returned"},
		{"i 1 m 1 0, a 1 1", "1: 1.0/1", "meta"},
		{"i 1 m 1 0, a 1 1, i 2 m 1 0, a 2 2", "1: 1.0/1 2.0/1 meta 1", "meta"},
		{"i 1 m 1 0, a 1 1, i 2 m 1 0", "1: 1.0/1 meta 2", "meta"},
		{"i 1 b 3 0, a 1 1, i 2 k 0 1, a 2 0", "1: 1.0/3 1.1/3 1.2/3", "dropped"},
		{"i 1 b 3 0, a 1 1, i 2 k 0 1, a 2 0, i 3 a 1 0, a 3 2", "1: 1.0/3", "lost"},
		{"i 1 b 3 0, a 1 1, i 2 k 0 1", "1: 1.0/3 1.1/3", "others are there"},
		{"i 1 b 3 0, a 1 1, i 2 k 0 1, r 2", "1: 1.0/3", "others are there"},
		{"i 1 b 3 0, a 1 1, i 2 x 1 1", "1: 1.0/3 2.0/1", "meta"},
		{"i 1 b 3 0, a 1 1, i 2 x 1 1", "1: 1.0/3 meta 2", "others are there"},
		{"i 1 a 1 0, a 1 1, i 2 f 0 2, a 2 0", "1: 1.0/1", "first LSN"},
		{"i 1 a 1 0, a 1 1, i 2 f 0 2, r 2", "2:", "first LSN"},
		{"i 1 a 1 0, a 1 1, i 2 R 0 9, a 2 0", "1: 1.0/1", "first LSN"},
		{"i 1 a 1 0, a 1 1, i 2 c 0 0, a 2 0", "1:", "was durable"},
	} {
		require.ErrorContains(t, judged(t, c.report, c.log, false), c.complaint, "%s: %s", c.report, c.log)
	}
	v := viewOf(t, "1: 1.0/1")
	v.Records[0][headSize+1]++
	m := NewModel(1)
	m.Called(Op{1, Append, 1, 0})
	require.ErrorContains(t, m.Check(v, false), "other bytes")
	require.ErrorContains(t, judged(t, "i 1 a 1 0, a 1 1, late i 2 a 1 0", "1:", true), "lost", "it was acknowledged in time")
}

func TestRecordsAreKnownByTheirBytes(t *testing.T) {
	for id := range ID(1000) {
		data := Data(id, 3, 7)
		r, err := parse(data)
		require.NoError(t, err)
		require.Equal(t, Rec{id, 3, 7}, r)
		data[int(id)%len(data)] ^= 1
		_, err = parse(data)
		require.Error(t, err)
		_, err = parse(data[:len(data)-1])
		require.Error(t, err)
	}
	_, err := parse(nil)
	require.Error(t, err)
	require.Equal(t, wal.LSN(1), NewModel(1).base.first)
}
