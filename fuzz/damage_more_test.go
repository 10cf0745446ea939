package fuzz_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/segment"
)

// counted is what the second decoder expects of a corpus in one test, in exact figures.
// ambiguous and lost are among the short ones.
type counted struct{ cases, whole, short, refused, ambiguous, lost int }

// seenCounts are the figures by level and test. The expectation of each single case is
// what is asserted first; these show when what the tests look at has become another.
var seenCounts = map[string]counted{
	"test TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/interval":  {124, 115, 0, 9, 0, 0},
	"test TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/none":      {160, 129, 0, 31, 0, 0},
	"test TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/unit512":   {144, 100, 0, 44, 0, 0},
	"test TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/unit4096":  {214, 100, 0, 114, 0, 0},
	"test TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/ahead":     {100, 90, 3, 7, 3, 0},
	"test TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/large":     {469, 203, 49, 217, 49, 0},
	"test TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/tiny":      {166, 132, 0, 34, 0, 0},
	"test TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/torn":      {132, 126, 0, 6, 0, 0},
	"test TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/truncated": {138, 131, 0, 7, 0, 0},
	"test TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/ready":     {105, 101, 0, 4, 0, 0},
	"test TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/fronts":    {117, 115, 0, 2, 0, 0},
	"test TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/reused":    {230, 167, 0, 63, 0, 0},
	"test TestEveryReplacedByteIsFoundOrHarmless/open":               {99, 76, 7, 16, 7, 0},
	"test TestEveryReplacedByteIsFoundOrHarmless/closed":             {45, 22, 0, 23, 0, 0},
	"test TestEveryReplacedByteIsFoundOrHarmless/interval":           {33, 27, 4, 2, 4, 0},
	"test TestEveryReplacedByteIsFoundOrHarmless/none":               {46, 31, 4, 11, 4, 0},
	"test TestEveryReplacedByteIsFoundOrHarmless/unit512":            {40, 26, 1, 13, 1, 0},
	"test TestEveryReplacedByteIsFoundOrHarmless/unit4096":           {54, 25, 1, 28, 1, 0},
	"test TestEveryReplacedByteIsFoundOrHarmless/ahead":              {27, 22, 3, 2, 3, 0},
	"test TestEveryReplacedByteIsFoundOrHarmless/large":              {145, 52, 18, 75, 18, 0},
	"test TestEveryReplacedByteIsFoundOrHarmless/tiny":               {45, 33, 1, 11, 1, 0},
	"test TestEveryReplacedByteIsFoundOrHarmless/torn":               {34, 32, 0, 2, 0, 0},
	"test TestEveryReplacedByteIsFoundOrHarmless/truncated":          {35, 33, 0, 2, 0, 0},
	"test TestEveryReplacedByteIsFoundOrHarmless/ready":              {27, 26, 1, 0, 1, 0},
	"test TestEveryReplacedByteIsFoundOrHarmless/fronts":             {30, 29, 1, 0, 1, 0},
	"test TestEveryReplacedByteIsFoundOrHarmless/reused":             {77, 53, 1, 23, 1, 0},
	"test TestEveryCutOfOtherLogsIsFoundOrHarmless/interval":         {31, 4, 0, 27, 0, 0},
	"test TestEveryCutOfOtherLogsIsFoundOrHarmless/none":             {41, 5, 0, 36, 0, 0},
	"test TestEveryCutOfOtherLogsIsFoundOrHarmless/unit512":          {36, 5, 0, 31, 0, 0},
	"test TestEveryCutOfOtherLogsIsFoundOrHarmless/unit4096":         {54, 8, 0, 46, 0, 0},
	"test TestEveryCutOfOtherLogsIsFoundOrHarmless/ahead":            {26, 6, 0, 20, 0, 0},
	"test TestEveryCutOfOtherLogsIsFoundOrHarmless/large":            {118, 5, 0, 113, 0, 0},
	"test TestEveryCutOfOtherLogsIsFoundOrHarmless/tiny":             {42, 4, 0, 38, 0, 0},
	"test TestEveryCutOfOtherLogsIsFoundOrHarmless/torn":             {33, 7, 0, 26, 0, 0},
	"test TestEveryCutOfOtherLogsIsFoundOrHarmless/truncated":        {35, 4, 0, 31, 0, 0},
	"test TestEveryCutOfOtherLogsIsFoundOrHarmless/ready":            {27, 4, 0, 23, 0, 0},
	"test TestEveryCutOfOtherLogsIsFoundOrHarmless/fronts":           {30, 9, 0, 21, 0, 0},
	"test TestEveryCutOfOtherLogsIsFoundOrHarmless/reused":           {58, 21, 0, 37, 0, 0},
	"test TestEverySectorAndFileIsFoundOrHarmless/open":              {11, 6, 1, 4, 0, 0},
	"test TestEverySectorAndFileIsFoundOrHarmless/closed":            {8, 3, 3, 2, 2, 3},
	"test TestEverySectorAndFileIsFoundOrHarmless/interval":          {6, 4, 0, 2, 0, 0},
	"test TestEverySectorAndFileIsFoundOrHarmless/none":              {8, 3, 1, 4, 1, 0},
	"test TestEverySectorAndFileIsFoundOrHarmless/unit512":           {8, 6, 1, 1, 0, 0},
	"test TestEverySectorAndFileIsFoundOrHarmless/unit4096":          {7, 3, 1, 3, 1, 0},
	"test TestEverySectorAndFileIsFoundOrHarmless/ahead":             {6, 5, 0, 1, 0, 0},
	"test TestEverySectorAndFileIsFoundOrHarmless/large":             {18, 5, 3, 10, 3, 0},
	"test TestEverySectorAndFileIsFoundOrHarmless/tiny":              {13, 5, 1, 7, 1, 0},
	"test TestEverySectorAndFileIsFoundOrHarmless/torn":              {5, 2, 0, 3, 0, 0},
	"test TestEverySectorAndFileIsFoundOrHarmless/truncated":         {6, 5, 0, 1, 0, 0},
	"test TestEverySectorAndFileIsFoundOrHarmless/ready":             {5, 4, 1, 0, 1, 0},
	"test TestEverySectorAndFileIsFoundOrHarmless/fronts":            {5, 5, 0, 0, 0, 0},
	"test TestEverySectorAndFileIsFoundOrHarmless/reused":            {10, 6, 0, 4, 0, 0},
	"test TestTwoDamagesAreFoundOrHarmless/open":                     {60, 6, 14, 40, 14, 0},
	"test TestTwoDamagesAreFoundOrHarmless/closed":                   {60, 7, 0, 53, 0, 0},
	"test TestTwoDamagesAreFoundOrHarmless/interval":                 {60, 19, 24, 17, 23, 0},
	"test TestTwoDamagesAreFoundOrHarmless/none":                     {60, 10, 13, 37, 11, 1},
	"test TestTwoDamagesAreFoundOrHarmless/unit512":                  {60, 11, 6, 43, 3, 2},
	"test TestTwoDamagesAreFoundOrHarmless/unit4096":                 {60, 12, 2, 46, 1, 1},
	"test TestTwoDamagesAreFoundOrHarmless/ahead":                    {60, 15, 29, 16, 28, 0},
	"test TestTwoDamagesAreFoundOrHarmless/large":                    {60, 3, 15, 42, 15, 0},
	"test TestTwoDamagesAreFoundOrHarmless/tiny":                     {60, 10, 7, 43, 4, 6},
	"test TestTwoDamagesAreFoundOrHarmless/torn":                     {60, 16, 11, 33, 11, 8},
	"test TestTwoDamagesAreFoundOrHarmless/truncated":                {60, 15, 6, 39, 6, 5},
	"test TestTwoDamagesAreFoundOrHarmless/ready":                    {60, 18, 19, 23, 18, 3},
	"test TestTwoDamagesAreFoundOrHarmless/fronts":                   {60, 25, 12, 23, 10, 9},
	"test TestTwoDamagesAreFoundOrHarmless/reused":                   {60, 16, 2, 42, 2, 2},
	"ci TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/interval":    {5234, 4871, 0, 363, 0, 0},
	"ci TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/none":        {6801, 5473, 0, 1328, 0, 0},
	"ci TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/unit512":     {6101, 4184, 0, 1917, 0, 0},
	"ci TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/unit4096":    {9064, 4185, 0, 4879, 0, 0},
	"ci TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/ahead":       {4252, 3830, 126, 296, 126, 0},
	"ci TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/large":       {19947, 8635, 2092, 9220, 2092, 0},
	"ci TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/tiny":        {7027, 5562, 0, 1465, 0, 0},
	"ci TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/torn":        {5578, 5283, 0, 295, 0, 0},
	"ci TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/truncated":   {5860, 5556, 0, 304, 0, 0},
	"ci TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/ready":       {4461, 4298, 0, 163, 0, 0},
	"ci TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/fronts":      {4965, 4883, 0, 82, 0, 0},
	"ci TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless/reused":      {9769, 7114, 0, 2655, 0, 0},
	"ci TestEveryReplacedByteIsFoundOrHarmless/open":                 {17996, 13715, 1280, 3001, 1280, 0},
	"ci TestEveryReplacedByteIsFoundOrHarmless/closed":               {89780, 42674, 0, 47106, 0, 0},
	"ci TestEveryReplacedByteIsFoundOrHarmless/interval":             {1408, 1132, 151, 125, 151, 0},
	"ci TestEveryReplacedByteIsFoundOrHarmless/none":                 {1905, 1274, 153, 478, 153, 0},
	"ci TestEveryReplacedByteIsFoundOrHarmless/unit512":              {1649, 1025, 37, 587, 37, 0},
	"ci TestEveryReplacedByteIsFoundOrHarmless/unit4096":             {2317, 1023, 41, 1253, 41, 0},
	"ci TestEveryReplacedByteIsFoundOrHarmless/ahead":                {1115, 912, 107, 96, 107, 0},
	"ci TestEveryReplacedByteIsFoundOrHarmless/large":                {6077, 2178, 784, 3115, 784, 0},
	"ci TestEveryReplacedByteIsFoundOrHarmless/tiny":                 {1874, 1403, 5, 466, 5, 0},
	"ci TestEveryReplacedByteIsFoundOrHarmless/torn":                 {1442, 1326, 16, 100, 16, 0},
	"ci TestEveryReplacedByteIsFoundOrHarmless/truncated":            {1502, 1400, 5, 97, 5, 0},
	"ci TestEveryReplacedByteIsFoundOrHarmless/ready":                {1156, 1060, 41, 55, 41, 0},
	"ci TestEveryReplacedByteIsFoundOrHarmless/fronts":               {1267, 1232, 10, 25, 10, 0},
	"ci TestEveryReplacedByteIsFoundOrHarmless/reused":               {3207, 2199, 22, 986, 22, 0},
	"ci TestEveryCutOfOtherLogsIsFoundOrHarmless/interval":           {1337, 186, 0, 1151, 0, 0},
	"ci TestEveryCutOfOtherLogsIsFoundOrHarmless/none":               {1738, 193, 0, 1545, 0, 0},
	"ci TestEveryCutOfOtherLogsIsFoundOrHarmless/unit512":            {1559, 222, 0, 1337, 0, 0},
	"ci TestEveryCutOfOtherLogsIsFoundOrHarmless/unit4096":           {2316, 356, 0, 1960, 0, 0},
	"ci TestEveryCutOfOtherLogsIsFoundOrHarmless/ahead":              {1086, 198, 0, 888, 0, 0},
	"ci TestEveryCutOfOtherLogsIsFoundOrHarmless/large":              {5095, 208, 0, 4887, 0, 0},
	"ci TestEveryCutOfOtherLogsIsFoundOrHarmless/tiny":               {1795, 194, 0, 1601, 0, 0},
	"ci TestEveryCutOfOtherLogsIsFoundOrHarmless/torn":               {1425, 307, 0, 1118, 0, 0},
	"ci TestEveryCutOfOtherLogsIsFoundOrHarmless/truncated":          {1497, 191, 0, 1306, 0, 0},
	"ci TestEveryCutOfOtherLogsIsFoundOrHarmless/ready":              {1140, 185, 0, 955, 0, 0},
	"ci TestEveryCutOfOtherLogsIsFoundOrHarmless/fronts":             {1269, 378, 0, 891, 0, 0},
	"ci TestEveryCutOfOtherLogsIsFoundOrHarmless/reused":             {2496, 895, 0, 1601, 0, 0},
	"ci TestEverySectorAndFileIsFoundOrHarmless/open":                {973, 510, 93, 370, 69, 24},
	"ci TestEverySectorAndFileIsFoundOrHarmless/closed":              {737, 274, 38, 425, 14, 38},
	"ci TestEverySectorAndFileIsFoundOrHarmless/interval":            {502, 300, 47, 155, 33, 0},
	"ci TestEverySectorAndFileIsFoundOrHarmless/none":                {739, 348, 68, 323, 35, 1},
	"ci TestEverySectorAndFileIsFoundOrHarmless/unit512":             {735, 301, 41, 393, 11, 21},
	"ci TestEverySectorAndFileIsFoundOrHarmless/unit4096":            {604, 240, 36, 328, 13, 9},
	"ci TestEverySectorAndFileIsFoundOrHarmless/ahead":               {547, 255, 80, 212, 40, 1},
	"ci TestEverySectorAndFileIsFoundOrHarmless/large":               {1665, 509, 193, 963, 189, 0},
	"ci TestEverySectorAndFileIsFoundOrHarmless/tiny":                {1218, 382, 17, 819, 4, 7},
	"ci TestEverySectorAndFileIsFoundOrHarmless/torn":                {472, 314, 17, 141, 7, 14},
	"ci TestEverySectorAndFileIsFoundOrHarmless/truncated":           {565, 359, 13, 193, 7, 4},
	"ci TestEverySectorAndFileIsFoundOrHarmless/ready":               {424, 283, 21, 120, 14, 4},
	"ci TestEverySectorAndFileIsFoundOrHarmless/fronts":              {428, 339, 14, 75, 7, 4},
	"ci TestEverySectorAndFileIsFoundOrHarmless/reused":              {958, 622, 20, 316, 14, 11},
	"ci TestTwoDamagesAreFoundOrHarmless/open":                       {3000, 471, 742, 1787, 720, 38},
	"ci TestTwoDamagesAreFoundOrHarmless/closed":                     {3000, 221, 69, 2710, 45, 69},
	"ci TestTwoDamagesAreFoundOrHarmless/interval":                   {3000, 937, 1051, 1012, 1027, 0},
	"ci TestTwoDamagesAreFoundOrHarmless/none":                       {3000, 618, 691, 1691, 653, 4},
	"ci TestTwoDamagesAreFoundOrHarmless/unit512":                    {3000, 468, 193, 2339, 114, 44},
	"ci TestTwoDamagesAreFoundOrHarmless/unit4096":                   {3000, 719, 108, 2173, 61, 14},
	"ci TestTwoDamagesAreFoundOrHarmless/ahead":                      {3000, 695, 1237, 1068, 1128, 2},
	"ci TestTwoDamagesAreFoundOrHarmless/large":                      {3000, 211, 895, 1894, 886, 0},
	"ci TestTwoDamagesAreFoundOrHarmless/tiny":                       {3000, 481, 239, 2280, 186, 140},
	"ci TestTwoDamagesAreFoundOrHarmless/torn":                       {3000, 855, 452, 1693, 418, 198},
	"ci TestTwoDamagesAreFoundOrHarmless/truncated":                  {3000, 764, 270, 1966, 256, 153},
	"ci TestTwoDamagesAreFoundOrHarmless/ready":                      {3000, 951, 740, 1309, 693, 125},
	"ci TestTwoDamagesAreFoundOrHarmless/fronts":                     {3000, 1173, 503, 1324, 437, 240},
	"ci TestTwoDamagesAreFoundOrHarmless/reused":                     {3000, 717, 136, 2147, 131, 67},
}

// hold looks at n damages, of which a nil one is none, and asserts what is seen of each
// and of all.
func hold(t *testing.T, c *corpus, n int64, at func(n int64) (damage, bool)) counted {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	start, y := time.Now(), new(tally)
	var mu sync.Mutex
	var want counted
	eachChunk(t, c, n, 128, func(w *damageWorker, from, to int64) {
		var part counted
		for i := from; i < to; i++ {
			d, ok := at(i)
			if !ok {
				continue
			}
			o, j, bad := w.lookAt(d)
			part.cases++
			switch j.class {
			case whole:
				part.whole++
			case short:
				part.short++
			case refused:
				part.refused++
			}
			if j.lost {
				part.lost++
			}
			y.add(o, d.what, bad)
		}
		mu.Lock()
		defer mu.Unlock()
		want.cases += part.cases
		want.whole += part.whole
		want.short += part.short
		want.refused += part.refused
		want.lost += part.lost
	})
	y.lost, want.ambiguous = want.lost, y.ambiguous
	t.Logf("%d cases in %v: %v", want.cases, time.Since(start).Round(time.Millisecond), y)
	for _, bad := range y.bad {
		t.Error(bad)
	}
	require.Zero(t, y.bads)
	require.Equal(t, [classes]int{want.whole, want.short, want.refused}, y.class, "opened whole, opened short, refused")
	if pinned, ok := seenCounts[scale.Of(t).String()+" "+t.Name()]; ok {
		require.Equal(t, pinned, want, "if the corpus was changed on purpose, change seenCounts")
	}
	return want
}

func (s *counted) add(o counted) {
	s.cases += o.cases
	s.whole += o.whole
	s.short += o.short
	s.refused += o.refused
	s.ambiguous += o.ambiguous
	s.lost += o.lost
}

// TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless flips bits of every file of the logs
// that were written with other options or in another way.
func TestEveryFlippedBitOfOtherLogsIsFoundOrHarmless(t *testing.T) {
	stride := scale.Pick[int64](t, 4999, 1999, 47, 1)
	var sum counted
	for _, c := range optioned(t) {
		t.Run(c.name, func(t *testing.T) {
			sum.add(hold(t, c, (c.size*8+stride-1)/stride, func(n int64) (damage, bool) {
				name, bit := c.bitAt(n * stride)
				data := bytes.Clone(c.files[name])
				data[bit/8] ^= 1 << (bit % 8)
				return damage{fmt.Sprintf("bit %d of byte %d of %s", bit%8, bit/8, name), map[string][]byte{name: data}}, true
			}))
		})
	}
	t.Logf("all: %+v", sum)
}

// bitAt returns the file, and the bit in it, that has number n of all.
func (c *corpus) bitAt(n int64) (name string, bit int64) {
	for _, name := range c.names {
		if size := int64(len(c.files[name])) * 8; n < size {
			return name, n
		} else {
			n -= size
		}
	}
	panic("no such bit")
}

// everyCorpus runs fn for the open corpus, the closed one, and those of optionCorpora.
func everyCorpus(t *testing.T, run func(t *testing.T, c *corpus)) {
	t.Helper()
	open, closed := corpora(t)
	for _, c := range append([]*corpus{open, closed}, optioned(t)...) {
		t.Run(c.name, func(t *testing.T) { run(t, c) })
	}
}

// TestEveryReplacedByteIsFoundOrHarmless makes bytes 00, ff, and what they are not.
func TestEveryReplacedByteIsFoundOrHarmless(t *testing.T) {
	var sum counted
	everyCorpus(t, func(t *testing.T, c *corpus) {
		stride := scale.Pick[int64](t, 4999, 1999, 47, 1)
		switch level := scale.Of(t); {
		case level == scale.CI && c.name == "closed":
			stride = 1
		case level == scale.CI && c.open:
			stride = 11
		}
		sum.add(hold(t, c, (c.size*3+stride-1)/stride, func(n int64) (damage, bool) {
			n *= stride
			name, bit := c.bitAt(n / 3 * 8)
			off := bit / 8
			was := c.files[name][off]
			now := [...]byte{0x00, 0xff, was ^ byte(1+(off*37+11)%255)}[n%3]
			if now == was {
				return damage{}, false
			}
			data := bytes.Clone(c.files[name])
			data[off] = now
			return damage{fmt.Sprintf("%#x instead of %#x at %d of %s", now, was, off, name), map[string][]byte{name: data}}, true
		}))
	})
	t.Logf("all: %+v", sum)
}

// TestEveryCutOfOtherLogsIsFoundOrHarmless cuts the files at every length.
func TestEveryCutOfOtherLogsIsFoundOrHarmless(t *testing.T) {
	stride := scale.Pick[int64](t, 4999, 997, 23, 1)
	var sum counted
	for _, c := range optioned(t) {
		t.Run(c.name, func(t *testing.T) {
			sum.add(hold(t, c, (c.size+stride-1)/stride, func(n int64) (damage, bool) {
				name, bit := c.bitAt(n * stride * 8)
				return damage{fmt.Sprintf("%s cut at %d", name, bit/8), map[string][]byte{name: slices.Clip(c.files[name][:bit/8])}}, true
			}))
		})
	}
	t.Logf("all: %+v", sum)
}

// wholeDamages lists damage to sectors and to whole files, what a file may have become
// by hand, and files as they once were.
func (c *corpus) wholeDamages(foreign map[string][]byte) (list []damage) {
	rng := rand.NewChaCha8([32]byte{'w'})
	random := make([]byte, 64<<10)
	_, _ = rng.Read(random)
	add := func(name, what string, data []byte) {
		if was, ok := c.files[name]; !ok || !bytes.Equal(was, data) || data == nil {
			list = append(list, damage{name + " " + what, map[string][]byte{name: data}})
		}
	}
	at := func(file []byte, off, n int) []byte { // of what is not there zeros
		b := make([]byte, n)
		if off >= 0 && off < len(file) {
			copy(b, file[off:])
		}
		return b
	}
	for i, name := range c.names {
		file, other := c.files[name], c.names[(i+1)%len(c.names)]
		for _, unit := range []int{512, 4096} {
			for off := 0; off < len(file); off += unit {
				for what, bytes := range map[string][]byte{
					"zero": make([]byte, unit), "random": random[off%4096 : off%4096+unit], "of another log": at(foreign[name], off, unit),
					"as the one before": at(file, off-unit, unit), "as the one behind": at(file, off+unit, unit),
					"as in " + other: at(c.files[other], off, unit), "of the header": at(file, 0, unit),
				} {
					data := slices.Clone(file)
					copy(data[off:], bytes)
					add(name, fmt.Sprintf("from %d, %d bytes %s", off, unit, what), data)
				}
			}
		}
		for _, n := range []int{1, 7, 8, 64, 511, 512, 4096, 60_000} {
			add(name, fmt.Sprintf("%d zeros longer", n), append(slices.Clip(file), make([]byte, n)...))
			add(name, fmt.Sprintf("%d random bytes longer", n), append(slices.Clip(file), random[:n]...))
		}
		add(name, "twice in itself", append(slices.Clip(file), file...))
		add(name, "gone", nil)
		add(name, "empty", []byte{})
		add(name, "zero", make([]byte, len(file)))
		add(name, "random", at(random, 0, len(file)))
		for _, other := range c.names {
			add(name, "replaced by "+other, c.files[other])
			if other < name {
				list = append(list, damage{name + " swapped with " + other, map[string][]byte{name: c.files[other], other: file}})
			}
		}
		if data, ok := foreign[name]; ok {
			add(name, "of another log", data)
		}
		if l := c.layouts[name]; l != nil {
			for _, p := range l.pieces { // as it was before what stands there was written, in a file of any size
				data := slices.Clone(file)
				clear(data[p.from:])
				add(name, fmt.Sprintf("as it was when it ended at %d", p.from), data)
				add(name, fmt.Sprintf("cut at %d", p.from), slices.Clip(file[:p.from]))
			}
			newest, _ := segment.ParseName(c.newest)
			for id := uint64(1); id < newest+3; id++ {
				if _, ok := c.files[segment.Name(id)]; !ok {
					add(segment.Name(id), "a copy of "+name, file)
				}
			}
			add(segment.Name(1<<40), "a copy of "+name, file)
			add(segment.Name(newest+1), "a copy of "+name+" with a header of that id", append(readyHeader(bytes.Clone(file[:4096]), newest+1, uint64(len(file))), file[4096:]...))
		}
	}
	for name, data := range foreign {
		if _, ok := c.files[name]; !ok && len(data) > 0 {
			add(name, "of another log", data)
		}
	}
	all := map[string][]byte{} // but for FRONT
	for _, name := range c.names[:len(c.names)-1] {
		all[name] = nil
		list = append(list, damage{"all gone up to " + name, maps.Clone(all)})
	}
	return list
}

// TestEverySectorAndFileIsFoundOrHarmless does what wholeDamages lists.
func TestEverySectorAndFileIsFoundOrHarmless(t *testing.T) {
	foreign := foreignFiles(t)
	stride := scale.Pick[int64](t, 499, 97, 1, 1)
	var sum counted
	everyCorpus(t, func(t *testing.T, c *corpus) {
		list := c.sorted(foreign)
		sum.add(hold(t, c, (int64(len(list))+stride-1)/stride, func(n int64) (damage, bool) { return list[n*stride], true }))
	})
	t.Logf("all: %+v", sum)
}

// sorted is what wholeDamages lists, in the same order each time.
func (c *corpus) sorted(foreign map[string][]byte) []damage {
	list := c.wholeDamages(foreign)
	slices.SortStableFunc(list, func(a, b damage) int { return bytes.Compare([]byte(a.what), []byte(b.what)) })
	return list
}

// TestTwoDamagesAreFoundOrHarmless does two kinds of damage at once, at random places:
// bits, bytes, cuts, and what wholeDamages lists.
func TestTwoDamagesAreFoundOrHarmless(t *testing.T) {
	foreign := foreignFiles(t)
	cases := scale.Pick[int64](t, 20, 60, 3_000, 300_000)
	var sum counted
	everyCorpus(t, func(t *testing.T, c *corpus) {
		list := c.sorted(foreign)
		pick := func(rng *rand.Rand) damage {
			name := c.names[rng.IntN(len(c.names))]
			if rng.IntN(2) == 0 {
				name = c.newest
			}
			file := c.files[name]
			off := rng.IntN(len(file))
			if l := c.layouts[name]; l != nil && rng.IntN(3) > 0 { // where something is
				off = 4096 + rng.IntN(max(1, int(l.end)-4096))
			}
			data := slices.Clone(file)
			switch rng.IntN(4) {
			case 0:
				data[off] ^= 1 << rng.IntN(8)
			case 1:
				data[off] ^= byte(1 + rng.IntN(255))
			case 2:
				clear(data[off:min(len(data), off+1+rng.IntN(700))])
			default:
				return list[rng.IntN(len(list))]
			}
			return damage{fmt.Sprintf("byte %d of %s", off, name), map[string][]byte{name: data}}
		}
		sum.add(hold(t, c, cases, func(n int64) (damage, bool) {
			rng := rand.New(rand.NewPCG(uint64(n), 2))
			return pick(rng).and(c, pick(rng)), true
		}))
	})
	t.Logf("all: %+v", sum)
}
