package fault_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/fault"
)

// still is a transport without a network: what is sent to it arrives at once.
type still struct {
	transport.Transport
	h transport.Handler
}

func (s *still) Open(h transport.Handler) error { s.h = h; return nil }
func (s *still) Close() error                   { return nil }

func (s *still) Multicast(f []byte) error {
	s.h.Handle(transport.Event{Kind: transport.Datagram, Peer: nowhere, Frame: f})
	return nil
}

func (s *still) Stream(_ netip.AddrPort, f []byte) error {
	s.h.Handle(transport.Event{Kind: transport.Frame, Peer: nowhere, Frame: f})
	return nil
}

var nowhere = netip.MustParseAddrPort("192.0.2.1:1")

// BenchmarkHandOn measures what a wrapper costs that has nothing to do, for a
// frame on its way out and in.
func BenchmarkHandOn(b *testing.B) {
	for _, wrapped := range []bool{false, true} {
		name := map[bool]string{false: "bare", true: "wrapped"}[wrapped]
		var t transport.Transport = &still{}
		if wrapped {
			t = fault.New(t, fault.Config{})
		}
		require.NoError(b, t.Open(transport.HandlerFunc(func(transport.Event) {})))
		b.Run("datagram/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = t.Multicast(nil)
			}
		})
		b.Run("frame/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = t.Stream(nowhere, nil)
			}
		})
		require.NoError(b, t.Close())
	}
}

// rich is a transport with all that one may implement besides.
type rich struct {
	still
	refused []netip.AddrPort
}

func (r *rich) Refuse(to netip.AddrPort, _ error) { r.refused = append(r.refused, to) }
func (r *rich) Warnings() []transport.Warning     { return []transport.Warning{{Code: "rain"}} }
func (r *rich) Interfaces() []transport.Interface { return []transport.Interface{{Name: "x0"}} }
func (r *rich) Drops() map[string]uint64          { return map[string]uint64{"y": 1} }

// TestHandsOnWhatElseThereIs checks the optional interfaces, with a transport
// that has them and with one that has not.
func TestHandsOnWhatElseThereIs(t *testing.T) {
	r := &rich{}
	f := fault.New(r, fault.Config{})
	require.NoError(t, f.Open(transport.HandlerFunc(func(transport.Event) {})))
	require.Equal(t, r.Warnings(), f.Warnings())
	require.Equal(t, r.Interfaces(), f.Interfaces())
	require.Equal(t, r.Drops(), f.Drops())
	f.Refuse(nowhere, &transport.AuthError{})
	f.Cut(nowhere)
	f.Refuse(nowhere, &transport.AuthError{})
	require.Equal(t, []netip.AddrPort{nowhere}, r.refused, "what is cut off is not told anything")
	require.Equal(t, map[string]uint64{"y": 1, "fault": 1}, f.Drops())
	require.NoError(t, f.Close())

	f = fault.New(&still{}, fault.Config{})
	require.NoError(t, f.Open(transport.HandlerFunc(func(transport.Event) {})))
	f.Refuse(nowhere, &transport.AuthError{})
	require.Empty(t, f.Warnings())
	require.Empty(t, f.Interfaces())
	require.NotNil(t, f.Drops())
	require.NoError(t, f.Close())
}
