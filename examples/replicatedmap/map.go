package main

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/seed-885536be/p2p/p2pchat"
)

// Map is a map of strings that is the same on every node of a group. A node
// writes without asking anybody, also while it is cut off; of two writes to one
// key, the one that comes later in the converged history counts, on all nodes.
// A write comes later than all that its node had seen when it was made.
type Map struct {
	node *p2pchat.Node
	room string

	mu    sync.RWMutex
	cells map[string]cell
}

// cell is what the latest write to a key says. That of a deleted key stays, to
// be compared with what comes late.
type cell struct {
	by      p2pchat.MessageID
	value   string
	present bool
}

// write is one message.
type write struct {
	Key   string  `json:"key"`
	Value *string `json:"value"` // nil deletes
}

// NewMap returns the map that lives in a room of a node's history.
func NewMap(node *p2pchat.Node, room string) *Map {
	return &Map{node: node, room: room, cells: make(map[string]cell)}
}

// Follow applies what any node writes, until ctx ends or the node is closed.
func (m *Map) Follow(ctx context.Context) {
	for msg := range m.node.Messages(ctx, p2pchat.FromStart) {
		var w write
		if msg.Room == m.room && json.Unmarshal(msg.Data, &w) == nil {
			m.apply(msg, w)
		}
	}
}

// apply keeps a write unless a later one is there.
func (m *Map) apply(msg p2pchat.Message, w write) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, held := m.cells[w.Key]; held {
		if order, ok := m.node.Compare(old.by, msg.ID); ok && order > 0 {
			return
		}
	}
	c := cell{by: msg.ID, present: w.Value != nil}
	if c.present {
		c.value = *w.Value
	}
	m.cells[w.Key] = c
}

// Set gives a key a value.
func (m *Map) Set(ctx context.Context, key, value string) (p2pchat.MessageID, error) {
	return m.send(ctx, write{key, &value})
}

// Delete takes a key away.
func (m *Map) Delete(ctx context.Context, key string) (p2pchat.MessageID, error) {
	return m.send(ctx, write{Key: key})
}

func (m *Map) send(ctx context.Context, w write) (p2pchat.MessageID, error) {
	b, err := json.Marshal(w)
	if err != nil {
		return p2pchat.MessageID{}, err
	}
	return m.node.Send(ctx, m.room, b)
}

// Get returns a key's value as far as this node has followed.
func (m *Map) Get(key string) (value string, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := m.cells[key]
	return c.value, c.present
}

// All yields the keys, in order, and their values.
func (m *Map) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		m.mu.RLock()
		cells := maps.Clone(m.cells)
		m.mu.RUnlock()
		for _, key := range slices.Sorted(maps.Keys(cells)) {
			if c := cells[key]; c.present && !yield(key, c.value) {
				return
			}
		}
	}
}
