package p2pchat

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/seed-885536be/p2p/causal"
)

// Cursor is a place in the order of delivery: the Message.Index to go on from,
// or one of FromStart and FromNow.
type Cursor uint64

// Special cursors.
const (
	FromStart Cursor = 0         // all that this node holds
	FromNow   Cursor = 1<<64 - 1 // what is delivered after the call
)

// pageSize is how many messages a reader takes while it holds the node's lock.
const pageSize = 1024

// Messages yields messages in causal order, the order of their delivery here,
// from a cursor on, and waits for more, until ctx ends or the node is closed.
// The log is the queue: a slow reader loses nothing and holds up nobody. To go
// on later, use the last message's Index + 1 as the cursor. It can be iterated
// more than once.
func (n *Node) Messages(ctx context.Context, from Cursor) iter.Seq[Message] {
	if from == FromNow {
		from = 0
		n.mu.Lock()
		from = Cursor(n.mark().Index)
		n.mu.Unlock()
	}
	return func(yield func(Message) bool) {
		next := uint64(from)
		var page []Message // used again and again
		for ctx.Err() == nil {
			var more chan struct{}
			var over bool
			page, more, over = n.deliveries(page[:0], next)
			for i := range page {
				if !yield(page[i]) {
					return
				}
			}
			if len(page) > 0 {
				next = page[len(page)-1].Index + 1
			}
			if len(page) > 0 {
				continue
			}
			if over {
				return
			}
			select {
			case <-more:
			case <-ctx.Done():
			}
		}
	}
}

func (n *Node) deliveries(into []Message, from uint64) (page []Message, more chan struct{}, over bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for m := range n.history.Deliveries(from) {
		if into = n.take(into, &m); len(into) == pageSize {
			break
		}
	}
	return into, n.more, n.phase == PhaseClosed
}

// message translates a log's message.
func (n *Node) message(m causal.Message) Message { return n.take(nil, &m)[0] }

// take adds a log's message to a page, translated. What it has in common with
// the message before, as a rule, the two share.
func (n *Node) take(page []Message, m *causal.Message) []Message {
	room, nick, data := splitPayload(m.Data)
	if len(page) < cap(page) {
		page = page[:len(page)+1]
	} else {
		page = append(page, Message{})
	}
	to, like := &page[len(page)-1], &page[max(0, len(page)-2)]
	if to == like {
		*to = Message{} // what a page had before may be true no longer
	}
	to.ID, to.Data, to.Dropped, to.Sent = m.ID, data, m.Data == nil, m.Wall
	to.Index, to.Pos, to.Inserted, to.Backlog, to.Own = m.Index, m.Pos, m.Inserted, m.Backlog, m.Own
	if to.Room = like.Room; to.Room != string(room) {
		to.Room = string(room)
	}
	if to.From = like.From; to.From.Key != m.Author || to.From.Nick != string(nick) {
		to.From = n.peer(m.Author)
		to.From.Nick = string(nick)
	}
	return page
}

// History is the converged history of a room: the same on all nodes that hold
// the same messages. An empty room means all rooms, and what was dropped by
// WithRetention, of which the room is not known.
func (n *Node) History(room string) History { return History{n: n, room: room} }

// History reads the converged history. Positions are those of the whole
// history, all rooms together.
type History struct {
	n    *Node
	room string
}

// Mark is a place in the life of the history on this node; see Node.Changes.
type Mark = causal.Mark

// Changes says what has changed in the history since a mark: from position pos
// on it is to be read again, by History.From, and now is the mark to go on
// from. If nothing has changed, pos is the number of all messages. The zero
// Mark is the beginning. So a program that shows the history, cuts what it
// shows at pos and appends what follows, always shows the history as it is,
// whatever was inserted, and whenever it looks.
func (n *Node) Changes(since Mark) (pos uint64, now Mark) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flushed()
	return n.history.Changes(since)
}

// mark is the mark of what is there now.
func (n *Node) mark() Mark {
	_, now := n.history.Changes(Mark{Index: 1<<64 - 1})
	return now
}

// All yields the history from its beginning.
func (h History) All() iter.Seq[Message] { return h.From(0) }

// From yields the history from position pos on, to its end. What is inserted
// meanwhile before the place that has been reached is not yielded.
func (h History) From(pos uint64) iter.Seq[Message] { return h.walk(pos, false) }

// Backwards yields the history from its end, the newest message first.
func (h History) Backwards() iter.Seq[Message] { return h.walk(1<<64-1, true) }

// Search yields the messages that contain every one of the words, the newest
// first. A word is found anywhere in a message, in capitals or not. No words
// find nothing.
func (h History) Search(words string) iter.Seq[Message] {
	wanted := strings.Fields(strings.ToLower(words))
	return func(yield func(Message) bool) {
		if len(wanted) == 0 {
			return
		}
		for m := range h.Backwards() {
			text := strings.ToLower(string(m.Data))
			missing := func(word string) bool { return !strings.Contains(text, word) }
			if !slices.ContainsFunc(wanted, missing) && !yield(m) {
				return
			}
		}
	}
}

// walk reads page by page. Between two pages messages may be inserted, so it
// goes on from the last message and not from its old position.
func (h History) walk(pos uint64, backwards bool) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		var last *MessageID
		for {
			page, over := h.page(pos, last, backwards)
			for _, m := range page {
				if (h.room == "" || m.Room == h.room) && !yield(m) {
					return
				}
			}
			if over {
				return
			}
			last = &page[len(page)-1].ID
		}
	}
}

func (h History) page(pos uint64, last *MessageID, backwards bool) (page []Message, over bool) {
	n := h.n
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flushed()
	log := n.history
	if last != nil {
		if m, ok := log.Lookup(*last); ok {
			if pos = m.Pos; !backwards {
				pos++
			}
		}
	}
	for m := range log.History(pos, backwards) {
		if page = n.take(page, &m); len(page) == pageSize {
			break
		}
	}
	return page, len(page) < pageSize
}

// flushed lets a program read what it has just sent.
func (n *Node) flushed() {
	if n.appended && n.phase != PhaseClosed {
		now := time.Now()
		n.flush(now)
		n.carry(now)
	}
}

// Lookup returns one message; ok is false if this node does not hold it.
func (n *Node) Lookup(id MessageID) (m Message, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flushed()
	lm, ok := n.history.Lookup(id)
	if !ok {
		return Message{}, false
	}
	return n.message(lm), true
}

// Compare tells how two messages stand in the history, which is the same on
// all nodes and never changes: it is negative if a comes before b, positive if
// after, and zero if they are the same; ok is false if this node does not hold
// both.
func (n *Node) Compare(a, b MessageID) (order int, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flushed()
	x, okA := n.history.Lookup(a)
	y, okB := n.history.Lookup(b)
	return cmp.Compare(x.Pos, y.Pos), okA && okB
}

// Why tells how a message came to be where it is in the history.
type Why struct {
	Message
	// Height orders the history: it is one more than the greatest height of
	// what the author had seen. Messages of one height are ordered by their
	// time of sending, which nobody can check, and their hash.
	Height uint64
	// After are the last messages that the author had seen: the message comes
	// after these, and after all before them. An author's own is among them.
	After []MessageID
	// Concurrent are messages close by whose authors and this one's had not
	// seen each other's words; only height, time and hash put them in order.
	Concurrent []MessageID
	// Via is who gave the message to this node, and Came is when. Came is zero
	// for what the data directory held.
	Via  Peer
	Came time.Time
}

// Why explains the place of a message; ok is false if this node does not hold
// it, or if its Log (see WithLog) cannot tell.
func (n *Node) Why(id MessageID) (why Why, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flushed()
	log, ok := n.history.(interface {
		Why(causal.MessageID) (causal.Why, bool)
	})
	if !ok {
		return Why{}, false
	}
	w, ok := log.Why(id)
	if !ok {
		return Why{}, false
	}
	why = Why{Message: n.message(w.Message), Height: w.Height, Concurrent: w.Concurrent, Via: n.peer(w.Via), Came: w.Came}
	for _, p := range w.After {
		if p.Last.N > 0 {
			why.After = append(why.After, p.Last)
		}
	}
	return why, true
}
