package fault

import (
	"bytes"
	"net/netip"

	"github.com/seed-885536be/p2p/transport"
)

// outgoing is a frame to be sent: its bytes, in parts, or what makes them.
type outgoing struct {
	parts [][]byte
	later transport.Encoder
}

func (o outgoing) size() (n int) {
	if o.later != nil {
		return o.later.Size()
	}
	for _, p := range o.parts {
		n += len(p)
	}
	return n
}

func (o outgoing) cost() int { return o.size() + frameCost }

// pass gives a frame to the wrapped transport.
func (t *Transport) pass(to netip.AddrPort, o outgoing) error {
	if o.later != nil {
		return t.later.StreamLater(to, o.later)
	}
	if len(o.parts) == 1 {
		return t.inner.Stream(to, o.parts[0])
	}
	if g, ok := t.inner.(transport.Gatherer); ok {
		return g.StreamParts(to, o.parts)
	}
	return t.inner.Stream(to, bytes.Join(o.parts, nil))
}
