package load

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime/pprof"
	"strings"
	"time"
)

// Command is what the commands that measure have in common: their flags.
type Command struct {
	dir    *string
	run    *string
	only   *string
	rounds *int
	length *time.Duration
	json   *string
	from   *string
	cpu    *string
	list   *bool
}

// Flags adds the flags to set.
func Flags(set *flag.FlagSet) *Command {
	return &Command{
		dir:    set.String("dir", ".", "a directory on the file system to be measured"),
		run:    set.String("run", ".", "regular expression: the workloads to run"),
		only:   set.String("target", ".", "regular expression: the targets to measure; the first one always is"),
		rounds: set.Int("rounds", 7, "how often each target does each workload"),
		length: set.Duration("for", 5*time.Second, "how long each time, after a warm-up of a fifth of it"),
		json:   set.String("json", "", "write every round to this file too"),
		from:   set.String("from", "", "measure nothing, and report what -json wrote to these files, separated by commas"),
		cpu:    set.String("cpuprofile", "", "write a profile of all that is run to this file"),
		list:   set.Bool("list", false, "list the workloads and the targets, and measure nothing"),
	}
}

// Run measures the targets as the flags ask for, the first of which the others are
// compared with, and writes the report to w. It returns nil for it if the flags ask for a
// list.
func (c *Command) Run(w io.Writer, first Target, others ...Target) (*Report, error) {
	if *c.from != "" {
		rep, err := Read(strings.Split(*c.from, ",")...)
		if err != nil {
			return nil, err
		}
		return rep, rep.Text(w)
	}
	workloads, err := matching(*c.run, Standard(), func(w Workload) string { return w.Name })
	if err != nil {
		return nil, err
	}
	others, err = matching(*c.only, others, func(t Target) string { return t.Name })
	if err != nil {
		return nil, err
	}
	targets := append([]Target{first}, others...)
	if *c.list {
		for _, wl := range workloads {
			fmt.Fprintln(w, wl.Name)
		}
		for _, t := range targets {
			fmt.Fprintln(w, "target", t.Name, t.Gaps)
		}
		return nil, nil
	}
	if *c.cpu != "" {
		file, err := os.Create(*c.cpu)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return nil, err
		}
		defer pprof.StopCPUProfile()
	}
	rep, err := Run(Plan{Dir: *c.dir, Targets: targets, Workloads: workloads, Rounds: *c.rounds, For: *c.length,
		Seed: uint64(time.Now().UnixNano()), Progress: os.Stderr, Pages: freePages})
	if err != nil {
		return nil, err
	}
	if *c.json != "" {
		file, err := os.Create(*c.json)
		if err != nil {
			return nil, err
		}
		err = rep.JSON(file)
		if cerr := file.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return nil, err
		}
	}
	return rep, rep.Text(w)
}

// freePages is [Plan].Pages of the command: what most targets write in a few seconds.
const freePages = 1 << 30

// matching returns those of list of which the name matches.
func matching[T any](pattern string, list []T, name func(T) string) (found []T, err error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	for _, x := range list {
		if re.MatchString(name(x)) {
			found = append(found, x)
		}
	}
	return found, nil
}
