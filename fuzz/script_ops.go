package fuzz

import (
	"context"
	"fmt"
	"time"

	"github.com/seed3918b8df/tidemark/wal"
)

// Operations lists the operations of a [Script].
const Operations = "" +
	"a" + // append a small record
	"A" + // append a record of several sectors
	"e" + // append an empty record
	"w" + // order three records, and do not wait
	"y" + // order three records, then Sync
	"p" + // order three records, then wait for the second
	"v" + // order four records of several sizes, then Sync
	"m" + // a batch of two records and a meta
	"x" + // a batch of a meta alone
	"t" + // a batch that truncates back, with records and a meta
	"T" + // a batch that truncates back, and nothing else
	"r" + // Rotate
	"f" + // TruncateFront to the middle
	"F" + // TruncateFront of everything
	"h" + // TruncateFront of everything, but for what is held
	"B" + // TruncateBack
	"U" + // Reset to a higher LSN
	"D" + // Reset to LSN 1
	"n" + // append where there is no room for a segment
	"N" + // append where there is room for a segment, but not for the record
	"z" + // order three records where there is room for one or two, then Sync
	"q" + // order three records, of which the disk takes two and a bit, then Sync
	"c" + // Close and Open
	"k" + // the process ends, and Open
	"i" + // nothing for a while
	"L" // append a record that is written from where it is, if there is room in the segment

// handed is one more operation, of [DirectScripts] alone: as long as it takes until what
// nobody waits for is handed over, and not yet synced.
const handed = 's'

// largeRecord is more than package wal copies if it need not.
const largeRecord = 256<<10 + 5000

// do runs one operation.
func (r *Run) do(op byte) error {
	v := r.now()
	switch op {
	case 'a':
		return r.append(40)
	case 'A':
		return r.append(1500)
	case 'L':
		return r.append(largeRecord)
	case 'e':
		return r.append(0)
	case 'w', 'y', 'p':
		return r.doAsync(op)
	case 'v':
		for _, size := range []int{20, 700, 0, 300} {
			if err := r.async(1, size); err != nil {
				return err
			}
		}
		return r.sync()
	case 'm', 'x', 't', 'T':
		return r.doBatch(op)
	case 'r':
		return r.change(v, r.Log.Rotate)
	case 'f':
		first := v.First + wal.LSN(len(v.Records)+1)/2
		return r.change(v.TruncateFront(first), func() error { return r.Log.TruncateFront(first) })
	case 'F':
		first := v.Last() + 1
		return r.change(v.TruncateFront(first), func() error { return r.Log.TruncateFront(first) })
	case 'h':
		return r.doHold(v)
	case 'B':
		last := v.Last() - min(2, wal.LSN(len(v.Records)))
		return r.change(v.TruncateBack(last), func() error { return r.Log.TruncateBack(last) })
	case 'U':
		next := v.Last() + 100
		return r.change(v.Reset(next), func() error { return r.Log.Reset(next) })
	case 'D':
		return r.change(v.Reset(1), func() error { return r.Log.Reset(1) })
	case 'n':
		return r.full(100, func() error { return r.append(5000) })
	case 'N':
		room := r.Script.Options.SegmentSize + 700
		return r.full(room, func() error { return r.append(int(r.Script.Options.SegmentSize)) })
	case 'z':
		return r.full(300, func() error {
			if err := r.async(3, 2000); err != nil {
				return err
			}
			return r.sync()
		})
	case 'q':
		r.limit(64 + 2*(16+304) + 10)
		defer r.limit(0)
		if err := r.async(3, 300); err != nil {
			return err
		}
		return r.sync()
	case 'c', 'k':
		return r.doReopen(op)
	case 'i':
		pass(300 * time.Millisecond) // the log marks itself durable
		return nil
	case handed:
		pass(3 * time.Millisecond)
		return nil
	}
	panic(fmt.Sprintf("fuzz: no operation %c", op))
}

// limit makes the next large write to a segment stop after so many bytes; 0: none.
func (r *Run) limit(bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.takes = bytes
}

func (r *Run) doAsync(op byte) error {
	err := r.async(3, 90)
	switch {
	case err != nil || op == 'w':
		return err
	case op == 'y' || len(r.pendings) < 3:
		return r.sync()
	}
	second := r.pendings[len(r.pendings)-2]
	return r.end(second.n, true, second.p.Wait(context.Background()))
}

func (r *Run) doBatch(op byte) error {
	return r.batch(func(b *wal.Batch, v View) View {
		if op == 't' || op == 'T' {
			last := v.Last() - min(1, wal.LSN(len(v.Records)))
			b.TruncateBack(last)
			v = v.TruncateBack(last)
		}
		if op == 'x' || op == 'm' || op == 't' {
			meta := r.record(20)
			b.SetMeta([]byte(meta))
			v = v.WithMeta(meta)
		}
		if op == 'm' || op == 't' {
			for _, size := range []int{600, 30} {
				data := r.record(size)
				b.Add([]byte(data))
				v = v.Append(data)
			}
		}
		return v
	})
}

// doHold truncates all, while somebody needs the second record, or the first.
func (r *Run) doHold(v View) error {
	at := min(v.First+1, v.Last()+1)
	hold, err := r.Log.Hold("fuzz", at)
	if err != nil {
		return err
	}
	defer hold.Release()
	return r.change(v.TruncateFront(at), func() error { return r.Log.TruncateFront(v.Last() + 1) })
}

// doReopen ends the log in one of two ways, and opens it again.
func (r *Run) doReopen(op byte) error {
	if op == 'c' {
		all := r.all()
		if err := r.end(all, true, r.Log.Close()); err != nil {
			return err
		}
	} else {
		r.Kill()
	}
	return r.Open()
}
