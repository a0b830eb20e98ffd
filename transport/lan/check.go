package lan

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// Report is what Check found.
type Report struct {
	Addr       netip.AddrPort // of the node that looked
	Interfaces []transport.Interface
	Paths      []Path
	// Own is what came of a connection to the own endpoint.
	Own   Connection
	Nodes []Node // the others of the group, on other hosts first
	// Faults are what follows from all that, none if all is well or nobody else
	// is there.
	Faults []Fault
}

// Path is one way for packets to the group.
type Path struct {
	Interface string
	IPv6      bool
	// Back says that the own packet came back, as it does on a host whose
	// multicast works.
	Back bool
}

// Node is another node of the group.
type Node struct {
	Addr     netip.AddrPort
	Local    bool       // it is on this host, so that no network lies between
	Out      bool       // it hears what this node sends to the group
	In       bool       // this node hears what it sends to the group
	Unicast  bool       // it answers by unicast
	From, To Connection // what came of a TCP connection from it to this node, and to it
}

// Connection is what came of an attempt to connect.
type Connection string

// What can come of it.
const (
	NotTried Connection = "not tried"
	Open     Connection = "open"
	Refused  Connection = "refused"
	NoAnswer Connection = "no answer"
)

// Fault is which half of which traffic does not pass, between this host and all
// others of which there is any sign.
type Fault string

// The faults. FaultLoopback beside another tells that it is this host that keeps
// multicast back, and not the network.
const (
	FaultLoopback     Fault = "multicast does not come back to this host"
	FaultMulticastOut Fault = "multicast does not get out"
	FaultMulticastIn  Fault = "multicast does not get in"
	FaultUnicast      Fault = "unicast UDP does not pass"
	FaultTCPOut       Fault = "TCP does not get out"
	FaultTCPIn        Fault = "TCP does not get in"
	FaultOwn          Fault = "the own endpoint cannot be connected to"
)

// Times of a Check.
const (
	checkRound = 500 * time.Millisecond
	checkLeast = 2 * checkRound               // others are waited for even if the first has told all
	checkMost  = beaconPeriod + 2*time.Second // so that a node that is only heard was heard
	maxChecked = 64
)

// Check finds out how well the group of a Config can be reached from this host:
// which interfaces are used, whether multicast works on them, who answers, and
// what a firewall keeps back. It takes from one second to seven, or as long as
// ctx lasts. The node that looks has a port of its own if that of Config.Listen
// is taken, and is seen by no Handler. The error is one of Open.
func Check(ctx context.Context, c Config) (Report, error) {
	p := &probe{back: make(map[outlet]bool), nodes: make(map[uint64]*checked)}
	rand.Read(p.token[:]) // never fails
	open := func(c Config) (*Transport, error) {
		t := New(c)
		t.probe = p
		return t, t.Open(transport.HandlerFunc(func(transport.Event) {}))
	}
	t, err := open(c)
	if host, _, split := net.SplitHostPort(c.Listen); err != nil && split == nil && isInUse(err) {
		c.Listen = net.JoinHostPort(host, "0")
		t, err = open(c)
	}
	if err != nil {
		return Report{}, err
	}
	defer t.Close()
	p.t = t
	own := Refused
	if t.ownAnswers() {
		own = Open
	}
	start := time.Now()
	round := time.NewTicker(checkRound)
	defer round.Stop()
	for n := 0; ; n++ {
		p.ask(n)
		select {
		case <-ctx.Done():
		case <-round.C:
			if age := time.Since(start); age < checkLeast || age < checkMost && !p.complete() {
				continue
			}
		}
		return p.report(own), nil
	}
}

// ownAnswers reports whether a connection to the own endpoint gets there.
func (t *Transport) ownAnswers() bool {
	ctx, cancel := context.WithTimeout(t.ctx, t.cfg.DialTimeout)
	defer cancel()
	for _, at := range t.zoned(t.Addr()) {
		if _, _, err := t.callAt(ctx, at, kindTry); errors.Is(err, errOwn) {
			return true
		}
	}
	return false
}

// probe is what a Check finds out from the packets that its transport receives.
// A nil probe looks for nothing.
type probe struct {
	t     *Transport
	token [8]byte // its last byte is the kind of question

	mu    sync.Mutex
	back  map[outlet]bool
	nodes map[uint64]*checked // by instance
}

// checked is a node and whether a connection to it was tried.
type checked struct {
	Node
	tried bool
}

// The questions of a Check.
const (
	askGroup      = iota // to the group, answer to me
	askGroupGroup        // to the group, answer to the group
	askOne               // to one, answer to me
	askOneGroup          // to one, answer to the group
	askOneConnect        // to one, connect to me and answer
	questions
)

// packet is a question.
func (p *probe) packet(question byte) []byte {
	flags := map[byte]byte{askGroupGroup: pingGroup, askOneGroup: pingGroup, askOneConnect: pingConnect}[question]
	token := p.token
	token[7] = question
	return ping{flags: flags, token: token}.append(p.t.header(kindPing, 0).append(nil))
}

// ask is one round of questions.
func (p *probe) ask(n int) {
	t := p.t
	_ = t.toGroup(p.packet(askGroup))
	_ = t.toGroup(p.packet(askGroupGroup))
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, node := range p.nodes {
		to := t.roster.routeTo(node.Addr)
		for _, question := range []byte{askOne, askOneGroup, askOneConnect} {
			_ = t.write(to, p.packet(question))
		}
		if !node.tried {
			node.tried = true
			t.wg.Go(func() { p.connect(node) })
		}
	}
}

// connect tries a connection to a node.
func (p *probe) connect(n *checked) {
	ctx, cancel := context.WithTimeout(p.t.ctx, p.t.cfg.DialTimeout)
	defer cancel()
	became := Open
	nc, _, err := p.t.call(ctx, n.Addr, kindTry)
	switch {
	case err == nil:
		nc.Close()
	case notThere(err):
		became = Refused
	default:
		became = NoAnswer
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n.To = became
}

// heard takes any packet of another node.
func (p *probe) heard(h header, body ping, peer netip.AddrPort, local bool, w way) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[h.instance]
	if n == nil {
		if len(p.nodes) == maxChecked {
			return
		}
		n = &checked{Node: Node{Addr: peer, Local: local, From: NotTried, To: NotTried}}
		p.nodes[h.instance] = n
	}
	n.In = n.In || w.multicast
	n.Unicast = n.Unicast || h.kind == kindPong && !w.multicast
	token := body.token
	question := token[7]
	token[7] = p.token[7]
	if h.kind != kindPong || token != p.token || question >= questions {
		return
	}
	n.Out = n.Out || question == askGroup || question == askGroupGroup
	if question == askOneConnect {
		n.From = [...]Connection{NotTried, Open, Refused, NoAnswer}[body.flags]
	}
}

// echo takes an own question that came back.
func (p *probe) echo(body ping, w way) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.back[outlet{w.index, w.six}] = true
}

// complete reports whether nothing more can be found out.
func (p *probe) complete() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := false
	for _, n := range p.nodes {
		if n.Local {
			continue
		}
		if !n.Out || !n.In || !n.Unicast || n.From == NotTried || n.To == NotTried {
			return false
		}
		found = true
	}
	return found
}

// report draws the conclusions.
func (p *probe) report(own Connection) Report {
	r := Report{Addr: p.t.Addr(), Interfaces: p.t.Interfaces(), Own: own}
	names := p.t.networks.indexes()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.t.networks.outlets(nil) {
		// Where the interface of a packet is not known, one back is as good as all.
		r.Paths = append(r.Paths, Path{names[o.index], o.six, p.back[o] || p.back[outlet{0, o.six}]})
	}
	for _, n := range p.nodes {
		r.Nodes = append(r.Nodes, n.Node)
	}
	slices.SortFunc(r.Nodes, func(a, b Node) int {
		if a.Local != b.Local {
			if a.Local {
				return 1
			}
			return -1
		}
		return a.Addr.Compare(b.Addr)
	})
	r.Faults = r.conclude()
	return r
}

// conclude says what follows from what was found. Only nodes on other hosts tell
// anything of the network.
func (r Report) conclude() (faults []Fault) {
	fault := func(f Fault, is bool) {
		if is {
			faults = append(faults, f)
		}
	}
	fault(FaultLoopback, slices.ContainsFunc(r.Paths, func(p Path) bool { return !p.Back }))
	fault(FaultOwn, r.Own != Open)
	var remote []Node
	for _, n := range r.Nodes {
		if !n.Local {
			remote = append(remote, n)
		}
	}
	if len(remote) == 0 {
		return faults
	}
	any := func(f func(Node) bool) bool { return slices.ContainsFunc(remote, f) }
	unicast := any(func(n Node) bool { return n.Unicast })
	out := any(func(n Node) bool { return n.Out })
	in := any(func(n Node) bool { return n.In })
	// A multicast that is not answered by unicast may have got out all the same.
	fault(FaultMulticastOut, !out && unicast)
	fault(FaultMulticastIn, !in)
	fault(FaultUnicast, !unicast)
	fault(FaultTCPOut, any(func(n Node) bool { return n.To != NotTried }) && !any(func(n Node) bool { return n.To == Open }))
	fault(FaultTCPIn, any(func(n Node) bool { return n.From != NotTried }) && !any(func(n Node) bool { return n.From == Open }))
	return faults
}

// String is the report for a person, in several lines.
func (r Report) String() string {
	var b strings.Builder
	yes := func(ok bool) string {
		if ok {
			return "yes"
		}
		return "no"
	}
	fmt.Fprintf(&b, "endpoint  %v  (a connection to itself: %s)\n", r.Addr, r.Own)
	for _, i := range r.Interfaces {
		use := "used"
		if !i.Used {
			use = "not used"
		}
		if i.Why != "" {
			use += ": " + i.Why
		}
		addr := "no address"
		if i.Addr.IsValid() {
			addr = i.Addr.String()
		}
		fmt.Fprintf(&b, "interface %-10s %s  %s\n", i.Name, addr, use)
	}
	for _, p := range r.Paths {
		family := "IPv4"
		if p.IPv6 {
			family = "IPv6"
		}
		fmt.Fprintf(&b, "multicast %-10s %s  comes back: %s\n", p.Interface, family, yes(p.Back))
	}
	for _, n := range r.Nodes {
		where := ""
		if n.Local {
			where = "  (this host)"
		}
		fmt.Fprintf(&b, "node      %v%s  hears the group from here: %s  is heard: %s  unicast: %s  TCP to it: %s  TCP from it: %s\n",
			n.Addr, where, yes(n.Out), yes(n.In), yes(n.Unicast), cmp.Or(n.To, NotTried), cmp.Or(n.From, NotTried))
	}
	switch {
	case len(r.Faults) > 0:
		for _, f := range r.Faults {
			fmt.Fprintf(&b, "fault     %s\n", f)
		}
	case len(r.Nodes) == 0:
		fmt.Fprintln(&b, "nobody answers: this node is alone, or the network keeps multicast back")
	default:
		fmt.Fprintln(&b, "all is well")
	}
	return b.String()
}
