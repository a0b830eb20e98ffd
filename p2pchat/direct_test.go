package p2pchat_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// listen collects what comes to a node.
func listen(w *world, n *p2pchat.Node) (texts func() []string) {
	var mu sync.Mutex
	var got []string
	go func() {
		for d := range n.Direct(w.ctx) {
			mu.Lock()
			got = append(got, fmt.Sprintf("%s %s", d.From.Nick, d.Data))
			mu.Unlock()
		}
	}()
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string{}, got...)
	}
}

func key(n *p2pchat.Node) p2pchat.PeerID { return n.Self().Key }

func TestDirectMessagesReachOneMemberAlone(t *testing.T) {
	in(t, memnet.Config{Seed: 1, Delay: time.Millisecond, Loss: 0.2}, func(w *world) {
		w.join(3)
		w.wait(w.nodes, holds(3, 0))
		bob, eve := listen(w, w.nodes[1]), listen(w, w.nodes[2])
		start := time.Now()
		id, err := w.nodes[0].SendTo(w.ctx, key(w.nodes[1]), []byte("psst"))
		require.NoError(t, err)
		require.Less(t, time.Since(start), 50*time.Millisecond)
		again, err := p2pchat.ParseDirectID(id.String())
		require.NoError(t, err)
		require.Equal(t, id, again)
		second, err := w.nodes[0].SendTo(w.ctx, key(w.nodes[1]), []byte("and again"))
		require.NoError(t, err)
		require.Equal(t, p2pchat.DirectID{Session: id.Session, N: 2}, second)
		w.wait(w.nodes, holds(3, 0))
		require.Equal(t, []string{"n1 psst", "n1 and again"}, bob())
		require.Empty(t, eve())
		require.Equal(t, uint64(2), w.nodes[0].Stats().DirectSent)
		require.Equal(t, uint64(2), w.nodes[1].Stats().DirectCame)
	})
}

func TestDirectMessagesAreRefused(t *testing.T) {
	in(t, memnet.Config{Seed: 2}, func(w *world) {
		n := w.add(p2pchat.WithMaxMessage(10))
		_, err := n.SendTo(w.ctx, p2pchat.PeerID{1}, nil)
		require.ErrorIs(t, err, p2pchat.ErrNotJoined)
		require.NoError(t, n.Join(w.ctx))
		var gone *p2pchat.PeerGoneError
		_, err = n.SendTo(w.ctx, p2pchat.PeerID{1}, nil)
		require.ErrorAs(t, err, &gone)
		require.Equal(t, p2pchat.PeerGoneError{Peer: p2pchat.PeerID{1}, Why: "unknown"}, *gone)
		_, err = n.SendTo(w.ctx, key(n), nil)
		require.ErrorIs(t, err, p2pchat.ErrSelf)
		var large *p2pchat.TooLargeError
		_, err = n.SendTo(w.ctx, p2pchat.PeerID{1}, make([]byte, 11))
		require.ErrorAs(t, err, &large)
		over, cancel := context.WithCancel(w.ctx)
		cancel()
		_, err = n.SendTo(over, p2pchat.PeerID{1}, nil)
		require.ErrorIs(t, err, context.Canceled)
		_ = n.Close()
		_, err = n.SendTo(w.ctx, p2pchat.PeerID{1}, nil)
		require.ErrorIs(t, err, p2pchat.ErrClosed)
		for range n.Direct(w.ctx) {
			t.Fatal("nothing came")
		}
	})
}

// A cut holds a message up and does not lose it.
func TestDirectMessagesOutliveACut(t *testing.T) {
	in(t, memnet.Config{Seed: 3, Delay: time.Millisecond}, func(w *world) {
		w.join(3)
		w.wait(w.nodes, holds(3, 0))
		bob := listen(w, w.nodes[1])
		_, err := w.nodes[0].SendTo(w.ctx, key(w.nodes[1]), []byte("before"))
		require.NoError(t, err)
		w.net.Partition(w.addrs(1), w.addrs(2, 3))
		var sent sync.WaitGroup
		for i := range 10 {
			sent.Go(func() {
				_, err := w.nodes[0].SendTo(w.ctx, key(w.nodes[1]), fmt.Appendf(nil, "during %d", i))
				require.NoError(t, err)
			})
		}
		w.wait(w.nodes[:1], func(s p2pchat.Status) bool { return len(s.View.Members) == 1 })
		w.net.Heal()
		sent.Wait()
		require.Len(t, bob(), 11)
		seen := map[string]bool{}
		for _, s := range bob() {
			require.False(t, seen[s])
			seen[s] = true
		}
	})
}

func TestDirectMessagesToWhoIsGone(t *testing.T) {
	in(t, memnet.Config{Seed: 4, Delay: time.Millisecond}, func(w *world) {
		w.join(3)
		w.wait(w.nodes, holds(3, 0))
		bob := key(w.nodes[1])
		w.net.Cut(w.hosts[1].Addr(), w.hosts[0].Addr()) // nothing is acknowledged
		short, cancel := context.WithTimeout(w.ctx, 500*time.Millisecond)
		defer cancel()
		_, err := w.nodes[0].SendTo(short, bob, []byte("too late"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		done := make(chan error)
		go func() {
			_, err := w.nodes[0].SendTo(w.ctx, bob, []byte("never"))
			done <- err
		}()
		w.net.Kill(w.hosts[1])
		var gone *p2pchat.PeerGoneError
		require.ErrorAs(t, <-done, &gone)
		require.Equal(t, "dead", gone.Why)

		carol := key(w.nodes[2])
		w.net.Cut(w.hosts[2].Addr(), w.hosts[0].Addr())
		go func() {
			_, err := w.nodes[0].SendTo(w.ctx, carol, []byte("never"))
			done <- err
		}()
		time.AfterFunc(time.Second, func() { _ = w.nodes[0].Close() })
		require.ErrorIs(t, <-done, p2pchat.ErrClosed)
	})
}

// tap records every frame that leaves a host.
type tap struct {
	transport.Transport
	mu     *sync.Mutex
	frames *strings.Builder
}

func (t tap) record(f []byte) {
	t.mu.Lock()
	t.frames.Write(f)
	t.mu.Unlock()
}
func (t tap) Stream(to netip.AddrPort, f []byte) error { t.record(f); return t.Transport.Stream(to, f) }

// What is captured of an open group shows its history, and no direct message.
func TestDirectMessagesCannotBeCaptured(t *testing.T) {
	in(t, memnet.Config{Seed: 5, Delay: time.Millisecond}, func(w *world) {
		taps := tap{mu: new(sync.Mutex), frames: new(strings.Builder)}
		for range 3 {
			taps.Transport = w.net.Host()
			n, err := p2pchat.New(p2pchat.WithTransport(taps), p2pchat.WithName("n"))
			require.NoError(t, err)
			w.nodes = append(w.nodes, n)
			require.NoError(t, n.Join(w.ctx))
		}
		w.wait(w.nodes, holds(3, 0))
		w.send(w.nodes[0], "said to all")
		_, err := w.nodes[0].SendTo(w.ctx, key(w.nodes[1]), []byte("said to one"))
		require.NoError(t, err)
		w.wait(w.nodes, holds(3, 1))
		taps.mu.Lock()
		defer taps.mu.Unlock()
		require.Contains(t, taps.frames.String(), "said to all")
		require.NotContains(t, taps.frames.String(), "said to one")
	})
}

// A large message and a program that does not read for a while.
func TestDirectMessagesWaitForTheReader(t *testing.T) {
	in(t, memnet.Config{Seed: 6, Delay: time.Millisecond}, func(w *world) {
		w.join(2)
		w.wait(w.nodes, holds(2, 0))
		var sent sync.WaitGroup
		for i := range 6 {
			sent.Go(func() {
				_, err := w.nodes[0].SendTo(w.ctx, key(w.nodes[1]), append(fmt.Appendf(nil, "%d", i), make([]byte, 1<<20-1)...))
				require.NoError(t, err)
			})
		}
		<-time.After(time.Minute)
		require.Equal(t, uint64(2), w.nodes[0].Stats().DirectSent, "2 MiB are held for a program that does not read")
		bob := listen(w, w.nodes[1])
		sent.Wait()
		<-time.After(time.Second)
		require.Len(t, bob(), 6)
	})
}
