// Package recovery looks at the directory of a log, says what it is and what
// must be done, and then, separately, does it. Opening a log, verifying it and
// repairing it share the deciding half.
//
// # The evidence
//
// A crash may leave any mixture of what was written since the last sync: in the
// last group or two, at the end of the log. It cannot touch what a sync covered,
// nor where that is written once more with the same bytes.
// So the question is not whether something is damaged, but whether that which is
// damaged was durable. Each group of records carries the watermark, the part of
// its file that syncs had covered when it was written. A header that verifies
// and claims a watermark W is a fact about the past: everything below W was on
// the disk once. With X, the first position of a segment that does not verify,
//
//	X < W    corruption: what was durable does not verify. It is reported with
//	         path, offset and LSN, and nothing is changed.
//	X >= W   a torn tail: what a crash may leave. The log is cut behind the last
//	         record that verifies.
//
// That something valid follows X proves nothing: the sectors of one write reach
// the disk in any order. And since a file that is cut off would take its later
// watermarks with it, each is durable at its full size before it gets its name,
// and nothing shortens it before something durable says how short it may be: a
// crash cannot.
//
// A cut takes nothing from the file. The next segment's opening says where the log
// ends in this one, and so what was cut never comes back; until there is one the
// same is found again.
//
// In the file of a segment that was another one before, zeros are written behind each
// group, to the end of a page; old bytes behind them prove nothing, as they verify under
// another salt. A last group of which the first page reads as zeros, though others of its
// pages are there, is so taken for one that was never written, where a new file shows that
// it was torn.
//
// # What cannot be decided
//
// The group that the last sync covered is claimed by no later header until one
// is written: the log writes a mark when it is idle, behind a Sync, a truncation
// and a recovery, and at Close. If that one group is damaged before, the bytes
// do not tell whether it was ever acknowledged. It is cut, and the report says
// so, with the LSNs, as [TailAmbiguous]; [Config.ExpectLSN] turns the doubt into
// an answer, if the caller knows better. In the last segment one flipped bit of the
// opening group, and one behind it, are decided all the same: flipped back, the sums
// hold, and nothing is lost.
//
// # The table
//
// Each segment is judged by what is known of it ([Facts]); exactly one row of
// the table in decide.go holds for each combination:
//
//	@A  a file could not be read                        fail, change nothing
//	@B  a segment that something names is absent        corrupt
//	@C  a segment's file has no valid header            corrupt
//	@D  the last segment is sealed: its successor is
//	    absent or its opening is damaged                corrupt
//	@E  the last segment fails below the watermark      corrupt
//	@F  the last segment ends clean, all is proved      keep
//	@G  the last segment ends clean, not all is proved  write the rest again
//	@H  the last segment is torn, the rest is proved    cut
//	@I  the last segment is torn, not all is proved     write again, cut
//	@J  an earlier segment fails where it was durable   corrupt
//	@K  an earlier segment is whole and proved          keep
//	@L  an earlier segment is whole, not all is proved  write the rest again
//	@M  an earlier segment that ran ahead of its syncs
//	    is torn: it is the last one, what follows dies  write again, cut
//	@N  a segment without a valid opening group claims
//	    that it had one                                 corrupt
//	@O  a segment made ready and never used             remove
//	@P  a segment with a torn opening group             remove
//	@Q  a file is shorter than it was made, and neither
//	    a seal, a later opening nor FRONT allows it     corrupt
//
// "Write again" is there because a process that died may have left bytes in the
// page cache that the disk never got, on pages the kernel calls clean after a
// failed writeback: a sync alone proves nothing (Rebello et al., Can
// Applications Recover from fsync Failures?, USENIX ATC 2020). What no
// watermark, seal or opening proves is written again as it was verified, and
// synced, before anyone is given it. And since such a page may be dropped between
// two reads of it, all is examined once more then ([Settle]). The size of a file is
// no page: where the last segment was cut for want of space, its file is synced, since
// the process may have died before it did that.
//
// Recovery may be interrupted at any call and gives the same result when it is
// run again. Only [Inspect] and [Report] are covered by the promise of version
// 1; the rest is for package wal and for tools, and may change.
package recovery
