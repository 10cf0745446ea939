package waltest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"strconv"
	"sync/atomic"

	"github.com/seed3918b8df/tidemark/wal"
	"github.com/seed3918b8df/tidemark/wal/waltest"
)

// counter is a tiny engine: a sum, a log of what was added to it, and now and then a
// checkpoint of both, a file. A real engine has a seam in place of the Disk.
type counter struct {
	disk *waltest.Disk
	log  *wal.Log
	sum  int
	lsn  wal.LSN // of the last record in sum
}

func openCounter(d *waltest.Disk) (*counter, error) {
	c := &counter{disk: d}
	text, err := d.ReadFile("store/checkpoint")
	if err == nil {
		_, err = fmt.Sscan(string(text), &c.sum, &c.lsn)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	c.log, err = wal.Open("store/log", &wal.Options{FS: d.FS(), ExpectLSN: c.lsn, SegmentSize: wal.MinSegmentSize})
	if err != nil {
		return nil, err
	}
	for r, err := range c.log.Records(c.lsn + 1) {
		if err != nil {
			return nil, err
		}
		n, _ := strconv.Atoi(string(r.Data))
		c.sum, c.lsn = c.sum+n, r.LSN
	}
	return c, nil
}

// add adds n, durably.
func (c *counter) add(n int) error {
	lsn, err := c.log.Append([]byte(strconv.Itoa(n)))
	if err == nil {
		c.sum, c.lsn = c.sum+n, lsn
	}
	return err
}

// checkpoint makes the sum durable, and drops the log up to here.
func (c *counter) checkpoint() error {
	f, err := c.disk.Create("store/checkpoint.tmp")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, c.sum, c.lsn); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := c.disk.Rename("store/checkpoint.tmp", "store/checkpoint"); err != nil {
		return err
	}
	if err := c.disk.SyncDir("store"); err != nil { // without this line the test below fails
		return err
	}
	return c.log.TruncateFront(c.lsn + 1)
}

// An engine and its log lose power together, at every moment of their work.
func ExampleDisk() {
	type moment struct {
		state *waltest.State
		acked int64 // what the sum was, as far as the engine had said so
	}
	var moments []moment
	var acked atomic.Int64 // the log works in the background too
	d := waltest.New(512)
	d.OnChange(func(waltest.Call) { moments = append(moments, moment{d.State(), acked.Load()}) })

	c, err := openCounter(d)
	if err != nil {
		log.Fatal(err)
	}
	for n := range 10 {
		if err := c.add(1); err != nil {
			log.Fatal(err)
		}
		acked.Add(1)
		if n%3 == 2 {
			if err := c.checkpoint(); err != nil {
				log.Fatal(err)
			}
		}
	}
	d.OnChange(nil)
	moments = append(moments, moment{d.State(), acked.Load()})
	c.log.Close()

	found := map[int]bool{} // by how many more than were acked
	for _, m := range moments {
		for img := range m.state.Images(50, 1) {
			c, err := openCounter(img.Disk())
			if err != nil {
				log.Fatalf("after %d: %v\n%v", m.acked, err, img)
			}
			if c.sum != int(m.acked) && c.sum != int(m.acked)+1 { // one was under way, perhaps
				log.Fatalf("after %d: the sum is %d\n%v", m.acked, c.sum, img)
			}
			found[c.sum-int(m.acked)] = true
			c.log.Close()
		}
	}
	fmt.Println(len(moments) > 50, found)
	// Output:
	// true map[0:true 1:true]
}

// Each call of a checkpoint fails, one after the other. What was added is still there.
func ExampleDisk_Fail() {
	failed := 0
	for n := 0; ; n++ {
		d := waltest.New(512)
		c, err := openCounter(d)
		if err != nil {
			log.Fatal(err)
		}
		if err := c.add(7); err != nil {
			log.Fatal(err)
		}
		d.Fail(waltest.Fault{At: n, Match: func(c waltest.Call) bool {
			return c.Name == "store/checkpoint.tmp" || c.Name == "store"
		}})
		if c.checkpoint() != nil {
			failed++
		}
		hit := d.Failed() > 0
		d.Heal()
		c.log.Close()
		c, err = openCounter(d)
		if err != nil || c.sum != 7 {
			log.Fatal("call ", n, ": ", c, err)
		}
		c.log.Close()
		if !hit { // there is no call n
			break
		}
	}
	fmt.Println(failed, "of the calls matter")
	// Output:
	// 6 of the calls matter
}
