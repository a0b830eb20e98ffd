package memnet

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Weather says what happens to each packet on each link: lost, or when its
// copies arrive. It is a value without goroutines, timers or clock, so that a
// simulator can use it alone; a Network has one inside.
//
// The n-th packet of a link has the same fate in every run with the same seed
// and the same settings, whatever happens on other links in between.
//
// A Weather must not be used by several goroutines at once.
type Weather struct {
	cfg   Config
	loss  map[link]float64
	cut   map[link]struct{}
	side  map[netip.AddrPort]int
	deaf  map[netip.AddrPort]struct{}
	count map[uint64]uint64 // packets of each link so far, by the link's hash
	plan  [2]time.Duration
}

// link is one direction between two endpoints.
type link struct{ from, to netip.AddrPort }

// NewWeather returns the weather that c describes. Fields of c that concern
// streams and queues are ignored.
func NewWeather(c Config) *Weather {
	return &Weather{
		cfg:   c,
		loss:  make(map[link]float64),
		cut:   make(map[link]struct{}),
		side:  make(map[netip.AddrPort]int),
		deaf:  make(map[netip.AddrPort]struct{}),
		count: make(map[uint64]uint64),
	}
}

// Plan returns after what time the copies of the next datagram on a link
// arrive: none if it is lost, two if it is duplicated, one otherwise. The
// slice is valid until the next call.
func (w *Weather) Plan(from, to netip.AddrPort, multicast bool) []time.Duration {
	draw := w.next(from, to)
	if !w.Open(from, to) {
		return nil
	}
	if _, deaf := w.deaf[to]; deaf && multicast {
		return nil
	}
	loss, ok := w.loss[link{from, to}]
	if !ok {
		loss = w.cfg.Loss
	}
	copies := 1
	if draw.float() < w.cfg.Duplicate {
		copies = 2
	}
	plan := w.plan[:0]
	for range copies {
		if draw.float() < loss {
			continue
		}
		d := w.cfg.Delay + draw.upTo(w.cfg.Jitter)
		if draw.float() < w.cfg.Reorder {
			d += draw.upTo(overtaken * max(w.cfg.Delay+w.cfg.Jitter, time.Millisecond))
		}
		plan = append(plan, d)
	}
	slices.Sort(plan)
	return plan
}

// overtaken is how many times the usual delay a packet is held back at most
// when it is chosen to be overtaken by others.
const overtaken = 4

// Delay returns how long the next packet of a stream takes on a link. Streams
// lose nothing, so loss, duplication and reordering do not concern it.
func (w *Weather) Delay(from, to netip.AddrPort) time.Duration {
	draw := w.next(from, to)
	return w.cfg.Delay + draw.upTo(w.cfg.Jitter)
}

// Open tells whether packets go from one endpoint to the other at all.
func (w *Weather) Open(from, to netip.AddrPort) bool {
	if _, cut := w.cut[link{from, to}]; cut {
		return false
	}
	return w.side[from] == w.side[to]
}

// Cut stops all packets from one endpoint to another, in this direction only.
func (w *Weather) Cut(from, to netip.AddrPort) { w.cut[link{from, to}] = struct{}{} }

// Mend undoes Cut for one direction.
func (w *Weather) Mend(from, to netip.AddrPort) { delete(w.cut, link{from, to}) }

// Partition lets packets go within each of the groups only. Endpoints that are
// in no group are one group more. It replaces an earlier partition and leaves
// links that are cut as they are.
func (w *Weather) Partition(groups ...[]netip.AddrPort) {
	clear(w.side)
	for i, g := range groups {
		for _, a := range g {
			w.side[a] = i + 1
		}
	}
}

// Heal undoes every Cut and the Partition. Loss, delays and deafness stay.
func (w *Weather) Heal() {
	clear(w.cut)
	clear(w.side)
}

// SetMulticast says whether an endpoint hears what is sent to the group. Every
// one does at first. What it sends to the group is heard in any case.
func (w *Weather) SetMulticast(addr netip.AddrPort, hears bool) {
	if hears {
		delete(w.deaf, addr)
	} else {
		w.deaf[addr] = struct{}{}
	}
}

// SetLoss changes Config.Loss, and the loss of links set by SetLinkLoss.
func (w *Weather) SetLoss(p float64) {
	clear(w.loss)
	w.cfg.Loss = p
}

// SetLinkLoss sets the loss of one link, from one endpoint to another.
func (w *Weather) SetLinkLoss(from, to netip.AddrPort, p float64) { w.loss[link{from, to}] = p }

// SetDelay changes Config.Delay and Config.Jitter.
func (w *Weather) SetDelay(delay, jitter time.Duration) { w.cfg.Delay, w.cfg.Jitter = delay, jitter }

// SetDuplicate changes Config.Duplicate.
func (w *Weather) SetDuplicate(p float64) { w.cfg.Duplicate = p }

// SetReorder changes Config.Reorder.
func (w *Weather) SetReorder(p float64) { w.cfg.Reorder = p }

// draw is the source of random numbers for one packet.
type draw struct{ rand.PCG }

// next returns the numbers that belong to the next packet of a link. They
// depend on the seed, the link and the number of its packets before, and on
// nothing else.
func (w *Weather) next(from, to netip.AddrPort) *draw {
	h := hash(hash(w.cfg.Seed, from), to)
	n := w.count[h]
	w.count[h] = n + 1
	d := new(draw)
	d.Seed(h, n)
	return d
}

// float returns a number in [0,1).
func (d *draw) float() float64 { return float64(d.Uint64()>>11) / (1 << 53) }

// upTo returns a duration in [0,limit].
func (d *draw) upTo(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return time.Duration(d.float() * float64(limit+1))
}

// hash mixes an endpoint into h.
func hash(h uint64, a netip.AddrPort) uint64 {
	b := a.Addr().As16()
	h = mix(h ^ binary.LittleEndian.Uint64(b[:8]))
	h = mix(h ^ binary.LittleEndian.Uint64(b[8:]))
	return mix(h ^ uint64(a.Port()))
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable
// pseudorandom number generators", OOPSLA 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
