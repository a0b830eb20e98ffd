package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/seed-885536be/p2p/causal"
)

// A message begins with who sent it, one message that the sender had read
// before, when it was sent, and its number among the sender's, from 1; the rest
// is padding.
//
//	bits     field
//	0–5      sender
//	6–11     sender of the message it depends on
//	12–63    time of sending, in Unix microseconds
//	64–95    number
//	96–127   number of the message it depends on; 0 for none
const (
	headSize    = 16
	maxSenders  = 64
	maxMessages = 1_000_000_000
)

type head struct {
	sender, after byte
	n, afterN     uint64
	sent          int64 // Unix microseconds
}

func (h head) put(b []byte) {
	binary.BigEndian.PutUint64(b, uint64(h.sender)<<58|uint64(h.after)<<52|uint64(h.sent))
	binary.BigEndian.PutUint32(b[8:], uint32(h.n))
	binary.BigEndian.PutUint32(b[12:], uint32(h.afterN))
}

func parseHead(b []byte) (head, error) {
	if len(b) < headSize {
		return head{}, errors.New("not a message of this program")
	}
	first := binary.BigEndian.Uint64(b)
	return head{
		sender: byte(first >> 58), after: byte(first >> 52 & 63), sent: int64(first & (1<<52 - 1)),
		n: uint64(binary.BigEndian.Uint32(b[8:])), afterN: uint64(binary.BigEndian.Uint32(b[12:])),
	}, nil
}

// tally checks what a node delivers: it has seen the messages 1 to seen[s] of
// each sender s, each once. One goroutine takes; others may look.
type tally struct {
	seen  [maxSenders]atomic.Uint64
	total atomic.Uint64
	past  atomic.Uint64 // messages of the past
	wrote map[causal.WriterID]struct{}
}

// take counts a message. The error names what was delivered twice, lost, or
// before something that its author had read.
func (t *tally) take(h head) error {
	switch last := t.seen[h.sender].Load(); {
	case h.n <= last:
		return fmt.Errorf("message %d of sender %d came twice", h.n, h.sender)
	case h.n != last+1:
		return fmt.Errorf("message %d of sender %d came after %d: some are lost, or out of order", h.n, h.sender, last)
	case t.seen[h.after].Load() < h.afterN:
		return fmt.Errorf("message %d of sender %d came before message %d of sender %d, which its author had read", h.n, h.sender, h.afterN, h.after)
	}
	t.seen[h.sender].Store(h.n)
	t.total.Add(1)
	return nil
}

// takePast counts a message of the past, where each is of another writer.
func (t *tally) takePast(id causal.MessageID) error {
	_, twice := t.wrote[id.Writer]
	switch {
	case twice || id.N != 1:
		return fmt.Errorf("message %v of the past is not the only one of its writer", id)
	case t.total.Load() > 0:
		return fmt.Errorf("message %v of the past came after one that is measured", id)
	}
	if t.wrote == nil {
		t.wrote = make(map[causal.WriterID]struct{})
	}
	t.wrote[id.Writer] = struct{}{}
	t.past.Add(1)
	return nil
}

// next makes the head of a sender's n-th message, which depends on the last
// that this node has delivered of one of the others, each in its turn.
func (t *tally) next(sender byte, n uint64, senders int) head {
	h := head{sender: sender, n: n}
	if senders > 1 {
		h.after = byte((uint64(sender) + 1 + n%uint64(senders-1)) % uint64(senders))
		h.afterN = t.seen[h.after].Load()
	}
	return h
}
