// Package lan is a transport for a local network: UDP multicast to the group,
// UDP to one node, and a TCP stream to each peer.
//
// A program needs to know nothing but the group's multicast address, and not
// even that if it is the default one. Any number of programs on a host, and of
// transports in a program, share a group; groups that share an address and
// port are kept apart by a label in every packet.
//
// # Endpoints
//
// A transport has a port of its own, the same one for UDP and TCP. All its
// datagrams are sent from it, so that the source of a packet is an endpoint
// that can be answered. Multicast is received on a socket that all programs on
// the host share.
//
// # Interfaces
//
// Unless told otherwise a transport uses every interface that is up, has an
// IPv4 address and does multicast, and the loopback interface. It leaves out
// point-to-point links, and bridges and virtual interfaces of containers and
// virtual machines, unless such an interface is named or is the only one. With
// no network it uses the loopback interface alone. The list is read again
// every five seconds. Interfaces tells which ones are used and why not.
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
// meanwhile.
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
// by themselves, and four connections with each.
package lan

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/internal/redial"
)

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Reporter  = (*Transport)(nil)
)

// DefaultGroup is the multicast address and port used if Config names none. It
// is in the range that stays within a site (RFC 2365).
const DefaultGroup = "239.255.77.12:7712"

// Config describes a transport. The zero Config works.
type Config struct {
	// Group is the IPv4 multicast address and port of the group. If empty, it
	// is DefaultGroup.
	Group string
	// Name tells groups apart that have the same address: nodes with different
	// names do not hear each other. It is not a secret. The default is no name.
	Name string
	// Interfaces names the interfaces to use, and no others. If empty, they are
	// chosen as the package comment says.
	Interfaces []string
	// Listen is the node's own endpoint, as "host:port" with either part left
	// out. The default is any address and a free port.
	Listen string
	// TTL is how many routers a multicast packet may pass, less one. If zero,
	// it is 1: the packet stays on the local network.
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
	label    label
	instance uint64
	handler  transport.Handler

	udp       *net.UDPConn // the node's endpoint, and the source of all datagrams
	multicast *net.UDPConn // receives what is sent to the group
	tcp       *net.TCPListener
	addr      atomic.Pointer[netip.AddrPort]
	networks  networks
	sender    sender
	recent    recent
	redial    redial.Table
	drops     drops

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
	t := &Transport{cfg: c, links: make(map[netip.AddrPort]*link), hung: make(map[*link]struct{})}
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
			t.udp, t.tcp, t.multicast = nil, nil, nil
		}
	}()
	t.handler = h
	if err := t.networks.scan(t.cfg.Interfaces); err != nil {
		return &transport.NetworkError{Op: "list interfaces", Err: err}
	}
	if err := t.bind(); err != nil {
		return err
	}
	t.multicast, err = listenGroup(t.group)
	if err != nil {
		return &transport.NetworkError{Op: "listen to " + t.group.String(), Err: err}
	}
	if err := t.networks.join(ipv4.NewPacketConn(t.multicast), t.group.Addr()); err != nil {
		return &transport.NetworkError{Op: "join " + t.group.Addr().String(), Err: err}
	}
	if err := t.sender.open(t.udp, t.group, t.cfg.TTL); err != nil {
		return &transport.NetworkError{Op: "multicast", Err: err}
	}
	t.announce()
	t.open = true
	t.wg.Go(func() { t.receive(t.udp) })
	t.wg.Go(func() { t.receive(t.multicast) })
	t.wg.Go(t.accept)
	t.wg.Go(t.watch)
	return nil
}

// bind opens the node's endpoint: one port for both protocols.
func (t *Transport) bind() error {
	host, port, err := net.SplitHostPort(cmp.Or(t.cfg.Listen, ":0"))
	if err != nil {
		return fmt.Errorf("lan: listen: %w", err)
	}
	if host == "" {
		host = "0.0.0.0"
		if len(t.cfg.Interfaces) > 0 && t.networks.onlyLoopback() {
			host = "127.0.0.1"
		}
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	lc.SetMultipathTCP(false)
	for try := 0; ; try++ {
		l, err := lc.Listen(t.ctx, "tcp4", net.JoinHostPort(host, port))
		if err != nil {
			return &transport.NetworkError{Op: "listen", Err: err}
		}
		t.tcp = l.(*net.TCPListener)
		at := t.tcp.Addr().(*net.TCPAddr)
		if at.Port != int(t.group.Port()) || port != "0" {
			t.udp, err = net.ListenUDP("udp4", &net.UDPAddr{IP: at.IP, Port: at.Port})
			if err == nil {
				return nil
			}
		}
		t.tcp.Close()
		// Another program may have the UDP port of the number that was free
		// for TCP.
		if port != "0" || try == 100 {
			return &transport.NetworkError{Op: "listen", Err: err}
		}
	}
}

// Addr implements transport.Transport. It is the address of the first usable
// interface that is not loopback, or 127.0.0.1, and the node's own port. It
// changes only when that address is no longer one of the host's.
func (t *Transport) Addr() netip.AddrPort {
	if a := t.addr.Load(); a != nil {
		return *a
	}
	return netip.AddrPort{}
}

// announce sets Addr.
func (t *Transport) announce() {
	bound := t.udp.LocalAddr().(*net.UDPAddr).AddrPort()
	ip := bound.Addr().Unmap()
	if ip.IsUnspecified() {
		old := t.Addr().Addr()
		if ip = t.networks.primary(); old.IsValid() && t.networks.has(old) && !old.IsLoopback() {
			ip = old
		}
	}
	addr := netip.AddrPortFrom(ip, bound.Port())
	t.addr.Store(&addr)
}

// watch keeps up with the host's interfaces.
func (t *Transport) watch() {
	ticker := time.NewTicker(scanPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-ticker.C:
		}
		// With no network at all the transport waits for one to come.
		if t.networks.scan(t.cfg.Interfaces) == nil && t.networks.join(ipv4.NewPacketConn(t.multicast), t.group.Addr()) == nil {
			t.announce()
		}
	}
}

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
	if t.tcp != nil {
		t.tcp.Close()
	}
	if t.udp != nil {
		t.udp.Close()
	}
	if t.multicast != nil {
		t.multicast.Close()
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

// Drops implements transport.Reporter. The reasons are
//
//	malformed      not a packet or a stream of this protocol
//	version        no version of the wire format in common
//	foreign_group  another group's
//	oversize       a datagram longer than any
//	duplicate      a datagram that came before, through another interface as a rule
//	no_hello       a connection that was silent for two seconds, or ended before it had said hello
//	overflow       a connection closed because there were too many: that had not said hello, of the peer, or of all peers
func (t *Transport) Drops() map[string]uint64 { return t.drops.report() }

// drop is a reason to refuse a packet.
type drop int

const (
	dropMalformed drop = iota
	dropVersion
	dropForeign
	dropOversize
	dropDuplicate
	dropNoHello
	dropOverflow
	dropReasons
)

var dropNames = [dropReasons]string{"malformed", "version", "foreign_group", "oversize", "duplicate", "no_hello", "overflow"}

// drops counts what was dropped.
type drops [dropReasons]atomic.Uint64

func (d *drops) count(why drop) { d[why].Add(1) }

// refused counts a header that parseHeader refused.
func (d *drops) refused(err error) {
	var version *versionError
	switch {
	case errors.As(err, &version):
		d.count(dropVersion)
	case errors.Is(err, errForeign):
		d.count(dropForeign)
	default:
		d.count(dropMalformed)
	}
}

func (d *drops) report() map[string]uint64 {
	m := make(map[string]uint64)
	for i := range d {
		if n := d[i].Load(); n > 0 {
			m[dropNames[i]] = n
		}
	}
	return m
}
