package membership_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/seed-885536be/p2p/membership"
)

// node is one program: a machine, and somebody else's elector. This one is as
// simple as can be: the highest ranked candidate has won, and the others wait
// to hear of it.
type node struct {
	name    string
	machine *membership.Coordinated
	addr    netip.AddrPort
	running bool
}

// network delivers at once whatever is sent.
type network struct {
	now   time.Time
	nodes []*node
}

func (net *network) start(name string) *node {
	i := byte(len(net.nodes) + 1)
	n := &node{name: name, addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, i}), 7000), running: true}
	machine, err := membership.NewCoordinated(membership.Config{
		Self:   membership.Member{Key: membership.Key{i}, Inc: 1, Addr: n.addr, Name: name},
		Timing: membership.Classic(),
		Rand:   rand.New(rand.NewPCG(1, uint64(i))),
	})
	if err != nil {
		panic(err)
	}
	n.machine = machine
	net.nodes = append(net.nodes, n)
	net.step(n, membership.Start{})
	return n
}

// step gives a machine an input, and does what it wants done.
func (net *network) step(n *node, in membership.Input) {
	if n.running {
		n.machine.Step(net.now, in)
		net.settle(n)
	}
}

func (net *network) settle(n *node) {
	ready := n.machine.Ready()
	for _, e := range ready.Events {
		if e, ok := e.(membership.Installed); ok {
			c, _ := e.View.Coordinator()
			fmt.Printf("%s: %s coordinates %d (%s)\n", n.name, c.Name, len(e.View.Members), e.Cause)
		}
	}
	for _, s := range ready.Send {
		for _, to := range net.nodes {
			if to != n && (s.Group || s.To == to.addr) {
				net.step(to, membership.Receive{From: n.addr, Packet: s.Packet})
			}
		}
	}
	if r := ready.Round; r != nil {
		for _, to := range net.nodes { // ELECTION
			if to != n && !r.Invited {
				net.step(to, membership.Campaign{From: n.addr, Header: n.machine.Header(), Base: r.Base, Candidacy: true})
			}
		}
		if r.Candidates[0].Name == n.name {
			net.step(n, membership.Won{Base: r.Base})
		}
	}
}

// run lets time pass; a program would sleep until the first Deadline.
func (net *network) run(d time.Duration) {
	for end := net.now.Add(d); net.now.Before(end); net.now = net.now.Add(10 * time.Millisecond) {
		for _, n := range net.nodes {
			if at := n.machine.Deadline(); n.running && !at.IsZero() && !at.After(net.now) {
				n.machine.Tick(net.now)
				net.settle(n)
			}
		}
	}
}

// Three programs find each other; then the coordinator vanishes.
func ExampleCoordinated() {
	net := &network{now: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}
	ada := net.start("ada")
	net.run(5 * time.Second)
	net.start("bob")
	net.run(5 * time.Second)
	net.start("cy")
	net.run(5 * time.Second)
	ada.running = false
	net.run(15 * time.Second)
	// Output:
	// ada: ada coordinates 1 (first)
	// ada: ada coordinates 2 (join)
	// bob: ada coordinates 2 (join)
	// ada: ada coordinates 3 (join)
	// bob: ada coordinates 3 (join)
	// cy: ada coordinates 3 (join)
	// cy: cy coordinates 2 (elected)
	// bob: cy coordinates 2 (elected)
}
