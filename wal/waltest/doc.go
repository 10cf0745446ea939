// Package waltest is for those who embed the log: a file system in memory that
// loses power, ends processes and fails calls, for the log and for the files of
// the engine on top of it. Put both on one [Disk], crash them together, and see
// what the engine makes of what is left.
//
// # How to test an engine
//
// The engine does its file work through a seam of its own, an interface with the
// few calls that it needs. In production that is package os; in a test it is a
// Disk, whose methods are those of package os, and SyncDir. The log gets
// [Disk.FS] as its wal.Options.FS. Then:
//
//	d := waltest.New(512)
//	var points []point
//	d.OnChange(func(waltest.Call) {
//		points = append(points, point{d.State(), acked.Load()}) // acked: what the engine has promised
//	})
//	run(d) // the engine works, and counts in acked what has returned
//	for _, p := range points {
//		for img := range p.state.Images(100, 1) {
//			if err := check(img.Disk(), p.acked); err != nil { // opens the engine there
//				t.Fatalf("%v\n%v", err, img)
//			}
//		}
//	}
//
// A check opens the engine, which must succeed, and compares what it holds: all
// that was acknowledged, perhaps what was under way, nothing else. The example of
// [Disk] is such a test, whole. The crash test of examples/kv is a larger one: it
// enumerates workloads, ends processes too, and fails every call.
//
// Give the log small segments, with wal.Options.SegmentSize: their space is allocated
// when they are made, and each image has its own copy of what is not durable.
//
// # What is durable when
//
//	[File.Sync]      makes the bytes and the size of the file durable, not its name
//	[Disk.SyncDir]   makes the names in a directory durable, those that came as those
//	                 that went, not the content of any file
//
// Nothing else makes anything durable: no Close, no rename, no other file's sync. So
// a file is replaced safely in five steps: write a temporary one, sync it, rename
// it, sync the directory, and only then drop what it replaces.
//
// # What a power loss leaves
//
//   - Of each file, every sector that was written or cut since the file's last Sync
//     has, independently of all others, its durable content, or any that it had at
//     the end of a call since, or, if it held no durable byte, garbage.
//   - Its size is, independently of the sectors, any that it had since its last Sync.
//     What nothing reached is zeros.
//   - Of the changes to the names in a directory since its last SyncDir, any subset is
//     kept. A rename is one change.
//   - Open files and locks are gone.
//
// A Sync that a [Fault] lets fail is as bad as on a real system: what it should have
// covered can be read, and no later Sync makes it durable, unless it is written
// again.
//
// # What is not modelled
//
// Sectors torn in themselves; a disk that says it synced and did not; rot of what is
// durable; directories renamed or removed, and renames from one directory to another,
// which fail with errors.ErrUnsupported; permissions, times, links other than the
// log's own, and memory maps. A sync of a directory that failed may be repeated here.
//
// # The same each time
//
// Images and samples depend on the calls and the seed only. What the log does in the
// background, such as making the next segment, has no fixed place among the engine's
// calls, and the log's ids are random: the calls are the same from run to run only
// in a bubble of testing/synctest, the bytes only if crypto/rand.Reader is replaced
// too. A test does not need that: each point carries what was promised by then.
package waltest
