package core

import (
	"crypto/ed25519"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

func testSigner(seed byte, group string) (*signer, membership.Key) {
	key := ed25519.NewKeyFromSeed(append(make([]byte, 31), seed))
	return newSigner(key, group), keyOf(key.Public().(ed25519.PublicKey))
}

// newTestCore is a node that has not started.
func newTestCore(t *testing.T, seed byte) *Core {
	s, key := testSigner(seed, "group")
	g, err := NewGroup(GroupConfig{Self: membership.Member{Key: key, Inc: 1, Addr: testAddr, Name: "n"}, Rand: rand.New(rand.NewPCG(1, 1))})
	require.NoError(t, err)
	log, err := causal.NewMemory(causal.Config{Key: s.key, Group: "group", Rand: rand.NewChaCha8([32]byte{seed})})
	require.NoError(t, err)
	return New(g, log, s.key, "group")
}

func TestFramesAreSigned(t *testing.T) {
	s, key := testSigner(1, "group")
	b := s.sign([]byte{1, 2, 3})
	frame, err := cut(b)
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2, 3}, frame)
	require.NoError(t, s.verify(b, key))
	require.NoError(t, s.verify(b, key), "again, by memory")
	require.ErrorIs(t, s.verify(b, membership.Key{9}), errForged)

	other, _ := testSigner(1, "another group")
	require.ErrorIs(t, other.verify(b, key), errForged, "a signature counts in its group only")
	for i := range len(b) * 8 {
		flipped := append([]byte{}, b...)
		flipped[i/8] ^= 1 << (i % 8)
		require.ErrorIs(t, s.verify(flipped, key), errForged, "bit %d", i)
	}
	for n := range b {
		require.ErrorIs(t, s.verify(b[:n], key), errForged)
	}
}

// What is remembered is bounded, and forgotten frames are verified anew.
func TestVerifiedFramesAreForgotten(t *testing.T) {
	s, key := testSigner(1, "group")
	for i := range 3 * recentFrames {
		require.NoError(t, s.verify(s.sign([]byte{byte(i), byte(i >> 8)}), key))
		require.LessOrEqual(t, len(s.known), recentFrames)
	}
	require.Len(t, s.known, recentFrames)
	require.NoError(t, s.verify(s.sign([]byte{0, 0}), key))
}

// A JOIN says nothing to a member that does not coordinate, so it costs it no
// signature; in a newcomer, and in a coordinator, a forged one is found out.
func TestJoinsAreVerifiedWhereTheyMatter(t *testing.T) {
	eve, _ := testSigner(2, "group")
	_, ada := testSigner(3, "group")
	forged := transport.Event{Kind: transport.Datagram, Peer: testAddr, Frame: eve.sign(encodeMembership(
		membership.Header{From: ada, Inc: 5}, membership.Join{Addr: testAddr, Name: "ada"}, nil))}
	c := newTestCore(t, 1)
	now := time.Unix(1000, 0)
	c.Step(now, membership.Start{})
	c.Handle(now, forged)
	for len(c.Group().View().Members) == 0 {
		now = c.Deadline()
		c.Tick(now)
	}
	c.Handle(now, forged)
	drops := map[string]uint64{}
	c.Drops(drops)
	require.Equal(t, map[string]uint64{"forged": 2}, drops)
	require.Len(t, c.Group().View().Members, 1)
}

// A member cannot speak as another, neither by datagram nor by stream.
func TestNobodySpeaksForAnother(t *testing.T) {
	c := newTestCore(t, 1)
	now := time.Unix(1000, 0)
	c.Step(now, membership.Start{})
	_ = c.Ready()
	eve, _ := testSigner(2, "group")
	_, ada := testSigner(3, "group")
	head := membership.Header{From: ada, Inc: 5, View: testView}

	forged := eve.sign(encodeMembership(head, membership.Heartbeat{Class: 3, Size: 9}, nil))
	c.Handle(now, transport.Event{Kind: transport.Datagram, Peer: testAddr, Frame: forged})
	c.Handle(now, transport.Event{Kind: transport.Frame, Peer: testAddr, Frame: forged})
	c.Handle(now, transport.Event{Kind: transport.Datagram, Peer: testAddr, Frame: encodeLog(sender{From: ada, Inc: 5}, testBeat)})
	drops := map[string]uint64{}
	c.Drops(drops)
	require.Equal(t, map[string]uint64{"forged": 3}, drops)
	require.Empty(t, c.Ready())

	honest, _ := testSigner(3, "group")
	c.Handle(now, transport.Event{Kind: transport.Datagram, Peer: testAddr, Frame: honest.sign(encodeMembership(head, membership.Heartbeat{Class: 3, Size: 9}, nil))})
	require.NotEmpty(t, c.Ready().Notes, "the same words from whom they claim to be")
}

// Messages of the log are not signed. A transport that knows whose key a peer
// has proven says who they are from.
func TestLogMessagesAreFromWhoProvedItsKey(t *testing.T) {
	c := newTestCore(t, 1)
	eve, eveKey := testSigner(2, "test")
	bob, bobKey := testSigner(3, "test")
	pub := func(s *signer) []byte { return s.key.Public().(ed25519.PublicKey) }
	now := time.Unix(1, 0)
	beat := func(from membership.Key) []byte {
		return encodeLog(sender{From: from, Inc: 1}, c.log.Beat(now))
	}
	for _, tc := range []struct {
		name   string
		from   membership.Key
		key    []byte
		forged uint64
	}{
		{"as itself", bobKey, pub(bob), 0},
		{"as another", bobKey, pub(eve), 1},
		{"where nothing is proven", eveKey, nil, 1},
	} {
		c.Handle(now, transport.Event{Kind: transport.Frame, Peer: testAddr, Frame: beat(tc.from), Key: tc.key})
		drops := map[string]uint64{}
		c.Drops(drops)
		require.Equal(t, tc.forged, drops["forged"], tc.name)
	}
}
