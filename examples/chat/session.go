package main

import (
	"cmp"
	"context"
	"net"
	"sync"
	"time"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/fault"
)

const (
	leaveTime = 300 * time.Millisecond // for a graceful departure, at the most
	quitTime  = 3 * time.Second        // for one that a program asks for: it can wait for a busy group
	flushTime = time.Second            // for a reader of our output to take the last lines
)

// face is how a session shows itself: lines for people, or JSON.
type face interface {
	// opened is called once, before everything else, when the network has
	// been opened or that has failed.
	opened()
	event(e p2pchat.Event)
	message(m p2pchat.Message)
	direct(m p2pchat.Direct)
	// drained is called once, when the last message has been given.
	drained()
	// input reads commands until there are no more. It runs from opened on.
	input()
	// closed is called once, after everything else but input.
	closed(e ending)
}

// ending is how a session ends.
type ending struct {
	code     int
	cause    string // one word
	err      error  // for a failure
	graceful bool   // say goodbye to the group
	patient  bool   // and give the group quitTime for it
}

// session is one node's life, from joining the group to leaving it.
type session struct {
	node   *p2pchat.Node
	faults *faults
	face   face

	ctx    context.Context // ends when the session begins to end
	cancel context.CancelFunc
	ends   chan ending

	directs directs
	sending sync.WaitGroup // of direct messages
}

func newSession(node *p2pchat.Node, net *fault.Transport) *session {
	s := &session{node: node, faults: newFaults(net), ends: make(chan ending, 1)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// end asks for the end of the session. Only the first call counts.
func (s *session) end(e ending) {
	select {
	case s.ends <- e:
	default:
	}
}

// run lives the session and returns the exit code.
func (s *session) run(ctx context.Context) int {
	defer s.cancel()
	var open sync.Once
	messages, direct := make(chan struct{}), make(chan struct{})
	opened := func() {
		s.face.opened()
		go func() {
			defer protect()
			defer close(direct)
			for m := range s.node.Direct(context.Background()) {
				s.face.direct(m)
			}
		}()
		go func() {
			defer protect()
			defer close(messages)
			for m := range s.node.Messages(context.Background(), p2pchat.FromStart) {
				s.face.message(m)
			}
			s.face.drained()
		}()
		go func() {
			defer protect()
			s.face.input()
		}()
	}

	events := make(chan struct{})
	stream := s.node.Events(context.Background())
	go func() {
		defer protect()
		defer close(events)
		for e := range stream {
			open.Do(opened)
			s.face.event(e)
		}
	}()
	joining := make(chan error, 1)
	go func() {
		defer protect()
		err := s.node.Join(s.ctx)
		open.Do(opened)
		joining <- err
	}()

	e := s.wait(ctx, joining, events)
	s.cancel()
	if e.code == exitCrash {
		within(flushTime, func() { s.node.Close() })
		return e.code // without a word, as a crash is
	}
	limit := leaveTime
	if e.patient {
		limit = quitTime
	}
	within(limit+flushTime, func() {
		if e.graceful {
			leaving, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			_ = s.node.Leave(leaving) // whatever it says, we go
		}
		s.node.Close()
		<-events
		<-messages
		<-direct
		s.sending.Wait()
		s.face.closed(e)
	})
	return e.code
}

// within returns when f does, or after d: who does not read what we write must
// not keep the process from ending.
func within(d time.Duration, f func()) {
	done := make(chan struct{})
	go func() {
		defer protect()
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(d):
	}
}

// wait returns when the session must end.
func (s *session) wait(ctx context.Context, joining <-chan error, events <-chan struct{}) ending {
	for {
		select {
		case <-ctx.Done():
			return ending{cause: "signal", graceful: true}
		case e := <-s.ends:
			return e
		case err := <-joining:
			if err != nil {
				return ending{code: max(exitCode(err), exitRuntime), cause: "failed", err: err}
			}
			joining = nil
		case <-events:
			if joining != nil { // Join tells why
				events = nil
				continue
			}
			err := cmp.Or(s.node.Err(), net.ErrClosed)
			return ending{code: max(exitCode(err), exitRuntime), cause: "closed", err: err}
		}
	}
}
