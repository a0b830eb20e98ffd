package sim

import (
	"net/netip"
	"slices"
	"time"

	"github.com/seed-885536be/p2p/internal/core"
	"github.com/seed-885536be/p2p/membership"
)

// Times of the operating system's streams.
const (
	minBreak    = 2 * time.Second // a stream over a link that was cut breaks after minBreak to maxBreak
	maxBreak    = 6 * time.Second
	dialTimeout = time.Second
)

// heldFrame is a frame on a stream whose link is cut.
type heldFrame struct {
	from, to *Process
	pkt      *Packet
}

// Cut stops all packets from one host to another, in this direction.
func (w *World) Cut(from, to int) {
	w.hosts[from-1].cuts[to] = true
	w.trace(nil, "cut %d -> %d", from, to)
	w.sever()
}

// Split parts the network: hosts of different sides do not reach each other.
// Hosts not named make another side.
func (w *World) Split(sides ...[]int) {
	for _, h := range w.hosts {
		h.side = 0
	}
	for s, hosts := range sides {
		for _, i := range hosts {
			w.hosts[i-1].side = s + 1
		}
	}
	w.trace(nil, "split %v", sides)
	w.sever()
}

// Heal mends all that Cut and Split did.
func (w *World) Heal() {
	for _, h := range w.hosts {
		h.side = 0
		clear(h.cuts)
	}
	w.trace(nil, "healed")
	w.sever()
}

// reaches reports whether packets pass in this direction.
func (w *World) reaches(from, to *Host) bool {
	return from == to || from.side == to.side && !from.cuts[to.Index] && !from.gone && !to.gone
}

// connected reports whether a stream passes, which needs both directions.
func (w *World) connected(a, b *Host) bool { return w.reaches(a, b) && w.reaches(b, a) }

func (p *Process) send(s *core.GroupSend) {
	w := p.w
	pkt := &Packet{From: p.at.addr, Group: s.Group, Reliable: s.Reliable, Header: s.Header, Body: s.Body, Election: s.Election}
	w.Count.Sent[pkt.Name()]++
	w.note(uint64(w.now), uint64(p.host.Index), 5)
	p.watch.sends(p, pkt)
	if w.cfg.Trace != nil {
		to := "all"
		if !s.Group {
			to = s.To.String()
		}
		w.trace(p, "-> %s %s", to, pkt.describe())
	}
	if w.cfg.Wire != nil {
		wired, err := w.cfg.Wire(pkt)
		if err != nil {
			w.fail("%v sends what cannot be sent: %w", p, err)
			return
		}
		pkt = wired
	}
	switch {
	case s.Group:
		if p.host.Mute {
			return
		}
		for _, h := range w.hosts {
			if h.proc != nil && h.proc.alive && h.proc != p && !h.Deaf {
				w.datagram(p, h.proc.at, pkt)
			}
		}
	case s.Reliable:
		w.stream(p, s.To, pkt)
	default:
		if to := w.endpoints[s.To]; to != nil {
			w.datagram(p, to, pkt)
		}
	}
}

func (w *World) datagram(from *Process, to *endpoint, pkt *Packet) {
	if !w.reaches(from.host, to.host) {
		return
	}
	var late time.Duration
	if w.Filter != nil && to.proc != nil {
		f := w.Filter(pkt, from, to.proc)
		if f.Drop {
			return
		}
		late = f.Delay
	}
	w.Weather.datagram(w.net, func(d time.Duration) {
		w.push(item{at: w.now + int64(late+d), kind: itemDatagram, to: to, pkt: pkt})
	})
}

func (w *World) stream(from *Process, addr netip.AddrPort, pkt *Packet) {
	to := w.endpoints[addr]
	switch {
	case to == nil || to.proc == nil:
		w.dial(from, addr)
	case !w.connected(from.host, to.host):
		f := heldFrame{from, to.proc, pkt}
		w.held = append(w.held, f)
		w.After(maxBreak, func() { w.held = slices.DeleteFunc(w.held, func(h heldFrame) bool { return h == f }) })
	default:
		w.frame(from, to.proc, pkt)
	}
}

// frame puts a frame on a stream: whole, in order, and sooner or later.
func (w *World) frame(from, to *Process, pkt *Packet) {
	d := w.Weather.frame(w.net)
	pair := [2]*Process{from, to}
	last, open := w.streams[pair]
	if _, other := w.streams[[2]*Process{to, from}]; !open && !other {
		d += 2 * w.Weather.delay(w.net) // for the connection
	}
	if w.Filter != nil {
		f := w.Filter(pkt, from, to)
		if f.Drop {
			return
		}
		d += f.Delay
	}
	at := max(last+1, w.now+int64(d))
	w.streams[pair] = at
	w.push(item{at: at, kind: itemFrame, proc: to, pkt: pkt})
}

// dial tells from what a connection to addr, where nobody listens, comes to: it
// is refused, or if the host is not reached either, it times out.
func (w *World) dial(from *Process, addr netip.AddrPort) {
	if !w.cfg.Evidence || from.dialing[addr] {
		return
	}
	from.dialing[addr] = true
	to := w.endpoints[addr]
	rtt := w.Weather.delay(w.net) + w.Weather.delay(w.net)
	if to == nil || !w.connected(from.host, to.host) {
		rtt = dialTimeout
	}
	w.After(rtt, func() {
		delete(from.dialing, addr)
		switch {
		case to == nil || !w.connected(from.host, to.host):
			from.down(addr, membership.CauseTimeout)
		case to.proc == nil:
			from.down(addr, membership.CauseRefused)
		}
	})
}

// linked reports whether there is a stream between two processes: one of them
// lists the other.
func linked(p, q *Process) bool {
	return p != q && (p.lists(q) || q.lists(p))
}

func (p *Process) lists(q *Process) bool {
	m, ok := p.view.Find(q.host.Key)
	return ok && m.Addr == q.at.addr
}

// reset lets the peers of a process that ended notice: their streams end, and
// they dial again.
func (w *World) reset(p *Process) {
	if !w.cfg.Evidence {
		return
	}
	for _, q := range w.Alive() {
		if linked(p, q) && w.connected(p.host, q.host) {
			w.After(w.Weather.delay(w.net), func() { w.broken(q, p) })
		}
	}
}

// broken tells q that its stream to p ended, and lets it dial again.
func (w *World) broken(q, p *Process) {
	q.down(p.at.addr, membership.CauseReset)
	if q.alive && (p.at.proc == nil || !w.connected(p.host, q.host)) {
		w.dial(q, p.at.addr)
	}
}

// sever follows a change of who reaches whom: streams over links that are cut
// will break, and those over links that are mended go on.
func (w *World) sever() {
	w.shifted = w.now
	held := w.held
	w.held = nil
	for _, f := range held {
		switch {
		case !f.from.alive || !f.to.alive:
		case w.connected(f.from.host, f.to.host):
			w.frame(f.from, f.to, f.pkt)
		default:
			w.held = append(w.held, f)
		}
	}
	if !w.cfg.Evidence {
		return
	}
	for i, a := range w.hosts {
		for _, b := range w.hosts[i+1:] {
			pair := [2]int{a.Index, b.Index}
			_, cut := w.severed[pair]
			switch {
			case w.connected(a, b):
				delete(w.severed, pair)
			case !cut && a.proc != nil && b.proc != nil && linked(a.proc, b.proc):
				since := w.seq
				w.severed[pair] = since
				p, q := a.proc, b.proc
				w.After(minBreak+time.Duration(w.net.Int64N(int64(maxBreak-minBreak))), func() {
					if now, cut := w.severed[pair]; cut && now == since {
						w.broken(p, q)
						w.broken(q, p)
					}
				})
			}
		}
	}
}
