// Package model holds no code, only tests: the log beside a model of itself.
//
// # Scripts
//
// A script is a list of operations on a log, drawn by package rapid, which makes a
// failing one as short as it can. It covers all that package wal lets one do, crashes
// included: a power loss, of which several outcomes are opened; the end of the
// process; a disk that fails from some call on, in the middle of an operation or of
// a recovery; and a full disk. The reference is a line of views, one after each
// operation, with marks on it: what is promised to survive a power loss, what the end
// of the process, and what readers have seen. Whatever is found after a crash must be
// a view of that line that is not before the mark. So a record that was acknowledged
// is there; what is there is what was ordered, with nothing left out; a batch is there
// whole; what a truncation dropped that has returned is not; and an operation of which
// nobody knows the outcome may have happened or not.
//
// A script runs in a bubble of testing/synctest, where each call of the file system
// takes its own time: it does the same when it is run again.
//
// # Histories
//
// In a history eight clients use one log at once, until the process or the power ends
// at some call. When each call began and ended is written down, and package porcupine
// looks for an order of the calls, none before another that had ended when it began,
// that a log used by one client could have had, and that ends with the log that is
// found after the crash. This is durable linearizability: calls that had not returned
// may or may not have happened, all others have.
package model
