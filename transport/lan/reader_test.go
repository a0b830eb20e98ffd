package lan

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ends are a reader and a socket that sends to it.
func ends(t testing.TB, network, host string) (*reader, *net.UDPConn) {
	to, err := net.ListenUDP(network, &net.UDPAddr{IP: net.ParseIP(host)})
	require.NoError(t, err)
	t.Cleanup(func() { to.Close() })
	require.NoError(t, to.SetReadDeadline(time.Now().Add(time.Minute)))
	from, err := net.DialUDP(network, nil, to.LocalAddr().(*net.UDPAddr))
	require.NoError(t, err)
	t.Cleanup(func() { from.Close() })
	return newReader(to), from
}

// Read one by one or in batches, a datagram and its source are the same.
func TestReader(t *testing.T) {
	for network, host := range map[string]string{"udp4": "127.0.0.1", "udp6": "::1"} {
		for name, fast := range map[string]bool{"plain": false, "batch": true} {
			t.Run(network+"/"+name, func(t *testing.T) {
				r, from := ends(t, network, host)
				want := make(map[uint32]int)
				for i := range uint32(40) {
					b := make([]byte, 4+37*i)
					binary.BigEndian.PutUint32(b, i)
					_, err := from.Write(b)
					require.NoError(t, err)
					want[i] = min(len(b), maxPacket)
				}
				require.Equal(t, maxPacket, want[39], "one is too long")
				at := from.LocalAddr().(*net.UDPAddr).AddrPort()
				got := make(map[uint32]int)
				for len(got) < len(want) {
					r.fast = fast && r.batches != nil
					require.NoError(t, r.read(func(b, _ []byte, from netip.AddrPort) {
						got[binary.BigEndian.Uint32(b)] = len(b)
						require.Equal(t, at, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
					}))
				}
				require.Equal(t, want, got)
				require.Equal(t, r.batches != nil && fast, r.batch != nil)
			})
		}
	}
}

// Batches are for a burst, and end with it.
func TestReaderIsInHasteOnlyInABurst(t *testing.T) {
	r, from := ends(t, "udp4", "127.0.0.1")
	now := time.Now()
	after := func(d time.Duration) bool {
		r.reads, now = burst, now.Add(d)
		r.pace(now)
		return r.fast
	}
	can := runtime.GOOS == "linux"
	require.False(t, after(0), "nothing came before")
	require.Equal(t, can, after(burstWithin))
	require.False(t, after(burstWithin+1))
	require.Nil(t, r.batch, "no memory for batches before there was a burst")

	require.Equal(t, can, after(0))
	_, err := from.Write([]byte("alone"))
	require.NoError(t, err)
	require.NoError(t, r.read(func(b, _ []byte, _ netip.AddrPort) { require.Equal(t, "alone", string(b)) }))
	require.False(t, r.fast, "a batch of one")
}

// BenchmarkFlood reads small datagrams of which many wait.
func BenchmarkFlood(b *testing.B) {
	for name, fast := range map[string]bool{"plain": false, "batch": true} {
		b.Run(name, func(b *testing.B) {
			r, from := ends(b, "udp4", "127.0.0.1")
			n := 0
			take := func([]byte, []byte, netip.AddrPort) { n++ }
			packet := make([]byte, 100)
			for n < b.N {
				b.StopTimer()
				until := n + 128
				for range 128 {
					_, err := from.Write(packet)
					require.NoError(b, err)
				}
				b.StartTimer()
				for n < until {
					r.fast = fast && r.batches != nil
					require.NoError(b, r.read(take))
				}
			}
		})
	}
}

// BenchmarkRefused refuses datagrams that are read: of no protocol, and of another
// group.
func BenchmarkRefused(b *testing.B) {
	t := New(Config{})
	require.NoError(b, t.configure())
	addr := netip.MustParseAddrPort("10.0.0.1:4000")
	t.addr.Store(&addr)
	foreign := t.header(kindBeacon, 0)
	foreign.label[0] ^= 1
	for name, packet := range map[string][]byte{"garbage": make([]byte, 100), "foreign_group": foreign.append(nil)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				t.arrived(packet, addr, way{})
			}
		})
	}
}
