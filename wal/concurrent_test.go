package wal

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// crowd calls every method of a log from many goroutines until it is closed, and
// closes it in the midst of that.
func crowd(t *testing.T, l *testLog, calls int) {
	var n atomic.Int64
	var wg sync.WaitGroup
	enough := make(chan struct{})
	for g := range 6 {
		rnd := rand.New(rand.NewPCG(uint64(g), 2))
		wg.Go(func() {
			for {
				err := anyCall(l.Log, rnd)
				switch {
				case errors.Is(err, ErrClosed):
					return
				case err != nil && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrRewound) &&
					!errors.Is(err, ErrConflict) && !errors.Is(err, context.DeadlineExceeded):
					t.Error(err)
					return
				}
				if n.Add(1) == int64(calls) {
					close(enough)
				}
			}
		})
	}
	<-enough
	wg.Go(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	l.close()
	wg.Wait()
	first, last, meta := l.FirstLSN(), l.LastLSN(), l.Meta()
	l.openAgain()
	require.Equal(t, [2]LSN{first, last}, [2]LSN{l.FirstLSN(), l.LastLSN()})
	require.Equal(t, meta, l.Meta())
	texts, err := collect(l.Records(first))
	require.NoError(t, err)
	require.Len(t, texts, int(last+1-first))
}

// anyCall calls a method with arguments that mostly make sense.
func anyCall(l *Log, rnd *rand.Rand) error {
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	first, last := l.FirstLSN(), l.LastLSN()
	at := first + LSN(rnd.Uint64N(uint64(max(first, last)-first)+2))
	data := make([]byte, rnd.IntN(300))
	b := new(Batch)
	b.Add(data)
	b.Extend(rnd.IntN(50))
	switch rnd.IntN(24) {
	case 0:
		return l.TruncateFront(at)
	case 1:
		return l.TruncateBack(at)
	case 2:
		if rnd.IntN(10) == 0 {
			return l.Reset(at)
		}
		return l.Rotate()
	case 3:
		return l.Sync()
	case 4:
		b.SetMeta(data)
		b.SetFirst(last + 1)
		return second(l.AppendBatch(b))
	case 5:
		b.TruncateBack(at)
		return second(l.AppendBatch(b))
	case 6:
		return second(l.AppendBatchAsync(b))
	case 7:
		p, err := l.AppendBatchAsync(b)
		if err == nil {
			err = p.Wait(short)
		}
		return err
	case 8:
		return second(collect(l.Records(at)))
	case 9:
		return second(collect(l.Follow(short, at)))
	case 10, 11:
		return second(l.Read(at, data))
	case 12:
		h, err := l.Hold("h", at)
		if err == nil {
			h.Move(at + 3)
			h.Release()
		}
		return err
	case 13:
		l.Segments()
		l.Stats()
		l.Meta()
		l.Recovery()
		l.DurableLSN()
		return l.Err()
	case 14:
		r, err := l.NewReader(at)
		if err == nil {
			r.Next()
			_ = r.Seek(first)
			err = r.Wait(short)
		}
		return err
	case 15, 16, 17:
		p, err := l.AppendAsync(data)
		if err == nil && rnd.IntN(2) == 0 {
			err = p.Wait(ctx)
		}
		return err
	}
	return second(l.Append(data))
}

func TestAllMethodsAtOnce(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncAlways, SyncInterval, SyncNone} {
		t.Run([]string{"always", "interval", "none"}[policy], func(t *testing.T) {
			everywhere(t, Options{SegmentSize: small, Sync: policy}, func(t *testing.T, l *testLog) { crowd(t, l, 1500) })
			t.Run("bubble", func(t *testing.T) { // which tells if all of them wait for ever
				synctest.Test(t, func(t *testing.T) {
					crowd(t, open(t, Options{FS: slowDisk(time.Millisecond), SegmentSize: small, Sync: policy}), 1500)
				})
			})
		})
	}
}
