package seal

import (
	"bytes"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// packet is what an outsider sees of a frame.
type packet struct {
	from, to netip.AddrPort // to is not valid for one to the group
	kind     transport.Kind // Datagram or Frame
	frame    []byte
}

// tap is a transport of which every packet that leaves is recorded, and may be
// withheld.
type tap struct {
	transport.Transport
	handler transport.Handler // the seal's

	mu       sync.Mutex
	sent     []packet
	withhold func(packet) bool
	withheld []packet
}

func (t *tap) Open(h transport.Handler) error {
	t.handler = h
	return t.Transport.Open(h)
}

// pass tells whether a packet may leave.
func (t *tap) pass(p packet) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.from, p.frame = t.Addr(), bytes.Clone(p.frame)
	if t.withhold != nil && t.withhold(p) {
		t.withheld = append(t.withheld, p)
		return false
	}
	t.sent = append(t.sent, p)
	return true
}

func (t *tap) Multicast(b []byte) error {
	if !t.pass(packet{kind: transport.Datagram, frame: b}) {
		return nil
	}
	return t.Transport.Multicast(b)
}

func (t *tap) Unicast(to netip.AddrPort, b []byte) error {
	if !t.pass(packet{kind: transport.Datagram, to: to, frame: b}) {
		return nil
	}
	return t.Transport.Unicast(to, b)
}

func (t *tap) Stream(to netip.AddrPort, b []byte) error {
	if !t.pass(packet{kind: transport.Frame, to: to, frame: b}) {
		return nil
	}
	return t.Transport.Stream(to, b)
}

// inject lets the node receive a packet.
func (t *tap) inject(p packet) {
	t.handler.Handle(transport.Event{Kind: p.kind, Peer: p.from, Frame: bytes.Clone(p.frame)})
}

// node is a sealed transport with its tap, and what it reported.
type node struct {
	*Transport
	tap *tap
	mu  sync.Mutex
	got []transport.Event
}

// take returns what was reported since the last call, once all is quiet.
func (n *node) take() []transport.Event {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	got := n.got
	n.got = nil
	return got
}

// words are the kinds and the frames of events, those of strangers left out.
func words(events []transport.Event) (out []string) {
	for _, e := range events {
		switch {
		case e.Kind == transport.Stranger:
		case e.Frame != nil:
			out = append(out, fmt.Sprintf("%v %s", e.Kind, e.Frame))
		case e.Kind == transport.Down:
			out = append(out, fmt.Sprintf("%v %v", e.Kind, e.Cause))
		default:
			out = append(out, e.Kind.String())
		}
	}
	return out
}

// rig is a network in virtual time, and the secret of the nodes on it.
type rig struct {
	*testing.T
	net *memnet.Network
	key Key
}

// delay is how long a packet takes in a rig.
const delay = time.Millisecond

func run(t *testing.T, f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		key, err := Code(NewCode())
		require.NoError(t, err)
		f(&rig{T: t, net: memnet.New(memnet.Config{Delay: delay}), key: key})
	})
}

// add opens a node.
func (r *rig) add(host *memnet.Host, c Config) *node {
	r.Helper()
	if c.Key == (Key{}) {
		c.Key = r.key
	}
	n := &node{tap: &tap{Transport: host}}
	var err error
	n.Transport, err = New(n.tap, c)
	require.NoError(r, err)
	require.NoError(r, n.Open(transport.HandlerFunc(func(e transport.Event) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.got = append(n.got, e)
	})))
	r.Cleanup(func() { _ = n.Close() })
	return n
}

func (r *rig) nodes(count int, c Config) (out []*node) {
	r.Helper()
	for range count {
		out = append(out, r.add(r.net.Host(), c))
	}
	return out
}

// pause lets virtual time pass.
func pause(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// talk lets every node say something in each way, and checks that it arrives.
func (r *rig) talk(word string, nodes ...*node) {
	r.Helper()
	for i, n := range nodes {
		for j, to := range nodes {
			if i == j {
				continue
			}
			require.NoError(r, n.Stream(to.Addr(), []byte(word)))
			require.NoError(r, n.Unicast(to.Addr(), []byte(word)))
		}
		require.NoError(r, n.Multicast([]byte(word)))
	}
	pause(100 * time.Millisecond)
	for _, n := range nodes {
		frames, datagrams := 0, 0
		for _, w := range words(n.take()) {
			switch w {
			case "frame " + word:
				frames++
			case "datagram " + word:
				datagrams++
			default:
				require.Equal(r, "up", w)
			}
		}
		require.Equal(r, len(nodes)-1, frames)
		require.Equal(r, 2*(len(nodes)-1), datagrams)
	}
}

// recorded are the packets that have left some nodes.
func recorded(nodes ...*node) (all []packet) {
	for _, n := range nodes {
		n.tap.mu.Lock()
		all = append(all, n.tap.sent...)
		n.tap.mu.Unlock()
	}
	return all
}
