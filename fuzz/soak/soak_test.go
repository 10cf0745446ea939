package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/wal"
)

// asCommand lets the test binary be the command, so that it can start itself.
const asCommand = "SOAK_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestSoakKillsAndLosesNothing(t *testing.T) {
	t.Setenv(asCommand, "1")
	var out, errs bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"-for", "2s", "-dir", t.TempDir()}, nil, &out, &errs), "%s%s", &out, &errs)
	require.Regexp(t, `\n\d+s: [1-9]\d+ acknowledged, 0 lost; \d+ reopen cycles \(\d+ kills\), [1-9]\d* checks; disk full \d+ times\n`, out.String())
	require.Contains(t, out.String(), "slopes not judged")
}

func TestSoakEndsInOrderWhenItIsInterrupted(t *testing.T) {
	t.Setenv(asCommand, "1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	require.Zero(t, run(ctx, []string{"-for", "24h", "-dir", t.TempDir()}, nil, &out, &errs), "%s%s", &out, &errs)
	require.Contains(t, out.String(), "acknowledged, 0 lost")
}

func TestSoakRefusesDirectoriesWithSomethingInThem(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/a", nil, 0o600))
	var errs bytes.Buffer
	require.Equal(t, 1, run(t.Context(), []string{"-dir", dir}, nil, nil, &errs))
	require.Contains(t, errs.String(), "is not empty: it has a")
}

// reports returns the ledger of a child that reported these lines.
func reports(t *testing.T, lines string) *ledger {
	t.Helper()
	l := &ledger{first: 1}
	l.begin(1)
	for line := range strings.Lines(lines) {
		require.NoError(t, l.note(strings.TrimSpace(line)))
	}
	return l
}

// ids are records of round 1, by their writer and number.
func ids(list ...[2]int) (got []id) {
	for _, n := range list {
		got = append(got, id{1, n[0], n[1]})
	}
	return got
}

func TestLedgerTellsWhatIsLostOrBack(t *testing.T) {
	acked := "a 0 0 2 1 0\na 1 0 1 3 0\n" // writer 0: LSN 1 and 2; writer 1: LSN 3
	for name, c := range map[string]struct {
		reports string
		first   wal.LSN
		got     []id
		meta    int
		want    string // "": it is as it should be
	}{
		"all is there":                   {acked, 1, ids([2]int{0, 0}, [2]int{0, 1}, [2]int{1, 0}), 0, ""},
		"and one that was under way":     {acked, 1, ids([2]int{0, 0}, [2]int{0, 1}, [2]int{1, 0}, [2]int{2, 0}), 0, ""},
		"the last one is lost":           {acked, 1, ids([2]int{0, 0}, [2]int{0, 1}), 0, "record 1.1.0 was acknowledged as 3, and the log ends at 2"},
		"two are swapped":                {acked, 1, ids([2]int{0, 1}, [2]int{0, 0}, [2]int{1, 0}), 0, "was acknowledged as"},
		"one is there twice":             {acked, 1, ids([2]int{0, 0}, [2]int{0, 1}, [2]int{1, 0}, [2]int{1, 0}), 0, "there twice"},
		"one that certainly was not":     {acked + "n 2 0 1", 1, ids([2]int{0, 0}, [2]int{0, 1}, [2]int{1, 0}, [2]int{2, 0}), 0, "certainly was not appended"},
		"one that cannot have been":      {acked, 1, ids([2]int{0, 0}, [2]int{0, 1}, [2]int{1, 0}, [2]int{0, 99}), 0, "cannot have been under way"},
		"truncated":                      {acked + "t 1 2\nT 1", 1, ids([2]int{0, 0}, [2]int{0, 1}), 0, ""},
		"truncated, and appended again":  {acked + "t 1 2\nT 1\na 2 7 1 3 1", 1, ids([2]int{0, 0}, [2]int{0, 1}, [2]int{2, 7}), 0, ""},
		"what was truncated is back":     {acked + "t 1 2\nT 1", 1, ids([2]int{0, 0}, [2]int{0, 1}, [2]int{1, 0}), 0, "was dropped"},
		"it was reported late":           {acked + "t 1 2\nT 1\na 2 0 1 4 0", 1, ids([2]int{0, 0}, [2]int{0, 1}), 0, ""},
		"a truncation that did nothing":  {acked + "t 1 2\nx 1", 1, ids([2]int{0, 0}, [2]int{0, 1}), 0, "log ends at 2"},
		"one that may have happened":     {acked + "t 1 2", 1, ids([2]int{0, 0}, [2]int{0, 1}), 0, ""},
		"or not":                         {acked + "t 1 2", 1, ids([2]int{0, 0}, [2]int{0, 1}, [2]int{1, 0}), 0, ""},
		"the front":                      {acked + "f 2\nF 2", 2, ids([2]int{0, 1}, [2]int{1, 0}), 0, ""},
		"the front is back":              {acked + "f 2\nF 2", 1, ids([2]int{0, 0}, [2]int{0, 1}, [2]int{1, 0}), 0, "FirstLSN is 1, want 2 or 0"},
		"the meta is lost":               {"m 1\nM 1\nm 2", 1, nil, 0, "the meta is 0, want 1 to 2"},
		"a meta that may have been set":  {"m 1\nM 1\nm 2", 1, nil, 2, ""},
		"a meta that nobody set":         {"m 1\nM 1\nm 2", 1, nil, 3, "the meta is 3"},
		"one of long ago":                {"a 0 9 1 1 0", 1, ids([2]int{0, 9}, [2]int{0, 3}), 0, "cannot have been under way"},
		"a record that was under way":    {"", 1, ids([2]int{0, 0}), 0, ""},
		"a record of another round's id": {"", 1, []id{{2, 0, 0}}, 0, "cannot have been under way"},
	} {
		t.Run(name, func(t *testing.T) {
			err := reports(t, c.reports).check(c.first, c.got, c.meta)
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
		})
	}
}

func TestLedgerKeepsWhatWasFound(t *testing.T) {
	l := reports(t, "a 0 0 1 1 0")
	require.NoError(t, l.check(1, ids([2]int{0, 0}, [2]int{1, 0}), 0))
	l.begin(2)
	require.ErrorContains(t, l.check(1, ids([2]int{0, 0}), 0), "record 1.1.0 was acknowledged as 2")
}

func TestRecordsAreKnownByTheirBytes(t *testing.T) {
	data := appendRecord(nil, id{3, 1, 4711})
	n, _, err := parseRecord(data, nil)
	require.NoError(t, err)
	require.Equal(t, id{3, 1, 4711}, n)
	data[len(data)-1] ^= 1
	_, _, err = parseRecord(data, nil)
	require.Error(t, err)
}

// steady returns n samples of which the heap grows by so many bytes each.
func steady(n int, grows float64) (list []sample) {
	for i := range n {
		noise := float64(i*7919%13) * 20_000
		list = append(list, sample{10<<20 + grows*float64(i) + noise, 50 << 20, 40, 30, 8 << 20})
	}
	return list
}

func TestSlopesAreJudged(t *testing.T) {
	line, err := judge(steady(minSamples-1, 1<<20))
	require.NoError(t, err)
	require.Contains(t, line, "slopes not judged: 119 samples, want 120, which takes 10m0s")

	line, err = judge(steady(minSamples, 0))
	require.NoError(t, err)
	require.Regexp(t, `slopes over 0.13 h: heap .*RSS \+0MiB/h`, line)

	_, err = judge(steady(minSamples, 100_000)) // 70 MB an hour
	require.ErrorContains(t, err, "heap grew by")
	_, err = judge(steady(int(24*time.Hour/sampleEvery), 300)) // 200 kB an hour
	require.ErrorContains(t, err, "heap grew by")
}
