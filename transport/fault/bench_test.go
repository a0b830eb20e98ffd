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
