package main

import (
	"iter"
	"math/rand/v2"
)

// entry is what the store holds for a key.
type entry struct {
	key   string
	value string
	lsn   uint64 // of the record that put it
}

// skiplist is an ordered map from keys to entries: sorted lists above sorted
// lists, each with a quarter of the keys of the one below (W. Pugh, 1990). The
// zero value is empty. It has no lock.
type skiplist struct {
	head  [maxLevels]*node // head[i] is the first node of list i
	count int
}

// maxLevels is enough for 4^12 keys at full speed.
const maxLevels = 12

type node struct {
	entry
	next []*node // next[i] follows in list i
}

// path holds, for each list, where the pointer to the first node at or above a
// key stands.
type path [maxLevels]**node

func (s *skiplist) find(key string) (*node, path) {
	var p path
	var at *node // the last node below key; nil: the head
	for i := maxLevels - 1; i >= 0; i-- {
		link := &s.head[i]
		if at != nil {
			link = &at.next[i]
		}
		for *link != nil && (*link).key < key {
			at = *link
			link = &at.next[i]
		}
		p[i] = link
	}
	return *p[0], p
}

// get returns the entry of key.
func (s *skiplist) get(key string) (entry, bool) {
	n, _ := s.find(key)
	if n == nil || n.key != key {
		return entry{}, false
	}
	return n.entry, true
}

// set puts e in place of what its key had.
func (s *skiplist) set(e entry) {
	n, p := s.find(e.key)
	if n != nil && n.key == e.key {
		n.entry = e
		return
	}
	levels := 1
	for levels < maxLevels && rand.Uint32()&3 == 0 {
		levels++
	}
	n = &node{entry: e, next: make([]*node, levels)}
	for i := range n.next {
		n.next[i], *p[i] = *p[i], n
	}
	s.count++
}

// remove drops key, if it is there.
func (s *skiplist) remove(key string) {
	n, p := s.find(key)
	if n == nil || n.key != key {
		return
	}
	for i := range n.next {
		*p[i] = n.next[i]
	}
	s.count--
}

// from returns the entries from key on, in the order of their keys.
func (s *skiplist) from(key string) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		for n, _ := s.find(key); n != nil; n = n.next[0] {
			if !yield(n.entry) {
				return
			}
		}
	}
}
