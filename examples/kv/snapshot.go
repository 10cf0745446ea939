package main

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
)

// A snapshot is the map as it was behind one record of the log:
//
//	what     type
//	magic    8 bytes  "KVSNAP1\n"
//	lsn      u64      of the last record it covers
//	count    u64      of entries
//	entries           {lsn u64, key length u32, value length u32, key, value},
//	                  by rising key
//	length   u64      of all before
//	sum      u32      CRC-32C of all before
//
// It is written under a temporary name, synced, renamed, and the directory is
// synced. So a crash leaves the one before or the new one, whole, and maybe the
// temporary file, which the next snapshot overwrites and the next open deletes. That
// open syncs the directory too: it may see a name that is not durable yet.
type snapshot struct {
	lsn     uint64
	entries []entry
}

const (
	snapshotName = "snapshot"
	snapshotTemp = "snapshot.tmp"

	snapshotMagic       = "KVSNAP1\n"
	snapshotHeaderSize  = 24
	snapshotEntrySize   = 16 // without key and value
	snapshotTrailerSize = 12
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// writeSnapshot makes s the snapshot of the store in dir. When it returns nil,
// that is durable; after an error the one before is still there, or s is.
func writeSnapshot(on files, dir string, s snapshot) error {
	temp := filepath.Join(dir, snapshotTemp)
	f, err := on.Create(temp)
	if err != nil {
		return err
	}
	err = s.writeTo(f)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = on.Rename(temp, filepath.Join(dir, snapshotName))
	}
	if err != nil {
		_ = on.Remove(temp) // the error that counts is there already
		return err
	}
	return on.SyncDir(dir)
}

func (s snapshot) writeTo(w io.Writer) error {
	sum := crc32.New(castagnoli)
	buffered := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	buf := append([]byte{}, snapshotMagic...)
	buf = appendU64(buf, s.lsn)
	buf = appendU64(buf, uint64(len(s.entries)))
	length := 0
	for _, e := range s.entries {
		buf = appendU64(buf, e.lsn)
		buf = appendU32(buf, uint32(len(e.key)))
		buf = appendU32(buf, uint32(len(e.value)))
		buf = append(buf, e.key...)
		buf = append(buf, e.value...)
		if _, err := buffered.Write(buf); err != nil {
			return err
		}
		length += len(buf)
		buf = buf[:0]
	}
	length += len(buf)
	if _, err := buffered.Write(appendU64(buf, uint64(length))); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	_, err := w.Write(appendU32(nil, sum.Sum32()))
	return err
}

// readSnapshot returns the snapshot of the store in dir, verified. Without one
// it returns a zero snapshot. Its strings share one block of memory.
func readSnapshot(on files, dir string) (snapshot, error) {
	name := filepath.Join(dir, snapshotName)
	text, err := on.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return snapshot{}, nil
	}
	if err != nil {
		return snapshot{}, err
	}
	s, err := parseSnapshot(string(text))
	if err != nil {
		return snapshot{}, fmt.Errorf("%s is damaged: %w", name, err)
	}
	return s, nil
}

func parseSnapshot(text string) (s snapshot, err error) {
	size := len(text) - snapshotTrailerSize
	if size < snapshotHeaderSize {
		return s, fmt.Errorf("%d bytes are too few", len(text))
	}
	if text[:len(snapshotMagic)] != snapshotMagic {
		return s, fmt.Errorf("it begins with %q, want %q", text[:len(snapshotMagic)], snapshotMagic)
	}
	if length := u64(text[size:]); length != uint64(size) {
		return s, fmt.Errorf("it is made for %d bytes and has %d", length, size)
	}
	sum := crc32.New(castagnoli)
	if _, err := io.WriteString(sum, text[:size+8]); err != nil {
		return s, err
	}
	if got, want := sum.Sum32(), u32(text[size+8:]); got != want {
		return s, fmt.Errorf("its checksum is %08x, want %08x", got, want)
	}
	s.lsn = u64(text[8:])
	count := u64(text[16:])
	if count > uint64(size/snapshotEntrySize) {
		return s, fmt.Errorf("%d entries in %d bytes", count, size)
	}
	s.entries = make([]entry, 0, count)
	for at := snapshotHeaderSize; at < size || uint64(len(s.entries)) < count; {
		if size-at < snapshotEntrySize {
			return s, fmt.Errorf("entry %d at %d: it is cut off", len(s.entries), at)
		}
		keySize, valueSize := uint64(u32(text[at+8:])), uint64(u32(text[at+12:]))
		if keySize+valueSize > uint64(size-at-snapshotEntrySize) {
			return s, fmt.Errorf("entry %d at %d: %d bytes of key and %d of value are more than there are", len(s.entries), at, keySize, valueSize)
		}
		lsn := u64(text[at:])
		key := at + snapshotEntrySize
		value := key + int(keySize)
		at = value + int(valueSize)
		s.entries = append(s.entries, entry{lsn: lsn, key: text[key:value], value: text[value:at]})
	}
	return s, nil
}
