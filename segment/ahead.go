package segment

import "io"

// ahead reads the next chunk of a file while the one before is looked at: to copy it from
// the page cache takes about as long as to verify it. It begins when a second chunk was
// read behind the first, so that who wants a few records reads no more than them.
type ahead struct {
	panes [2][]byte // room, then a chunk; one is what the Scanner looks at, or neither
	at    int       // the pane that the Scanner does not look at

	done chan int // how many bytes were read; nil: nothing was asked for
	off  int64    // of what was asked for
	size int
}

// aheadRoom is how many bytes of a frame that runs from one chunk into the next are kept
// in front of that: if there are more, both are read again.
const aheadRoom = 64 << 10

// forget gives up what was asked for: the memory may be written to until it has come.
func (a *ahead) forget() {
	if a.done != nil {
		a.panes[a.at], a.done = nil, nil
	}
}

// took notes that the bytes before end were read, whole chunks of them, one behind the
// other, or not, and asks for the next up to the limit.
func (a *ahead) took(r io.ReaderAt, whole bool, end, limit int64) {
	if !whole { // the end, or a jump: who follows a log needs no more than one pane
		a.panes[a.at] = nil
		return
	}
	if end >= limit {
		return
	}
	if a.panes[a.at] == nil {
		a.panes[a.at] = make([]byte, aheadRoom+scanChunk)
	}
	a.off, a.size, a.done = end, int(min(scanChunk, limit-end)), make(chan int, 1)
	go func(b []byte, done chan<- int) {
		n, err := r.ReadAt(b, end)
		if err != nil {
			n = 0 // who needs it reads it again, and reports the error
		}
		done <- n
	}(a.panes[a.at][aheadRoom:][:a.size], a.done)
}

// take returns the bytes from off on, n at least, if they begin in buf, which is read from
// bufOff on, and go on with what was asked for; else nil.
func (a *ahead) take(buf []byte, bufOff, off, n int64) []byte {
	if a.done == nil {
		return nil
	}
	got := <-a.done
	a.done = nil
	end := bufOff + int64(len(buf))
	left := end - off
	if got < a.size || a.off != end || off < bufOff || left < 0 || left > aheadRoom || left+int64(got) < n {
		return nil
	}
	pane := a.panes[a.at][aheadRoom-left : aheadRoom+got]
	copy(pane, buf[off-bufOff:])
	a.at = 1 - a.at
	return pane
}
