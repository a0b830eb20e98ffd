package core

import (
	"net/netip"
	"time"
)

// A frame that is not what it claims to be costs a signature to find out, and
// whoever can reach this node can send any number. So each source may cause so
// much work in a second; what else it sends in that second is not looked at, or,
// if it came by a stream, is looked at later. The sources are those that caused
// some lately, and all further ones count as one.
const (
	faultsEach  = 100
	faultsRest  = 400
	maxFaulters = 256

	faultCost = 10 // of what is refused
	checkCost = 1  // of a signature that is right, on a stream
)

// gate is how much work each source caused of late.
type gate struct {
	sources map[netip.AddrPort]*tally
	rest    tally
	swept   time.Time
}

// shut reports whether no more of a source is to be looked at.
func (g *gate) shut(now time.Time, from netip.AddrPort) bool { return !g.opens(now, from).IsZero() }

// opens is when a source is to be looked at again; the zero time is now.
func (g *gate) opens(now time.Time, from netip.AddrPort) time.Time {
	t, known := g.sources[from]
	limit := faultsEach
	if !known {
		// A source that never caused any is not to suffer for the others, as long
		// as there is a place to remember it when it does.
		if len(g.sources) < maxFaulters {
			return time.Time{}
		}
		t, limit = &g.rest, faultsRest
	}
	if end := t.since.Add(time.Second); now.Before(end) && t.n >= limit*faultCost {
		return end
	}
	return time.Time{}
}

// charge counts work. It reports whether the source is shut now, and was not
// before.
func (g *gate) charge(now time.Time, from netip.AddrPort, cost int) bool {
	if now.Sub(g.swept) >= time.Second {
		g.swept = now
		for a, t := range g.sources {
			if now.Sub(t.since) >= time.Second {
				delete(g.sources, a)
			}
		}
	}
	t, limit := g.sources[from], faultsEach
	switch {
	case t != nil:
	case len(g.sources) < maxFaulters:
		t = new(tally)
		g.sources[from] = t
	default:
		t, limit = &g.rest, faultsRest
	}
	if now.Sub(t.since) >= time.Second {
		*t = tally{since: now}
	}
	before := t.n
	t.n += cost
	return before < limit*faultCost && t.n >= limit*faultCost
}
