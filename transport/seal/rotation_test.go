package seal

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// traffic lets every node send to every other, a frame and a datagram each
// millisecond, for some time.
func (r *rig) traffic(count *uint64, steps int, nodes ...*node) {
	r.Helper()
	for range steps {
		for _, n := range nodes {
			b := binary.BigEndian.AppendUint64(nil, *count)
			require.NoError(r, n.Multicast(b))
			for _, to := range nodes {
				if to != n {
					require.NoError(r, n.Stream(to.Addr(), b))
				}
			}
		}
		*count++
		pause(delay)
	}
}

// complete checks that nodes got all that the others sent, and that nothing broke.
func (r *rig) complete(count uint64, nodes ...*node) {
	r.Helper()
	pause(time.Second)
	for i, n := range nodes {
		frames, datagrams := make(map[string]uint64), make(map[string]uint64)
		for _, e := range n.take() {
			switch e.Kind {
			case transport.Frame: // in order
				require.Equal(r, frames[e.Peer.String()], binary.BigEndian.Uint64(e.Frame), "node %d from %v", i, e.Peer)
				frames[e.Peer.String()]++
			case transport.Datagram:
				datagrams[e.Peer.String()]++
			default:
				require.Equal(r, "up", e.Kind.String(), "node %d from %v: %v %v", i, e.Peer, e.Cause, e.Err)
			}
		}
		require.Len(r, frames, len(nodes)-1)
		for _, got := range []map[string]uint64{frames, datagrams} {
			for peer, n := range got {
				require.Equal(r, count, n, "node %d from %s", i, peer)
			}
		}
		require.Empty(r, n.Drops())
	}
}

// A group goes over to another key while everybody talks. Who does not have it
// is out.
func TestKeysRotateUnderTraffic(t *testing.T) {
	run(t, func(r *rig) {
		old := r.key
		key, err := Code(NewCode())
		require.NoError(r, err)
		nodes := r.nodes(4, Config{})
		expelled := nodes[3]
		nodes = nodes[:3]
		require.NoError(r, nodes[0].Stream(expelled.Addr(), []byte("hello")))
		require.NoError(r, expelled.Stream(nodes[1].Addr(), []byte("hello")))
		pause(50 * time.Millisecond)
		for _, n := range append(nodes, expelled) {
			n.take()
		}
		expelled.tap.withhold = func(p packet) bool { return p.kind == transport.Datagram } // counted below otherwise
		var count uint64
		steps := []func(n *node) error{
			func(n *node) error { return n.SetKeys(old, key) },
			func(n *node) error { return n.SetKeys(key, old) },
		}
		r.traffic(&count, 20, nodes...)
		for _, step := range steps {
			for _, n := range nodes {
				require.NoError(r, step(n))
				r.traffic(&count, 7, nodes...)
			}
		}
		r.traffic(&count, 20, nodes...)
		// The last step ends what is left of the old key.
		expelled.take()
		for _, n := range nodes {
			require.NoError(r, n.SetKeys(key))
			r.traffic(&count, 7, nodes...)
		}
		for _, n := range nodes { // strangers and the end of the expelled one's streams
			n.mu.Lock()
			got := n.got[:0]
			for _, e := range n.got {
				if e.Peer != expelled.Addr() {
					got = append(got, e)
				}
			}
			n.got = got
			n.mu.Unlock()
			for i := range n.drops {
				n.drops[i].Store(0)
			}
		}
		r.complete(count, nodes...)
		// The streams of node 0 and node 1 broke, and are not set up again.
		pause(time.Minute)
		downs := 0
		for _, w := range words(expelled.take()) {
			require.NotEqual(r, "up", w)
			if w == "down reset" {
				downs++
			}
		}
		require.Equal(r, 2, downs)
		require.NoError(r, expelled.Stream(nodes[2].Addr(), []byte("let me in")))
		pause(time.Minute)
		require.Equal(r, []string{"down timeout"}, words(expelled.take()))
		require.ErrorIs(r, nodes[0].SetKeys(Key{}), ErrNoKey)
		require.ErrorIs(r, nodes[0].SetKeys(key, Key{}), ErrNoKey)
		for _, n := range nodes { // what they noticed of the expelled one
			for _, e := range n.take() {
				require.Equal(r, expelled.Addr(), e.Peer)
			}
		}
		r.talk("afterwards", nodes...)
	})
}

// Keys that are used up are renewed without anybody noticing.
func TestKeysAreRenewedUnderTraffic(t *testing.T) {
	run(t, func(r *rig) {
		nodes := r.nodes(3, Config{renewal: 50, rekey: 20})
		var count uint64
		r.traffic(&count, 500, nodes...)
		r.complete(count, nodes...)
		sessions := make(map[sessionID]bool)
		instances := make(map[instance]bool)
		for _, p := range recorded(nodes...) {
			if p.kind == transport.Frame && p.frame[0] == kindFrame {
				sessions[sessionID(p.frame[1:])] = true
			}
			if p.kind == transport.Datagram {
				instances[instance(p.frame[5:])] = true
			}
		}
		require.Greater(r, len(sessions), 3*2*15)
		require.Greater(r, len(instances), 3*10)
	})
}

// No nonce is used twice with one key.
func TestNoncesAreUnique(t *testing.T) {
	run(t, func(r *rig) {
		nodes := r.nodes(3, Config{renewal: 50, rekey: 20})
		var count uint64
		r.traffic(&count, 200, nodes...)
		seen := make(map[string]bool)
		for _, p := range recorded(nodes...) {
			var used string
			switch {
			case p.kind == transport.Datagram:
				used = string(p.frame[1:randomAt]) // without the random half
			case p.frame[0] == kindFrame:
				used = string(p.frame[1:frameHeader])
			default:
				continue
			}
			require.False(r, seen[used])
			seen[used] = true
		}
	})
}

// A peer that goes on to write with a key that is not accepted any more must
// not believe that it is heard.
func TestStreamsUnderADroppedKeyBreak(t *testing.T) {
	run(t, func(r *rig) {
		key, err := Code(NewCode())
		require.NoError(r, err)
		nodes := r.nodes(2, Config{Accept: []Key{key}})
		a, b := nodes[0], nodes[1]
		r.talk("once", nodes...)
		require.NoError(r, a.SetKeys(key, r.key))
		r.talk("twice", nodes...)
		require.NoError(r, a.SetKeys(key))
		pause(100 * time.Millisecond)
		require.Equal(r, "down reset", words(b.take())[0])
		require.Equal(r, "down reset", words(a.take())[0])
		pause(time.Minute)
		require.NoError(r, b.SetKeys(key))
		pause(time.Minute)
		a.take()
		b.take()
		r.talk("afterwards", nodes...)
	})
}

// A session changes while frames wait for room: they keep their order, and none
// is lost.
func TestKeysAreRenewedWhileTheStreamIsFull(t *testing.T) {
	run(t, func(r *rig) {
		r.net = memnet.New(memnet.Config{Delay: delay, Jitter: delay, Queue: 200})
		nodes := r.nodes(2, Config{rekey: 5})
		r.talk("once", nodes...)
		for i := range 500 {
			b := binary.BigEndian.AppendUint64(nil, uint64(i))
			for nodes[0].Stream(nodes[1].Addr(), b) == transport.ErrFull {
				pause(delay / 4)
			}
		}
		pause(time.Second)
		n := uint64(0)
		for _, e := range nodes[1].take() {
			if e.Kind == transport.Frame {
				require.Equal(r, n, binary.BigEndian.Uint64(e.Frame))
				n++
			} else {
				require.Equal(r, "up", e.Kind.String())
			}
		}
		require.EqualValues(r, 500, n)
	})
}
