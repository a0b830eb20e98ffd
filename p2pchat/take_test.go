package p2pchat

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/causal"
)

// A page that is used again says who the authors are now.
func TestTakeAgain(t *testing.T) {
	key := PeerID{1}
	n := &Node{known: map[PeerID]Peer{key: {ID: 1, Key: key}}}
	m := &causal.Message{Author: key, Data: appendPayload(nil, "room", "nick", []byte("data"))}
	page := n.take(n.take(nil, m), m)
	for _, got := range page {
		require.Equal(t, Peer{ID: 1, Key: key, Nick: "nick"}, got.From)
		require.Equal(t, "room", got.Room)
		require.Equal(t, []byte("data"), got.Data)
	}
	n.known[key] = Peer{ID: 2, Key: key}
	m.Backlog = true
	page = n.take(page[:0], m)
	require.Equal(t, Peer{ID: 2, Key: key, Nick: "nick"}, page[0].From)
	m.Data, m.Backlog = nil, false
	page = n.take(page[:0], m)
	require.Equal(t, Message{From: Peer{ID: 2, Key: key}, Dropped: true}, page[0])
}
