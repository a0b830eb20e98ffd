package p2pchat_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/fault"
	"github.com/seed-885536be/p2p/transport/memnet"
)

func TestMain(m *testing.M) {
	if group := os.Getenv(joinEnv); group != "" {
		os.Exit(joinAndSay(group))
	}
	if args := os.Getenv(busyEnv); args != "" {
		if err := stayBusy(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// world is a network in virtual time and the nodes on it.
type world struct {
	*testing.T
	net   *memnet.Network
	ctx   context.Context
	nodes []*p2pchat.Node
	hosts []*memnet.Host
	opts  []p2pchat.Option
}

// in runs f in a bubble of virtual time.
func in(t *testing.T, cfg memnet.Config, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Hour)
		w := &world{T: t, net: memnet.New(cfg), ctx: ctx}
		defer func() {
			cancel()
			for _, n := range w.nodes {
				_ = n.Close()
			}
			synctest.Wait()
		}()
		f(w)
	})
}

// add makes a node that has not joined yet.
func (w *world) add(opts ...p2pchat.Option) *p2pchat.Node {
	w.Helper()
	h := w.net.Host()
	all := append([]p2pchat.Option{p2pchat.WithTransport(h), p2pchat.WithName(fmt.Sprintf("n%d", len(w.nodes)+1))}, w.opts...)
	n, err := p2pchat.New(append(all, opts...)...)
	require.NoError(w, err)
	w.nodes = append(w.nodes, n)
	w.hosts = append(w.hosts, h)
	return n
}

// join adds n nodes, one after the other.
func (w *world) join(n int, opts ...p2pchat.Option) {
	w.Helper()
	for range n {
		require.NoError(w, w.add(opts...).Join(w.ctx))
	}
}

// wait waits until cond holds at every node.
func (w *world) wait(nodes []*p2pchat.Node, cond func(p2pchat.Status) bool) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Minute)
	defer cancel()
	for i, n := range nodes {
		if err := n.Wait(ctx, cond); err != nil {
			for _, n := range nodes {
				s := n.Status()
				w.Logf("%v: phase %v view %v term %d digest %v n %d same %d/%d drops %v", s.Self, s.Phase, s.View, s.View.Term, s.Digest, s.Digest.N, s.Same, s.Of, s.Drops)
			}
			w.Fatalf("node %d: %v", i+1, err)
		}
	}
}

func (w *world) send(n *p2pchat.Node, texts ...string) (ids []p2pchat.MessageID) {
	w.Helper()
	for _, s := range texts {
		id, err := n.Send(w.ctx, "lobby", []byte(s))
		require.NoError(w, err)
		ids = append(ids, id)
	}
	return ids
}

func (w *world) addrs(nodes ...int) (a []netip.AddrPort) {
	for _, i := range nodes {
		a = append(a, w.hosts[i-1].Addr())
	}
	return a
}

// holds is true of a member of a converged group of the given size with so
// many messages.
func holds(members, messages int) func(p2pchat.Status) bool {
	return func(s p2pchat.Status) bool {
		return s.Phase == p2pchat.PhaseMember && len(s.View.Members) == members && s.Digest.N == uint64(messages) && s.Converged() && s.Of == members
	}
}

func texts(n *p2pchat.Node) (out []string) {
	for m := range n.History("lobby").All() {
		out = append(out, string(m.Data))
	}
	return out
}

// same requires one history at all nodes, with each text once, and each
// author's messages in order.
func (w *world) same(nodes []*p2pchat.Node, want int) {
	w.Helper()
	first := texts(nodes[0])
	require.Len(w, first, want)
	for _, n := range nodes[1:] {
		require.Equal(w, first, texts(n))
	}
	last := map[[16]byte]uint64{}
	for m := range nodes[0].History("").All() {
		require.Equal(w, last[m.ID.Writer]+1, m.ID.N, "author's order")
		last[m.ID.Writer] = m.ID.N
	}
}

func ids(v p2pchat.View) (out []uint32) {
	for _, m := range v.Members {
		out = append(out, m.ID)
	}
	return out
}

func electors(t *testing.T, f func(t *testing.T, opt p2pchat.Option)) {
	t.Run("bully", func(t *testing.T) { f(t, p2pchat.WithElector(election.NewBully)) })
	t.Run("ring", func(t *testing.T) { f(t, p2pchat.WithElector(election.NewRing)) })
}

func TestFoundsAloneAndIsItsCoordinator(t *testing.T) {
	in(t, memnet.Config{Seed: 1}, func(w *world) {
		n := w.add()
		events := n.Events(w.ctx)
		start := time.Now()
		require.NoError(t, n.Join(w.ctx))
		require.Less(t, time.Since(start), time.Second)
		v := n.View()
		require.Equal(t, []uint32{1}, ids(v))
		require.Equal(t, uint32(1), v.Coordinator.ID)
		require.Equal(t, p2pchat.PhaseMember, n.Status().Phase)
		require.NoError(t, n.Leave(w.ctx))
		var phases []p2pchat.JoinPhase
		for e := range events {
			if j, ok := e.(*p2pchat.JoinEvent); ok {
				phases = append(phases, j.Phase)
			}
		}
		require.Equal(t, p2pchat.JoinProbe, phases[0])
		require.Equal(t, p2pchat.JoinFirst, phases[len(phases)-1])
	})
}

func TestFourNodesTalkAndConverge(t *testing.T) {
	in(t, memnet.Config{Seed: 2, Delay: time.Millisecond}, func(w *world) {
		w.join(4)
		w.wait(w.nodes, holds(4, 0))
		for i, n := range w.nodes {
			require.Equal(t, []uint32{1, 2, 3, 4}, ids(n.View()))
			require.Equal(t, uint32(i+1), n.Self().ID)
			require.Equal(t, uint32(1), n.View().Coordinator.ID)
		}
		for i := range 100 {
			for j, n := range w.nodes {
				w.send(n, fmt.Sprintf("%d says %d", j+1, i))
			}
		}
		w.wait(w.nodes, holds(4, 400))
		w.same(w.nodes, 400)
	})
}

func TestMessagesAreCausalAndResumable(t *testing.T) {
	in(t, memnet.Config{Seed: 3, Delay: 5 * time.Millisecond}, func(w *world) {
		w.join(3)
		// Every node answers what it reads: an answer never comes before its question.
		for _, n := range w.nodes[1:] {
			go func() {
				for m := range n.Messages(w.ctx, p2pchat.FromStart) {
					if q, ok := strings.CutPrefix(string(m.Data), "q"); ok {
						_, _ = n.Send(w.ctx, "lobby", []byte("a"+q+" "+n.Self().Nick))
					}
				}
			}()
		}
		for i := range 20 {
			w.send(w.nodes[0], fmt.Sprintf("q%d", i))
		}
		w.wait(w.nodes, holds(3, 60))
		for _, n := range w.nodes {
			asked := map[string]bool{}
			var next p2pchat.Cursor
			read := 0
			for read < 60 { // in two goes, to resume from a cursor
				for m := range n.Messages(w.ctx, next) {
					read++
					next = p2pchat.Cursor(m.Index + 1)
					text := string(m.Data)
					if text[0] == 'q' {
						asked[text[1:]] = true
					} else {
						require.True(t, asked[strings.Fields(text[1:])[0]], "an answer before its question")
					}
					if read == 30 || read == 60 {
						break
					}
				}
			}
		}
		w.same(w.nodes, 60)
	})
}

func TestCoordinatorCrashes(t *testing.T) {
	electors(t, func(t *testing.T, opt p2pchat.Option) {
		in(t, memnet.Config{Seed: 4, Delay: time.Millisecond}, func(w *world) {
			w.join(4, opt)
			w.wait(w.nodes, holds(4, 0))
			events := w.nodes[1].Events(w.ctx)
			w.send(w.nodes[0], "last words")
			w.wait(w.nodes, holds(4, 1))
			start := time.Now()
			w.net.Kill(w.hosts[0])
			rest := w.nodes[1:]
			w.wait(rest, func(s p2pchat.Status) bool { return s.View.Coordinator.ID == 4 && len(s.View.Members) == 3 })
			require.Less(t, time.Since(start), 100*time.Millisecond, "a refused endpoint is evidence")
			w.send(rest[0], "we go on")
			w.wait(rest, holds(3, 2))
			w.same(rest, 2)
			_ = w.nodes[1].Close()
			var dead, elected bool
			for e := range events {
				switch e := e.(type) {
				case *p2pchat.PeerEvent:
					dead = dead || e.Peer.ID == 1 && e.State == "dead"
				case *p2pchat.CoordinatorEvent:
					elected = elected || e.Old.ID == 1 && e.New.ID == 4 && e.Cause == p2pchat.CauseElected
				}
			}
			require.True(t, dead, "the failure is announced")
			require.True(t, elected, "the new coordinator is announced")
		})
	})
}

func TestSilentCoordinatorIsReplacedAfterTheTimeout(t *testing.T) {
	electors(t, func(t *testing.T, opt p2pchat.Option) {
		in(t, memnet.Config{Seed: 5, Delay: time.Millisecond}, func(w *world) {
			w.join(4, opt, p2pchat.WithTiming(membership.Classic()))
			w.wait(w.nodes, holds(4, 0))
			start := time.Now()
			w.net.Partition(w.addrs(1), w.addrs(2, 3, 4))
			w.wait(w.nodes[1:], func(s p2pchat.Status) bool { return s.View.Coordinator.ID == 4 })
			gap := time.Since(start)
			require.Greater(t, gap, 5*time.Second)
			require.Less(t, gap, 12*time.Second)
		})
	})
}

func TestOnlyTheCoordinatorBeats(t *testing.T) {
	in(t, memnet.Config{Seed: 6, Delay: time.Millisecond}, func(w *world) {
		w.join(3, p2pchat.WithTiming(membership.Classic()))
		w.wait(w.nodes, holds(3, 0))
		var events []func(func(p2pchat.Event) bool)
		for _, n := range w.nodes {
			events = append(events, n.Events(w.ctx))
		}
		<-time.After(time.Minute)
		for i, n := range w.nodes {
			_ = n.Close()
			sent, heard := 0, 0
			for e := range events[i] {
				if b, ok := e.(*p2pchat.HeartbeatEvent); ok {
					require.Equal(t, uint32(1), b.From.ID)
					if b.Sent {
						sent++
					} else {
						heard++
					}
				}
			}
			if i == 0 {
				require.InDelta(t, 12, sent, 1, "a beat every 5 s")
				require.Zero(t, heard)
			} else {
				require.Zero(t, sent)
				require.InDelta(t, 12, heard, 1)
			}
			if i == 0 {
				break // from here on there are elections
			}
		}
	})
}

func TestLateJoinerTakesTheHistoryOver(t *testing.T) {
	in(t, memnet.Config{Seed: 7, Delay: time.Millisecond}, func(w *world) {
		w.join(2)
		for i := range 500 {
			w.send(w.nodes[i%2], fmt.Sprint(i))
		}
		w.wait(w.nodes, holds(2, 500))
		w.join(1)
		late := w.nodes[2]
		require.Equal(t, uint32(3), late.Self().ID)
		require.Len(t, texts(late), 500, "Join returns when the history is there")
		for m := range late.History("").All() {
			require.True(t, m.Backlog)
		}
		w.send(w.nodes[0], "live")
		w.wait(w.nodes, holds(3, 501))
		w.same(w.nodes, 501)
		for m := range late.History("").Backwards() {
			require.Equal(t, "live", string(m.Data))
			require.False(t, m.Backlog)
			break
		}
	})
}

// TestStatusTellsHowMuchIsToCome checks what a joiner knows of its progress.
func TestStatusTellsHowMuchIsToCome(t *testing.T) {
	in(t, memnet.Config{Seed: 8, Delay: time.Millisecond}, func(w *world) {
		w.join(1)
		require.Zero(t, w.nodes[0].Status().Known)
		w.send(w.nodes[0], slices.Repeat([]string{strings.Repeat("x", 4<<10)}, 500)...)
		require.Equal(t, uint64(500), w.nodes[0].Status().Known, "its own count")
		late := w.add()
		joined := make(chan error, 1)
		go func() { joined <- late.Join(w.ctx) }()
		require.NoError(t, late.Wait(w.ctx, func(s p2pchat.Status) bool {
			return s.Phase == p2pchat.PhaseSyncing && s.Known == 500 && s.Digest.N > 0 && s.Digest.N < 500
		}))
		require.NoError(t, <-joined)
		w.wait(w.nodes, holds(2, 500))
		require.Equal(t, uint64(500), late.Status().Known)
	})
}

func TestGracefulLeaveIsAnnouncedAtOnce(t *testing.T) {
	in(t, memnet.Config{Seed: 8, Delay: time.Millisecond}, func(w *world) {
		w.join(3)
		w.wait(w.nodes, holds(3, 0))
		events := w.nodes[0].Events(w.ctx)
		w.send(w.nodes[2], "bye")
		start := time.Now()
		require.NoError(t, w.nodes[2].Leave(w.ctx))
		require.Less(t, time.Since(start), 300*time.Millisecond)
		w.wait(w.nodes[:2], holds(2, 1))
		// The coordinator goes: #2 takes over without a silent period.
		start = time.Now()
		require.NoError(t, w.nodes[0].Leave(w.ctx))
		require.Less(t, time.Since(start), 300*time.Millisecond)
		w.wait(w.nodes[1:2], func(s p2pchat.Status) bool { return s.View.Coordinator.ID == 2 && len(s.View.Members) == 1 })
		require.Less(t, time.Since(start), 300*time.Millisecond)
		var left []uint32
		for e := range events {
			if p, ok := e.(*p2pchat.PeerEvent); ok && p.State != p2pchat.PeerUp {
				require.Equal(t, p2pchat.PeerLeft, p.State)
				left = append(left, p.Peer.ID)
			}
		}
		require.Equal(t, []uint32{3}, left[:1])
	})
}

// TestLeaveGivesOthersUntilItsDeadline: a group that is slow to answer needs no
// election if whoever leaves can wait.
func TestLeaveGivesOthersUntilItsDeadline(t *testing.T) {
	for limit, cause := range map[time.Duration]string{0: "elected", 300 * time.Millisecond: "elected", 3 * time.Second: "handover"} {
		in(t, memnet.Config{Seed: 8, Delay: time.Millisecond}, func(w *world) {
			w.join(4)
			w.wait(w.nodes, holds(4, 0))
			w.net.SetDelay(400*time.Millisecond, 0)
			events := w.nodes[1].Events(w.ctx)
			ctx, cancel := context.WithoutCancel(w.ctx), context.CancelFunc(func() {})
			if limit > 0 {
				ctx, cancel = context.WithTimeout(ctx, limit)
			}
			defer cancel()
			start := time.Now()
			require.NoError(t, w.nodes[0].Leave(ctx))
			require.Less(t, time.Since(start), max(limit, 450*time.Millisecond))
			for e := range events {
				if c, ok := e.(*p2pchat.CoordinatorEvent); ok {
					require.Equal(t, cause, string(c.Cause))
					break
				}
			}
			w.wait(w.nodes[1:], holds(3, 0))
		})
	}
}

func TestSplitAndHeal(t *testing.T) {
	electors(t, func(t *testing.T, opt p2pchat.Option) {
		in(t, memnet.Config{Seed: 9, Delay: time.Millisecond}, func(w *world) {
			w.join(6, opt)
			w.wait(w.nodes, holds(6, 0))
			w.send(w.nodes[0], "before")
			w.wait(w.nodes, holds(6, 1))
			w.net.Partition(w.addrs(1, 2, 3), w.addrs(4, 5, 6))
			left, right := w.nodes[:3], w.nodes[3:]
			w.wait(left, func(s p2pchat.Status) bool { return len(s.View.Members) == 3 })
			w.wait(right, func(s p2pchat.Status) bool { return len(s.View.Members) == 3 })
			for i := range 10 {
				w.send(left[i%3], fmt.Sprint("left ", i))
				w.send(right[i%3], fmt.Sprint("right ", i))
			}
			w.wait(left, holds(3, 11))
			w.wait(right, holds(3, 11))
			start := time.Now()
			w.net.Heal()
			w.wait(w.nodes, holds(6, 21))
			t.Logf("healed after %v", time.Since(start))
			w.same(w.nodes, 21)
			coord := w.nodes[0].View().Coordinator.Key
			for _, n := range w.nodes {
				require.Equal(t, coord, n.View().Coordinator.Key)
				require.Equal(t, []uint32{1, 2, 3, 4, 5, 6}, ids(n.View()), "IDs that did not collide are kept")
			}
		})
	})
}

func TestTenAtOneInstant(t *testing.T) {
	for seed := range uint64(5) {
		in(t, memnet.Config{Seed: seed, Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.1}, func(w *world) {
			errs := make(chan error, 10)
			for range 10 {
				n := w.add()
				go func() { errs <- n.Join(w.ctx) }()
			}
			for range 10 {
				require.NoError(t, <-errs)
			}
			w.wait(w.nodes, holds(10, 0))
			require.Len(t, ids(w.nodes[0].View()), 10)
			for _, n := range w.nodes {
				require.Equal(t, w.nodes[0].View(), n.View())
			}
		})
	}
}

func TestThirtyPercentLoss(t *testing.T) {
	electors(t, func(t *testing.T, opt p2pchat.Option) {
		in(t, memnet.Config{Seed: 10, Delay: time.Millisecond, Jitter: 3 * time.Millisecond, Loss: 0.3, Duplicate: 0.1, Reorder: 0.2}, func(w *world) {
			w.join(4, opt)
			for i := range 100 {
				for j, n := range w.nodes {
					w.send(n, fmt.Sprintf("%d.%d", j, i))
				}
				<-time.After(10 * time.Millisecond)
			}
			w.wait(w.nodes, holds(4, 400))
			w.same(w.nodes, 400)
		})
	})
}

// Where nearly every third packet gets lost, a word every 20 ms is heard at once
// all the same, though the streams stand still for seconds.
func TestWordsPassStreamsThatStandStill(t *testing.T) {
	in(t, memnet.Config{Delay: time.Millisecond}, func(w *world) {
		var weather []*fault.Transport
		for range 4 {
			h := w.net.Host()
			weather = append(weather, fault.New(h, fault.Config{Seed: uint64(len(weather))}))
			n, err := p2pchat.New(p2pchat.WithTransport(weather[len(weather)-1]))
			require.NoError(t, err)
			require.NoError(t, n.Join(w.ctx))
			w.nodes, w.hosts = append(w.nodes, n), append(w.hosts, h)
		}
		late := make(chan time.Duration, 3*300)
		for _, n := range w.nodes[1:] {
			messages := n.Messages(w.ctx, p2pchat.FromNow)
			go func() {
				for m := range messages {
					late <- time.Since(m.Sent)
				}
			}()
		}
		for _, f := range weather {
			require.NoError(t, f.Set(fault.Faults{Loss: 0.3}))
		}
		for range 300 {
			w.send(w.nodes[0], strings.Repeat("x", 100))
			<-time.After(20 * time.Millisecond)
		}
		w.wait(w.nodes, holds(4, 300))
		synctest.Wait()
		all := make([]time.Duration, 0, cap(late))
		for range cap(late) {
			all = append(all, <-late)
		}
		slices.Sort(all)
		t.Log("p50", all[len(all)/2], "p99", all[len(all)*99/100], "max", all[len(all)-1])
		require.LessOrEqual(t, all[len(all)/2], 5*time.Millisecond)
		require.LessOrEqual(t, all[len(all)*99/100], 500*time.Millisecond)
	})
}

func TestNickTravels(t *testing.T) {
	in(t, memnet.Config{Seed: 11, Delay: time.Millisecond}, func(w *world) {
		w.join(2)
		w.wait(w.nodes, holds(2, 0))
		events := w.nodes[0].Events(w.ctx)
		require.NoError(t, w.nodes[1].SetNick(w.ctx, "eve"))
		w.wait(w.nodes, func(s p2pchat.Status) bool { return len(s.View.Members) == 2 && s.View.Members[1].Nick == "eve" })
		w.send(w.nodes[1], "hi")
		w.wait(w.nodes, holds(2, 1))
		for m := range w.nodes[0].History("").All() {
			require.Equal(t, "eve", m.From.Nick)
			require.Equal(t, uint32(2), m.From.ID)
		}
		_ = w.nodes[0].Close()
		var old string
		for e := range events {
			if e, ok := e.(*p2pchat.NickEvent); ok {
				old = e.Old
			}
		}
		require.Equal(t, "n2", old)
		// The coordinator renames itself as well.
		require.ErrorIs(t, w.nodes[0].SetNick(w.ctx, "x"), p2pchat.ErrClosed)
		var ne *p2pchat.NameError
		require.ErrorAs(t, w.nodes[1].SetNick(w.ctx, strings.Repeat("x", 65)), &ne)
	})
}

func TestElectOnDemand(t *testing.T) {
	electors(t, func(t *testing.T, opt p2pchat.Option) {
		in(t, memnet.Config{Seed: 12, Delay: time.Millisecond}, func(w *world) {
			w.join(4, opt)
			w.wait(w.nodes, holds(4, 0))
			require.NoError(t, w.nodes[1].Elect(w.ctx))
			w.wait(w.nodes, func(s p2pchat.Status) bool { return s.View.Coordinator.ID == 4 && len(s.View.Members) == 4 })
		})
	})
}

func TestWaitStable(t *testing.T) {
	in(t, memnet.Config{Seed: 13, Delay: 20 * time.Millisecond}, func(w *world) {
		w.join(3)
		w.wait(w.nodes, holds(3, 0))
		events := w.nodes[1].Events(w.ctx)
		start := time.Now()
		id := w.send(w.nodes[0], "receipt")[0]
		require.NoError(t, w.nodes[0].WaitStable(w.ctx, id))
		require.GreaterOrEqual(t, time.Since(start), 40*time.Millisecond, "stable without a round trip")
		require.Less(t, time.Since(start), 500*time.Millisecond)
		require.NoError(t, w.nodes[1].WaitStable(w.ctx, id), "receipts reach the others as well")
		// A member that is cut off holds stability up until it is evicted.
		w.net.Partition(w.addrs(1, 2), w.addrs(3))
		id = w.send(w.nodes[0], "alone")[0]
		short, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		require.ErrorIs(t, w.nodes[0].WaitStable(short, id), context.DeadlineExceeded)
		require.NoError(t, w.nodes[0].WaitStable(w.ctx, id))
		require.Len(t, w.nodes[0].View().Members, 2)
		require.NoError(t, w.nodes[1].WaitStable(w.ctx, id))
		_ = w.nodes[1].Close()
		var stable []p2pchat.MessageID
		for e := range events {
			if s, ok := e.(*p2pchat.StableEvent); ok {
				stable = append(stable, s.First, s.Last)
			}
		}
		require.True(t, slices.Contains(stable, id))
	})
}

func TestOptionsAreCheckedTogether(t *testing.T) {
	_, err := p2pchat.New(p2pchat.WithName(""), p2pchat.WithMaxMessage(-1), p2pchat.WithElector(nil), p2pchat.WithTransport(nil),
		p2pchat.WithLogger(nil), p2pchat.WithTiming(membership.Timing{H: time.Second, TElect: time.Millisecond}))
	require.Error(t, err)
	for _, part := range []string{"nick", "WithMaxMessage", "WithElector", "WithTransport", "WithLogger", "WithTiming"} {
		require.ErrorContains(t, err, part)
	}
}

func TestErrors(t *testing.T) {
	in(t, memnet.Config{Seed: 14}, func(w *world) {
		n := w.add(p2pchat.WithMaxMessage(10))
		_, err := n.Send(w.ctx, "lobby", nil)
		require.ErrorIs(t, err, p2pchat.ErrNotJoined)
		require.NoError(t, n.Join(w.ctx))
		require.ErrorIs(t, n.Join(w.ctx), p2pchat.ErrJoined)
		_, err = n.Send(w.ctx, "lobby", make([]byte, 11))
		var tooLarge *p2pchat.TooLargeError
		require.ErrorAs(t, err, &tooLarge)
		require.Equal(t, 10, tooLarge.Limit)
		_, err = n.Send(w.ctx, "", nil)
		var name *p2pchat.NameError
		require.ErrorAs(t, err, &name)
		done, cancel := context.WithCancel(w.ctx)
		cancel()
		_, err = n.Send(done, "lobby", nil)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, n.Wait(done, func(p2pchat.Status) bool { return false }), context.Canceled)
		require.NoError(t, n.Close())
		require.NoError(t, n.Close())
		_, err = n.Send(w.ctx, "lobby", nil)
		require.ErrorIs(t, err, p2pchat.ErrClosed)
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, n.Leave(w.ctx), p2pchat.ErrClosed)
		require.ErrorIs(t, n.Join(w.ctx), p2pchat.ErrClosed)
		require.ErrorIs(t, n.Wait(w.ctx, func(p2pchat.Status) bool { return false }), p2pchat.ErrClosed)
	})
}

func TestJoinGivesUpWithItsContext(t *testing.T) {
	in(t, memnet.Config{Seed: 15}, func(w *world) {
		n := w.add()
		ctx, cancel := context.WithTimeout(w.ctx, 10*time.Millisecond)
		defer cancel()
		err := n.Join(ctx)
		var je *p2pchat.JoinError
		require.ErrorAs(t, err, &je)
		require.True(t, errors.Is(err, context.DeadlineExceeded))
		require.Equal(t, p2pchat.PhaseClosed, n.Status().Phase)
	})
}

func TestSlowReaderOfEventsIsTold(t *testing.T) {
	in(t, memnet.Config{Seed: 16, Delay: time.Millisecond}, func(w *world) {
		w.join(2)
		events := w.nodes[1].Events(w.ctx)
		<-time.After(50 * time.Minute) // a beat every 500 ms
		_ = w.nodes[1].Close()
		var dropped uint64
		count := 0
		for e := range events {
			if l, ok := e.(*p2pchat.LaggedEvent); ok {
				dropped += l.Dropped
				require.Zero(t, count, "told before the events that are left")
			}
			count++
		}
		require.Greater(t, dropped, uint64(1000))
		require.LessOrEqual(t, count, 4097)
	})
}

func TestHistoryPagesSurviveInsertions(t *testing.T) {
	in(t, memnet.Config{Seed: 17, Delay: time.Millisecond}, func(w *world) {
		w.join(2)
		w.wait(w.nodes, holds(2, 0))
		w.net.Partition(w.addrs(1), w.addrs(2))
		for i := range 600 {
			w.send(w.nodes[0], fmt.Sprint("a", i))
			w.send(w.nodes[1], fmt.Sprint("b", i))
		}
		seen := map[string]bool{}
		healed := false
		for m := range w.nodes[0].History("").All() {
			require.False(t, seen[string(m.Data)], "yielded twice")
			seen[string(m.Data)] = true
			if !healed && len(seen) == 300 {
				healed = true
				w.net.Heal()
				w.wait(w.nodes, holds(2, 1200))
			}
		}
		for i := range 600 {
			require.True(t, seen[fmt.Sprint("a", i)], "a%d of %d", i, len(seen))
		}
		var back []string
		for m := range w.nodes[1].History("").Backwards() {
			back = append(back, string(m.Data))
		}
		slices.Reverse(back)
		require.Equal(t, texts(w.nodes[0]), back)
	})
}

func TestRoomsAndSearch(t *testing.T) {
	in(t, memnet.Config{Seed: 18}, func(w *world) {
		w.join(1)
		n := w.nodes[0]
		for _, m := range []struct{ room, text string }{
			{"lobby", "The quick brown fox"}, {"kitchen", "brown sugar"}, {"lobby", "FOX and hound"}, {"lobby", "nothing"},
		} {
			_, err := n.Send(w.ctx, m.room, []byte(m.text))
			require.NoError(t, err)
		}
		found := func(room, words string) (out []string) {
			for m := range n.History(room).Search(words) {
				out = append(out, string(m.Data))
			}
			return out
		}
		require.Equal(t, []string{"lobby", "kitchen"}, n.Rooms())
		require.Equal(t, []string{"FOX and hound", "The quick brown fox"}, found("", "fox"))
		require.Equal(t, []string{"The quick brown fox"}, found("", "fox Brown"))
		require.Equal(t, []string{"The quick brown fox"}, found("lobby", "brown"))
		require.Empty(t, found("lobby", "sugar"))
		require.Empty(t, found("", " "))
	})
}

// Two halves live apart for a day, each with a reader that started long before.
// Every reader sees every message exactly once, across the merge.
func TestADayApart(t *testing.T) {
	in(t, memnet.Config{Seed: 19, Delay: time.Millisecond}, func(w *world) {
		w.join(4, p2pchat.WithTiming(membership.For(time.Minute, 2*time.Minute)))
		w.wait(w.nodes, holds(4, 0))
		ctx, cancel := context.WithCancel(w.ctx)
		defer cancel()
		seen := make([]map[p2pchat.MessageID]int, 4)
		done := make(chan struct{}, 4)
		for i, n := range w.nodes {
			seen[i] = make(map[p2pchat.MessageID]int)
			go func() {
				for m := range n.Messages(ctx, p2pchat.FromStart) {
					seen[i][m.ID]++
				}
				done <- struct{}{}
			}()
		}
		w.net.Partition(w.addrs(1, 2), w.addrs(3, 4))
		for i := range 24 * 30 {
			for j, n := range w.nodes {
				w.send(n, fmt.Sprintf("%d.%d", j, i))
			}
			<-time.After(2 * time.Minute)
		}
		for i, n := range w.nodes {
			require.Equal(t, uint64(2*24*30), n.Status().Digest.N, "node %d", i+1)
		}
		w.net.Heal()
		w.wait(w.nodes, holds(4, 4*24*30))
		w.same(w.nodes, 4*24*30)
		synctest.Wait()
		cancel()
		for range w.nodes {
			<-done
		}
		for i := range w.nodes {
			require.Len(t, seen[i], 4*24*30)
			for id, times := range seen[i] {
				require.Equal(t, 1, times, "%v at node %d", id, i+1)
			}
		}
	})
}

func TestTheLargestMessageTravels(t *testing.T) {
	in(t, memnet.Config{Seed: 22, Delay: time.Millisecond}, func(w *world) {
		w.join(2)
		w.wait(w.nodes, holds(2, 0))
		big := strings.Repeat("x", p2pchat.MaxMessage)
		_, err := w.nodes[0].Send(w.ctx, strings.Repeat("r", p2pchat.MaxRoom), []byte(big))
		require.NoError(t, err)
		w.wait(w.nodes, holds(2, 1))
		for m := range w.nodes[1].History("").All() {
			require.Equal(t, len(big), len(m.Data))
		}
	})
}

func TestWhyAMessageStandsWhereItStands(t *testing.T) {
	in(t, memnet.Config{Seed: 23, Delay: 10 * time.Millisecond}, func(w *world) {
		w.join(2)
		w.wait(w.nodes, holds(2, 0))
		q := w.send(w.nodes[0], "question")[0]
		w.wait(w.nodes, holds(2, 1))
		a := w.send(w.nodes[0], "one answer")[0]
		b := w.send(w.nodes[1], "another")[0]
		w.wait(w.nodes, holds(2, 3))
		for i, n := range w.nodes {
			why, ok := n.Why(a)
			require.True(t, ok)
			require.Equal(t, []p2pchat.MessageID{q}, why.After)
			require.Equal(t, []p2pchat.MessageID{b}, why.Concurrent)
			require.Equal(t, "one answer", string(why.Data))
			require.Equal(t, w.nodes[0].Self().Key, why.Via.Key)
			require.False(t, why.Came.IsZero())
			before, _ := n.Why(q)
			require.Less(t, before.Height, why.Height, "node %d", i+1)
			_, ok = n.Why(p2pchat.MessageID{N: 1})
			require.False(t, ok)
		}
	})
}

// What a program has sent is in its digest at once, so that waiting for the
// others to hold the same waits for that too.
func TestStatusCountsWhatWasSent(t *testing.T) {
	in(t, memnet.Config{Seed: 24, Delay: time.Millisecond}, func(w *world) {
		w.join(2)
		w.wait(w.nodes, holds(2, 0))
		for i := range 50 {
			w.send(w.nodes[0], fmt.Sprint(i))
			s := w.nodes[0].Status()
			require.Equal(t, uint64(i+1), s.Digest.N)
			require.False(t, s.Converged())
			require.NoError(t, w.nodes[0].Wait(w.ctx, p2pchat.Status.Converged))
			require.Equal(t, uint64(i+1), w.nodes[1].Status().Digest.N)
		}
	})
}
