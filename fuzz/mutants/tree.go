package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// tree is a copy of the module, for one mutant at a time.
type tree struct{ dir string }

// copyModule copies the files below from, but for git's.
func copyModule(from, to string) error {
	return filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		switch {
		case e.Name() == ".git":
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case !e.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o644)
	})
}

// mutate applies m, runs the test that must kill it, and takes m back.
func (t tree) mutate(ctx context.Context, m *mutant, limit time.Duration) (res result, err error) {
	var undo []func() error
	defer func() {
		for _, f := range undo {
			if uerr := f(); err == nil {
				err = uerr
			}
		}
	}()
	for _, f := range m.files {
		name := filepath.Join(t.dir, filepath.FromSlash(f.path))
		was, err := os.ReadFile(name)
		if err != nil {
			return res, err
		}
		now, err := f.apply(string(was))
		if err != nil {
			return res, err
		}
		undo = append(undo, func() error { return os.WriteFile(name, was, 0o644) })
		if err := os.WriteFile(name, []byte(now), 0o644); err != nil {
			return res, err
		}
	}
	if m.guard != "" {
		limit /= 4
	}
	return t.test(ctx, m.pkg, m.pattern(), m.args, limit)
}

// result is what a run of go test said.
type result struct {
	built  bool
	passed map[string]bool   // by test
	failed map[string]bool   // by test
	output map[string]string // by test, without that of its subtests
	text   string            // all of it
}

// event is a line of go test -json.
type event struct {
	Action, Test, Output, FailedBuild string
}

// test runs some tests of a package. The error is one of running them: a test that
// fails is none.
func (t tree) test(ctx context.Context, pkg, run, args string, limit time.Duration) (result, error) {
	argv := []string{"test", "-json", "-vet=off", "-count=1", "-timeout", limit.String(), "-run", run, pkg}
	cmd := exec.CommandContext(ctx, "go", append(argv, strings.Fields(args)...)...)
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.WaitDelay = 5 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		return result{}, ctx.Err()
	}
	res, perr := parseEvents(&out)
	res.text += errs.String()
	if perr != nil {
		return res, fmt.Errorf("go test: %w", perr)
	}
	if err != nil && len(res.failed) == 0 && res.built {
		return res, fmt.Errorf("go test: %w\n%s", err, res.text)
	}
	return res, nil
}

// parseEvents reads what go test -json printed.
func parseEvents(out *bytes.Buffer) (result, error) {
	res := result{built: true, passed: map[string]bool{}, failed: map[string]bool{}, output: map[string]string{}}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	var text strings.Builder
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return res, fmt.Errorf("%w: %q", err, lines.Text())
		}
		switch e.Action {
		case "output", "build-output":
			res.output[e.Test] += e.Output
			text.WriteString(e.Output)
		case "pass":
			res.passed[e.Test] = true
		case "fail":
			res.failed[e.Test] = true
		case "build-fail":
			res.built = false
		}
		if e.FailedBuild != "" {
			res.built = false
		}
	}
	res.text = text.String()
	return res, lines.Err()
}

// judge returns why m is not killed, or "".
func (m *mutant) judge(res result) string {
	stopped := stop(res.text)
	var said strings.Builder // by the test and its subtests
	for test, output := range res.output {
		if test == m.test || strings.HasPrefix(test, m.test+"/") {
			said.WriteString(output)
		}
	}
	switch {
	case !res.built:
		return "it does not build"
	case m.guard != "" && strings.Contains(stopped, m.guard):
		return ""
	case m.guard != "" && stopped == "":
		return "no guard stops the test"
	case stopped != "":
		return "the test did not end by itself: " + stopped
	case len(res.failed) == 0:
		return "it survives: no test fails"
	case !res.failed[m.test]:
		return "another test fails"
	case !strings.Contains(said.String(), m.says):
		return "the test fails, and does not say " + m.says
	}
	return ""
}

// stop returns the line with which a panic, or the end of a test's time, begins, or "".
func stop(text string) string {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return line
		}
	}
	return ""
}
