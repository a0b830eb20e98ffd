package lan

import (
	"net/netip"
	"slices"
	"time"
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

// Patient makes a node that is not open yet wait so long for a connection to say
// hello, and for a peer to take what was queued before Hangup.
func Patient(t *Transport, d time.Duration) { t.times = times{d, d} }

// Age makes the connections with a peer, and of those that were replaced what is
// still read, so old. What is read of them has no limit any more.
func Age(t *Transport, peer netip.AddrPort, d time.Duration) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	l := t.links[peer]
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.since = time.Now().Add(-d)
	}
	for c := range l.reading {
		_ = c.SetReadDeadline(time.Time{}) // it may have ended
	}
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
