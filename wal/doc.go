// Package wal is a write-ahead log: a storage engine, a raft group or a queue
// appends to it before it does anything else.
package wal
