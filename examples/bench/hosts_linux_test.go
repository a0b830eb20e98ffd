package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	hostlab "github.com/seed-885536be/p2p/internal/lab"
)

// On hosts whose links are slow, what one says goes to all at once.
func TestMulticastOnHosts(t *testing.T) {
	h, err := newHosts(0)
	if err != nil {
		if os.Getenv(hostlab.RequireNetns) == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	h.remove()
	results, _ := bench(t, "-hosts -link 20 -nodes 5 -multicast 5 -size 10000 -messages 1000")
	require.Positive(t, results[0].PerSecond)
	require.Positive(t, results[0].Pieces)
}
