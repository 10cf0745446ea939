package load

import "sync"

// Batched puts the target behind a batcher: those who append while a batch is written
// make up the next one. It is what a log without group commit is used with.
func Batched(t Target) Target {
	open, reopen := t.Open, t.Reopen
	t.Name += ", batched"
	t.Open = func(dir string, o Options) (Log, error) { return newBatcher(open(dir, o)) }
	if reopen != nil {
		t.Reopen = func(dir string, o Options) (Log, error) { return newBatcher(reopen(dir, o)) }
	}
	t.OnlyAppends = true
	return t
}

// batcher is a log that writes what several goroutines append as one batch. Whoever
// finds nobody writing does it for all.
type batcher struct {
	log Log

	mu      sync.Mutex
	leading bool
	next    *batch
	turn    sync.Cond // on mu: nobody leads any more
}

// batch is what is written together.
type batch struct {
	data [][]byte
	done chan struct{}
	err  error
}

func newBatcher(l Log, err error) (Log, error) {
	if err != nil {
		return nil, err
	}
	b := &batcher{log: l, next: &batch{done: make(chan struct{})}}
	b.turn.L = &b.mu
	return b, nil
}

func (b *batcher) Append(data []byte) error {
	b.mu.Lock()
	mine := b.next
	mine.data = append(mine.data, data)
	if len(mine.data) > 1 { // its first writes it
		b.mu.Unlock()
		<-mine.done
		return mine.err
	}
	for b.leading {
		b.turn.Wait()
	}
	b.leading = true
	b.next = &batch{done: make(chan struct{}), data: make([][]byte, 0, len(mine.data))}
	b.mu.Unlock()

	mine.err = b.log.(Batcher).AppendBatch(mine.data)
	close(mine.done)

	b.mu.Lock()
	b.leading = false
	b.mu.Unlock()
	b.turn.Signal()
	return mine.err
}

func (b *batcher) Close() error { return b.log.Close() }
