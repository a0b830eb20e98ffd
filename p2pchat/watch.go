package p2pchat

import (
	"fmt"
	"maps"
	"time"

	"github.com/seed-885536be/p2p/internal/core"
	"github.com/seed-885536be/p2p/membership"
)

// watch is what a node looks at besides what the protocol needs, to warn of it.
type watch struct {
	wall   func() time.Time // the time of day
	ran    time.Time        // when this was looked at last
	ranAt  time.Time        // the time of day then
	skewed map[PeerID]bool  // whose clocks were warned of
	// held is when programs were warned of a peer that is slowed down.
	held map[PeerID]time.Time
	// suspects are the members that are being verified: all of them at the
	// coordinator, and elsewhere the coordinator.
	suspects map[PeerID]*PeerEvent
}

// maxSkew is by how much clocks may differ.
const maxSkew = time.Minute

func newWatch() watch {
	return watch{
		wall:   func() time.Time { return time.Now().Round(0) },
		skewed: make(map[PeerID]bool), held: make(map[PeerID]time.Time), suspects: make(map[PeerID]*PeerEvent),
	}
}

// slept tells the core if the host slept. On some systems the clock that
// durations are taken from stands still meanwhile, but the time of day does not.
func (n *Node) slept(now time.Time) {
	w := &n.watch
	at := w.wall()
	if !w.ran.IsZero() {
		if d := at.Sub(w.ranAt) - now.Sub(w.ran); d > 3*n.cfg.timing.H {
			n.core.Step(now, membership.Slept{For: d})
		}
	}
	w.ran, w.ranAt = now, at
}

// skew warns, once for each author, of a clock that differs from this node's,
// as what was delivered last shows.
func (n *Node) skew() {
	last := n.mark().Index
	if last == 0 {
		return
	}
	for m := range n.history.Deliveries(last - 1) {
		if m.Own || m.Backlog || m.Wall.IsZero() || n.watch.skewed[m.Author] {
			return
		}
		d := m.Wall.Sub(n.watch.wall())
		how := "ahead of"
		if d < 0 {
			d, how = -d, "behind"
		}
		if d > maxSkew {
			n.watch.skewed[m.Author] = true
			n.publish(&WarningEvent{Code: WarnClockSkew, Text: fmt.Sprintf("the clock of %v is %v %s this one", n.peer(m.Author), d.Round(time.Second), how), Count: 1})
		}
	}
}

// held warns of a peer that is slowed down, at most once in dropGap. Those that
// are no members count as one.
func (n *Node) held(now time.Time, h core.Held) {
	_, member := n.core.Group().View().Find(h.Key)
	if !member {
		h.Key = membership.Key{}
	}
	if at, ok := n.watch.held[h.Key]; ok && now.Sub(at) < dropGap {
		return
	}
	maps.DeleteFunc(n.watch.held, func(_ PeerID, at time.Time) bool { return now.Sub(at) >= dropGap })
	n.watch.held[h.Key] = now
	who := h.Addr.String()
	if member {
		who = n.peer(h.Key).String()
	}
	n.publish(&WarningEvent{Code: WarnHeld, Text: who + " sends what is refused, and is slowed down", Count: 1})
}
