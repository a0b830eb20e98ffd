package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
)

// A message begins with who sent it, its number among the sender's, from 1,
// one message that the sender had read before, and when it was sent; the rest
// is padding.
//
//	offset  length  field
//	0       1       sender
//	1       1       sender of the message it depends on
//	8       8       number
//	2       6       number of the message it depends on; 0 for none
//	16      8       time of sending, in Unix nanoseconds
const (
	headSize   = 24
	maxSenders = 64
)

type head struct {
	sender, after byte
	n, afterN     uint64
	sent          int64
}

func (h head) put(b []byte) {
	binary.BigEndian.PutUint64(b, h.afterN)
	b[0], b[1] = h.sender, h.after
	binary.BigEndian.PutUint64(b[8:], h.n)
	binary.BigEndian.PutUint64(b[16:], uint64(h.sent))
}

func parseHead(b []byte) (head, error) {
	if len(b) < headSize || b[0] >= maxSenders || b[1] >= maxSenders {
		return head{}, errors.New("not a message of this program")
	}
	return head{
		sender: b[0], after: b[1],
		afterN: binary.BigEndian.Uint64(b) & (1<<48 - 1),
		n:      binary.BigEndian.Uint64(b[8:]), sent: int64(binary.BigEndian.Uint64(b[16:])),
	}, nil
}

// tally checks what a node delivers: it has seen the messages 1 to seen[s] of
// each sender s, each once. One goroutine takes; others may look.
type tally struct {
	seen  [maxSenders]atomic.Uint64
	total atomic.Uint64
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
