package load

// CommonSize is how many bytes a record has in most workloads.
const CommonSize = 256

// Goroutines are how many append at once, in turn.
var Goroutines = []int{1, 2, 4, 8, 16, 64, 256}

// openLoopRates are how many records a second arrive, whoever waits.
var openLoopRates = []int{2_000, 50_000}

// How many bytes are read in order, and at random places.
const (
	scanned = 256 << 20
	pointed = 64 << 20
)

// Standard returns the workloads that a full run goes through.
func Standard() (list []Workload) {
	for _, n := range Goroutines {
		list = append(list, Durable(n, CommonSize))
	}
	for _, n := range []int{1, 64} {
		for _, size := range []int{64, 1 << 10, 4 << 10, 64 << 10} {
			list = append(list, Durable(n, size))
		}
	}
	for _, rate := range openLoopRates {
		list = append(list, OpenLoop(rate, CommonSize))
	}
	return append(list,
		Zipf(64),
		Batches(1, 100, 256),
		Batches(8, 100, 256),
		Window(1024, 256),
		Window(1024, 4<<10),
		Ordered(CommonSize),
		Ordered(4<<10),
		Relaxed(256),
		Bulk(),
		Rotation(8, 4<<10, 64<<20),
		Rotation(8, 4<<10, 4<<20),
		Neighbour(8, 256),
		Reading(8, 256, 2, 1),
		Scan(scanned, 256, false),
		Scan(scanned, 4<<10, false),
		Scan(scanned, 4<<10, true),
		Points(1, pointed, 256),
		Points(2, pointed, 4<<10),
		Opening(1<<20, 256),
		Opening(256<<20, 256),
		Verifying(scanned, CommonSize),
		OpeningSegments(16),
		OpeningSegments(1600),
		Truncating(1, 256),
		Truncating(1_000, 256),
	)
}
