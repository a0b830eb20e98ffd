package lan

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// network is an interface of the host and whether it is used.
type network struct {
	name  string
	index int
	flags net.Flags
	addr4 netip.Addr   // its first IPv4 address, or the one that was named
	addr6 netip.Addr   // its first IPv6 address that is not link-local; else its first
	addrs []netip.Addr // all, without zones
	used  bool
	why   string
}

// addr is the address that stands for the interface.
func (n network) addr() netip.Addr {
	if n.addr4.IsValid() {
		return n.addr4
	}
	return n.addr6
}

// does reports whether the interface carries a family. IPv6 is not used on the
// loopback interface if there is IPv4: many systems have no route for multicast
// there, and one way is enough.
func (n network) does(six bool) bool {
	if six {
		return n.addr6.IsValid() && !(n.loopback() && n.addr4.IsValid())
	}
	return n.addr4.IsValid()
}

// is reports whether the interface is the one named: by its name, or by one of
// its addresses.
func (n network) is(named string) bool {
	if n.name == named {
		return true
	}
	ip, err := netip.ParseAddr(named)
	return err == nil && slices.Contains(n.addrs, ip.Unmap().WithZone(""))
}

func (n network) loopback() bool { return n.flags&net.FlagLoopback != 0 }

// virtual are the beginnings of the names of interfaces that connect a host
// with its own containers and virtual machines.
var virtual = []string{"docker", "br-", "veth", "virbr", "vmnet", "vboxnet"}

// choose decides which of the host's interfaces are used: those named, or all
// suitable ones.
func choose(all []network, named []string) []network {
	all = slices.Clone(all)
	plain := 0           // used, and neither loopback nor virtual
	var spare []*network // virtual ones that would do
	for i := range all {
		n := &all[i]
		explicit := false
		for _, name := range named {
			if n.is(name) {
				explicit = true
				n.prefer(name)
			}
		}
		switch {
		case len(named) > 0 && !explicit:
			n.why = "not named"
		case n.flags&net.FlagUp == 0:
			n.why = "down"
		case !n.addr().IsValid():
			n.why = "no address"
		case n.loopback():
			n.used = true // multicast works there with and without the flag
		case n.flags&net.FlagPointToPoint != 0 && !explicit:
			n.why = "point-to-point"
		case n.flags&net.FlagMulticast == 0:
			n.why = "no multicast"
		case !explicit && slices.ContainsFunc(virtual, func(p string) bool { return strings.HasPrefix(n.name, p) }):
			n.why = "virtual"
			spare = append(spare, n)
		default:
			n.used = true
			plain++
		}
	}
	if plain == 0 && len(spare) == 1 {
		spare[0].used, spare[0].why = true, "virtual, but the only one"
	}
	for _, name := range named {
		if !slices.ContainsFunc(all, func(n network) bool { return n.is(name) }) {
			all = append(all, network{name: name, why: "no such interface"})
		}
	}
	return all
}

// listNetworks returns the host's interfaces.
func listNetworks() ([]network, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	all := make([]network, 0, len(ifs))
	for _, ifi := range ifs {
		n := network{name: ifi.Name, index: ifi.Index, flags: ifi.Flags}
		addrs, err := ifi.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		for _, a := range addrs {
			if p, ok := a.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(p.IP); ok {
					n.has(ip.Unmap())
				}
			}
		}
		all = append(all, n)
	}
	return all, nil
}

// has notes an address of the interface.
func (n *network) has(ip netip.Addr) {
	n.addrs = append(n.addrs, ip)
	switch {
	case ip.Is4():
		if !n.addr4.IsValid() {
			n.addr4 = ip
		}
	case !n.addr6.IsValid() || n.addr6.IsLinkLocalUnicast() && !ip.IsLinkLocalUnicast():
		n.addr6 = ip
	}
}

// prefer lets the address by which the interface was named stand for it.
func (n *network) prefer(named string) {
	if ip, err := netip.ParseAddr(named); err == nil {
		if ip = ip.Unmap().WithZone(""); ip.Is4() {
			n.addr4 = ip
		} else {
			n.addr6 = ip
		}
	}
}

var errNoInterface = errors.New("no interface can be used")

// networks is what is known of the host's interfaces.
type networks struct {
	mu       sync.Mutex
	all      []network
	joined   map[outlet]time.Time  // since when
	refused  map[outlet]string     // could not be joined
	failed   map[outlet]string     // the last attempt to send there failed
	ears     map[int]*ear          // by index of the interface
	listened time.Time             // when what was heard was looked at last
	owns     map[netip.Addr]string // every address of the host, with its interface
}

// outlet is an interface and a family that a packet to the group goes through.
type outlet struct {
	index int
	six   bool
}

// scan reads the list of interfaces.
func (s *networks) scan(named []string) error {
	all, err := listNetworks()
	if err != nil {
		return err
	}
	owns := make(map[netip.Addr]string)
	for _, n := range all {
		for _, ip := range n.addrs {
			owns[ip] = n.name
		}
	}
	all = choose(all, named)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all, s.owns = all, owns
	if !slices.ContainsFunc(all, func(n network) bool { return n.used }) {
		return errNoInterface
	}
	return nil
}

// join makes the members of the group exactly those interfaces that are used.
// One that cannot join by any family is used no longer; the error is that of
// the last if none is left.
func (s *networks) join(families []*family, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := errNoInterface
	wanted := make(map[outlet]time.Time)
	s.refused = make(map[outlet]string)
	for i := range s.all {
		n := &s.all[i]
		if !n.used {
			continue
		}
		var failed error
		in := false
		for _, f := range families {
			if !n.does(f.six) {
				continue
			}
			o := outlet{n.index, f.six}
			since, ok := s.joined[o]
			if !ok {
				if failed = f.join(n.index); failed != nil {
					s.refused[o] = "join: " + failed.Error()
					continue
				}
				since = now
			}
			wanted[o], in = since, true
		}
		switch {
		case in:
		case failed != nil:
			n.used, n.why, err = false, "join: "+failed.Error(), failed
		default:
			n.used, n.why = false, "no address of a family that the host speaks"
		}
	}
	for o := range s.joined {
		if _, ok := wanted[o]; !ok {
			for _, f := range families {
				if f.six == o.six {
					f.leave(o.index)
				}
			}
		}
	}
	s.joined = wanted
	for o := range s.failed {
		if _, ok := wanted[o]; !ok {
			delete(s.failed, o)
		}
	}
	for index := range s.ears {
		if !slices.ContainsFunc(s.all, func(n network) bool { return n.used && n.index == index }) {
			delete(s.ears, index)
		}
	}
	if len(wanted) > 0 {
		return nil
	}
	return err
}

// outlets returns where to send: loopback last, so that a node on the same host
// sees the better address first, and for each interface IPv4 first.
func (s *networks) outlets(into []outlet) []outlet {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, loopback := range []bool{false, true} {
		for _, n := range s.all {
			if !n.used || n.loopback() != loopback {
				continue
			}
			for _, six := range []bool{false, true} {
				if _, ok := s.joined[outlet{n.index, six}]; ok {
					into = append(into, outlet{n.index, six})
				}
			}
		}
	}
	return into
}

// sent notes whether sending on an interface worked.
func (s *networks) sent(o outlet, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.failed, o)
		return
	}
	if s.failed == nil {
		s.failed = make(map[outlet]string)
	}
	s.failed[o] = "send: " + err.Error()
}

// primary is the address at which other hosts reach this one best: that of the
// first interface that is used, IPv4 before IPv6, what is routed before what is
// link-local, and loopback last.
func (s *networks) primary() netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	best, rank := netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0
	for _, n := range s.all {
		if !n.used {
			continue
		}
		for _, ip := range []netip.Addr{n.addr4, n.addr6} {
			r := 0
			switch {
			case !ip.IsValid():
			case n.loopback():
				r = 1
			case ip.Is4():
				r = 4
			case !ip.IsLinkLocalUnicast():
				r = 3
			default:
				r = 2
			}
			if r > rank {
				best, rank = ip, r
			}
		}
	}
	return best
}

// has tells whether an address is that of an interface that is used.
func (s *networks) has(ip netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.all, func(n network) bool { return n.used && slices.Contains(n.addrs, ip) })
}

// own tells whether an address is one of the host's.
func (s *networks) own(ip netip.Addr) bool {
	if ip = ip.Unmap().WithZone(""); ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.owns[ip]
	return ok
}

// zones are the interfaces through which a link-local address may be reached.
func (s *networks) zones(ip netip.Addr) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name, ok := s.owns[ip]; ok {
		return []string{name}
	}
	var zones []string
	for _, n := range s.all {
		if n.used && !n.loopback() && n.does(true) {
			zones = append(zones, n.name)
		}
	}
	return zones
}

// indexes are the names of the interfaces.
func (s *networks) indexes() map[int]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make(map[int]string)
	for _, n := range s.all {
		names[n.index] = n.name
	}
	return names
}

// onlyLoopback tells whether no other interface is used.
func (s *networks) onlyLoopback() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(s.all, func(n network) bool { return n.used && !n.loopback() })
}

func (s *networks) report() []transport.Interface {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := make([]transport.Interface, 0, len(s.all))
	for _, n := range s.all {
		r = append(r, transport.Interface{Name: n.name, Addr: n.addr(), Used: n.used, Why: s.why(n)})
	}
	return r
}

// why is what is to be said of an interface: what is wrong, or else what is
// particular.
func (s *networks) why(n network) string {
	if !n.used {
		return n.why
	}
	for _, six := range []bool{false, true} {
		for _, faults := range []map[outlet]string{s.failed, s.refused} {
			if fault, ok := faults[outlet{n.index, six}]; ok {
				return fault
			}
		}
	}
	if e := s.ears[n.index]; e != nil && e.deaf != "" {
		return noMulticast
	}
	switch {
	case n.why != "" || n.loopback():
		return n.why
	case !s.speaks(n.index, false):
		return "IPv6 only"
	case !s.speaks(n.index, true):
		return "IPv4 only"
	}
	return ""
}

// speaks reports whether an interface is a member of the group by a family.
func (s *networks) speaks(index int, six bool) bool {
	_, ok := s.joined[outlet{index, six}]
	return ok
}
