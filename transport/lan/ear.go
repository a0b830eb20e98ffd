package lan

import (
	"net/netip"
	"slices"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// The codes of what is looked for.
const (
	noMulticast = "no_multicast"
	localOnly   = "local_only"
)

// ear is what was heard of the group on one interface.
type ear struct {
	own    time.Time // a packet of this node came back
	here   time.Time // one of another node on this host came
	remote time.Time // one of a node on another host came
	deaf   string    // why it is thought that multicast does not work; else empty
}

// Times of hearing.
const (
	deafAfter    = 10 * time.Second
	beaconPeriod = 5 * time.Second
	// For so many nodes there is a beacon each beaconPeriod and node; if there
	// are more, the period grows with them.
	beaconNodes = 16
)

// voice is whose packet to the group was heard.
type voice int

const (
	voiceOwn voice = iota
	voiceHere
	voiceRemote
)

// heard notes a packet to the group that came through an interface; 0 is one
// that is not known, as on Windows.
func (s *networks) heard(index int, v voice, from netip.Addr, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from = from.Unmap().WithZone("")
	for _, n := range s.all {
		if !n.used {
			continue
		}
		switch {
		case index == n.index:
		case index != 0:
			continue
		case v != voiceRemote && s.owns[from] != n.name:
			continue
		}
		e := s.ear(n.index)
		switch v {
		case voiceOwn:
			e.own = now
		case voiceHere:
			e.here = now
		default:
			e.remote, e.deaf = now, ""
		}
	}
}

func (s *networks) ear(index int) *ear {
	e := s.ears[index]
	if e == nil {
		e = new(ear)
		if s.ears == nil {
			s.ears = make(map[int]*ear)
		}
		s.ears[index] = e
	}
	return e
}

// due is when to listen next, with so much slack.
func (s *networks) due(now time.Time, slack time.Duration) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listened.IsZero() {
		s.listened = now
	}
	return s.listened.Add(listenPeriod + slack)
}

// listen looks for interfaces on which multicast does not work. others says
// that nodes on other hosts are heard, and patience for how long a node may be
// silent.
func (s *networks) listen(now time.Time, others bool, patience time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listened = now
	within := func(t time.Time) bool { return !t.IsZero() && now.Sub(t) < patience }
	multicast := false // it works on one interface at least
	for _, e := range s.ears {
		multicast = multicast || within(e.remote)
	}
	// Through another interface the other nodes of this host are reached as well,
	// so loopback matters without one. With IPv6 alone there is often no route for
	// multicast on it.
	back := slices.ContainsFunc(s.all, func(n network) bool {
		e := s.ears[n.index]
		return n.used && !n.loopback() && e != nil && within(e.own)
	})
	for _, n := range s.all {
		var since time.Time
		for _, six := range []bool{false, true} {
			if t, ok := s.joined[outlet{n.index, six}]; ok && (since.IsZero() || t.Before(since)) {
				since = t
			}
		}
		if !n.used || since.IsZero() || now.Sub(since) < deafAfter {
			continue
		}
		e := s.ear(n.index)
		switch {
		case !within(e.own) && n.loopback() && back:
			e.deaf = ""
		case !within(e.own):
			e.deaf = "what is sent to the group on " + n.name + " does not come back: multicast is blocked on this host"
		case n.loopback() || within(e.remote):
			e.deaf = ""
		case others && !multicast:
			e.deaf = "nodes on other hosts are heard, but none by multicast on " + n.name + ": the network keeps it back"
		case e.remote.IsZero() && !within(e.here) && !multicast:
			e.deaf = "only this node is heard on " + n.name + ": it is alone there, or the network keeps multicast back"
		default:
			e.deaf = ""
		}
	}
}

func (s *networks) warnings() []transport.Warning {
	s.mu.Lock()
	defer s.mu.Unlock()
	var w []transport.Warning
	for _, n := range s.all {
		if e := s.ears[n.index]; n.used && e != nil && e.deaf != "" {
			w = append(w, transport.Warning{Code: noMulticast, Interface: n.name, Text: e.deaf})
		}
	}
	return w
}

// Warnings implements transport.Warner. The codes are "no_multicast": for ten
// seconds nothing but this node's own packets, or not even those, came from the
// group through an interface; "local_only": no interface can be used but
// loopback, though Config.Interfaces does not say so; and "other_family": a peer
// that something is to be sent to is known by IPv4 addresses only, and this node
// has IPv6 only, or the other way round. Of several such peers one is named, until
// a minute after the last attempt to reach it.
func (t *Transport) Warnings() []transport.Warning {
	w := t.networks.warnings()
	if len(t.cfg.Interfaces) == 0 && t.usable() == nil && t.networks.onlyLoopback() {
		w = append(w, transport.Warning{Code: localOnly, Text: "this machine only: no network can be used"})
	}
	return append(w, t.others(time.Now())...)
}

// Times of tend.
const (
	scanPeriod   = 5 * time.Second        // between two looks at the interfaces,
	scanRarely   = time.Minute            // where the system tells of changes,
	scanGap      = 250 * time.Millisecond // some time after it did, for there are more to come
	listenPeriod = 2500 * time.Millisecond
	// What is due waits for so long for a packet to the group, which wakes all
	// nodes anyway.
	choreSlack = 600 * time.Millisecond
)

// tend keeps up with the host's interfaces, and lets the others know that this
// node is there: by that all learn by which addresses it is reached, and whether
// multicast works.
func (t *Transport) tend() {
	changed := make(chan struct{}, 1)
	t.watch(changed)
	scan := time.Now().Add(scanPeriod)
	timer := time.NewTimer(listenPeriod)
	defer timer.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-changed:
			if soon := time.Now().Add(scanGap); soon.Before(scan) {
				scan = soon
			}
		case <-timer.C:
		}
		now := time.Now()
		if !now.Before(scan) {
			t.rescan(now)
			if scan = now.Add(scanPeriod); t.watched.Load() {
				scan = now.Add(scanRarely)
			}
		}
		next := t.chores(now, choreSlack)
		if scan.Before(next) {
			next = scan
		}
		timer.Reset(next.Sub(now))
	}
}

// period is how long a node is silent before it sends a beacon.
func (t *Transport) period() time.Duration {
	return beaconPeriod * time.Duration(1+t.roster.size()/beaconNodes)
}

// chores sends a beacon if nothing was sent to the group for a period, and looks
// at what was heard, each if it has been due for slack. It returns when to ask
// again.
func (t *Transport) chores(now time.Time, slack time.Duration) time.Time {
	period := t.period()
	beacon := now.Add(period + slack - t.sender.silent(now))
	if !now.Before(beacon) {
		_ = t.toGroup(t.header(kindBeacon, 0).append(nil))
		beacon = now.Add(period + slack)
	}
	listen := t.networks.due(now, slack)
	if !now.Before(listen) {
		patience := max(deafAfter, 3*period)
		t.networks.listen(now, t.roster.remote(now.Add(-patience)), patience)
		listen = now.Add(listenPeriod + slack)
	}
	if listen.Before(beacon) {
		return listen
	}
	return beacon
}

// rescan reads the list of interfaces again. With no network at all the
// transport waits for one to come.
func (t *Transport) rescan(now time.Time) {
	if t.networks.scan(t.cfg.Interfaces) != nil || t.networks.join(t.families, now) != nil {
		return
	}
	t.announce()
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, l := range t.links {
		l.abandon(t.networks.own)
	}
}
