package kill

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/seed3918b8df/tidemark/wal"
)

// long is how many records a log may have before it is truncated.
const long = 400

// bulk is how many records a [Bulk] has: 1 MiB of them, about.
const bulk = 4000

// do does one operation. The error says that the log did what it must not.
func (k *worker) do(kind Kind, rnd *rand.Rand) error {
	if kind.alone() {
		k.mu.Lock()
		defer k.mu.Unlock()
	} else {
		k.mu.RLock()
		defer k.mu.RUnlock()
	}
	if k.failed.Load() {
		return nil
	}
	var err error
	switch kind {
	case Append, Large:
		err = k.append(kind)
	case Async, Unwaited:
		err = k.async(kind)
	case Batch, MetaBatch:
		err = k.batch(Op{Kind: kind, N: 1 + rnd.IntN(6)})
	case Bulk:
		err = k.batch(Op{Kind: kind, N: bulk})
	case Front:
		err = k.truncateFront(rnd)
	case Back, Replace:
		err = k.truncateBack(kind, rnd)
	case Reset:
		err = k.reset(rnd)
	case Rotate:
		err = k.call(Op{Kind: Rotate}, k.log.Rotate)
	case Sync:
		err = k.call(Op{Kind: Sync}, k.log.Sync)
	case Close:
		err = k.reopen()
	}
	if err != nil || k.log == nil {
		return err
	}
	if stalled := k.log.Err(); stalled != nil && !errors.Is(stalled, wal.ErrFailed) {
		return k.resolve()
	}
	return nil
}

// call reports an operation that returns when all before it is durable.
func (k *worker) call(op Op, do func() error) error {
	op, err := k.called(op)
	if err != nil {
		return err
	}
	err = do()
	if errors.Is(err, wal.ErrNoSpace) && op.Kind == Sync { // for appends before it
		err = errors.Join(err, k.resolve())
	}
	return k.returned(op, 0, true, err)
}

func (k *worker) append(kind Kind) error {
	op, err := k.called(Op{Kind: kind, N: 1})
	if err != nil {
		return err
	}
	first, err := k.log.Append(Data(op.ID, 0, 1))
	return k.returned(op, first, false, err)
}

func (k *worker) async(kind Kind) error {
	op, err := k.called(Op{Kind: kind, N: 1})
	if err != nil {
		return err
	}
	p, err := k.log.AppendAsync(Data(op.ID, 0, 1))
	if err != nil {
		return k.returned(op, 0, false, err)
	}
	if k.Early {
		return k.say("a %d %d", op.ID, p.First)
	}
	if err := k.say("o %d %d", op.ID, p.First); err != nil {
		return err
	}
	if kind == Unwaited {
		k.unwaited.Lock()
		defer k.unwaited.Unlock()
		list := append(k.unwaited.list, pending{op, p})
		k.unwaited.list = list[max(0, len(list)-1000):]
		return nil
	}
	return k.returned(op, p.First, true, p.Wait(context.Background()))
}

func (k *worker) batch(op Op) error {
	op, err := k.called(op)
	if err != nil {
		return err
	}
	var b wal.Batch
	k.fill(&b, op)
	first, err := k.log.AppendBatch(&b)
	return k.returned(op, first, false, err)
}

func (k *worker) fill(b *wal.Batch, op Op) {
	for _, r := range op.Records() {
		b.Add(r)
	}
	if op.Kind.setsMeta() {
		b.SetMeta(op.Meta())
	}
}

// truncateFront drops a few of the oldest records, or most if there are many.
func (k *worker) truncateFront(rnd *rand.Rand) error {
	if !k.front.TryLock() {
		return nil
	}
	defer k.front.Unlock()
	first, last := k.log.FirstLSN(), k.log.LastLSN()
	n := int(last + 1 - first)
	drop := rnd.IntN(min(n, 50) + 1)
	switch {
	case n > long:
		drop = n - rnd.IntN(50)
	case rnd.IntN(10) == 0:
		drop = n
	}
	to := first + wal.LSN(drop)
	return k.call(Op{Kind: Front, Arg: to}, func() error { return k.log.TruncateFront(to) })
}

// truncateBack drops a few of the newest records; with Replace, to append others.
func (k *worker) truncateBack(kind Kind, rnd *rand.Rand) error {
	first, last := k.log.FirstLSN(), k.log.LastLSN()
	n := int(last + 1 - first)
	drop := rnd.IntN(min(n, 30) + 1)
	if rnd.IntN(20) == 0 {
		drop = n
	}
	to := last - wal.LSN(drop)
	if kind == Back {
		return k.call(Op{Kind: Back, Arg: to}, func() error { return k.log.TruncateBack(to) })
	}
	op, err := k.called(Op{Kind: Replace, N: 1 + rnd.IntN(4), Arg: to})
	if err != nil {
		return err
	}
	var b wal.Batch
	b.TruncateBack(to)
	k.fill(&b, op)
	p, err := k.log.AppendBatchAsync(&b)
	if err == nil {
		err = p.Wait(context.Background())
	}
	return k.returned(op, p.First, true, err)
}

// reset drops everything; the next LSN is a little lower than before, or higher.
func (k *worker) reset(rnd *rand.Rand) error {
	next := k.log.LastLSN() + 100 - min(k.log.LastLSN()+99, wal.LSN(rnd.IntN(150)))
	return k.call(Op{Kind: Reset, Arg: next}, func() error { return k.log.Reset(next) })
}

// reopen closes the log and opens it again.
func (k *worker) reopen() error {
	op, err := k.called(Op{Kind: Close})
	if err != nil {
		return err
	}
	if err := k.closed(op, k.log.Close()); err != nil {
		return err
	}
	if k.failed.Load() {
		k.log = nil
		return nil
	}
	return k.open()
}
