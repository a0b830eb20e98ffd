package p2pchat

import (
	"fmt"
	"slices"
	"time"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/internal/core"
	"github.com/seed-885536be/p2p/internal/optional"
	"github.com/seed-885536be/p2p/membership"
)

// announced is what programs were told last of how far the members agree.
type announced struct {
	digest    Digest
	same, of  int
	at        time.Time // of the last DigestEvent
	due       time.Time // when to look again; zero: when something changes
	converged bool      // of digest and of
}

// digestGap is the least time between two DigestEvents.
const digestGap = 200 * time.Millisecond

// dropReport is what programs were warned of last.
type dropReport struct {
	count map[string]uint64
	due   time.Time
}

// dropGap is the least time between two warnings for one reason.
const dropGap = time.Minute

// announce turns what the core noted into events. It reports whether there was
// anything.
func (n *Node) announce(now time.Time, r core.Ready) bool {
	for _, note := range r.Notes {
		n.note(now, note)
	}
	if r.Log.Delivered {
		close(n.more)
		n.more = make(chan struct{})
	}
	if r.Direct {
		close(n.direct.more)
		n.direct.more = make(chan struct{})
	}
	for _, id := range r.Log.Stable {
		first := causal.MessageID{Writer: id.Writer, N: n.stable[id.Writer] + 1}
		n.stable[id.Writer] = id.N
		n.publish(&StableEvent{First: first, Last: id})
	}
	for _, f := range r.Log.Forks {
		n.publish(&ForkEvent{Author: n.peer(f.Author), Writer: f.Writer, N: f.N})
	}
	if lost := uint64(len(r.Log.Displaced)) + r.Log.Forgotten; lost > 0 {
		n.publish(&WarningEvent{Code: WarnDisplaced, Text: "the group had given up waiting for messages that this node held", Count: lost})
	}
	if r.Log.Err != nil {
		n.storeFailed(r.Log.Err)
	}
	if r.Left {
		n.left = true
	}
	if r.Err != nil && n.err == nil {
		n.err = r.Err
		go n.finish(r.Err) // it waits for the transport, whose goroutine this may be
	}
	if r.Log.Gap {
		n.gapChanged(now)
	}
	if due(n.behind.gapDue, now) {
		n.tellGap(now)
	}
	any := len(r.Notes) > 0 || r.Log.Delivered || r.Log.Digest || r.Log.Rebased || len(r.Log.Stable) > 0 || r.Left || r.Err != nil
	if any || due(n.said.due, now) || due(n.behind.due, now) {
		n.compare(now)
	}
	if r.Log.Rebased {
		n.rooms = rooms{ends: make(map[string]*ends)}
	}
	if r.Log.Delivered {
		n.skew()
	}
	if n.drops.due.IsZero() || due(n.drops.due, now) {
		n.warn(now)
	}
	if any {
		n.broadcast()
	}
	return any
}

// due reports whether it is time for something that may have no time.
func due(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// storeFailed says so, and ends the node unless it may go on in memory.
func (n *Node) storeFailed(err error) {
	err = &StoreError{Dir: n.cfg.dataDir, Err: err}
	n.publish(&WarningEvent{Code: WarnStore, Text: err.Error(), Count: 1, Err: err})
	if !n.cfg.fallback && n.err == nil {
		n.err = err
		go n.finish(err) // it waits for the transport, whose goroutine this may be
	}
}

// found says what was missing in the data directory.
func (n *Node) found() {
	m, ok := n.history.(interface{ Loaded() causal.Loaded })
	if !ok {
		return
	}
	switch l := m.Loaded(); {
	case l.Dropped > 0:
		n.publish(&WarningEvent{Code: WarnTorn, Text: "a part of the history on disk was damaged, and is left out: others may have it", Count: l.Dropped})
	case l.Torn:
		n.publish(&WarningEvent{Code: WarnTorn, Text: "the end of what was written last is missing on disk, as after a crash: others may have it", Count: 1})
	}
}

// broadcast wakes all that wait for a change.
func (n *Node) broadcast() {
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *Node) note(now time.Time, note any) {
	switch e := note.(type) {
	case membership.Searching:
		n.publish(&JoinEvent{Phase: JoinProbe, Try: e.Try})
	case membership.Installed:
		n.installed(now, e)
	case membership.Suspected:
		ev := &PeerEvent{Peer: peer(e.Member), State: PeerSuspect, Why: e.Why, Silent: e.Silent}
		n.watch.suspects[ev.Peer.Key] = ev
		n.publish(ev)
	case membership.Restored:
		delete(n.watch.suspects, e.Member.Key)
		n.publish(&PeerEvent{Peer: peer(e.Member), State: PeerUp, Why: "heard"})
	case membership.Flapping:
		text := fmt.Sprintf("%v was lost %d times within a minute: it has to wait before it is let in again", peer(e.Member), e.Evictions)
		n.publish(&WarningEvent{Code: WarnFlapping, Text: text, Count: uint64(e.Evictions)})
	case membership.Evicted:
		n.publish(&WarningEvent{Code: WarnEvicted, Text: "the group went on without this node, which joins again", Count: 1})
	case membership.Woke:
		n.publish(&WarningEvent{Code: WarnWoke, Text: fmt.Sprintf("woke after %.0f s, resyncing", e.After.Seconds()), Count: 1})
	case core.DirectDone:
		if done := n.direct.sending[e.Ticket]; done != nil {
			delete(n.direct.sending, e.Ticket)
			done <- e
		}
	case core.Held:
		n.held(now, e)
	case core.Synced:
		n.synced()
	case core.Beat:
		v := n.core.Group().View()
		if e.View.Epoch.Leader == v.ID.Epoch.Leader {
			n.beatAt = now
		}
		n.publish(&HeartbeatEvent{From: n.peer(e.From), Term: e.View.Epoch.Ctr, Number: v.Number, Sent: e.Sent})
	case core.ElectionStep:
		ev := &ElectionEvent{
			Algorithm: n.core.Group().Algorithm(), Term: e.Term, Phase: ElectionPhase(e.Phase), Kind: e.Kind, From: n.peer(e.From),
		}
		if e.To != (membership.Key{}) {
			ev.To = n.peer(e.To)
		}
		n.publish(ev)
	}
}

// peer is what is known of a peer, member or not.
func (n *Node) peer(k membership.Key) Peer {
	if p, ok := n.known[k]; ok {
		return p
	}
	return Peer{Key: k}
}

func (n *Node) installed(now time.Time, e membership.Installed) {
	v := view(e.View)
	for _, m := range v.Members {
		n.known[m.Key] = m
	}
	for k := range n.watch.suspects {
		if _, ok := v.Find(k); !ok || v.Coordinator.Key != view(e.Prev).Coordinator.Key {
			delete(n.watch.suspects, k)
		}
	}
	old, hadOld := e.Prev.Coordinator()
	leader, _ := e.View.Coordinator()
	if !hadOld || old.Key != leader.Key {
		n.beatAt = now
	}
	if n.phase == PhaseJoining {
		n.phase = PhaseSyncing
		n.first = len(v.Members) == 1
		if !n.first {
			n.publish(&JoinEvent{Phase: JoinAssigned, Coordinator: v.Coordinator, Term: v.Term})
		}
	}
	ev := &ViewEvent{View: v, Cause: Cause(e.Cause.String())}
	for _, m := range e.Joined {
		ev.Joined = append(ev.Joined, peer(m))
	}
	for _, d := range e.Left {
		p := n.peer(d.Key)
		ev.Left = append(ev.Left, Departure{Peer: p, Failed: d.Reason != membership.ReasonLeft})
	}
	var renamed []*NickEvent
	for _, m := range e.View.Members {
		was, ok := e.Prev.Find(m.Key)
		if !ok {
			continue
		}
		if was.ID != m.ID {
			ev.Renumbered = append(ev.Renumbered, peer(m))
		}
		if was.Name != m.Name {
			renamed = append(renamed, &NickEvent{Peer: peer(m), Old: was.Name})
		}
	}
	n.publish(ev)
	for _, p := range ev.Joined {
		if p.Key != n.id {
			n.publish(&PeerEvent{Peer: p, State: PeerUp, Why: "joined"})
		}
	}
	for _, d := range ev.Left {
		state := PeerLeft
		if d.Failed {
			state = PeerDead
		}
		n.publish(&PeerEvent{Peer: d.Peer, State: state, Why: string(ev.Cause)})
	}
	for _, r := range renamed {
		n.publish(r)
	}
	if !hadOld || old.Key != leader.Key || old.Inc != leader.Inc {
		c := &CoordinatorEvent{New: v.Coordinator, Term: v.Term, Cause: CauseFirst, Gap: e.Gap}
		if hadOld {
			c.Old, c.Cause = n.peer(old.Key), succession(ev.Cause, v, old.Key)
		}
		n.publish(c)
	}
	if e.Prev.Members == nil && !n.first && n.phase == PhaseSyncing {
		n.publish(&JoinEvent{Phase: JoinSync, Coordinator: v.Coordinator, Term: v.Term})
	}
}

// succession is why v is led by another than old. The first view of that reign
// says so itself; a node that missed it sees a later one, made for any reason.
func succession(c Cause, v View, old PeerID) Cause {
	switch c {
	case CauseElected, CauseHandover, CauseMerge:
		return c
	}
	if _, ok := v.Find(old); ok {
		return CauseMerge // both lead groups that are one now
	}
	return CauseElected
}

func (n *Node) synced() {
	if n.phase != PhaseSyncing {
		return
	}
	n.phase = PhaseMember
	v := view(n.core.Group().View())
	ev := &JoinEvent{Phase: JoinReady, Coordinator: v.Coordinator, Term: v.Term}
	if n.first {
		ev.Phase = JoinFirst
	}
	n.publish(ev)
}

// compare tells programs how far the members agree and what this node lacks,
// when that changed, and at most once in digestGap.
func (n *Node) compare(now time.Time) {
	n.said.due = time.Time{}
	d, same, of, known := n.digest()
	n.lag(now, d.N, known)
	s := &n.said
	if of == 0 || d == s.digest && same == s.same && of == s.of {
		return
	}
	if next := s.at.Add(digestGap); now.Before(next) {
		s.due = next
		return
	}
	if d != s.digest || of != s.of {
		s.converged = false
	}
	s.digest, s.same, s.of, s.at = d, same, of, now
	n.publish(&DigestEvent{Digest: d, Same: same, Of: of})
	if same == of && !s.converged {
		s.converged = true
		n.publish(&ConvergedEvent{Members: of, Digest: d})
	}
}

// warn tells programs, at most once in dropGap, what has been refused.
func (n *Node) warn(now time.Time) {
	first := n.drops.due.IsZero()
	n.drops.due = now.Add(dropGap)
	count := make(map[string]uint64)
	n.core.Drops(count)
	for reason, c := range optional.Drops(n.cfg.transport) {
		count[reason] += c
	}
	if !first {
		reasons := make([]string, 0, len(count))
		for reason := range count {
			reasons = append(reasons, reason)
		}
		slices.Sort(reasons)
		for _, reason := range reasons {
			if c := count[reason] - n.drops.count[reason]; c > 0 {
				n.publish(&WarningEvent{Code: WarnDropped, Text: fmt.Sprintf("packets refused: %s", reason), Count: c})
			}
		}
	}
	n.drops.count = count
}
