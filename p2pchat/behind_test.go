package p2pchat_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// collect returns the events of one kind that a node has had up to a call.
func collect[E p2pchat.Event](w *world, n *p2pchat.Node) func() []E {
	var mu sync.Mutex
	var all []E
	events := n.Events(w.ctx)
	go func() {
		for e := range events {
			if e, ok := e.(E); ok {
				mu.Lock()
				all = append(all, e)
				mu.Unlock()
			}
		}
	}()
	return func() []E {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// A latecomer is told how the taking over of the history goes on, and who has
// been cut off how the catching up does. Nobody is told of what is under way.
func TestSyncIsTold(t *testing.T) {
	in(t, memnet.Config{Seed: 21, Delay: 20 * time.Millisecond}, func(w *world) {
		w.join(1)
		long := slices.Repeat([]string{strings.Repeat("x", 4<<10)}, 3000)
		w.send(w.nodes[0], long...)
		late := w.add()
		told := collect[*p2pchat.SyncEvent](w, late)
		require.NoError(t, late.Join(w.ctx))
		w.wait(w.nodes, holds(2, 3000))
		<-time.After(time.Second)
		all := told()
		require.Greater(t, len(all), 1)
		for i, e := range all {
			require.LessOrEqual(t, e.Have, e.Of)
			require.EqualValues(t, 3000, e.Of)
			require.Equal(t, i == len(all)-1, e.Have == e.Of, "the last, and only the last")
			require.True(t, i == 0 || all[i-1].Have < e.Have)
		}

		for range 20 {
			w.send(w.nodes[0], "under way")
			<-time.After(100 * time.Millisecond)
		}
		require.Len(t, told(), len(all), "20 ms are no lag")

		w.net.SetDelay(300*time.Millisecond, 0)
		w.net.Partition(w.addrs(1), w.addrs(2))
		w.wait(w.nodes, func(s p2pchat.Status) bool { return len(s.View.Members) == 1 })
		w.send(w.nodes[0], long...)
		w.net.Heal()
		w.wait(w.nodes, holds(2, 6020))
		<-time.After(time.Second)
		more := told()[len(all):]
		require.NotEmpty(t, more)
		require.Equal(t, &p2pchat.SyncEvent{Have: 6020, Of: 6020}, more[len(more)-1])
	})
}

// An answer comes to somebody before the question, which can be had from who
// answered, but far away.
func TestGapIsTold(t *testing.T) {
	in(t, memnet.Config{Seed: 22, Delay: 10 * time.Millisecond}, func(w *world) {
		w.join(3)
		w.wait(w.nodes, holds(3, 0))
		told := collect[*p2pchat.GapEvent](w, w.nodes[2])
		ask := func(n uint64) {
			w.net.Cut(w.hosts[0].Addr(), w.hosts[2].Addr())
			w.send(w.nodes[0], "what?")
			w.wait(w.nodes[1:2], func(s p2pchat.Status) bool { return s.Digest.N == n-1 })
			w.send(w.nodes[1], "that")
			w.wait(w.nodes[2:], func(s p2pchat.Status) bool { return s.Digest.N == n })
			w.net.Mend(w.hosts[0].Addr(), w.hosts[2].Addr())
		}
		ask(2)
		require.Empty(t, told(), "a short one is not worth a word")
		w.wait(w.nodes, holds(3, 2))
		w.net.SetDelay(250*time.Millisecond, 0)
		ask(4)
		all := told()
		require.Len(t, all, 2)
		require.Equal(t, &p2pchat.GapEvent{Waiting: 1, Missing: 1, Lasted: 200 * time.Millisecond}, all[0])
		require.Zero(t, all[1].Waiting)
		require.Zero(t, all[1].GivenUp)
		require.Greater(t, all[1].Lasted, 500*time.Millisecond, "there and back")
		require.Less(t, all[1].Lasted, time.Second)
	})
}

// What is missing is nowhere to be had: after half a minute nobody waits for it.
func TestGapIsGivenUp(t *testing.T) {
	in(t, memnet.Config{Seed: 23, Delay: time.Millisecond}, func(w *world) {
		w.join(3)
		w.wait(w.nodes, holds(3, 0))
		told := collect[*p2pchat.GapEvent](w, w.nodes[2])
		w.net.Cut(w.hosts[0].Addr(), w.hosts[2].Addr())
		w.net.Cut(w.hosts[2].Addr(), w.hosts[1].Addr()) // it can ask nobody
		w.send(w.nodes[0], "what?")
		w.wait(w.nodes[1:2], func(s p2pchat.Status) bool { return s.Digest.N == 1 })
		w.send(w.nodes[1], "that")
		<-time.After(40 * time.Second)
		all := told()
		require.Len(t, all, 2)
		require.Equal(t, &p2pchat.GapEvent{Waiting: 1, Missing: 1, Lasted: 200 * time.Millisecond}, all[0])
		require.Zero(t, all[1].Waiting)
		require.EqualValues(t, 1, all[1].GivenUp)
	})
}
