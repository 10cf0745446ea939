// Command peers measures Tidemark and other write-ahead logs for Go in the same rounds,
// with the same work:
//
//	cd bench/peers && go run . -dir DIR
//
// Each is used as it is meant to be. Those that have no group commit of their own are
// measured a second time behind a batcher that gives it to them, the same for all.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/seed3918b8df/tidemark/bench/load"
	"github.com/seed3918b8df/tidemark/wal"
)

func main() {
	c := load.Flags(flag.CommandLine)
	svg := flag.String("svg", "", "draw durable appends to this file too")
	flag.Parse()
	rep, err := c.Run(os.Stdout, load.Tidemark("tidemark", wal.Options{}), peers()...)
	if err == nil && rep != nil && *svg != "" {
		err = chart(rep, *svg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func peers() []load.Target {
	return append([]load.Target{
		load.Truncated("tidemark, truncated", wal.Options{}),
		load.Truncated("tidemark, truncated, direct", wal.Options{Direct: true}),
		pebble(false), pebble(true),
		etcd(), load.Batched(etcd()),
		raftWAL(), load.Batched(raftWAL()),
		tidwall(), load.Batched(tidwall()),
		prometheus(),
	}, rocksDB()...)
}

// segmentSize is the size in bytes that o asks for.
func segmentSize(o load.Options) int64 {
	if o.SegmentSize == 0 {
		return wal.DefaultSegmentSize
	}
	return o.SegmentSize
}
