package load

// Standard returns the workloads that a full run goes through.
func Standard() (list []Workload) {
	for _, n := range []int{1, 2, 4, 8, 16, 64, 256} {
		list = append(list, Durable(n, 256))
	}
	for _, n := range []int{1, 64} {
		for _, size := range []int{64, 1 << 10, 4 << 10, 64 << 10} {
			list = append(list, Durable(n, size))
		}
	}
	return append(list,
		Zipf(64),
		Batches(1, 100, 256),
		Batches(8, 100, 256),
		Window(1024, 256),
		Window(1024, 4<<10),
		Relaxed(256),
		Bulk(),
		OpenLoop(2_000, 256),
		OpenLoop(50_000, 256),
		Rotation(8, 4<<10, 64<<20),
		Rotation(8, 4<<10, 4<<20),
		Reading(8, 256, 2, 1),
		Scan(256<<20, 256, false),
		Scan(256<<20, 4<<10, false),
		Scan(256<<20, 4<<10, true),
		Points(1, 64<<20, 256),
		Points(2, 64<<20, 4<<10),
		Opening(1<<20, 256),
		Opening(256<<20, 256),
		Truncating(1, 256),
		Truncating(1_000, 256),
	)
}
