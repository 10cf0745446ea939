package wal

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
)

// BenchmarkParkAndWake is what Go takes to wake goroutines, each by a channel of its own, and
// to park them again: a log that many wait for can do no more appends than that lets it.
func BenchmarkParkAndWake(b *testing.B) {
	for _, n := range []int{8, 64, 256} {
		b.Run(fmt.Sprintf("%d goroutines", n), func(b *testing.B) {
			var parked atomic.Int64
			wake := make([]chan struct{}, n)
			for i := range wake {
				wake[i] = make(chan struct{}, 1)
				go func() {
					for range wake[i] {
						parked.Add(1)
					}
				}()
			}
			for b.Loop() {
				parked.Store(0)
				for _, c := range wake {
					c <- struct{}{}
				}
				for parked.Load() < int64(n) {
					runtime.Gosched()
				}
			}
			for _, c := range wake {
				close(c)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/goroutine")
		})
	}
}
