package segment

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// Front is what the file FRONT says. Section 8.
type Front struct {
	Log    LogID
	First  LSN    // the first LSN; of an empty log the next
	Oldest uint64 // segments with a lower id are leftovers
	Newest uint64 // the newest segment when this was written

	// The file of segment Trimmed may be as short as Length. 0: no segment's.
	Trimmed uint64
	Length  int64

	generation uint64
	off        int64 // of the slot that is newer
	settled    bool  // both slots say the same
}

// Settled reports whether both slots were valid and said the same. Then what they
// say is durable, since the one written first was synced before the other; if
// they differ, the newer one may be in the page cache alone.
func (f Front) Settled() bool { return f.settled }

// Slot returns where the newer slot, from which f was read, begins and ends.
func (f Front) Slot() (off, end int64) { return f.off, f.off + slotSize }

// content returns what f says, without what it knows about its slots.
func (f Front) content() Front {
	f.generation, f.off, f.settled = 0, 0, false
	return f
}

// FrontSize is the size in bytes of the file FRONT.
const FrontSize = 2 * slotSize

const slotSize = 4096

var frontMagic = [8]byte{'T', 'I', 'D', 'E', 'F', 'R', 'N', 'T'}

// Offsets in a slot. Section 8.
const (
	frtVersion    = 8
	frtIncompat   = 16
	frtLog        = 24
	frtGeneration = 40
	frtFirst      = 48
	frtOldest     = 56
	frtNewest     = 64
	frtTrimmed    = 72
	frtLength     = 80
	frtSum        = slotSize - 8
)

func slotSum(b []byte, off int64) uint64 {
	var in [slotSize]byte
	copy(in[:frtSum], b)
	binary.LittleEndian.PutUint64(in[frtSum:], uint64(off))
	return xxhash.Sum64(in[:])
}

// encode returns the slot for off.
func (f Front) encode(off int64) []byte {
	b := make([]byte, slotSize)
	copy(b, frontMagic[:])
	binary.LittleEndian.PutUint16(b[frtVersion:], version)
	copy(b[frtLog:], f.Log[:])
	binary.LittleEndian.PutUint64(b[frtGeneration:], f.generation)
	binary.LittleEndian.PutUint64(b[frtFirst:], uint64(f.First))
	binary.LittleEndian.PutUint64(b[frtOldest:], f.Oldest)
	binary.LittleEndian.PutUint64(b[frtNewest:], f.Newest)
	binary.LittleEndian.PutUint64(b[frtTrimmed:], f.Trimmed)
	binary.LittleEndian.PutUint64(b[frtLength:], uint64(f.Length))
	binary.LittleEndian.PutUint64(b[frtSum:], slotSum(b, off))
	return b
}

// DecodeFront reads the bytes of FRONT. whole is false when one slot does not
// verify. If neither does, the error is a [VersionError] or a [CorruptError].
func DecodeFront(buf []byte, path string) (f Front, whole bool, err error) {
	var newer *VersionError
	valid := 0
	for off := int64(0); off+slotSize <= int64(len(buf)) && off < FrontSize; off += slotSize {
		b := buf[off : off+slotSize]
		switch what := checkSlot(b, off); what {
		case "":
			valid++
			got := decodeSlot(b)
			settled := valid == 2 && got.content() == f.content()
			if valid == 1 || got.generation > f.generation {
				f = got
				f.off = off
			}
			f.settled = settled
		case damaged:
		default:
			newer = &VersionError{Path: path, Offset: off, What: what}
		}
	}
	switch {
	case valid > 0:
		return f, valid == 2, nil
	case newer != nil:
		return f, false, newer
	}
	return f, false, &CorruptError{Path: path, Reason: "neither slot verifies"}
}

// checkSlot returns "" for a valid slot, damaged, or what is newer than this
// version.
func checkSlot(b []byte, off int64) string {
	if [8]byte(b[:8]) != frontMagic {
		return damaged
	}
	if v := binary.LittleEndian.Uint16(b[frtVersion:]); v != version {
		return fmt.Sprintf("version %d", v)
	}
	if slotSum(b, off) != binary.LittleEndian.Uint64(b[frtSum:]) {
		return damaged
	}
	if x := binary.LittleEndian.Uint64(b[frtIncompat:]); x != 0 {
		return fmt.Sprintf("feature word %#x", x)
	}
	if binary.LittleEndian.Uint64(b[frtLength:]) > uint64(maxSegmentBytes) {
		return damaged
	}
	return ""
}

func decodeSlot(b []byte) Front {
	return Front{
		Log:        LogID(b[frtLog:frtGeneration]),
		First:      LSN(binary.LittleEndian.Uint64(b[frtFirst:])),
		Oldest:     binary.LittleEndian.Uint64(b[frtOldest:]),
		Newest:     binary.LittleEndian.Uint64(b[frtNewest:]),
		Trimmed:    binary.LittleEndian.Uint64(b[frtTrimmed:]),
		Length:     int64(binary.LittleEndian.Uint64(b[frtLength:])),
		generation: binary.LittleEndian.Uint64(b[frtGeneration:]),
	}
}

// ReadFront reads FRONT through r and fails as [DecodeFront] does; any other
// error is r's.
func ReadFront(r io.ReaderAt, path string) (f Front, whole bool, err error) {
	buf := make([]byte, FrontSize)
	n, err := r.ReadAt(buf, 0)
	if err != nil && err != io.EOF {
		return Front{}, false, err
	}
	return DecodeFront(buf[:n], path)
}

// CreateFront writes FRONT, both slots, under a temporary name, syncs it, gives
// it its name and syncs dir. The log exists when it returns.
func CreateFront(fsys vfs.FS, dir, path string, f Front) error {
	f = f.Created()
	file, err := fsys.Create(path + TempExt)
	if err != nil {
		return err
	}
	older := f
	older.generation--
	_, err = file.WriteAt(append(f.encode(0), older.encode(slotSize)...), 0)
	if err == nil {
		err = syncError(file.Sync())
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsys.Rename(path+TempExt, path)
	}
	if err == nil {
		err = syncError(fsys.SyncDir(dir))
	}
	return err
}

// Created returns f as [CreateFront] wrote it.
func (f Front) Created() Front {
	f.generation, f.off, f.settled = 2, 0, true
	return f
}

// Update writes to into both slots of file, one after the other, with a sync
// behind each: a crash leaves the old or the new, and damage to one slot is
// made good by the other. It begins with the slot that is not known durable: the
// newer one if both say the same, else the older one, and then the newer one must
// have been written again and synced. If the first write fails and wrote
// nothing, or to says what f does, the old FRONT counts, and Update may be called
// again; a [SyncError] leaves it unknown which of the two counts: what a write left in
// part may be the new slot, if the rest of it was the same before. f becomes to on
// success only.
func (f *Front) Update(file vfs.File, to Front) error {
	same := to.content() == f.content()
	to.generation, to.off = f.generation, f.off
	if !f.settled {
		to.off = slotSize - to.off
	}
	for n := range 2 {
		to.generation++
		wrote, err := file.WriteAt(to.encode(to.off), to.off)
		if err != nil && n == 0 && (wrote == 0 || same) {
			return err
		}
		if err == nil {
			err = file.Sync()
		}
		if err != nil {
			return syncError(err)
		}
		to.off = slotSize - to.off
	}
	to.off, to.settled = slotSize-to.off, true
	*f = to
	return nil
}
