package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// id names a record: attempt seq of a writer in one round. No id is used twice, and
// the record's bytes follow from it.
type id struct {
	round, writer int
	seq           int
}

func (n id) String() string { return fmt.Sprintf("%d.%d.%d", n.round, n.writer, n.seq) }

// appendRecord appends the record of that id to dst: its name, and bytes that depend
// on it, 0 to about 1000 of them, seldom 20,000.
func appendRecord(dst []byte, n id) []byte {
	dst = strconv.AppendInt(dst, int64(n.round), 10)
	dst = append(dst, '.')
	dst = strconv.AppendInt(dst, int64(n.writer), 10)
	dst = append(dst, '.')
	dst = strconv.AppendInt(dst, int64(n.seq), 10)
	dst = append(dst, ' ')
	x := uint64(n.round)<<40 ^ uint64(n.writer)<<32 ^ uint64(n.seq)
	next := func() uint64 { // splitmix64
		x += 0x9e3779b97f4a7c15
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
	size := int(next() % 400)
	switch next() % 200 {
	case 0:
		size = 20_000
	case 1, 2, 3, 4:
		size = 1000
	}
	for size > 0 {
		w := next()
		for i := 0; i < 8 && size > 0; i++ {
			dst = append(dst, byte(w))
			w >>= 8
			size--
		}
	}
	return dst
}

// parseRecord returns the id of a record, and an error if it is not the record of
// that id, byte for byte. buf is memory to use.
func parseRecord(data, buf []byte) (n id, mem []byte, err error) {
	name, _, _ := bytes.Cut(data, []byte(" "))
	parts := strings.Split(string(name), ".")
	if len(parts) != 3 || len(name) > 60 {
		return n, buf, fmt.Errorf("no record of ours: %.40q", data)
	}
	for i, to := range []*int{&n.round, &n.writer, &n.seq} {
		if *to, err = strconv.Atoi(parts[i]); err != nil {
			return n, buf, fmt.Errorf("no record of ours: %.40q", data)
		}
	}
	buf = appendRecord(buf[:0], n)
	if !bytes.Equal(buf, data) {
		return n, buf, fmt.Errorf("record %v has %d bytes that are not what was appended", n, len(data))
	}
	return n, buf, nil
}
