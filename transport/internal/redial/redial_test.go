package redial

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	peer  = netip.MustParseAddrPort("10.0.0.1:1")
	begin = time.Unix(1e9, 0)
)

// waits makes attempts, each as soon as it may be, and returns the pauses.
func waits(t *Table, now *time.Time, n int) []time.Duration {
	var w []time.Duration
	for range n {
		d := t.Next(peer, *now)
		w = append(w, d)
		*now = now.Add(d)
	}
	return w
}

const ms = time.Millisecond

func TestPausesGrow(t *testing.T) {
	var table Table
	now := begin
	require.Equal(t, []time.Duration{0, 0, 0, 50 * ms, 100 * ms, 200 * ms, 400 * ms, 800 * ms, time.Second, time.Second}, waits(&table, &now, 10))
	require.Zero(t, table.Next(netip.MustParseAddrPort("10.0.0.2:1"), now), "peers do not wait for each other")
}

func TestTimeSinceTheLastAttemptCounts(t *testing.T) {
	var table Table
	now := begin
	waits(&table, &now, 4)
	now = now.Add(70 * ms)
	require.Equal(t, 30*ms, table.Next(peer, now))
	now = now.Add(time.Second)
	require.Zero(t, table.Next(peer, now))
}

func TestRowEnds(t *testing.T) {
	var table Table
	now := begin
	waits(&table, &now, 8)
	table.Ended(peer, stable-1)
	require.Equal(t, []time.Duration{time.Second}, waits(&table, &now, 1), "a short connection does not end it")
	table.Ended(peer, stable)
	require.Equal(t, []time.Duration{0, 0, 0, 50 * ms}, waits(&table, &now, 4))
	now = now.Add(forget)
	require.Equal(t, []time.Duration{0, 0, 0, 50 * ms}, waits(&table, &now, 4))
}

func TestForgottenPeersAreRemoved(t *testing.T) {
	var table Table
	now := begin
	for i := range 10 * sweep {
		now = now.Add(forget / sweep)
		table.Next(netip.AddrPortFrom(peer.Addr(), uint16(i+1)), now)
		require.LessOrEqual(t, len(table.peers), 2*sweep+2)
	}
}
