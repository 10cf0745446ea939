package fuzz

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/recovery"
)

// crashed is what a crash left, and what is recovered from it.
type crashed struct {
	script Script
	image  *vfs.Mem
	view   View
}

// again recovers the image, appends and closes, and returns the points of that.
func (c *crashed) again(t *testing.T) (Script, []Point) {
	t.Helper()
	s := c.script
	s.Ops, s.From = "ac", 0
	var r *Run
	execute(t, func() error {
		r = NewRun(s, vfs.NewCrashFrom(c.image, s.Unit), NewHistory(c.view))
		return r.All()
	})
	return s, r.Points
}

// pick is some of the new images of an enumeration, of which a recovery would change
// something.
type pick struct {
	one func(hash uint64, removed int) bool // whether to take an image

	mu   sync.Mutex
	list []crashed
}

// from has e put images into p.
func (p *pick) from(e *enumeration) {
	e.also = func(s Script, img *vfs.Mem, v View) {
		hash := img.Hash()
		if !p.one(hash, 2) {
			return
		}
		plan, err := recovery.Examine(recovery.Config{FS: img, Dir: dir})
		if err != nil || len(plan.Steps()) == 0 || !p.one(hash, len(plan.Report.Removed)) {
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.list = append(p.list, crashed{s, img, v})
	}
}

// take returns the images, and forgets them.
func (p *pick) take() []crashed {
	list := p.list
	p.list = nil
	return list
}

// nest crashes recoveries at each call, and the recoveries of some of what that
// leaves. All three enumerations are of images that are recovered, appended to and
// recovered again; the two of recoveries share a memory of what they have seen.
type nest struct {
	log, once, twice *enumeration
	of, again        pick // what the first two left
	recoveries       [2]int
}

// newNest returns a nest that looks at so many images of a point at most, and crashes
// the recovery of one image of so many, by depth.
func newNest(perPoint, of, again int) *nest {
	x := &nest{log: newEnumeration(6), once: newEnumeration(perPoint), twice: newEnumeration(perPoint)}
	x.log.name, x.once.name, x.twice.name = "to crash the recoveries of", "crashes of recoveries", "crashes of recoveries of those"
	x.twice.checker = x.once.checker
	x.of.one = func(hash uint64, removed int) bool { // those that end two segments before the last one are rare
		return hash>>32%uint64(of) == 0 || removed > 1 && hash>>32%uint64(max(1, of/8)) == 0
	}
	x.again.one = func(hash uint64, _ int) bool { return hash>>32%uint64(again) == 0 }
	x.of.from(x.log)
	x.again.from(x.once)
	return x
}

// run takes images of the crash states of s, and goes on when there are many.
func (x *nest) run(t *testing.T, s Script) {
	t.Helper()
	if x.done() {
		return
	}
	if x.log.run(t, s); len(x.of.list) > 30 {
		x.drain(t)
	}
}

// drain crashes the recoveries of the images that were taken.
func (x *nest) drain(t *testing.T) {
	t.Helper()
	for _, c := range x.of.take() {
		x.recoveries[0]++
		x.once.add(c.again(t))
	}
	x.once.check()
	for _, c := range x.again.take() {
		x.recoveries[1]++
		x.twice.add(c.again(t))
	}
	x.twice.check()
}

func (x *nest) done() bool { return x.log.done() || x.once.done() || x.twice.done() }

func TestRecoveryMayCrashAnywhere(t *testing.T) {
	seedRandom(t, 1)
	x := newNest(scale.Pick(t, 4, 8, 16, 32), scale.Pick(t, 64, 16, 16, 8), scale.Pick(t, 50, 200, 50, 50))
	x.once.enough = scale.Pick(t, 0, 0, 0, *nested)
	i, n := parts(t)
	scripts := Scripts(200)
	scripts = scripts[len(scripts)-scale.Pick(t, 20, 30, 70, 200):]
	for j, s := range scripts {
		if j%n == i {
			x.run(t, s)
		}
	}
	x.log.runAhead(t, []string{"nn", "nnn", "ngnn", "nngn", "nnnn"})
	for _, r := range nestedRounds(t) {
		for s := range r.Scripts(i, n) {
			x.run(t, s)
		}
	}
	x.log.check()
	x.drain(t)
	require.Empty(t, x.log.failed)
	t.Logf("%d recoveries crashed at each call, and %d of what that left", x.recoveries[0], x.recoveries[1])
	x.once.report(t)
	x.twice.report(t)
	x.once.reaches(t, "@F", "@G", "@I", "@O")
	require.GreaterOrEqual(t, x.recoveries[1], scale.Pick(t, 1, 10, 100, 1_000))
	require.GreaterOrEqual(t, x.once.checker.Images(), scale.Pick(t, 300, 5_000, 35_000, *nested))
}

// nestedRounds returns the sequences of which recoveries are crashed with -scale long.
func nestedRounds(t *testing.T) (list []Round) {
	for _, length := range scale.Pick(t, nil, nil, nil, []int{1, 2, 3, 4}) {
		for _, like := range Settings() {
			list = append(list, Round{Like: like, Length: length})
		}
	}
	return list
}
