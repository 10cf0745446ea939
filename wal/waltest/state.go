package waltest

import (
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// State is all that a power loss at one moment may leave. It does not change; its
// methods may be called concurrently.
type State struct {
	vfs    *vfs.State
	sector int
}

// Images returns what may be left, each different from the others in what it keeps:
// all there is, if that is at most limit, else limit of them as seed has it. These are
// not drawn evenly but where engines break: nothing kept that is not durable,
// everything kept, all that is older than something, all that is newer, all but one
// thing, one thing alone, and then mixtures, with older contents and garbage among
// them. The same state, limit and seed give the same images.
func (s *State) Images(limit int, seed uint64) iter.Seq[Image] {
	return func(yield func(Image) bool) {
		s.vfs.Each(limit, seed, func(picks []int) bool { return yield(s.image(picks)) })
	}
}

// drawn is how many images Draw chooses from.
const drawn = 64

// Draw returns one image at random, as seed has it, from among those that Images
// finds.
func (s *State) Draw(seed uint64) Image {
	images := slices.Collect(s.Images(drawn, seed))
	return images[rand.New(rand.NewPCG(seed, seed)).IntN(len(images))]
}

// Oldest returns the image in which only what is durable is left.
func (s *State) Oldest() Image { return s.image(s.vfs.Oldest()) }

// Newest returns the image in which everything is left that was handed to the
// operating system, as the end of the process alone leaves it.
func (s *State) Newest() Image { return s.image(s.vfs.Newest()) }

func (s *State) image(picks []int) Image { return Image{state: s, picks: slices.Clone(picks)} }

// Image is one file system that a power loss may leave. It does not change; its
// methods may be called concurrently.
type Image struct {
	state *State
	picks []int
}

// Disk returns the file system, a new one with each call and all of it durable.
func (img Image) Disk() *Disk {
	m := img.state.vfs.Image(img.picks)
	return newDisk(vfs.NewCrashFrom(m, img.state.sector), img.state.sector)
}

// String says what is left of all that was not durable, for the message of a test
// that fails. There is a line for each thing that could be lost, in the order in which
// they came up: which of its versions is left, from 0, which is the durable one, of how
// many there are; what it is; and whose.
//
//	1/2 entry store/snapshot.tmp create
//	0/2 size store/snapshot.tmp 0
//	2/3 block store/snapshot.tmp at 0 garbage
//	1/2 entry store/snapshot rename from snapshot.tmp
//
// A block is a sector, with its offset in the file; of a size, the bytes follow.
func (img Image) String() string { return img.state.vfs.Describe(img.picks) }
