package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/internal/core"
	"github.com/seed-885536be/p2p/membership"
)

// Process is one run of a program on a Host.
type Process struct {
	w         *World
	host      *Host
	at        *endpoint
	machine   Machine
	start     int // the first of its host is 1
	alive     bool
	suspended bool
	left      bool
	err       error
	view      membership.View
	began     int64
	timerAt   int64
	ticks     int      // in a row that made no progress
	backlog   []func() // steps that wait
	behind    bool     // it runs again, and is at its backlog
	dialing   map[netip.AddrPort]bool
	clock     clock
	watch     watch
}

// clock is a process's own: it began at another time and runs at its own rate,
// as nothing in the protocol may compare times of two processes.
type clock struct {
	zero time.Time
	ppm  int64
}

func (c *clock) read(now int64) time.Time {
	return c.zero.Add(time.Duration(now + now/1e6*c.ppm))
}

// due is the first moment at which the clock has reached t.
func (c *clock) due(t time.Time) int64 {
	d := int64(t.Sub(c.zero))
	d -= d / (1e6 + c.ppm) * c.ppm
	for c.read(d).Before(t) {
		d += 1000
	}
	return d
}

// maxBacklog is how many inputs wait for a suspended process; the rest is lost,
// as in a socket's buffer.
const maxBacklog = 1024

// String is host.start, as traces show it.
func (p *Process) String() string { return fmt.Sprintf("%d.%d", p.host.Index, p.start) }

// View is the view installed last.
func (p *Process) View() membership.View { return p.view }

// Running reports whether the process runs, be it suspended.
func (p *Process) Running() bool { return p.alive }

// Left reports whether the process departed gracefully.
func (p *Process) Left() bool { return p.left }

// Err is why the machine stopped, if it did.
func (p *Process) Err() error { return p.err }

// Host is the host on which the process runs.
func (p *Process) Host() int { return p.host.Index }

// Inc is the process's incarnation.
func (p *Process) Inc() uint64 { return p.machine.Header().Inc }

// ID is the process's own number in its view, or 0.
func (p *Process) ID() uint32 {
	m, _ := p.view.Find(p.host.Key)
	return m.ID
}

// Leads reports whether the process coordinates its view.
func (p *Process) Leads() bool {
	e := p.view.ID.Epoch
	return p.alive && e.Leader == p.host.Key && e.Inc == p.machine.Header().Inc
}

// Leader is the host of the coordinator of the process's view, or 0.
func (p *Process) Leader() int {
	return hostOf(p.view.ID.Epoch.Leader)
}

// Start starts a process on host i, at a new endpoint.
func (w *World) Start(i int) *Process {
	h := w.hosts[i-1]
	if h.starts > 0 {
		h.port++
	}
	return w.start(h)
}

// StartHere starts a process on host i at the endpoint that the last one had.
func (w *World) StartHere(i int) *Process { return w.start(w.hosts[i-1]) }

// StartAll starts a process on every host.
func (w *World) StartAll() {
	for i := range w.hosts {
		w.Start(i + 1)
	}
}

func (w *World) start(h *Host) *Process {
	if h.proc != nil && h.proc.alive {
		panic(fmt.Sprintf("sim: a process runs on host %d", h.Index))
	}
	h.starts++
	if h.gone {
		h.gone = false
		w.sever()
	}
	h.inc = max(h.inc+1, uint64(w.now/1e6)+1)
	return w.launch(h, h.inc)
}

// Twin starts a second process with the key of host i, as by a copied data
// directory, on a host of its own.
func (w *World) Twin(i int, inc uint64) *Process {
	orig := w.hosts[i-1]
	h := w.addHost()
	h.Key, h.side, h.starts, h.inc = orig.Key, orig.side, 1, inc
	return w.launch(h, inc)
}

func (w *World) launch(h *Host, inc uint64) *Process {
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(h.Index >> 8), byte(h.Index)}), h.port)
	at := w.endpoints[addr]
	if at == nil {
		at = &endpoint{addr: addr, host: h}
		w.endpoints[addr] = at
	}
	r := rand.New(rand.NewPCG(w.cfg.Seed, uint64(h.Index)<<32|uint64(h.starts)<<1))
	p := &Process{w: w, host: h, at: at, start: h.starts, alive: true, began: w.now, dialing: map[netip.AddrPort]bool{}, watch: newWatch()}
	p.clock = clock{origin.Add(time.Duration(r.Int64N(int64(24 * time.Hour)))), r.Int64N(10_000) - 5_000}
	machine, err := w.cfg.New(core.GroupConfig{
		Self:   membership.Member{Key: h.Key, Inc: inc, Addr: addr, Name: fmt.Sprintf("n%d", h.Index)},
		Timing: w.timing, Elector: w.cfg.Elector, Rand: r, Seniority: w.cfg.Seniority,
	})
	if err != nil {
		w.fail("starting a process: %w", err)
		p.alive = false
		h.proc = p
		return p
	}
	p.machine, at.proc, h.proc = machine, p, p
	w.changed = true
	w.trace(p, "start at %v, incarnation %d", addr, inc)
	p.Step(membership.Start{})
	return p
}

// Kill ends the process of host i as kill -9 does: its peers' streams are
// reset, and its endpoint refuses.
func (w *World) Kill(i int) {
	if p := w.hosts[i-1].proc; p.stop() {
		w.trace(p, "killed")
		w.reset(p)
	}
}

// Unplug ends the process of host i and takes its host away: nothing is ever
// heard of it again, until another process is started there.
func (w *World) Unplug(i int) {
	if p := w.hosts[i-1].proc; p.stop() {
		w.trace(p, "unplugged")
		p.host.gone = true
		w.sever()
	}
}

func (p *Process) stop() bool {
	if p == nil || !p.alive {
		return false
	}
	p.alive, p.suspended, p.behind, p.backlog = false, false, false, nil
	if p.at.proc == p {
		p.at.proc = nil
	}
	p.w.changed = true
	return true
}

// Suspend stops the process of host i for d, as a closed laptop or SIGSTOP
// does. What arrives meanwhile waits for it.
func (w *World) Suspend(i int, d time.Duration) {
	p := w.hosts[i-1].proc
	if p == nil || !p.alive || p.suspended {
		return
	}
	since := w.now
	p.behind = false
	p.suspended, p.watch.suspended = true, since
	w.trace(p, "suspended for %v", d)
	w.After(d, func() {
		if w.hosts[i-1].proc == p && p.watch.suspended == since { // else it is another suspension
			w.Resume(i)
		}
	})
}

// Resume ends the suspension of the process of host i, if it is suspended.
func (w *World) Resume(i int) {
	p := w.hosts[i-1].proc
	if p == nil || !p.alive || !p.suspended {
		return
	}
	w.trace(p, "resumed")
	p.suspended = false
	p.watch.resumed = w.now
	w.changed = true
	// A driver that finds its timer and its inbox ready takes either first.
	if w.net.IntN(2) == 0 {
		p.tick()
	}
	p.behind = true
	p.catchUp(w.now, time.Duration(w.net.Int64N(int64(maxBehind)))/time.Duration(len(p.backlog)+1))
}

// maxBehind is how long a process takes at most to read what waited for it. What
// it says meanwhile is answered before it is through.
const maxBehind = 300 * time.Millisecond

// catchUp takes the steps that waited for a process that was resumed at that
// time, one after each pause.
func (p *Process) catchUp(resumed int64, pause time.Duration) {
	if !p.behind || p.watch.resumed != resumed {
		return // it was suspended again, or is gone
	}
	if len(p.backlog) == 0 {
		p.behind = false
		p.tick()
		p.arm()
		return
	}
	step := p.backlog[0]
	p.backlog = p.backlog[1:]
	p.run(step)
	if p.w.now-resumed > int64(maxBehind) {
		pause = 0 // more came meanwhile than it could have read at that pace
	}
	p.w.After(pause, func() { p.catchUp(resumed, pause) })
}

// Leave makes the process of host i depart gracefully.
func (w *World) Leave(i int) { w.hosts[i-1].proc.Step(membership.Depart{}) }

// Elect makes the process of host i ask for an election.
func (w *World) Elect(i int) {
	p := w.hosts[i-1].proc
	p.do(func() { w.called[p.view.ID] = true }) // when it gets to it: it may be behind
	p.Step(membership.Elect{})
}

// Step gives the machine an input now, or when it is no longer suspended.
func (p *Process) Step(in membership.Input) {
	p.do(func() {
		p.w.note(uint64(p.w.now), uint64(p.host.Index), 1)
		p.machine.Step(p.now(), in)
	})
}

// do runs a step of the machine, and what follows from it.
func (p *Process) do(step func()) {
	switch {
	case p == nil || !p.alive || p.w.err != nil:
	case p.suspended || p.behind:
		if len(p.backlog) < maxBacklog {
			p.backlog = append(p.backlog, step)
		}
	default:
		p.run(step)
	}
}

func (p *Process) run(step func()) {
	step()
	p.settle()
}

func (p *Process) now() time.Time { return p.clock.read(p.w.now) }

func (p *Process) receive(pkt *Packet) {
	p.do(func() {
		p.w.Count.Delivered++
		p.w.note(uint64(p.w.now), uint64(p.host.Index), 2)
		if p.w.cfg.Trace != nil {
			p.w.trace(p, "   <- %v %s", pkt.From, pkt.describe())
		}
		p.watch.heard(p, pkt)
		if pkt.Election != nil {
			p.machine.StepElection(p.now(), pkt.From, pkt.Header, *pkt.Election)
			return
		}
		p.machine.Step(p.now(), membership.Receive{From: pkt.From, Packet: membership.Packet{Header: pkt.Header, Body: pkt.Body}})
	})
}

// Deliver gives a packet to the process of host i, now.
func (w *World) Deliver(i int, pkt *Packet) { w.hosts[i-1].proc.receive(pkt) }

func (p *Process) down(addr netip.AddrPort, cause membership.Cause) {
	p.do(func() {
		p.w.note(uint64(p.w.now), uint64(p.host.Index), 3, uint64(cause))
		p.w.trace(p, "   down %v cause %d", addr, cause)
		p.watch.down(addr, cause)
		p.machine.Step(p.now(), membership.Down{Addr: addr, Cause: cause})
	})
}

func (p *Process) timer(at int64) {
	if at != p.timerAt {
		return // another was set since
	}
	p.timerAt = 0
	if p.alive && !p.suspended {
		p.tick()
		p.arm()
	}
}

// maxTicks is how often in a row a machine may ask for a tick that is due
// already.
const maxTicks = 100

func (p *Process) tick() {
	now := p.now()
	if d := p.machine.Deadline(); d.IsZero() || now.Before(d) {
		return
	}
	p.w.note(uint64(p.w.now), uint64(p.host.Index), 4)
	p.machine.Tick(now)
	p.ticks++
	d := p.machine.Deadline()
	if d.IsZero() || now.Before(d) {
		p.ticks = 0
	} else if p.ticks > maxTicks {
		p.w.fail("%v asks for ticks without end: its deadline is %v ago", p, now.Sub(d))
		return
	}
	p.settle()
}

// settle does what the machine wants done, and sets the timer.
func (p *Process) settle() {
	w := p.w
	r := p.machine.Ready()
	for _, note := range r.Notes {
		if e, ok := note.(membership.Event); ok {
			p.happened(e)
		}
	}
	if !p.alive {
		return // killed by Observe
	}
	for i := range r.Send {
		if p.send(&r.Send[i]); !p.alive {
			return // killed by Filter
		}
	}
	if len(p.view.Members) > 0 && len(p.machine.View().Members) == 0 {
		w.fail("S8 at %v: it has lost its view", p)
	}
	if r.Err != nil {
		p.err = r.Err
		w.trace(p, "stopped: %v", r.Err)
	}
	if r.Left || r.Err != nil {
		p.left = r.Left
		if r.Left {
			w.trace(p, "left")
		}
		p.stop()
		w.reset(p)
		return
	}
	p.arm()
}

// arm sets the timer. It is never early, and a little late.
func (p *Process) arm() {
	d := p.machine.Deadline()
	if d.IsZero() || !p.alive {
		return
	}
	at := max(p.clock.due(d), p.w.now) + p.w.net.Int64N(int64(200*time.Microsecond))
	if p.timerAt == 0 || at < p.timerAt {
		p.timerAt = at
		p.w.push(item{at: at, kind: itemTimer, proc: p})
	}
}

func (p *Packet) describe() string {
	if p.Election != nil {
		m := p.Election
		s := fmt.Sprintf("%s base %s from %x/%d", p.Name(), viewName(m.Base), p.Header.From[:2], p.Header.Inc)
		if m.Cand != (election.Key{}) {
			s += fmt.Sprintf(" cand %x/%d attempt %d hops %d refuse %v", m.Cand[:2], m.CandInc, m.Attempt, m.Hops, m.Refuse)
		}
		return s
	}
	return fmt.Sprintf("%s %+v from %x/%d in %v", p.Name(), p.Body, p.Header.From[:2], p.Header.Inc, p.Header.View)
}

func viewName(b election.Base) string {
	return fmt.Sprintf("%d.%x.%d", b.Ctr, b.Leader[:2], b.Seq)
}
