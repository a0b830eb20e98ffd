package lan

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// ping follows the header of a packet that wants an answer, and pong that of
// the answer.
//
//	offset  length  field
//	0       1       flags; in a pong what became of the connection, see tried
//	1       8       token, which the pong repeats
//	9       18·n    endpoints that the sender knows, as address and port
//
// A ping may end in endpoints of zeros: they make room. A pong is never longer
// than its ping, so that whoever forges the source of a ping gains nothing.
type ping struct {
	flags byte
	token [8]byte
	known []netip.AddrPort
	room  int // endpoints of zeros
}

// The flags of a ping.
const (
	pingGroup   = 1 << iota // answer to the group, not to me
	pingConnect             // open a connection to me first, and tell what became of it
	pingJoin                // I do not hear the group: send me what you send to it
	pingFlags   = pingGroup | pingConnect | pingJoin
)

// tried is, in a pong, what became of the connection that was asked for.
type tried byte

const (
	notTried tried = iota
	triedOpen
	triedRefused
	triedTimeout
)

const (
	pingSize     = 9
	endpointSize = 18
	maxKnown     = 32 // in one packet
)

func (p ping) append(b []byte) []byte {
	b = append(append(b, p.flags), p.token[:]...)
	for _, e := range p.known {
		ip := e.Addr().As16()
		b = append(b, ip[:]...)
		b = binary.BigEndian.AppendUint16(b, e.Port())
	}
	return append(b, make([]byte, p.room*endpointSize)...)
}

// parsePing reads what follows the header of a ping or a pong.
func parsePing(b []byte, maxFlags byte) (ping, error) {
	if len(b) < pingSize || len(b) > pingSize+maxKnown*endpointSize || (len(b)-pingSize)%endpointSize != 0 || b[0] > maxFlags {
		return ping{}, errMalformed
	}
	p := ping{flags: b[0], token: [8]byte(b[1:9])}
	for b = b[pingSize:]; len(b) > 0; b = b[endpointSize:] {
		e := netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[:16])).Unmap(), binary.BigEndian.Uint16(b[16:]))
		switch {
		case [endpointSize]byte(b[:endpointSize]) == [endpointSize]byte{}:
			p.room++
		case p.room > 0 || e.Port() == 0 || e.Addr().IsUnspecified() || e.Addr().IsMulticast():
			return ping{}, errMalformed
		default:
			p.known = append(p.known, e)
		}
	}
	return p, nil
}

// pinged answers a ping, at a bounded rate for each source and in all.
func (t *Transport) pinged(h header, p ping, from netip.AddrPort) {
	if !t.answers.allow(from.Addr(), time.Now()) {
		return
	}
	if p.flags&pingJoin != 0 {
		t.seeds.met(from, time.Now())
		t.seeds.learn(t, p.known)
	}
	if p.flags&pingConnect == 0 {
		t.pong(p, from, notTried)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		to := netip.AddrPortFrom(from.Addr(), h.endpoint.Port())
		t.wg.Go(func() { t.pong(p, from, t.try(to)) })
	}
}

// pong sends an answer.
func (t *Transport) pong(p ping, to netip.AddrPort, became tried) {
	a := ping{flags: byte(became), token: p.token}
	if p.flags&pingGroup != 0 {
		_ = t.toGroup(a.append(t.header(kindPong, 0).append(nil)))
		return
	}
	if p.flags&pingJoin != 0 {
		a.known = t.roster.tell(to, min(len(p.known)+p.room, maxKnown))
	}
	_ = t.write(to, a.append(t.header(kindPong, 0).append(nil)))
}

// equalEndpoint tells whether two endpoints are the same but for their zone.
func equalEndpoint(a, b netip.AddrPort) bool { return plain(a) == plain(b) }

// plain is an endpoint as other hosts can name it: without the zone, and as an
// IPv4 one if it is.
func plain(e netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(e.Addr().Unmap().WithZone(""), e.Port())
}

// addEndpoint appends an endpoint that is not there yet.
func addEndpoint(list []netip.AddrPort, e netip.AddrPort) []netip.AddrPort {
	if slices.Contains(list, e) {
		return list
	}
	return append(list, e)
}
