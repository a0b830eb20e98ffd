//go:build unix

package main_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
)

// recorder is a transport that keeps what was sent by it.
type recorder struct {
	*lan.Transport
	mu        sync.Mutex
	datagrams [][]byte
	frames    [][]byte
}

func (r *recorder) Multicast(b []byte) error {
	r.keep(&r.datagrams, b)
	return r.Transport.Multicast(b)
}

func (r *recorder) Unicast(to netip.AddrPort, b []byte) error {
	r.keep(&r.datagrams, b)
	return r.Transport.Unicast(to, b)
}

func (r *recorder) Stream(to netip.AddrPort, b []byte) error {
	r.keep(&r.frames, b)
	return r.Transport.Stream(to, b)
}

func (r *recorder) keep(list *[][]byte, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*list = append(*list, bytes.Clone(b))
}

// tap collects the datagrams to a multicast group on loopback, as they are on
// the wire.
func tap(t *testing.T, group netip.AddrPort) func() [][]byte {
	lo, err := net.InterfaceByName("lo")
	require.NoError(t, err)
	c, err := net.ListenMulticastUDP("udp4", lo, net.UDPAddrFromAddrPort(group))
	require.NoError(t, err)
	var got [][]byte
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, _, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			got = append(got, bytes.Clone(buf[:n]))
		}
	}()
	return func() [][]byte {
		c.Close()
		<-done
		return got
	}
}

// streamBytes is what a transport writes to a peer that it dials: its greeting
// and one frame.
func streamBytes(t *testing.T, tr transport.Transport, frame []byte) []byte {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, tr.Stream(l.Addr().(*net.TCPAddr).AddrPort(), frame))
	c, err := l.Accept()
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(lab.Patience)))
	// A transport may await the other's greeting before it goes on.
	greeting := make([]byte, 4096)
	n, err := c.Read(greeting)
	require.NoError(t, err)
	return greeting[:n]
}

func (n *node) drops() (sum uint64, by map[string]uint64) {
	n.g.t.Helper()
	by = lab.As[struct{ Drops map[string]uint64 }](n.g.t, n.Do("status", nil)).Drops
	for _, count := range by {
		sum += count
	}
	return sum, by
}

// TestGarbage throws at two processes what does not belong there. Nothing
// changes but counters.
func TestGarbage(t *testing.T) {
	t.Parallel()
	// Nothing beats during the test, and nobody is late: whatever happens is the
	// garbage's work. TestSituationHostileStranger is about heartbeats in a flood.
	g := onLoopback(t, unhurried...)
	groupAddr := netip.MustParseAddrPort(g.flags[slices.Index(g.flags, "-group")+1])
	collect := tap(t, groupAddr)
	for range 2 {
		g.join(nil)
	}

	// A third member, in this process, comes and goes: what it sent is what
	// real packets look like.
	ctx, cancel := context.WithTimeout(context.Background(), lab.Patience)
	defer cancel()
	record := &recorder{Transport: lan.New(lan.Config{Group: groupAddr.String(), Interfaces: []string{"lo"}})}
	guest, err := p2pchat.New(p2pchat.WithTransport(record), p2pchat.WithName("guest"),
		p2pchat.WithTiming(membership.For(30*time.Minute, time.Hour)))
	require.NoError(t, err)
	require.NoError(t, guest.Join(ctx))
	for range 10 {
		id, err := guest.Send(ctx, "lobby", []byte("from the guest"))
		require.NoError(t, err)
		g.sent[id.String()] = "from the guest"
	}
	g.say(g.nodes, 10)
	require.NoError(t, guest.Wait(ctx, func(s p2pchat.Status) bool { return s.Digest.N == 30 && s.Converged() }))
	require.NoError(t, guest.Leave(ctx))
	waitMembers(t, g.nodes)
	g.converge(g.nodes, nil)
	// What the guest asked for admission with is no garbage a minute after it left: by
	// then it may come back.
	packets := slices.DeleteFunc(collect(), func(p []byte) bool {
		return slices.ContainsFunc(record.datagrams, func(b []byte) bool { return bytes.HasSuffix(p, b) })
	})
	require.NotEmpty(t, packets)
	require.NotEmpty(t, record.frames)

	before := map[*node]view{}
	drops := map[*node]uint64{}
	var targets []netip.AddrPort
	for _, n := range g.nodes {
		before[n] = lab.As[view](t, n.Do("view", nil))
		drops[n], _ = n.drops()
		targets = append(targets, netip.MustParseAddrPort(lab.As[struct{ Addr string }](t, n.Events()[0]).Addr))
	}
	from := marks(g.nodes)

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	random := func(size int) []byte {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer udp.Close()
	thrown := 0
	throw := func(b []byte) {
		for _, to := range append(targets, groupAddr) {
			_, err := udp.WriteToUDPAddrPort(b, to)
			require.NoError(t, err)
		}
		// So that it is read and not lost in a full buffer.
		if thrown++; thrown%50 == 0 {
			for _, n := range g.nodes {
				n.Do("digest", nil)
			}
		}
	}
	// dial connects to each process and writes; the process hangs up.
	dial := func(b []byte) {
		for _, to := range targets {
			c, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(to))
			require.NoError(t, err)
			_, _ = c.Write(b) // it may hang up before all is written
			_ = c.CloseWrite()
			require.NoError(t, c.SetReadDeadline(time.Now().Add(lab.Patience)))
			_, err = io.Copy(io.Discard, c)
			if e := net.Error(nil); err != nil {
				require.False(t, errors.As(err, &e) && e.Timeout(), "it must hang up: %v", err)
			}
			c.Close()
		}
	}

	for range 300 {
		throw(random(rng.IntN(1400)))
	}
	for range 20 {
		dial(random(rng.IntN(100_000)))
	}
	// The first packets are those of the joins. With two bits flipped, one of
	// them in what identifies a packet, they do not look like one seen before.
	for range 500 {
		flipped := bytes.Clone(packets[rng.IntN(min(len(packets), 12))])
		flipped[16+rng.IntN(12)] ^= 1 << rng.IntN(8)
		flipped[32+rng.IntN(len(flipped)-32)] ^= 1 << rng.IntN(8)
		throw(flipped)
	}
	for _, p := range packets[:min(len(packets), 12)] {
		for bit := range 8 * len(p) {
			flipped := bytes.Clone(p)
			flipped[bit/8] ^= 1 << (bit % 8)
			throw(flipped)
		}
	}
	for _, p := range sample(rng, packets, 30) {
		for range 20 {
			throw(p[:rng.IntN(len(p))])
			flipped := bytes.Clone(p)
			flipped[rng.IntN(len(p))] ^= 1 << rng.IntN(8)
			throw(flipped)
			throw(append(bytes.Clone(p), random(1+rng.IntN(20))...))
		}
		later := bytes.Clone(p)
		later[4], later[5] = 2, 3 // the versions that its sender speaks
		throw(later)
	}

	// A transport of this group whose frames are nonsense.
	stranger := lan.New(lan.Config{Group: groupAddr.String(), Interfaces: []string{"lo"}})
	require.NoError(t, stranger.Open(transport.HandlerFunc(func(transport.Event) {})))
	defer stranger.Close()
	greeting := streamBytes(t, stranger, nil)
	for range 50 {
		dial(greeting[:rng.IntN(len(greeting))])
		flipped := bytes.Clone(greeting)
		flipped[rng.IntN(len(flipped))] ^= 1 << rng.IntN(8)
		dial(append(flipped, random(100)...))
	}
	nonsense := func(b []byte) {
		if len(b) <= transport.MaxDatagram {
			require.NoError(t, stranger.Multicast(b))
		}
		for _, to := range targets {
			if len(b) <= transport.MaxDatagram {
				require.NoError(t, stranger.Unicast(to, b))
			}
			_ = stranger.Stream(to, b) // the process may have hung up
		}
	}
	for range 100 {
		nonsense(random(rng.IntN(2000)))
	}
	for _, b := range sample(rng, record.datagrams, 20) {
		nonsense(b[:rng.IntN(len(b))])
	}
	for _, b := range sample(rng, record.frames, 20) {
		nonsense(b[:rng.IntN(len(b))])
	}

	// Another group at the same address.
	other, err := p2pchat.New(p2pchat.WithName("other"),
		p2pchat.WithTransport(lan.New(lan.Config{Group: groupAddr.String(), Name: "other", Interfaces: []string{"lo"}})))
	require.NoError(t, err)
	defer other.Close()
	ctx, cancel = context.WithTimeout(t.Context(), lab.Patience) // the garbage took its time
	defer cancel()
	require.NoError(t, other.Join(ctx))
	require.Len(t, other.View().Members, 1, "groups with different names do not meet")
	_, err = other.Send(ctx, "lobby", []byte("from another group"))
	require.NoError(t, err)

	for _, n := range g.nodes {
		sum, by := n.drops()
		require.Greater(t, sum, drops[n], "it was counted")
		for _, reason := range []string{"malformed", "version", "foreign_group"} {
			require.NotZero(t, by[reason], "%s: %v", reason, by)
		}
		require.Equal(t, before[n], lab.As[view](t, n.Do("view", nil)))
		for _, e := range n.Since(from[n]) {
			require.Contains(t, []string{"reply", "warn"}, e.Ev, "%s: nothing was to happen: %s", n.Name(), e.Line)
		}
	}
	g.say(g.nodes, 10)
	g.converge(g.nodes, nil)
	g.check(g.nodes)
}

// sample returns n of the elements by chance, or all if there are no more.
func sample(rng *rand.Rand, from [][]byte, n int) [][]byte {
	all := slices.DeleteFunc(slices.Clone(from), func(b []byte) bool { return len(b) == 0 })
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(n, len(all))]
}
