package main

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-885536be/p2p/p2pchat"
)

// maxWait is the longest time-out of a wait.
const maxWait = 24 * time.Hour

// condition returns what made it true, or the error of its context.
type condition func(ctx context.Context) (any, error)

// conditions are what can be waited for, and the arguments that each takes.
var conditions = map[string]struct {
	args string
	of   func(m *machine, c *command) (condition, error)
}{
	"ready":       {"", (*machine).waitReady},
	"coordinator": {"id", (*machine).waitCoordinator},
	"members":     {"n", (*machine).waitMembers},
	"converged":   {"n", (*machine).waitConverged},
	"stable":      {"m", (*machine).waitStable},
	"message":     {"n m text id", (*machine).waitMessage},
}

// wait replies when a condition holds, and does not hold up the commands that
// follow.
func (m *machine) wait(c *command) (any, error) {
	cond, limit, err := m.parseWait(c)
	if err != nil {
		return nil, err
	}
	m.waits.Go(protected(func() {
		ctx := m.ctx
		if c.TimeoutMS != nil {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		data, err := cond(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			m.timedOut.Store(true)
			err = &opError{codeTimeout, "not within " + limit.String()}
		}
		m.reply(c.Ref, data, err)
	}))
	return nil, errNoReply
}

func (m *machine) parseWait(c *command) (condition, time.Duration, error) {
	if c.For == nil {
		return nil, 0, badArg("wait needs for")
	}
	kind, ok := conditions[*c.For]
	if !ok {
		return nil, 0, badArg("for: want ready, coordinator, members, converged, stable or message")
	}
	given := map[string]bool{"n": c.N != nil, "m": c.M != nil, "text": c.Text != nil, "id": c.ID != nil}
	for _, name := range []string{"n", "m", "text", "id"} {
		if given[name] && !slices.Contains(strings.Fields(kind.args), name) {
			return nil, 0, badArg("wait for %s has no argument %q", *c.For, name)
		}
	}
	if c.N != nil && *c.N < 1 {
		return nil, 0, badArg("n: want at least 1")
	}
	var limit time.Duration
	if c.TimeoutMS != nil {
		if *c.TimeoutMS < 0 || *c.TimeoutMS > maxWait.Milliseconds() {
			return nil, 0, badArg("timeout_ms: want 0 to %d", maxWait.Milliseconds())
		}
		limit = time.Duration(*c.TimeoutMS) * time.Millisecond
	}
	cond, err := kind.of(m, c)
	return cond, limit, err
}

func (m *machine) waitReady(*command) (condition, error) {
	return func(ctx context.Context) (any, error) {
		s, err := m.until(ctx, func(s p2pchat.Status, shown shown) bool {
			return (shown.joined || shown.lagged) && (s.Phase == p2pchat.PhaseMember || s.Phase == p2pchat.PhaseElecting)
		})
		v := toView(s.View)
		return &v, err
	}, nil
}

func (m *machine) waitCoordinator(c *command) (condition, error) {
	return func(ctx context.Context) (any, error) {
		s, err := m.until(ctx, func(s p2pchat.Status, shown shown) bool {
			now := s.View.Coordinator
			return s.Phase == p2pchat.PhaseMember && now.ID != 0 && (c.ID == nil || *c.ID == now.ID) &&
				(shown.lagged || shown.coordinator == now.Key)
		})
		return coordinatorData{Coord: toOptional(s.View.Coordinator), Term: s.View.Term}, err
	}, nil
}

func (m *machine) waitMembers(c *command) (condition, error) {
	if c.N == nil {
		return nil, badArg("wait for members needs n")
	}
	return func(ctx context.Context) (any, error) {
		s, err := m.until(ctx, func(s p2pchat.Status, shown shown) bool {
			return len(s.View.Members) == *c.N && (shown.lagged || shown.view == s.View.Number)
		})
		v := toView(s.View)
		return &v, err
	}, nil
}

func (m *machine) waitConverged(c *command) (condition, error) {
	return func(ctx context.Context) (any, error) {
		s, err := m.until(ctx, func(s p2pchat.Status, shown shown) bool {
			return s.Converged() && (c.N == nil || *c.N == s.Of) &&
				(shown.lagged || shown.digest == s.Digest && shown.members == s.Of)
		})
		if err != nil {
			return nil, err
		}
		return convergedBody{Members: s.Of, Hist: s.Digest.String(), N: s.Digest.N}, nil
	}, nil
}

func (m *machine) waitStable(c *command) (condition, error) {
	id, err := c.messageID("wait for stable")
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (any, error) {
		if err := m.node.WaitStable(ctx, id); err != nil {
			return nil, err
		}
		return stableBody{M: id.String()}, nil
	}, nil
}

// waitMessage waits for the n-th message that fits what is given, of those
// that this node has and of those to come.
func (m *machine) waitMessage(c *command) (condition, error) {
	n := 1
	if c.N != nil {
		n = *c.N
	}
	if c.N == nil && c.M == nil && c.Text == nil && c.ID == nil {
		return nil, badArg("wait for message needs n, m, text or id")
	}
	if c.M != nil {
		if _, err := p2pchat.ParseMessageID(*c.M); err != nil {
			return nil, badArg("m: %v", err)
		}
	}
	nth := func(messages iter.Seq[p2pchat.Message]) any {
		left := n
		for msg := range messages {
			if c.M != nil && msg.ID.String() != *c.M ||
				c.Text != nil && string(msg.Data) != *c.Text ||
				c.ID != nil && msg.From.ID != *c.ID {
				continue
			}
			if left--; left == 0 {
				m.held.wait(msg.Index + 1)
				b := toMsg(msg)
				return &b
			}
		}
		return nil
	}
	return func(ctx context.Context) (any, error) {
		// What is there is looked at even if there is no time to wait.
		if b := nth(m.node.History("").All()); b != nil {
			return b, nil
		}
		if b := nth(m.node.Messages(ctx, p2pchat.FromStart)); b != nil {
			return b, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return nil, p2pchat.ErrClosed
	}, nil
}

// shown is what has been written of the group's state. A reply to a wait comes
// after the events that led to it, so its condition is asked of what has been
// written as well as of the node.
type shown struct {
	joined      bool
	view        uint64
	coordinator p2pchat.PeerID
	digest      p2pchat.Digest // that all members had, when they last agreed
	members     int            // how many that were
	lagged      bool           // events were dropped: the node's word must do
}

// showing holds what is shown, and wakes those who wait for more.
type showing struct {
	mu   sync.Mutex
	now  shown
	next chan struct{} // closed when something was written
}

func (s *showing) get() (shown, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, s.next
}

// wrote takes note of an event that was written.
func (s *showing) wrote(e p2pchat.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := e.(type) {
	case *p2pchat.JoinEvent:
		s.now.joined = s.now.joined || e.Phase == p2pchat.JoinReady || e.Phase == p2pchat.JoinFirst
	case *p2pchat.ViewEvent:
		s.now.view = e.View.Number
	case *p2pchat.CoordinatorEvent:
		s.now.coordinator = e.New.Key
	case *p2pchat.ConvergedEvent:
		s.now.digest, s.now.members = e.Digest, e.Members
	case *p2pchat.LaggedEvent:
		s.now.lagged = true
	}
	close(s.next)
	s.next = make(chan struct{})
}

// until returns when cond is true, with the status it is true of.
func (m *machine) until(ctx context.Context, cond func(p2pchat.Status, shown) bool) (p2pchat.Status, error) {
	for {
		shown, next := m.shown.get()
		if s := m.node.Status(); cond(s, shown) {
			return s, nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return p2pchat.Status{}, ctx.Err()
		}
	}
}
