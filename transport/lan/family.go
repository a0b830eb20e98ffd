package lan

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/seed-885536be/p2p/transport"
)

// receiveBuffer is what the kernel keeps of datagrams at most, in bytes, if it
// allows that much.
const receiveBuffer = 1 << 20

// family is what a transport has open for IPv4, or for IPv6.
type family struct {
	six       bool
	group     netip.AddrPort
	udp       *net.UDPConn // the node's endpoint, and the source of all datagrams
	multicast *net.UDPConn // receives what is sent to the group
	tcp       *net.TCPListener

	out, in options
	current int // index of the interface that is set on udp; guarded by sender.mu
}

// options are the socket options that both families have.
type options interface {
	SetMulticastInterface(*net.Interface) error
	SetMulticastLoopback(bool) error
	JoinGroup(*net.Interface, net.Addr) error
	LeaveGroup(*net.Interface, net.Addr) error
}

// network is "udp" or "tcp" of the family.
func (f *family) network(protocol string) string {
	if f.six {
		return protocol + "6"
	}
	return protocol + "4"
}

// group6 is the IPv6 group that goes with an IPv4 one: ff15::, transient and of
// the site, with the IPv4 address as its last four bytes (RFC 3307).
func group6(group netip.Addr) netip.Addr {
	ip := [16]byte{0xff, 0x15}
	four := group.As4()
	copy(ip[12:], four[:])
	return netip.AddrFrom16(ip)
}

// bind opens the node's endpoint: one port for both families and both
// protocols. A family that the host does not have is left out.
func (t *Transport) bind() error {
	host, port, err := net.SplitHostPort(t.cfg.Listen)
	if err != nil {
		return &configError{"listen: " + err.Error()}
	}
	families, err := t.wanted(host)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		err := t.bindAll(families, port)
		if err == nil {
			return nil
		}
		t.closeSockets()
		t.families = nil
		// Another program may have the UDP port of the number that was free
		// for TCP.
		if port != "0" && port != "" || try == 100 {
			return &transport.NetworkError{Op: "listen", Err: err}
		}
	}
}

// wanted are the families to open, for the address of Config.Listen.
func (t *Transport) wanted(host string) ([]*family, error) {
	four := &family{group: t.group}
	six := &family{six: true, group: t.group6}
	switch {
	case host == "" && len(t.cfg.Interfaces) > 0 && t.networks.onlyLoopback():
		if t.networks.primary().Is6() {
			t.host = "::1"
			return []*family{six}, nil
		}
		t.host = "127.0.0.1"
		return []*family{four}, nil
	case host == "" && !t.group6.IsValid():
		return []*family{four}, nil
	case host == "":
		return []*family{four, six}, nil
	}
	t.host = host
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return nil, &configError{"listen: " + host + " is not an address"}
	case ip.Is4():
		return []*family{four}, nil
	case !t.group6.IsValid():
		return nil, &configError{"listen: IPv6 is turned off"}
	default:
		return []*family{six}, nil
	}
}

// bindAll opens the sockets of all families at one port.
func (t *Transport) bindAll(families []*family, port string) error {
	failed := error(errNoInterface)
	for _, f := range families {
		if len(t.families) > 0 {
			port = strconv.Itoa(int(t.port()))
		}
		switch err := f.bind(t.ctx, t.host, port); {
		case err == nil && t.group.Port() == f.port() && (port == "0" || port == ""):
			f.close()
			return errors.New("the group's own port")
		case err == nil:
			t.families = append(t.families, f)
		case noFamily(err):
			failed = err
		default:
			return err
		}
	}
	if len(t.families) == 0 {
		return failed
	}
	return nil
}

// bind opens the endpoint, for TCP and for UDP.
func (f *family) bind(ctx context.Context, host, port string) error {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	lc.SetMultipathTCP(false)
	if host == "" {
		host = "0.0.0.0"
		if f.six {
			host = "::"
		}
	}
	l, err := lc.Listen(ctx, f.network("tcp"), net.JoinHostPort(host, port))
	if err != nil {
		return err
	}
	f.tcp = l.(*net.TCPListener)
	at := f.tcp.Addr().(*net.TCPAddr)
	f.udp, err = net.ListenUDP(f.network("udp"), &net.UDPAddr{IP: at.IP, Port: at.Port, Zone: at.Zone})
	if err != nil {
		f.close()
	}
	return err
}

// port is the port of the endpoint.
func (f *family) port() uint16 { return uint16(f.tcp.Addr().(*net.TCPAddr).Port) }

// listen opens the socket for what is sent to the group, of which any number can
// be open on a host, and prepares to send.
func (f *family) listen(ttl int) error {
	lc := net.ListenConfig{Control: shareGroupPort}
	at := groupListenAddr(f.group)
	if f.group.Addr().IsLinkLocalMulticast() && f.six {
		at = net.JoinHostPort("::", strconv.Itoa(int(f.group.Port()))) // it would need a zone
	}
	c, err := lc.ListenPacket(context.Background(), f.network("udp"), at)
	if err != nil {
		return err
	}
	f.multicast = c.(*net.UDPConn)
	for _, c := range []*net.UDPConn{f.udp, f.multicast} {
		_ = c.SetReadBuffer(receiveBuffer) // less is not an error
	}
	// Not every system can tell through which interface a packet came.
	if f.six {
		out, in := ipv6.NewPacketConn(f.udp), ipv6.NewPacketConn(f.multicast)
		_ = in.SetControlMessage(ipv6.FlagInterface, true)
		f.out, f.in, err = out, in, out.SetMulticastHopLimit(ttl)
	} else {
		out, in := ipv4.NewPacketConn(f.udp), ipv4.NewPacketConn(f.multicast)
		_ = in.SetControlMessage(ipv4.FlagInterface, true)
		f.out, f.in, err = out, in, out.SetMulticastTTL(ttl)
	}
	if err != nil {
		return err
	}
	return f.out.SetMulticastLoopback(true)
}

func (f *family) join(index int) error {
	return f.in.JoinGroup(&net.Interface{Index: index}, &net.UDPAddr{IP: f.group.Addr().AsSlice()})
}

// leave leaves the group. The interface may have gone, and the membership with
// it.
func (f *family) leave(index int) {
	_ = f.in.LeaveGroup(&net.Interface{Index: index}, &net.UDPAddr{IP: f.group.Addr().AsSlice()})
}

// through sends b to the group through one interface.
func (f *family) through(index int, b []byte) error {
	if f.current != index {
		f.current = 0
		if err := f.out.SetMulticastInterface(&net.Interface{Index: index}); err != nil {
			return err
		}
		f.current = index
	}
	_, err := f.udp.WriteToUDPAddrPort(b, f.group)
	return err
}

// arrivedAt is the index of the interface that a packet came through, or 0.
func (f *family) arrivedAt(oob []byte) int {
	if f.six {
		var cm ipv6.ControlMessage
		_ = cm.Parse(oob)
		return cm.IfIndex
	}
	var cm ipv4.ControlMessage
	_ = cm.Parse(oob)
	return cm.IfIndex
}

func (f *family) close() {
	if f.tcp != nil {
		f.tcp.Close()
	}
	if f.udp != nil {
		f.udp.Close()
	}
	if f.multicast != nil {
		f.multicast.Close()
	}
}

// configError is a fault of a Config.
type configError struct{ text string }

func (e *configError) Error() string { return "lan: " + e.text }
