package p2pchat

import (
	"context"
	"iter"
	"log/slog"
	"sync"
)

// maxEvents is how many events wait for one slow reader before the oldest are
// dropped.
const maxEvents = 4096

// subscription is one reader of events. Its own lock keeps a reader from
// waiting for the node, and the node never waits for a reader.
type subscription struct {
	mu      sync.Mutex
	queue   []Event
	dropped uint64
	ended   bool
	wake    chan struct{} // capacity 1
}

func (s *subscription) push(e Event) {
	s.mu.Lock()
	if len(s.queue) >= maxEvents {
		half := len(s.queue) / 2
		s.dropped += uint64(half)
		s.queue = append([]Event(nil), s.queue[half:]...)
	}
	s.queue = append(s.queue, e)
	s.mu.Unlock()
	s.signal()
}

func (s *subscription) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.signal()
}

func (s *subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns what has come since the last call.
func (s *subscription) take() (events []Event, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	events, s.queue = s.queue, nil
	if s.dropped > 0 {
		events = append([]Event{&LaggedEvent{Dropped: s.dropped}}, events...)
		s.dropped = 0
	}
	return events, s.ended
}

// publish gives an event to every reader.
func (n *Node) publish(e Event) {
	for s := range n.subs {
		s.push(e)
	}
}

// Events yields what happens from the call of Events on, until ctx ends or the
// node is closed; what led to the end is still yielded. It can be iterated
// once. A reader that is over 4,096 events behind is told by a *LaggedEvent how
// many of the oldest were dropped.
//
// The events of one node come in the order in which they happened.
func (n *Node) Events(ctx context.Context) iter.Seq[Event] {
	n.mu.Lock()
	s := n.subscribe()
	n.mu.Unlock()
	return n.read(ctx, s)
}

// subscribe makes a reader of what happens from now on.
func (n *Node) subscribe() *subscription {
	s := &subscription{wake: make(chan struct{}, 1), ended: n.phase == PhaseClosed}
	if !s.ended {
		n.subs[s] = struct{}{}
	}
	return s
}

func (n *Node) read(ctx context.Context, s *subscription) iter.Seq[Event] {
	stop := context.AfterFunc(ctx, func() { n.unsubscribe(s) })
	return func(yield func(Event) bool) {
		defer n.unsubscribe(s)
		defer stop()
		for ctx.Err() == nil {
			events, ended := s.take()
			for _, e := range events {
				if !yield(e) {
					return
				}
			}
			if ended && len(events) == 0 {
				return
			}
			if len(events) > 0 {
				continue
			}
			select {
			case <-s.wake:
			case <-ctx.Done():
			}
		}
	}
}

func (n *Node) unsubscribe(s *subscription) {
	n.mu.Lock()
	delete(n.subs, s)
	n.mu.Unlock()
}

// log writes what happens to the logger.
func (n *Node) log(events iter.Seq[Event]) {
	l := n.cfg.logger.With("node", n.id.String()[:8])
	for e := range events {
		switch e := e.(type) {
		case *ViewEvent:
			l.Info("view", "view", e.View.String(), "term", e.View.Term, "cause", string(e.Cause))
		case *CoordinatorEvent:
			l.Info("coordinator", "new", e.New.ID, "old", e.Old.ID, "term", e.Term, "cause", string(e.Cause), "gap", e.Gap)
		case *ElectionEvent:
			l.Info("election", "algorithm", e.Algorithm, "term", e.Term, "phase", e.Phase, "kind", e.Kind, "from", e.From.ID, "to", e.To.ID)
		case *PeerEvent:
			l.Info("peer", "id", e.Peer.ID, "state", e.State, "why", e.Why, "silent", e.Silent)
		case *JoinEvent:
			l.Info("join", "phase", e.Phase, "try", e.Try, "err", e.Err)
		case *WarningEvent:
			l.Warn(e.Text, "code", e.Code, "count", e.Count)
		case *ForkEvent:
			l.Warn("an author forked its history", "author", e.Author.Key.String(), "n", e.N)
		case *HeartbeatEvent:
			l.Debug("heartbeat", "from", e.From.ID, "term", e.Term, "sent", e.Sent)
		case *DigestEvent:
			l.Debug("digest", "n", e.Digest.N, "hash", e.Digest.String(), "same", e.Same, "of", e.Of)
		default:
			l.Log(context.Background(), slog.LevelDebug-4, "event", "event", e)
		}
	}
}
