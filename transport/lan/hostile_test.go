package lan_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
)

// wait is how long a test waits for what must happen.
const wait = 20 * time.Second

// events is a Handler whose events a test takes one by one.
type events struct {
	t testing.TB
	c chan transport.Event
}

func record(t testing.TB) events { return events{t, make(chan transport.Event, 1<<12)} }

func (r events) handle(e transport.Event) { r.c <- e }

func (r events) next() transport.Event {
	r.t.Helper()
	select {
	case e := <-r.c:
		return e
	case <-time.After(wait):
		require.FailNow(r.t, "no event came")
		return transport.Event{}
	}
}

// expect takes the next event and checks it; cause is for Down only.
func (r events) expect(k transport.Kind, peer netip.AddrPort, cause transport.Cause) transport.Event {
	r.t.Helper()
	e := r.next()
	require.Equal(r.t, fmt.Sprint(k, peer, cause), fmt.Sprint(e.Kind, e.Peer, e.Cause), "%v", e.Err)
	return e
}

// outsider is a socket of a program of another kind on this host, and where it is.
func outsider(t *testing.T) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c, c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// hello is the header of a stream, as its layout is documented, of a peer that
// the test plays.
func hello(c lan.Config, at netip.AddrPort, instance uint64) []byte {
	return header(c, 'h', at, instance, 0)
}

func header(c lan.Config, kind byte, at netip.AddrPort, instance uint64, seq uint32) []byte {
	b := append([]byte("p2p"), kind, 1, 1)
	b = binary.BigEndian.AppendUint16(b, at.Port())
	b = append(b, lan.Label(c)...)
	b = binary.BigEndian.AppendUint64(b, instance)
	b = binary.BigEndian.AppendUint32(b, seq)
	ip := at.Addr().As16()
	return append(b, ip[:]...)
}

// fake is a peer that the test plays: a listener where the node can dial it.
type fake struct {
	t *testing.T
	net.Listener
	at netip.AddrPort
}

func play(t *testing.T) fake {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return fake{t, l, l.Addr().(*net.TCPAddr).AddrPort()}
}

// connect dials a node and sends b.
func connect(t *testing.T, to netip.AddrPort, b []byte) net.Conn {
	c, err := net.Dial("tcp4", to.String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(wait)))
	_, err = c.Write(b)
	require.NoError(t, err)
	return c
}

// answered reads the hello of a node.
func answered(t *testing.T, c net.Conn) {
	t.Helper()
	var b [44]byte
	_, err := io.ReadFull(c, b[:])
	require.NoError(t, err)
	require.Equal(t, "p2ph", string(b[:4]))
}

// ended waits until the node has closed a connection.
func ended(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	if ne, ok := err.(net.Error); ok {
		require.False(t, ne.Timeout(), "the connection was not closed")
	}
}

// drops waits until a node has counted exactly these.
func drops(t *testing.T, n *lan.Transport, want map[string]uint64) {
	t.Helper()
	for end := time.Now().Add(wait); fmt.Sprint(n.Drops()) != fmt.Sprint(want) && time.Now().Before(end); {
		<-time.After(time.Millisecond)
	}
	require.Equal(t, want, n.Drops())
}

// healthy checks that two nodes can talk.
func healthy(t *testing.T, a *lan.Transport, ra events, b *lan.Transport, rb events) {
	t.Helper()
	require.NoError(t, a.Multicast([]byte("m")))
	rb.expect(transport.Datagram, a.Addr(), 0)
	require.NoError(t, a.Stream(b.Addr(), []byte("s")))
	ra.expect(transport.Up, b.Addr(), 0)
	rb.expect(transport.Up, a.Addr(), 0)
	rb.expect(transport.Frame, a.Addr(), 0)
}

func TestHostileDatagrams(t *testing.T) {
	t.Parallel()
	c := config(t)
	ra, rb := record(t), record(t)
	a, b := opened(t, c, ra.handle), opened(t, c, rb.handle)
	from, at := outsider(t)
	send := func(packets ...[]byte) {
		for _, p := range packets {
			_, err := from.WriteToUDPAddrPort(p, a.Addr())
			require.NoError(t, err)
		}
	}
	good := func(seq uint32) []byte { return append(header(c, 'd', at, 42, seq), "frame"...) }
	change := func(seq uint32, i int, v byte) []byte {
		p := good(seq)
		p[i] = v
		return p
	}

	send(good(1))
	require.Equal(t, "frame", string(ra.expect(transport.Datagram, at, 0).Frame))

	send(good(1))
	drops(t, a, map[string]uint64{"duplicate": 1})
	send(nil, []byte("x"), good(2)[:43], change(2, 0, 'q'), change(2, 3, 'h'), change(2, 4, 0), bytes.Repeat([]byte{0xff}, 100))
	drops(t, a, map[string]uint64{"duplicate": 1, "malformed": 7})
	later := change(2, 5, 9)
	later[4] = 2
	send(later, later[:6])
	require.Equal(t, &transport.VersionError{Min: 2, Max: 9, OwnMin: 1, OwnMax: 1}, ra.expect(transport.Stranger, at, 0).Err)
	drops(t, a, map[string]uint64{"duplicate": 1, "malformed": 7, "version": 2})
	other := c
	other.Name = "another group"
	send(header(other, 'd', at, 42, 2), change(2, 15, good(2)[15]^1))
	drops(t, a, map[string]uint64{"duplicate": 1, "malformed": 7, "version": 2, "foreign_group": 2})
	send(append(good(2), make([]byte, transport.MaxDatagram+transport.Overhead)...), make([]byte, 9000))
	drops(t, a, map[string]uint64{"duplicate": 1, "malformed": 7, "version": 2, "foreign_group": 2, "oversize": 2})

	send(good(2))
	ra.expect(transport.Datagram, at, 0)
	healthy(t, a, ra, b, rb)
	require.Empty(t, ra.c)
}

// Random bytes, and real packets with bits flipped or cut short.
func TestNoiseChangesNothing(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	r := rand.New(rand.NewPCG(seed, 0))
	c := config(t)
	ra, rb := record(t), record(t)
	a, b := opened(t, c, ra.handle), opened(t, c, rb.handle)
	from, at := outsider(t)
	group := netip.MustParseAddrPort(c.Group)

	for i := range 300 {
		p := make([]byte, r.IntN(100))
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		if i%2 == 0 {
			// A bit of what is checked is wrong: magic, kind or label.
			p = header(c, 'd', at, r.Uint64(), r.Uint32())
			bit := []int{r.IntN(32), 64 + r.IntN(64)}[r.IntN(2)]
			p[bit/8] ^= 1 << (bit % 8)
		}
		for _, to := range []netip.AddrPort{a.Addr(), group} {
			_, err := from.WriteToUDPAddrPort(p, to)
			require.NoError(t, err)
		}
		if i%10 == 0 {
			connect(t, a.Addr(), p).Close()
		}
	}
	healthy(t, a, ra, b, rb)
	require.Empty(t, ra.c)
	require.NotEmpty(t, a.Drops())
}

func TestHostileStreams(t *testing.T) {
	t.Parallel()
	c := config(t)
	ra, rb := record(t), record(t)
	a, b := opened(t, c, ra.handle), opened(t, c, rb.handle)
	p := play(t)

	garbage := connect(t, a.Addr(), bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 10))
	ended(t, garbage)
	drops(t, a, map[string]uint64{"malformed": 1})

	other := c
	other.Name = "another group"
	foreign := connect(t, a.Addr(), hello(other, p.at, 1))
	answered(t, foreign) // so that it learns that this is not its peer
	ended(t, foreign)
	drops(t, a, map[string]uint64{"malformed": 1, "foreign_group": 1})

	later := hello(c, p.at, 1)
	later[4], later[5] = 2, 2
	version := connect(t, a.Addr(), later)
	answered(t, version)
	ended(t, version)
	drops(t, a, map[string]uint64{"malformed": 1, "foreign_group": 1, "version": 1})

	half := connect(t, a.Addr(), hello(c, p.at, 1)[:20])
	require.NoError(t, half.Close())
	drops(t, a, map[string]uint64{"malformed": 1, "foreign_group": 1, "version": 1, "no_hello": 1})
	require.Empty(t, ra.c, "none of them is a peer")

	absurd := connect(t, a.Addr(), append(hello(c, p.at, 1), 0xff, 0xff, 0xff, 0xff))
	answered(t, absurd)
	ended(t, absurd)
	drops(t, a, map[string]uint64{"malformed": 2, "foreign_group": 1, "version": 1, "no_hello": 1})
	ra.expect(transport.Up, p.at, 0)
	ra.expect(transport.Down, p.at, transport.Reset)
	require.NoError(t, p.Close())
	// The node may have been connecting already; then it was a reset.
	e := ra.next()
	require.Contains(t, []transport.Cause{transport.Refused, transport.Timeout}, e.Cause)

	healthy(t, a, ra, b, rb)
	require.Empty(t, ra.c)
}

// Silent connections cannot keep peers out.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	c := config(t)
	ra, rb := record(t), record(t)
	a, b := opened(t, c, ra.handle), opened(t, c, rb.handle)
	const many = 300
	conns := make([]net.Conn, many)
	for i := range conns {
		conns[i] = connect(t, a.Addr(), []byte("p2p"))
	}
	const room = 256
	for _, conn := range conns[:many-room] {
		ended(t, conn)
	}
	drops(t, a, map[string]uint64{"no_hello": many - room, "overflow": many - room})
	require.NoError(t, b.Stream(a.Addr(), []byte("let me in")))
	rb.expect(transport.Up, a.Addr(), 0)
	ra.expect(transport.Up, b.Addr(), 0)
	ra.expect(transport.Frame, b.Addr(), 0)
	ended(t, conns[many-room])
	drops(t, a, map[string]uint64{"no_hello": many - room + 1, "overflow": many - room + 1})
}

// They do not last.
func TestSilentConnectionsDoNotLast(t *testing.T) {
	t.Parallel()
	n := lan.New(config(t))
	require.NoError(t, n.Open(transport.HandlerFunc(func(transport.Event) {})))
	defer n.Close()
	const some = 5
	conns := make([]net.Conn, some)
	for i := range conns {
		conns[i] = connect(t, n.Addr(), []byte("p2p"))
	}
	for _, conn := range conns {
		ended(t, conn)
	}
	drops(t, n, map[string]uint64{"no_hello": some})
}

// closes checks that a node can be closed, which would take an hour if it waited
// for what it has open.
func closes(t *testing.T, n *lan.Transport) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- n.Close() }()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(wait):
		require.FailNow(t, "Close waits")
	}
}

// A peer that accepts and says nothing, as a stopped process does.
func TestSilentPeerIsTimeout(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.DialTimeout = 100 * time.Millisecond
	ra := record(t)
	a := opened(t, c, ra.handle)
	p := play(t)
	require.NoError(t, a.Stream(p.at, []byte("x")))
	ra.expect(transport.Down, p.at, transport.Timeout)
}

// Where another program has taken the port, the peer is gone.
func TestForeignProgramIsRefused(t *testing.T) {
	t.Parallel()
	c := config(t)
	other := c
	other.Name = "another group"
	ra := record(t)
	a := opened(t, c, ra.handle)
	later := hello(c, a.Addr(), 7)
	later[4], later[5] = 2, 2
	for i, answer := range [][]byte{
		[]byte("220 mail.example.org ESMTP ready for you\r\n"),
		hello(other, a.Addr(), 7),
		later,
	} {
		p := play(t)
		require.NoError(t, a.Stream(p.at, []byte("x")))
		nc, err := p.Accept()
		require.NoError(t, err)
		_, err = nc.Write(answer)
		require.NoError(t, err)
		require.Error(t, ra.expect(transport.Down, p.at, transport.Refused).Err, "%d", i)
		nc.Close()
	}
	require.NoError(t, a.Stream(a.Addr(), []byte("to itself")))
	ra.expect(transport.Down, a.Addr(), transport.Refused)
}

// A peer that opens a second connection has lost the first.
func TestPeerOpensAnotherConnection(t *testing.T) {
	t.Parallel()
	c := config(t)
	ra := record(t)
	a := opened(t, c, ra.handle)
	p := play(t)
	frame := func(s string) []byte { return append([]byte{0, 0, 0, byte(len(s))}, s...) }
	read := func(nc net.Conn) string {
		t.Helper()
		r := bufio.NewReader(nc)
		var n [4]byte
		_, err := io.ReadFull(r, n[:])
		require.NoError(t, err)
		b := make([]byte, n[3])
		_, err = io.ReadFull(r, b)
		require.NoError(t, err)
		return string(b)
	}

	first := connect(t, a.Addr(), append(hello(c, p.at, 1), frame("one")...))
	answered(t, first)
	ra.expect(transport.Up, p.at, 0)
	ra.expect(transport.Frame, p.at, 0)

	// At first it may be that both dialed at the same time.
	lan.Age(a, p.at, -time.Hour)
	second := connect(t, a.Addr(), append(hello(c, p.at, 1), frame("two")...))
	answered(t, second)
	require.Equal(t, "two", string(ra.expect(transport.Frame, p.at, 0).Frame))
	require.NoError(t, a.Stream(p.at, []byte("on the first")))
	require.Equal(t, "on the first", read(first))
	require.NoError(t, first.Close())
	ra.expect(transport.Down, p.at, transport.Reset)
	ra.expect(transport.Up, p.at, 0) // at once: the second is there
	require.NoError(t, a.Stream(p.at, []byte("on the second")))
	require.Equal(t, "on the second", read(second))

	// Later it means that the peer has none any more.
	lan.Age(a, p.at, time.Hour)
	third := connect(t, a.Addr(), hello(c, p.at, 1))
	answered(t, third)
	ra.expect(transport.Down, p.at, transport.Reset)
	ra.expect(transport.Up, p.at, 0)
	require.NoError(t, a.Stream(p.at, []byte("on the third")))
	require.Equal(t, "on the third", read(third))
	_, err := second.Write(frame("last words"))
	require.NoError(t, err)
	require.Equal(t, "last words", string(ra.expect(transport.Frame, p.at, 0).Frame))

	// Another process with the same port: the one before is dead.
	fourth := connect(t, a.Addr(), append(hello(c, p.at, 2), frame("new")...))
	answered(t, fourth)
	ended(t, third)
	ra.expect(transport.Down, p.at, transport.Reset)
	ra.expect(transport.Up, p.at, 0)
	require.Equal(t, "new", string(ra.expect(transport.Frame, p.at, 0).Frame))
	require.NoError(t, a.Stream(p.at, []byte("on the fourth")))
	require.Equal(t, "on the fourth", read(fourth))
	require.Empty(t, ra.c)

	lan.Age(a, p.at, 0)
	closes(t, a) // does not wait for the second, which is still open
}

func TestGroupsOnOneAddressDoNotMeet(t *testing.T) {
	t.Parallel()
	c := config(t)
	other := c
	other.Name = "another group"
	ra, rb, rc := record(t), record(t), record(t)
	a, b, stranger := opened(t, c, ra.handle), opened(t, c, rb.handle), opened(t, other, rc.handle)
	require.NoError(t, stranger.Multicast([]byte("hello?")))
	require.NoError(t, stranger.Unicast(a.Addr(), []byte("hello?")))
	require.NoError(t, stranger.Stream(a.Addr(), []byte("hello?")))
	rc.expect(transport.Down, a.Addr(), transport.Refused)
	drops(t, a, map[string]uint64{"foreign_group": 3})
	drops(t, b, map[string]uint64{"foreign_group": 1})
	healthy(t, a, ra, b, rb)
	require.Empty(t, ra.c)
	drops(t, stranger, map[string]uint64{"foreign_group": 2}) // a's answer to the hello, and its multicast
}

func TestConfigFaults(t *testing.T) {
	t.Parallel()
	taken := play(t)
	for name, c := range map[string]lan.Config{
		"no multicast address": {Group: "10.0.0.1:7712"},
		"no port":              {Group: "239.255.0.1:0"},
		"no address at all":    {Group: "lobby"},
		"IPv6":                 {Group: "[ff02::1]:7712"},
		"TTL":                  {TTL: 256},
		"negative queue":       {Queue: -1},
		"negative timeout":     {DialTimeout: -1},
		"listen":               {Listen: "nonsense"},
		"port is taken":        {Listen: taken.at.String()},
		"no such interface":    {Interfaces: []string{"no such"}},
	} {
		n := lan.New(c)
		err := n.Open(transport.HandlerFunc(func(transport.Event) {}))
		require.Error(t, err, name)
		var ne *transport.NetworkError
		require.Equal(t, name == "port is taken" || name == "no such interface", errors.As(err, &ne), "%s: %v", name, err)
		require.NoError(t, n.Close())
	}
}

func TestListenFixesTheEndpoint(t *testing.T) {
	t.Parallel()
	c := config(t)
	first := opened(t, c, func(transport.Event) {})
	at := first.Addr()
	require.NoError(t, first.Close())
	ra := record(t)
	a := opened(t, c, ra.handle)
	require.NoError(t, a.Stream(at, nil))
	ra.expect(transport.Down, at, transport.Refused)
	c.Listen = at.String()
	rb := record(t)
	b := opened(t, c, rb.handle)
	require.Equal(t, at, b.Addr())
	healthy(t, a, ra, b, rb)
}

// accept lets a node connect to the peer that the test plays.
func (f fake) accept(c lan.Config) net.Conn {
	f.t.Helper()
	nc, err := f.Accept()
	require.NoError(f.t, err)
	f.t.Cleanup(func() { nc.Close() })
	require.NoError(f.t, nc.SetDeadline(time.Now().Add(wait)))
	answered(f.t, nc)
	_, err = nc.Write(hello(c, f.at, 1))
	require.NoError(f.t, err)
	return nc
}

// fill sends to a peer that reads nothing until there is no room.
func fill(t *testing.T, n *lan.Transport, to netip.AddrPort) (bytes int) {
	t.Helper()
	frame := make([]byte, 64<<10)
	for quiet := 0; quiet < 50; {
		err := n.Stream(to, frame)
		if err == nil {
			bytes += 4 + len(frame)
			quiet = 0
			continue
		}
		require.ErrorIs(t, err, transport.ErrFull)
		quiet++
		<-time.After(time.Millisecond)
	}
	return bytes
}

// What was taken before Hangup arrives, even if the peer sends what nobody
// here will ever read; and nothing is reported.
func TestHangupWritesEverything(t *testing.T) {
	t.Parallel()
	c := config(t)
	r := record(t)
	release := make(chan struct{})
	n := opened(t, c, func(e transport.Event) {
		if e.Kind == transport.Frame {
			<-release
		}
		r.handle(e)
	})
	p := play(t)
	require.NoError(t, n.Stream(p.at, nil))
	nc := p.accept(c)
	r.expect(transport.Up, p.at, 0)
	size := 4 + fill(t, n, p.at)
	for len(r.c) > 0 {
		r.expect(transport.Writable, p.at, 0)
	}
	for range 10 {
		_, err := nc.Write(append([]byte{0, 0, 0x40, 0}, make([]byte, 0x4000)...))
		require.NoError(t, err)
	}
	n.Hangup(p.at)
	got, err := io.Copy(io.Discard, nc)
	require.NoError(t, err, "the end of the stream, and no reset")
	require.EqualValues(t, size, got)
	nc.Close()
	close(release)
	require.NoError(t, n.Close())
	// One frame may have been on its way to the handler.
	require.LessOrEqual(t, len(r.c), 1)
	for len(r.c) > 0 {
		r.expect(transport.Frame, p.at, 0)
	}
}

// When a peer that was hung up goes away there is nothing to dial for.
func TestHangupOfABrokenStreamEndsIt(t *testing.T) {
	t.Parallel()
	c := config(t)
	r := record(t)
	n := opened(t, c, r.handle)
	p := play(t)
	require.NoError(t, n.Stream(p.at, nil))
	nc := p.accept(c)
	r.expect(transport.Up, p.at, 0)
	fill(t, n, p.at)
	for len(r.c) > 0 {
		r.expect(transport.Writable, p.at, 0)
	}
	n.Hangup(p.at)
	require.NoError(t, nc.(*net.TCPConn).SetLinger(0))
	require.NoError(t, nc.Close())
	require.NoError(t, p.Listener.(*net.TCPListener).SetDeadline(time.Now().Add(300*time.Millisecond)))
	_, err := p.Accept()
	require.Error(t, err, "it was dialed again")
	require.NoError(t, n.Close())
	require.Empty(t, r.c)
}

// A frame that is taken while Down is being handled is not forgotten.
func TestStreamFromTheHandlerOfDown(t *testing.T) {
	t.Parallel()
	c := config(t)
	gone := opened(t, c, func(transport.Event) {})
	at := gone.Addr()
	require.NoError(t, gone.Close())
	r := record(t)
	var n *lan.Transport
	downs := 0
	n = opened(t, c, func(e transport.Event) {
		if downs++; downs < 6 {
			if err := n.Stream(e.Peer, []byte("once more")); err != nil {
				t.Error(err)
			}
		}
		r.handle(e)
	})
	start := time.Now()
	require.NoError(t, n.Stream(at, nil))
	for range 6 {
		r.expect(transport.Down, at, transport.Refused)
	}
	require.GreaterOrEqual(t, time.Since(start), 350*time.Millisecond, "attempts are spaced: 50, 100, 200 ms from the fourth on")
}

func TestCloseDoesNotWaitForASilentConnection(t *testing.T) {
	t.Parallel()
	n := opened(t, config(t), func(transport.Event) {})
	conn := connect(t, n.Addr(), []byte("p2p"))
	require.Eventually(t, func() bool { return lan.Pending(n) == 1 }, wait, time.Millisecond)
	closes(t, n)
	ended(t, conn)
}

// A link dials for a frame, and not because it was made.
func TestNoDialWithoutAFrame(t *testing.T) {
	t.Parallel()
	c := config(t)
	r := record(t)
	n := opened(t, c, r.handle)
	p := play(t)
	lan.MakeLink(n, p.at)
	require.NoError(t, p.Listener.(*net.TCPListener).SetDeadline(time.Now().Add(100*time.Millisecond)))
	_, err := p.Accept()
	require.Error(t, err, "it was dialed for nothing")
	require.NoError(t, p.Listener.(*net.TCPListener).SetDeadline(time.Time{}))
	require.NoError(t, n.Stream(p.at, nil))
	p.accept(c)
	r.expect(transport.Up, p.at, 0)
}
