package fault

import (
	"net/netip"

	"github.com/seed-885536be/p2p/transport"
)

// Way is a direction in which a peer is cut off.
type Way uint8

// The ways. Both is From and To.
const (
	From Way = 1 << iota // what the peer sends does not arrive
	To                   // what is sent to the peer does not arrive
	Both = From | To
)

// Cut cuts off peers, known by their endpoints, in both directions.
func (t *Transport) Cut(peers ...netip.AddrPort) { t.CutOneWay(Both, peers...) }

// CutOneWay cuts off peers in one direction. It adds to the cuts there are.
func (t *Transport) CutOneWay(w Way, peers ...netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range peers {
		t.cuts[unmap(a)] |= w & Both
	}
	t.recut()
}

// CutFunc cuts off those peers for whose endpoints f says so, besides those
// named by Cut and CutOneWay; 0 means that a peer is not cut off. It replaces an
// earlier f; nil cuts off nobody. f is called often, also for endpoints that
// nobody heard of before; it must not block, nor call the Transport, and its
// answers must not change: give another f instead.
func (t *Transport) CutFunc(f func(peer netip.AddrPort) Way) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cutFunc = f
	t.recut()
}

// Heal ends all cuts. The Faults stay.
func (t *Transport) Heal() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.cuts)
	t.cutFunc = nil
	t.recut()
}

// cutting tells whether there are cuts.
func (t *Transport) cutting() bool { return t.cutFunc != nil || len(t.cuts) > 0 }

// way tells how a peer is cut off.
func (t *Transport) way(peer netip.AddrPort) Way {
	w := t.cuts[peer]
	if t.cutFunc != nil {
		w |= t.cutFunc(peer) & Both
	}
	return w
}

// recut makes the cuts felt.
func (t *Transport) recut() {
	if t.closed {
		return
	}
	t.busy.Store(true)
	for _, p := range t.peers {
		p.turn(t.way(p.addr))
	}
	t.settle()
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// usable returns ErrClosed unless the transport is open.
func (t *Transport) usable() error {
	if !t.open || t.closed {
		return transport.ErrClosed
	}
	return nil
}
