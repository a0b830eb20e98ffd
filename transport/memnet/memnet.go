// Package memnet is a network in memory, for tests and simulations: hosts that
// implement transport.Transport and lose, delay, duplicate and reorder
// datagrams as told, with links that can be cut in one direction, partitions,
// hosts that do not hear multicast, and processes that die.
//
// Within a testing/synctest bubble everything runs in virtual time. What
// happens to a packet is decided by a Weather, from a seed; a simulator that
// has its own clock can use a Weather alone.
//
//	network := memnet.New(memnet.Config{Seed: 1, Loss: 0.2, Delay: time.Millisecond})
//	ada, err := p2pchat.New(p2pchat.WithTransport(network.Host()))
//	…
//	network.Partition([]netip.AddrPort{a, b}, []netip.AddrPort{c, d}) // each half elects
//	network.Heal()                                                    // and they merge
//
// # Streams
//
// A stream is reliable and ordered, so loss does not touch it, and only delay
// does. While its link is cut its frames wait; if the cut lasts longer than
// Config.StreamTimeout the stream ends on both sides. Both then dial again, as
// every transport does:
//
//	the peer                                  a dial ends with
//	is open and the link whole                Up, after a round trip
//	was killed or closed, the link is whole   Down, Refused, after a round trip
//	is behind a cut, in either direction      Down, Timeout, after Config.DialTimeout
//	was never there                           Down, Timeout, after Config.DialTimeout
package memnet

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Config describes a network. The zero Config is a perfect one: nothing is
// lost, and everything arrives at once.
type Config struct {
	// Seed makes runs differ, and equal seeds alike.
	Seed uint64

	// Loss is the chance of each copy of a datagram to be lost, from 0 to 1.
	Loss float64
	// Delay is how long every packet takes at least.
	Delay time.Duration
	// Jitter is how much longer it takes at most; datagrams thereby change
	// their order.
	Jitter time.Duration
	// Duplicate is the chance of a datagram to be sent twice, from 0 to 1.
	Duplicate float64
	// Reorder is the chance of a datagram to be held back for up to four times
	// the usual delay, from 0 to 1.
	Reorder float64

	// Queue is how many bytes of frames to one peer a host keeps before Stream
	// returns ErrFull; one frame is always taken. If zero, the default is 1 MiB.
	Queue int
	// DialTimeout is how long a host waits for an answer before it reports a
	// peer as not reachable. If zero, the default is one second.
	DialTimeout time.Duration
	// StreamTimeout is how long a stream outlives a cut of its link. If zero,
	// the default is ten seconds.
	StreamTimeout time.Duration
}

// Network connects hosts. Its methods may be called from any goroutine.
type Network struct {
	cfg Config

	// mu guards everything in the package that says nothing else.
	mu      sync.Mutex
	weather *Weather
	hosts   []*Host // those open, in the order of their opening
	known   map[netip.AddrPort]struct{}
	conns   map[*conn]struct{}
	made    uint32 // hosts so far
	seq     uint64 // items so far, to keep equal times in order
}

// New returns a network without hosts.
func New(c Config) *Network {
	if c.Queue == 0 {
		c.Queue = 1 << 20
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = time.Second
	}
	if c.StreamTimeout == 0 {
		c.StreamTimeout = 10 * time.Second
	}
	return &Network{
		cfg:     c,
		weather: NewWeather(c),
		known:   make(map[netip.AddrPort]struct{}),
		conns:   make(map[*conn]struct{}),
	}
}

// Host returns a new host. The n-th one has the address 10.0.0.n, counted on
// into 10.0.1.0 and so forth, and port 7000. It takes part once it is opened.
func (n *Network) Host() *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.made++
	i := n.made
	return newHost(n, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 7000))
}

// HostAt returns a new host with an address of one's choice, such as that of a
// host that was killed. To open it fails while another with that address is
// open.
func (n *Network) HostAt(addr netip.AddrPort) *Host { return newHost(n, addr) }

// Kill makes a host's process die: its streams break, and whoever dials it is
// refused at once. Its own handler is not called any more, but for calls under
// way; its methods return ErrClosed.
func (n *Network) Kill(h *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h.die()
}

// Cut stops all packets from one endpoint to another, in this direction only.
func (n *Network) Cut(from, to netip.AddrPort) {
	n.change(func(w *Weather) { w.Cut(from, to) })
}

// Mend undoes Cut for one direction.
func (n *Network) Mend(from, to netip.AddrPort) {
	n.change(func(w *Weather) { w.Mend(from, to) })
}

// Partition lets packets go within each of the groups only. Endpoints that are
// in no group are one group more. It replaces an earlier partition and leaves
// links that are cut as they are.
func (n *Network) Partition(groups ...[]netip.AddrPort) {
	n.change(func(w *Weather) { w.Partition(groups...) })
}

// Heal undoes every Cut and the Partition. Loss, delays and deafness stay.
func (n *Network) Heal() { n.change((*Weather).Heal) }

// SetMulticast says whether an endpoint hears what is sent to the group. Every
// one does at first. What it sends to the group is heard in any case.
func (n *Network) SetMulticast(addr netip.AddrPort, hears bool) {
	n.change(func(w *Weather) { w.SetMulticast(addr, hears) })
}

// SetLoss changes Config.Loss, and the loss of links set by SetLinkLoss.
func (n *Network) SetLoss(p float64) { n.change(func(w *Weather) { w.SetLoss(p) }) }

// SetLinkLoss sets the loss of one link, from one endpoint to another.
func (n *Network) SetLinkLoss(from, to netip.AddrPort, p float64) {
	n.change(func(w *Weather) { w.SetLinkLoss(from, to, p) })
}

// SetDelay changes Config.Delay and Config.Jitter.
func (n *Network) SetDelay(delay, jitter time.Duration) {
	n.change(func(w *Weather) { w.SetDelay(delay, jitter) })
}

// SetDuplicate changes Config.Duplicate.
func (n *Network) SetDuplicate(p float64) { n.change(func(w *Weather) { w.SetDuplicate(p) }) }

// SetReorder changes Config.Reorder.
func (n *Network) SetReorder(p float64) { n.change(func(w *Weather) { w.SetReorder(p) }) }

// change changes the weather and lets every connection see it.
func (n *Network) change(f func(*Weather)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n.weather)
	for c := range n.conns {
		c.look()
	}
}

// at returns the open host with an address, or nil.
func (n *Network) at(addr netip.AddrPort) *Host {
	i := slices.IndexFunc(n.hosts, func(h *Host) bool { return h.addr == addr })
	if i < 0 {
		return nil
	}
	return n.hosts[i]
}
