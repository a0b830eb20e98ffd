package core

import (
	"net/netip"
	"time"
)

// A frame that is not what it claims to be costs a signature to find out, and
// whoever can reach this node can send any number. So each source may be wrong
// so often in a second; what else it sends in that second is not looked at. The
// sources are those that were wrong lately, and all further ones count as one.
const (
	faultsEach  = 100
	faultsRest  = 400
	maxFaulters = 256
)

// gate is how often each source was wrong of late.
type gate struct {
	sources map[netip.AddrPort]*tally
	rest    tally
	swept   time.Time
}

// shut reports whether no more of a source is to be looked at.
func (g *gate) shut(now time.Time, from netip.AddrPort) bool {
	t, known := g.sources[from]
	limit := faultsEach
	if !known {
		// A source that was never wrong is not to suffer for the others, as long
		// as there is a place to remember it when it is.
		if len(g.sources) < maxFaulters {
			return false
		}
		t, limit = &g.rest, faultsRest
	}
	return now.Sub(t.since) < time.Second && t.n >= limit
}

// fault counts one.
func (g *gate) fault(now time.Time, from netip.AddrPort) {
	if now.Sub(g.swept) >= time.Second {
		g.swept = now
		for a, t := range g.sources {
			if now.Sub(t.since) >= time.Second {
				delete(g.sources, a)
			}
		}
	}
	t := g.sources[from]
	if t == nil {
		if len(g.sources) >= maxFaulters {
			g.rest.take(now, time.Second, faultsRest)
			return
		}
		t = new(tally)
		g.sources[from] = t
	}
	t.take(now, time.Second, faultsEach)
}
