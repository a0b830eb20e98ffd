package p2pchat

import "time"

// behind is what programs were told last of what this node lacks.
type behind struct {
	late time.Time // since when others have more; zero: they do not
	sync *SyncEvent
	at   time.Time // of the last SyncEvent
	due  time.Time // of the next

	gap    time.Time // since when blocks wait for others; zero: none do
	told   bool      // of the gap
	gaveUp uint64    // blocks that were given up before it
	gapDue time.Time // when to tell of it
}

// patience is for how long a node may lack something before programs are told:
// what is under way comes sooner.
const patience = 200 * time.Millisecond

// lag tells programs how the taking over of messages goes on.
func (n *Node) lag(now time.Time, have, known uint64) {
	b := &n.behind
	b.due = time.Time{}
	if have >= known {
		b.late = time.Time{}
		if b.sync != nil {
			b.sync, b.at = nil, now
			n.publish(&SyncEvent{Have: have, Of: known})
		}
		return
	}
	if b.late.IsZero() {
		b.late = now
	}
	e := &SyncEvent{Have: have, Of: known}
	if b.sync != nil && *e == *b.sync {
		return
	}
	next := b.at.Add(digestGap)
	if from := b.late.Add(patience); n.phase != PhaseSyncing && from.After(next) {
		next = from // who has just joined need not wait
	}
	if now.Before(next) {
		b.due = next
		return
	}
	b.sync, b.at = e, now
	n.publish(e)
}

// gapChanged notes that messages began to wait for others, or that none do now.
func (n *Node) gapChanged(now time.Time) {
	b, s := &n.behind, n.history.Stats()
	gaveUp := s.Refused["pending_old"] + s.Refused["pending_full"]
	switch {
	case s.Pending > 0 && b.gap.IsZero():
		b.gap, b.gapDue, b.gaveUp = now, now.Add(patience), gaveUp
	case s.Pending == 0:
		if b.told {
			n.publish(&GapEvent{Lasted: now.Sub(b.gap), GivenUp: gaveUp - b.gaveUp})
		}
		b.gap, b.gapDue, b.told = time.Time{}, time.Time{}, false
	}
}

// tellGap tells programs of a gap that has lasted.
func (n *Node) tellGap(now time.Time) {
	b, s := &n.behind, n.history.Stats()
	b.gapDue, b.told = time.Time{}, true
	n.publish(&GapEvent{Waiting: s.Pending, Missing: s.Missing, Lasted: now.Sub(b.gap)})
}
