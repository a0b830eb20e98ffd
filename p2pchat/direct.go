package p2pchat

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/seed-885536be/p2p/internal/core"
)

// DirectID names a direct message at both its ends, and nowhere else.
type DirectID struct {
	Session [16]byte // between two runs of two peers, in one direction
	N       uint64   // 1, 2, 3, … in it
}

// String is "<session>:<n>", the session in lower-case hex.
func (d DirectID) String() string {
	return hex.EncodeToString(d.Session[:]) + ":" + strconv.FormatUint(d.N, 10)
}

// ParseDirectID is the inverse of DirectID.String.
func ParseDirectID(s string) (DirectID, error) {
	session, n, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(session)
	if err == nil && len(b) == len(DirectID{}.Session) {
		id := DirectID{Session: [16]byte(b)}
		if id.N, err = strconv.ParseUint(n, 10, 64); err == nil && id.String() == s {
			return id, nil
		}
	}
	return DirectID{}, fmt.Errorf("p2pchat: %q is not the ID of a direct message", s)
}

// Direct is a message from one member to this one alone.
type Direct struct {
	ID   DirectID
	From Peer // proven
	Data []byte
	Came time.Time // by the own clock
}

// SendTo sends a message to one member, encrypted so that only it can read it,
// and returns when that member's node holds it for its program. It is not a
// part of the history. Until then it is sent again whenever a connection broke.
// It arrives once, and after those that were queued before it; a *PeerGoneError
// says whether it may have arrived.
//
// At most 256 messages and 4 MiB wait for one member; SendTo waits for room.
// While a member's program does not read, 64 messages and 2 MiB are taken from
// each sender, and SendTo waits.
//
// The errors are ctx's, after which the message may still arrive,
// *PeerGoneError, ErrSelf, ErrNotJoined, ErrClosed, which leaves that open too,
// and *TooLargeError, with the limit of Send. data is copied.
func (n *Node) SendTo(ctx context.Context, peer PeerID, data []byte) (DirectID, error) {
	if len(data) > n.cfg.maxMessage {
		return DirectID{}, &TooLargeError{Size: len(data), Limit: n.cfg.maxMessage}
	}
	if peer == n.id {
		return DirectID{}, ErrSelf
	}
	for {
		ticket, done, changed, err := n.queueDirect(ctx, peer, data)
		switch {
		case err == nil:
			return n.awaitDirect(ctx, peer, ticket, done)
		case !errors.Is(err, core.ErrDirectFull):
			return DirectID{}, directError(peer, err)
		}
		select {
		case <-changed:
		case <-n.stop:
		case <-ctx.Done():
		}
	}
}

func (n *Node) queueDirect(ctx context.Context, peer PeerID, data []byte) (ticket uint64, done chan core.DirectDone, changed chan struct{}, err error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.usable(); err != nil {
		return 0, nil, nil, err
	}
	now := time.Now()
	ticket, err = n.core.SendTo(now, peer, data)
	if err == nil {
		done = make(chan core.DirectDone, 1)
		n.direct.sending[ticket] = done
		n.carry(now)
	}
	return ticket, done, n.changed, err
}

func (n *Node) awaitDirect(ctx context.Context, peer PeerID, ticket uint64, done chan core.DirectDone) (DirectID, error) {
	var err error
	select {
	case d := <-done:
		return DirectID(d.ID), directError(peer, d.Err)
	case <-ctx.Done():
		err = ctx.Err()
	case <-n.stop:
		err = ErrClosed
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.direct.sending, ticket)
	n.core.Abandon(ticket)
	return DirectID{}, err
}

func directError(peer PeerID, err error) error {
	var e *core.DirectError
	if errors.As(err, &e) {
		return &PeerGoneError{Peer: peer, Why: e.Why, Sent: e.Sent}
	}
	return err
}

// direct is what a Node knows of direct messages.
type direct struct {
	sending map[uint64]chan core.DirectDone // by ticket
	more    chan struct{}                   // closed when one has come
}

// Direct yields the direct messages that come to this node, in the order of
// their arrival and each sender's in its order, and waits for more, until ctx
// ends or the node is closed and there are no more. Each message is yielded
// once, to one reader if there are several. What comes before anybody reads
// waits, within the bounds that SendTo names.
func (n *Node) Direct(ctx context.Context) iter.Seq[Direct] {
	return func(yield func(Direct) bool) {
		for ctx.Err() == nil {
			m, ok, more, over := n.takeDirect()
			switch {
			case ok:
				if !yield(m) {
					return
				}
				continue
			case over:
				return
			}
			select {
			case <-more:
			case <-ctx.Done():
			}
		}
	}
}

func (n *Node) takeDirect() (m Direct, ok bool, more chan struct{}, over bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	over = n.phase == PhaseClosed
	if n.core == nil {
		return m, false, n.direct.more, over
	}
	now := time.Now()
	d, ok := n.core.TakeDirect(now)
	if ok && !over {
		n.carry(now) // there is room again
	}
	return Direct{ID: DirectID(d.ID), From: n.peer(d.From), Data: d.Data, Came: d.Came}, ok, n.direct.more, over
}
