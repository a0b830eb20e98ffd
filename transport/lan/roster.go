package lan

import (
	"container/list"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// roster is what is known of the other transports of the group: for each the
// one endpoint by which the Handler knows it, its name, and the addresses its
// packets came from, its routes. A node that is heard by IPv4 and by IPv6, or
// over two interfaces, has several routes and one name.
//
// The name is the endpoint that the node says is its own. That need not be
// true, so what is sent to a name goes to where the node's packets came from,
// and to the name itself only if nothing came. Nobody can take a name from a
// node that was heard at that very address.
type roster struct {
	mu        sync.Mutex
	instances map[uint64]*known
	names     map[netip.AddrPort]*known
	order     list.List // of *known, the one heard last in front
}

// known is one transport, of which a packet or a hello came.
type known struct {
	instance uint64
	claimed  netip.AddrPort // by itself
	name     netip.AddrPort // claimed, but for a node whose claim is another's
	local    bool           // it is on this host: its name is its route
	routes   []route        // the one heard last in front; without duplicates
	element  *list.Element
}

// route is an address at which a node is reached, with a zone if need be.
type route struct {
	at    netip.AddrPort
	heard time.Time
}

// Bounds of the roster, and of what it prefers.
const (
	maxRoster = 4096
	maxRoutes = 4
	// A node's own name is preferred over its other routes unless nothing came
	// from there for so much longer.
	preferName = 2 * scanPeriod
)

// hear notes where something of a node came from, and returns its name. local
// says that it is from this host, whose own addresses may all be the source.
func (r *roster) hear(h header, from netip.AddrPort, local bool, now time.Time) netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.instances == nil {
		r.instances, r.names = make(map[uint64]*known), make(map[netip.AddrPort]*known)
	}
	k := r.instances[h.instance]
	if k == nil {
		k = r.add(h.instance)
	}
	r.order.MoveToFront(k.element)
	if k.claimed != h.endpoint {
		r.moved(k, h.endpoint)
	}
	k.local = local
	r.call(k, from, local || equalEndpoint(from, h.endpoint))
	if !local {
		k.heardAt(from, now)
	}
	return k.name
}

func (r *roster) add(instance uint64) *known {
	if len(r.instances) >= maxRoster {
		last := r.order.Back()
		old := last.Value.(*known)
		r.order.Remove(last)
		delete(r.instances, old.instance)
		r.forget(old.name, old)
		r.forget(old.claimed, old)
	}
	k := &known{instance: instance}
	k.element = r.order.PushFront(k)
	r.instances[instance] = k
	return k
}

func (r *roster) forget(name netip.AddrPort, k *known) {
	if r.names[name] == k {
		delete(r.names, name)
	}
}

// moved notes that a node claims another endpoint than before. The name stays
// until the Handler itself uses the new one: so it knows one.
func (r *roster) moved(k *known, to netip.AddrPort) {
	if k.claimed != k.name {
		r.forget(k.claimed, k)
	}
	k.claimed = to
}

// call gives a node its name, if it can have it; proof says that something came
// from there.
func (r *roster) call(k *known, from netip.AddrPort, proof bool) {
	holder := r.names[k.claimed]
	if proof && holder != nil && holder != k {
		holder.name, holder = netip.AddrPort{}, nil // another process has that endpoint now
	}
	if holder == nil {
		r.names[k.claimed] = k
	}
	switch {
	case r.names[k.name] == k: // a name lasts
	case r.names[k.claimed] == k:
		k.name = k.claimed
	default:
		k.name = plain(from)
		if r.names[k.name] == nil {
			r.names[k.name] = k
		}
	}
}

func (k *known) heardAt(at netip.AddrPort, now time.Time) {
	i := slices.IndexFunc(k.routes, func(r route) bool { return r.at == at })
	switch {
	case i >= 0:
	case len(k.routes) < maxRoutes:
		k.routes = append(k.routes, route{})
		i = len(k.routes) - 1
	default:
		i = maxRoutes - 1
	}
	copy(k.routes[1:i+1], k.routes[:i])
	k.routes[0] = route{at, now}
}

// find returns the node with a name, unless only that name leads to it. When the
// Handler uses the endpoint that a node has moved to, that is its name from now
// on.
func (r *roster) find(name netip.AddrPort) *known {
	k := r.names[name]
	if k == nil {
		return nil
	}
	if name == k.claimed && name != k.name {
		r.forget(k.name, k)
		k.name = name
	}
	if k.local || len(k.routes) == 0 {
		return nil
	}
	return k
}

// routesTo returns where to send what is for a name, the best first. It has at
// least one entry.
func (r *roster) routesTo(name netip.AddrPort) []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.find(name)
	if k == nil {
		return []netip.AddrPort{name}
	}
	to := append(make([]netip.AddrPort, 0, maxRoutes+1), k.best(name))
	for _, r := range k.routes {
		to = addEndpoint(to, r.at)
	}
	// A loopback address is another host's own, of which it has no better one.
	if !name.Addr().IsLoopback() && !slices.ContainsFunc(to, func(e netip.AddrPort) bool { return equalEndpoint(e, name) }) {
		to = append(to, name)
	}
	return to
}

// routeTo is the first of routesTo.
func (r *roster) routeTo(name netip.AddrPort) netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.find(name); k != nil {
		return k.best(name)
	}
	return name
}

func (k *known) best(name netip.AddrPort) netip.AddrPort {
	for _, r := range k.routes {
		if equalEndpoint(r.at, name) && k.routes[0].heard.Sub(r.heard) < preferName {
			return r.at
		}
	}
	return k.routes[0].at
}

// here reports whether the node with a name is known to be on this host.
func (r *roster) here(name netip.AddrPort) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.names[name]
	return k != nil && k.local
}

// size is how many nodes are known.
func (r *roster) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.instances)
}

// remote reports whether a node on another host was heard since a time.
func (r *roster) remote(since time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := r.order.Front(); e != nil; e = e.Next() {
		k := e.Value.(*known)
		if len(k.routes) > 0 && !k.routes[0].heard.Before(since) {
			return true
		}
	}
	return false
}

// tell lists up to n endpoints that may be of use to a node elsewhere: those
// heard last.
func (r *roster) tell(to netip.AddrPort, n int) []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []netip.AddrPort
	use := func(e netip.AddrPort) {
		e = plain(e)
		a := e.Addr()
		if len(out) < n && !a.IsLinkLocalUnicast() && a.IsLoopback() == to.Addr().IsLoopback() && !equalEndpoint(e, to) {
			out = addEndpoint(out, e)
		}
	}
	for e := r.order.Front(); e != nil && len(out) < n; e = e.Next() {
		k := e.Value.(*known)
		use(k.name)
		for _, route := range k.routes {
			use(route.at)
		}
	}
	return out
}
