// Package fuzz tests the log against everything that a crash may leave.
//
// # Crash states
//
// A [Script] is a short sequence of operations on a log. It runs once, on a file
// system that remembers what is not durable yet ([vfs.Crash]), and before each call
// that changes something it takes down what a crash at that moment could leave, and
// what the log had promised until then. Each such point stands for many images: any
// of the sectors written since the last sync may be there or not, any of the names
// changed since the directory was synced, any size that a file had. The images are
// enumerated, or sampled where they are too many, and a log is opened on each. Images
// are told apart by a hash of all names, sizes and contents.
//
// The scripts are all sequences of up to five of eleven kinds of operation ([Kinds]),
// under several [Settings], as far as the scale goes, shortest first; and longer ones
// of all kinds, drawn at random. With -scale long, -states and -nested say how many
// images there shall be, and -part 2/8 takes the second of eight parts of the scripts:
//
//	go test ./fuzz -run EveryCrashState -scale long -states 10000000 -timeout 0 -v
//	go test ./fuzz -run RecoveryMayCrash -scale long -nested 1000000 -timeout 0 -v
//
// # The oracle
//
// The operations that were ordered form a line. After the first i of them the log
// has a certain content, a [View]: its first LSN, its records, its meta. A [History]
// is that line, with two marks on it: what is known durable, and what was handed to
// the operating system. A crash may take back what is not durable, but only from the
// end: a log that was opened after it must be equal to one view of the line that is
// not before the durable mark; nor before the other mark if only the process ended.
// This one comparison says that
//
//   - every acknowledged record is there, at its LSN, byte for byte,
//   - what is there is a dense prefix of what was ordered,
//   - nothing is there that an append left behind which failed for want of space,
//   - a batch is there with all its records, its meta and its truncation, or not at all,
//   - nothing that a truncation dropped, which returned, is back, and
//   - FirstLSN, LastLSN and Meta are what they were at one moment.
//
// Besides, [Checker] asks of each image that Open succeeds, also when there is no
// space left and in each mode of recovery; that a recovery done twice changes nothing
// the second time; that a second Open finds the same log, nothing more to repair, and
// leaves its files as they are; and that three groups appended then are there after
// the next crash or Close. Recovery is crashed itself, at each of its calls, and the
// recovery of what that left too.
//
// A sync that fails leaves pages in memory that the disk may never have got. They stay
// there, are gone at once, or are dropped before the log is opened again or after: what
// Open hands out must be durable all the same.
//
// A harness that never complained proves nothing: the negative controls break the
// log under it, one promise each, and demand that it does.
package fuzz

import "github.com/seed3918b8df/tidemark/internal/vfs"

var _ = (*vfs.Crash)(nil) // for the link in the text above
