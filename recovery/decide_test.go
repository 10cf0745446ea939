package recovery

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// everyFacts calls yield with all combinations of facts.
func everyFacts(yield func(Facts)) {
	for role := range roles {
		for file := range fileStates {
			for bits := range 1 << 4 {
				yield(Facts{Role: role, File: file, Below: bits&1 != 0, Torn: bits&2 != 0, Sealed: bits&4 != 0, Unproved: bits&8 != 0})
			}
		}
	}
}

func TestEveryCombinationMatchesOneRow(t *testing.T) {
	used := map[string]int{}
	everyFacts(func(f Facts) {
		var labels []string
		for _, r := range table {
			if r.matches(f) {
				labels = append(labels, r.Label)
			}
		}
		require.Len(t, labels, 1, "%+v: %v", f, labels)
		require.Equal(t, labels[0], Decide(f).Label)
		used[labels[0]]++
	})
	for _, label := range Labels() {
		require.Positive(t, used[label], "no combination reaches %s", label)
	}
}

// TestNothingDurableIsEverCut is the half of the promise that the table can
// break alone: a segment that fails below the watermark is refused.
func TestNothingDurableIsEverCut(t *testing.T) {
	everyFacts(func(f Facts) {
		if f.Below && f.File != FileUnreadable {
			require.Equal(t, Corrupt, Decide(f).Verdict, "%+v", f)
		}
	})
}

// TestNoLegalCrashIsRefused is the other half.
func TestNoLegalCrashIsRefused(t *testing.T) {
	everyFacts(func(f Facts) {
		if !f.Below && f.File == FileSound && !(f.Role == RoleLast && f.Sealed) {
			require.NotEqual(t, Refuse, Decide(f).Action, "%+v", f)
		}
	})
}

func TestTableIsTheOneInThePackageComment(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	var labels []string
	for _, m := range regexp.MustCompile(`(?m)^//\t(@[A-Z])  `).FindAllStringSubmatch(string(doc), -1) {
		labels = append(labels, m[1])
	}
	require.Equal(t, Labels(), labels)
}
