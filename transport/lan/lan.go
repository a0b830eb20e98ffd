// Package lan is a transport for a local network: UDP multicast to the group,
// UDP to one node, and a TCP stream to each peer, by IPv4 and by IPv6.
//
// A program needs to know nothing but the group's multicast address, and not
// even that if it is the default one. Any number of programs on a host, and of
// transports in a program, share a group; groups that share an address and
// port are kept apart by a label in every packet.
//
// # Endpoints
//
// A transport has a port of its own, the same one for UDP and TCP, IPv4 and
// IPv6. All its datagrams are sent from it, so that the source of a packet can
// be answered. Multicast is received on sockets that all programs on the host
// share.
//
// A node has one endpoint, its name: an IPv4 address if it has one, and else an
// IPv6 one, with its port. It stands in every packet, and the Handler knows the
// node by it, whichever way the packet came: by IPv4 or IPv6, over one interface
// or another. Beside the name the addresses that the node's packets came from
// are remembered, and what is sent to the name goes there. So a node without
// IPv4 reaches one whose name is an IPv4 address; and a node that lies about its
// endpoint gets what is meant for it and nothing else. A name has no zone, even
// if it is a link-local address: the interface by which the node was heard is a
// part of what is remembered.
//
// When the host has lost the address, Addr changes. Connections from there are
// closed and dialed again, and others go on to know the node by the name that
// they know, until they use the new one.
//
// # Both families
//
// A packet to the group goes to the IPv4 group and to the IPv6 group that is
// derived from it: ff15:: with the IPv4 address as its last four bytes,
// ff15::efff:4d0c for the default (transient and of the site, as 239.255.0.0/16
// is; RFC 4291, RFC 3307). It arrives once, and what came besides by other ways
// is no more than that. A host that has one family only is no error. On the
// loopback interface IPv4 alone is used if there is any.
//
// # Interfaces
//
// Unless told otherwise a transport uses every interface that is up, has an
// address and does multicast, and the loopback interface. It leaves out
// point-to-point links, and bridges and virtual interfaces of containers and
// virtual machines, unless such an interface is named or is the only one. With
// no network it uses the loopback interface alone. The list is read again
// every five seconds. Interfaces tells which ones are used and why not.
//
// A node sends a beacon to the group when it has sent nothing else for five
// seconds; in a group of more than 16, less often. If for ten seconds nothing
// but its own packets came by multicast through an interface, or not even
// those, Warnings says so.
//
// # Networks without multicast
//
// Config.Peers names nodes that are reached by unicast. A node with such seeds
// asks them for the endpoints they know, and asks those, too; all that answer
// get by unicast what it sends to the group, and send it theirs. So one seed
// that is there is enough, and nodes for which multicast works are in one group
// with others for which it does not. Up to 256 nodes are reached this way. A
// node that is to be a seed needs a fixed port, see Config.Listen.
//
// # Streams
//
// Two nodes have one TCP connection in common, dialed by whoever had something
// to say first; each writes on the connection it has, whoever dialed it. If
// both dialed at the same time there are two, and each writes on the one that
// it had first.
//
//	state    entered by                                 then
//	dialing  Stream, or the end of a connection         Up, or Down with Refused or Timeout and forgotten
//	up       a dial, or a connection from the peer      Down with Reset, and dialing at once
//	hung up  Hangup                                     what is queued is written, nothing is reported
//
// What is queued when a Down is reported is lost; what is queued later is for
// the next connection. Attempts to connect to one peer that follow each other
// closely are spaced, from the fourth on, by 50 ms up to a second; frames wait
// meanwhile. An attempt tries the addresses by which the peer was heard, one
// more every 250 ms.
//
// A connection counts once both sides have sent a header for the same group. An
// endpoint that answers with anything else is reported as Refused, because the
// peer is not there any more. One that accepts and stays silent is reported as
// Timeout.
//
// # Hostile input
//
// Whatever cannot be understood is dropped and counted, see Transport.Drops.
// Connections that do not say hello are closed after two seconds; there are at
// most 256 of them, and the oldest makes room for a new one. A peer that breaks
// the protocol loses its connection. There are at most 4096 peers that connected
// by themselves, and four connections with each; 4096 nodes are remembered with
// four addresses each, and the one not heard for longest makes room.
//
// Anybody on the network can send what a node would. Nothing that this package
// answers is larger than what it answers, and all of it is limited: pings to 16 a
// second for each source and 128 in all, refusals and reports of strangers to four
// a second for each source and 16 in all.
//
// # Goroutines
//
// For each family one reads the endpoint, one the group, and one accepts
// connections; one tends the interfaces and one the seeds. Each connection that
// has not said hello has one, each peer has one that dials and writes, and each
// of its connections one that reads. Dials and tries that are under way have
// one for each address. All have ended when Close returns.
//
// # Systems
//
// It runs on Linux, macOS, the BSDs and Windows. Only Linux tells the kernel to
// give up a peer that acknowledges nothing; elsewhere deadlines do. On Linux a
// socket hears only the groups that it joined itself; elsewhere it hears those
// that others on the host joined, and the label sorts them out. Windows binds to
// no group's address, for the same reason without effect, and does not tell
// through which interface a packet came: there the warning of an interface
// without multicast is given for all or for none.
package lan

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/internal/redial"
)

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Reporter  = (*Transport)(nil)
	_ transport.Refuser   = (*Transport)(nil)
	_ transport.Deferrer  = (*Transport)(nil)
	_ transport.Warner    = (*Transport)(nil)
)

// DefaultGroup is the multicast address and port used if Config names none. It
// is in the range that stays within a site (RFC 2365).
const DefaultGroup = "239.255.77.12:7712"

// Config describes a transport. The zero Config works.
type Config struct {
	// Group is the IPv4 multicast address and port of the group. If empty, it
	// is DefaultGroup.
	Group string
	// Group6 is the IPv6 multicast address of the group, at the same port: of
	// the link, as ff12::7712, or of anything wider. If empty, it is derived
	// from Group as the package comment says; "none" does without IPv6. It must
	// be the same at all nodes.
	Group6 string
	// Peers are the endpoints, as "address:port", of up to 64 nodes that are to
	// be reached by unicast, where multicast does not go. See the package
	// comment. The default is none.
	Peers []string
	// Name tells groups apart that have the same address: nodes with different
	// names do not hear each other. It is not a secret. The default is no name.
	Name string
	// Interfaces names the interfaces to use, and no others, each by its name or
	// by one of its addresses, which then stands for it. If empty, they are
	// chosen as the package comment says.
	Interfaces []string
	// Listen is the node's own endpoint, as "address:port" with either part left
	// out. The default is any address and a free port. With an address, the node
	// has only the family of that address.
	Listen string
	// TTL is how many routers a multicast packet may pass, less one; for IPv6 it
	// is the hop limit. If zero, it is 1: the packet stays on the local network.
	TTL int
	// Queue is how many bytes of frames to one peer are kept before Stream
	// returns transport.ErrFull; one frame is always taken. If zero, it is
	// 1 MiB.
	Queue int
	// DialTimeout is how long to wait for an answer to an attempt to connect.
	// If zero, it is one second.
	DialTimeout time.Duration
}

// Times and bounds that need no setting.
const (
	helloTimeout = 2 * time.Second
	maxPending   = 256 // connections that have not said hello

	// A peer that takes nothing for so long is treated as gone; the kernel
	// watches over what it has buffered and over idle connections, where it can.
	stuck = 10 * time.Second
	// A connection older than this is replaced when the peer opens another;
	// before, both have dialed at the same time, and both connections stay.
	young    = 2 * time.Second
	maxConns = 4 // with one peer
	maxPeers = 4096

	lingering  = time.Second            // for a peer to take what was queued before Hangup
	lastWords  = 200 * time.Millisecond // the same during Close
	scanPeriod = 5 * time.Second
)

// Transport is a transport.Transport on the local network.
type Transport struct {
	cfg      Config
	group    netip.AddrPort
	group6   netip.AddrPort // invalid: no IPv6
	label    label
	instance uint64
	handler  transport.Handler
	probe    *probe // of a Check; else nil

	host     string    // of Config.Listen, or loopback; empty: any
	families []*family // those that the host has
	addr     atomic.Pointer[netip.AddrPort]
	networks networks
	sender   sender
	recent   recent
	roster   roster
	seeds    seeds
	redial   redial.Table
	drops    drops

	answers, refusals, strangers *limiter

	ctx    context.Context // until Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine

	mu      sync.RWMutex
	open    bool
	closed  bool
	links   map[netip.AddrPort]*link
	hung    map[*link]struct{} // hung up and not yet over
	pending pending
}

// New returns a transport. Faults of c are reported by Open.
func New(c Config) *Transport {
	c.Group = cmp.Or(c.Group, DefaultGroup)
	c.TTL = cmp.Or(c.TTL, 1)
	c.Queue = cmp.Or(c.Queue, 1<<20)
	c.DialTimeout = cmp.Or(c.DialTimeout, time.Second)
	c.Listen = cmp.Or(c.Listen, ":0")
	t := &Transport{cfg: c, links: make(map[netip.AddrPort]*link), hung: make(map[*link]struct{})}
	t.answers, t.refusals, t.strangers = newLimiter(16, 128), newLimiter(4, 16), newLimiter(4, 16)
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// configure checks the Config.
func (t *Transport) configure() error {
	group, err := netip.ParseAddrPort(t.cfg.Group)
	if err != nil || !group.Addr().Is4() || !group.Addr().IsMulticast() || group.Port() == 0 {
		return fmt.Errorf("lan: group %q is not an IPv4 multicast address with a port", t.cfg.Group)
	}
	if t.cfg.TTL < 1 || t.cfg.TTL > 255 {
		return fmt.Errorf("lan: TTL %d is not from 1 to 255", t.cfg.TTL)
	}
	if t.cfg.Queue < 0 {
		return fmt.Errorf("lan: queue of %d bytes", t.cfg.Queue)
	}
	if t.cfg.DialTimeout < 0 {
		return fmt.Errorf("lan: dial timeout %v", t.cfg.DialTimeout)
	}
	six := group6(group.Addr())
	switch t.cfg.Group6 {
	case "":
	case "none":
		six = netip.Addr{}
	default:
		six, err = netip.ParseAddr(t.cfg.Group6)
		if err != nil || !six.Is6() || six.Is4In6() || !six.IsMulticast() || six.IsInterfaceLocalMulticast() || six.Zone() != "" {
			return fmt.Errorf("lan: group %q is not an IPv6 multicast address", t.cfg.Group6)
		}
	}
	if six.IsValid() {
		t.group6 = netip.AddrPortFrom(six, group.Port())
	}
	if err := t.seeds.configure(t.cfg.Peers); err != nil {
		return err
	}
	t.group, t.label = group, labelOf(group, t.cfg.Name)
	var b [8]byte
	rand.Read(b[:]) // never fails
	t.instance = binary.BigEndian.Uint64(b[:])
	return nil
}

// Open implements transport.Transport. Besides a *transport.NetworkError it
// returns an error for a Config that makes no sense.
func (t *Transport) Open(h transport.Handler) (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open || t.closed {
		return transport.ErrClosed
	}
	if err := t.configure(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			t.closeSockets()
			t.families = nil
		}
	}()
	t.handler = h
	if err := t.networks.scan(t.cfg.Interfaces); err != nil {
		return &transport.NetworkError{Op: "list interfaces", Err: err}
	}
	if err := t.bind(); err != nil {
		return err
	}
	for _, f := range t.families {
		if err := f.listen(t.cfg.TTL); err != nil {
			return &transport.NetworkError{Op: "listen to " + f.group.String(), Err: err}
		}
	}
	if err := t.networks.join(t.families, time.Now()); err != nil {
		return &transport.NetworkError{Op: "join " + t.group.Addr().String(), Err: err}
	}
	t.announce()
	t.sender.spoke = time.Now()
	t.open = true
	for _, f := range t.families {
		t.wg.Go(func() { t.receive(f, f.udp) })
		t.wg.Go(func() { t.receive(f, f.multicast) })
		t.wg.Go(func() { t.accept(f.tcp) })
	}
	t.wg.Go(t.tend)
	t.wg.Go(t.seek)
	return nil
}

// Addr implements transport.Transport. It is the address of the first usable
// interface that is not loopback and has an IPv4 address, else an IPv6 address
// that is more than link-local, else a link-local one, else loopback; and the
// node's own port. It changes only when that address is no longer one of the
// host's.
func (t *Transport) Addr() netip.AddrPort {
	if a := t.addr.Load(); a != nil {
		return *a
	}
	return netip.AddrPort{}
}

// announce sets Addr.
func (t *Transport) announce() {
	bound := t.families[0].tcp.Addr().(*net.TCPAddr).AddrPort()
	ip := bound.Addr().Unmap().WithZone("")
	if ip.IsUnspecified() {
		old := t.Addr().Addr()
		if ip = t.networks.primary(); old.IsValid() && t.networks.has(old) && !old.IsLoopback() && !(old.Is6() && ip.Is4()) {
			ip = old
		}
	}
	addr := netip.AddrPortFrom(ip, bound.Port())
	t.addr.Store(&addr)
}

// port is the node's own.
func (t *Transport) port() uint16 { return t.families[0].port() }

// usable returns ErrClosed unless the transport is open.
func (t *Transport) usable() error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if !t.open || t.closed {
		return transport.ErrClosed
	}
	return nil
}

// Close implements transport.Transport. Streams that were hung up get up to
// 200 ms to write what they have. It must not be called by the Handler, which
// it waits for.
func (t *Transport) Close() error {
	t.mu.Lock()
	first := !t.closed
	t.closed = true
	t.mu.Unlock()
	if first {
		t.cancel()
		// The listener goes first: a peer that sees its connection end and
		// dials again must be refused.
		t.closeSockets()
		t.mu.Lock()
		t.pending.close()
		for _, l := range t.links {
			l.abort()
		}
		t.mu.Unlock()
		t.finishHung()
	}
	t.wg.Wait()
	return nil
}

// finishHung lets streams that were hung up say their last words.
func (t *Transport) finishHung() {
	deadline := time.NewTimer(lastWords)
	defer deadline.Stop()
	for {
		t.mu.Lock()
		var l *link
		for l = range t.hung {
			break
		}
		t.mu.Unlock()
		if l == nil {
			return
		}
		select {
		case <-l.over:
		case <-deadline.C:
			t.mu.Lock()
			for l := range t.hung {
				l.abort()
			}
			t.mu.Unlock()
			return
		}
	}
}

func (t *Transport) closeSockets() {
	for _, f := range t.families {
		f.close()
	}
}

// Interfaces implements transport.Reporter.
func (t *Transport) Interfaces() []transport.Interface { return t.networks.report() }

// Group implements transport.Transport: the address, and "/" and the name if
// there is one.
func (t *Transport) Group() string {
	if t.cfg.Name == "" {
		return t.cfg.Group
	}
	return t.cfg.Group + "/" + t.cfg.Name
}
