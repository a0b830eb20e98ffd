// Package transporttest checks that a transport keeps the contract of
// transport.Transport. Whoever writes one runs it in a test:
//
//	func TestConformance(t *testing.T) {
//		transporttest.Run(t, func(t *testing.T) func() transport.Transport {
//			network := memnet.New(memnet.Config{})
//			return func() transport.Transport { return network.Host() }
//		})
//	}
package transporttest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
)

// patience is how long a check waits for what must happen.
const patience = 20 * time.Second

// Factory makes a network for one check, and returns what makes a transport on
// it that is not open yet. All of its transports are in one group, which no
// other test disturbs. Nothing is lost on the network, and a dial to an
// endpoint where nobody listens is refused.
type Factory func(t *testing.T) func() transport.Transport

// Run checks the transports of a factory, each rule of the contract in a
// subtest of its own.
func Run(t *testing.T, f Factory) {
	for _, check := range []struct {
		name string
		run  func(t *testing.T, g *group)
	}{
		{"Addr", addr},
		{"MulticastReachesTheOthers", multicast},
		{"UnicastReachesOne", unicast},
		{"FramesBelongToTheReceiver", ownership},
		{"TooLarge", tooLarge},
		{"LimitsAreExact", limits},
		{"StreamKeepsOrder", order},
		{"StreamBothWays", bothWays},
		{"SimultaneousDials", simultaneous},
		{"FullAndWritable", full},
		{"FullAndDown", fullAndDown},
		{"StreamLater", later},
		{"SlowPeerHoldsBackNobodyElse", slow},
		{"FromTheHandler", fromTheHandler},
		{"ClosedPeerIsResetThenRefused", refused},
		{"DialToNobodyIsRefused", nobody},
		{"HangupDeliversAndIsSilent", hangup},
		{"HangupBeforeCloseDelivers", farewell},
		{"StreamAfterHangup", again},
		{"Closed", closed},
		{"NoCallAfterClose", quiet},
		{"CloseUnderLoad", closeUnderLoad},
		{"Concurrently", concurrently},
		{"Reporter", reporter},
		{"Refuser", refuser},
		{"Warner", warner},
	} {
		t.Run(check.name, func(t *testing.T) {
			check.run(t, &group{t: t, make: f(t)})
		})
	}
}

// group is the network of one check.
type group struct {
	t    *testing.T
	make func() transport.Transport
}

// node is an open transport with its handler.
type node struct {
	transport.Transport
	t      *testing.T
	events chan transport.Event
	closed atomic.Bool // Close has returned
	late   atomic.Int64
	stop   chan struct{}
}

// open returns n open transports, which are closed at the end.
func (g *group) open(n int) []*node {
	g.t.Helper()
	nodes := make([]*node, n)
	for i := range nodes {
		nodes[i] = g.node(nil)
	}
	return nodes
}

// node opens a transport; hold, if not nil, is called with each event first.
func (g *group) node(hold func(transport.Event)) *node {
	g.t.Helper()
	n := &node{Transport: g.make(), t: g.t, events: make(chan transport.Event, 1<<16), stop: make(chan struct{})}
	require.NoError(g.t, n.Open(transport.HandlerFunc(func(e transport.Event) {
		if hold != nil {
			hold(e)
		}
		if n.closed.Load() {
			n.late.Add(1)
		}
		select {
		case n.events <- e:
		case <-n.stop:
		}
	})))
	g.t.Cleanup(n.shut)
	return n
}

// shut closes the transport and checks that this was the end.
func (n *node) shut() {
	select {
	case <-n.stop:
	default:
		close(n.stop)
	}
	require.NoError(n.t, n.Close())
	n.closed.Store(true)
}

// next returns the next event.
func (n *node) next() transport.Event {
	n.t.Helper()
	select {
	case e := <-n.events:
		return e
	case <-time.After(patience):
		require.FailNow(n.t, "no event came")
		panic("unreachable")
	}
}

// expect returns the next event and checks what it is.
func (n *node) expect(k transport.Kind, peer *node) transport.Event {
	n.t.Helper()
	e := n.next()
	require.Equal(n.t, k.String(), e.Kind.String(), "cause %v, error %v", e.Cause, e.Err)
	require.Equal(n.t, peer.Addr(), e.Peer)
	return e
}

// down expects a Down.
func (n *node) down(peer *node, c transport.Cause) {
	n.t.Helper()
	e := n.expect(transport.Down, peer)
	require.Equal(n.t, c.String(), e.Cause.String(), "error %v", e.Err)
	require.Error(n.t, e.Err)
}

// frame expects a frame on the stream from a peer.
func (n *node) frame(peer *node, frame string) {
	n.t.Helper()
	require.Equal(n.t, frame, string(n.expect(transport.Frame, peer).Frame))
}

// silent checks that nothing more comes: a datagram that another node sends
// last is the next event.
func (n *node) silent(other *node) {
	n.t.Helper()
	require.NoError(n.t, other.Unicast(n.Addr(), []byte("last")))
	require.Equal(n.t, "last", string(n.expect(transport.Datagram, other).Frame))
}

func addr(t *testing.T, g *group) {
	before := g.make()
	nodes := g.open(3)
	require.Equal(t, nodes[0].Group(), before.Group(), "the name is known before Open")
	require.NoError(t, before.Close())
	seen := make(map[netip.AddrPort]bool)
	for _, n := range nodes {
		a := n.Addr()
		require.True(t, a.IsValid() && a.Port() != 0 && !a.Addr().IsUnspecified(), "%v", a)
		require.Equal(t, nodes[0].Group(), n.Group(), "one group has one name")
		require.False(t, seen[a], "%v is the address of two", a)
		seen[a] = true
	}
}

func multicast(t *testing.T, g *group) {
	nodes := g.open(3)
	for round := range 20 {
		sender := nodes[round%3]
		require.NoError(t, sender.Multicast(fmt.Append(nil, round)))
		for _, n := range nodes {
			if n != sender {
				require.Equal(t, fmt.Sprint(round), string(n.expect(transport.Datagram, sender).Frame))
			}
		}
	}
	// What one sent to the group would be among these.
	nodes[0].silent(nodes[1])
	nodes[1].silent(nodes[2])
	nodes[2].silent(nodes[0])
}

func unicast(t *testing.T, g *group) {
	nodes := g.open(3)
	for _, size := range []int{0, 1, transport.MaxDatagram} {
		frame := bytes.Repeat([]byte{7}, size)
		require.NoError(t, nodes[0].Unicast(nodes[1].Addr(), frame))
		e := nodes[1].expect(transport.Datagram, nodes[0])
		require.Len(t, e.Frame, size)
		require.True(t, bytes.Equal(frame, e.Frame))
	}
	nodes[2].silent(nodes[0])
}

func ownership(t *testing.T, g *group) {
	nodes := g.open(3)
	frame := []byte("shared by all")
	spoil := func(e transport.Event) {
		require.Equal(t, "shared by all", string(e.Frame))
		clear(e.Frame)
		_ = append(e.Frame, "beyond its end"...)
	}
	require.NoError(t, nodes[0].Multicast(frame))
	require.NoError(t, nodes[0].Unicast(nodes[1].Addr(), frame))
	for range 2 {
		spoil(nodes[1].expect(transport.Datagram, nodes[0]))
	}
	spoil(nodes[2].expect(transport.Datagram, nodes[0]))
	for _, n := range nodes[1:] {
		for range 3 {
			require.NoError(t, nodes[0].Stream(n.Addr(), frame))
		}
	}
	for _, n := range nodes[1:] {
		n.expect(transport.Up, nodes[0])
		for range 3 {
			spoil(n.expect(transport.Frame, nodes[0]))
		}
	}
	require.Equal(t, "shared by all", string(frame))
}

func tooLarge(t *testing.T, g *group) {
	nodes := g.open(2)
	to := nodes[1].Addr()
	for _, c := range []struct {
		name  string
		limit int
		send  func([]byte) error
	}{
		{"multicast", transport.MaxDatagram, nodes[0].Multicast},
		{"unicast", transport.MaxDatagram, func(f []byte) error { return nodes[0].Unicast(to, f) }},
		{"stream", transport.MaxFrame, func(f []byte) error { return nodes[0].Stream(to, f) }},
	} {
		size := c.limit + transport.Overhead + 1
		err := c.send(make([]byte, size))
		var tooLarge *transport.TooLargeError
		require.ErrorAs(t, err, &tooLarge, c.name)
		require.Equal(t, size, tooLarge.Size, c.name)
		require.GreaterOrEqual(t, tooLarge.Limit, c.limit, c.name)
		require.Less(t, tooLarge.Limit, size, c.name)
		require.NoError(t, c.send(make([]byte, c.limit)), c.name)
	}
	sizes := map[transport.Kind][]int{}
	for range 4 {
		e := nodes[1].next()
		sizes[e.Kind] = append(sizes[e.Kind], len(e.Frame))
	}
	require.Equal(t, []int{transport.MaxDatagram, transport.MaxDatagram}, sizes[transport.Datagram])
	require.Equal(t, []int{transport.MaxFrame}, sizes[transport.Frame])
}

// limits checks that the limit that an error names is the largest frame that is
// taken, and that such a frame arrives.
func limits(t *testing.T, g *group) {
	nodes := g.open(2)
	to := nodes[1].Addr()
	for _, c := range []struct {
		name string
		kind transport.Kind
		over int
		send func([]byte) error
	}{
		{"multicast", transport.Datagram, transport.MaxDatagram + transport.Overhead + 1, nodes[0].Multicast},
		{"unicast", transport.Datagram, transport.MaxDatagram + transport.Overhead + 1, func(f []byte) error { return nodes[0].Unicast(to, f) }},
		{"stream", transport.Frame, transport.MaxFrame + transport.Overhead + 1, func(f []byte) error { return nodes[0].Stream(to, f) }},
	} {
		var tooLarge *transport.TooLargeError
		require.ErrorAs(t, c.send(make([]byte, c.over)), &tooLarge, c.name)
		limit := tooLarge.Limit
		require.ErrorAs(t, c.send(make([]byte, limit+1)), &tooLarge, c.name)
		frame := bytes.Repeat([]byte{7}, limit)
		require.NoError(t, c.send(frame), c.name)
		e := nodes[1].next()
		if e.Kind == transport.Up {
			e = nodes[1].next()
		}
		require.Equal(t, c.kind.String(), e.Kind.String(), c.name)
		require.True(t, bytes.Equal(frame, e.Frame), c.name)
	}
}

// send sends a frame on a stream, and waits for room if there is none.
func (n *node) send(to *node, frame []byte) {
	n.t.Helper()
	for {
		err := n.Stream(to.Addr(), frame)
		if !errors.Is(err, transport.ErrFull) {
			require.NoError(n.t, err)
			return
		}
		for n.next().Kind != transport.Writable {
		}
	}
}

// sized is the i-th frame of a series: its number and as much again as makes
// the sizes very different.
func sized(i int) []byte {
	size := []int{8, 9, 100, 1000, 4000, 70000, 8, 8}[i%8]
	if i == 500 {
		size = transport.MaxFrame
	}
	frame := bytes.Repeat([]byte{byte(i)}, size)
	binary.BigEndian.PutUint64(frame, uint64(i))
	return frame
}

func order(t *testing.T, g *group) {
	nodes := g.open(2)
	const count = 2000
	go func() {
		for i := range count {
			nodes[0].send(nodes[1], sized(i))
		}
	}()
	nodes[1].expect(transport.Up, nodes[0])
	for i := range count {
		e := nodes[1].expect(transport.Frame, nodes[0])
		require.True(t, bytes.Equal(sized(i), e.Frame), "frame %d of %d bytes", i, len(e.Frame))
	}
	nodes[1].silent(nodes[0])
}

func bothWays(t *testing.T, g *group) {
	nodes := g.open(2)
	require.NoError(t, nodes[0].Stream(nodes[1].Addr(), []byte("question")))
	nodes[1].expect(transport.Up, nodes[0])
	nodes[1].frame(nodes[0], "question")
	require.NoError(t, nodes[1].Stream(nodes[0].Addr(), []byte("answer")))
	nodes[0].expect(transport.Up, nodes[1])
	nodes[0].frame(nodes[1], "answer")
	for i := range 100 {
		require.NoError(t, nodes[i%2].Stream(nodes[(i+1)%2].Addr(), fmt.Append(nil, i)))
		nodes[(i+1)%2].frame(nodes[i%2], fmt.Sprint(i))
	}
}

func simultaneous(t *testing.T, g *group) {
	for range 20 {
		nodes := g.open(2)
		var start, done sync.WaitGroup
		start.Add(1)
		const count = 50
		for i, n := range nodes {
			done.Go(func() {
				start.Wait()
				for j := range count {
					if err := n.Stream(nodes[1-i].Addr(), fmt.Append(nil, j)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		start.Done()
		done.Wait()
		for i, n := range nodes {
			ups, frames := 0, 0
			for ups < 1 || frames < count {
				switch e := n.next(); e.Kind {
				case transport.Up:
					ups++
				case transport.Frame:
					require.Equal(t, fmt.Sprint(frames), string(e.Frame))
					frames++
				default:
					require.Fail(t, "unexpected", "%v %v %v", e.Kind, e.Cause, e.Err)
				}
			}
			require.Equal(t, 1, ups)
			n.silent(nodes[1-i])
		}
		for _, n := range nodes {
			n.shut()
		}
	}
}

// gate holds the frames of streams back until it is opened.
func gate() (hold func(transport.Event), open func()) {
	c := make(chan struct{})
	return func(e transport.Event) {
		if e.Kind == transport.Frame {
			<-c
		}
	}, sync.OnceFunc(func() { close(c) })
}

// fill sends numbered frames to a peer that takes none, until there is no room.
func (n *node) fill(to *node) (taken int) {
	n.t.Helper()
	frame := make([]byte, 64<<10)
	deadline := time.Now().Add(patience)
	for quiet := 0; quiet < 100; {
		binary.BigEndian.PutUint64(frame, uint64(taken))
		err := n.Stream(to.Addr(), bytes.Clone(frame))
		if err == nil {
			taken++
			quiet = 0
			require.Less(n.t, taken, 1<<14, "a gigabyte was taken for a peer that takes nothing")
			continue
		}
		require.ErrorIs(n.t, err, transport.ErrFull)
		// What the operating system buffers may make room for more.
		quiet++
		<-time.After(time.Millisecond)
		require.True(n.t, time.Now().Before(deadline), "it is never full for long")
	}
	return taken
}

func full(t *testing.T, g *group) {
	hold, open := gate()
	t.Cleanup(open)
	sender, receiver := g.node(nil), g.node(hold)
	t.Cleanup(open)
	sender.send(receiver, make([]byte, 8))
	sender.expect(transport.Up, receiver)
	taken := sender.fill(receiver)
	for len(sender.events) > 0 {
		require.Equal(t, transport.Writable, sender.next().Kind)
	}
	require.ErrorIs(t, sender.Stream(receiver.Addr(), make([]byte, 1<<20)), transport.ErrFull)
	open()
	sender.expect(transport.Writable, receiver)
	require.NoError(t, sender.Stream(receiver.Addr(), []byte("there is room")))
	receiver.expect(transport.Up, sender)
	receiver.expect(transport.Frame, sender)
	for i := range taken {
		require.EqualValues(t, i, binary.BigEndian.Uint64(receiver.expect(transport.Frame, sender).Frame))
	}
	receiver.frame(sender, "there is room")
	sender.silent(receiver)
}

// fullAndDown: who was told ErrFull is told Down if there will be no room.
func fullAndDown(t *testing.T, g *group) {
	hold, open := gate()
	sender, receiver := g.node(nil), g.node(hold)
	t.Cleanup(open)
	sender.send(receiver, make([]byte, 8))
	sender.expect(transport.Up, receiver)
	sender.fill(receiver)
	for len(sender.events) > 0 {
		require.Equal(t, transport.Writable, sender.next().Kind)
	}
	require.ErrorIs(t, sender.Stream(receiver.Addr(), make([]byte, 1<<20)), transport.ErrFull)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		receiver.shut()
	}()
	// Close waits for the handler, which is held up.
	open()
	<-closed
	e := sender.next()
	for e.Kind == transport.Writable { // some of it was taken meanwhile
		e = sender.next()
	}
	require.Equal(t, transport.Down, e.Kind)
	for e.Cause == transport.Reset {
		e = sender.next()
	}
	require.Equal(t, transport.Refused, e.Cause)
	require.NoError(t, sender.Stream(receiver.Addr(), []byte("again")), "what was queued is gone")
	sender.down(receiver, transport.Refused)
}

// fromTheHandler: every method but Close may be called by the Handler.
func fromTheHandler(t *testing.T, g *group) {
	var echo *node
	ready := make(chan struct{})
	echo = g.node(func(e transport.Event) {
		<-ready
		switch e.Kind {
		case transport.Datagram:
			if err := errors.Join(echo.Unicast(e.Peer, e.Frame), echo.Multicast(e.Frame), echo.Stream(e.Peer, e.Frame)); err != nil {
				t.Error(err)
			}
		case transport.Frame:
			if err := echo.Stream(e.Peer, e.Frame); err != nil {
				t.Error(err)
			}
			if string(e.Frame) == "bye" {
				echo.Hangup(e.Peer)
			}
		}
	})
	close(ready)
	caller := g.node(nil)
	require.NoError(t, caller.Unicast(echo.Addr(), []byte("hello")))
	got := map[string]int{}
	for range 4 {
		e := caller.next()
		got[e.Kind.String()+" "+string(e.Frame)]++
	}
	require.Equal(t, map[string]int{"up ": 1, "datagram hello": 2, "frame hello": 1}, got)
	require.NoError(t, caller.Stream(echo.Addr(), []byte("bye")))
	caller.frame(echo, "bye")
	caller.down(echo, transport.Reset)
}

func slow(t *testing.T, g *group) {
	hold, open := gate()
	t.Cleanup(open)
	sender, stuck, other := g.node(nil), g.node(hold), g.node(nil)
	t.Cleanup(open)
	sender.fill(stuck)
	for i := range 100 {
		require.NoError(t, sender.Stream(other.Addr(), fmt.Append(nil, i)))
	}
	other.expect(transport.Up, sender)
	for i := range 100 {
		other.frame(sender, fmt.Sprint(i))
	}
	// The one who is stuck still hears datagrams and others' news.
	require.NoError(t, sender.Unicast(stuck.Addr(), []byte("wake up")))
	stuck.expect(transport.Up, sender)
	require.Equal(t, "wake up", string(stuck.expect(transport.Datagram, sender).Frame))
}

func refused(t *testing.T, g *group) {
	nodes := g.open(2)
	require.NoError(t, nodes[0].Stream(nodes[1].Addr(), []byte("hello")))
	nodes[0].expect(transport.Up, nodes[1])
	nodes[1].expect(transport.Up, nodes[0])
	nodes[1].frame(nodes[0], "hello")
	nodes[1].shut()
	nodes[0].down(nodes[1], transport.Reset)
	nodes[0].down(nodes[1], transport.Refused)
}

func nobody(t *testing.T, g *group) {
	nodes := g.open(2)
	nodes[1].shut()
	for range 3 {
		require.NoError(t, nodes[0].Stream(nodes[1].Addr(), []byte("anybody there?")))
		nodes[0].down(nodes[1], transport.Refused)
	}
	require.NoError(t, nodes[0].Stream(nodes[0].Addr(), []byte("myself?")))
	nodes[0].down(nodes[0], transport.Refused)
	nodes[0].silent(g.node(nil))
}

func hangup(t *testing.T, g *group) {
	nodes := g.open(3)
	nodes[0].Hangup(nodes[1].Addr()) // there is none
	const count = 200
	for i := range count {
		nodes[0].send(nodes[1], sized(i))
	}
	nodes[0].Hangup(nodes[1].Addr())
	nodes[1].expect(transport.Up, nodes[0])
	for i := range count {
		require.True(t, bytes.Equal(sized(i), nodes[1].expect(transport.Frame, nodes[0]).Frame), "frame %d", i)
	}
	nodes[1].down(nodes[0], transport.Reset)
	// The other side dials again, as after any Reset.
	nodes[1].expect(transport.Up, nodes[0])
	for e := nodes[0].next(); e.Kind != transport.Datagram; e = nodes[0].next() {
		require.Contains(t, []transport.Kind{transport.Up, transport.Writable}, e.Kind)
		if e.Kind == transport.Up {
			require.NoError(t, nodes[2].Unicast(nodes[0].Addr(), []byte("last")))
		}
	}
}

func farewell(t *testing.T, g *group) {
	nodes := g.open(2)
	require.NoError(t, nodes[0].Stream(nodes[1].Addr(), []byte("hello")))
	nodes[0].expect(transport.Up, nodes[1])
	for i := range 5 {
		require.NoError(t, nodes[0].Stream(nodes[1].Addr(), fmt.Append(nil, i)))
	}
	nodes[0].Hangup(nodes[1].Addr())
	nodes[0].shut()
	nodes[1].expect(transport.Up, nodes[0])
	nodes[1].frame(nodes[0], "hello")
	for i := range 5 {
		nodes[1].frame(nodes[0], fmt.Sprint(i))
	}
	nodes[1].down(nodes[0], transport.Reset)
	// Who is reset dials again. Between Hangup and Close somebody still listens.
	e := nodes[1].next()
	for ; e.Kind == transport.Up; e = nodes[1].next() {
		nodes[1].down(nodes[0], transport.Reset)
	}
	require.Equal(t, transport.Down.String(), e.Kind.String())
	require.Equal(t, transport.Refused.String(), e.Cause.String(), "error %v", e.Err)
}

func again(t *testing.T, g *group) {
	nodes := g.open(2)
	for round := range 3 {
		require.NoError(t, nodes[0].Stream(nodes[1].Addr(), fmt.Append(nil, round)))
		for {
			e := nodes[1].next()
			if e.Kind == transport.Frame {
				require.Equal(t, fmt.Sprint(round), string(e.Frame))
				break
			}
			require.Contains(t, []transport.Kind{transport.Up, transport.Down}, e.Kind)
			if e.Kind == transport.Down {
				require.Equal(t, transport.Reset, e.Cause)
			}
		}
		nodes[0].Hangup(nodes[1].Addr())
	}
}

func closed(t *testing.T, g *group) {
	all := func(tr transport.Transport) {
		t.Helper()
		to := netip.MustParseAddrPort("127.0.0.1:9")
		require.ErrorIs(t, tr.Multicast(nil), transport.ErrClosed)
		require.ErrorIs(t, tr.Unicast(to, nil), transport.ErrClosed)
		require.ErrorIs(t, tr.Stream(to, nil), transport.ErrClosed)
		require.ErrorIs(t, tr.Stream(to, make([]byte, transport.MaxFrame+1)), transport.ErrClosed)
		tr.Hangup(to)
	}
	ignore := transport.HandlerFunc(func(transport.Event) {})
	tr := g.make()
	all(tr) // before Open
	require.NoError(t, tr.Open(ignore))
	require.ErrorIs(t, tr.Open(ignore), transport.ErrClosed)
	require.NoError(t, tr.Close())
	require.NoError(t, tr.Close())
	all(tr)
	require.ErrorIs(t, tr.Open(ignore), transport.ErrClosed)

	tr = g.make()
	require.NoError(t, tr.Close(), "never opened")
	require.ErrorIs(t, tr.Open(ignore), transport.ErrClosed)

	tr = g.make()
	require.NoError(t, tr.Open(ignore))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := tr.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// traffic sends in all ways from n to the others until stop is closed.
func traffic(nodes []*node, n *node, stop chan struct{}, wg *sync.WaitGroup) {
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			to := nodes[i%len(nodes)].Addr()
			if to == n.Addr() {
				continue
			}
			err := n.Stream(to, make([]byte, i%2000))
			if err == nil && i%16 == 0 {
				err = errors.Join(n.Multicast([]byte("m")), n.Unicast(to, []byte("u")))
			}
			if err != nil && !errors.Is(err, transport.ErrFull) {
				if errors.Is(err, transport.ErrClosed) {
					return
				}
				n.t.Error(err)
				return
			}
			if i%64 == 0 {
				<-time.After(100 * time.Microsecond)
			}
		}
	})
}

func quiet(t *testing.T, g *group) {
	const rounds = 5
	others := g.open(2)
	for _, n := range others {
		go func() {
			for {
				select {
				case <-n.events:
				case <-n.stop:
					return
				}
			}
		}()
	}
	for range rounds {
		n := g.node(nil)
		nodes := append([]*node{n}, others...)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for _, n := range nodes {
			traffic(nodes, n, stop, &wg)
		}
		for range 100 {
			n.next()
		}
		go func() {
			for range n.events {
			}
		}()
		require.NoError(t, n.Close())
		n.closed.Store(true)
		<-time.After(20 * time.Millisecond)
		close(stop)
		wg.Wait()
		require.Zero(t, n.late.Load(), "calls after Close")
		close(n.events)
	}
}

func closeUnderLoad(t *testing.T, g *group) {
	nodes := g.open(4)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, n := range nodes {
		traffic(nodes, n, stop, &wg)
		go func() {
			for {
				select {
				case <-n.events:
				case <-n.stop:
					return
				}
			}
		}()
	}
	<-time.After(50 * time.Millisecond)
	for _, n := range nodes {
		wg.Go(n.shut)
	}
	<-time.After(50 * time.Millisecond)
	close(stop)
	wg.Wait()
	for _, n := range nodes {
		require.Zero(t, n.late.Load(), "calls after Close")
	}
}

func concurrently(t *testing.T, g *group) {
	nodes := g.open(3)
	const senders, count = 4, 300
	var wg sync.WaitGroup
	for i, n := range nodes {
		for s := range senders {
			wg.Go(func() {
				for j := range count {
					for k, to := range nodes {
						if k == i {
							continue
						}
						frame := []byte{byte(s), byte(j >> 8), byte(j)}
						for {
							err := n.Stream(to.Addr(), frame)
							if err == nil {
								break
							}
							if !errors.Is(err, transport.ErrFull) {
								t.Error(err)
								return
							}
							<-time.After(time.Millisecond)
						}
					}
				}
			})
		}
	}
	wg.Wait()
	for i, n := range nodes {
		next := make(map[[2]string]int) // by peer and sender
		for got := 0; got < (len(nodes)-1)*senders*count; {
			e := n.next()
			require.NotEqual(t, transport.Down, e.Kind, "%v %v", e.Cause, e.Err)
			if e.Kind != transport.Frame {
				continue
			}
			got++
			from := [2]string{e.Peer.String(), fmt.Sprint(e.Frame[0])}
			require.Equal(t, next[from], int(e.Frame[1])<<8|int(e.Frame[2]), "node %d from %v", i, from)
			next[from]++
		}
	}
}

func reporter(t *testing.T, g *group) {
	n := g.node(nil)
	r, ok := n.Transport.(transport.Reporter)
	if !ok {
		t.Log("it is not a Reporter, and need not be one")
		return
	}
	used := 0
	for _, i := range r.Interfaces() {
		require.NotEmpty(t, i.Name)
		if i.Used {
			used++
		} else {
			require.NotEmpty(t, i.Why, "%s is not used", i.Name)
		}
	}
	require.Positive(t, used)
	drops := r.Drops()
	require.NotNil(t, drops)
	drops["x"] = 1
	require.NotContains(t, r.Drops(), "x")
	n.shut()
	require.NotNil(t, r.Drops(), "it can be asked after Close as well")
	r.Interfaces()
}

// refuser checks what little every Refuser does alike: what it is to tell that
// was not reported as a Stranger, it tells nobody; and it minds no Close.
func refuser(t *testing.T, g *group) {
	nodes := g.open(2)
	r, ok := nodes[0].Transport.(transport.Refuser)
	if !ok {
		t.Log("it is not a Refuser, and need not be one")
		return
	}
	r.Refuse(nodes[1].Addr(), errors.New("something else"))
	r.Refuse(nodes[1].Addr(), nil)
	nodes[1].silent(nodes[0])
	nodes[0].shut()
	r.Refuse(nodes[1].Addr(), &transport.AuthError{OwnSealed: true})
	nodes[1].silent(g.node(nil))
}

// warner checks that warnings can be asked for at any time, and say something.
func warner(t *testing.T, g *group) {
	tr := g.make()
	w, ok := tr.(transport.Warner)
	if !ok {
		t.Log("it is not a Warner, and need not be one")
		require.NoError(t, tr.Close())
		return
	}
	look := func() {
		for _, warning := range w.Warnings() {
			require.NotEmpty(t, warning.Code)
			require.NotEmpty(t, warning.Text)
		}
	}
	look()
	require.NoError(t, tr.Open(transport.HandlerFunc(func(transport.Event) {})))
	look()
	require.NoError(t, tr.Close())
	look()
}
