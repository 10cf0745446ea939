// Package kill ends processes that write a log, and cuts the power of the file system
// below them, and says whether what is left is what was promised.
//
// # Processes
//
// A process does [Work]: several goroutines append, in every way there is, while
// others truncate, rotate, close and open again. Before it calls a method, and when the
// method has returned, it says so in a line of its report, a pipe. What a process has
// written into a pipe outlives it, so that the report ends exactly where it did.
//
// # The judge
//
// A [Model] reads the report and knows, at its end, what was acknowledged and what was
// under way. A log that is opened then must be such that
//
//   - each acknowledged record is there, at its LSN, byte for byte,
//   - whatever else is there was asked for, and is there once,
//   - an append that had returned before another was called stands before it,
//   - a batch is there whole, or not at all,
//   - nothing is there that was refused, or that a truncation dropped,
//   - a truncation under way happened, or did not, and
//   - FirstLSN and Meta are what they were at one moment.
//
// Then the next process writes the same log.
//
// # Ways to end
//
//   - a random moment: the signal comes from outside while reports flow;
//   - the entry of the nth call of one kind, for every n: strace sends the signal;
//   - an error of the nth call of one kind, which strace returns in its place;
//   - the power of a mounted ext4 or xfs: FS_IOC_SHUTDOWN, after which nothing of the
//     page cache, and at most the journal, reaches the disk.
//
// The last is the kernel's own: it tells whether what package vfs believes of file
// systems is true. It needs root and loop devices, and is asked for with -powercut. What
// the kernel has given to the device stays there, whether the device was told to flush
// or not: a flush that is missing is not found in this way.
package kill
