package main

import (
	"flag"
	"fmt"

	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/segment"
)

var verifyCommand = command{
	name: "verify", line: "[-expect LSN] DIR", min: 1, max: 1,
	short: "reads everything; says what is damaged and what Open would do",
	long: `
Reads and checks the whole log in DIR, and not only, as Open does, what a crash
can have touched; prints what the log is, and what Open would do about it. It is
the code that Open decides with. Nothing is written.

The exit codes:

  0  sound: nothing is damaged
  1  bad usage, an error of the file system, a newer version of the format,
     or no log in DIR: nothing is known
  2  corruption: something that was durable does not verify; Open refuses the
     log, or, if the damage is older than what Open reads, reading it fails
  3  what Open puts right by itself: a torn tail, which is what a crash leaves, or
     one flipped bit in the tail, or one of the two slots of FRONT. A tail that
     is "ambiguous" may have been a group that was acknowledged and is damaged:
     if you know an LSN that was, -expect decides

Beside a live writer a write under way is not taken for a torn tail if the log
has moved on when it is looked at again.`,
	setup: func(t *tool, flags *flag.FlagSet) action {
		expect := flags.Uint64("expect", 0, "this `LSN` was durable: a log that ends before it is corrupt")
		return func(args []string) (int, error) { return t.verify(args[0], segment.LSN(*expect)) }
	},
}

func (t *tool) verify(dir string, expect segment.LSN) (int, error) {
	cfg := recovery.Config{FS: t.fsys, Dir: dir, Full: true, Live: true, ExpectLSN: expect}
	plan, err := recovery.Examine(cfg)
	if err != nil {
		return exitError, err
	}
	if !plan.Exists && len(plan.Report.Corruptions) == 0 {
		return exitError, notLog(dir)
	}
	fmt.Fprint(t.stdout, plan.Report)
	if refusal := plan.Refusal(); refusal != nil {
		return exitCorrupt, t.explain(cfg)
	}
	if plan.Report.Tail != recovery.TailClean {
		if moved, err := t.movedOn(cfg, plan.Report); err != nil || moved {
			fmt.Fprintln(t.stdout, "sound: a writer is at work, and its tail is a write under way")
			return exitSound, err
		}
	}
	t.printSteps("Open would", plan)
	switch r := plan.Report; {
	case r.Tail != recovery.TailClean:
		fmt.Fprintln(t.stdout, "torn: nothing that is known to have been durable is damaged")
		return exitTorn, nil
	case len(r.Flipped) > 0, r.FrontDamaged:
		fmt.Fprintln(t.stdout, "damaged: nothing is lost, and Open puts it right")
		return exitTorn, nil
	}
	fmt.Fprintln(t.stdout, "sound: everything verifies")
	return exitSound, nil
}

// movedOn reports whether a writer has got further than what r says.
func (t *tool) movedOn(cfg recovery.Config, r recovery.Report) (bool, error) {
	cfg.Full = false
	plan, err := recovery.Examine(cfg)
	if err != nil {
		return false, err
	}
	return plan.Refusal() == nil && plan.Report.Last > r.Last, nil
}

// explain says what a damaged log means for who opens it, and what a
// point-in-time recovery would leave of it.
func (t *tool) explain(cfg recovery.Config) error {
	quick := cfg
	quick.Full = false
	plan, err := recovery.Examine(quick)
	if err != nil {
		return err
	}
	if plan.Refusal() != nil {
		fmt.Fprintln(t.stdout, "corrupt: Open refuses this log and changes nothing")
	} else {
		fmt.Fprintln(t.stdout, "corrupt: Open, which reads only what a crash can have touched, takes this log; reading what is damaged fails")
	}
	cfg.Mode = recovery.PointInTime
	if plan, err = recovery.Examine(cfg); err != nil {
		return err
	}
	r := plan.Report
	fmt.Fprintf(t.stdout, "a point-in-time recovery would keep %s, and delete nothing\n", span(r.First, r.Last))
	t.printSteps("it would", plan)
	return nil
}

func (t *tool) printSteps(who string, plan *recovery.Plan) {
	for _, step := range plan.Steps() {
		fmt.Fprintf(t.stdout, "%s: %s\n", who, step)
	}
}
