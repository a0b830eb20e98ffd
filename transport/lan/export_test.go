package lan

import (
	"net/netip"
	"slices"
)

// Label is the label of a group.
func Label(c Config) []byte {
	l := labelOf(netip.MustParseAddrPort(c.Group), c.Name)
	return l[:]
}

// Pending is how many connections have not said hello.
func Pending(t *Transport) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.pending.conns)
}

// MakeLink makes a link to a peer as Stream does, before it has queued anything.
func MakeLink(t *Transport, peer netip.AddrPort) { t.link(peer, nil) }

// Abandon does what a node does when its host has lost all addresses but some.
func Abandon(t *Transport, left ...netip.Addr) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, l := range t.links {
		l.abandon(func(a netip.Addr) bool { return slices.Contains(left, a) })
	}
}
