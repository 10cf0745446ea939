package kill

import (
	"errors"
	"fmt"
	"io/fs"
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
	journal bool   // is replayed at mount; else what is there is read as it is, and copied
}

func (f fileSystem) kind() string { return strings.TrimPrefix(strings.Fields(f.mkfs)[0], "mkfs.") }

const (
	ext4Size = 128 << 20
	xfsSize  = 320 << 20 // mkfs.xfs makes none below 300 MiB
)

// fileSystems are those whose power is cut.
var fileSystems = []fileSystem{
	{"ext4-ordered", "mkfs.ext4 -q -F", "data=ordered", ext4Size, true},
	{"xfs", "mkfs.xfs -q -f", "", xfsSize, true},
	{"ext4-writeback", "mkfs.ext4 -q -F", "data=writeback", ext4Size, true},
	{"ext4-journal", "mkfs.ext4 -q -F", "data=journal", ext4Size, true},
	// Without a journal e2fsck must see to it before it is mounted for writing. It finds
	// blocks of which the last owner's claim was not written, and those of the next one
	// were; it gives the first one copies, for which it takes blocks that it believes to be
	// free and that belong to files which were synced. So it is not run here: what a sync
	// promises is asked of the disk as it is. Nor are there sums of metadata: what else has
	// changed in an inode may reach the disk before its sum does.
	{"ext4-no-journal", "mkfs.ext4 -q -F -O ^has_journal,^metadata_csum", "", ext4Size, false},
}

// distrusted is cut when it is named. Behind one cut in some hundreds Linux 6.18 does not
// mount it ("JBD2: journal recovery failed"), or mounts it without what was synced; e2fsck
// finds inodes with wrong counts. So do plain files fare, with no log: there are zeros
// where bytes were written and synced.
var distrusted = fileSystem{"ext4-fast-commit", "mkfs.ext4 -q -F -O fast_commit", "data=ordered", ext4Size, true}

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
		_ = syscall.Unmount(d.dir+".cut", syscall.MNT_DETACH)
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
	if d.journal {
		require.NoError(d.t, syscall.Unmount(d.dir, 0))
		d.mountIt()
		return
	}
	d.run("cp", "--sparse=always", d.image, d.image+".cut") // as unmounting writes what a power cut does not
	require.NoError(d.t, syscall.Unmount(d.dir, 0))
	d.run(append(strings.Fields(d.mkfs), d.dev)...)
	d.mountIt()
	cut := d.dir + ".cut"
	require.NoError(d.t, os.MkdirAll(cut, 0o755))
	d.run("mount", "-o", "loop,ro", d.image+".cut", cut)
	err := copyTree(cut, d.dir)
	require.NoError(d.t, syscall.Unmount(cut, 0))
	require.NoError(d.t, err)
	d.run("sync", "-f", d.dir)
}

// copyTree copies the files of a file system that nobody has looked after. A name whose
// inode was freed goes, as it would be made to.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
		target := filepath.Join(to, strings.TrimPrefix(name, from))
		switch {
		case errors.Is(err, syscall.EUCLEAN):
			return nil
		case err != nil:
			return err
		case entry.IsDir():
			return os.MkdirAll(target, 0o755)
		}
		b, err := os.ReadFile(name)
		if errors.Is(err, syscall.EUCLEAN) {
			return nil
		}
		return errors.Join(err, os.WriteFile(target, b, 0o644))
	})
}

// keep copies the image, and what it was when the power was cut, to where it stays, and
// returns where.
func (d *disk) keep() string {
	kept, err := os.MkdirTemp("", "tidemark-image-")
	files, _ := filepath.Glob(d.image + "*") // the pattern is a good one
	if err == nil {
		err = exec.Command("cp", append([]string{"--sparse=always", "-t", kept}, files...)...).Run()
	}
	return fmt.Sprintf("%s (%v)", kept, err)
}
