// Command bench measures Tidemark on this machine:
//
//	go run ./bench -dir DIR -run 'durable, (1|64) goroutine' -rounds 7 -for 5s
//
// DIR is on the file system to be measured. The rivals are measured in the same rounds
// by the command in bench/peers, which is a module of its own.
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
	flag.Parse()
	if _, err := c.Run(os.Stdout, load.Tidemark("tidemark", wal.Options{}), load.Truncated("tidemark, truncated", wal.Options{}),
		load.Truncated("tidemark, truncated, direct", wal.Options{Direct: true})); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
