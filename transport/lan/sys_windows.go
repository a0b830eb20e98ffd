package lan

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/windows"
)

// groupListenAddr is what the socket of a group is bound to. Windows binds to
// no multicast address, so what is not the group's is dropped by its label.
func groupListenAddr(group netip.AddrPort) string {
	return ":" + strconv.Itoa(int(group.Port()))
}

// shareGroupPort lets several sockets have the port of the group.
func shareGroupPort(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_REUSEADDR, 1)
	}); cerr != nil {
		return cerr
	}
	return err
}

// tune has nothing to set: write deadlines and keep-alives notice a peer that
// is gone.
func tune(net.Conn) {}

// tryWrite has no means here.
func (c *conn) tryWrite([]byte) int { return 0 }

func isRefused(err error) bool { return errors.Is(err, windows.WSAECONNREFUSED) }

// isReset tells whether the other end ended a connection without a word.
func isReset(err error) bool {
	return errors.Is(err, windows.WSAECONNRESET) || errors.Is(err, windows.WSAECONNABORTED)
}

// noFamily tells whether an error says that the host does not have IPv4, or IPv6.
func noFamily(err error) bool {
	return errors.Is(err, windows.WSAEAFNOSUPPORT) || errors.Is(err, windows.WSAEADDRNOTAVAIL) || errors.Is(err, windows.WSAEPROTONOSUPPORT)
}

// isInUse tells whether an error says that another program has the port.
func isInUse(err error) bool { return errors.Is(err, windows.WSAEADDRINUSE) }

// unreachable tells whether an error says that there is no way to an address.
func unreachable(err error) bool {
	return errors.Is(err, windows.WSAENETUNREACH) || errors.Is(err, errFamily) || noFamily(err)
}

// isMessageSize tells whether a datagram was longer than the buffer.
func isMessageSize(err error) bool { return errors.Is(err, windows.WSAEMSGSIZE) }
