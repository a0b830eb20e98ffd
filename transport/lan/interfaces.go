package lan

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/ipv4"

	"github.com/seed-885536be/p2p/transport"
)

// network is an interface of the host and whether it is used.
type network struct {
	name  string
	index int
	flags net.Flags
	addr  netip.Addr // its first IPv4 address
	used  bool
	why   string
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
		explicit := slices.Contains(named, n.name)
		switch {
		case len(named) > 0 && !explicit:
			n.why = "not named"
		case n.flags&net.FlagUp == 0:
			n.why = "down"
		case !n.addr.IsValid():
			n.why = "no IPv4 address"
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
		if !slices.ContainsFunc(all, func(n network) bool { return n.name == name }) {
			all = append(all, network{name: name, why: "no such interface"})
		}
	}
	return all
}

// list returns the host's interfaces.
func list() ([]network, error) {
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
				if ip, ok := netip.AddrFromSlice(p.IP); ok && ip.Unmap().Is4() {
					n.addr = ip.Unmap()
					break
				}
			}
		}
		all = append(all, n)
	}
	return all, nil
}

var errNoInterface = errors.New("no interface can be used")

// networks is what is known of the host's interfaces.
type networks struct {
	mu     sync.Mutex
	all    []network
	joined map[int]struct{} // by index
	failed map[int]string   // the last attempt to send there failed
}

// scan reads the list of interfaces.
func (s *networks) scan(named []string) error {
	all, err := list()
	if err != nil {
		return err
	}
	all = choose(all, named)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = all
	if !slices.ContainsFunc(all, func(n network) bool { return n.used }) {
		return errNoInterface
	}
	return nil
}

// join makes the members of the group exactly those interfaces that are used.
// One that cannot join is used no longer; the error is that of the last if
// none is left.
func (s *networks) join(c *ipv4.PacketConn, group netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.joined == nil {
		s.joined = make(map[int]struct{})
	}
	err := errNoInterface
	addr := &net.UDPAddr{IP: group.AsSlice()}
	wanted := make(map[int]struct{})
	for i := range s.all {
		n := &s.all[i]
		if !n.used {
			continue
		}
		if _, ok := s.joined[n.index]; !ok {
			if failed := c.JoinGroup(&net.Interface{Index: n.index, Name: n.name}, addr); failed != nil {
				n.used, n.why, err = false, "join: "+failed.Error(), failed
				continue
			}
		}
		wanted[n.index] = struct{}{}
	}
	for index := range s.joined {
		if _, ok := wanted[index]; !ok {
			// The interface may have gone, and the membership with it.
			_ = c.LeaveGroup(&net.Interface{Index: index}, addr)
		}
	}
	s.joined = wanted
	for index := range s.failed {
		if _, ok := wanted[index]; !ok {
			delete(s.failed, index)
		}
	}
	if len(wanted) > 0 {
		return nil
	}
	return err
}

// outlets returns the interfaces to send on: loopback last, so that a node on
// the same host sees the better address first.
func (s *networks) outlets(into []int) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, loopback := range []bool{false, true} {
		for _, n := range s.all {
			if n.used && n.loopback() == loopback {
				into = append(into, n.index)
			}
		}
	}
	return into
}

// sent notes whether sending on an interface worked.
func (s *networks) sent(index int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.failed, index)
		return
	}
	if s.failed == nil {
		s.failed = make(map[int]string)
	}
	s.failed[index] = "send: " + err.Error()
}

// primary is the address of the first interface that is used, loopback last.
func (s *networks) primary() netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	ip := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	for _, n := range s.all {
		if n.used && !n.loopback() {
			return n.addr
		}
		if n.used {
			ip = n.addr
		}
	}
	return ip
}

// has tells whether an address is that of an interface that is used.
func (s *networks) has(ip netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.all, func(n network) bool { return n.used && n.addr == ip })
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
		why := n.why
		if failed, ok := s.failed[n.index]; ok && n.used {
			why = failed
		}
		r = append(r, transport.Interface{Name: n.name, Addr: n.addr, Used: n.used, Why: why})
	}
	return r
}
