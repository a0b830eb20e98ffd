//go:build !windows

package lan

import (
	"errors"
	"syscall"
)

// tryWrite writes what can be written without waiting, and returns how much
// that is. A fault shows with the next write.
func (c *conn) tryWrite(b []byte) (n int) {
	if c.raw == nil {
		return 0
	}
	if c.raw.Write(func(fd uintptr) bool {
		n, _ = syscall.Write(int(fd), b)
		return true
	}) != nil {
		return 0
	}
	return max(n, 0)
}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// isReset tells whether the other end ended a connection without a word.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNABORTED)
}

// noFamily tells whether an error says that the host does not have IPv4, or IPv6.
func noFamily(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EPROTONOSUPPORT)
}

// isInUse tells whether an error says that another program has the port.
func isInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// unreachable tells whether an error says that there is no way to an address.
func unreachable(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, errFamily) || noFamily(err)
}

// isMessageSize tells whether a datagram was longer than the buffer, where that
// is an error; elsewhere the rest is cut off.
func isMessageSize(error) bool { return false }
