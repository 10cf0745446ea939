package segment

import "encoding/binary"

// CompatGivenUp is a bit of [Opening.Compat]: the segment was begun by a
// point-in-time recovery, and the segments between it and the one it follows are
// not to be deleted but kept aside. Section 5.
const CompatGivenUp = 1 << 0

const (
	openingSize = 128
	sealSize    = 64
)

// Opening is what the first frame of a segment says. Section 5.
type Opening struct {
	Prev      Pin
	Irregular uint64
	Time      int64 // nanoseconds since 1970
	Compat    uint64

	incompat uint64
}

// Pin names the end of a segment: what lies behind it is dead. Section 5.
type Pin struct {
	ID      uint64 // 0: none, and all else is 0 too
	Salt    uint64
	Length  int64
	Durable int64
	Chain   uint64
	Last    LSN
}

// Offsets in an opening. Section 5.
const (
	opnID        = 0
	opnSalt      = 8
	opnLength    = 16
	opnDurable   = 24
	opnChain     = 32
	opnLast      = 40
	opnIrregular = 48
	opnTime      = 56
	opnIncompat  = 64
	opnCompat    = 72
	opnZero      = 80
)

func (o Opening) encode() []byte {
	b := make([]byte, openingSize)
	binary.LittleEndian.PutUint64(b[opnID:], o.Prev.ID)
	binary.LittleEndian.PutUint64(b[opnSalt:], o.Prev.Salt)
	binary.LittleEndian.PutUint64(b[opnLength:], uint64(o.Prev.Length))
	binary.LittleEndian.PutUint64(b[opnDurable:], uint64(o.Prev.Durable))
	binary.LittleEndian.PutUint64(b[opnChain:], o.Prev.Chain)
	binary.LittleEndian.PutUint64(b[opnLast:], uint64(o.Prev.Last))
	binary.LittleEndian.PutUint64(b[opnIrregular:], o.Irregular)
	binary.LittleEndian.PutUint64(b[opnTime:], uint64(o.Time))
	binary.LittleEndian.PutUint64(b[opnCompat:], o.Compat)
	return b
}

// decodeOpening reads an opening from the data of its frame, which verified.
// ok is false when the data breaks a rule of section 5 for the segment with the
// given id and base.
func decodeOpening(b []byte, id uint64, base LSN) (o Opening, ok bool) {
	if len(b) != openingSize || !allZero(b[opnZero:]) {
		return o, false
	}
	o = Opening{
		Prev: Pin{
			ID:      binary.LittleEndian.Uint64(b[opnID:]),
			Salt:    binary.LittleEndian.Uint64(b[opnSalt:]),
			Length:  int64(binary.LittleEndian.Uint64(b[opnLength:])),
			Durable: int64(binary.LittleEndian.Uint64(b[opnDurable:])),
			Chain:   binary.LittleEndian.Uint64(b[opnChain:]),
			Last:    LSN(binary.LittleEndian.Uint64(b[opnLast:])),
		},
		Irregular: binary.LittleEndian.Uint64(b[opnIrregular:]),
		Time:      int64(binary.LittleEndian.Uint64(b[opnTime:])),
		Compat:    binary.LittleEndian.Uint64(b[opnCompat:]),
		incompat:  binary.LittleEndian.Uint64(b[opnIncompat:]),
	}
	p := o.Prev
	if p.ID == 0 {
		return o, p == Pin{} && o.Irregular == id
	}
	return o, p.ID < id && base == p.Last+1 && o.Irregular <= id && (o.Irregular == id) == (p.ID != id-1) &&
		HeaderSize <= p.Durable && p.Durable <= p.Length && p.Length <= maxSegmentBytes
}

// Seal is what the seal of a segment says. Section 6.
type Seal struct {
	Length   int64
	Chain    uint64
	Last     LSN
	Records  uint64
	Next     uint64
	NextSalt uint64
	Time     int64 // nanoseconds since 1970
	index    byte
}

// Offsets in a seal. Section 6.
const (
	selLength  = 0
	selChain   = 8
	selLast    = 16
	selRecords = 24
	selNext    = 32
	selSalt    = 40
	selTime    = 48
	selIndex   = 56
	selZero    = 57

	indexNone   = 0
	indexSparse = 1
)

func (s Seal) encode() []byte {
	b := make([]byte, sealSize)
	binary.LittleEndian.PutUint64(b[selLength:], uint64(s.Length))
	binary.LittleEndian.PutUint64(b[selChain:], s.Chain)
	binary.LittleEndian.PutUint64(b[selLast:], uint64(s.Last))
	binary.LittleEndian.PutUint64(b[selRecords:], s.Records)
	binary.LittleEndian.PutUint64(b[selNext:], s.Next)
	binary.LittleEndian.PutUint64(b[selSalt:], s.NextSalt)
	binary.LittleEndian.PutUint64(b[selTime:], uint64(s.Time))
	b[selIndex] = s.index
	return b
}

func decodeSeal(b []byte) (s Seal, ok bool) {
	if len(b) != sealSize || !allZero(b[selZero:]) {
		return s, false
	}
	return Seal{
		Length:   int64(binary.LittleEndian.Uint64(b[selLength:])),
		Chain:    binary.LittleEndian.Uint64(b[selChain:]),
		Last:     LSN(binary.LittleEndian.Uint64(b[selLast:])),
		Records:  binary.LittleEndian.Uint64(b[selRecords:]),
		Next:     binary.LittleEndian.Uint64(b[selNext:]),
		NextSalt: binary.LittleEndian.Uint64(b[selSalt:]),
		Time:     int64(binary.LittleEndian.Uint64(b[selTime:])),
		index:    b[selIndex],
	}, true
}
