package wal

import (
	"cmp"
	"container/list"
	"errors"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/segment"
)

// extent is a segment as readers see it: the records of one file up to its end.
// Segments of an earlier run are opened when they are first asked for. An extent
// reads its file through ReadAt, which holds the file open for that call only.
type extent struct {
	// Set when it is made, then read-only.
	fs    FS
	path  string
	id    uint64
	files *openFiles

	nextEnd int64        // owned by the leader: end, once it is published; 0: it stays as it is
	end     atomic.Int64 // offset behind the last visible record's group; 0: the next extent's opening tells
	sealed  atomic.Bool
	suspect atomic.Bool // a call that changes the file failed

	// users counts the calls that use file, and fileOpen is set while another may begin to.
	// Who counts up from fileOpen may use file until he counts down; whoever finds fileOpen
	// missing, and who sets or clears it, holds mu.
	users atomic.Int64
	file  vfs.File // nil: not open
	mu    struct {
		sync.Mutex
		gone bool          // the log has no use for it any more
		last chan struct{} // closed by the last user of what is gone; nil: there is none
	}

	indexed   *list.Element // under files.mu: in files.indexed; nil: in none
	indexSize int64         // under files.mu: what counts for it there

	loaded  atomic.Bool // the fields below are set, for good
	header  segment.Header
	opening segment.First
	index   atomic.Pointer[segment.Index]
	mirror  atomic.Pointer[mirror]         // of the active segment; nil: it has none
	flips   atomic.Pointer[[]segment.Flip] // of a read-only log: the bits that a recovery would flip back; nil: none
}

// found sets what a recovery found out about the last segment of the log.
func (e *extent) found(s *recovery.Scan) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.loaded.Load() {
		e.header, e.opening = s.Header, s.First
		e.loaded.Store(true)
	}
	e.index.Store(s.Index)
	e.end.Store(s.Pin().Length)
}

// is reports whether e is, or may be, the segment with header h.
func (e *extent) is(h segment.Header) bool {
	return !e.loaded.Load() || e.header.Salt == h.Salt
}

// unflip sets which bits are read flipped back.
func (e *extent) unflip(f []segment.Flip) {
	if len(f) == 0 {
		e.flips.Store(nil)
	} else {
		e.flips.Store(&f)
	}
}

// errGone is returned by reads of a segment that was truncated away.
var errGone = errors.New("wal: the segment is gone")

// newExtent returns the extent of the segment with the given id, of which nothing
// is known yet.
func (l *Log) newExtent(id uint64) *extent {
	e := new(extent)
	e.begin(l, id, segment.Path(l.dir, id))
	return e
}

// begin sets what is known of a segment before anything is.
func (e *extent) begin(l *Log, id uint64, path string) {
	e.fs, e.path, e.id, e.files = l.fs, path, id, &l.files
}

// newExtentOf returns the extent of the segment that w writes.
func newExtentOf(l *Log, w *segment.Writer) *extent {
	e := l.newExtent(w.Header().ID)
	e.header, e.opening.Base = w.Header(), w.Base()
	e.opening.End, e.opening.Chain = w.OpeningEnd()
	e.index.Store(w.Index())
	e.mirror.Store(newMirror(w, cmp.Or(l.opts.mirrorSize, mirrorSize), &l.spareParts))
	e.loaded.Store(true)
	e.file = w.File()
	e.users.Store(fileOpen)
	return e
}

// endMirror ends that memory has bytes of the file. They are written no more.
func (e *extent) endMirror() {
	if m := e.mirror.Swap(nil); m != nil {
		m.retire()
	}
}

// ReadAt reads the file, or what memory has of it. It makes an extent an [io.ReaderAt].
func (e *extent) ReadAt(p []byte, off int64) (int, error) {
	if m := e.mirror.Load(); m != nil && m.read(p, off) {
		return len(p), nil
	}
	file, err := e.acquire()
	if err != nil {
		return 0, err
	}
	n, err := file.ReadAt(p, off)
	e.release()
	if flips := e.flips.Load(); flips != nil {
		for _, f := range *flips {
			if f.Off >= off && f.Off < off+int64(n) {
				p[f.Off-off] = f.Byte // it may have been flipped back meanwhile
			}
		}
	}
	return n, err
}

// fileOpen is far above any number of users.
const fileOpen = 1 << 32

// acquire counts a user of the file, which is opened if it is not open.
func (e *extent) acquire() (vfs.File, error) {
	for n := e.users.Load(); n >= fileOpen; n = e.users.Load() {
		if e.users.CompareAndSwap(n, n+1) {
			return e.file, nil
		}
	}
	file, opened, err := e.open()
	if opened {
		e.files.add(e)
	}
	return file, err
}

// open is acquire of a file that was not open.
func (e *extent) open() (file vfs.File, opened bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.gone {
		return nil, false, errGone
	}
	if e.users.Load() < fileOpen {
		if file, err = e.fs.Open(e.path, vfs.ReadOnly); err != nil {
			return nil, false, err
		}
		e.file, opened = file, true
		e.users.Store(fileOpen) // nobody uses it: only what is gone is shut in use
	}
	e.users.Add(1)
	return e.file, opened, nil
}

func (e *extent) release() {
	if e.users.Add(-1) == 0 { // it is gone, and this was the last user
		e.mu.Lock()
		defer e.mu.Unlock()
		e.files.forgetIndex(e) // it may have got one since
		_ = e.close()
		close(e.mu.last)
	}
}

// closeIdle closes the file unless somebody uses it, and reports whether it did.
func (e *extent) closeIdle() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.users.Load() != 0 && !e.users.CompareAndSwap(fileOpen, 0) {
		return false
	}
	_ = e.close() // it was only read since it was sealed
	return true
}

// drop ends the use of the file; whoever reads it right now may finish.
func (e *extent) drop() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.endMirror()
	e.mu.gone = true
	e.files.forgetIndex(e)
	if e.users.Load() < fileOpen {
		return nil
	}
	e.mu.last = make(chan struct{})
	if e.users.Add(-fileOpen) > 0 {
		return nil
	}
	close(e.mu.last)
	return e.close()
}

// settled returns when nobody uses the file, which was dropped.
func (e *extent) settled() {
	e.mu.Lock()
	last := e.mu.last
	e.mu.Unlock()
	if last != nil {
		<-last
	}
}

// unread reports whether nobody reads the file, which was dropped.
func (e *extent) unread() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.file == nil
}

// isGone reports whether the log has no use for the segment any more.
func (e *extent) isGone() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.gone
}

// close closes the file, which nobody uses. Requires mu.
func (e *extent) close() error {
	file := e.file
	e.file = nil
	if file == nil {
		return nil
	}
	return file.Close()
}

// openFiles bounds how many files of segments that are only read stay open, and how much
// memory their indexes take.
type openFiles struct {
	mu   sync.Mutex
	list []*extent // opened, oldest first

	indexed list.List // of the extents that have an index, oldest first
	bytes   int64     // that those indexes take
	most    int64     // that they may take; for tests: 0 is maxIndexes
}

// maxOpenFiles is how many stay open: more than any set of readers is in, and
// little beside the usual limit of 1024 a process.
const maxOpenFiles = 128

// add notes that e's file is open and may be closed when it is idle.
func (f *openFiles) add(e *extent) {
	f.mu.Lock()
	f.list = append(f.list, e)
	var oldest *extent
	if len(f.list) > maxOpenFiles {
		oldest = f.list[0]
		f.list = append(f.list[:0], f.list[1:]...)
	}
	f.mu.Unlock()
	if oldest != nil && oldest != e && !oldest.closeIdle() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.list = append(f.list, oldest)
	}
}

// maxIndexes is how many bytes the indexes of segments that are only read take at most: those
// of 32 GiB of segments, of which each has 0.2 % of its size. One that is forgotten is read
// from the seal again, which takes 100 µs with 64 MiB.
const maxIndexes = 64 << 20

// hasIndex notes that e, which takes no appends, has an index.
func (f *openFiles) hasIndex(e *extent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.without(e)
	x := e.index.Load()
	if x == nil {
		return
	}
	e.indexed, e.indexSize = f.indexed.PushBack(e), x.Size()
	f.bytes += e.indexSize
	for f.bytes > cmp.Or(f.most, maxIndexes) && f.indexed.Len() > 1 {
		f.forget(f.indexed.Front().Value.(*extent))
	}
}

// forgetIndex has e have no index.
func (f *openFiles) forgetIndex(e *extent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget(e)
}

// forget is forgetIndex. Requires mu.
func (f *openFiles) forget(e *extent) {
	f.without(e)
	e.index.Store(nil)
}

// without takes e out of those that are counted. Requires mu.
func (f *openFiles) without(e *extent) {
	if e.indexed != nil {
		f.indexed.Remove(e.indexed)
		f.bytes -= e.indexSize
		e.indexed, e.indexSize = nil, 0
	}
}

// trim gives back the space behind end, if it is worth that, and unless the file has
// another name, under which it is somebody else's too.
func (e *extent) trim(end int64) error {
	file, err := e.fs.Open(e.path, vfs.ReadWrite)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && info.Size-end >= segment.HeaderSize && info.Links == 1 {
		err = file.Truncate(end)
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	return err
}

// load reads what of a segment of an earlier run is not known: its header, its
// opening, and its end, which the extent behind it in list knows.
func (e *extent) load(list []*extent, at int) error {
	if err := e.loadHead(); err != nil {
		return err
	}
	if e.end.Load() != 0 || at+1 >= len(list) {
		return nil
	}
	next := list[at+1]
	if err := next.loadHead(); err != nil {
		return err
	}
	pin := next.opening.Prev
	if pin.ID != e.id || pin.Salt != e.header.Salt {
		return &CorruptError{Path: next.path, Offset: segment.HeaderSize, LSN: next.opening.Base,
			Reason: "the opening does not name the segment before it"}
	}
	e.end.CompareAndSwap(0, pin.Length)
	return nil
}

func (e *extent) loadHead() error {
	if e.loaded.Load() {
		return nil
	}
	file, err := e.acquire()
	if err != nil {
		return err
	}
	defer e.release()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	h, err := segment.ReadHeader(file, e.path, e.id)
	if err != nil {
		return err
	}
	first, err := segment.ReadFirst(file, e.path, h, info.Size)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.loaded.Load() {
		e.header, e.opening = h, first
		e.loaded.Store(true)
	}
	return nil
}

// baseLSN returns the first LSN of a loaded extent.
func (e *extent) baseLSN() LSN { return e.opening.Base }

// indexOf returns the index of a loaded extent: the one in its seal or, if that
// is not there or again is set, one built from the file.
func (e *extent) indexOf(again bool) (*segment.Index, error) {
	if x := e.index.Load(); x != nil && !again {
		return x, nil
	}
	file, err := e.acquire()
	if err != nil {
		return nil, err
	}
	defer e.release()
	end := e.end.Load()
	if !again {
		info, err := file.Stat()
		if err != nil {
			return nil, err
		}
		_, x, sealed, err := segment.ReadSeal(file, e.path, e.header, e.opening, end, info.Size)
		if err != nil {
			return nil, err
		}
		e.sealed.Store(sealed)
		if x != nil {
			e.index.Store(x)
			e.files.hasIndex(e)
			return x, nil
		}
	}
	x, err := segment.BuildIndex(file, e.path, e.header, e.opening, end)
	if err != nil {
		return nil, err
	}
	e.index.Store(x)
	e.files.hasIndex(e)
	return x, nil
}

// without returns the error for a record that should be in the segment.
func (e *extent) without(lsn LSN) error {
	return &CorruptError{Path: e.path, Offset: e.end.Load(), LSN: lsn, Reason: "the segment does not have the record"}
}

// findExtent returns the index in list of the segment that holds record lsn, or
// would hold it; the segment is loaded. list is not empty.
func findExtent(list []*extent, lsn LSN) (int, error) {
	var failed error
	n := sort.Search(len(list), func(i int) bool {
		if failed == nil {
			failed = list[i].loadHead()
		}
		return failed != nil || list[i].baseLSN() > lsn
	})
	if failed != nil {
		return 0, failed
	}
	at := max(0, n-1)
	return at, list[at].load(list, at)
}
