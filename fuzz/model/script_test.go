package model

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"

	"github.com/seed3918b8df/tidemark/wal"
)

// kind is what an operation does.
type kind uint8

const (
	opAppend     kind = iota // a: how many records; b: their size
	opAsync                  // the same, waiting for none
	opBatch                  // a: what is in it; b: where it truncates
	opBatchAsync             // the same, waiting for nothing
	opWait                   // waits for all that nobody waited for; a: for some of it
	opSync                   //
	opRotate                 //
	opFront                  // TruncateFront; a: how much
	opBack                   // TruncateBack; a: how much
	opReset                  // a: where to
	opHold                   // a: on what
	opMove                   // a: which hold; b: how far
	opRelease                // a: which hold
	opRead                   // point reads; a: of what
	opReader                 // a: which reader; b: how far
	opFollow                 // begins to follow; a: from where
	opLook                   // reads everything, in all ways
	opViewer                 // looks at the log read-only
	opPass                   // lets time pass; a: how much
	opFull                   // limits the space; a: what is left
	opSpace                  // takes the limit back
	opMistake                // calls what must fail; a: which
	opReopen                 // Close and Open
	opKill                   // the process ends; a: what happens in the recovery
	opPower                  // the power fails; a: what happens in the recovery; b: which outcome
	opFault                  // the disk fails after a calls, and b says how
	kinds
)

var kindNames = [kinds]string{
	"append", "async", "batch", "batchAsync", "wait", "sync", "rotate", "front", "back", "reset", "hold", "move",
	"release", "read", "reader", "follow", "look", "viewer", "pass", "full", "space", "mistake", "reopen", "kill",
	"power", "fault",
}

// weights says how often an operation is drawn.
var weights = [kinds]int{
	opAppend: 9, opAsync: 7, opBatch: 7, opBatchAsync: 4, opWait: 3, opSync: 2, opRotate: 2, opFront: 3, opBack: 3, opReset: 1,
	opHold: 1, opMove: 1, opRelease: 1, opRead: 2, opReader: 8, opFollow: 2, opLook: 1, opViewer: 1, opPass: 3, opFull: 2,
	opSpace: 2, opMistake: 1, opReopen: 1, opKill: 1, opPower: 3, opFault: 2,
}

// op is one operation. What its arguments mean depends on what the log is by then,
// so that a script still means something when a part of it is left out.
type op struct {
	kind kind
	a, b uint16
}

func (o op) String() string { return fmt.Sprintf("%s(%d,%d)", kindNames[o.kind], o.a, o.b) }

// script is a list of operations, and the log that they are for.
type script struct {
	policy  wal.SyncPolicy
	first   wal.LSN
	segment int64 // bytes
	unit    int   // in which the disk writes, in bytes
	direct  bool
	seed    uint64
	ops     []op
}

func (s script) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "policy %d first %d segment %d unit %d direct %v seed %d:", s.policy, s.first, s.segment, s.unit, s.direct, s.seed)
	for _, o := range s.ops {
		fmt.Fprintf(&b, " %v", o)
	}
	return b.String()
}

// bits draws a number of n bits, all alike: rapid's own numbers are small more often
// than not.
func bits(t *rapid.T, n int) uint64 {
	var x uint64
	for range n {
		x <<= 1
		if coin.Draw(t, "bit") {
			x |= 1
		}
	}
	return x
}

var coin = rapid.Bool()

// anyOp draws an operation.
var anyOp = func() *rapid.Generator[op] {
	var list []kind
	for k, n := range weights {
		for range n {
			list = append(list, kind(k))
		}
	}
	return rapid.Custom(func(t *rapid.T) op {
		return op{kind: list[bits(t, 12)*uint64(len(list))>>12], a: uint16(bits(t, 10)), b: uint16(bits(t, 12))}
	})
}()

// anyScript draws a script.
var anyScript = rapid.Custom(func(t *rapid.T) script {
	var ops []op
	for range 5 { // one list alone would have six on the average
		ops = append(ops, rapid.SliceOfN(anyOp, 0, 30).Draw(t, "ops")...)
	}
	return script{
		policy:  rapid.SampledFrom([]wal.SyncPolicy{wal.SyncAlways, wal.SyncAlways, wal.SyncInterval, wal.SyncNone}).Draw(t, "policy"),
		first:   rapid.SampledFrom([]wal.LSN{1, 2, 1000, 1 << 40}).Draw(t, "first"),
		segment: rapid.SampledFrom([]int64{wal.MinSegmentSize, 12 << 10, 40 << 10}).Draw(t, "segment"),
		unit:    rapid.SampledFrom([]int{512, 512, 4096}).Draw(t, "unit"),
		direct:  rapid.Bool().Draw(t, "direct"),
		seed:    rapid.Uint64Range(0, 1<<20).Draw(t, "seed"),
		ops:     ops,
	}
})
