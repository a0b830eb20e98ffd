package lan

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
)

// What a person reads of interfaces, with an address or without one.
func TestReportOfInterfaces(t *testing.T) {
	r := Report{Interfaces: []transport.Interface{
		{Name: "eth0", Addr: netip.MustParseAddr("192.0.2.7"), Used: true},
		{Name: "eth1", Why: "down"},
	}}
	require.Contains(t, r.String(), "interface eth0       192.0.2.7  used\n")
	require.Contains(t, r.String(), "interface eth1       no address  not used: down\n")
}
