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

// sampler returns an enumeration that puts every so many-th image that want wants into
// list.
func sampler(perPoint, every int, list *[]crashed, want func(crashed) bool) *enumeration {
	var mu sync.Mutex
	n := 0
	e := newEnumeration(perPoint)
	e.also = func(s Script, img *vfs.Mem, v View) {
		mu.Lock()
		defer mu.Unlock()
		c := crashed{s, img, v}
		if !want(c) {
			return
		}
		if n++; n%every == 0 {
			*list = append(*list, c)
		}
	}
	return e
}

// sample returns some of the images of the crash states of some scripts, and some of
// segments that ran ahead.
func sample(t *testing.T, scripts []Script, every int) (list []crashed) {
	e := sampler(6, every, &list, func(crashed) bool { return true })
	for _, s := range scripts {
		var points []Point
		execute(t, func() (err error) {
			points, err = s.Execute()
			return err
		})
		e.add(s, points)
		e.check()
	}
	require.Empty(t, e.failed)
	e = sampler(8, every/8, &list, func(c crashed) bool { // the log ends two segments before the last one
		plan, err := recovery.Examine(recovery.Config{FS: c.image, Dir: dir})
		return err == nil && len(plan.Report.Removed) > 1
	})
	e.runAhead(t, []string{"nn", "nnn", "ngnn", "nngn", "nnnn"})
	require.Empty(t, e.failed)
	return list
}

func TestRecoveryMayCrashAnywhere(t *testing.T) {
	seedRandom(t, 1)
	scripts := Scripts(200)
	scripts = scripts[len(scripts)-scale.Pick(t, 20, 100, 100, 200):]
	e := newEnumeration(scale.Pick(t, 4, 8, 8, 64))
	images := sample(t, scripts, scale.Pick(t, 24, 24, 24, 16))
	for _, c := range images {
		s := c.script
		s.Ops, s.From = "ac", 0
		var r *Run
		execute(t, func() error {
			r = NewRun(s, vfs.NewCrashFrom(c.image, s.Unit), NewHistory(c.view))
			return r.All()
		})
		e.add(s, r.Points)
		e.check()
		if len(e.failed) > 20 {
			break
		}
	}
	t.Logf("%d recoveries crashed at each call", len(images))
	e.report(t)
	e.reaches(t, "@F", "@G", "@I", "@O")
	require.GreaterOrEqual(t, e.checker.Images(), scale.Pick(t, 300, 5_000, 5_000, 50_000))
}
