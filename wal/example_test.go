package wal_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"

	"github.com/seed3918b8df/tidemark/wal"
)

// A log in a directory: what Append has returned survives a power loss.
func Example() {
	dir, _ := os.MkdirTemp("", "tidemark")
	defer os.RemoveAll(dir)

	l, err := wal.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Append([]byte("first")); err != nil { // durable when it returns
		log.Fatal(err)
	}
	l.Append([]byte("second"))
	for r, err := range l.Records(l.FirstLSN()) {
		fmt.Println(r.LSN, string(r.Data), err)
	}
	// Output:
	// 1 first <nil>
	// 2 second <nil>
}

// store is an engine that keeps a map, and logs every change of it.
type store struct {
	log *wal.Log

	mu     sync.Mutex
	values map[string]string
}

// put orders the change and applies it under one lock, so that two writers of
// one key are applied in the order of the log; then it waits without the lock,
// so that writers share syncs. A reader may see the change before it is durable.
func (s *store) put(key, value string) error {
	s.mu.Lock()
	p, err := s.log.AppendAsync([]byte(key + "=" + value))
	if err == nil {
		s.values[key] = value
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return p.Wait(context.Background())
}

// An engine orders and applies under its own lock, and waits outside of it.
func ExampleLog_AppendAsync() {
	l, err := wal.Open("log", &wal.Options{FS: wal.NewMemFS()})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	s := &store{log: l, values: map[string]string{}}
	var wg sync.WaitGroup
	for n := range 10 {
		wg.Go(func() {
			if err := s.put("key", fmt.Sprint(n)); err != nil {
				log.Fatal(err)
			}
		})
	}
	wg.Wait()
	newest, _ := l.Read(l.LastLSN(), nil)
	fmt.Println(l.LastLSN(), string(newest) == "key="+s.values["key"])
	// Output:
	// 10 true
}

// A batch survives whole or not at all; a raft follower replaces what conflicts
// and stores its vote in the same sync.
func ExampleLog_AppendBatch() {
	l, err := wal.Open("log", &wal.Options{FS: wal.NewMemFS()})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	var b wal.Batch
	for _, entry := range []string{"term 1: a", "term 1: b", "term 1: c"} {
		b.Add([]byte(entry))
	}
	first, err := l.AppendBatch(&b)
	fmt.Println(first, l.LastLSN(), err)

	b.Reset()
	b.TruncateBack(1) // the leader has other entries behind 1
	b.SetFirst(2)
	b.Add([]byte("term 2: B"))
	b.SetMeta([]byte("term 2"))
	first, err = l.AppendBatch(&b)
	fmt.Println(first, l.LastLSN(), err, string(l.Meta()))

	b.Reset()
	b.SetFirst(9)
	b.Add([]byte("term 2: too far on"))
	_, err = l.AppendBatch(&b)
	fmt.Println(errors.Is(err, wal.ErrConflict))
	// Output:
	// 1 3 <nil>
	// 2 2 <nil> term 2
	// true
}

// Follow delivers what is there and then waits for more.
func ExampleLog_Follow() {
	l, err := wal.Open("log", &wal.Options{FS: wal.NewMemFS()})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	l.Append([]byte("before"))
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	for r, err := range l.Follow(ctx, 1) {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(r.LSN, string(r.Data))
		switch r.LSN {
		case 1:
			l.Append([]byte("while it is followed"))
		case 2:
			stop()
		}
	}
	// Output:
	// 1 before
	// 2 while it is followed
	// context canceled
}

// A reader is for those who want to pull, and to look again later.
func ExampleReader() {
	l, err := wal.Open("log", &wal.Options{FS: wal.NewMemFS()})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	r, err := l.NewReader(1)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	for range 2 {
		l.Append([]byte("news"))
		for r.Next() {
			fmt.Println(r.Record().LSN, string(r.Record().Data))
		}
		fmt.Println("caught up:", r.Err() == nil)
	}
	// Output:
	// 1 news
	// caught up: true
	// 2 news
	// caught up: true
}

// A hold keeps what a slow reader still needs from TruncateFront.
func ExampleLog_Hold() {
	l, err := wal.Open("log", &wal.Options{FS: wal.NewMemFS()})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	for range 10 {
		l.Append([]byte("x"))
	}
	h, err := l.Hold("replica 2", 4)
	fmt.Println(err, l.TruncateFront(8), l.FirstLSN())
	h.Move(6)
	fmt.Println(l.TruncateFront(8), l.FirstLSN())
	h.Release()
	fmt.Println(l.TruncateFront(8), l.FirstLSN())
	// Output:
	// <nil> <nil> 4
	// <nil> 6
	// <nil> 8
}
