package seal

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
)

// sink is a transport on which nothing arrives; what is sent is kept.
type sink struct {
	handler transport.Handler
	sent    [][]byte
}

func (s *sink) Open(h transport.Handler) error           { s.handler = h; return nil }
func (*sink) Addr() netip.AddrPort                       { return netip.MustParseAddrPort("10.0.0.1:1") }
func (*sink) Group() string                              { return "sink" }
func (s *sink) Multicast(b []byte) error                 { s.sent = append(s.sent, b); return nil }
func (s *sink) Unicast(_ netip.AddrPort, b []byte) error { return s.Multicast(b) }
func (s *sink) Stream(_ netip.AddrPort, b []byte) error  { return s.Multicast(b) }
func (*sink) Hangup(netip.AddrPort)                      {}
func (*sink) Close() error                               { return nil }
func (s *sink) give(k transport.Kind, b []byte) {
	s.handler.Handle(transport.Event{Kind: k, Peer: far, Frame: b})
}
func ignore(transport.Event) {}
func opened(t testing.TB, k Key) (n *Transport, inner *sink) {
	inner = &sink{}
	n, err := New(inner, Config{Key: k})
	require.NoError(t, err)
	require.NoError(t, n.Open(transport.HandlerFunc(ignore)))
	t.Cleanup(func() { _ = n.Close() })
	return n, inner
}

// far is the endpoint of whoever sends to a sink.
var far = netip.MustParseAddrPort("10.0.0.2:2")

// seeds are some frames to begin with, of all kinds.
func seeds(t testing.TB, k Key) (frames [][]byte) {
	a, toA := opened(t, k)
	_, toB := opened(t, k)
	require.NoError(t, a.Multicast([]byte("hello")))
	require.NoError(t, a.Stream(far, []byte("hello")))
	for range 4 {
		for _, x := range []struct{ from, to *sink }{{toA, toB}, {toB, toA}} {
			for _, f := range x.from.sent {
				frames = append(frames, bytes.Clone(f))
				kind := transport.Datagram
				if f[0] >= kindHello {
					kind = transport.Frame
				}
				x.to.give(kind, bytes.Clone(f))
			}
			x.from.sent = nil
		}
	}
	return append(frames, (&transport.AuthError{}).Notice())
}

var fuzzKey = Key{secret: "0123456789abcdef"}

// FuzzOutsider gives a node what an outsider can: anything, by both ways.
func FuzzOutsider(f *testing.F) {
	for _, s := range seeds(f, fuzzKey) {
		f.Add(s)
	}
	n, inner := opened(f, fuzzKey)
	n.handler = transport.HandlerFunc(func(e transport.Event) {
		if e.Kind != transport.Stranger && e.Kind != transport.Rejected {
			f.Errorf("an outsider caused %v", e.Kind)
		}
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		inner.give(transport.Datagram, bytes.Clone(b))
		inner.give(transport.Frame, bytes.Clone(b))
		require.LessOrEqual(t, len(n.peers), 1)
		require.LessOrEqual(t, n.guests.bytes, maxHeldBytes)
		inner.sent = nil
	})
}

// FuzzMember gives a node what only a member can: anything, well sealed. The
// first byte chooses what it is, the rest is what was encrypted.
func FuzzMember(f *testing.F) {
	for kind := range byte(8) {
		f.Add(append([]byte{kind}, "hello"...))
		f.Add(append([]byte{kind}, make([]byte, 8+identitySize)...))
	}
	n, inner := opened(f, fuzzKey)
	m, own := opened(f, fuzzKey)
	g := n.ring.Load().use
	exchange := func() {
		for range 3 {
			for _, x := range []struct{ from, to *sink }{{inner, own}, {own, inner}} {
				sent := x.from.sent
				x.from.sent = nil
				for _, b := range sent {
					kind := transport.Datagram
					if b[0] >= kindHello {
						kind = transport.Frame
					}
					x.to.give(kind, bytes.Clone(b))
				}
			}
		}
		inner.sent, own.sent = nil, nil
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		choice, plain := in[0]%8, in[1:]
		switch choice {
		case 0, 1, 2, 3: // all kinds of datagrams
			inner.give(transport.Datagram, m.sender.seal(kindDatagram+choice, plain))
		case 4: // a hello with any payload
			own, err := newEphemeral()
			require.NoError(t, err)
			_, msg := initiate(own, g.psk, prologue(n.group, g.id), plain)
			inner.give(transport.Frame, append(append([]byte{kindHello}, g.id[:]...), msg...))
		case 5: // an answer with any payload
			fresh, sent := opened(t, fuzzKey)
			require.NoError(t, fresh.Stream(far, nil))
			h, _, err := respond(g.psk, prologue(n.group, g.id), sent.sent[0][5:])
			require.NoError(t, err)
			own, err := newEphemeral()
			require.NoError(t, err)
			msg, err := h.answer(own, func([]byte) []byte { return plain })
			require.NoError(t, err)
			sent.give(transport.Frame, append(append([]byte{kindAnswer}, sent.sent[0][5:5+sessionSize]...), msg...))
		case 6, 7: // a first, or a second, frame with any content
			own, err := newEphemeral()
			require.NoError(t, err)
			h, msg := initiate(own, g.psk, prologue(n.group, g.id), m.self[:])
			o := &outbound{key: g, id: sessionID(msg[:sessionSize])}
			inner.sent = nil
			inner.give(transport.Frame, append(append([]byte{kindHello}, g.id[:]...), msg...))
			answer := inner.sent[len(inner.sent)-1]
			_, _, err = h.finish(answer[numberAt:])
			require.NoError(t, err)
			if o.aead = h.writer(); choice == 7 {
				inner.give(transport.Frame, o.seal(nil))
			}
			inner.give(transport.Frame, o.seal(plain))
		}
		exchange()
		require.LessOrEqual(t, len(n.peers), 1)
		require.LessOrEqual(t, len(n.guests.known), maxSenders)
	})
}
