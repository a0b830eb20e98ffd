package p2pchat_test

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// narrow is a host of which no more than rate bytes leave in a second: streams
// wait for their turn, and datagrams are lost that would wait for long.
type narrow struct {
	*memnet.Host
	rate float64
	old  bool // it does not know of pieces
	deaf bool // to the group's address

	mu      sync.Mutex
	h       transport.Handler
	busy    time.Time // until then what was sent takes the line
	queues  map[netip.AddrPort][][]byte
	bytes   map[netip.AddrPort]int
	full    map[netip.AddrPort]bool
	turns   []netip.AddrPort
	more    chan struct{}
	stop    chan struct{}
	stopped sync.Once
	done    sync.WaitGroup
}

const (
	narrowQueue = 256 << 10
	narrowPart  = 4 << 10 // of a frame, between which datagrams leave
	pieceKind   = 0x50    // and the next
)

func newNarrow(h *memnet.Host, rate float64) *narrow {
	return &narrow{
		Host: h, rate: rate, queues: map[netip.AddrPort][][]byte{}, bytes: map[netip.AddrPort]int{},
		full: map[netip.AddrPort]bool{}, more: make(chan struct{}, 1), stop: make(chan struct{}),
	}
}

func (n *narrow) Open(h transport.Handler) error {
	n.h = h
	if err := n.Host.Open(transport.HandlerFunc(n.handle)); err != nil {
		return err
	}
	n.done.Go(n.run)
	return nil
}

func (n *narrow) handle(e transport.Event) {
	switch {
	case e.Kind == transport.Datagram && (e.Frame[0] == pieceKind || e.Frame[0] == pieceKind+1) && (n.old || n.deaf && len(e.Frame) > 500):
		return
	case e.Kind == transport.Writable && n.rate > 0:
		return // run waits for the host's streams
	case e.Kind == transport.Down:
		n.mu.Lock()
		delete(n.queues, e.Peer)
		delete(n.full, e.Peer)
		n.bytes[e.Peer] = 0
		n.mu.Unlock()
	}
	n.h.Handle(e)
}

// take takes the line for a datagram, if it is not taken for too long.
func (n *narrow) take(size int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if n.rate == 0 {
		return true
	}
	if n.busy.Sub(now) > 50*time.Millisecond {
		return false
	}
	n.busy = later(n.busy, now).Add(n.time(size))
	return true
}

func (n *narrow) time(size int) time.Duration {
	return time.Duration(float64(size) / n.rate * float64(time.Second))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (n *narrow) Multicast(b []byte) error {
	if !n.take(len(b)) {
		return nil
	}
	return n.Host.Multicast(b)
}

func (n *narrow) Unicast(to netip.AddrPort, b []byte) error {
	if !n.take(len(b)) {
		return nil
	}
	return n.Host.Unicast(to, b)
}

func (n *narrow) Stream(to netip.AddrPort, b []byte) error {
	if n.rate == 0 {
		return n.Host.Stream(to, b)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bytes[to] > narrowQueue {
		n.full[to] = true
		return transport.ErrFull
	}
	if len(n.queues[to]) == 0 {
		n.turns = append(n.turns, to)
	}
	n.queues[to] = append(n.queues[to], b)
	n.bytes[to] += len(b)
	select {
	case n.more <- struct{}{}:
	default:
	}
	return nil
}

// run writes to the streams in turn.
func (n *narrow) run() {
	for {
		n.mu.Lock()
		if len(n.turns) == 0 {
			n.mu.Unlock()
			select {
			case <-n.more:
				continue
			case <-n.stop:
				return
			}
		}
		to := n.turns[0]
		n.turns = n.turns[1:]
		var frame []byte
		room := false
		if q := n.queues[to]; len(q) > 0 {
			frame, n.queues[to] = q[0], q[1:]
			n.bytes[to] -= len(frame)
			if room = n.full[to] && n.bytes[to] < narrowQueue/2; room {
				n.full[to] = false
			}
			if len(q) > 1 {
				n.turns = append(n.turns, to)
			}
		}
		n.mu.Unlock()
		for part := range slices.Chunk(frame, narrowPart) {
			n.mu.Lock()
			n.busy = later(n.busy, time.Now()).Add(n.time(len(part)))
			wait := time.Until(n.busy)
			n.mu.Unlock()
			select {
			case <-time.After(wait):
			case <-n.stop:
				return
			}
		}
		for frame != nil && n.Host.Stream(to, frame) == transport.ErrFull { // a cut
			select {
			case <-time.After(20 * time.Millisecond):
			case <-n.stop:
				return
			}
		}
		if room {
			n.h.Handle(transport.Event{Kind: transport.Writable, Peer: to})
		}
	}
}

func (n *narrow) Close() error {
	n.stopped.Do(func() { close(n.stop) })
	err := n.Host.Close()
	n.done.Wait()
	return err
}

// spread lets the first of so many nodes, of whose host 1 MB leaves in a second,
// say 64 KiB often, and returns how long it is until all hold that.
func spread(t *testing.T, cfg memnet.Config, hosts, least int, change func(i int, h *narrow)) (took time.Duration, s p2pchat.Stats) {
	const times = 80
	in(t, cfg, func(w *world) {
		for i := range hosts {
			h := newNarrow(w.net.Host(), 0)
			if i == 0 {
				h.rate = 1e6
			}
			if change != nil {
				change(i, h)
			}
			require.NoError(t, w.add(p2pchat.WithTransport(h), p2pchat.WithMulticast(least)).Join(w.ctx))
		}
		w.wait(w.nodes, holds(hosts, 0))
		began := time.Now()
		for range times {
			w.send(w.nodes[0], strings.Repeat("much", 16<<10))
		}
		w.wait(w.nodes, holds(hosts, times))
		took, s = time.Since(began), w.nodes[0].Stats()
		w.same(w.nodes, times)
		for _, n := range w.nodes {
			require.Zero(t, n.Stats().Elections)
			require.Zero(t, n.Stats().Drops["malformed"])
		}
	})
	t.Logf("%v, %d pieces, %d again", took, s.Pieces, s.Resent)
	return took, s
}

// Where the streams cannot keep up, blocks go to all at once, and who loses some
// gets them again.
func TestMuchGoesByMulticastWhereTheStreamsAreSlow(t *testing.T) {
	net := memnet.Config{Seed: 1, Delay: time.Millisecond}
	streams, s := spread(t, net, 8, 0, nil)
	require.Zero(t, s.Pieces)
	all, s := spread(t, net, 8, 8, nil)
	require.NotZero(t, s.Pieces)
	require.Less(t, all, streams/3)
	net.Loss, net.Jitter = 0.02, time.Millisecond
	lossy, s := spread(t, net, 8, 8, nil)
	require.NotZero(t, s.Resent)
	require.Less(t, lossy, streams/2)
}

// Not in a small group, nor where a member does not know of it.
func TestNothingGoesByMulticastWhereNotAllAreUpToIt(t *testing.T) {
	net := memnet.Config{Seed: 2, Delay: time.Millisecond}
	_, s := spread(t, net, 8, 9, nil)
	require.Zero(t, s.Pieces)
	_, s = spread(t, net, 8, 8, func(i int, h *narrow) { h.old = i == 7 })
	require.Zero(t, s.Pieces)
}

// Members that multicast does not reach get all by their streams; if half of
// them are such, all do.
func TestTheDeafGetWhatGoesByMulticast(t *testing.T) {
	net := memnet.Config{Seed: 1, Delay: time.Millisecond}
	for _, deaf := range []int{1, 4, 7} {
		_, s := spread(t, net, 8, 8, func(i int, h *narrow) { h.deaf = i > 0 && i <= deaf })
		require.NotZero(t, s.Pieces)
	}
}

func TestWithMulticast(t *testing.T) {
	_, err := p2pchat.New(p2pchat.WithMulticast(-1))
	require.ErrorContains(t, err, "WithMulticast(-1)")
	require.Equal(t, 16, p2pchat.MulticastHosts)
}
