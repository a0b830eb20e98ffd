package boltstore

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/causal"
)

var reopenMessages = flag.Int("reopen", 100_000, "messages of 100 B that BenchmarkReopen reopens")

const (
	messageSize = 100
	perBlock    = 324 // messages of 100 B, each after its length, in 32 KiB
	blockSize   = perBlock*(messageSize+1) + 200
)

// BenchmarkAppend appends full blocks of messages of 100 B durably, several of
// them in one call.
func BenchmarkAppend(b *testing.B) {
	for _, blocks := range []int{1, 2, 8, 32} {
		b.Run(fmt.Sprintf("blocks=%d", blocks), func(b *testing.B) {
			s := opened(b, filepath.Join(b.TempDir(), "store"), Options{})
			recs := make([]causal.Record, blocks)
			r := rand.NewChaCha8([32]byte{1})
			for i := range recs {
				recs[i] = causal.Record{Frame: make([]byte, blockSize), Own: true}
				r.Read(recs[i].Frame)
			}
			b.ReportAllocs()
			b.SetBytes(int64(blocks * blockSize))
			for b.Loop() {
				require.NoError(b, s.Append(recs, true))
			}
			b.ReportMetric(float64(b.N*blocks*perBlock)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkAppendSmall appends single messages of 100 B, each durably, or not.
func BenchmarkAppendSmall(b *testing.B) {
	for _, sync := range []bool{true, false} {
		b.Run(fmt.Sprintf("sync=%t", sync), func(b *testing.B) {
			s := opened(b, filepath.Join(b.TempDir(), "store"), Options{})
			recs := []causal.Record{{Frame: make([]byte, messageSize+200)}}
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, s.Append(recs, sync))
			}
		})
	}
}

// BenchmarkReopen opens and loads a store of -reopen messages, in full blocks
// and each in its own.
func BenchmarkReopen(b *testing.B) {
	for _, per := range []int{perBlock, 1} {
		b.Run(fmt.Sprintf("messages=%d/per_block=%d", *reopenMessages, per), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "store")
			s := opened(b, path, Options{})
			recs := []causal.Record{{Frame: make([]byte, per*(messageSize+1)+200)}}
			for i := 0; i < *reopenMessages; i += per {
				require.NoError(b, s.Append(recs, false))
			}
			require.NoError(b, s.Close())
			b.ReportAllocs()
			for b.Loop() {
				s, err := Open(path, Options{})
				require.NoError(b, err)
				n := 0
				_, err = s.Load(func(causal.Record) error { n++; return nil })
				require.NoError(b, err)
				require.Equal(b, (*reopenMessages+per-1)/per, n)
				require.NoError(b, s.Close())
			}
		})
	}
}

// opened returns a store that has been loaded.
func opened(t testing.TB, path string, opts Options) *Store {
	t.Helper()
	s, err := Open(path, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	_, err = s.Load(func(causal.Record) error { return nil })
	require.NoError(t, err)
	return s
}
