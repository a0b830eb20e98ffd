package sim

import (
	"net/netip"
	"time"

	"github.com/seed-885536be/p2p/internal/sim/trace"
	"github.com/seed-885536be/p2p/membership"
)

// watch is what a World knows of a process besides its machine, to judge by
// what right it becomes coordinator.
type watch struct {
	suspended int64 // when it was suspended last
	resumed   int64
	evicted   int64                       // when it last lost its place in the group
	beat      int64                       // when it last heard any coordinator
	silent    map[membership.Epoch]int64  // when it last heard of each coordinator, at first or second hand
	seq       map[membership.Epoch]uint64 // of the last heartbeat of each
	handover  membership.ViewID           // the view whose coordinator handed over to it
	gone      map[holder]bool             // incarnations that it has proof are gone
	refused   map[netip.AddrPort]bool
}

func newWatch() watch {
	return watch{silent: map[membership.Epoch]int64{}, seq: map[membership.Epoch]uint64{}, gone: map[holder]bool{}, refused: map[netip.AddrPort]bool{}}
}

type holder struct {
	key membership.Key
	inc uint64
}

// heard is called before the machine is given the packet.
func (o *watch) heard(p *Process, pkt *Packet) {
	h := pkt.Header
	now := p.w.now
	switch b := pkt.Body.(type) {
	case membership.Heartbeat:
		o.beat = now
		if last := o.seq[h.View.Epoch]; b.Seq == 0 || b.Seq > last {
			o.silent[h.View.Epoch] = now
			o.seq[h.View.Epoch] = max(last, b.Seq)
		} // else it is a copy, or was overtaken, and is no sign of life
	case membership.Alive:
		if mine := p.view.ID; !p.view.Lists(h.From, h.Inc) && (h.View.Epoch != mine.Epoch || h.View.Compare(mine) <= 0) {
			break // of no fellow, such as one that was evicted and has not noticed
		}
		o.silent[b.Epoch] = max(o.silent[b.Epoch], now-int64(b.Age))
	case membership.Handover:
		if e := h.View.Epoch; e.Leader == h.From && e.Inc == h.Inc {
			o.handover = h.View
		}
	case membership.Suspect:
		if b.Proof {
			o.gone[holder{b.Epoch.Leader, b.Epoch.Inc}] = true
		}
	case membership.Bye:
		o.gone[holder{h.From, h.Inc}] = true
	}
	if l := p.view.ID.Epoch; h.From == l.Leader && h.Inc > l.Inc {
		o.gone[holder{l.Leader, l.Inc}] = true
	}
}

func (o *watch) down(addr netip.AddrPort, cause membership.Cause) {
	if cause == membership.CauseRefused {
		o.refused[addr] = true
	}
}

// sends checks what a process says: only the holder of an epoch answers a
// joiner in it.
func (o *watch) sends(p *Process, pkt *Packet) {
	switch b := pkt.Body.(type) {
	case membership.Welcome:
		if e := b.View.ID.Epoch; e.Leader != p.host.Key || e.Inc != pkt.Header.Inc {
			p.w.fail("S5 at %v: it welcomes a joiner to %v", p, show(b.View))
		}
	case membership.Heartbeat:
		if e := pkt.Header.View.Epoch; e.Leader != p.host.Key || e.Inc != pkt.Header.Inc {
			p.w.fail("S5 at %v: a heartbeat of %v", p, pkt.Header.View)
		}
	}
}

// happened takes what the machine announces.
func (p *Process) happened(e membership.Event) {
	w := p.w
	switch e := e.(type) {
	case membership.Evicted:
		w.trace(p, "evicted from %v", e.View)
		w.Count.Evicted++
		p.watch.evicted = w.now
	case membership.Installed:
		p.installed(e)
	case membership.Suspected:
		w.trace(p, "suspects %x: %s for %v", e.Member.Key[:2], e.Why, e.Silent)
	case membership.Restored:
		w.trace(p, "restores %x", e.Member.Key[:2])
	}
}

func (p *Process) installed(e membership.Installed) {
	w, v := p.w, e.View
	w.trace(p, "installed %v class %d number %d next %d: %v, gap %v", show(v), v.Class, v.Number, v.NextID, e.Cause, e.Gap)
	w.note(uint64(w.now), uint64(p.host.Index), 6, v.ID.Epoch.Ctr, uint64(v.ID.Seq), uint64(len(v.Members)))
	w.changed = true
	w.Count.Installs++
	if e.Prev.ID != p.view.ID {
		w.fail("at %v: the view before is said to be %v and was %v", p, show(e.Prev), show(p.view))
	}
	if was := p.view.ID.Epoch; !p.view.ID.IsZero() && (was.Leader != v.ID.Epoch.Leader || was.Inc != v.ID.Epoch.Inc) {
		w.Count.Changes++
	}
	err := w.check.Install(trace.Install{Process: p.String(), Node: p.host.Key, Inc: p.machine.Header().Inc, View: w.traced(&e)})
	if err != nil {
		w.fail("%w", err)
	}
	if v.ID.Epoch != p.view.ID.Epoch && v.ID.Epoch.Leader == p.host.Key && v.ID.Epoch.Inc == p.machine.Header().Inc {
		p.took(&e)
	}
	p.view = v
	if w.Observe != nil {
		w.Observe(p, e)
	}
}

// traced is the view for the checker, one value for all who install it.
func (w *World) traced(e *membership.Installed) *trace.View {
	v := &e.View
	if seen, ok := w.views[v.ID]; ok && seen.view.Equal(*v) {
		return seen.trace
	}
	t := &trace.View{
		Term: v.ID.Epoch.Ctr, Leader: v.ID.Epoch.Leader, Inc: v.ID.Epoch.Inc, Number: uint64(v.ID.Seq), NextID: v.NextID,
		Merge: e.Cause == membership.CauseMerge, First: e.Cause == membership.CauseFirst,
		Members: make([]trace.Member, len(v.Members)),
	}
	for i, m := range v.Members {
		t.Members[i] = trace.Member{Key: m.Key, Inc: m.Inc, ID: m.ID}
	}
	if _, ok := w.views[v.ID]; !ok {
		w.views[v.ID] = seenView{*v, t}
	}
	return t
}

// took checks S7 when a process opened an epoch, and counts.
func (p *Process) took(e *membership.Installed) {
	w, o := p.w, &p.watch
	base := e.Prev.ID
	switch e.Cause {
	case membership.CauseFirst:
		quiet := min(w.now-max(p.began, o.evicted), w.now-o.beat)
		if o.beat == 0 {
			quiet = w.now - max(p.began, o.evicted)
		}
		if about(quiet) < w.timing.JoinWin {
			w.fail("S7 at %v: it founded a group after %v", p, time.Duration(quiet))
		}
	case membership.CauseHandover:
		if o.handover != base {
			w.fail("S7 at %v: it took over %v, which was not handed to it", p, base)
		}
	case membership.CauseElected:
		w.Count.Elected++
		old := w.coordinator(base.Epoch)
		since := max(w.shifted, o.resumed)
		if old != nil {
			since = max(since, old.watch.resumed)
		}
		if old != nil && old != p && !old.suspended && old.lists(p) && w.connected(old.host, p.host) &&
			!w.called[base] && w.now-since > int64(w.timing.TElect) {
			w.Count.FalseElections++
			w.trace(p, "WITHOUT NEED")
		}
		heard, ok := o.silent[base.Epoch]
		if !ok {
			heard = p.began
		}
		if about(w.now-heard) < w.timing.TProbe && !o.proof(e.Prev) && !w.called[base] {
			w.fail("S7 at %v: it was elected %v after it heard the coordinator of %v", p, time.Duration(w.now-heard), base)
		}
	}
}

func (o *watch) proof(v membership.View) bool {
	c, _ := v.Coordinator()
	return o.refused[c.Addr] || o.gone[holder{c.Key, c.Inc}]
}

// coordinator is the process that holds an epoch, or nil.
func (w *World) coordinator(e membership.Epoch) *Process {
	for _, h := range w.hosts {
		if h.Key == e.Leader && h.proc != nil && h.proc.alive && h.proc.machine.Header().Inc == e.Inc {
			return h.proc
		}
	}
	return nil
}

// about allows for the rate of a process's clock.
func about(ns int64) time.Duration { return time.Duration(ns + ns/64) }
