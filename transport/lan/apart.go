package lan

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// otherFamily is the code of what is found here.
const otherFamily = "other_family"

// apart notes, for IPv4 and for IPv6, one peer that could not be reached because
// all that is known of it are addresses of that family, and this node does not
// have it.
type apart struct {
	mu    sync.Mutex
	peers [2]struct {
		name        netip.AddrPort
		since, last time.Time // the first attempt, and the last one
	}
}

// apartFor is how long a peer counts that nobody tries to reach any more.
const apartFor = time.Minute

// unreached notes what became of an attempt to reach a peer.
func (t *Transport) unreached(name netip.AddrPort, err error, now time.Time) {
	if err == nil || !unreachable(err) || !t.isApart(name) {
		return
	}
	t.apart.mu.Lock()
	defer t.apart.mu.Unlock()
	p := &t.apart.peers[familyIndex(name)]
	if now.Sub(p.last) >= apartFor || p.name != name && !t.isApart(p.name) {
		p.name, p.since = name, now
	}
	if p.name == name { // else one is enough to tell of
		p.last = now
	}
}

func familyIndex(a netip.AddrPort) int {
	if a.Addr().Is6() {
		return 1
	}
	return 0
}

// isApart tells whether a peer is known by addresses of one family only, and this
// node has the other one only. Where no network is used, that is what is wrong.
func (t *Transport) isApart(name netip.AddrPort) bool {
	has := t.networks.families()
	six := familyIndex(name)
	if !name.IsValid() || name.Addr().IsLoopback() || has[six] || !has[1-six] {
		return false
	}
	for _, at := range t.roster.routesTo(name) {
		if has[familyIndex(at)] {
			return false
		}
	}
	return true
}

// families tells whether a network carries IPv4, and IPv6.
func (s *networks) families() (has [2]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.all {
		if n.used && !n.loopback() {
			has[0] = has[0] || s.speaks(n.index, false)
			has[1] = has[1] || s.speaks(n.index, true)
		}
	}
	return has
}

// others are the warnings of peers that are apart. A node that has both families
// may not have been heard by the right one yet, so each has time to speak.
func (t *Transport) others(now time.Time) (w []transport.Warning) {
	patience := max(deafAfter, 3*t.period())
	t.apart.mu.Lock()
	defer t.apart.mu.Unlock()
	for i, p := range t.apart.peers {
		if now.Sub(p.since) < patience || now.Sub(p.last) >= apartFor || !t.isApart(p.name) {
			continue
		}
		families := [2]string{"IPv4", "IPv6"}
		do := "give one of the two hosts both"
		if t.host != "" {
			do = "listen at no address of one family, or give the other host both"
		}
		w = append(w, transport.Warning{Code: otherFamily, Text: fmt.Sprintf(
			"%v cannot be reached: all that is known of it is %s, and this node has %s only; %s", p.name, families[i], families[1-i], do)})
	}
	return w
}
