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
	_ transport.Gatherer  = (*Transport)(nil)
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
	helloTimeout = 2 * time.Second // for a connection to say hello
	maxPending   = 256             // connections that have not

	// A peer that takes nothing for so long is treated as gone; the kernel
	// watches over what it has buffered and over idle connections, where it can.
	stuck = 10 * time.Second
	// A connection older than this is replaced when the peer opens another;
	// before, both have dialed at the same time, and both connections stay.
	young    = 2 * time.Second
	maxConns = 4 // with one peer
	maxPeers = 4096

	lingering = time.Second            // for a peer to take what was queued before Hangup
	lastWords = 200 * time.Millisecond // the same during Close
)

// times are helloTimeout and lingering, but in tests that a busy machine is not
// to disturb.
type times struct{ hello, linger time.Duration }

// Transport is a transport.Transport on the local network.
type Transport struct {
	cfg      Config
	group    netip.AddrPort
	group6   netip.AddrPort // invalid: no IPv6
	label    label
	instance uint64
	handler  transport.Handler
	probe    *probe // of a Check; else nil
	times    times

	host     string    // of Config.Listen, or loopback; empty: any
	families []*family // those that the host has
	addr     atomic.Pointer[netip.AddrPort]
	networks networks
	sender   sender
	recent   recent
	roster   roster
	seeds    seeds
	apart    apart
	redial   redial.Table
	drops    drops

	watched atomic.Bool  // the system tells when interfaces change
	streams atomic.Int32 // how many links there are

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
	t := &Transport{cfg: c, times: times{helloTimeout, lingering}, links: make(map[netip.AddrPort]*link), hung: make(map[*link]struct{})}
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
