package lan

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPeersOfTheOtherFamilyAreReported(t *testing.T) {
	start := time.Unix(1e9, 0)
	four, other := netip.MustParseAddrPort("10.77.0.3:4000"), netip.MustParseAddrPort("10.77.0.4:4000")
	six := netip.MustParseAddrPort("[fe80::3%eth0]:4000")
	const text = "10.77.0.3:4000 cannot be reached: all that is known of it is IPv4, and this node has IPv6 only; "
	// node is one of IPv6 alone, that has tried to reach the first of the two.
	node := func() *Transport {
		n := New(Config{})
		n.networks.all = []network{
			{name: "lo", index: 1, flags: net.FlagUp | net.FlagLoopback, used: true},
			{name: "eth0", index: 2, flags: net.FlagUp | net.FlagMulticast, used: true},
		}
		n.networks.joined = map[outlet]time.Time{{1, false}: start, {2, true}: start}
		n.unreached(four, errFamily, start)
		return n
	}
	said := func(n *Transport, after time.Duration) (texts []string) {
		for _, w := range n.others(start.Add(after)) {
			require.Equal(t, otherFamily, w.Code)
			texts = append(texts, w.Text)
		}
		return texts
	}
	const soon = 3 * beaconPeriod

	n := node()
	require.Empty(t, said(n, soon-1), "it may have IPv6 and not have spoken yet")
	require.Equal(t, []string{text + "give one of the two hosts both"}, said(n, soon))
	n.unreached(other, errFamily, start.Add(soon))
	require.Equal(t, []string{text + "give one of the two hosts both"}, said(n, soon), "the same as long as it lasts")
	n.unreached(four, errFamily, start.Add(30*time.Second))
	require.NotEmpty(t, said(n, 30*time.Second+apartFor-1))
	require.Empty(t, said(n, 30*time.Second+apartFor), "nobody wants to reach it any more")

	n.unreached(four, errFamily, start.Add(time.Hour))
	require.Empty(t, said(n, time.Hour), "it may have got IPv6 meanwhile")
	require.NotEmpty(t, said(n, time.Hour+soon))

	n = node()
	n.roster.hear(header{instance: 3, endpoint: four}, six, false, start)
	require.Empty(t, said(n, soon), "it has IPv6")
	n.unreached(four, errFamily, start.Add(soon))
	n.unreached(other, errFamily, start.Add(soon))
	require.Contains(t, said(n, 2*soon)[0], other.String(), "the turn of the next")

	n = node()
	n.networks.joined[outlet{2, false}] = start
	require.Empty(t, said(n, soon), "this node has IPv4")

	n = node()
	delete(n.networks.joined, outlet{2, true})
	require.Empty(t, said(n, soon), "this node has no network")

	n = node()
	n.host = "fe80::1"
	require.Equal(t, []string{text + "listen at no address of one family, or give the other host both"}, said(n, soon))

	n = node()
	n.apart = apart{}
	n.unreached(four, errOwn, start)
	n.unreached(four, nil, start)
	n.unreached(netip.MustParseAddrPort("127.0.0.1:4000"), errFamily, start)
	n.unreached(six, errFamily, start)
	require.Empty(t, said(n, soon))

	n.networks.joined = map[outlet]time.Time{{2, false}: start}
	n.unreached(six, errFamily, start)
	require.Equal(t, []string{"[fe80::3%eth0]:4000 cannot be reached: all that is known of it is IPv6, and this node has IPv4 only; give one of the two hosts both"}, said(n, soon))
}
