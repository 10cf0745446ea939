package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"sync"

	"github.com/seed3918b8df/tidemark/wal"
)

// store is a map in memory, a log, and a snapshot of the map now and then. Its
// methods are safe for concurrent use.
//
// The map is always the fold of the log: each record is ordered and applied
// under one lock, so that two writers of one key leave in the map what the later
// record says, here and after a replay. The wait for the disk comes after the
// lock, so that all who wait share a sync:
//
//	writer A                       writer B
//	lock
//	AppendAsync: LSN 7
//	apply k = a
//	unlock                         lock
//	Wait                           AppendAsync: LSN 8
//	                               apply k = b
//	  one sync for both            unlock
//	                               Wait
//	returns                        returns
//
// With Append and then apply, both wait first, and A may apply last: the map
// would say a, and after a restart b.
//
// A reader may see what is not durable yet: B's value, before its put returns.
type store struct {
	on       storage
	dir      string
	log      *wal.Log
	readOnly bool

	mu struct {
		sync.RWMutex
		m       skiplist
		applied wal.LSN     // of the last record that is in m
		last    wal.Pending // the append of it; zero: none since the store was opened
		err     error       // sticky: m is ahead of the log
	}

	snapshots sync.Mutex // held by the one who makes a snapshot
	covered   wal.LSN    // under snapshots: what the newest one covers

	writing func(begins bool) // called before a snapshot is written, and when it is in force; nil: nobody asks
}

// logName is the log's directory in the store's.
const logName = "log"

// options says how a store is opened.
type options struct {
	create      bool // a store that is not there
	readOnly    bool // changes nothing, and works beside a process that writes
	segmentSize int64
	on          storage // zero: the operating system
}

// errNoStore says that there is no store in the directory.
var errNoStore = errors.New("no kv store")

// openStore opens the store in dir: the snapshot first, then the records of the
// log behind what it covers.
func openStore(dir string, o options) (*store, error) {
	if o.on.files == nil {
		o.on = osStorage
	}
	if err := mayHoldStore(o.on, dir, o.create); err != nil {
		return nil, err
	}
	// Whoever has the log open for writing may replace the snapshot and truncate
	// the log between our looking at the one and the other. Then we look again.
	for try := 1; ; try++ {
		s, err := replay(dir, o)
		if err == nil || !errors.Is(err, wal.ErrTruncated) || try == 10 {
			return s, err
		}
	}
}

// mayHoldStore returns an error unless dir holds a store, or may become one.
func mayHoldStore(on files, dir string, create bool) error {
	list, err := on.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if create {
			return nil
		}
		return fmt.Errorf("%w in %s: it does not exist", errNoStore, dir)
	}
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Name() == logName && e.IsDir() {
			return nil
		}
	}
	if len(list) > 0 {
		return fmt.Errorf("%w in %s: it has %s, and no directory %s", errNoStore, dir, list[0].Name(), logName)
	}
	if !create {
		return fmt.Errorf("%w in %s: it is empty", errNoStore, dir)
	}
	return nil
}

// replay opens the log and fills the map. [wal.ErrTruncated] says that the log
// begins behind the end of the snapshot.
func replay(dir string, o options) (*store, error) {
	snap, err := readSnapshot(o.on, dir)
	if err != nil {
		return nil, err
	}
	log, err := wal.Open(filepath.Join(dir, logName), &wal.Options{
		FS:          o.on.log,
		SegmentSize: o.segmentSize,
		MustExist:   !o.create || snap.lsn > 0,
		ReadOnly:    o.readOnly,
		ExpectLSN:   wal.LSN(snap.lsn), // it was durable before the snapshot was
	})
	if err != nil {
		return nil, err
	}
	s := &store{on: o.on, dir: dir, log: log, readOnly: o.readOnly, covered: wal.LSN(snap.lsn)}
	if err := s.fill(snap); err != nil {
		_ = log.Close() // the error that counts is there already
		return nil, err
	}
	return s, nil
}

// fill applies the snapshot, and the records behind it.
func (s *store) fill(snap snapshot) error {
	for _, e := range snap.entries {
		s.mu.m.set(e)
	}
	s.mu.applied = s.covered
	if first := s.log.FirstLSN(); first > s.covered+1 {
		return fmt.Errorf("%w: the log in %s begins at LSN %d, and the snapshot covers only up to %d",
			wal.ErrTruncated, s.dir, first, s.covered)
	}
	for r, err := range s.log.Records(s.covered + 1) {
		if err != nil {
			return err
		}
		o, err := parseOp(r.Data)
		if err != nil {
			return fmt.Errorf("log in %s, LSN %d: %w", s.dir, r.LSN, err)
		}
		s.apply(o, r.LSN)
	}
	if s.readOnly {
		return nil
	}
	if err := s.on.Remove(filepath.Join(s.dir, snapshotTemp)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// The process that made the snapshot may have ended before its name was
	// durable. We can read it all the same, and truncate the log for it: then a
	// power loss would leave the snapshot before, and not the records behind that.
	return s.on.SyncDir(s.dir)
}

// apply does what o, record lsn of the log, says. Requires mu.
func (s *store) apply(o op, lsn wal.LSN) {
	if o.kind == opDelete {
		s.mu.m.remove(o.key)
	} else {
		s.mu.m.set(entry{key: o.key, value: o.value, lsn: uint64(lsn)})
	}
	s.mu.applied = lsn
}

// put sets key to value and returns once that is durable, with the LSN of its
// record.
func (s *store) put(key, value string) (wal.LSN, error) {
	p, err := s.order(op{kind: opPut, key: key, value: value})
	if err != nil {
		return 0, err
	}
	return p.First, s.wait(p)
}

// delete drops key and returns once that is durable.
func (s *store) delete(key string) error {
	p, err := s.order(op{kind: opDelete, key: key})
	if err != nil {
		return err
	}
	return s.wait(p)
}

// order gives o its place in the log and in the map. What it returns must be
// waited for.
func (s *store) order(o op) (wal.Pending, error) {
	record := appendOp(make([]byte, 0, opHeaderSize+len(o.key)+len(o.value)), o)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil {
		return wal.Pending{}, s.mu.err
	}
	p, err := s.log.AppendAsync(record)
	if err != nil {
		return p, err // it is not in the log, and not in the map
	}
	if p.First != s.mu.applied+1 {
		// The log threw away records that are in the map, and gave their LSNs
		// out again. The writer of one of them is about to say so.
		s.fail(fmt.Errorf("the log went back from LSN %d to %d", s.mu.applied, p.First))
		return p, s.mu.err
	}
	s.apply(o, p.First)
	s.mu.last = p
	return p, nil
}

// wait returns once p is durable. Any error means that the map may hold what the
// log does not: the store is of no use until it is opened again.
func (s *store) wait(p wal.Pending) error {
	err := p.Wait(context.Background())
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail(err)
	return err
}

// fail notes the first reason why the map is not what the log says. Requires mu.
func (s *store) fail(err error) {
	if s.mu.err == nil {
		s.mu.err = fmt.Errorf("the store must be opened again: %w", err)
	}
}

// get returns the value of key.
func (s *store) get(key string) (value string, ok bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.mu.m.get(key)
	return e.value, ok, s.mu.err
}

// scan returns the entries from key on, in the order of their keys. It holds off
// writers: the loop must not write to the store.
func (s *store) scan(from string) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		s.mu.RLock()
		defer s.mu.RUnlock()
		s.mu.m.from(from)(yield)
	}
}

// state is what a store holds, for comparing.
type state struct {
	keys   int
	last   wal.LSN
	digest [sha256.Size]byte // of all keys, values and LSNs
}

func (s *store) state() state {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sum := sha256.New()
	var buf []byte
	for e := range s.mu.m.from("") {
		buf = appendU64(buf[:0], e.lsn)
		buf = appendU32(buf, uint32(len(e.key)))
		buf = appendU32(buf, uint32(len(e.value)))
		buf = append(append(buf, e.key...), e.value...)
		_, _ = sum.Write(buf) // a hash returns no error
	}
	return state{keys: s.mu.m.count, last: s.mu.applied, digest: [sha256.Size]byte(sum.Sum(nil))}
}

// snapshot writes the map to a file and drops from the log what that covers. It
// returns the last LSN that the snapshot covers. Writers wait while the map is
// copied, and not while the copy is written.
func (s *store) snapshot() (wal.LSN, error) {
	s.snapshots.Lock()
	defer s.snapshots.Unlock()
	snap, last, err := s.copy()
	if err != nil {
		return 0, err
	}
	lsn := wal.LSN(snap.lsn)
	if lsn > s.covered {
		if last.First != 0 {
			// A snapshot that covers what the log then loses would bring it back.
			if err := s.wait(last); err != nil {
				return 0, err
			}
		}
		if s.writing != nil {
			s.writing(true)
			defer s.writing(false)
		}
		if err := writeSnapshot(s.on, s.dir, snap); err != nil {
			return 0, err
		}
		s.covered = lsn
	}
	return lsn, s.log.TruncateFront(lsn + 1)
}

// copy returns the map as it is, and the append of the last record in it.
func (s *store) copy() (snapshot, wal.Pending, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	snap := snapshot{lsn: uint64(s.mu.applied), entries: make([]entry, 0, s.mu.m.count)}
	for e := range s.mu.m.from("") {
		snap.entries = append(snap.entries, e)
	}
	return snap, s.mu.last, s.mu.err
}

// close makes all that was ordered durable and ends the use of the store.
func (s *store) close() error {
	err := s.log.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail(wal.ErrClosed)
	return err
}
