//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package lan

import (
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// groupListenAddr is what the socket of a group is bound to. Bound to the
// group's address it gets no unicast and nothing of other groups.
func groupListenAddr(group netip.AddrPort) string { return group.String() }

// shareGroupPort lets several sockets have the port of the group.
func shareGroupPort(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err == nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
	}); cerr != nil {
		return cerr
	}
	return err
}

// tune has nothing to set: write deadlines and keep-alives notice a peer that
// is gone.
func tune(net.Conn) {}
