package p2pchat

import (
	"cmp"
	"slices"

	"github.com/seed-885536be/p2p/causal"
)

// rooms is where each room begins and ends in the history, as far as has been
// looked.
type rooms struct {
	next uint64 // delivery to be looked at
	ends map[string]*ends
}

// ends are a room's first and last message. Their places change, but not which
// of two comes first.
type ends struct{ first, last causal.MessageID }

// Rooms lists the rooms that messages held were sent to, in the order of their
// first message. It looks at what has come since it was called last.
func (n *Node) Rooms() []string {
	for n.lookAtRooms() {
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	type room struct {
		name string
		pos  uint64
	}
	var held []room
	for name, e := range n.rooms.ends {
		// The oldest is dropped first.
		if last, ok := n.history.Lookup(e.last); ok && last.Data != nil {
			first, _ := n.history.Lookup(e.first)
			held = append(held, room{name, first.Pos})
		}
	}
	slices.SortFunc(held, func(a, b room) int { return cmp.Compare(a.pos, b.pos) })
	var names []string
	for _, r := range held {
		names = append(names, r.name)
	}
	return names
}

// lookAtRooms looks at a page of messages, and reports whether there are more.
func (n *Node) lookAtRooms() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flushed()
	r := &n.rooms
	page := 0
	for m := range n.history.Deliveries(r.next) {
		if page++; page > 16*pageSize {
			return true
		}
		r.next = m.Index + 1
		if m.Data == nil {
			continue
		}
		name, _, _ := splitPayload(m.Data)
		e := r.ends[string(name)]
		if e == nil {
			r.ends[string(name)] = &ends{first: m.ID, last: m.ID}
			continue
		}
		if !m.Inserted {
			e.last = m.ID
			continue
		}
		if first, _ := n.history.Lookup(e.first); m.Pos < first.Pos {
			e.first = m.ID
		}
		if last, _ := n.history.Lookup(e.last); m.Pos > last.Pos {
			e.last = m.ID
		}
	}
	return false
}
