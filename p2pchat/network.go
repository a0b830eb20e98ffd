package p2pchat

import (
	"net/netip"
	"time"

	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

// network is what was last known of the transport's network.
type network struct {
	addr   netip.AddrPort
	faults map[transport.Warning]bool // that programs were told of
	due    time.Time                  // when to look again
}

// lookGap is the least time between two looks at the network.
const lookGap = time.Second

// look tells the group when this node is reached at another endpoint, and
// programs what is wrong with the network, once for each fault until it passes.
func (n *Node) look(now time.Time) {
	if now.Before(n.net.due) {
		return
	}
	n.net.due = now.Add(lookGap)
	if a := n.cfg.transport.Addr(); a.IsValid() && a != n.net.addr {
		n.net.addr = a
		n.core.Step(now, membership.Move{Addr: a})
	}
	w, ok := n.cfg.transport.(transport.Warner)
	if !ok {
		return
	}
	faults := make(map[transport.Warning]bool)
	for _, f := range w.Warnings() {
		if faults[f] = true; !n.net.faults[f] {
			n.publish(&WarningEvent{Code: f.Code, Text: f.Text, Count: 1})
		}
	}
	n.net.faults = faults
}
