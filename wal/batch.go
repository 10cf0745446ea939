package wal

import (
	"github.com/seed3918b8df/tidemark/segment"
)

// Batch is a set of records, and what goes with them, that is appended in one
// step: after a crash all of it is there, or nothing. In that step the
// truncation comes first, then SetFirst is compared, then come meta and records,
// in whatever order they were added. The zero value is an empty batch. A Batch
// is for one goroutine and may be used again after it was appended: the log
// copies it.
type Batch struct {
	drafts  []byte // frames of the records, all with MORE
	records int
	bytes   int // of data
	largest int
	last    int  // where in drafts the last record's begins
	open    bool // Extend handed it out, and it is not hashed yet

	meta      []byte
	hasMeta   bool
	first     LSN
	truncate  LSN
	truncates bool
}

// Add adds a record. data is copied.
func (b *Batch) Add(data []byte) {
	b.count(len(data))
	b.drafts = segment.AppendDraft(b.drafts, segment.TypeRecord, true, data, segment.Hash(data))
}

// Extend adds a record of n bytes, all zero, and returns them, to be filled
// before the next call of any method of b and before b is appended.
func (b *Batch) Extend(n int) []byte {
	b.count(n)
	b.open = true
	b.drafts = segment.AppendRoom(b.drafts, segment.TypeRecord, true, n)
	return segment.DraftData(b.drafts[b.last:])
}

func (b *Batch) count(n int) {
	b.close()
	b.last = len(b.drafts)
	b.records++
	b.bytes += n
	b.largest = max(b.largest, n)
}

// close hashes the record that Extend handed out.
func (b *Batch) close() {
	if b.open {
		segment.HashDraft(b.drafts[b.last:])
		b.open = false
	}
}

// SetMeta sets the log's meta to a copy of meta, at most [MaxMetaSize] bytes. A
// batch of a meta alone uses no LSN.
func (b *Batch) SetMeta(meta []byte) {
	b.meta = append(b.meta[:0], meta...)
	b.hasMeta = true
}

// SetFirst makes the append fail with [ErrConflict], and nothing be written,
// unless the first record gets lsn. 0 takes the condition back.
func (b *Batch) SetFirst(lsn LSN) { b.first = lsn }

// TruncateBack drops the records above last in the same step, before the
// records of the batch are appended.
func (b *Batch) TruncateBack(last LSN) { b.truncate, b.truncates = last, true }

// Len returns the number of records.
func (b *Batch) Len() int { return b.records }

// Size returns the number of bytes in the records and in the meta.
func (b *Batch) Size() int { return b.bytes + len(b.meta) }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	*b = Batch{drafts: b.drafts[:0], meta: b.meta[:0]}
}
