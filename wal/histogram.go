package wal

import (
	"iter"
	"math"
	"math/bits"
	"time"
)

// Histogram counts durations by their size. From 1 µs or so to 34 s the bounds of a bucket
// are a quarter apart at most, as in HdrHistogram: what it says of a percentile is too large
// by so much at most. A value; the zero Histogram is empty.
type Histogram struct {
	Count uint64
	Sum   time.Duration
	Max   time.Duration

	buckets [histogramBuckets]uint64
}

// Each power of two is parted into histogramParts; what is below 1<<histogramLeast ns is in
// the first bucket, and what is not below 1<<histogramMost ns in the last.
const (
	histogramLeast   = 10
	histogramMost    = 35
	histogramParts   = 4
	histogramBuckets = 1 + (histogramMost-histogramLeast)*histogramParts + 1
)

// bucketOf returns the bucket of d.
func bucketOf(d time.Duration) int {
	switch {
	case d < 1<<histogramLeast:
		return 0
	case d >= 1<<histogramMost:
		return histogramBuckets - 1
	}
	power := bits.Len64(uint64(d)) - 1
	part := int(uint64(d)*histogramParts>>power) - histogramParts
	return 1 + (power-histogramLeast)*histogramParts + part
}

// boundOf returns the duration from which on bucket is too small; that of the last is as
// large as a Duration can be.
func boundOf(bucket int) time.Duration {
	if bucket == histogramBuckets-1 {
		return 1<<63 - 1
	}
	power, part := bucket/histogramParts, bucket%histogramParts
	return (histogramParts + time.Duration(part)) << (histogramLeast + power) / histogramParts
}

func (h *Histogram) add(d time.Duration) {
	h.Count++
	h.Sum += d
	h.Max = max(h.Max, d)
	h.buckets[bucketOf(d)]++
}

// Quantile returns a duration that the part q of all, from 0 to 1, is not above: 0.99 for
// the 99th percentile. It is at most a quarter more than the least such that was counted, or
// 1 µs if that is less, and at most Max; 0 if there is none.
func (h Histogram) Quantile(q float64) time.Duration {
	rank := uint64(math.Ceil(min(max(q, 0), 1) * float64(h.Count)))
	var n uint64
	for i, c := range h.buckets {
		if n += c; n > 0 && n >= rank {
			return min(boundOf(i), h.Max)
		}
	}
	return h.Max
}

// Buckets goes through all buckets: the bound that what is in one is below, and how many
// durations are below that in all. The bounds are always the same, so that a collector of
// metrics can take them as they are; the last is the largest Duration and stands for none.
func (h Histogram) Buckets() iter.Seq2[time.Duration, uint64] {
	return func(yield func(time.Duration, uint64) bool) {
		var n uint64
		for i, c := range h.buckets {
			if n += c; !yield(boundOf(i), n) {
				return
			}
		}
	}
}
