package fault

import (
	"bytes"
	"errors"
	"net/netip"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// Bounds on what is remembered.
const (
	maxLate  = 1 << 12 // datagrams
	maxHeard = 1 << 10 // endpoints
)

// Multicast implements transport.Transport.
func (t *Transport) Multicast(frame []byte) error {
	if !t.busy.Load() {
		return t.inner.Multicast(frame)
	}
	t.mu.Lock()
	if !t.cutting() || t.usable() != nil {
		t.mu.Unlock()
		return t.inner.Multicast(frame)
	}
	var to []netip.AddrPort
	for a := range t.heard {
		if t.way(a)&To == 0 {
			to = append(to, a)
		} else {
			t.dropped.Add(1)
		}
	}
	t.mu.Unlock()
	if err := tooLarge(len(frame), transport.MaxDatagram, t.inner.Multicast); err != nil {
		return err
	}
	for _, a := range to {
		_ = t.inner.Unicast(a, frame) // one that cannot be sent is one that is lost
	}
	return nil
}

// Unicast implements transport.Transport.
func (t *Transport) Unicast(to netip.AddrPort, frame []byte) error {
	send := func(frame []byte) error { return t.inner.Unicast(to, frame) }
	if !t.lost(to) {
		return send(frame)
	}
	return tooLarge(len(frame), transport.MaxDatagram, send)
}

// Refuse implements transport.Refuser. It does nothing if the wrapped transport
// is none.
func (t *Transport) Refuse(to netip.AddrPort, err error) {
	if r, ok := t.inner.(transport.Refuser); ok && !t.lost(to) {
		r.Refuse(to, err)
	}
}

// lost tells whether a datagram to an endpoint is lost because of a cut.
func (t *Transport) lost(to netip.AddrPort) bool {
	if !t.busy.Load() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.usable() != nil || t.way(unmap(to))&To == 0 {
		return false
	}
	t.dropped.Add(1)
	return true
}

// tooLarge returns the error that the wrapped transport has for a frame, whose
// method send is. least is the limit that it keeps in any case.
func tooLarge(size, least int, send func([]byte) error) error {
	if size <= least {
		return nil
	}
	// This is over any limit, so nothing is sent.
	err := send(make([]byte, least+transport.Overhead+1))
	var e *transport.TooLargeError
	if !errors.As(err, &e) {
		return err
	}
	if size <= e.Limit {
		return nil
	}
	return &transport.TooLargeError{Size: size, Limit: e.Limit}
}

// datagram takes an event that belongs to no stream.
func (t *Transport) datagram(e transport.Event) {
	t.hear(e.Peer)
	if !t.busy.Load() {
		t.handler.Handle(e)
		return
	}
	t.mu.Lock()
	if t.closed || t.way(e.Peer)&From != 0 {
		t.mu.Unlock()
		t.dropped.Add(1)
		return
	}
	if t.faults == (Faults{}) {
		t.mu.Unlock()
		t.handler.Handle(e)
		return
	}
	plan := t.weather.Plan(netip.AddrPort{}, netip.AddrPort{}, false)
	if len(plan) == 0 {
		t.dropped.Add(1)
	}
	now := time.Now()
	var prompt []transport.Event
	for i, d := range plan {
		c := e
		if i > 0 {
			c.Frame = bytes.Clone(e.Frame)
		}
		switch {
		case d == 0:
			prompt = append(prompt, c)
		case len(t.datagrams.items) >= maxLate:
			t.dropped.Add(1)
		default:
			t.datagrams.put(now.Add(d), c)
		}
	}
	t.datagrams.start()
	t.mu.Unlock()
	for _, c := range prompt {
		t.handler.Handle(c)
	}
}

// hear notes that an endpoint can be sent to.
func (t *Transport) hear(from netip.AddrPort) {
	t.mu.RLock()
	_, heard := t.heard[from]
	t.mu.RUnlock()
	if heard {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for a := range t.heard {
		if len(t.heard) < maxHeard {
			break
		}
		delete(t.heard, a) // any: who is still there is soon heard again
	}
	t.heard[from] = struct{}{}
}
