package wal

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSmoke(t *testing.T) {
	for name, mk := range map[string]func() (FS, string){
		"mem": func() (FS, string) { return NewMemFS(), "log" },
		"os":  func() (FS, string) { return nil, t.TempDir() + "/a/log" },
	} {
		t.Run(name, func(t *testing.T) {
			fsys, dir := mk()
			o := &Options{FS: fsys, SegmentSize: 16 << 10}
			l, err := Open(dir, o)
			require.NoError(t, err)
			var wg sync.WaitGroup
			for g := range 8 {
				wg.Go(func() {
					for i := range 100 {
						_, err := l.Append([]byte(fmt.Sprintf("%d-%d-%050d", g, i, i)))
						require.NoError(t, err)
					}
				})
			}
			wg.Wait()
			require.Equal(t, LSN(800), l.LastLSN())
			n := 0
			for r, err := range l.Records(1) {
				require.NoError(t, err)
				n++
				require.Equal(t, LSN(n), r.LSN)
				b, err := l.Read(r.LSN, nil)
				require.NoError(t, err)
				require.Equal(t, string(r.Data), string(b))
			}
			require.Equal(t, 800, n)
			require.NoError(t, l.TruncateFront(400))
			require.NoError(t, l.TruncateBack(700))
			require.Equal(t, LSN(700), l.LastLSN())
			p, err := l.AppendAsync([]byte("x"))
			require.NoError(t, err)
			require.NoError(t, p.Wait(context.Background()))
			require.Equal(t, LSN(701), p.First)
			require.NoError(t, l.Sync())
			t.Logf("%+v", l.Stats())
			t.Logf("%+v", l.Segments())
			require.NoError(t, l.Close())
			l, err = Open(dir, o)
			require.NoError(t, err)
			t.Log(l.Recovery())
			require.Equal(t, LSN(701), l.LastLSN())
			require.Equal(t, LSN(400), l.FirstLSN())
			b, err := l.Read(701, nil)
			require.NoError(t, err)
			require.Equal(t, "x", string(b))
			require.NoError(t, l.Reset(5000))
			_, err = l.Append([]byte("y"))
			require.NoError(t, err)
			require.Equal(t, LSN(5000), l.LastLSN())
			require.NoError(t, l.Close())
			ro, err := Open(dir, &Options{FS: fsys, ReadOnly: true})
			require.NoError(t, err)
			t.Log(ro.Recovery())
			require.Equal(t, LSN(5000), ro.LastLSN())
			require.NoError(t, ro.Close())
		})
	}
}
