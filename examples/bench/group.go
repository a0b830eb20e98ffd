package main

import (
	"context"
	"errors"
	"net/netip"
	"os"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/fault"
	"github.com/seed-885536be/p2p/transport/lan"
)

// room is where all is said that is measured.
const room = "bench"

// groupNode is a p2pchat.Node on the loopback interface, or on a host's.
type groupNode struct {
	p     *process
	n     *p2pchat.Node
	fault *fault.Transport
	dir   string
}

func newGroupNode(p *process) (*groupNode, error) {
	g := &groupNode{p: p}
	cfg := lan.Config{Group: p.set.Group, Interfaces: []string{loopback()}}
	if p.set.Hosts {
		cfg.Interfaces = nil
	}
	g.fault = fault.New(lan.New(cfg), fault.Config{})
	opts := []p2pchat.Option{p2pchat.WithName("bench"), p2pchat.WithTransport(g.fault), p2pchat.WithMulticast(p.set.Cast)}
	if p.set.Election == "ring" {
		opts = append(opts, p2pchat.WithElector(election.NewRing))
	}
	if p.set.Sealed {
		opts = append(opts, p2pchat.WithPassphrase("figures, not secrets"))
	}
	if p.set.Data {
		dir, err := os.MkdirTemp("", "bench")
		if err != nil {
			return nil, err
		}
		g.dir = dir
		opts = append(opts, p2pchat.WithDataDir(dir))
	}
	if p.set.Index == 0 && p.set.past() > 0 { // the others take it over from the first
		opts = append(opts, p2pchat.WithLog(func(cfg causal.Config) (causal.Log, error) { return withPast(cfg, p.set.past()) }))
	}
	n, err := p2pchat.New(opts...)
	if err != nil {
		return nil, errors.Join(err, g.removeData())
	}
	g.n = n
	return g, nil
}

func (g *groupNode) start(ctx context.Context) error {
	events := g.n.Events(ctx)
	messages := g.n.Messages(ctx, p2pchat.FromStart)
	go func() {
		for e := range events {
			switch e := e.(type) {
			case *p2pchat.ViewEvent:
				g.p.say(report{Ev: "view", N: len(e.View.Members), ID: e.View.Coordinator.ID})
			case *p2pchat.CoordinatorEvent:
				g.p.say(report{Ev: "coordinator", ID: e.New.ID})
			}
		}
	}()
	go func() {
		for m := range messages {
			err := error(nil)
			if m.Room == room {
				err = g.p.took(m.Data)
			} else {
				err = g.p.tally.takePast(m.ID)
			}
			if err != nil {
				g.p.say(report{Ev: "failed", Err: err.Error()})
				return
			}
		}
	}()
	return g.n.Join(ctx)
}

func (g *groupNode) addr() string { return g.n.Self().Addr.String() }
func (g *groupNode) id() uint32   { return g.n.Self().ID }

func (g *groupNode) send(ctx context.Context, data []byte) error {
	_, err := g.n.Send(ctx, room, data)
	return err
}

func (g *groupNode) flush() error { return nil } // a Node sees to it

func (g *groupNode) do(ctx context.Context, c command) error {
	switch c.Op {
	case "agreed":
		return g.n.Wait(ctx, func(s p2pchat.Status) bool {
			return len(s.View.Members) == c.N && s.Phase == p2pchat.PhaseMember && s.Converged()
		})
	case "members":
		return g.n.Wait(ctx, func(s p2pchat.Status) bool { return len(s.View.Members) == c.N })
	case "cut":
		peers := make([]netip.AddrPort, len(c.Peers))
		for i, a := range c.Peers {
			var err error
			if peers[i], err = netip.ParseAddrPort(a); err != nil {
				return err
			}
		}
		g.fault.Cut(peers...)
		return nil
	case "heal":
		g.fault.Heal()
		return nil
	case "loss":
		return g.fault.Set(fault.Faults{Loss: c.Loss})
	}
	return errors.New("unknown command " + c.Op)
}

func (g *groupNode) digest() string { return g.n.Status().Digest.String() }
func (g *groupNode) pieces() uint64 { return g.n.Stats().Pieces }

func (g *groupNode) close() error { return errors.Join(g.n.Close(), g.removeData()) }

func (g *groupNode) removeData() error {
	if g.dir == "" {
		return nil
	}
	return os.RemoveAll(g.dir)
}
