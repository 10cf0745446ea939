// Package segment holds the bytes of one segment file: their format, how they
// are written, sealed, scanned and read. This comment is the normative text of
// the format; a test decodes the worked bytes of section 9 out of it.
//
// The package has no locks and starts no goroutine. It is exported for tools;
// its Go API may change in a minor version, the format may not.
//
// # 1. What a segment is
//
// A log is a directory of segments, of one small file named FRONT, and of a
// file LOCK without content that matters. A segment holds records, the bytes
// that a caller appended, each with a number, its LSN; LSNs are dense and rise
// within a segment and from one segment to the next. What is written at once is
// a group. A group consists of frames; a record is one frame. What stands in a
// group is never written over, but with the bytes that it has: by a recovery that
// writes a tail again which it just verified, and by a write of whole blocks, of
// which the first has the end of what stands before. A file that is no part of the
// log any more may become another segment, with another salt.
//
// All integers are little-endian. H is 64-bit xxHash with seed 0. "||" joins
// bytes; u16, u32, u64 are unsigned integers of that many bits, i64 is signed,
// two's complement. Offsets count bytes from the start of the file. Reserved
// bytes are written as zero.
//
//	name                      what
//	0000000000000011.seg      segment 17: 16 lower-case hexadecimal digits, 1 <= id < 2^63
//	FRONT                     section 8
//	LOCK                      locked while a writer has the log open
//	*.tmp                     a file being made, or set aside to be another segment;
//	                          may be deleted when no writer runs
//	*.quarantined             what a point-in-time recovery gave up; never read
//
// # 2. The file
//
//	0         2048      4096
//	+---------+---------+----------------+---------+-- … --+---------+--------+
//	| header  | header  | opening group  | group   |       | seal    | rest   |
//	+---------+---------+----------------+---------+-- … --+---------+--------+
//
// The header stands twice and is durable before the file gets its name. The
// groups follow without a hole, each at a multiple of the unit. What is behind
// them is the rest, which is zero. It ends with the file or, if the header has
// REUSED, at the first multiple of 4096 that is 64 bytes or more behind the end of
// the groups, unless the file ends before: there the rest is written with each
// group, or with the header if there is none, and what stands behind it means
// nothing. A segment whose opening group does not verify (section 5) carries no
// records.
//
// # 3. Header
//
// Two equal copies of 2048 bytes, at 0 and at 2048.
//
//	off   name      type      meaning
//	0     magic     8 bytes   "TIDEMARK"
//	8     version   u16       1
//	10    unit      u8        log2 of the unit at which groups begin: 3 to 12
//	11    -         5 bytes   zero
//	16    incompat  u64       features a reader must know; 0 in this version
//	24    compat    u64       features a reader may ignore; bit 1 REUSED: the file was
//	                          a segment before, and has bytes of it
//	32    log       16 bytes  id of the log, random; the same in FRONT
//	48    id        u64       the segment's number; the same in the file's name
//	56    salt      u64       random, new for each segment
//	64    created   i64       nanoseconds since 1970
//	72    origin    6 x u64   {salt, length, chain, first, last, lowest id} of what a
//	                          rewritten segment stands for; zero in this version
//	120   size      u64       bytes that the file had when it got its name
//	128   -         1912      zero
//	2040  sum       u64       H(bytes 0 to 2039)
//
// A copy is valid if and only if (1) the magic is right, (2) the version is 1,
// (3) the sum holds, (4) incompat is 0 and the origin is zero, (5) the unit is
// in range, and the size at most 2^35. The header is the first copy if it is
// valid, else the second. If neither is valid but one has the magic and either
// another version, or version 1 and its sum and fails (4), the file is of a newer
// version; otherwise it is damaged. Both are refused, with different errors.
//
// # 4. Group and frame
//
// A group begins with a header of 64 bytes at a multiple of the unit.
//
//	off  name      type  meaning
//	0    kind      u8    1 group, 2 opening, 3 mark, 4 seal
//	1    flags     u8    bit 0 CLEAN: the log was closed after this mark;
//	                     bit 1 COMPACTED, bit 2 CUT: reserved
//	2    magic     u16   0xf71d, so that byte 3 is never below 0x80
//	4    frames    u32   frames in the group
//	8    length    u32   length of the group in units of 8 bytes, with this header
//	                     and the zero bytes up to the next multiple of the unit
//	12   records   u32   frames of type 1
//	16   base      u64   LSN of the first record; of the next one if there is none
//	24   durable   u64   the watermark: bytes [0, durable) of this file were
//	                     covered by a successful sync when the group was written
//	32   chain     u64   sum of the previous group's header; section 5 for the first
//	40   body      u64   H(sum of frame 1 || … || sum of frame n); H of nothing if n = 0
//	48   -         u64   zero
//	56   sum       u64   H(salt || offset of the group as u64 || bytes 0 to 55)
//
// Behind it stand the frames, without a hole, each at a multiple of 8.
//
//	off  name    type   meaning
//	0    length  u32    bytes of data, at most 2^30
//	4    type    u8     1 record, 2 meta, 3 opening, 4 seal, 5 index
//	5    flags   u8     bit 0 MORE: the next frame belongs to the same batch;
//	                    bits 1 to 3 zero; bits 4 to 7 codec, 0: data as it is
//	6    skip    u16    LSNs left out before this record; 0 in this version
//	8    sum     u64    H(salt || offset of the frame as u64 || LSN as u64 ||
//	                    bytes 0 to 7 || H(data) as u64); the LSN is 0 but for records
//	16   data
//	     zero to the next multiple of 8
//
// The LSN of a record is the group's base plus the number of records before it
// in the group. A meta frame holds what the caller stored beside the records;
// the last one in force wins, an empty one counts. A batch is a frame and the
// frames joined to it by MORE; it lies in one group and survives whole or not
// at all.
//
// The header at offset p is valid if and only if (1) p+64 is not beyond the
// file, (2) the magic is right, (3) the sum holds, (4) the kind and all flags
// are known, (5) length is at least 8 and p + 8*length is a multiple of the
// unit, (6) chain is the sum of the header before it, (7) base is the next LSN
// and not 0, and base + records at most 2^64 - 1, (8) durable is at least 4096, at least the durable of the header
// before, and at most p, (9) the kind is opening if and only if p is 4096, (10)
// the reserved bytes are zero. For the header at 4096, (6) holds, and of (7) only
// that base is not 0 is asked: section 5 asks more. The conditions are looked at
// in this order. A header that fails (4), the first three being met, with a kind
// of 0 or 5 to 127 or any flag but CLEAN, makes the file one of a newer version.
// Behind a header of a kind from 128 on, whose group must end within the file, the
// scan goes on behind the group: nothing in it is looked at, and it holds no
// records.
//
// A frame is valid if and only if (1) it has at most 2^30 bytes of data and ends,
// with its zero bytes, within the group and within the file, (2) its sum holds,
// (3) its type, flags, codec and skip are known, (4) its zero bytes are zero. The
// conditions are looked at in this order; a frame that fails (3), with a type of 0
// or 6 to 127, any flag but MORE, a codec or a skip, is of a newer version. Frames
// of a type from 128 on are valid and mean nothing. A scan does not look into the
// data of any frame.
//
// The group is valid if and only if its header is, all its frames are, and (1) the
// bytes between the last frame and the end of the group are fewer than the unit
// and (2) within the file, (3) the last frame has no MORE, (4) its records are as
// many as it says, (5) the body holds, (6) the bytes of (1) are zero. The first of
// these that does not hold says where the group is invalid: behind its last frame,
// but for (3) at its last frame, and for (4) and (5) at its header; then none of
// its frames count.
//
// Byte 3 of a header is at least 0x80 and byte 3 of a frame at most 0x40: a
// reader that starts at any frame, as an index tells it to, always knows which
// of the two comes next.
//
// # 5. Opening group
//
// The first group of a segment, at 4096. Its first frame is the opening:
//
//	off  name       type  meaning
//	0    id         u64   the segment that this one follows; 0: none
//	8    salt       u64   its salt
//	16   length     u64   its end: what lies behind, in it and in all segments
//	                      between it and this one, is dead
//	24   durable    u64   how much of it was known durable; at most length
//	32   chain      u64   sum of its last group header before length
//	40   last       u64   its last LSN before length
//	48   irregular  u64   the newest segment, this one included, whose predecessor's
//	                      id is not its own less one
//	56   time       i64   nanoseconds since 1970
//	64   incompat   u64   as in the header
//	72   compat     u64   as in the header; bit 0 GIVENUP: segments between id and
//	                      this one were given up as damaged, not truncated
//	80   -          48    zero
//
// If id is 0, all of salt to last are 0 and irregular is the segment's own id.
// Otherwise id is below the segment's own, base is last + 1, 4096 <= durable <=
// length <= 2^35, and irregular is at most the own id, and equal to it if and only
// if id is not the own id less one. The chain of the opening group's header is the
// chain that the opening names. An opening names an end anywhere behind a frame of
// the segment it follows, or behind one of its groups.
//
// The opening step is the opening frame and the frames joined to it by MORE. If
// a meta was in force, it is the second frame and part of the step. If the
// segment begins with a truncation that a batch asked for, the batch is part of
// the step too. The opening group verifies if and only if its header is valid
// and the frames of the step are, the first of them an opening of 128 bytes that
// obeys the rules above, the reserved bytes included. If it does and incompat is
// not 0, the file is of a newer version; so it is if the group has no frames, is
// valid, and what follows it is a header of a newer version. A meta that is the
// second frame of the step counts as the one that was in force: if none was, and
// the batch begins with its own, the effect is the same.
//
// # 6. Seal
//
// A group of kind 4, behind the end of a segment at the next multiple of the
// unit, written only after everything before it was synced and after the
// opening group of the segment that follows was. Its base is the next LSN, its
// chain the last header's sum, its durable the length below. Its first frame:
//
//	off  name     type  meaning
//	0    length   u64   the end of the segment
//	8    chain    u64   sum of the last group header before length
//	16   last     u64   last LSN
//	24   records  u64   records in the segment
//	32   next     u64   id of the segment that follows
//	40   salt     u64   its salt
//	48   time     i64   nanoseconds since 1970
//	56   kind     u8    of the index frame behind: 0 none, 1 sparse
//	57   -        7     zero
//
// The second frame, of type 5, is the index: pairs of u32 {LSN less the first
// LSN of the segment, offset of that record's frame / 8}, both rising. It is a
// hint: what it says is checked by the sum of the record found there, and
// without it the file is scanned. A seal of which header and first frame verify
// counts, whatever its index.
//
// # 7. Reading a segment, and what an end means
//
// A scan begins at 4096 and takes group after group until X, the first position
// that is not valid: a header, a frame, or what section 4 says of a group. A
// valid header of a seal ends the scan too: X is its offset. If X is no part of a
// group of which the header is valid, the rest from X on is zero or X is the end of
// the file, and no header at a multiple of 8 behind X has the magic and holds its own
// sum, the scan stopped clean. C is the end of the
// last frame before X that is not part of a batch that X cuts, or the end of the
// last whole group, whichever is further; 4096 if there is neither; never behind
// X. The last LSN is that of the last record before C, or base - 1.
//
// W is the highest watermark claimed: the durable of each header that has the
// magic and holds its own sum, of those the scan took and of those at each
// multiple of 8 from X on, a seal's included, and the durable of the opening that
// follows. A header whose frames are damaged still counts. X < W means damage:
// what was durable does not verify. X >= W is what a crash may leave.
//
// The end of a segment is what the opening that follows says; else C.
// The last record before the end has MORE as if 0.
//
// # 8. FRONT
//
// 8192 bytes: two slots of 4096. A change is written into one, synced, and then
// into the other and synced. A slot is valid if and only if magic, version, sum and
// incompat are right, and length is in range. The valid slot with the higher
// generation counts, of equal ones the first. If neither is valid, FRONT is of a newer
// version or damaged by the rule of section 3. It is damaged, too, if in the slot that
// counts first or oldest is 0, oldest is above both newest and 1, or newest is not
// below 2^63 - 1.
//
//	off   name        type      meaning
//	0     magic       8 bytes   "TIDEFRNT"
//	8     version     u16       1
//	10    -           6 bytes   zero
//	16    incompat    u64       0 in this version
//	24    log         16 bytes  id of the log
//	40    generation  u64       rises with each write
//	48    first       u64       the first LSN; of an empty log the next
//	56    oldest      u64       segments with a lower id are leftovers
//	64    newest      u64       the newest segment when this was written
//	72    trimmed     u64       a segment of which the file was made shorter; 0: none
//	80    length      u64       how short that file may be, in bytes; at most 2^35
//	88    -           4000      zero
//	4088  sum         u64       H(bytes 0 to 4087 || offset of the slot as u64)
//
// A new segment gets an id above those that are there, newest and trimmed.
//
// A log exists when FRONT does. A chain that ends at a segment without
// predecessor whose id is above newest begins with the base of that segment;
// any other begins with first.
//
// A file is durable with its size before it gets its name. It is made shorter only
// where something durable says so: behind its seal; when the opening of a segment
// that follows names its end; or when FRONT calls it trimmed. So if X is not below W
// and no seal verifies behind X, the file of a segment that nothing follows has at
// least the size in its header or, if trimmed is its id, length: a shorter one is
// damaged.
//
// The log is the chain of predecessors down from the segment with the highest
// id whose opening group verifies, to the one that FRONT calls oldest or to one
// without predecessor.
//
// # 9. Worked bytes
//
// The segment with id 2, salt 0x1122334455667788 and log id 000102…0f, whose
// unit is 8 and which was made at time 0 with 4096 bytes. It follows nothing. Its opening group
// holds record 7, "tide", and a batch of meta "m" and record 8, empty; a mark
// follows that claims all before it. Lines are "offset: bytes"; all between
// them zero.
//
//	0: 54 49 44 45 4d 41 52 4b 01 00 03 00 00 00 00 00
//	32: 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
//	48: 02 00 00 00 00 00 00 00 88 77 66 55 44 33 22 11
//	112: 00 00 00 00 00 00 00 00 00 10 00 00 00 00 00 00
//	2032: 00 00 00 00 00 00 00 00 d6 75 cd 04 69 97 e6 14
//	2048: 54 49 44 45 4d 41 52 4b 01 00 03 00 00 00 00 00
//	2080: 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
//	2096: 02 00 00 00 00 00 00 00 88 77 66 55 44 33 22 11
//	2160: 00 00 00 00 00 00 00 00 00 10 00 00 00 00 00 00
//	4080: 00 00 00 00 00 00 00 00 d6 75 cd 04 69 97 e6 14
//	4096: 02 00 1d f7 04 00 00 00 22 00 00 00 02 00 00 00
//	4112: 07 00 00 00 00 00 00 00 00 10 00 00 00 00 00 00
//	4128: 00 00 00 00 00 00 00 00 1d 64 93 6d 8e 98 a6 8f
//	4144: 00 00 00 00 00 00 00 00 a1 19 29 47 0c 54 d7 cc
//	4160: 80 00 00 00 03 00 00 00 b3 60 01 da d6 54 65 33
//	4224: 02 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
//	4304: 04 00 00 00 01 00 00 00 2d 27 d6 42 5b 7b 5b 35
//	4320: 74 69 64 65 00 00 00 00 01 00 00 00 02 01 00 00
//	4336: 1a d3 cb c2 20 1a 7c ca 6d 00 00 00 00 00 00 00
//	4352: 00 00 00 00 01 00 00 00 03 08 fd 42 7a 6e 56 76
//	4368: 03 00 1d f7 00 00 00 00 08 00 00 00 00 00 00 00
//	4384: 09 00 00 00 00 00 00 00 10 11 00 00 00 00 00 00
//	4400: a1 19 29 47 0c 54 d7 cc 99 e9 d8 51 37 db 46 ef
//	4416: 00 00 00 00 00 00 00 00 9f 77 5b 1c 52 26 21 08
package segment
