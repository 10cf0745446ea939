package main

import (
	"os"
	"time"
)

// killer ends a child: when it is told to, or when nothing is heard of it.
type killer struct {
	orders chan time.Duration
	halt   chan struct{}
	ended  chan struct{}

	// To be read after stop.
	killed bool
	hung   bool
	idle   time.Duration // since the last report, at the kill
}

func newKiller(p *os.Process, c *clock) *killer {
	k := &killer{orders: make(chan time.Duration, 1), halt: make(chan struct{}), ended: make(chan struct{})}
	go k.run(p, c)
	return k
}

// in has the child killed after a while. It is called once.
func (k *killer) in(d time.Duration) { k.orders <- d }

// stop ends the killer and reports whether it killed.
func (k *killer) stop() bool {
	close(k.halt)
	<-k.ended
	return k.killed
}

func (k *killer) run(p *os.Process, c *clock) {
	defer close(k.ended)
	watch := time.NewTicker(time.Second)
	defer watch.Stop()
	var due <-chan time.Time
	for {
		select {
		case d := <-k.orders:
			due = time.After(d)
			continue
		case <-k.halt:
			return
		case <-watch.C:
			if c.idle() < stuck {
				continue
			}
			k.hung = true
		case <-due:
		}
		k.idle = c.idle()
		k.killed = p.Kill() == nil
		<-k.halt
		return
	}
}
