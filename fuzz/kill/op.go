package kill

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/seed3918b8df/tidemark/wal"
)

// ID names an operation. No two operations on one log have the same, whichever process
// they are of. All that an operation writes follows from its ID.
type ID uint64

// Kind is what an operation does.
type Kind byte

// The kinds, as the letters of [Work.Ops].
const (
	Append    Kind = 'a'
	Large     Kind = 'L' // Append of a record that is written in pieces
	Async     Kind = 'A' // AppendAsync, and Wait
	Unwaited  Kind = 'd' // AppendAsync, and no Wait
	Batch     Kind = 'b'
	Bulk      Kind = 'B' // a batch of more than is written in one piece
	MetaBatch Kind = 'm' // a batch that sets the meta
	Front     Kind = 'f' // TruncateFront
	Back      Kind = 'k' // TruncateBack
	Replace   Kind = 'x' // a batch that truncates back, and sets the meta
	Reset     Kind = 'R'
	Rotate    Kind = 'r'
	Sync      Kind = 's'
	Close     Kind = 'c' // and then Open
	Open      Kind = 'o'
)

// alone says that nothing else is under way while an operation of that kind is.
func (k Kind) alone() bool {
	switch k {
	case Back, Replace, Reset, Close:
		return true
	}
	return false
}

// setsMeta says that an operation of that kind sets the meta.
func (k Kind) setsMeta() bool { return k == MetaBatch || k == Replace }

// isLarge says that the operation of that ID, if it has one record, has a large one: it is an
// Append.
func (id ID) isLarge() bool { return id%64 == 0 }

// largeSize is the size of a large record in bytes.
const largeSize = 600 << 10

// Op is one operation.
type Op struct {
	ID   ID
	Kind Kind
	N    int     // records
	Arg  wal.LSN // of Front the new first, of Back and Replace the last to keep, of Reset the next
}

// Records returns what the operation appends.
func (o Op) Records() [][]byte {
	records := make([][]byte, o.N)
	for i := range records {
		records[i] = Data(o.ID, i, o.N)
	}
	return records
}

// Meta returns the meta that the operation sets.
func (o Op) Meta() []byte { return meta(o.ID) }

// headSize is the size of what a record begins with: which one it is.
const headSize = 16 + 1 + 4 + 1 + 4 + 1

// Data returns record i of the n of an operation: its head, and bytes that follow from
// it, 30 to 10,000 in all, or many if it is a large one.
func Data(id ID, i, n int) []byte {
	seed := mix(uint64(id) ^ mix(uint64(i)<<16+uint64(n)))
	size := headSize + 3 + int(seed%200)
	switch seed >> 32 % 64 {
	case 0:
		size += int(seed >> 8 % 10_000)
	case 1, 2, 3, 4:
		size += int(seed >> 8 % 2_000)
	}
	if n == 1 && id.isLarge() {
		size = largeSize
	}
	b := fmt.Appendf(make([]byte, 0, size+8), "%016x.%04x/%04x ", uint64(id), i, n)
	for len(b) < size {
		seed = mix(seed)
		for s := 0; s < 64; s += 8 {
			b = append(b, byte(seed>>s))
		}
	}
	return b[:size]
}

func meta(id ID) []byte {
	seed := mix(^uint64(id))
	return fmt.Appendf(nil, "meta %016x%s", uint64(id), strings.Repeat("-", int(seed%100)))
}

// mix returns 64 bits that follow from x and look random (the step of splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Rec is a record as the model knows it.
type Rec struct {
	ID   ID
	I, N int // record I of the N of its operation
}

// String returns the record as its bytes begin.
func (r Rec) String() string { return fmt.Sprintf("%x.%d/%d", uint64(r.ID), r.I, r.N) }

// parse returns which record the bytes are. The error says that they are none, or not as
// they were written.
func parse(b []byte) (r Rec, err error) {
	text := string(b[:min(len(b), headSize)])
	field := func(from, to int) (n uint64) {
		if len(text) == headSize && err == nil {
			n, err = strconv.ParseUint(text[from:to], 16, 64)
		}
		return n
	}
	r = Rec{ID: ID(field(0, 16)), I: int(field(17, 21)), N: int(field(22, 26))}
	if err != nil || r.I >= r.N {
		return r, fmt.Errorf("it is no record that was written: %q", text)
	}
	if want := Data(r.ID, r.I, r.N); !bytes.Equal(b, want) {
		return r, fmt.Errorf("record %v has other bytes than were written: %d of them, want %d", r, len(b), len(want))
	}
	return r, nil
}

// View is a log as it was found.
type View struct {
	First   wal.LSN
	Records [][]byte // of First, First+1, …
	Meta    []byte   // nil: never set
}

// Last returns the last LSN; First-1 if the log is empty.
func (v View) Last() wal.LSN { return v.First + wal.LSN(len(v.Records)) - 1 }

// Read returns all of a log.
func Read(l *wal.Log) (View, error) {
	v := View{First: l.FirstLSN(), Meta: l.Meta()}
	last := l.LastLSN()
	for r, err := range l.Records(v.First) {
		if err != nil {
			return v, err
		}
		if want := v.Last() + 1; r.LSN != want {
			return v, fmt.Errorf("the record behind %d is %d", want-1, r.LSN)
		}
		v.Records = append(v.Records, bytes.Clone(r.Data))
	}
	if v.Last() < last {
		return v, fmt.Errorf("the records end at %d, LastLSN is %d", v.Last(), last)
	}
	return v, nil
}
