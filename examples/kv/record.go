package main

import "fmt"

// A record of the log is one op:
//
//	off  what    type
//	0    kind    u8    'P' put, 'D' delete
//	1    length  u32   bytes of the key
//	5    key
//	     value         the rest; a delete has none
//
// Numbers are little-endian here and in the snapshot.
type op struct {
	kind  byte
	key   string
	value string
}

const (
	opPut    = 'P'
	opDelete = 'D'

	opHeaderSize = 5
)

// appendOp appends the record of o to dst.
func appendOp(dst []byte, o op) []byte {
	dst = append(dst, o.kind)
	dst = appendU32(dst, uint32(len(o.key)))
	dst = append(dst, o.key...)
	return append(dst, o.value...)
}

// parseOp returns the op of a record. The op does not refer to data.
func parseOp(data []byte) (op, error) {
	if len(data) < opHeaderSize {
		return op{}, fmt.Errorf("a record of %d bytes is no op", len(data))
	}
	rest := string(data[opHeaderSize:])
	n := uint64(u32(string(data[1:opHeaderSize])))
	if n > uint64(len(rest)) {
		return op{}, fmt.Errorf("a key of %d bytes in a record of %d", n, len(data))
	}
	o := op{kind: data[0], key: rest[:n], value: rest[n:]}
	if o.kind != opPut && (o.kind != opDelete || o.value != "") {
		return op{}, fmt.Errorf("a record of kind %#x is no op", o.kind)
	}
	return o, nil
}

func appendU32(dst []byte, n uint32) []byte {
	return append(dst, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
}

func appendU64(dst []byte, n uint64) []byte {
	return appendU32(appendU32(dst, uint32(n)), uint32(n>>32))
}

func u32(s string) uint32 {
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

func u64(s string) uint64 { return uint64(u32(s)) | uint64(u32(s[4:]))<<32 }
