// Package electiontest checks that an election.Elector does what its port
// promises, and holds the network in virtual time that it is checked on.
//
//	func TestElector(t *testing.T) { electiontest.Run(t, mine.NewElector) }
//
// The network plays the callers too: who finds the coordinator gone calls
// Begin, who is invited takes part, and a winner announces itself. It loses,
// duplicates and reorders packets as it is told, members crash, and every run
// can be repeated from its seed. No socket is opened and nothing sleeps.
package electiontest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-885536be/p2p/election"
	"github.com/stretchr/testify/require"
)

// seeds is how many runs each random check makes.
const seeds = 200

// patience is the time within which every election must be over. It is
// generous: an Elector is not measured here.
const patience = 10 * time.Minute

// Run checks an Elector. What it requires holds for any algorithm: an election
// ends, all who are alive follow one who is alive, nobody wins who takes no
// part, messages that make no sense change nothing, Cancel silences, and a run
// depends on nothing but its inputs. How many messages it took is logged.
func Run(t *testing.T, create election.New) {
	t.Run("a name in lower case", func(t *testing.T) {
		name := create(election.Config{}).Name()
		require.NotEmpty(t, name)
		require.Equal(t, strings.ToLower(name), name)
	})
	t.Run("idle before Begin", func(t *testing.T) {
		e := create(election.Config{})
		requireIdle(t, e)
		e.Tick(start.Add(time.Hour))
		requireIdle(t, e)
	})
	t.Run("the only candidate wins at once", func(t *testing.T) {
		e := create(election.Config{})
		e.Begin(start, round(1, 1, false))
		r := e.Ready()
		require.True(t, r.Won)
		require.Empty(t, r.Out, "there is nobody to talk to")
		requireIdle(t, e)
	})
	t.Run("a node that is no candidate starts nothing", func(t *testing.T) {
		e := create(election.Config{})
		e.Begin(start, round(9, 5, false))
		requireIdle(t, e)
	})
	t.Run("Begin again changes nothing", func(t *testing.T) {
		for id := 1; id <= 5; id++ {
			e := create(election.Config{})
			e.Begin(start, round(id, 5, false))
			if e.Ready().Won {
				continue
			}
			before := e.Deadline()
			require.False(t, before.IsZero(), "member %d neither won nor waits for anything", id)
			e.Begin(start, round(id, 5, false))
			e.Begin(start, round(id, 5, true))
			require.Equal(t, before, e.Deadline())
			require.Zero(t, e.Ready())
		}
	})
	t.Run("Candidates may be reused after Begin", func(t *testing.T) {
		for id := 1; id <= 5; id++ {
			r := round(id, 5, true)
			kept, reused := create(election.Config{}), create(election.Config{})
			kept.Begin(start, r)
			r.Candidates = slices.Clone(r.Candidates)
			reused.Begin(start, r)
			clear(r.Candidates)
			require.Equal(t, kept.Ready(), reused.Ready())
			for _, m := range messages(round(id, 5, true)) {
				kept.Step(start, m, false)
				reused.Step(start, m, false)
				require.Equal(t, kept.Ready(), reused.Ready())
				require.Equal(t, kept.Deadline(), reused.Deadline())
			}
		}
	})
	t.Run("Cancel silences", func(t *testing.T) {
		for id := 1; id <= 5; id++ {
			for _, invited := range []bool{true, false} {
				e := create(election.Config{})
				e.Begin(start, round(id, 5, invited))
				e.Cancel()
				requireIdle(t, e)
				e.Tick(start.Add(time.Hour))
				requireIdle(t, e)
				e.Begin(start.Add(time.Hour), round(id, 5, false))
				require.True(t, e.Ready().Won || !e.Deadline().IsZero(), "a cancelled elector can be used again")
			}
		}
	})
	t.Run("another base replaces the round", func(t *testing.T) {
		e := create(election.Config{})
		e.Begin(start, round(1, 5, false))
		alone := round(1, 1, false)
		alone.Base.Ctr++
		e.Begin(start, alone)
		require.Equal(t, election.Ready{Won: true}, e.Ready())
		requireIdle(t, e)
	})
	t.Run("who hears the coordinator supports nobody", func(t *testing.T) {
		for id := 1; id <= 5; id++ {
			e := create(election.Config{})
			for _, m := range messages(round(id, 5, true)) {
				e.Step(start, m, true)
				requireNoCandidacy(t, e.Ready(), m)
				require.Zero(t, e.Deadline())
			}
			e.Begin(start, round(id, 5, true))
			if e.Ready().Won {
				continue
			}
			before := e.Deadline()
			for _, m := range messages(round(id, 5, true)) {
				if m.Candidacy() {
					e.Step(start, m, true)
					requireNoCandidacy(t, e.Ready(), m)
					require.Equal(t, before, e.Deadline())
				}
			}
		}
	})
	t.Run("messages that do not belong here change nothing", func(t *testing.T) { foreign(t, create) })
	t.Run("arbitrary messages do no harm", func(t *testing.T) { garbage(t, create) })
	t.Run("the same seed gives the same run", func(t *testing.T) {
		trace := func() (lines []string) {
			n := NewNetwork(Config{New: create, Members: 12, Seed: 7, Loss: 0.2, Duplicate: 0.1,
				MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond, Trace: func(l string) { lines = append(lines, l) }})
			n.VerifyAll(time.Second)
			n.Settle(patience)
			return lines
		}
		require.Equal(t, trace(), trace())
	})

	for _, members := range []int{1, 2, 3, 4, 7, 16, 33} {
		t.Run(fmt.Sprintf("%d members, one notices", members), func(t *testing.T) {
			for first := 1; first <= members; first++ {
				n := NewNetwork(Config{New: create, Members: members, Seed: uint64(first)})
				n.Verify(first)
				n.VerifyAll(time.Minute)
				requireSettled(t, n)
				if first == 1 {
					t.Log(n)
				}
			}
		})
	}
	chaos := func(name string, c Config, prepare func(*Network, *rand.Rand)) {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(seeds) {
				c := c
				c.New, c.Seed = create, seed
				if c.Members == 0 {
					c.Members = 2 + int(seed%15)
				}
				n := NewNetwork(c)
				n.VerifyAll(time.Second)
				prepare(n, rand.New(rand.NewPCG(seed, 2)))
				requireSettled(t, n)
			}
		})
	}
	lossy := Config{Loss: 0.3, Duplicate: 0.1, MinDelay: time.Millisecond, MaxDelay: 50 * time.Millisecond}
	slow := Config{Duplicate: 0.1, MinDelay: time.Millisecond, MaxDelay: time.Second}
	chaos("all notice", Config{}, func(*Network, *rand.Rand) {})
	chaos("packets are lost, doubled and late", lossy, func(*Network, *rand.Rand) {})
	chaos("packets are very late", slow, func(*Network, *rand.Rand) {})
	chaos("the best are dead", lossy, func(n *Network, r *rand.Rand) {
		for id, k := len(n.members), r.IntN(len(n.members)); k > 0; k-- {
			n.Crash(id - k + 1)
		}
	})
	chaos("any are dead", lossy, func(n *Network, r *rand.Rand) {
		for _, id := range r.Perm(len(n.members))[1:] {
			if r.IntN(2) == 0 {
				n.Crash(id + 1)
			}
		}
	})
	chaos("some follow another coordinator", lossy, func(n *Network, r *rand.Rand) {
		for _, id := range r.Perm(len(n.members))[1:] {
			if r.IntN(2) == 0 {
				n.Away(id + 1)
			}
		}
	})
	chaos("members die during the election", lossy, func(n *Network, r *rand.Rand) {
		for _, id := range r.Perm(len(n.members))[1:] {
			if r.IntN(2) == 0 {
				n.after(time.Duration(r.Int64N(int64(3*time.Second))), func() { n.Crash(id + 1) })
			}
		}
	})
	crashes := func(last func(*Network, int)) func(*Network, *rand.Rand) {
		return func(n *Network, r *rand.Rand) {
			left := min(2, len(n.members)-1)
			n.OnWin = func(w Win) {
				if left > 0 {
					left--
					last(n, w.Member)
				}
			}
		}
	}
	chaos("the winner dies before anybody knows", lossy, crashes((*Network).Crash))
	chaos("the winner dies when some know", lossy, crashes(func(n *Network, id int) {
		n.after(10*time.Millisecond, func() { n.Crash(id) })
	}))
}

// round is an election among the members 1 to n.
func round(self, n int, invited bool) election.Round {
	r := election.Round{
		Base:    election.Base{Ctr: 1, Leader: Key(n + 1), Inc: 1},
		Self:    Key(self),
		Invited: invited,
	}
	for id := n; id > 0; id-- {
		r.Candidates = append(r.Candidates, election.Candidate{Key: Key(id), Inc: 1})
	}
	return r
}

// messages is one message of every kind from every other candidate, about every
// candidate.
func messages(r election.Round) (out []election.Message) {
	for k := election.KindElection; k <= election.KindRingProbeOK; k++ {
		for _, from := range r.Candidates {
			if from.Key == r.Self {
				continue
			}
			m := election.Message{Kind: k, From: from.Key, Inc: from.Inc, Base: r.Base}
			if k == election.KindElection || k == election.KindAnswer {
				out = append(out, m)
				continue
			}
			for _, c := range r.Candidates {
				m.Cand, m.CandInc, m.Attempt = c.Key, c.Inc, 1
				out = append(out, m)
			}
		}
	}
	return out
}

// requireIdle requires that the elector waits for nothing and wants nothing.
func requireIdle(t *testing.T, e election.Elector) {
	t.Helper()
	require.Zero(t, e.Deadline())
	require.Zero(t, e.Ready())
}

// requireNoCandidacy requires that a message led to acknowledgements at most.
func requireNoCandidacy(t *testing.T, r election.Ready, m election.Message) {
	t.Helper()
	require.False(t, r.Won, "won by %v", m)
	for _, o := range r.Out {
		require.False(t, o.Msg.Candidacy(), "%v led to %v", m, o.Msg)
		require.Equal(t, m.From, o.To, "who did not ask gets no answer")
	}
	require.LessOrEqual(t, len(r.Out), 1, "one message, one acknowledgement")
}

// requireSettled runs the network and requires that all who are alive follow one
// who is, and that no elector did what none may do.
func requireSettled(t *testing.T, n *Network) {
	t.Helper()
	leader := n.Settle(patience)
	require.Empty(t, n.Faults, "seed %d, %d members", n.config.Seed, len(n.members))
	require.NotZero(t, leader, "no agreement within %v: seed %d, %d members: %v", patience, n.config.Seed, len(n.members), n)
}

// foreign gives a running elector messages that are not about its round.
func foreign(t *testing.T, create election.New) {
	alter := map[string]func(*election.Message){
		"another term":              func(m *election.Message) { m.Base.Ctr++ },
		"another leader":            func(m *election.Message) { m.Base.Leader = Key(77) },
		"another leader's run":      func(m *election.Message) { m.Base.Inc++ },
		"another view of the epoch": func(m *election.Message) { m.Base.Seq++ },
		"a sender that is no candidate": func(m *election.Message) {
			m.From = Key(77)
		},
		"another run of the sender": func(m *election.Message) { m.Inc++ },
		"another run of the candidate": func(m *election.Message) {
			if m.Cand == (election.Key{}) {
				m.Inc++
			}
			m.CandInc++
		},
		"a candidate that is none": func(m *election.Message) {
			if m.Cand == (election.Key{}) {
				m.From = Key(77)
			}
			m.Cand = Key(77)
		},
		"an unknown kind": func(m *election.Message) { m.Kind += 100 },
	}
	for name, alter := range alter {
		for id := 1; id <= 5; id++ {
			for _, invited := range []bool{true, false} {
				r := round(id, 5, invited)
				e := create(election.Config{})
				e.Begin(start, r)
				if e.Ready().Won {
					continue
				}
				before := e.Deadline()
				for _, m := range messages(r) {
					alter(&m)
					e.Step(start, m, false)
					requireNoCandidacy(t, e.Ready(), m)
					require.Equal(t, before, e.Deadline(), "%s: %v", name, m)
				}
			}
		}
	}
}

// garbage disturbs elections with messages that nobody sent.
func garbage(t *testing.T, create election.New) {
	for seed := range uint64(seeds) {
		r := rand.New(rand.NewPCG(seed, 3))
		n := NewNetwork(Config{New: create, Members: 5, Seed: seed, MaxDelay: 10 * time.Millisecond})
		n.VerifyAll(time.Second)
		for range 200 {
			m := election.Message{
				Kind: election.Kind(r.UintN(9)), From: Key(r.IntN(8)), Inc: uint64(r.UintN(3)),
				Base: election.Base{Ctr: 1 + uint64(r.UintN(2)), Leader: Key(5 + r.IntN(2)), Inc: uint64(r.UintN(3)), Seq: uint32(r.UintN(2))},
				Cand: Key(r.IntN(8)), CandInc: uint64(r.UintN(3)), Attempt: r.Uint32() >> r.UintN(32), Hops: r.Uint32(), Refuse: r.UintN(2) == 0,
			}
			if valid := round(1, 5, false); r.UintN(2) == 0 {
				m.Base, m.Inc, m.CandInc = valid.Base, 1, 1
			}
			id := 1 + r.IntN(5)
			n.after(time.Duration(r.Int64N(int64(2*time.Second))), func() { n.Inject(id, m) })
		}
		requireSettled(t, n)
		require.False(t, slices.ContainsFunc(n.Wins, func(w Win) bool { return w.Member < 1 || w.Member > 5 }))
	}
}
