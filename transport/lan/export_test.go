package lan

import "net/netip"

// Label is the label of a group.
func Label(c Config) []byte {
	l := labelOf(netip.MustParseAddrPort(c.Group), c.Name)
	return l[:]
}
