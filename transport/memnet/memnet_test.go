package memnet_test

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// record is a Handler that keeps what it is told, with the virtual time.
type record struct {
	start time.Time
	mu    sync.Mutex
	lines []string
}

func newRecord() *record { return &record{start: time.Now()} }

func (r *record) Handle(e transport.Event) {
	line := fmt.Sprintf("%v %v %v", time.Since(r.start), e.Kind, e.Peer.Addr())
	switch e.Kind {
	case transport.Datagram, transport.Frame:
		line += fmt.Sprintf(" %q", e.Frame)
	case transport.Down:
		line += " " + e.Cause.String()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
}

// take returns what was recorded since the last call.
func (r *record) take() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}

// hosts opens n hosts.
func hosts(t *testing.T, net *memnet.Network, n int) ([]*memnet.Host, []*record) {
	t.Helper()
	hs, rs := make([]*memnet.Host, n), make([]*record, n)
	for i := range n {
		hs[i], rs[i] = net.Host(), newRecord()
		require.NoError(t, hs[i].Open(rs[i]))
		t.Cleanup(func() { hs[i].Close() })
	}
	return hs, rs
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func pass(d time.Duration) { <-time.After(d) }

func TestDatagramsTakeTheDelayAndStayInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{Delay: 5 * time.Millisecond})
		hs, rs := hosts(t, net, 3)
		require.NoError(t, hs[0].Multicast([]byte("all")))
		require.NoError(t, hs[0].Unicast(hs[2].Addr(), []byte("one")))
		require.Equal(t, "10.0.0.3:7000", hs[2].Addr().String())
		pass(time.Second)
		require.Empty(t, rs[0].take())
		require.Equal(t, []string{`5ms datagram 10.0.0.1 "all"`}, rs[1].take())
		require.Equal(t, []string{`5ms datagram 10.0.0.1 "all"`, `5ms datagram 10.0.0.1 "one"`}, rs[2].take())
	})
}

func TestStreamOpensAndKeepsOrderUnderJitter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{Delay: 5 * time.Millisecond, Jitter: 20 * time.Millisecond, Loss: 1})
		hs, rs := hosts(t, net, 2)
		for i := range 100 {
			require.NoError(t, hs[0].Stream(hs[1].Addr(), []byte{byte(i)}))
		}
		pass(time.Second)
		require.Len(t, rs[0].take(), 1) // up
		got := rs[1].take()
		require.Len(t, got, 101)
		require.Contains(t, got[0], "up 10.0.0.1")
		for i := range 100 {
			require.Contains(t, got[i+1], fmt.Sprintf("frame 10.0.0.1 %q", []byte{byte(i)}))
		}
	})
}

func TestSimultaneousDialsMakeOneStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{Delay: 5 * time.Millisecond})
		hs, rs := hosts(t, net, 2)
		require.NoError(t, hs[0].Stream(hs[1].Addr(), []byte("from 1")))
		require.NoError(t, hs[1].Stream(hs[0].Addr(), []byte("from 2")))
		pass(time.Second)
		require.Equal(t, []string{"10ms up 10.0.0.2", `15ms frame 10.0.0.2 "from 2"`}, rs[0].take())
		require.Equal(t, []string{"10ms up 10.0.0.1", `15ms frame 10.0.0.1 "from 1"`}, rs[1].take())
	})
}

func TestKilledProcessResetsThenRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{Delay: time.Millisecond})
		hs, rs := hosts(t, net, 2)
		require.NoError(t, hs[0].Stream(hs[1].Addr(), []byte("x")))
		pass(time.Second)
		rs[0].take()
		net.Kill(hs[1])
		require.ErrorIs(t, hs[1].Multicast(nil), transport.ErrClosed)
		pass(10 * time.Second)
		require.Equal(t, []string{"1.001s down 10.0.0.2 reset", "1.003s down 10.0.0.2 refused"}, rs[0].take())

		again := net.HostAt(hs[1].Addr())
		r := newRecord()
		require.NoError(t, again.Open(r))
		defer again.Close()
		require.NoError(t, hs[0].Stream(hs[1].Addr(), []byte("welcome back")))
		pass(time.Second)
		require.Equal(t, []string{"11.002s up 10.0.0.2"}, rs[0].take())
		require.Equal(t, []string{"2ms up 10.0.0.1", `3ms frame 10.0.0.1 "welcome back"`}, r.take())

		var ne *transport.NetworkError
		require.ErrorAs(t, net.HostAt(again.Addr()).Open(r), &ne, "two hosts with one address")
	})
}

func TestCutHoldsFramesAndAHealDeliversThem(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{Delay: time.Millisecond})
		hs, rs := hosts(t, net, 2)
		require.NoError(t, hs[0].Stream(hs[1].Addr(), []byte("a")))
		pass(time.Second)
		rs[0].take()
		rs[1].take()
		net.Cut(hs[0].Addr(), hs[1].Addr())
		require.NoError(t, hs[0].Stream(hs[1].Addr(), []byte("b")))
		require.NoError(t, hs[0].Unicast(hs[1].Addr(), []byte("lost")))
		require.NoError(t, hs[1].Stream(hs[0].Addr(), []byte("the other way")))
		require.NoError(t, hs[1].Multicast([]byte("and so")))
		pass(5 * time.Second)
		require.Empty(t, rs[1].take())
		require.ElementsMatch(t, []string{`1.001s frame 10.0.0.2 "the other way"`, `1.001s datagram 10.0.0.2 "and so"`}, rs[0].take())
		net.Mend(hs[0].Addr(), hs[1].Addr())
		pass(time.Minute)
		require.Equal(t, []string{`6.001s frame 10.0.0.1 "b"`}, rs[1].take())
		require.Empty(t, rs[0].take())
	})
}

func TestLongCutBreaksTheStreamOnBothSides(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{Delay: time.Millisecond})
		hs, rs := hosts(t, net, 2)
		require.NoError(t, hs[0].Stream(hs[1].Addr(), []byte("a")))
		pass(time.Second)
		rs[0].take()
		rs[1].take()
		net.Partition([]netip.AddrPort{hs[0].Addr()})
		pass(time.Minute)
		require.Equal(t, []string{"11s down 10.0.0.2 reset", "12s down 10.0.0.2 timeout"}, rs[0].take())
		require.Equal(t, []string{"11s down 10.0.0.1 reset", "12s down 10.0.0.1 timeout"}, rs[1].take())
		net.Heal()
		require.NoError(t, hs[0].Stream(hs[1].Addr(), []byte("b")))
		pass(time.Second)
		require.Equal(t, []string{"1m1.002s up 10.0.0.2"}, rs[0].take())
		require.Equal(t, []string{"1m1.002s up 10.0.0.1", `1m1.003s frame 10.0.0.1 "b"`}, rs[1].take())
	})
}

func TestBreakForgetsWhatWasQueued(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{Queue: 10, StreamTimeout: time.Second})
		hs, rs := hosts(t, net, 2)
		to := hs[1].Addr()
		require.NoError(t, hs[0].Stream(to, []byte("a")))
		require.Equal(t, []string{"0s up 10.0.0.2"}, rs[0].take())
		net.Cut(hs[0].Addr(), to)
		require.NoError(t, hs[0].Stream(to, []byte("12345")))
		require.ErrorIs(t, hs[0].Stream(to, []byte("678901")), transport.ErrFull)
		pass(time.Second)
		require.Equal(t, []string{"1s down 10.0.0.2 reset"}, rs[0].take())
		require.NoError(t, hs[0].Stream(to, []byte("1234567890")))
		require.ErrorIs(t, hs[0].Stream(to, []byte("x")), transport.ErrFull)
		pass(time.Second)
		require.Equal(t, []string{"2s down 10.0.0.2 timeout"}, rs[0].take())
		net.Heal()
		require.NoError(t, hs[0].Stream(to, []byte("b")))
		pass(time.Second)
		require.Equal(t, []string{"2s up 10.0.0.2"}, rs[0].take())
	})
}

func TestHangupBeforeTheDialFailsIsSilent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{Delay: time.Millisecond})
		hs, rs := hosts(t, net, 2)
		net.Kill(hs[1])
		require.NoError(t, hs[0].Stream(hs[1].Addr(), []byte("a")))
		hs[0].Hangup(hs[1].Addr())
		pass(time.Second)
		require.Empty(t, rs[0].take())
	})
}

func TestDialIntoNothingTimesOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{})
		hs, rs := hosts(t, net, 1)
		require.NoError(t, hs[0].Stream(netip.MustParseAddrPort("10.9.9.9:1"), []byte("x")))
		pass(time.Minute)
		require.Equal(t, []string{"1s down 10.9.9.9 timeout"}, rs[0].take())
	})
}

func TestDeafHostHearsUnicastOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{})
		hs, rs := hosts(t, net, 2)
		net.SetMulticast(hs[1].Addr(), false)
		require.NoError(t, hs[0].Multicast([]byte("m")))
		require.NoError(t, hs[0].Unicast(hs[1].Addr(), []byte("u")))
		require.NoError(t, hs[1].Multicast([]byte("heard")))
		require.Equal(t, []string{`0s datagram 10.0.0.1 "u"`}, rs[1].take())
		require.Equal(t, []string{`0s datagram 10.0.0.2 "heard"`}, rs[0].take())
		net.SetMulticast(hs[1].Addr(), true)
		require.NoError(t, hs[0].Multicast([]byte("m")))
		require.Equal(t, []string{`0s datagram 10.0.0.1 "m"`}, rs[1].take())
	})
}

func TestHangupDeliversWhatWasTaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{Delay: time.Millisecond})
		hs, rs := hosts(t, net, 2)
		require.NoError(t, hs[0].Stream(hs[1].Addr(), []byte("bye")))
		hs[0].Hangup(hs[1].Addr())
		pass(3 * time.Millisecond)
		require.Empty(t, rs[0].take())
		require.Equal(t, []string{"2ms up 10.0.0.1", `3ms frame 10.0.0.1 "bye"`, "3ms down 10.0.0.1 reset"}, rs[1].take())
		require.NoError(t, hs[0].Close())
		pass(time.Second)
		require.Equal(t, []string{"5ms down 10.0.0.1 refused"}, rs[1].take())
	})
}

func TestHangingUpAgainAndAgainDoesNotSpin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{})
		a, b := net.Host(), net.Host()
		ups := 0
		require.NoError(t, a.Open(transport.HandlerFunc(func(e transport.Event) {
			if e.Kind == transport.Up {
				ups++
				a.Hangup(e.Peer)
			}
		})))
		require.NoError(t, b.Open(newRecord()))
		require.NoError(t, a.Stream(b.Addr(), nil))
		pass(10 * time.Second)
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
		require.Greater(t, ups, 5)
		require.Less(t, ups, 30)
	})
}

// Loss, duplication and reordering are as frequent as configured.
func TestWeatherKeepsItsChances(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.0.0.1:7000"), netip.MustParseAddrPort("10.0.0.2:7000")
	const n = 20000
	for _, p := range []float64{0, 0.1, 0.3, 0.9, 1} {
		t.Run(fmt.Sprint(p), func(t *testing.T) {
			within := func(what string, got int, chance float64) {
				t.Helper()
				sigma := math.Sqrt(n * chance * (1 - chance))
				require.InDelta(t, n*chance, got, 5*sigma+0.5, what)
			}
			w := memnet.NewWeather(memnet.Config{Seed: 1, Loss: p})
			lost := 0
			for range n {
				if len(w.Plan(a, b, true)) == 0 {
					lost++
				}
			}
			within("lost", lost, p)

			w = memnet.NewWeather(memnet.Config{Seed: 2, Duplicate: p, Reorder: 1 - p, Delay: time.Second})
			twice, held := 0, 0
			for range n {
				plan := w.Plan(a, b, false)
				require.NotEmpty(t, plan)
				require.GreaterOrEqual(t, plan[0], time.Second)
				require.LessOrEqual(t, plan[len(plan)-1], 5*time.Second)
				if len(plan) == 2 {
					twice++
				}
				if plan[0] > time.Second {
					held++
				}
			}
			within("duplicated", twice, p)
			q := 1 - p // of a copy to be held back; of two copies both are
			within("held back", held, (1-p)*q+p*q*q)
		})
	}
}

// What happens on a link depends on the seed and the link's own packets only.
func TestWeatherIsDeterministicPerLink(t *testing.T) {
	a, b, c := netip.MustParseAddrPort("10.0.0.1:7000"), netip.MustParseAddrPort("10.0.0.2:7000"), netip.MustParseAddrPort("10.0.0.3:7000")
	run := func(seed uint64, others int) string {
		w := memnet.NewWeather(memnet.Config{Seed: seed, Loss: 0.3, Duplicate: 0.3, Reorder: 0.1, Delay: time.Millisecond, Jitter: time.Millisecond})
		s := ""
		for range 200 {
			s += fmt.Sprint(w.Plan(a, b, true))
			for range others {
				w.Plan(b, a, true)
				w.Plan(a, c, false)
			}
		}
		return s
	}
	require.Equal(t, run(1, 0), run(1, 3))
	require.NotEqual(t, run(1, 0), run(2, 0))
}

func TestWeatherLinks(t *testing.T) {
	a, b, c := netip.MustParseAddrPort("10.0.0.1:7000"), netip.MustParseAddrPort("10.0.0.2:7000"), netip.MustParseAddrPort("10.0.0.3:7000")
	w := memnet.NewWeather(memnet.Config{})
	w.Cut(a, b)
	require.False(t, w.Open(a, b))
	require.True(t, w.Open(b, a))
	require.Empty(t, w.Plan(a, b, false))
	require.Len(t, w.Plan(b, a, false), 1)
	w.Partition([]netip.AddrPort{a}, []netip.AddrPort{b})
	require.False(t, w.Open(b, a))
	require.False(t, w.Open(b, c))
	w.Partition([]netip.AddrPort{a, b})
	require.True(t, w.Open(b, a))
	require.False(t, w.Open(a, b), "a partition leaves cuts as they are")
	require.False(t, w.Open(c, a))
	w.Heal()
	require.True(t, w.Open(a, b))
	require.True(t, w.Open(c, a))
	w.SetLinkLoss(a, b, 1)
	require.Empty(t, w.Plan(a, b, false))
	require.Len(t, w.Plan(a, c, false), 1)
	w.SetLoss(0)
	require.Len(t, w.Plan(a, b, false), 1)
}
