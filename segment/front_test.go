package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

var (
	oldFront = Front{Log: LogID{1, 2}, First: 5, Oldest: 1, Newest: 3}
	newFront = Front{Log: LogID{1, 2}, First: 900, Oldest: 4, Newest: 7, Trimmed: 7, Length: 5000}
)

// says returns what f says, without which of its writings it is.
func (f Front) says() Front { return f.content() }

// frontBytes returns the bytes of a FRONT that was updated from oldFront.
func frontBytes(t testing.TB) []byte {
	f := oldFront
	f.generation = 6
	older := f
	older.generation = 5
	return append(f.encode(0), older.encode(slotSize)...)
}

func resumSlots(b []byte) {
	for off := int64(0); off < FrontSize; off += slotSize {
		slot := b[off:][:slotSize]
		binary.LittleEndian.PutUint64(slot[frtSum:], slotSum(slot, off))
	}
}

func TestFrontSurvivesDamageToOneSlot(t *testing.T) {
	b := frontBytes(t)
	f, whole, err := DecodeFront(b, "x")
	require.NoError(t, err)
	require.True(t, whole)
	require.Equal(t, oldFront, f.says())
	for off := range b {
		b[off] ^= 1 << (off % 8)
		f, whole, err := DecodeFront(b, "x")
		require.NoError(t, err, "%d", off)
		require.False(t, whole, "%d", off)
		require.Equal(t, oldFront, f.says())
		b[off] ^= 1 << (off % 8)
	}
}

func TestFrontWithoutAValidSlotIsCorrupt(t *testing.T) {
	b := frontBytes(t)
	b[100] ^= 1
	b[slotSize+200] ^= 1
	for _, b := range [][]byte{b, nil, make([]byte, FrontSize), b[:slotSize], frontBytes(t)[:slotSize-1]} {
		_, _, err := DecodeFront(b, "x")
		require.ErrorIs(t, err, ErrCorrupt)
		require.NotErrorIs(t, err, ErrVersion)
	}
}

// TestFrontSlotIsValidOnlyInItsPlace copies one slot over the other.
func TestFrontSlotIsValidOnlyInItsPlace(t *testing.T) {
	b := frontBytes(t)
	copy(b[slotSize:], b[:slotSize])
	f, whole, err := DecodeFront(b, "x")
	require.NoError(t, err)
	require.False(t, whole)
	require.Equal(t, uint64(6), f.generation)
}

func TestFrontWithTheHigherGenerationCounts(t *testing.T) {
	for _, generation := range []uint64{1, 2, 7, 8, 1 << 40} {
		a, b := oldFront, newFront
		a.generation, b.generation = generation, generation+1
		buf := make([]byte, FrontSize)
		older := int64(generation%2) * slotSize
		b.off = slotSize - older
		copy(buf[older:], a.encode(older))
		copy(buf[b.off:], b.encode(b.off))
		f, whole, err := DecodeFront(buf, "x")
		require.NoError(t, err)
		require.True(t, whole)
		require.Equal(t, b, f)
	}
}

func TestFrontOfANewerVersionIsNotDamage(t *testing.T) {
	for _, off := range []int{frtVersion, frtVersion + 1, frtIncompat, frtIncompat + 7} {
		b := frontBytes(t)
		b[off] ^= 0x80
		b[slotSize+off] ^= 0x80
		if off >= frtIncompat {
			resumSlots(b)
		}
		_, _, err := DecodeFront(b, "x")
		require.ErrorIs(t, err, ErrVersion, "%d", off)
		require.NotErrorIs(t, err, ErrCorrupt)
	}
	b := frontBytes(t)
	b[frtVersion], b[slotSize+500] = 2, 1 // one newer, one damaged
	_, _, err := DecodeFront(b, "x")
	require.ErrorIs(t, err, ErrVersion)
}

func TestReadFrontFailsAsTheFileDoes(t *testing.T) {
	_, _, err := ReadFront(failing{}, "x")
	require.Equal(t, errRead, err)
	f, _, err := ReadFront(bytes.NewReader(append(frontBytes(t), "more"...)), "x")
	require.NoError(t, err)
	require.Equal(t, oldFront, f.says())
}

func TestCreateFrontSyncsBeforeItNames(t *testing.T) {
	fsys := vfs.NewTrace(vfs.NewMem())
	require.NoError(t, fsys.Mkdir("log"))
	fsys.Take()
	require.NoError(t, CreateFront(fsys, "log", "log/FRONT", oldFront))
	require.Equal(t, `create FRONT.tmp
write FRONT.tmp 0+8192
sync FRONT.tmp
close FRONT.tmp
rename FRONT.tmp FRONT
syncdir log
`, fsys.Take())
}

// TestCrashLeavesNoHalfOfFront looks at each state that a crash at any call of
// CreateFront can leave: FRONT is whole, or it is not there.
func TestCrashLeavesNoHalfOfFront(t *testing.T) {
	there := 0
	onCrash(t, func(fsys vfs.FS) {
		require.NoError(t, CreateFront(fsys, "log", "log/FRONT", oldFront))
	}, func(image *vfs.Mem, done bool) {
		file, err := image.Open("log/FRONT", vfs.ReadOnly)
		if err != nil {
			require.False(t, done)
			return
		}
		f, whole, err := ReadFront(file, "FRONT")
		require.NoError(t, err)
		require.True(t, whole)
		require.Equal(t, oldFront, f.says())
		there++
	})
	require.Positive(t, there)
}

// TestCrashInUpdateLeavesTheOldOrTheNew does so for Update, several in a row,
// and for one that is tried again after its first write failed half way.
func TestCrashInUpdateLeavesTheOldOrTheNew(t *testing.T) {
	for _, failAt := range []int{-1, 0} {
		states := []Front{oldFront} // that may be found
		seen := map[Front]int{}
		onCrash(t, func(crash vfs.FS) {
			require.NoError(t, CreateFront(crash, "log", "log/FRONT", oldFront))
			faulty := vfs.NewFaulty(crash)
			f, file := openFront(t, faulty)
			states = []Front{oldFront, newFront}
			faulty.Set(vfs.Fault{Match: isWrite, At: failAt, Short: 2048, Err: syscall.ENOSPC})
			if failAt >= 0 {
				before := f
				require.True(t, vfs.IsNoSpace(f.Update(file, newFront)))
				require.Equal(t, before, f)
			}
			require.NoError(t, f.Update(file, newFront))
			require.Equal(t, newFront, f.says())
			again := newFront
			again.First++
			states = []Front{newFront, again}
			require.NoError(t, f.Update(file, again))
			states = states[1:]
		}, func(image *vfs.Mem, done bool) {
			if names, _ := image.List("log"); !slices.Contains(names, FrontName) {
				return // it is being made
			}
			f, _ := openFront(t, image)
			require.Contains(t, states, f.says())
			seen[f.says()]++
		})
		require.Len(t, seen, 3)
	}
}

// TestFailedUpdateSaysWhetherTheOldOneCounts fails each call of Update, and its writes
// in the middle too: all but the last byte may be the new slot.
func TestFailedUpdateSaysWhetherTheOldOneCounts(t *testing.T) {
	for i := range 12 {
		at, short := i/3, []int{0, 512, slotSize - 1}[i%3]
		faulty := vfs.NewFaulty(vfs.NewMem())
		require.NoError(t, faulty.Mkdir("log"))
		require.NoError(t, CreateFront(faulty, "log", "log/FRONT", oldFront))
		f, file := openFront(t, faulty)
		before := f
		faulty.Set(vfs.Fault{Match: isChange, At: at, Short: short})
		err := f.Update(file, newFront)
		require.ErrorIs(t, err, syscall.EIO)
		require.Equal(t, before, f)
		var unknown *SyncError
		require.Equal(t, at > 0 || short > 0, errors.As(err, &unknown), "call %d, %d bytes", at, short)
		if at == 0 && short == 0 {
			now, _ := openFront(t, faulty)
			require.Equal(t, before.content(), now.content())
		}
	}
}

func openFront(t testing.TB, fsys vfs.FS) (Front, vfs.File) {
	t.Helper()
	file, err := fsys.Open("log/FRONT", vfs.ReadWrite)
	require.NoError(t, err)
	f, _, err := ReadFront(file, "FRONT")
	require.NoError(t, err)
	return f, file
}

func isWrite(c vfs.Call) bool  { return c.Op == vfs.WriteAt }
func isChange(c vfs.Call) bool { return c.Op.Mutates() }

// TestFrontIsSettledWhenBothSlotsSayTheSame stops an Update between its slots.
func TestFrontIsSettledWhenBothSlotsSayTheSame(t *testing.T) {
	faulty := vfs.NewFaulty(vfs.NewMem())
	require.NoError(t, faulty.Mkdir("log"))
	require.NoError(t, CreateFront(faulty, "log", "log/FRONT", oldFront))
	f, file := openFront(t, faulty)
	require.True(t, f.Settled())
	faulty.Set(vfs.Fault{Match: isChange, At: 1, Sticky: true})
	require.Error(t, f.Update(file, newFront))
	faulty.Clear()
	f, file = openFront(t, faulty)
	require.False(t, f.Settled())
	require.Equal(t, newFront.says(), f.says())
	off, end := f.Slot()
	require.Equal(t, []int64{0, slotSize}, []int64{off, end}, "the one that was synced last is written first")
	require.NoError(t, f.Update(file, newFront))
	f, _ = openFront(t, faulty)
	require.True(t, f.Settled())
	b := frontBytes(t)
	b[70]++
	f, _, err := DecodeFront(b, "x")
	require.NoError(t, err)
	require.False(t, f.Settled())
}
