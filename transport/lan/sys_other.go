//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd && !windows

package lan

import (
	"net"
	"net/netip"
	"syscall"
)

// groupListenAddr is what the socket of a group is bound to.
func groupListenAddr(group netip.AddrPort) string { return group.String() }

// shareGroupPort has no means here: one transport on a host can be open.
func shareGroupPort(_, _ string, _ syscall.RawConn) error { return nil }

func tune(net.Conn) {}
