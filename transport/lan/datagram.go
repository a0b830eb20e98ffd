package lan

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// sender writes datagrams. Which interface a multicast leaves through is a
// property of the socket, hence the lock; and nothing is written in batches, for
// there are never two datagrams for one way at a time.
type sender struct {
	mu      sync.Mutex
	seq     uint32
	outlets []outlet
	spoke   time.Time // to the group
	buf     [headerSize + maxDatagram]byte
}

// silent is how long nothing was sent to the group.
func (s *sender) silent(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(s.spoke)
}

// datagram makes the bytes of the next one, in buf.
func (t *Transport) datagram(frame []byte) []byte {
	s := &t.sender
	s.seq++
	b := t.header(kindDatagram, s.seq).append(s.buf[:0])
	return append(b, frame...)
}

// header returns a header of this transport.
func (t *Transport) header(kind byte, seq uint32) header {
	return header{
		kind: kind, min: minVersion, max: maxVersion,
		label: t.label, instance: t.instance, seq: seq, endpoint: t.Addr(),
	}
}

// Multicast implements transport.Transport. The datagram leaves through every
// interface that is used, and goes to the nodes that are reached by unicast; an
// error other than for its size says that it could leave by no way.
func (t *Transport) Multicast(frame []byte) error {
	if err := t.usable(); err != nil {
		return err
	}
	if len(frame) > maxDatagram {
		return &transport.TooLargeError{Size: len(frame), Limit: maxDatagram}
	}
	t.sender.mu.Lock()
	defer t.sender.mu.Unlock()
	b := t.datagram(frame)
	err := t.multicast(b)
	for _, to := range t.seeds.list() {
		if t.write(to, b) == nil {
			err = nil
		}
	}
	return err
}

// toGroup sends b to the group by multicast.
func (t *Transport) toGroup(b []byte) error {
	t.sender.mu.Lock()
	defer t.sender.mu.Unlock()
	return t.multicast(b)
}

// multicast sends b through every interface, under the lock.
func (t *Transport) multicast(b []byte) error {
	s := &t.sender
	s.spoke = time.Now()
	s.outlets = t.networks.outlets(s.outlets[:0])
	failed := errNoInterface
	sent := false
	for _, o := range s.outlets {
		for _, f := range t.families {
			if f.six != o.six {
				continue
			}
			err := f.through(o.index, b)
			t.networks.sent(o, err)
			if err == nil {
				sent = true
			} else {
				failed = err
			}
		}
	}
	if sent {
		return nil
	}
	return t.sendError("multicast", failed)
}

// Unicast implements transport.Transport.
func (t *Transport) Unicast(to netip.AddrPort, frame []byte) error {
	if err := t.usable(); err != nil {
		return err
	}
	if len(frame) > maxDatagram {
		return &transport.TooLargeError{Size: len(frame), Limit: maxDatagram}
	}
	t.sender.mu.Lock()
	defer t.sender.mu.Unlock()
	to = plain(to)
	if err := t.write(t.roster.routeTo(to), t.datagram(frame)); err != nil {
		t.unreached(to, err, time.Now())
		return t.sendError("send to "+to.String(), err)
	}
	return nil
}

// errFamily is what becomes of a packet to a family that the host, or
// Config.Listen, does not have.
var errFamily = errors.New("no socket of that family")

// write sends b to an address. One that is link-local and says not on which
// link is tried on all.
func (t *Transport) write(to netip.AddrPort, b []byte) error {
	failed := errFamily
	for _, f := range t.families {
		if f.six != to.Addr().Is6() {
			continue
		}
		for _, at := range t.zoned(to) {
			if _, failed = f.udp.WriteToUDPAddrPort(b, at); failed != nil && len(t.zoned(to)) == 1 {
				return failed
			}
		}
	}
	return failed
}

// zoned returns an address with every zone that it may be in.
func (t *Transport) zoned(to netip.AddrPort) []netip.AddrPort {
	a := to.Addr()
	if !a.Is6() || !a.IsLinkLocalUnicast() || a.Zone() != "" {
		return []netip.AddrPort{to}
	}
	var all []netip.AddrPort
	for _, zone := range t.networks.zones(a) {
		all = append(all, netip.AddrPortFrom(a.WithZone(zone), to.Port()))
	}
	return all
}

// sendError is the error for a datagram that could not leave.
func (t *Transport) sendError(op string, err error) error {
	if errors.Is(err, net.ErrClosed) {
		return transport.ErrClosed
	}
	return &transport.NetworkError{Op: op, Err: err}
}

// way is how a packet came: 0 is the node's own endpoint, and above that is
// the index of an interface by which it came to the group, with the family.
type way struct {
	index     int
	six       bool
	multicast bool
}

// bit is the way's place in a set. Ways that share one only blur a count.
func (w way) bit() uint64 {
	n := w.index << 2
	if w.six {
		n |= 1
	}
	if w.multicast {
		n |= 2
	}
	return 1 << (n & 63)
}

// receive hands over the datagrams that arrive at a socket.
func (t *Transport) receive(f *family, c *net.UDPConn) {
	r := newReader(c)
	w := way{six: f.six, multicast: c == f.multicast}
	for {
		err := r.read(func(b, oob []byte, from netip.AddrPort) {
			if w.multicast {
				w.index = f.arrivedAt(oob)
			}
			t.arrived(b, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), w)
		})
		switch {
		case t.ctx.Err() != nil:
			return
		case err != nil:
			// Some systems report here what became of packets sent before. If
			// it is something that lasts, it must not take the processor.
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(time.Millisecond):
			}
		}
	}
}

// arrived takes one packet.
func (t *Transport) arrived(b []byte, from netip.AddrPort, w way) {
	if len(b) > headerSize+maxDatagram {
		t.drops.count(dropOversize)
		return
	}
	if len(b) > 3 && b[3] == kindRefusal {
		t.rejected(b, from)
		return
	}
	h, err := parseHeader(b, datagramKinds, t.label)
	body := b[min(len(b), headerSize):]
	var p ping
	if err == nil {
		p, err = parseBody(h.kind, body)
	}
	if err != nil {
		t.drops.refused(err)
		t.strange(b, from, err)
		return
	}
	now := time.Now()
	if h.instance == t.instance {
		t.echo(h, p, from, w, now)
		return
	}
	local := from.Addr().IsLoopback() || from.Addr().IsUnspecified() ||
		t.networks.own(from.Addr()) && t.networks.own(h.endpoint.Addr())
	peer := t.roster.hear(h, from, local, now)
	if w.multicast {
		v := voiceRemote
		if local {
			v = voiceHere
		}
		t.networks.heard(w.index, v, from.Addr(), now)
	}
	t.probe.heard(h, p, peer, local, w)
	switch h.kind {
	case kindDatagram:
		switch t.recent.add(h.instance, h.seq, w) {
		case again:
			t.drops.count(dropDuplicate)
		case fresh:
			frame := make([]byte, len(body))
			copy(frame, body)
			t.handler.Handle(transport.Event{Kind: transport.Datagram, Peer: peer, Frame: frame})
			if w.multicast {
				t.chores(now, 0)
			}
		}
	case kindPing:
		t.pinged(h, p, from)
	case kindPong:
		if t.seeds.answered(h, p.token, from, now) {
			t.seeds.learn(t, p.known)
		}
	}
}

// The kinds that a datagram can be, besides a refusal.
const datagramKinds = string(kindDatagram) + string(kindBeacon) + string(kindPing) + string(kindPong)

// parseBody checks what follows a header, and reads it if it is a ping or pong.
func parseBody(kind byte, b []byte) (ping, error) {
	switch {
	case kind == kindPing:
		return parsePing(b, pingFlags)
	case kind == kindPong:
		return parsePing(b, byte(triedTimeout))
	case kind == kindBeacon && len(b) > 0:
		return ping{}, errMalformed
	}
	return ping{}, nil
}

// echo takes an own packet, which says that multicast works on this host, or
// that a seed is this node itself.
func (t *Transport) echo(h header, p ping, from netip.AddrPort, w way, now time.Time) {
	switch {
	case w.multicast:
		t.networks.heard(w.index, voiceOwn, from.Addr(), now)
		if h.kind == kindPing {
			t.probe.echo(p, w)
		}
	case h.kind == kindPing:
		t.seeds.isSelf(p.token)
	}
}

// remembered is how many datagrams are known again.
const remembered = 4096

// recent remembers the last datagrams of all senders together, so that a forged
// number can do no more than keep out one datagram.
type recent struct {
	mu   sync.Mutex
	seen map[packetID]uint64 // the ways it came
	ring []packetID          // those seen, the oldest at next once it is full
	next int
}

type packetID struct {
	instance uint64
	seq      uint32
}

// novelty is whether a datagram came before.
type novelty int

const (
	fresh  novelty = iota // no
	copied                // yes, by another way, as it should: its sender uses them all
	again                 // yes, by the same way
)

// add notes a datagram.
func (r *recent) add(instance uint64, seq uint32, w way) novelty {
	id := packetID{instance, seq}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = make(map[packetID]uint64, remembered)
	}
	if ways, old := r.seen[id]; old {
		if ways&w.bit() != 0 {
			return again
		}
		r.seen[id] = ways | w.bit()
		return copied
	}
	r.seen[id] = w.bit()
	if len(r.ring) < remembered {
		r.ring = append(r.ring, id)
		return fresh
	}
	delete(r.seen, r.ring[r.next])
	r.ring[r.next] = id
	r.next = (r.next + 1) % remembered
	return fresh
}
