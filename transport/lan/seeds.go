package lan

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// seeds are the nodes that get by unicast what goes to the group, because
// multicast does not get there, or does not come from there.
//
//	state      entered by                              then
//	candidate  Config.Peers, a ping that wants the     pinged, at growing intervals;
//	           group, or another seed's word           forgotten after three pings but for Config.Peers
//	alive      its pong                                pinged every 5 s; a candidate when silent for 15 s
//
// A node with Config.Peers asks those for the endpoints they know, and those in
// turn, until it knows all; whoever is asked sends it the group's packets from
// then on. A node that has none only answers. Only what has answered a ping with
// a random token is alive, so nobody can have a third one flooded; the nodes of
// Config.Peers are sent the group's packets before they have answered too.
type seeds struct {
	mu      sync.Mutex
	entries map[netip.AddrPort]*seed
	asking  bool // there are Config.Peers
	targets atomic.Pointer[[]netip.AddrPort]
	wake    chan struct{}
}

type seed struct {
	fixed bool // from Config.Peers
	alive bool // and the only one that leads to its node
	node  uint64
	token [8]byte
	tries int // pings since the last pong
	next  time.Time
	heard time.Time // the last pong
}

// Times and bounds of the seeds.
const (
	maxSeeds      = 256 // besides Config.Peers
	seedFirst     = 250 * time.Millisecond
	seedLongest   = 10 * time.Second
	seedTries     = 3
	seedPeriod    = 5 * time.Second
	seedPatience  = 15 * time.Second
	maxConfigured = 64
)

// configure takes Config.Peers.
func (s *seeds) configure(peers []string) error {
	s.entries = make(map[netip.AddrPort]*seed)
	s.wake = make(chan struct{}, 1)
	s.asking = len(peers) > 0
	if len(peers) > maxConfigured {
		return fmt.Errorf("lan: %d peers, of at most %d", len(peers), maxConfigured)
	}
	for _, p := range peers {
		at, err := netip.ParseAddrPort(p)
		if err != nil || at.Port() == 0 || at.Addr().IsUnspecified() || at.Addr().IsMulticast() {
			return fmt.Errorf("lan: peer %q is not an address with a port", p)
		}
		s.add(netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), time.Time{}).fixed = true
	}
	s.aim()
	return nil
}

func (s *seeds) add(at netip.AddrPort, due time.Time) *seed {
	e := s.entries[at]
	if e == nil {
		e = &seed{next: due}
		rand.Read(e.token[:]) // never fails
		s.entries[at] = e
	}
	return e
}

// aim makes the list of those that the group's packets go to.
func (s *seeds) aim() {
	var to []netip.AddrPort
	for at, e := range s.entries {
		if e.alive || e.fixed {
			to = append(to, at)
		}
	}
	s.targets.Store(&to)
}

// list is where the group's packets go besides. It must not be changed.
func (s *seeds) list() []netip.AddrPort {
	if to := s.targets.Load(); to != nil {
		return *to
	}
	return nil
}

// met notes a node that asked for the group's packets. It will be pinged, and
// gets them when it has answered.
func (s *seeds) met(at netip.AddrPort, now time.Time) {
	s.mu.Lock()
	if s.entries[at] == nil && len(s.entries) < maxConfigured+maxSeeds {
		s.add(at, now)
	}
	s.mu.Unlock()
	s.poke()
}

// learn takes another seed's word for where nodes are.
func (s *seeds) learn(t *Transport, at []netip.AddrPort) {
	if len(at) == 0 || !s.asking {
		return
	}
	own := t.Addr()
	now := time.Now()
	s.mu.Lock()
	for _, a := range at {
		if s.entries[a] == nil && len(s.entries) < maxConfigured+maxSeeds && a != own && !(a.Port() == own.Port() && t.networks.own(a.Addr())) {
			s.add(a, now)
		}
	}
	s.mu.Unlock()
	s.poke()
}

// answered takes a pong, and tells whether it answers a ping to that address.
func (s *seeds) answered(h header, token [8]byte, at netip.AddrPort, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[at]
	if e == nil || e.token != token {
		return false
	}
	e.heard, e.tries, e.next, e.node = now, 0, now.Add(seedPeriod), h.instance
	if e.alive {
		return true
	}
	e.alive = true
	for _, o := range s.entries {
		// One address of a node is enough.
		if o != e && o.alive && o.node == e.node {
			e.alive = false
		}
	}
	s.aim()
	return true
}

// isSelf takes the own ping: that seed is this node.
func (s *seeds) isSelf(token [8]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, e := range s.entries {
		if e.token == token {
			delete(s.entries, at)
			s.aim()
		}
	}
}

func (s *seeds) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// due returns those to ping now, and when to ask again; the zero time if there
// is nobody.
func (s *seeds) due(now time.Time) (to map[netip.AddrPort][8]byte, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := false
	for at, e := range s.entries {
		if e.alive && now.Sub(e.heard) >= seedPatience {
			e.alive, e.tries, changed = false, 0, true
		}
		if !e.next.After(now) {
			if !e.alive && !e.fixed && e.tries >= seedTries {
				delete(s.entries, at)
				continue
			}
			pause := seedPeriod
			if !e.alive {
				pause = min(seedFirst<<min(e.tries, 10), seedLongest)
			}
			e.tries++
			e.next = now.Add(pause)
			if to == nil {
				to = make(map[netip.AddrPort][8]byte)
			}
			to[at] = e.token
		}
		if next.IsZero() || e.next.Before(next) {
			next = e.next
		}
	}
	if changed {
		s.aim()
	}
	return to, next
}

// seek pings the seeds.
func (t *Transport) seek() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-t.seeds.wake:
		case <-timer.C:
		}
		to, next := t.seeds.due(time.Now())
		for at, token := range to {
			p := ping{token: token}
			if t.seeds.asking {
				p.flags = pingJoin
				p.known = t.roster.tell(at, maxKnown)
				p.room = maxKnown - len(p.known)
			}
			_ = t.write(at, p.append(t.header(kindPing, 0).append(nil)))
		}
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
	}
}
