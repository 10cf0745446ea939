package kill

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// fileSystem is a file system, as it is made and mounted.
type fileSystem struct {
	name    string
	mkfs    string // command line, to which the device is added
	mount   string // options
	size    int64  // bytes of the image, which is sparse
	repairs bool   // nothing is replayed at mount: e2fsck must look at it first
}

func (f fileSystem) kind() string { return strings.TrimPrefix(strings.Fields(f.mkfs)[0], "mkfs.") }

const (
	ext4Size = 128 << 20
	xfsSize  = 320 << 20 // mkfs.xfs makes none below 300 MiB
)

// fileSystems are those whose power is cut.
var fileSystems = []fileSystem{
	{"ext4-ordered", "mkfs.ext4 -q -F", "data=ordered", ext4Size, false},
	{"xfs", "mkfs.xfs -q -f", "", xfsSize, false},
	{"ext4-writeback", "mkfs.ext4 -q -F", "data=writeback", ext4Size, false},
	{"ext4-journal", "mkfs.ext4 -q -F", "data=journal", ext4Size, false},
	{"ext4-fast-commit", "mkfs.ext4 -q -F -O fast_commit", "data=ordered", ext4Size, false},
	{"ext4-no-journal", "mkfs.ext4 -q -F -O ^has_journal", "", ext4Size, true},
}

// disk is an image with a file system, on a loop device.
type disk struct {
	fileSystem
	t     *testing.T
	image string
	dev   string
	dir   string // where it is mounted
	once  sync.Once
}

// newDisk makes a file system and mounts it. It is gone when the test ends, or when the
// process is asked to end.
func newDisk(t *testing.T, f fileSystem) *disk {
	t.Helper()
	tmp, err := os.MkdirTemp("", "tidemark-power-")
	require.NoError(t, err)
	d := &disk{fileSystem: f, t: t, image: filepath.Join(tmp, "image"), dir: filepath.Join(tmp, "mounted")}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	t.Cleanup(func() {
		signal.Stop(interrupted)
		close(interrupted)
		d.remove(tmp)
	})
	go func() {
		if sig, ok := <-interrupted; ok {
			d.remove(tmp)
			fmt.Fprintln(os.Stderr, "power cuts end:", sig)
			os.Exit(1)
		}
	}()
	require.NoError(t, os.Mkdir(d.dir, 0o755))
	file, err := os.Create(d.image)
	require.NoError(t, err)
	require.NoError(t, file.Truncate(f.size))
	require.NoError(t, file.Close())
	d.attach()
	d.run(append(strings.Fields(f.mkfs), d.dev)...)
	d.mountIt()
	return d
}

// remove unmounts and removes everything.
func (d *disk) remove(tmp string) {
	d.once.Do(func() {
		_ = syscall.Unmount(d.dir, syscall.MNT_DETACH)
		if d.dev != "" {
			_ = exec.Command("losetup", "-d", d.dev).Run()
		}
		_ = os.RemoveAll(tmp)
	})
}

// run runs a command, and ends the test if it fails. It returns what the command wrote.
func (d *disk) run(args ...string) string {
	d.t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(d.t, err, "%s: %s\npower cuts need root, loop devices, e2fsprogs and xfsprogs", strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

func (d *disk) attach() { d.dev = d.run("losetup", "--find", "--show", d.image) }

func (d *disk) mountIt() {
	d.t.Helper()
	require.NoError(d.t, syscall.Mount(d.dev, d.dir, d.kind(), 0, d.mount), "mount %s, %s, as root?", d.kind(), d.mount)
}

// What FS_IOC_SHUTDOWN does before nothing reaches the disk any more.
const (
	flushJournal = 1
	flushNothing = 2
)

// cut cuts the power.
func (d *disk) cut(how uint32) {
	d.t.Helper()
	const fsIocShutdown = 2<<30 | 4<<16 | 'X'<<8 | 125 // _IOR('X', 125, u32)
	root, err := os.Open(d.dir)
	require.NoError(d.t, err)
	defer root.Close()
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, root.Fd(), fsIocShutdown, uintptr(unsafe.Pointer(&how)))
	require.Zero(d.t, errno, "FS_IOC_SHUTDOWN: %v", errno)
}

// on switches the power on again: the file system is mounted anew. Nobody uses it.
func (d *disk) on() {
	d.t.Helper()
	if d.repairs { // unmounting would write what a power cut does not
		d.run("cp", "--sparse=always", d.image, d.image+".cut")
	}
	require.NoError(d.t, syscall.Unmount(d.dir, 0))
	if d.repairs {
		d.run("losetup", "-d", d.dev)
		require.NoError(d.t, os.Rename(d.image+".cut", d.image))
		d.run("cp", "--sparse=always", d.image, d.image+".before")
		d.attach()
		out, err := exec.Command("e2fsck", "-fy", d.dev).CombinedOutput()
		require.NoError(d.t, os.WriteFile(d.image+".e2fsck", out, 0o644))
		if exit := (*exec.ExitError)(nil); err != nil {
			require.ErrorAs(d.t, err, &exit)
			require.Less(d.t, exit.ExitCode(), 4, "e2fsck: %s", out)
		}
	}
	d.mountIt()
}

// keep copies the image, and what it was before it was repaired, to where it stays, and
// returns where.
func (d *disk) keep() string {
	kept, err := os.MkdirTemp("", "tidemark-image-")
	files, _ := filepath.Glob(d.image + "*") // the pattern is a good one
	if err == nil {
		err = exec.Command("cp", append([]string{"--sparse=always", "-t", kept}, files...)...).Run()
	}
	return fmt.Sprintf("%s (%v)", kept, err)
}
