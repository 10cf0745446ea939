// The command mutants breaks the log on purpose, one rule at a time, and asks that a
// test notices:
//
//	go run ./fuzz/mutants                  all of them
//	go run ./fuzz/mutants front hold       those with a name that matches a regexp
//	go run ./fuzz/mutants -n 6             six, which the commit chooses
//
// It is a command, and not a test with a flag: it runs for minutes, prints a line as
// soon as it is known, and what it finds depends on more than a cache of tests knows.
// The tests of this package check in a second that each patch still fits.
//
// # A mutant
//
// Each is a file in patches, to be read by people: a unified diff with a few lines
// above it.
//
//	rule:  what the log does, and does not do once the diff is applied
//	kills: the package, and the test of it that must fail
//	run:   what to run of it, as in go test -run; the whole test if it is missing
//	args:  further arguments of the test, as -scale quick
//	says:  a text that the failing test must print: its own assertion, and no other
//	guard: instead of says, where the rule is that nobody waits for ever: what stops
//	       the test, by a panic or by a time-out, must say this
//
// A mutant is killed by that alone. One that does not build, fails in another way or in
// another test, or panics, is a mistake in the patch; one that nothing notices is a
// missing test. Goroutines need not meet in the same order each time: a mutant gets three
// runs, and killed/2 means that it took two. Each named test is run without a patch first:
// one that is red anyway proves nothing.
//
// A patch applies if the old lines of each hunk stand in the file at exactly one place.
// Line numbers are for the reader.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	n := flag.Int("n", 0, "run that many, chosen by the seed; 0: all")
	seed := flag.String("seed", "", "what chooses them; the default is the commit that HEAD is at")
	jobs := flag.Int("jobs", 2, "how many are run at a time, each in a copy of the module")
	limit := flag.Duration("timeout", time.Minute, "how long a test may take; one that a guard ends may take a quarter of it")
	verbose := flag.Bool("v", false, "print what the tests print")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s := &session{jobs: max(1, *jobs), limit: *limit, verbose: *verbose}
	survivors, err := s.run(ctx, *n, *seed, flag.Args())
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	case survivors > 0:
		os.Exit(1)
	}
}

// session is one run of the command.
type session struct {
	root    string // of the module
	jobs    int
	limit   time.Duration
	verbose bool

	mu    sync.Mutex
	alive []string // names, and why
}

// run runs the mutants that are asked for and returns how many were not killed.
func (s *session) run(ctx context.Context, n int, seed string, patterns []string) (survivors int, err error) {
	if s.root, err = moduleRoot(); err != nil {
		return 0, err
	}
	all, err := loadMutants(os.DirFS(filepath.Join(s.root, "fuzz", "mutants", "patches")))
	if err != nil {
		return 0, err
	}
	if all, err = matching(all, patterns); err != nil {
		return 0, err
	}
	if n > 0 {
		if seed == "" {
			if seed, err = headCommit(s.root); err != nil {
				return 0, err
			}
		}
		all = choose(all, n, seed)
		fmt.Printf("%d mutants, chosen by %s\n", len(all), seed)
	}
	start := time.Now()
	if err := s.runAll(ctx, all); err != nil {
		return 0, err
	}
	fmt.Printf("%d mutants, %d killed, %.0f s\n", len(all), len(all)-len(s.alive), time.Since(start).Seconds())
	for _, line := range s.alive {
		fmt.Println("not killed:", line)
	}
	return len(s.alive), nil
}

// runAll makes the copies, runs the named tests without a patch, and then each mutant.
func (s *session) runAll(ctx context.Context, all []*mutant) error {
	temp, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	trees := make([]tree, min(s.jobs, len(all)))
	for i := range trees {
		trees[i] = tree{dir: filepath.Join(temp, fmt.Sprint(i))}
		if err := copyModule(s.root, trees[i].dir); err != nil {
			return err
		}
	}
	if len(trees) == 0 {
		return fmt.Errorf("no mutant of that name")
	}
	start := time.Now()
	if err := s.green(ctx, trees[0], all); err != nil {
		return err
	}
	fmt.Printf("%-9s %5.1fs  the named tests, without a patch\n", "passed", time.Since(start).Seconds())
	work := make(chan *mutant)
	var wg sync.WaitGroup
	for _, t := range trees {
		wg.Go(func() {
			for m := range work {
				s.one(ctx, t, m)
			}
		})
	}
	for _, m := range all {
		work <- m
	}
	close(work)
	wg.Wait()
	return ctx.Err()
}

// green runs each test that a mutant names, without any patch.
func (s *session) green(ctx context.Context, t tree, all []*mutant) error {
	type group struct{ pkg, args string }
	runs := map[group][]string{}
	for _, m := range all {
		g := group{m.pkg, m.args}
		if !slices.Contains(runs[g], m.pattern()) {
			runs[g] = append(runs[g], m.pattern())
		}
	}
	for g, patterns := range runs {
		res, err := t.test(ctx, g.pkg, strings.Join(patterns, "|"), g.args, time.Duration(len(patterns))*s.limit)
		if err != nil {
			return err
		}
		for _, m := range all {
			if (m.pkg != g.pkg || m.args != g.args) || res.passed[m.test] {
				continue
			}
			return fmt.Errorf("%s: %s %s does not pass without the patch:\n%s", m.name, m.pkg, m.test, cmp.Or(res.output[m.test], res.text))
		}
	}
	return nil
}

const tries = 3 // of a mutant

// one runs a mutant and prints its line of the table.
func (s *session) one(ctx context.Context, t tree, m *mutant) {
	if ctx.Err() != nil {
		return
	}
	start := time.Now()
	var res result
	var err error
	why, runs := "", 0
	for runs < tries && (runs == 0 || why != "") && ctx.Err() == nil {
		runs++
		if res, err = t.mutate(ctx, m, s.limit); err != nil {
			why = err.Error()
			break
		}
		why = m.judge(res)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	word := "killed"
	switch {
	case why != "":
		word = "NOT KILLED"
		s.alive = append(s.alive, m.name+": "+why)
	case runs > 1:
		word = fmt.Sprintf("killed/%d", runs)
	}
	fmt.Printf("%-9s %5.1fs  %-52s %s %s\n%19s%s\n", word, time.Since(start).Seconds(), m.name, m.pkg, m.test, "", m.rule)
	if why != "" {
		fmt.Printf("%19s%s\n", "", why)
	}
	if err == nil && (s.verbose || why != "") {
		fmt.Println(tail(res.text, 60))
	}
}

// tail returns the last n lines of text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// matching returns those of all with a name that one of the patterns matches.
func matching(all []*mutant, patterns []string) ([]*mutant, error) {
	if len(patterns) == 0 {
		return all, nil
	}
	re, err := regexp.Compile(strings.Join(patterns, "|"))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(m *mutant) bool { return !re.MatchString(m.name) }), nil
}

// choose returns n of all, by name; which ones, the seed alone decides.
func choose(all []*mutant, n int, seed string) []*mutant {
	rank := func(m *mutant) []byte {
		sum := sha256.Sum256([]byte(seed + " " + m.name))
		return sum[:]
	}
	chosen := slices.SortedFunc(slices.Values(all), func(a, b *mutant) int { return bytes.Compare(rank(a), rank(b)) })
	chosen = chosen[:min(n, len(chosen))]
	slices.SortFunc(chosen, func(a, b *mutant) int { return cmp.Compare(a.name, b.name) })
	return chosen
}

// moduleRoot returns the directory of the module that the working directory is in.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil && filepath.Dir(dir) != dir; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", cmp.Or(err, fmt.Errorf("no go.mod here or above"))
}

// headCommit returns the commit that is checked out.
func headCommit(root string) (string, error) {
	cmd := exec.Command("git", "rev-parse", "HEAD")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git rev-parse HEAD: %w; -seed says what else is to choose", err)
	}
	return strings.TrimSpace(string(out)), nil
}
