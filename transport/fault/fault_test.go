package fault_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/fault"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// node is an open transport that keeps what it is told.
type node struct {
	*fault.Transport
	t *testing.T

	mu     sync.Mutex
	events []event
	gate   chan struct{} // if not nil, frames wait for it
}

// event is one that was told, and when.
type event struct {
	transport.Event
	at time.Duration
}

func (e event) String() string {
	switch e.Kind {
	case transport.Down:
		return fmt.Sprintf("down %v", e.Cause)
	case transport.Frame, transport.Datagram:
		return fmt.Sprintf("%v %s", e.Kind, e.Frame)
	}
	return e.Kind.String()
}

func open(t *testing.T, net *memnet.Network, c fault.Config) *node {
	n := &node{Transport: fault.New(net.Host(), c), t: t}
	begin := time.Now()
	require.NoError(t, n.Open(transport.HandlerFunc(func(e transport.Event) {
		if e.Kind == transport.Frame && n.gate != nil {
			<-n.gate
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.events = append(n.events, event{e, time.Since(begin)})
	})))
	return n
}

// said returns what was told since the last call, after everything that is
// under way has come to rest and the time has passed.
func (n *node) said(after time.Duration) []string {
	time.Sleep(after)
	synctest.Wait()
	s := []string{}
	for _, e := range n.take() {
		s = append(s, e.String())
	}
	return s
}

func (n *node) take() []event {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.events
	n.events = nil
	return e
}

func (n *node) send(to transport.Transport, frame string) {
	n.t.Helper()
	require.NoError(n.t, n.Stream(to.Addr(), []byte(frame)))
}

// inBubble runs a test with two wrapped nodes in virtual time.
func inBubble(t *testing.T, f func(t *testing.T, net *memnet.Network, a, b *node)) {
	synctest.Test(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{})
		a, b := open(t, net, fault.Config{}), open(t, net, fault.Config{})
		defer func() {
			require.NoError(t, a.Close())
			require.NoError(t, b.Close())
		}()
		f(t, net, a, b)
	})
}

// joined makes a stream between two nodes.
func joined(t *testing.T, a, b *node) {
	t.Helper()
	a.send(b, "hello")
	b.send(a, "hello")
	require.Equal(t, []string{"up", "frame hello"}, a.said(0))
	require.Equal(t, []string{"up", "frame hello"}, b.said(0))
}

func TestLoss(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		require.NoError(t, b.Set(fault.Faults{Loss: 0.2}))
		const count = 2000
		for i := range count {
			if i%2 == 0 {
				require.NoError(t, a.Unicast(b.Addr(), []byte("x")))
			} else {
				require.NoError(t, a.Multicast([]byte("x")))
			}
		}
		got := len(b.said(0))
		require.InDelta(t, 0.8*count, got, 4*math.Sqrt(0.16*count))
		require.EqualValues(t, count-got, b.Drops()["fault"])
		require.NoError(t, b.Set(fault.Faults{Loss: 1}))
		require.NoError(t, a.Multicast([]byte("x")))
		require.Empty(t, b.said(0))
		require.NoError(t, b.Set(fault.Faults{}))
		require.NoError(t, a.Multicast([]byte("x")))
		require.Len(t, b.said(0), 1)
		require.False(t, b.Busy())
	})
}

// TestSeed checks that equal seeds mean equal luck.
func TestSeed(t *testing.T) {
	luck := func(seed uint64) (got []string) {
		synctest.Test(t, func(t *testing.T) {
			net := memnet.New(memnet.Config{})
			a, b := open(t, net, fault.Config{}), open(t, net, fault.Config{Seed: seed})
			require.NoError(t, b.Set(fault.Faults{Loss: 0.5, Duplicate: 0.5, Delay: time.Millisecond, Jitter: 20 * time.Millisecond, Reorder: 0.3}))
			for i := range 100 {
				require.NoError(t, a.Unicast(b.Addr(), fmt.Append(nil, i)))
				time.Sleep(time.Millisecond)
			}
			got = b.said(time.Second)
			require.NoError(t, a.Close())
			require.NoError(t, b.Close())
		})
		return got
	}
	require.Equal(t, luck(7), luck(7))
	require.NotEqual(t, luck(7), luck(8))
}

func TestDelay(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		joined(t, a, b)
		require.NoError(t, b.Set(fault.Faults{Delay: 100 * time.Millisecond, Jitter: 50 * time.Millisecond}))
		for i := range 100 {
			a.send(b, fmt.Sprint(i))
			require.NoError(t, a.Unicast(b.Addr(), fmt.Append(nil, i)))
		}
		require.Empty(t, b.said(100*time.Millisecond-1))
		time.Sleep(50*time.Millisecond + 1)
		synctest.Wait()
		events := b.take()
		require.Len(t, events, 200)
		var frames, datagrams []string
		for _, e := range events {
			require.GreaterOrEqual(t, e.at, 100*time.Millisecond)
			require.LessOrEqual(t, e.at, 150*time.Millisecond)
			if e.Kind == transport.Frame {
				frames = append(frames, string(e.Frame))
			} else {
				datagrams = append(datagrams, string(e.Frame))
			}
		}
		var sent []string
		for i := range 100 {
			sent = append(sent, fmt.Sprint(i))
		}
		require.Equal(t, sent, frames, "a stream keeps its order")
		require.NotEqual(t, sent, datagrams, "datagrams overtake each other")
		require.ElementsMatch(t, sent, datagrams)
	})
}

func TestDuplicate(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		require.NoError(t, b.Set(fault.Faults{Duplicate: 1}))
		require.NoError(t, a.Multicast([]byte("twin")))
		synctest.Wait()
		events := b.take()
		require.Len(t, events, 2)
		clear(events[0].Frame)
		require.Equal(t, "twin", string(events[1].Frame), "each belongs to the handler")
		a.send(b, "single")
		require.Equal(t, []string{"up", "frame single"}, b.said(0), "a stream doubles nothing")
	})
}

// TestLateDatagramsAreBounded checks that a flood of late datagrams costs no
// more memory than so much.
func TestLateDatagramsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		require.NoError(t, b.Set(fault.Faults{Delay: time.Hour}))
		const count = 10_000
		for range count {
			require.NoError(t, a.Unicast(b.Addr(), []byte("x")))
		}
		require.Empty(t, b.said(time.Minute))
		require.Positive(t, b.Drops()["fault"])
		got := len(b.said(time.Hour))
		require.EqualValues(t, count-got, b.Drops()["fault"])
		require.LessOrEqual(t, got, 4096)
	})
}

// TestStreamInBadWeather checks that faults cost a stream time and nothing
// else.
func TestStreamInBadWeather(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		joined(t, a, b)
		require.NoError(t, b.Set(fault.Faults{Loss: 0.3, Delay: time.Millisecond, Jitter: 5 * time.Millisecond, Duplicate: 0.3, Reorder: 0.3}))
		const count = 500
		var want []string
		for i := range count {
			a.send(b, fmt.Sprint(i))
			want = append(want, fmt.Sprint("frame ", i))
			time.Sleep(time.Millisecond)
		}
		soon := b.said(0)
		require.Less(t, len(soon), count, "what was lost takes its time")
		require.Equal(t, want, append(soon, b.said(time.Minute)...))
	})
}

// TestLossDelaysStreams checks that a stream waits for what was lost.
func TestLossDelaysStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		joined(t, a, b)
		require.NoError(t, b.Set(fault.Faults{Loss: 1}))
		a.send(b, "late")
		require.Empty(t, b.said(time.Second))
		require.Equal(t, []string{"frame late"}, b.said(time.Minute))
	})
}

func TestCut(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		joined(t, a, b)
		c := open(t, net, fault.Config{})
		defer c.Close()
		require.NoError(t, c.Multicast([]byte("hear me")))
		a.said(0)
		b.said(0)
		a.Cut(b.Addr())
		b.Cut(a.Addr())
		for range 3 {
			a.send(b, "lost")
			b.send(a, "lost")
			require.NoError(t, a.Unicast(b.Addr(), []byte("lost")))
			require.NoError(t, a.Multicast([]byte("not for b")))
			require.Equal(t, []string{"datagram not for b"}, c.said(0))
			require.Empty(t, a.said(3*time.Second))
			require.Empty(t, b.said(0))
		}
		// The streams have ended, and no attempt to connect is answered.
		require.Equal(t, []string{"down timeout"}, a.said(time.Second))
		require.Equal(t, []string{"down timeout"}, b.said(0))
		for range 3 {
			a.send(b, "lost")
			require.Empty(t, a.said(999*time.Millisecond))
			require.Equal(t, []string{"down timeout"}, a.said(time.Millisecond))
		}
		require.Empty(t, b.said(time.Minute))

		a.Heal()
		b.Heal()
		a.send(b, "again")
		require.Equal(t, []string{"up"}, a.said(time.Second))
		require.Equal(t, []string{"up", "frame again"}, b.said(0))
		require.NoError(t, a.Multicast([]byte("for all")))
		require.Equal(t, []string{"datagram for all"}, b.said(0))
		require.False(t, a.Busy())
		require.False(t, b.Busy())
	})
}

// TestShortCut checks that a stream outlives a cut, and loses nothing by it.
func TestShortCut(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		joined(t, a, b)
		for _, cut := range []func(){
			func() { a.Cut(b.Addr()); b.Cut(a.Addr()) },
			func() { a.Cut(b.Addr()) },
			func() { b.CutOneWay(fault.From, a.Addr()) },
			func() { a.CutOneWay(fault.To, b.Addr()) },
		} {
			cut()
			a.send(b, "1")
			a.send(b, "2")
			require.Empty(t, b.said(9*time.Second))
			require.Empty(t, a.said(0))
			a.Heal()
			b.Heal()
			a.send(b, "3")
			require.Equal(t, []string{"frame 1", "frame 2", "frame 3"}, b.said(0))
			require.Empty(t, a.said(time.Minute))
			require.False(t, a.Busy() || b.Busy())
		}
	})
}

// TestOneWay checks that the open direction is open, until the stream ends.
func TestOneWay(t *testing.T) {
	for name, cut := range map[string]func(a, b *node){
		"To":   func(a, b *node) { a.CutOneWay(fault.To, b.Addr()) },
		"From": func(a, b *node) { b.CutOneWay(fault.From, a.Addr()) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
				joined(t, a, b)
				require.NoError(t, b.Unicast(a.Addr(), nil))
				a.said(0)
				cut(a, b)
				require.NoError(t, a.Unicast(b.Addr(), []byte("no")))
				require.NoError(t, a.Multicast([]byte("no")))
				require.NoError(t, b.Unicast(a.Addr(), []byte("yes")))
				a.send(b, "no")
				b.send(a, "yes")
				require.ElementsMatch(t, []string{"datagram yes", "frame yes"}, a.said(0))
				require.Empty(t, b.said(9*time.Second))
				cutter := a
				if name == "From" {
					cutter = b
				}
				require.Equal(t, []string{"down timeout"}, cutter.said(time.Second))
				cutter.send(map[bool]*node{true: b, false: a}[cutter == a], "no")
				require.Equal(t, []string{"down timeout"}, cutter.said(time.Second), "to connect takes both ways")
			})
		})
	}
}

// TestDeathBehindACut checks that what happens to a peer that is cut off is
// not known before the cut has ended.
func TestDeathBehindACut(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		joined(t, a, b)
		a.Cut(b.Addr())
		require.NoError(t, b.Close())
		require.Empty(t, a.said(5*time.Second))
		a.Heal()
		require.Equal(t, []string{"down reset", "down refused"}, a.said(time.Second))
		require.False(t, a.Busy())
		peers, _ := a.Known()
		require.Zero(t, peers)
	})
}

// TestRestartBehindACut is a peer whose stream broke and came back.
func TestRestartBehindACut(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		joined(t, a, b)
		a.Cut(b.Addr())
		a.send(b, "lost")
		b.Hangup(a.Addr())
		b.send(a, "news")
		require.Empty(t, a.said(5*time.Second))
		a.Heal()
		require.Equal(t, []string{"down reset", "up", "frame news"}, a.said(time.Second))
		a.send(b, "answer")
		require.Contains(t, b.said(time.Second), "frame answer")
	})
}

// TestComesBackByItself is a peer that opens a stream again before the cut has
// ended on this side.
func TestComesBackByItself(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		joined(t, a, b)
		a.Cut(b.Addr())
		require.Equal(t, []string{"down timeout"}, a.said(10*time.Second))
		require.Equal(t, []string{"down reset", "up"}, b.said(time.Second), "it is not cut off itself")
		b.send(a, "early")
		require.Empty(t, a.said(time.Hour))
		a.Heal()
		require.Equal(t, []string{"up", "frame early"}, a.said(0))
	})
}

// TestFullBehindACut checks that what waits behind a cut is bounded on both
// sides of it.
func TestFullBehindACut(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		joined(t, a, b)
		frame := make([]byte, 64<<10)
		fill := func(n *node, to *node) (taken int) {
			for n.Stream(to.Addr(), frame) == nil {
				if taken++; taken%16 == 0 {
					synctest.Wait()
				}
				require.Less(t, taken, 100)
			}
			return taken
		}
		a.Cut(b.Addr())
		sent, received := fill(a, b), fill(b, a)
		require.Greater(t, sent, 8)
		require.Greater(t, received, 8)
		require.Empty(t, a.said(time.Second))
		require.Empty(t, b.said(0))
		a.Heal()
		count := func(said []string) (frames, writable int) {
			for _, s := range said {
				switch {
				case s == "writable":
					writable++
				case len(s) > 6 && s[:6] == "frame ":
					frames++
				default:
					require.Fail(t, "unexpected", s)
				}
			}
			return
		}
		frames, writable := count(a.said(time.Second))
		require.Equal(t, received, frames)
		require.Equal(t, 1, writable)
		frames, writable = count(b.said(0))
		require.Equal(t, sent, frames)
		require.Equal(t, 1, writable)
		require.False(t, a.Busy())
	})
}

// TestCloseBehindACut closes while the wrapped transport waits to hand over.
func TestCloseBehindACut(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		joined(t, a, b)
		a.Cut(b.Addr())
		require.NoError(t, a.Set(fault.Faults{Delay: time.Hour}))
		for b.Stream(a.Addr(), make([]byte, 64<<10)) == nil {
			synctest.Wait()
		}
		require.NoError(t, a.Multicast(nil))
		require.NoError(t, a.Close())
		require.Empty(t, a.said(time.Hour))
		require.ErrorIs(t, a.Stream(b.Addr(), nil), transport.ErrClosed)
		require.ErrorIs(t, a.Unicast(b.Addr(), nil), transport.ErrClosed)
		require.ErrorIs(t, a.Multicast(nil), transport.ErrClosed)
	})
}

func TestHangupBehindACut(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		joined(t, a, b)
		a.Cut(b.Addr())
		b.Cut(a.Addr())
		a.send(b, "lost")
		b.send(a, "lost too")
		synctest.Wait()
		a.Hangup(b.Addr())
		require.Empty(t, a.said(time.Minute))
		a.Heal()
		b.Heal()
		a.send(b, "again")
		require.Equal(t, []string{"up"}, a.said(time.Second))
		require.Contains(t, b.said(0), "frame again")
	})
}

// TestTooLargeBehindACut checks that a cut takes no frame that a whole link
// would not.
func TestTooLargeBehindACut(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		a.Cut(b.Addr())
		for _, c := range []struct {
			limit int
			send  func([]byte) error
		}{
			{transport.MaxDatagram, a.Multicast},
			{transport.MaxDatagram, func(f []byte) error { return a.Unicast(b.Addr(), f) }},
			{transport.MaxFrame, func(f []byte) error { return a.Stream(b.Addr(), f) }},
		} {
			var e *transport.TooLargeError
			require.ErrorAs(t, c.send(make([]byte, c.limit+transport.Overhead+1)), &e)
			require.Equal(t, transport.TooLargeError{Size: c.limit + transport.Overhead + 1, Limit: c.limit + transport.Overhead}, *e)
			require.NoError(t, c.send(make([]byte, c.limit+transport.Overhead)))
		}
		require.Equal(t, []string{"down timeout"}, a.said(time.Second))
	})
}

func TestCutFunc(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		joined(t, a, b)
		a.CutFunc(func(peer netip.AddrPort) fault.Way { return fault.Both })
		require.NoError(t, a.Multicast([]byte("into the void")))
		require.NoError(t, b.Multicast([]byte("into the void")))
		require.Empty(t, a.said(0))
		require.Empty(t, b.said(0))
		a.CutFunc(nil)
		require.NoError(t, b.Multicast([]byte("here")))
		require.Equal(t, []string{"datagram here"}, a.said(0))
		require.False(t, a.Busy())
	})
}

func TestSetRange(t *testing.T) {
	f := fault.New(memnet.New(memnet.Config{}).Host(), fault.Config{})
	good := fault.Faults{Loss: 1, Duplicate: 0.5}
	require.NoError(t, f.Set(good))
	for field, bad := range map[string]fault.Faults{
		"Loss": {Loss: math.NaN()}, "Duplicate": {Duplicate: 1.1}, "Reorder": {Reorder: -0.1},
		"Delay": {Delay: -1}, "Jitter": {Jitter: 2 * time.Hour},
	} {
		var e *fault.RangeError
		require.ErrorAs(t, f.Set(bad), &e)
		require.Equal(t, field, e.Field)
		require.Contains(t, e.Error(), field)
	}
	require.Equal(t, good, f.Faults())
}

// TestWhoIsHeard checks that strangers cost no memory without bound.
func TestWhoIsHeard(t *testing.T) {
	inBubble(t, func(t *testing.T, net *memnet.Network, a, b *node) {
		for range 3000 {
			h := net.Host()
			require.NoError(t, h.Open(transport.HandlerFunc(func(transport.Event) {})))
			require.NoError(t, h.Unicast(a.Addr(), nil))
			require.NoError(t, h.Close())
		}
		synctest.Wait()
		peers, heard := a.Known()
		require.Zero(t, peers)
		require.LessOrEqual(t, heard, 1024)
	})
}

// TestChaos does by chance what can be done, and checks what a handler may
// count on: frames come in order, each once, between Up and Down.
func TestChaos(t *testing.T) {
	base := rand.Uint64()
	for i := range uint64(*chaosSeeds) {
		seed := base + i
		if t.Failed() {
			return
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { chaos(t, seed) })
		})
	}
}

var chaosSeeds = flag.Int("chaos", 60, "how many random runs TestChaos makes")

func chaos(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	// A stream that backs up may be replaced by another one while frames wait in
	// it. Such come late; so order is checked where there is room for all.
	queue := 0
	if rng.IntN(2) == 0 {
		queue = 4 << 10
	}
	net := memnet.New(memnet.Config{Seed: seed, Queue: queue, Delay: time.Duration(rng.IntN(3)) * time.Millisecond})
	const count = 3
	var nodes []*node
	for i := range count {
		nodes = append(nodes, open(t, net, fault.Config{Seed: seed + uint64(i), Queue: queue}))
	}
	next := make(map[[2]int]uint64)
	for range 400 {
		i := rng.IntN(count)
		j := (i + 1 + rng.IntN(count-1)) % count
		a, b := nodes[i], nodes[j]
		switch rng.IntN(12) {
		case 0:
			a.CutOneWay(fault.Way(1+rng.IntN(3)), b.Addr())
		case 1:
			a.Heal()
		case 2:
			require.NoError(t, a.Set(fault.Faults{
				Loss: rng.Float64() * 0.5, Delay: time.Duration(rng.IntN(200)) * time.Millisecond,
				Jitter: time.Duration(rng.IntN(50)) * time.Millisecond, Duplicate: rng.Float64(), Reorder: rng.Float64(),
			}))
		case 3:
			require.NoError(t, a.Set(fault.Faults{}))
		case 4:
			require.NoError(t, a.Multicast(nil))
		case 5:
			time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
		default:
			for range rng.IntN(20) {
				frame := binary.BigEndian.AppendUint64(nil, next[[2]int{i, j}])
				frame = append(frame, make([]byte, rng.IntN(400))...)
				if a.Stream(b.Addr(), frame) == nil {
					next[[2]int{i, j}]++
				}
			}
			time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		}
	}
	for _, n := range nodes {
		n.Heal()
		require.NoError(t, n.Set(fault.Faults{}))
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	for i, n := range nodes {
		isUp := make(map[netip.AddrPort]bool)
		last := make(map[netip.AddrPort]uint64)
		seen := make(map[string]bool)
		for _, e := range n.take() {
			switch e.Kind {
			case transport.Up:
				require.False(t, isUp[e.Peer], "node %d: up twice", i)
				isUp[e.Peer] = true
			case transport.Down:
				require.False(t, e.Cause == transport.Reset && !isUp[e.Peer], "node %d: reset without a stream", i)
				isUp[e.Peer] = false
			case transport.Frame:
				require.True(t, isUp[e.Peer], "node %d: a frame without a stream", i)
				no := binary.BigEndian.Uint64(e.Frame) + 1
				key := fmt.Sprint(e.Peer, no)
				require.False(t, seen[key], "node %d: a frame came twice", i)
				seen[key] = true
				if queue == 0 {
					require.Greater(t, no, last[e.Peer], "node %d", i)
				}
				last[e.Peer] = no
			}
		}
		require.False(t, n.Busy(), "node %d", i)
	}
	// All is well again: nobody is cut off or forgotten.
	for i, n := range nodes {
		for j, to := range nodes {
			if i != j {
				n.send(to, fmt.Sprintf("%d to %d", i, j))
			}
		}
	}
	time.Sleep(5 * time.Second)
	for j, n := range nodes {
		said := n.said(0)
		for i := range nodes {
			require.Equal(t, i != j, slices.Contains(said, fmt.Sprintf("frame %d to %d", i, j)), "%v", said)
		}
	}
	for _, n := range nodes {
		require.NoError(t, n.Close())
	}
}
