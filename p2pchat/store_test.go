package p2pchat_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/causal/boltstore"
	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// stored keeps the history in a store.
func stored(s causal.Store) p2pchat.Option {
	return p2pchat.WithLog(func(c causal.Config) (causal.Log, error) {
		c.Store = s
		return causal.NewMemory(c)
	})
}

// A node whose disk is full ends, with the reason, unless it was asked to go on
// in memory. It warns in both cases.
func TestAFullDisk(t *testing.T) {
	for _, goOn := range []bool{false, true} {
		t.Run(fmt.Sprintf("fallback=%v", goOn), func(t *testing.T) {
			in(t, memnet.Config{Seed: 1, Delay: time.Millisecond}, func(w *world) {
				w.join(1)
				disk := causal.NewMemoryStore()
				opts := []p2pchat.Option{stored(disk)}
				if goOn {
					opts = append(opts, p2pchat.WithMemoryFallback())
				}
				n := w.add(opts...)
				got := warnings(w, n, p2pchat.WarnStore)
				require.NoError(t, n.Join(w.ctx))
				disk.Fail(fmt.Errorf("%w: %w", boltstore.ErrFull, errors.New("no space left on device")))
				w.send(w.nodes[0], "hello")
				if goOn {
					w.wait(w.nodes, holds(2, 1))
					w.send(n, "all the same")
					w.wait(w.nodes, holds(2, 2))
					require.NoError(t, n.Err())
				} else {
					w.wait(w.nodes[:1], func(s p2pchat.Status) bool { return len(s.View.Members) == 1 })
					var failed *p2pchat.StoreError
					require.ErrorAs(t, n.Err(), &failed)
					require.ErrorIs(t, n.Err(), boltstore.ErrFull)
					_, err := n.Send(w.ctx, "lobby", []byte("lost"))
					require.ErrorIs(t, err, p2pchat.ErrClosed)
				}
				require.Len(t, got(), 1)
				require.ErrorIs(t, got()[0].Err, boltstore.ErrFull)
				require.Contains(t, got()[0].Text, "no space left on device")
			})
		})
	}
}

// A node whose store lost the end of the last write says so.
func TestATornWriteIsReported(t *testing.T) {
	in(t, memnet.Config{Seed: 1}, func(w *world) {
		disk := causal.NewMemoryStore()
		n := w.add(stored(disk))
		require.NoError(t, n.Join(w.ctx))
		w.join(1)
		w.wait(w.nodes, holds(2, 0))
		w.send(w.nodes[1], "one", "two")
		w.wait(w.nodes, holds(2, 2))
		torn := disk.Copy()
		require.NoError(t, n.Close())
		torn.Crash(-1)
		_, err := torn.Load(func(causal.Record) error { return nil })
		require.NoError(t, err)
		require.NoError(t, torn.Close())

		again := w.add(stored(torn))
		got := warnings(w, again, p2pchat.WarnTorn)
		require.NoError(t, again.Join(w.ctx))
		w.wait(w.nodes[1:], holds(2, 2))
		synctest.Wait()
		require.Len(t, got(), 1)
		require.Contains(t, got()[0].Text, "the end of what was written last")
	})
}
