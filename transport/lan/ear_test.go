package lan

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What does not come back on loopback is a fault only where no other interface
// brings it back: hosts that have IPv6 alone often have no route for multicast on
// loopback.
func TestADeafLoopbackMattersOnlyAlone(t *testing.T) {
	start := time.Unix(1e9, 0)
	now := start.Add(20 * time.Second)
	six := netip.MustParseAddr("fe80::1")
	s := networks{
		all: []network{
			{name: "lo", index: 1, flags: net.FlagUp | net.FlagLoopback, addr6: netip.IPv6Loopback(), used: true},
			{name: "eth0", index: 2, flags: net.FlagUp | net.FlagMulticast, addr6: six, used: true},
		},
		joined: map[outlet]time.Time{{1, true}: start, {2, true}: start},
	}
	s.heard(2, voiceOwn, six, now)
	s.heard(2, voiceRemote, six, now)
	s.listen(now, true, deafAfter)
	require.Empty(t, s.warnings())

	now = now.Add(deafAfter)
	s.listen(now, false, deafAfter)
	w := s.warnings()
	require.Len(t, w, 2)
	require.Equal(t, "lo", w[0].Interface)
	require.Equal(t, "eth0", w[1].Interface)

	s.heard(2, voiceOwn, six, now)
	s.listen(now, true, deafAfter)
	require.Len(t, s.warnings(), 1, "of the network that keeps it back")
}
