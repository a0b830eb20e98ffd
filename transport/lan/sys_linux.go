package lan

import (
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// groupListenAddr is what the socket of a group is bound to. Bound to the
// group's address it gets no unicast and nothing of other groups.
func groupListenAddr(group netip.AddrPort) string { return group.String() }

// shareGroupPort lets several sockets have the port of the group, and each of
// them hear only what it has joined itself.
func shareGroupPort(network, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err == nil {
			level, option := unix.IPPROTO_IP, unix.IP_MULTICAST_ALL
			if network == "udp6" {
				level, option = unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL
			}
			// An old kernel does not know the option for IPv6.
			if err = unix.SetsockoptInt(int(fd), level, option, 0); err == unix.ENOPROTOOPT {
				err = nil
			}
		}
	}); cerr != nil {
		return cerr
	}
	return err
}

// tune lets the kernel give up a peer that acknowledges nothing.
func tune(nc net.Conn) {
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(stuck/time.Millisecond))
	})
}
