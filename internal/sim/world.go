package sim

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/internal/core"
	"github.com/seed-885536be/p2p/internal/sim/trace"
	"github.com/seed-885536be/p2p/membership"
)

// Machine is what a World runs: a *core.Group, or a stand-in of a test.
type Machine interface {
	Step(now time.Time, in membership.Input)
	StepElection(now time.Time, from netip.AddrPort, h membership.Header, m election.Message)
	Tick(now time.Time)
	Deadline() time.Time
	View() membership.View
	Header() membership.Header
	Ready() core.GroupReady
}

// Config is what a World is made of. The zero value is a group with the
// classic timing and Bully on a calm network.
type Config struct {
	Seed      uint64
	Timing    membership.Timing // zero: membership.Classic
	Elector   election.New      // nil: election.NewBully
	Seniority bool
	Weather   Weather // zero: Calm
	// Evidence says that streams connect all members, as replication of the
	// history makes them, so that peers notice at once when a process dies,
	// and after seconds when its host is gone. Otherwise nothing is ever
	// reported to be down.
	Evidence bool
	// Wire, if not nil, is what becomes of each packet on its way: it is
	// encoded and decoded.
	Wire func(*Packet) (*Packet, error)
	// Trace, if not nil, is told what happens, a line each.
	Trace io.Writer
	// New makes the machine of a process. Nil: core.NewGroup.
	New func(core.GroupConfig) (Machine, error)
}

// Packet is one message on its way.
type Packet struct {
	From     netip.AddrPort
	Group    bool // to all
	Reliable bool // on a stream
	Header   membership.Header
	Body     membership.Body   // nil for an election's message
	Election *election.Message // nil for the others
}

// Name is the kind of the message.
func (p *Packet) Name() string {
	if p.Election != nil {
		return p.Election.Kind.String()
	}
	return fmt.Sprintf("%T", p.Body)[len("membership."):]
}

// Fate is what a Filter wants done with a packet.
type Fate struct {
	Drop  bool
	Delay time.Duration // besides what the weather makes of it
}

// World is a network with its hosts, their processes, and the time.
type World struct {
	// Weather may be changed at any time.
	Weather Weather
	// Filter, if not nil, decides on every packet to every receiver that can
	// be reached, before the weather.
	Filter func(p *Packet, from, to *Process) Fate
	// Observe, if not nil, is called after each installed view.
	Observe func(p *Process, in membership.Installed)
	// Count is what has happened so far.
	Count Counters

	cfg       Config
	timing    membership.Timing
	now       int64
	seq       uint64
	queue     queue
	net       *rand.Rand
	hosts     []*Host // hosts[i-1] is host i
	endpoints map[netip.AddrPort]*endpoint
	streams   map[[2]*Process]int64      // when the last frame arrives
	held      []heldFrame                // on streams that are cut
	shifted   int64                      // when it last changed who reaches whom
	severed   map[[2]int]uint64          // pairs of hosts cut from each other, and since which event
	called    map[membership.ViewID]bool // views in which somebody asked for an election
	check     trace.Checker
	views     map[membership.ViewID]seenView
	hash      uint64
	changed   bool // a view, or who is there
	err       error
}

// Counters count what happened in a World.
type Counters struct {
	Sent           map[string]int // packets by name; a multicast counts once
	Delivered      int            // packets that reached a process
	Installs       int            // of views, by all processes
	Changes        int            // of the coordinator, as seen by all processes together
	Elected        int            // coordinators that an election made
	FalseElections int            // of these, where the old one was well, and reached, for TElect
	Evicted        int            // processes that learned that the group went on without them
}

// Host is a machine, with at most one running process, which keeps its key.
type Host struct {
	Index  int
	Key    membership.Key
	Deaf   bool // multicast does not reach it
	Mute   bool // its multicast reaches nobody
	side   int  // of the partition
	cuts   map[int]bool
	gone   bool // unplugged: says nothing at all
	starts int
	inc    uint64
	port   uint16
	proc   *Process // the last one started; nil before the first
}

type endpoint struct {
	addr netip.AddrPort
	host *Host
	proc *Process // nil when nobody listens
}

type seenView struct {
	view  membership.View
	trace *trace.View
}

// origin is when virtual time begins.
var origin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// New returns a World with hosts 1 to hosts, none of which has a process yet.
func New(cfg Config, hosts int) *World {
	if cfg.Timing == (membership.Timing{}) {
		cfg.Timing = membership.Classic()
	}
	if cfg.Weather == (Weather{}) {
		cfg.Weather = Calm
	}
	if cfg.New == nil {
		cfg.New = func(c core.GroupConfig) (Machine, error) { return core.NewGroup(c) }
	}
	w := &World{
		Weather:   cfg.Weather,
		Count:     Counters{Sent: map[string]int{}},
		cfg:       cfg,
		timing:    cfg.Timing,
		net:       rand.New(rand.NewPCG(cfg.Seed, 1)),
		endpoints: map[netip.AddrPort]*endpoint{},
		streams:   map[[2]*Process]int64{},
		severed:   map[[2]int]uint64{},
		called:    map[membership.ViewID]bool{},
		check:     trace.Checker{Ordered: true},
		views:     map[membership.ViewID]seenView{},
		hash:      14695981039346656037,
	}
	for range hosts {
		w.addHost()
	}
	return w
}

// addHost adds a host, with a key by which hostOf knows it.
func (w *World) addHost() *Host {
	i := len(w.hosts) + 1
	h := &Host{Index: i, Key: membership.Key{byte(i >> 8), byte(i), 15: 1}, port: 7000, cuts: map[int]bool{}}
	w.hosts = append(w.hosts, h)
	return h
}

// hostOf is the host that a key was made for, 0 for the zero key.
func hostOf(k membership.Key) int { return int(k[0])<<8 | int(k[1]) }

// Now is the time since the beginning.
func (w *World) Now() time.Duration { return time.Duration(w.now) }

// Hash is the trace so far in one number.
func (w *World) Hash() uint64 { return w.hash }

// Err is the first violation, after which nothing happens any more.
func (w *World) Err() error { return w.err }

// Host returns host i, counted from 1.
func (w *World) Host(i int) *Host { return w.hosts[i-1] }

// At is the process that runs, or ran last, on host i.
func (w *World) At(i int) *Process { return w.hosts[i-1].proc }

// Alive returns the processes that run, suspended ones too.
func (w *World) Alive() []*Process {
	var ps []*Process
	for _, h := range w.hosts {
		if h.proc != nil && h.proc.alive {
			ps = append(ps, h.proc)
		}
	}
	return ps
}

// After makes do happen after d.
func (w *World) After(d time.Duration, do func()) {
	w.push(item{at: w.now + int64(d), kind: itemCall, call: do})
}

// Run lets d pass.
func (w *World) Run(d time.Duration) { w.Await(d, func() bool { return false }) }

// Await lets time pass until done, but no more than limit, and returns how
// long it took. done is asked now, and after each change of a view or of who
// is there.
func (w *World) Await(limit time.Duration, done func() bool) (took time.Duration, ok bool) {
	begin, end := w.now, w.now+int64(limit)
	w.changed = true
	for w.err == nil {
		if w.changed {
			w.changed = false
			if done() {
				return time.Duration(w.now - begin), true
			}
		}
		if len(w.queue) == 0 || w.queue[0].at > end {
			w.now = end
			return limit, false
		}
		w.next()
	}
	return time.Duration(w.now - begin), false
}

func (w *World) push(x item) {
	w.seq++
	x.seq = w.seq
	w.queue.push(x)
}

func (w *World) next() {
	x := w.queue.pop()
	if x.at > w.now {
		w.now = x.at
	}
	switch x.kind {
	case itemDatagram:
		if p := x.to.proc; p != nil {
			p.receive(x.pkt)
		}
	case itemFrame:
		x.proc.receive(x.pkt)
	case itemTimer:
		x.proc.timer(x.at)
	case itemCall:
		x.call()
	}
}

// fail ends the run.
func (w *World) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("after %v: %w", w.Now(), fmt.Errorf(format, args...))
		w.trace(nil, "FAILED %v", w.err)
	}
}

func (w *World) trace(p *Process, format string, args ...any) {
	if w.cfg.Trace == nil {
		return
	}
	who := "     "
	if p != nil {
		who = fmt.Sprintf("%-5v", p)
	}
	fmt.Fprintf(w.cfg.Trace, "%12.6f %s %s\n", w.Now().Seconds(), who, fmt.Sprintf(format, args...))
}

// note mixes what happened into the hash.
func (w *World) note(values ...uint64) {
	h := w.hash
	for _, v := range values {
		h = (h ^ v) * 1099511628211
		h ^= h >> 29
	}
	w.hash = h
}

// ErrNotAgreed is what Agreed returns in all cases.
var ErrNotAgreed = errors.New("the group is not agreed")

// Agreed returns nil if all processes that run have one view, which lists
// exactly them. If none does, that is so.
func (w *World) Agreed() error { return w.agreed(w.Alive()) }

// AgreedOf is Agreed for the processes of some hosts, as one side of a
// partition. On each of them one must run.
func (w *World) AgreedOf(hosts ...int) error {
	var ps []*Process
	for _, i := range hosts {
		p := w.At(i)
		if p == nil || !p.alive {
			return fmt.Errorf("%w: no process runs on host %d", ErrNotAgreed, i)
		}
		ps = append(ps, p)
	}
	return w.agreed(ps)
}

func (w *World) agreed(ps []*Process) error {
	if len(ps) == 0 {
		return nil
	}
	v := ps[0].view
	for _, p := range ps {
		if p.view.ID != v.ID || p.view.ID.IsZero() {
			return fmt.Errorf("%w: %v has %v, %v has %v", ErrNotAgreed, ps[0], show(v), p, show(p.view))
		}
	}
	if len(v.Members) != len(ps) {
		return fmt.Errorf("%w: %d processes run, and all have %v", ErrNotAgreed, len(ps), show(v))
	}
	in := make(map[membership.Key]uint64, len(v.Members))
	for _, m := range v.Members {
		in[m.Key] = m.Inc
	}
	for _, p := range ps {
		if in[p.host.Key] != p.machine.Header().Inc {
			return fmt.Errorf("%w: %v is not in %v", ErrNotAgreed, p, show(v))
		}
	}
	return nil
}

// show is a view for people: its ID, and ID@host.incarnation of each member.
func show(v membership.View) string {
	s := v.ID.String() + " ["
	for i, m := range v.Members {
		if i == 20 {
			s += fmt.Sprintf(" … (%d)", len(v.Members))
			break
		}
		if i > 0 {
			s += " "
		}
		s += fmt.Sprintf("%d@%d.%d", m.ID, hostOf(m.Key), m.Inc)
	}
	return s + "]"
}
