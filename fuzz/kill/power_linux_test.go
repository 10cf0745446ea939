package kill

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/wal"
)

var (
	powerCut = flag.Bool("powercut", false, "cut the power of mounted file systems; needs root, loop devices, e2fsprogs and xfsprogs")
	cuts     = flag.Int("cuts", 100, "how many times, for each file system")
	powerFS  = flag.String("powerfs", "", "of which file systems, with commas; the default is all that can be trusted: see disk_linux_test.go")
)

// askedFor skips the test unless power cuts were asked for, and returns of what.
func askedFor(t *testing.T) (list []fileSystem) {
	if !*powerCut {
		t.Skip("not asked for: go test ./fuzz/kill -run PowerCut -powercut -cuts 500 -timeout 0 -v, as root")
	}
	if *powerFS == "" {
		return fileSystems
	}
	for _, f := range append([]fileSystem{distrusted}, fileSystems...) {
		if strings.Contains(","+*powerFS+",", ","+f.name+",") {
			list = append(list, f)
		}
	}
	require.NotEmpty(t, list, "-powerfs %s names no file system", *powerFS)
	return list
}

// moments are what a process is about to do when the power is cut, as [process.until]
// counts it.
var moments = []string{"a", "a", "ia", "ir", "if", "ik", "ix", "iR", "ic", "io"}

// power is a disk on which processes work until its power is cut, one after the other.
type power struct {
	*kills
	disk *disk
	by   map[string]int
}

func newPower(t *testing.T, f fileSystem, log string, seed uint64) *power {
	d := newDisk(t, f)
	return &power{kills: newKills(t, filepath.Join(d.dir, log), seed), disk: d, by: map[string]int{}}
}

// cutOff starts a process and cuts the power at a random moment. Half of the processes
// live on, on a disk that is gone, until they find out.
func (p *power) cutOff(j job) error {
	what := moments[p.rnd.IntN(len(moments))]
	n := 1 + p.rnd.IntN(8)
	if len(what) == 1 || what == "ia" {
		n = 1 + p.rnd.IntN(60)
	}
	if what == "io" {
		n = 1
	} else if len(what) > 1 && !strings.Contains(j.Ops, what[1:]) {
		j.Ops += what[1:]
	}
	v := start(p.t, p.model, j)
	v.until(what, n)
	if p.rnd.IntN(2) == 0 {
		time.Sleep(time.Duration(p.rnd.IntN(3_000)) * time.Microsecond) // real time: a moment that no call decides
	}
	v.lateFromNow()
	how := uint32(flushJournal + p.rnd.IntN(2))
	p.disk.cut(how)
	p.by[fmt.Sprintf("%s/%d", what, how)]++
	var err error
	if p.rnd.IntN(2) == 0 {
		err = v.kill()
	} else {
		err = v.end()
	}
	p.disk.on()
	if err == nil {
		err = v.found(p.dir, wal.Options{SegmentSize: j.SegmentSize}, true, p.ids())
	}
	if err != nil {
		err = fmt.Errorf("power cut with %d at %s %d: %w", how, what, n, err)
	}
	return err
}

// lateFromNow lets all that is not in the pipe yet count as late: the call that cuts the
// power takes a while, and what syncs return meanwhile is worth nothing.
func (p *process) lateFromNow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.out.n.Load()
	raw, err := p.out.SyscallConn()
	if err != nil {
		panic(err)
	}
	var waiting int32 // bytes in the pipe
	if err := raw.Control(func(fd uintptr) {
		const fionread = 0x541b
		_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, fd, fionread, uintptr(unsafe.Pointer(&waiting)))
	}); err == nil { // else all has been read
		at += int64(waiting)
	}
	p.lateAt = max(1, at)
}

// job returns what the next process does.
func (p *power) job() job {
	j := p.random()
	j.Cause = AnyCause
	return j
}

func TestPowerCutLosesNothingThatWasAcknowledged(t *testing.T) {
	for _, f := range askedFor(t) {
		t.Run(f.name, func(t *testing.T) {
			began := time.Now()
			p := newPower(t, f, "log", uint64(began.UnixNano()))
			t.Logf("%s: seed %d", f.name, p.seed)
			for i := 1; i <= *cuts; i++ {
				j := p.job()
				if err := p.cutOff(j); err != nil {
					t.Fatalf("cut %d, %+v: %v\nthe image is kept in %s, seed %d", i, j, err, p.disk.keep(), p.seed)
				}
				if i%100 == 0 || i == *cuts {
					t.Logf("%s: %d cuts, %d records acknowledged as durable, 0 of them lost; of %d others %d lost, %d of which the going disk had synced; %.0fs; %v",
						f.name, i, p.model.Records, p.model.Lost+p.model.Found, p.model.Lost, p.model.Gone, time.Since(began).Seconds(), p.by)
				}
			}
			require.GreaterOrEqual(t, p.model.Records, 10**cuts)
			if *cuts >= 20 {
				require.Positive(t, p.model.Lost, "a power cut took nothing: it was none")
			}
		})
	}
}

// A process whose syncs do nothing must be found out, on each file system.
func TestPowerCutFindsASyncThatDoesNothing(t *testing.T) {
	for _, f := range askedFor(t) {
		t.Run(f.name, func(t *testing.T) {
			const tries = 10
			p := newPower(t, f, "", rand.Uint64())
			found := 0
			for i := range tries {
				p.kills = newKills(t, filepath.Join(p.disk.dir, fmt.Sprintf("log%d", i)), uint64(i))
				j := p.job()
				j.NoSync, j.Sync = true, wal.SyncAlways
				if err := p.cutOff(j); err != nil {
					found++
					t.Logf("%s: found out: %.250v", f.name, err)
				}
			}
			t.Logf("%s: %d of %d processes that do not sync are found out", f.name, found, tries)
			require.Positive(t, found) // data=journal, its journal flushed, keeps all of some
		})
	}
}
