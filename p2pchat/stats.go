package p2pchat

import (
	"encoding/json"

	"github.com/seed-885536be/p2p/internal/optional"
)

// Stats counts what a Node did. All but the first group only grow.
type Stats struct {
	Members  int    `json:"members"`  // of the view, this node included
	Term     uint64 `json:"term"`     // of the view
	View     uint64 `json:"view"`     // its number
	Links    int    `json:"links"`    // streams that are open
	Waiting  int    `json:"waiting"`  // direct messages to be acknowledged
	Unread   int    `json:"unread"`   // direct messages that the program has not read
	Pending  int    `json:"pending"`  // blocks that wait for what they follow
	Missing  uint64 `json:"missing"`  // blocks that those follow and that are not here
	Messages uint64 `json:"messages"` // in the history
	Blocks   uint64 `json:"blocks"`   // in the history
	Bytes    uint64 `json:"bytes"`    // of payload in the history

	Heartbeats uint64            `json:"heartbeats"`  // sent, as the coordinator
	Suspicions uint64            `json:"suspicions"`  // of the coordinator
	Elections  uint64            `json:"elections"`   // begun here
	Evictions  uint64            `json:"evictions"`   // by this node
	ViewsMade  uint64            `json:"views_made"`  // by this node, as the coordinator
	ViewsTaken uint64            `json:"views_taken"` // made by others
	Pulls      uint64            `json:"pulls"`       // syncs asked for
	Served     uint64            `json:"served"`      // bytes of history sent to syncs
	Pieces     uint64            `json:"pieces"`      // of own blocks sent by multicast, see WithMulticast
	Resent     uint64            `json:"resent"`      // such pieces sent again
	PiecesCame uint64            `json:"pieces_came"` // such pieces of others
	DirectSent uint64            `json:"direct_sent"` // direct messages acknowledged
	DirectCame uint64            `json:"direct_came"` // direct messages received
	Drops      map[string]uint64 `json:"drops"`       // what was refused, by reason
}

// String is the counters as JSON, so that a Stats is an expvar.Var.
func (s Stats) String() string {
	b, _ := json.Marshal(s) // nothing in a Stats can fail
	return string(b)
}

// Stats is a snapshot of the counters.
func (n *Node) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flushed() // what was sent counts
	l := n.history.Stats()
	s := Stats{
		Pending: l.Pending, Missing: l.Missing, Messages: l.Messages, Blocks: l.Blocks, Bytes: l.Bytes,
		Pulls: l.Pulls, Served: l.Served, Drops: make(map[string]uint64),
	}
	if n.core == nil {
		return s
	}
	v, m := n.core.Group().View(), n.core.Group().Stats()
	s.Members, s.Term, s.View = len(v.Members), v.ID.Epoch.Ctr, v.Number
	s.Heartbeats, s.Suspicions, s.Elections, s.Evictions = m.Heartbeats, m.Suspicions, m.Elections, m.Evictions
	s.ViewsMade, s.ViewsTaken = m.ViewsMade, m.ViewsTaken
	d := n.core.DirectStats()
	s.DirectSent, s.DirectCame, s.Waiting, s.Unread = d.Sent, d.Received, d.Waiting, d.Unread
	c := n.core.CastStats()
	s.Pieces, s.Resent, s.PiecesCame = c.Sent, c.Again, c.Took
	s.Links = n.core.Links()
	n.core.Drops(s.Drops)
	for reason, c := range optional.Drops(n.cfg.transport) {
		s.Drops[reason] += c
	}
	return s
}
