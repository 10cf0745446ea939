package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sort"
	"sync/atomic"
)

// Step is the least distance in bytes between the offsets of two entries.
const Step = 4096

// EntrySize is the size in bytes of an encoded entry: the ordinal and the
// offset divided by 8, each a little-endian uint32.
const EntrySize = 4 + 4

// ErrMalformed is wrapped by the errors of [Decode].
var ErrMalformed = errors.New("index: malformed")

// entry is an [Entry] in 8 bytes.
type entry struct {
	ordinal uint32
	off8    uint32 // offset / 8; frames begin at multiples of 8
}

func (e entry) off() int64      { return int64(e.off8) * 8 }
func (e entry) exported() Entry { return Entry{e.ordinal, e.off()} }

// Index is an append-only sparse index. One goroutine may call Add while any
// number call the other methods. The zero value is empty and ready to use.
type Index struct {
	// Only Add stores. The table is stored before count: this guarantees that a
	// reader who loads count = n and then the table finds n entries in it.
	table atomic.Pointer[[]entry]
	count atomic.Int64
}

// Add notes that the record with the given ordinal begins at off, a multiple of
// 8 below 32 GiB. It keeps an entry only if off is at least [Step] bytes behind
// the last one kept. Ordinals and offsets must rise from call to call.
func (x *Index) Add(ordinal uint32, off int64) {
	n := x.count.Load()
	var table []entry
	if p := x.table.Load(); p != nil {
		table = *p
	}
	if n > 0 && off < table[n-1].off()+Step {
		return
	}
	if n == int64(len(table)) {
		grown := make([]entry, max(64, 2*len(table)))
		copy(grown, table)
		table = grown
		x.table.Store(&grown)
	}
	table[n] = entry{ordinal: ordinal, off8: uint32(off / 8)}
	x.count.Store(n + 1)
}

// Len returns the number of entries.
func (x *Index) Len() int { return int(x.count.Load()) }

// Size returns how many bytes of memory the entries take.
func (x *Index) Size() int64 {
	p := x.table.Load()
	if p == nil {
		return 0
	}
	return int64(cap(*p)) * EntrySize
}

// Entry says where the frame of a record begins.
type Entry struct {
	Ordinal uint32
	Off     int64
}

// Find returns the last entry at or before ordinal, and the one that follows: the frame
// asked for begins in [at.Off, next.Off). Where no entry follows, both fields of next are
// as large as can be. ok is false when no entry is at or before ordinal.
func (x *Index) Find(ordinal uint32) (at, next Entry, ok bool) {
	n := int(x.count.Load())
	if n == 0 {
		return at, next, false
	}
	table := (*x.table.Load())[:n]
	i := sort.Search(n, func(i int) bool { return table[i].ordinal > ordinal })
	if i == 0 {
		return at, next, false
	}
	at, next = table[i-1].exported(), Entry{math.MaxUint32, math.MaxInt64}
	if i < n {
		next = table[i].exported()
	}
	return at, next, true
}

// AppendTo appends the encoding of the index to dst and returns the result.
func (x *Index) AppendTo(dst []byte) []byte {
	n := x.count.Load()
	if n == 0 {
		return dst
	}
	for _, e := range (*x.table.Load())[:n] {
		dst = binary.LittleEndian.AppendUint32(dst, e.ordinal)
		dst = binary.LittleEndian.AppendUint32(dst, e.off8)
	}
	return dst
}

// Decode reads what [Index.AppendTo] wrote for a segment of the given length in
// bytes and number of records. An encoding whose size is no multiple of
// [EntrySize], whose entries do not rise, or that points behind the segment,
// is refused with an error that wraps [ErrMalformed]; so is one padded with
// zeros. Decode keeps no reference to data.
func Decode(data []byte, length int64, records uint64) (*Index, error) {
	if len(data)%EntrySize != 0 {
		return nil, fmt.Errorf("%w: %d bytes, want a multiple of %d", ErrMalformed, len(data), EntrySize)
	}
	n := len(data) / EntrySize
	table := make([]entry, n)
	for i := range table {
		e := entry{
			ordinal: binary.LittleEndian.Uint32(data[i*EntrySize:]),
			off8:    binary.LittleEndian.Uint32(data[i*EntrySize+4:]),
		}
		if e.off() >= length || uint64(e.ordinal) >= records {
			return nil, fmt.Errorf("%w: entry %d: record %d at %d, want below %d at %d",
				ErrMalformed, i, e.ordinal, e.off(), records, length)
		}
		if i > 0 && (e.ordinal <= table[i-1].ordinal || e.off8 <= table[i-1].off8) {
			return nil, fmt.Errorf("%w: entry %d: record %d at %d behind record %d at %d",
				ErrMalformed, i, e.ordinal, e.off(), table[i-1].ordinal, table[i-1].off())
		}
		table[i] = e
	}
	x := new(Index)
	x.table.Store(&table)
	x.count.Store(int64(n))
	return x, nil
}
