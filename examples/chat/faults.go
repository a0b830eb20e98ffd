package main

import (
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/fault"
)

// faults are the faults of the own network, as the command fault sets them.
// Cuts are given by IDs and hold by keys: who is cut off soon is no member of
// the view any more, and stays cut off.
type faults struct {
	net *fault.Transport

	mu    sync.Mutex
	known map[uint32]p2pchat.Peer // as last seen in a view
	now   faultBody
	side  map[p2pchat.PeerID]int // that a peer is on, from 1; the others are on side 0
	own   int                    // this node's side
	where map[netip.AddrPort]int // side by endpoint
}

func newFaults(net *fault.Transport) *faults {
	return &faults{net: net, known: map[uint32]p2pchat.Peer{}, now: faultBody{Cut: [][]uint32{}}}
}

// saw takes note of who has which ID and endpoint.
func (f *faults) saw(v p2pchat.View) {
	f.mu.Lock()
	defer f.mu.Unlock()
	moved := false
	for _, p := range v.Members {
		f.known[p.ID] = p
		if side, ok := f.side[p.Key]; ok && f.where[p.Addr] != side {
			moved = true
		}
	}
	if moved {
		f.apply()
	}
}

// set carries out a command and returns what holds from then on.
func (f *faults) set(self p2pchat.Peer, c *command) (faultBody, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next, side := f.now, f.side
	if c.Clear != nil && *c.Clear {
		next, side = faultBody{Cut: [][]uint32{}}, nil
	}
	if c.Loss != nil {
		if next.Loss = *c.Loss; next.Loss < 0 || next.Loss > 100 {
			return f.now, badArg("loss: want a percentage")
		}
	}
	if c.DelayMS != nil {
		if next.DelayMS = *c.DelayMS; next.DelayMS < 0 || next.DelayMS > maxDelay.Milliseconds() {
			return f.now, badArg("delay_ms: want at most %d", maxDelay.Milliseconds())
		}
	}
	if c.Cut != nil {
		var err error
		if side, err = f.sides(*c.Cut); err != nil {
			return f.now, err
		}
		next.Cut = [][]uint32{}
		for _, ids := range *c.Cut {
			next.Cut = append(next.Cut, append([]uint32{}, ids...))
		}
	}
	err := f.net.Set(fault.Faults{Loss: float64(next.Loss) / 100, Delay: time.Duration(next.DelayMS) * time.Millisecond})
	if err != nil {
		return f.now, err
	}
	if f.now = next; !maps.Equal(side, f.side) {
		f.side, f.own, f.where = side, side[self.Key], nil
		f.apply()
	}
	return f.now, nil
}

// maxDelay is the longest delay that can be asked for.
const maxDelay = time.Minute

// sides reads the lists of a cut.
func (f *faults) sides(lists [][]uint32) (map[p2pchat.PeerID]int, error) {
	side := map[p2pchat.PeerID]int{}
	for i, ids := range lists {
		for _, id := range ids {
			p, ok := f.known[id]
			if !ok {
				return nil, &opError{codeNoSuchPeer, fmt.Sprintf("cut: no member had the ID %d", id)}
			}
			if side[p.Key] != 0 {
				return nil, badArg("cut: %d is listed twice", id)
			}
			side[p.Key] = i + 1
		}
	}
	return side, nil
}

// apply tells the transport who is cut off: all that are on another side, and
// if this node is on one, all that were never heard of.
func (f *faults) apply() {
	if len(f.side) == 0 {
		f.net.Heal()
		return
	}
	where, own := map[netip.AddrPort]int{}, f.own
	maps.Copy(where, f.where) // an endpoint that a peer had is still its own
	for _, p := range f.known {
		if side, ok := f.side[p.Key]; ok {
			where[p.Addr] = side
		}
	}
	f.where = where
	f.net.CutFunc(func(peer netip.AddrPort) fault.Way {
		if where[peer] != own {
			return fault.Both
		}
		return 0
	})
}

// fault changes what the own network suffers, for tests and for a show.
func (m *machine) fault(c *command) (any, error) {
	if c.Cut == nil && c.Loss == nil && c.DelayMS == nil && c.Clear == nil {
		return nil, badArg("fault needs cut, loss, delay_ms or clear")
	}
	m.faults.saw(m.node.View())
	b, err := m.faults.set(m.node.Self(), c)
	if err != nil {
		return nil, err
	}
	m.out.emit(b)
	return b, nil
}
