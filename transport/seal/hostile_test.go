package seal

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
)

// Everything that ever passed is sent again, in many orders, to those who had it
// and to those who had not: nothing of it is taken.
func TestReplayedPacketsChangeNothing(t *testing.T) {
	for seed := range uint64(20) {
		run(t, func(r *rig) {
			nodes := r.nodes(3, Config{})
			for _, n := range nodes { // so that all know each other
				require.NoError(r, n.Multicast([]byte("hello")))
			}
			pause(50 * time.Millisecond)
			for _, n := range nodes {
				require.Equal(r, []string{"datagram hello", "datagram hello"}, words(n.take()))
			}
			r.talk("once", nodes...)
			r.talk("twice", nodes...)
			all := recorded(nodes...)
			late := r.add(r.net.Host(), Config{}) // has seen nothing of it
			again := late                         // that node, after a restart
			if seed%2 == 1 {
				addr := nodes[2].Addr()
				require.NoError(r, nodes[2].Close())
				pause(10 * time.Second)
				again = r.add(r.net.HostAt(addr), Config{})
				nodes = nodes[:2]
			}
			pause(4 * time.Second)
			for _, n := range append(nodes, late, again) {
				n.take()
			}
			rng := rand.New(rand.NewPCG(seed, 0))
			rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			count := 0
			for _, p := range all {
				for _, n := range append(nodes, late, again) {
					if p.from == n.Addr() || p.kind == transport.Frame && (n == late || n == again || p.to != n.Addr() || p.from == again.Addr()) {
						continue // there is no stream on which it could come; see below
					}
					count++
					n.tap.inject(p)
				}
				pause(time.Duration(rng.Int64N(int64(3 * delay))))
			}
			require.Greater(r, count, 50)
			pause(time.Second)
			for _, n := range append(nodes, late, again) {
				require.Empty(r, words(n.take()), "seed %d", seed)
			}
			if again != late {
				nodes = append(nodes, again)
			}
			r.talk("afterwards", append(nodes, late)...)
		})
	}
}

// Somebody takes over the endpoint of a node that is gone, and sends all that
// node sent, as it was: packets and streams.
func TestReplayedStreamsAreNotSetUp(t *testing.T) {
	run(t, func(r *rig) {
		nodes := r.nodes(2, Config{})
		r.talk("once", nodes...)
		addr := nodes[1].Addr()
		require.NoError(r, nodes[1].Close())
		pause(10 * time.Second)
		require.Equal(r, []string{"down reset", "down refused"}, words(nodes[0].take()))

		mallory := r.net.HostAt(addr)
		require.NoError(r, mallory.Open(transport.HandlerFunc(func(transport.Event) {})))
		defer mallory.Close()
		for range 10 {
			for _, p := range recorded(nodes[1]) {
				if p.kind == transport.Frame {
					require.NoError(r, mallory.Stream(nodes[0].Addr(), p.frame))
				} else {
					require.NoError(r, mallory.Unicast(nodes[0].Addr(), p.frame))
				}
			}
			pause(2 * time.Second)
		}
		pause(time.Minute)
		require.Empty(r, words(nodes[0].take()))
		require.Empty(r, nodes[0].guests.pending[instance{}])
	})
}

// What is thrown back at its sender is not taken, and not answered.
func TestOwnPacketsThrownBackAreNotTaken(t *testing.T) {
	run(t, func(r *rig) {
		nodes := r.nodes(2, Config{})
		r.talk("once", nodes...)
		all := recorded(nodes[0])
		sent := len(all)
		for _, p := range all {
			p.from = nodes[1].Addr()
			nodes[0].tap.inject(p)
		}
		pause(time.Second)
		require.Empty(r, words(nodes[0].take()))
		require.Len(r, recorded(nodes[0]), sent)
		r.talk("afterwards", nodes...)
	})
}

// Each bit of each kind of packet is changed on its way. The receiver does and
// says nothing, and then takes the packet as it was.
func TestChangedPacketsAreRefused(t *testing.T) {
	for kind, name := range map[byte]string{
		kindDatagram: "datagram", kindChallenge: "challenge", kindProof: "proof",
		kindHello: "hello", kindAnswer: "answer", kindFrame: "frame",
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(r *rig) {
				_, id, err := ed25519.GenerateKey(nil)
				require.NoError(r, err)
				nodes := r.nodes(2, Config{Identity: id})
				from, to := nodes[0], nodes[1]
				if kind == kindChallenge || kind == kindAnswer {
					from, to = to, from
				}
				// From the first of the kind on everything waits.
				found := false
				from.tap.withhold = func(p packet) bool {
					found = found || p.frame[0] == kind
					return found
				}
				require.NoError(r, nodes[0].Unicast(nodes[1].Addr(), []byte("hello")))
				require.NoError(r, nodes[0].Stream(nodes[1].Addr(), []byte("hello")))
				pause(50 * time.Millisecond)
				require.True(r, found)
				to.take()
				sent, p := len(recorded(to)), from.tap.withheld[0]
				for bit := range len(p.frame) * 8 {
					q := p
					q.frame = bytes.Clone(p.frame)
					q.frame[bit/8] ^= 1 << (bit % 8)
					to.tap.inject(q)
				}
				for size := range p.frame {
					q := p
					q.frame = p.frame[:size]
					to.tap.inject(q)
				}
				require.Empty(r, words(to.take()))
				require.Len(r, recorded(to), sent)

				from.tap.withhold = nil
				for _, p := range from.tap.withheld {
					if p.kind == transport.Frame {
						require.NoError(r, from.tap.Transport.Stream(p.to, p.frame))
					} else {
						require.NoError(r, from.tap.Transport.Unicast(p.to, p.frame))
					}
				}
				pause(50 * time.Millisecond)
				got := words(nodes[1].take())
				if kind == kindHello || kind == kindFrame {
					require.Contains(r, got, "frame hello")
				}
				if kind == kindProof || kind == kindChallenge {
					require.Contains(r, got, "datagram hello")
				}
				r.talk("afterwards", nodes...)
			})
		})
	}
}

// An instance that was forgotten, to make room, is not taken for a new one.
func TestForgettingLetsNothingBackIn(t *testing.T) {
	run(t, func(r *rig) {
		nodes := r.nodes(2, Config{})
		a, b := nodes[0], nodes[1]
		for i := range 20 {
			require.NoError(r, a.Multicast(fmt.Append(nil, i)))
			pause(time.Duration(i) * 100 * time.Millisecond)
		}
		require.Len(r, b.take(), 20)
		require.False(r, b.guests.forget(time.Now()), "not before it was silent for long")
		pause(idle)
		require.True(r, b.guests.forget(time.Now()))
		require.Empty(r, b.guests.known)
		for _, p := range recorded(a) {
			b.tap.inject(p)
			pause(20 * time.Millisecond)
		}
		require.Empty(r, b.take())
		require.NoError(r, a.Multicast([]byte("new")))
		pause(20 * time.Millisecond)
		require.Equal(r, []string{"datagram new"}, words(b.take()))
	})
}

// The floor of a proof lets through what was sent in the last second, and
// nothing that is older than three.
func TestFloorOfProofs(t *testing.T) {
	run(t, func(r *rig) {
		rng := rand.New(rand.NewPCG(1, 2))
		s := sender{limit: renewal}
		g, err := newGroupKey(r.key, "x")
		require.NoError(r, err)
		s.setKey(g)
		var sent []time.Time // by number
		for range 3000 {
			pause(time.Duration(rng.ExpFloat64() * rng.ExpFloat64() * float64(freshness/2)))
			now := time.Now()
			if rng.IntN(3) > 0 {
				s.seal(kindDatagram, nil)
				sent = append(sent, now)
				continue
			}
			proof := s.prove(s.id, make([]byte, nonceSize))
			sent = append(sent, now)
			aead := g.sender(s.id)
			plain, err := aead.Open(nil, proof[nonceAt:headerSize], proof[headerSize:], proof[:headerSize])
			require.NoError(r, err)
			floor := binary.BigEndian.Uint64(plain[nonceSize:])
			for n, at := range sent[:len(sent)-1] {
				switch age := now.Sub(at); {
				case age <= freshness:
					require.LessOrEqual(r, floor, uint64(n), "%v old", age)
				case age > 3*freshness:
					require.Greater(r, floor, uint64(n), "%v old", age)
				}
			}
		}
	})
}

// A machine that slept is told by the clock on the wall.
func TestSinceHeedsBothClocks(t *testing.T) {
	now := time.Now()
	require.Equal(t, time.Second, since(now, now.Add(time.Second)))
	slept := now.Round(0).Add(time.Hour) // without a monotonic reading
	require.Equal(t, time.Hour, since(now.Round(0), slept))
}

func TestFloodOfGarbageLeavesNothing(t *testing.T) {
	run(t, func(r *rig) {
		nodes := r.nodes(2, Config{})
		r.talk("once", nodes...)
		n := nodes[0]
		id := n.ring.Load().use.id
		rng := rand.New(rand.NewPCG(3, 4))
		mallory := r.net.Host()
		const count = 20_000
		for i := range count {
			b := make([]byte, rng.IntN(transport.MaxDatagram))
			for j := range b {
				b[j] = byte(rng.Uint32())
			}
			if len(b) > 5 && i%2 == 0 { // as near as an outsider gets
				b[0] = kindDatagram + byte(i%3)
				copy(b[1:], id[:])
			}
			n.tap.inject(packet{from: mallory.Addr(), kind: transport.Datagram, frame: b})
			n.tap.inject(packet{from: nodes[1].Addr(), kind: transport.Frame, frame: b})
		}
		events := n.take()
		require.Empty(r, words(events))
		require.Len(r, events, reportBurst)
		require.Len(r, n.guests.known, 1)
		require.Empty(r, n.guests.pending)
		require.Len(r, n.Transport.peers, 1)
		drops := n.Drops()
		require.Equal(r, uint64(2*count), drops["auth"]+drops["open"]+drops["malformed"]+drops["replay"])
		pause(time.Second)
		for range 100 {
			n.tap.inject(packet{from: mallory.Addr(), kind: transport.Datagram, frame: []byte("open")})
		}
		require.Len(r, n.take(), reportBurst)
		r.talk("afterwards", nodes...)
	})
}

// An outsider has as many captured packets, of as many runs, as he likes.
func TestPendingSendersAreBounded(t *testing.T) {
	run(t, func(r *rig) {
		n := r.nodes(1, Config{})[0]
		from := r.net.Host().Addr()
		g := n.ring.Load().use
		old := sender{limit: renewal}
		for range 3 * maxPending {
			old.setKey(renewed(g))
			for range 2 * maxHeld {
				n.tap.inject(packet{from: from, kind: transport.Datagram, frame: old.seal(kindDatagram, make([]byte, 1000))})
			}
		}
		require.Empty(r, n.take())
		require.Len(r, n.guests.pending, maxPending)
		require.Equal(r, maxPending, n.guests.waiting)
		require.LessOrEqual(r, n.guests.bytes, maxHeldBytes)
		require.LessOrEqual(r, len(recorded(n)), maxPending)
		require.Positive(r, n.Drops()["unproven"])
		pause(patience)
		other := r.nodes(1, Config{})[0]
		r.talk("there is room again", n, other)
		pause(patience)
		n.guests.expire(time.Now())
		require.Zero(r, n.guests.waiting)
		require.Zero(r, n.guests.bytes)
		require.Empty(r, n.guests.pending)
	})
}

// renewed is a copy of a key, for which a sender takes a new instance.
func renewed(g *groupKey) *groupKey {
	c := *g
	return &c
}

func TestStrangersAreReportedAndTold(t *testing.T) {
	run(t, func(r *rig) {
		n := r.nodes(1, Config{})[0]
		other, err := Code(NewCode())
		require.NoError(r, err)
		wrong := r.add(r.net.Host(), Config{Key: other})
		open := r.net.Host()
		var heard []transport.Event
		require.NoError(r, open.Open(transport.HandlerFunc(func(e transport.Event) { heard = append(heard, e) })))
		defer open.Close()

		require.NoError(r, open.Multicast([]byte("anybody there?")))
		pause(time.Second)
		got := n.take()
		require.Len(r, got, 1)
		require.Equal(r, transport.Event{Kind: transport.Stranger, Peer: open.Addr(), Err: &transport.AuthError{OwnSealed: true}}, got[0])
		n.Refuse(got[0].Peer, got[0].Err)
		pause(time.Second)
		require.Len(r, heard, 1)
		e, ok := transport.ParseNotice(heard[0].Frame, false)
		require.True(r, ok)
		require.Equal(r, &transport.AuthError{Sealed: true}, e)

		wrong.take()
		require.NoError(r, wrong.Multicast([]byte("anybody there?")))
		pause(time.Second)
		got = n.take()
		require.Len(r, got, 1)
		require.Equal(r, transport.Event{Kind: transport.Stranger, Peer: wrong.Addr(), Err: &transport.AuthError{Sealed: true, OwnSealed: true}}, got[0])
		n.Refuse(got[0].Peer, got[0].Err)
		pause(time.Second)
		got = wrong.take()
		require.Len(r, got, 1)
		require.Equal(r, transport.Event{Kind: transport.Rejected, Peer: n.Addr(), Err: &transport.AuthError{Sealed: true, OwnSealed: true}}, got[0])
	})
}

// Neither a node with another key nor an open one gets a stream.
func TestStreamToAStrangerTimesOut(t *testing.T) {
	run(t, func(r *rig) {
		n := r.nodes(1, Config{})[0]
		other, err := Code(NewCode())
		require.NoError(r, err)
		wrong := r.add(r.net.Host(), Config{Key: other})
		open := r.net.Host()
		require.NoError(r, open.Open(transport.HandlerFunc(func(transport.Event) {})))
		defer open.Close()
		for _, to := range []transport.Transport{wrong, open} {
			require.NoError(r, n.Stream(to.Addr(), []byte("secret")))
			pause(handshakeTimeout + 100*time.Millisecond)
			require.Equal(r, []string{"down timeout"}, words(n.take()))
			require.Empty(r, words(wrong.take()))
			require.NoError(r, to.Stream(n.Addr(), []byte("open")))
			pause(2*handshakeTimeout + 100*time.Millisecond)
			require.Empty(r, words(n.take()))
			wrong.take()
		}
		require.NoError(r, open.Close()) // till then it dials again and again
		pause(2 * handshakeTimeout)
		require.Empty(r, words(n.take()))
		require.Empty(r, n.peers)
	})
}

// A frame that is taken out of a stream breaks it, and both sides are told.
func TestAMissingFrameBreaksTheStream(t *testing.T) {
	run(t, func(r *rig) {
		nodes := r.nodes(2, Config{})
		r.talk("once", nodes...)
		nodes[0].tap.withhold = func(p packet) bool { return len(nodes[0].tap.withheld) == 0 }
		require.NoError(r, nodes[0].Stream(nodes[1].Addr(), []byte("taken out")))
		nodes[0].tap.withhold = nil
		require.NoError(r, nodes[0].Stream(nodes[1].Addr(), []byte("left in")))
		pause(50 * time.Millisecond)
		require.Equal(r, []string{"down reset", "up"}, words(nodes[1].take()))
		require.Equal(r, []string{"down reset", "up"}, words(nodes[0].take()))
		r.talk("afterwards", nodes...)
	})
}

// An answer that is lost with the stream it was written to is given again on the
// next one: the peer, whose hello came on a stream that stands, would wait for
// it until its time is up.
func TestALostAnswerIsGivenAgain(t *testing.T) {
	run(t, func(r *rig) {
		nodes := r.nodes(2, Config{})
		a, b := nodes[0], nodes[1]
		lost := false
		b.tap.withhold = func(p packet) bool {
			it := !lost && p.frame[0] == kindAnswer
			lost = lost || it
			return it
		}
		require.NoError(t, a.Stream(b.Addr(), []byte("hello")))
		pause(100 * time.Millisecond)
		require.True(t, lost)
		require.NotContains(t, words(b.take()), "frame hello")
		b.tap.handler.Handle(transport.Event{Kind: transport.Down, Cause: transport.Reset, Peer: a.Addr()})
		b.tap.handler.Handle(transport.Event{Kind: transport.Up, Peer: a.Addr()})
		pause(100 * time.Millisecond)
		require.Contains(t, words(b.take()), "frame hello")
	})
}

func TestIdentityIsReported(t *testing.T) {
	run(t, func(r *rig) {
		var nodes []*node
		var keys []ed25519.PublicKey
		for range 2 {
			pub, id, err := ed25519.GenerateKey(nil)
			require.NoError(r, err)
			nodes, keys = append(nodes, r.nodes(1, Config{Identity: id})...), append(keys, pub)
		}
		nodes, keys = append(nodes, r.nodes(1, Config{})...), append(keys, nil)
		for i, n := range nodes {
			for _, to := range nodes {
				if to != n {
					require.NoError(r, n.Stream(to.Addr(), []byte{byte(i)}))
				}
			}
		}
		pause(50 * time.Millisecond)
		for i, n := range nodes {
			frames := 0
			for _, e := range n.take() {
				if e.Kind == transport.Frame {
					require.Equal(r, []byte(keys[e.Frame[0]]), e.Key)
					frames++
				}
			}
			require.Equal(r, 2, frames, "node %d", i)
		}
	})
}

// A member signs with its own key, and claims another's.
func TestAnothersIdentityCannotBeClaimed(t *testing.T) {
	run(t, func(r *rig) {
		pub, _, err := ed25519.GenerateKey(nil)
		require.NoError(r, err)
		_, own, err := ed25519.GenerateKey(nil)
		require.NoError(r, err)
		forged := append(bytes.Clone(own[:ed25519.SeedSize]), pub...)
		n, mallory := r.nodes(1, Config{})[0], r.nodes(1, Config{Identity: forged})[0]
		require.NoError(r, mallory.Stream(n.Addr(), []byte("I am the other")))
		pause(time.Second)
		for _, w := range words(n.take()) {
			require.NotContains(r, w, "frame")
		}
		require.Positive(r, n.Drops()["auth"])
	})
}

// A datagram that comes from another address than its sender's others is taken
// only when that address is proven: the one who copied it does not get the answer.
func TestDatagramsFromElsewhereAreNotTaken(t *testing.T) {
	run(t, func(r *rig) {
		nodes := r.nodes(2, Config{})
		r.talk("once", nodes...)
		mallory := r.net.Host()
		nodes[0].tap.withhold = func(packet) bool { return true }
		require.NoError(r, nodes[0].Multicast([]byte("from elsewhere")))
		nodes[0].tap.withhold = nil
		p := nodes[0].tap.withheld[0]
		p.from = mallory.Addr()
		nodes[1].tap.inject(p)
		pause(time.Second)
		require.Empty(r, nodes[1].take())
		p.from = nodes[0].Addr()
		nodes[1].tap.inject(p)
		require.Equal(r, []string{"datagram from elsewhere"}, words(nodes[1].take()))
	})
}
