package lan

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/seed-885536be/p2p/transport"
)

// receiveBuffer is what the kernel keeps of datagrams at most, in bytes, if it
// allows that much.
const receiveBuffer = 1 << 20

// listenGroup opens a socket for what is sent to a group. Any number of them
// can be open on a host.
func listenGroup(group netip.AddrPort) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: shareGroupPort}
	c, err := lc.ListenPacket(context.Background(), "udp4", groupListenAddr(group))
	if err != nil {
		return nil, err
	}
	u := c.(*net.UDPConn)
	_ = u.SetReadBuffer(receiveBuffer) // less is not an error
	return u, nil
}

// sender writes datagrams. Which interface a multicast leaves through is a
// property of the socket, hence the lock.
type sender struct {
	mu      sync.Mutex
	conn    *net.UDPConn
	packet  *ipv4.PacketConn
	group   netip.AddrPort
	seq     uint32
	current int // index of the interface that is set
	outlets []int
	buf     [headerSize + maxDatagram]byte
}

func (s *sender) open(c *net.UDPConn, group netip.AddrPort, ttl int) error {
	s.conn, s.packet, s.group = c, ipv4.NewPacketConn(c), group
	if err := s.packet.SetMulticastTTL(ttl); err != nil {
		return err
	}
	_ = c.SetReadBuffer(receiveBuffer)
	return s.packet.SetMulticastLoopback(true)
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
// interface that is used; an error other than for its size says that it could
// leave through none.
func (t *Transport) Multicast(frame []byte) error {
	if err := t.usable(); err != nil {
		return err
	}
	if len(frame) > maxDatagram {
		return &transport.TooLargeError{Size: len(frame), Limit: maxDatagram}
	}
	s := &t.sender
	s.mu.Lock()
	defer s.mu.Unlock()
	b := t.datagram(frame)
	s.outlets = t.networks.outlets(s.outlets[:0])
	failed := errNoInterface
	sent := false
	for _, index := range s.outlets {
		err := s.through(index, b)
		t.networks.sent(index, err)
		if err == nil {
			sent = true
		} else {
			failed = err
		}
	}
	if sent {
		return nil
	}
	return t.sendError("multicast", failed)
}

// through sends b to the group through one interface.
func (s *sender) through(index int, b []byte) error {
	if s.current != index {
		s.current = 0
		if err := s.packet.SetMulticastInterface(&net.Interface{Index: index}); err != nil {
			return err
		}
		s.current = index
	}
	_, err := s.conn.WriteToUDPAddrPort(b, s.group)
	return err
}

// Unicast implements transport.Transport.
func (t *Transport) Unicast(to netip.AddrPort, frame []byte) error {
	if err := t.usable(); err != nil {
		return err
	}
	if len(frame) > maxDatagram {
		return &transport.TooLargeError{Size: len(frame), Limit: maxDatagram}
	}
	s := &t.sender
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.conn.WriteToUDPAddrPort(t.datagram(frame), to); err != nil {
		return t.sendError("send to "+to.String(), err)
	}
	return nil
}

// sendError is the error for a datagram that could not leave.
func (t *Transport) sendError(op string, err error) error {
	if errors.Is(err, net.ErrClosed) {
		return transport.ErrClosed
	}
	return &transport.NetworkError{Op: op, Err: err}
}

// receive hands over the datagrams that arrive at a socket.
func (t *Transport) receive(c *net.UDPConn) {
	buf := make([]byte, headerSize+maxDatagram+1)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		switch {
		case t.ctx.Err() != nil:
			return
		case isMessageSize(err):
			n = len(buf)
		case err != nil:
			// Some systems report here what became of packets sent before. If
			// it is something that lasts, it must not take the processor.
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(time.Millisecond):
			}
			continue
		}
		t.arrived(buf[:n], from)
	}
}

// arrived takes one datagram.
func (t *Transport) arrived(b []byte, from netip.AddrPort) {
	if len(b) > headerSize+maxDatagram {
		t.drops.count(dropOversize)
		return
	}
	h, err := parseHeader(b, kindDatagram, t.label)
	if err != nil {
		t.drops.refused(err)
		return
	}
	if h.instance == t.instance {
		return
	}
	if !t.recent.add(h.instance, h.seq) {
		t.drops.count(dropDuplicate)
		return
	}
	frame := make([]byte, len(b)-headerSize)
	copy(frame, b[headerSize:])
	t.handler.Handle(transport.Event{Kind: transport.Datagram, Peer: h.peer(from.Addr(), from.Port()), Frame: frame})
}

// remembered is how many datagrams are known again.
const remembered = 4096

// recent remembers the last datagrams of all senders together, so that a forged
// number can do no more than keep out one datagram.
type recent struct {
	mu   sync.Mutex
	seen map[packetID]struct{}
	ring []packetID // those seen, the oldest at next once it is full
	next int
}

type packetID struct {
	instance uint64
	seq      uint32
}

// add returns whether a datagram is new.
func (r *recent) add(instance uint64, seq uint32) bool {
	id := packetID{instance, seq}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = make(map[packetID]struct{}, remembered)
	}
	if _, old := r.seen[id]; old {
		return false
	}
	r.seen[id] = struct{}{}
	if len(r.ring) < remembered {
		r.ring = append(r.ring, id)
		return true
	}
	delete(r.seen, r.ring[r.next])
	r.ring[r.next] = id
	r.next = (r.next + 1) % remembered
	return true
}
