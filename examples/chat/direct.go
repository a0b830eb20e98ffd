package main

import (
	"sync"

	"github.com/seed-885536be/p2p/p2pchat"
)

// directs sends direct messages in the background, those to one peer one after
// the other, so that they keep their order and a peer that does not answer
// holds up nobody else.
type directs struct {
	mu   sync.Mutex
	last map[p2pchat.PeerID]chan struct{} // closed when the last one so far is done
}

// sendDirect sends a direct message and calls done with what became of it.
func (s *session) sendDirect(to p2pchat.PeerID, text string, done func(id p2pchat.DirectID, err error)) {
	d := &s.directs
	ready := make(chan struct{})
	d.mu.Lock()
	if d.last == nil {
		d.last = map[p2pchat.PeerID]chan struct{}{}
	}
	before := d.last[to]
	d.last[to] = ready
	d.mu.Unlock()
	s.sending.Go(protected(func() {
		if before != nil {
			<-before
		}
		id, err := s.node.SendTo(s.ctx, to, []byte(text))
		d.mu.Lock()
		if d.last[to] == ready {
			delete(d.last, to)
		}
		d.mu.Unlock()
		close(ready)
		done(id, err)
	}))
}
