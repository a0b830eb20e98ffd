package p2pchat_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// traffic counts what nodes send.
type traffic struct {
	sync.Mutex
	group, single, stream sent
}

type sent struct{ count, bytes int }

func (s *sent) add(frame []byte) { s.count, s.bytes = s.count+1, s.bytes+len(frame) }

// mean is the length of a frame; 0 if there is none.
func (s sent) mean() int { return s.bytes / max(1, s.count) }

// metered is a transport whose traffic is counted.
type metered struct {
	transport.Transport
	t *traffic
}

func (m metered) note(s *sent, frame []byte) {
	m.t.Lock()
	defer m.t.Unlock()
	s.add(frame)
}

func (m metered) Multicast(frame []byte) error {
	m.note(&m.t.group, frame)
	return m.Transport.Multicast(frame)
}

func (m metered) Unicast(to netip.AddrPort, frame []byte) error {
	m.note(&m.t.single, frame)
	return m.Transport.Unicast(to, frame)
}

func (m metered) Stream(to netip.AddrPort, frame []byte) error {
	m.note(&m.t.stream, frame)
	return m.Transport.Stream(to, frame)
}

// What a group says that has nothing to say, as the operations page has it.
func TestTrafficAtRest(t *testing.T) {
	for _, n := range []int{4, 33} {
		in(t, memnet.Config{Seed: 3}, func(w *world) {
			var all traffic
			for range n {
				w.join(1, p2pchat.WithTransport(metered{w.net.Host(), &all}))
			}
			w.send(w.nodes[0], "hello")
			w.wait(w.nodes, holds(n, 1))
			const beats = 60
			rest := func() {
				ctx, cancel := context.WithTimeout(w.ctx, beats*membership.Default().H)
				defer cancel()
				<-ctx.Done()
			}
			rest()
			all.Lock()
			all.group, all.single, all.stream = sent{}, sent{}, sent{}
			all.Unlock()
			rest()
			all.Lock()
			defer all.Unlock()
			w.Logf("N = %d, in each H: %.2f multicasts of %d bytes, %.2f frames on streams of %d, %.2f datagrams to one of %d", n,
				float64(all.group.count)/beats, all.group.mean(), float64(all.stream.count)/beats, all.stream.mean(),
				float64(all.single.count)/beats, all.single.mean())
			require.InDelta(t, beats, all.group.count, 0.05*beats)
			require.InDelta(t, 270, all.group.mean(), 20)
			if n > 32 {
				require.InDelta(t, beats*(n-1), all.single.count, 0.05*beats*float64(n))
				require.InDelta(t, 260, all.single.mean(), 20)
			} else {
				require.InDelta(t, beats*(n-1)/2, all.stream.count, 0.05*beats*float64(n))
				require.InDelta(t, 130, all.stream.mean(), 20)
			}
		})
	}
}
