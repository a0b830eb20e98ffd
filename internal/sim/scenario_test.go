package sim

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/membership"
)

// The adversarial scenarios, one test each, at the classic timing: H is 5 s,
// an election comes after 10 s of silence, RTO is 200 ms. Without evidence
// unless a test says otherwise: what works on time-outs alone works.

var classic = membership.Classic()

// electors runs a test with each algorithm.
func electors(t *testing.T, test func(t *testing.T, cfg Config)) {
	t.Run("bully", func(t *testing.T) { test(t, Config{Elector: election.NewBully}) })
	t.Run("ring", func(t *testing.T) { test(t, Config{Elector: election.NewRing}) })
}

// seeds runs a test with several seeds.
func seeds(t *testing.T, n int, cfg Config, test func(t *testing.T, cfg Config)) {
	for i := range n {
		cfg.Seed = uint64(i + 1)
		t.Run(fmt.Sprint(cfg.Seed), func(t *testing.T) { test(t, cfg) })
	}
}

// world is New; at the end of the test it must be without violation.
func world(t *testing.T, cfg Config, hosts int) *World {
	t.Helper()
	if *logFlag {
		cfg.Trace = os.Stdout
	}
	w := New(cfg, hosts)
	t.Cleanup(func() {
		if w.Err() != nil {
			t.Errorf("seed %d: %v", cfg.Seed, w.Err())
		}
	})
	return w
}

// group is a world of hosts with an agreed group, in which host i is member i
// and host 1 coordinates. More hosts are without a process.
func group(t *testing.T, cfg Config, hosts, more int) *World {
	t.Helper()
	w := world(t, cfg, hosts+more)
	weather := w.Weather
	w.Weather = Calm
	for i := 1; i <= hosts; i++ {
		w.Start(i)
		agreed(t, w, 5*time.Second)
		require.Equal(t, uint32(i), w.At(i).ID())
		w.Run(100 * time.Millisecond)
	}
	w.Run(w.timing.H)
	w.Weather = weather
	w.Count = Counters{Sent: map[string]int{}}
	return w
}

// agreed lets time pass until all processes are agreed.
func agreed(t *testing.T, w *World, within time.Duration) time.Duration {
	t.Helper()
	took, ok := w.Await(within, func() bool { return w.Agreed() == nil })
	require.True(t, ok, "seed %d, not agreed within %v: %v %v", w.cfg.Seed, within, w.Agreed(), w.Err())
	return took
}

// hosts is the numbers from a to b.
func hosts(a, b int) []int {
	var is []int
	for i := a; i <= b; i++ {
		is = append(is, i)
	}
	return is
}

// leaders are the hosts whose processes lead.
func (w *World) leaders() []int {
	var is []int
	for _, p := range w.Alive() {
		if p.Leads() {
			is = append(is, p.Host())
		}
	}
	return is
}

func TestScenario01_OneNodeAlone(t *testing.T) {
	seeds(t, 10, Config{}, func(t *testing.T, cfg Config) {
		w := world(t, cfg, 1)
		w.Start(1)
		took := agreed(t, w, time.Minute)
		require.InDelta(t, 2.05, took.Seconds(), 0.07)
		v := w.At(1).View()
		require.True(t, w.At(1).Leads())
		require.Len(t, v.Members, 1)
		require.EqualValues(t, 1, v.Members[0].ID)
		require.EqualValues(t, 2, v.NextID)
		w.Run(time.Hour)
		require.Equal(t, 1, w.Count.Installs)
	})
}

func TestScenario02_TwoNodesAtOneInstant(t *testing.T) {
	seeds(t, 10, Config{}, func(t *testing.T, cfg Config) {
		w := world(t, cfg, 2)
		w.StartAll()
		took := agreed(t, w, time.Minute)
		require.LessOrEqual(t, took, 2600*time.Millisecond)
		require.True(t, w.At(2).Leads(), "the higher key")
		require.EqualValues(t, 1, w.At(2).ID())
		require.EqualValues(t, 2, w.At(1).ID())
	})
}

func TestScenario03_TenNodesAtOneInstantWithLoss(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		cfg.Weather = Lossy(0.3)
		seeds(t, 20, cfg, func(t *testing.T, cfg Config) {
			w := world(t, cfg, 10)
			w.StartAll()
			agreed(t, w, time.Minute)
			ids := map[uint32]bool{}
			for _, p := range w.Alive() {
				ids[p.ID()] = true
			}
			require.Len(t, ids, 10)
		})
	})
}

func TestScenario04_HighestKeyCrashesDuringItsJoinWindow(t *testing.T) {
	seeds(t, 10, Config{}, func(t *testing.T, cfg Config) {
		w := world(t, cfg, 10)
		w.StartAll()
		w.Run(1500 * time.Millisecond)
		w.Kill(10)
		took := agreed(t, w, time.Minute)
		require.LessOrEqual(t, took, time.Duration(classic.JoinMaxTry)*(classic.JoinWin+500*time.Millisecond)+classic.JoinWin)
		require.Len(t, w.leaders(), 1)
	})
}

func TestScenario05_WelcomeLost(t *testing.T) {
	w := group(t, Config{}, 4, 1)
	lost := 0
	w.Filter = func(pkt *Packet, from, to *Process) Fate {
		drop := to.Host() == 5 && !pkt.Group && from.Host() == 1 && lost < 3
		if drop {
			lost++
		}
		return Fate{Drop: drop}
	}
	before := w.At(1).View()
	w.Start(5)
	_, ok := w.Await(time.Second, func() bool { return len(w.At(1).View().Members) == 5 })
	require.True(t, ok)
	admitted := w.At(1).View()
	require.Equal(t, before.ID.Seq+1, admitted.ID.Seq)
	agreed(t, w, 2*classic.H)
	require.Equal(t, 3, lost)
	require.EqualValues(t, 5, w.At(5).ID())
	w.Run(time.Minute)
	require.Equal(t, admitted.ID, w.At(1).View().ID, "no view for a repeated JOIN")
}

func TestScenario06_LateJoinOfAnOlderIncarnation(t *testing.T) {
	w := group(t, Config{}, 3, 1)
	var join *Packet
	w.Filter = func(pkt *Packet, from, to *Process) Fate {
		if _, ok := pkt.Body.(membership.Join); ok && join == nil {
			join = pkt
		}
		return Fate{}
	}
	w.Start(4)
	agreed(t, w, 5*time.Second)
	w.Leave(4)
	agreed(t, w, time.Second)
	w.Run(time.Second)
	w.Start(4)
	agreed(t, w, 5*time.Second)
	before := w.At(1).View()
	require.Greater(t, w.At(4).Inc(), join.Header.Inc)
	w.Filter = nil
	for range 2 {
		for i := 1; i <= 3; i++ {
			w.Deliver(i, join)
		}
		w.Run(time.Second)
	}
	w.Run(time.Minute)
	require.NoError(t, w.Agreed())
	require.Equal(t, before, w.At(1).View())
}

func TestScenario07_OnlyTheCoordinatorAnswersJoin(t *testing.T) {
	w := group(t, Config{}, 10, 1)
	answers := 0
	w.Filter = func(pkt *Packet, from, to *Process) Fate {
		if to.Host() == 11 && from.Host() != 1 {
			answers++
		}
		return Fate{}
	}
	w.Cut(11, 1)
	w.Cut(1, 11)
	w.Start(11)
	w.Run(1900 * time.Millisecond)
	require.Positive(t, w.Count.Sent["Join"])
	require.Zero(t, answers)
}

func TestScenario08_JoinDuringAnElection(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		seeds(t, 5, cfg, func(t *testing.T, cfg Config) {
			w := group(t, cfg, 8, 1)
			w.Kill(1)
			w.Run(classic.TElect - 1500*time.Millisecond)
			w.Start(9)
			_, ok := w.Await(3*time.Second, func() bool { return len(w.leaders()) > 0 })
			require.True(t, ok)
			require.Empty(t, w.At(9).View().Members, "nobody answered before")
			require.LessOrEqual(t, agreed(t, w, time.Minute), 4*classic.RTO)
			require.Equal(t, []int{8}, w.leaders())
		})
	})
}

func TestScenario09_CoordinatorKilled(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		seeds(t, 10, cfg, func(t *testing.T, cfg Config) {
			w := group(t, cfg, 16, 0)
			beat := w.At(2).watch.beat
			w.Kill(1)
			_, ok := w.Await(time.Minute, func() bool { return len(w.leaders()) > 0 })
			require.True(t, ok)
			silence := time.Duration(w.now - beat)
			if cfg.Elector(election.Config{}).Name() == "bully" {
				require.InDelta(t, 2*classic.H.Seconds(), silence.Seconds(), 0.02*2*classic.H.Seconds())
				require.LessOrEqual(t, agreed(t, w, time.Second), 10*time.Millisecond)
				require.Equal(t, []int{16}, w.leaders())
			} else {
				require.LessOrEqual(t, silence, 2*classic.H+16*12*time.Millisecond+classic.H/10)
				agreed(t, w, time.Second)
			}
			require.Equal(t, 1, w.Count.Elected)
		})
	})
	t.Run("evidence", func(t *testing.T) {
		electors(t, func(t *testing.T, cfg Config) {
			cfg.Evidence = true
			seeds(t, 10, cfg, func(t *testing.T, cfg Config) {
				w := group(t, cfg, 16, 0)
				w.Kill(1)
				took := agreed(t, w, time.Minute)
				if cfg.Elector(election.Config{}).Name() == "bully" {
					require.LessOrEqual(t, took, 50*time.Millisecond)
				} else {
					require.LessOrEqual(t, took, 16*12*time.Millisecond)
				}
			})
		})
	})
}

func TestScenario10_CoordinatorAndTwoHighestCrash(t *testing.T) {
	seeds(t, 10, Config{Elector: election.NewBully}, func(t *testing.T, cfg Config) {
		w := group(t, cfg, 16, 0)
		beat := w.At(2).watch.beat
		w.Kill(1)
		w.Kill(15)
		w.Kill(16)
		_, ok := w.Await(time.Minute, func() bool { return len(w.leaders()) > 0 })
		require.True(t, ok)
		require.Equal(t, []int{14}, w.leaders())
		silence := time.Duration(w.now - beat).Seconds()
		require.Greater(t, silence, 10.1, "the next has waited for its betters")
		require.Less(t, silence, 11.2)
		agreed(t, w, time.Minute)
		require.Equal(t, 1, w.Count.Elected)
	})
	seeds(t, 10, Config{Elector: election.NewRing}, func(t *testing.T, cfg Config) {
		w := group(t, cfg, 16, 0)
		w.Kill(1)
		w.Kill(15)
		w.Kill(16)
		require.LessOrEqual(t, agreed(t, w, time.Minute), 40*time.Second)
	})
}

func TestScenario11_TheWinnerDiesAtOnceTwice(t *testing.T) {
	for _, loss := range []float64{0, 0.2} {
		t.Run(fmt.Sprint("loss ", loss), func(t *testing.T) {
			electors(t, func(t *testing.T, cfg Config) {
				cfg.Weather = Lossy(loss)
				seeds(t, 10, cfg, func(t *testing.T, cfg Config) {
					w := group(t, cfg, 8, 0)
					died := 0
					w.Observe = func(p *Process, in membership.Installed) {
						if in.Cause == membership.CauseElected && p.Leads() && died < 2 {
							died++
							w.Kill(p.Host()) // before it has told anybody
						}
					}
					w.Kill(1)
					took := agreed(t, w, 2*time.Minute)
					require.Equal(t, 2, died)
					if cfg.Elector(election.Config{}).Name() == "bully" {
						require.Less(t, took, 38*time.Second)
					}
				})
			})
		})
	}
}

func TestScenario12_HeartbeatsLost(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		cfg.Weather = Lossy(0.2)
		w := group(t, cfg, 8, 0)
		w.Run(time.Hour)
		require.Positive(t, w.Count.Sent["Suspect"])
		require.Zero(t, w.Count.Changes)
		require.Zero(t, w.Count.Elected)
		require.NoError(t, w.Agreed())
	})
}

func TestScenario13_CoordinatorToMemberCut(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		w := group(t, cfg, 8, 1)
		w.Cut(1, 5)
		w.Run(5 * time.Minute)
		require.Zero(t, w.Count.Elected)
		require.Zero(t, w.Count.Evicted)
		require.Zero(t, w.Count.Installs)
		w.Start(9)
		agreed(t, w, 4*classic.H) // 5 gets the view from others
	})
}

func TestScenario14_MemberToCoordinatorCut(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		w := group(t, cfg, 8, 0)
		w.Cut(5, 1)
		w.Run(5 * time.Minute)
		require.Zero(t, w.Count.Elected)
		require.Zero(t, w.Count.Evicted)
		require.Zero(t, w.Count.Installs)
	})
}

func TestScenario15_MulticastDeadForOne(t *testing.T) {
	for _, evidence := range []bool{false, true} {
		w := group(t, Config{Evidence: evidence}, 8, 1)
		w.Host(5).Deaf = true
		w.Host(5).Mute = true
		w.Run(5 * time.Minute)
		require.Zero(t, w.Count.Elected)
		require.Zero(t, w.Count.Evicted)
		require.Zero(t, w.Count.Installs)
		suspects := w.Count.Sent["Suspect"]
		w.Run(time.Minute)
		require.Equal(t, suspects, w.Count.Sent["Suspect"], "it is fed by unicast")
		w.Start(9)
		agreed(t, w, 2*classic.H)
	}
}

func TestScenario16_CoordinatorSuspended(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		// Without one member the class of four, eight and sixteen is a lower one.
		for _, n := range []int{4, 8, 13, 16} {
			seeds(t, 10, cfg, func(t *testing.T, cfg Config) {
				w := group(t, cfg, n, 0)
				w.Suspend(1, 40*time.Second)
				w.Run(39 * time.Second)
				require.NoError(t, w.AgreedOf(hosts(2, n)...))
				require.Equal(t, n-1, w.Count.Changes)
				leader := w.At(2).Leader()
				w.Run(2 * time.Second)
				agreed(t, w, classic.H)
				w.Run(time.Minute)
				require.NoError(t, w.Agreed())
				require.Equal(t, []int{leader}, w.leaders())
				require.Equal(t, n, w.Count.Changes, "one each")
			})
		}
	})
}

func TestScenario17_TopFollowerSuspended(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		for _, n := range []int{4, 16} {
			for _, d := range []time.Duration{12 * time.Second, 40 * time.Second} {
				seeds(t, 10, cfg, func(t *testing.T, cfg Config) {
					w := group(t, cfg, n, 0)
					w.Run(w.timing.H * time.Duration(cfg.Seed) / 10)
					w.Suspend(n, d)
					w.Run(d + time.Minute)
					require.NoError(t, w.Agreed())
					require.Zero(t, w.Count.Elected)
					require.Equal(t, []int{1}, w.leaders())
				})
			}
		}
	})
}

func TestScenario18_CoordinatorRestarts(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		for name, start := range map[string]func(*World, int) *Process{"same endpoint": (*World).StartHere, "new endpoint": (*World).Start} {
			t.Run(name, func(t *testing.T) {
				w := group(t, cfg, 8, 0)
				w.Kill(1)
				w.Run(1500 * time.Millisecond)
				start(w, 1)
				require.Less(t, agreed(t, w, time.Minute), 3*time.Second, "no silence is waited for")
				require.EqualValues(t, 1, w.At(1).ID(), "it keeps its ID")
				require.Equal(t, 1, w.Count.Elected)
				require.NotContains(t, w.leaders(), 1)
			})
		}
	})
}

func TestScenario19_MemberRestarts(t *testing.T) {
	for name, start := range map[string]func(*World, int) *Process{"same endpoint": (*World).StartHere, "new endpoint": (*World).Start} {
		t.Run(name, func(t *testing.T) {
			w := group(t, Config{}, 8, 0)
			var seen []membership.Installed
			w.Observe = func(p *Process, in membership.Installed) {
				if p.Host() == 3 {
					seen = append(seen, in)
				}
			}
			w.Kill(5)
			w.Run(1500 * time.Millisecond)
			start(w, 5)
			agreed(t, w, time.Second)
			w.Run(time.Minute)
			require.NoError(t, w.Agreed())
			require.EqualValues(t, 5, w.At(5).ID())
			require.Len(t, seen, 1)
			require.Empty(t, seen[0].Left)
			require.Len(t, seen[0].Joined, 1)
			require.Equal(t, w.At(5).Inc(), seen[0].Joined[0].Inc)
		})
	}
}

func TestScenario20_TwoProcessesWithOneKey(t *testing.T) {
	w := group(t, Config{}, 4, 0)
	old := w.At(3)
	twin := w.Twin(3, old.Inc()+1_000_000)
	w.Run(2 * classic.H)
	require.False(t, old.Running())
	require.ErrorIs(t, old.Err(), membership.ErrDuplicateIdentity)
	require.True(t, twin.Running())
	w.Run(time.Minute)
	require.NoError(t, w.Agreed())
	require.Len(t, w.At(1).View().Members, 4)
	require.True(t, w.At(1).View().Lists(twin.host.Key, twin.Inc()))
}

func TestScenario21_SplitInHalves(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		seeds(t, 5, cfg, func(t *testing.T, cfg Config) {
			w := group(t, cfg, 16, 4)
			w.Split(append(hosts(1, 8), 17, 18), append(hosts(9, 16), 19, 20))
			w.Run(40 * time.Second)
			for i := 17; i <= 20; i++ {
				w.Start(i)
			}
			w.Run(20 * time.Second)
			require.NoError(t, w.AgreedOf(append(hosts(1, 8), 17, 18)...))
			require.NoError(t, w.AgreedOf(append(hosts(9, 16), 19, 20)...))
			require.Len(t, w.leaders(), 2)
			require.Equal(t, w.At(17).ID()+w.At(18).ID(), w.At(19).ID()+w.At(20).ID(), "both sides assigned the same IDs")
			joins := w.Count.Sent["Join"]
			w.Heal()
			require.LessOrEqual(t, agreed(t, w, time.Minute), classic.H+time.Second)
			require.Equal(t, joins, w.Count.Sent["Join"], "nobody joins again")
			for i := 1; i <= 16; i++ {
				require.EqualValues(t, i, w.At(i).ID())
			}
			w.Run(time.Minute)
			require.NoError(t, w.Agreed())
		})
	})
}

func TestScenario22_SplitIntoEight(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		cfg.Weather = Lossy(0.2)
		seeds(t, 5, cfg, func(t *testing.T, cfg Config) {
			w := group(t, cfg, 16, 0)
			var sides [][]int
			for i := 1; i <= 16; i += 2 {
				sides = append(sides, hosts(i, i+1))
			}
			w.Split(sides...)
			w.Run(90 * time.Second)
			require.Len(t, w.leaders(), 8)
			w.Heal()
			require.Less(t, agreed(t, w, time.Minute), 25*time.Second)
			require.Len(t, w.leaders(), 1)
		})
	})
}

func TestScenario23_CoordinatorAlone(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		w := group(t, cfg, 8, 0)
		w.Split([]int{1})
		w.Run(time.Minute)
		require.NoError(t, w.AgreedOf(hosts(2, 8)...))
		leader, changes := w.At(2).Leader(), w.Count.Changes
		require.Equal(t, 7, changes)
		w.Heal()
		agreed(t, w, 2*classic.H)
		w.Run(time.Minute)
		require.Equal(t, []int{leader}, w.leaders())
		require.Equal(t, changes+1, w.Count.Changes)
	})
}

func TestScenario24_AMemberFlaps(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		w := group(t, cfg, 8, 0)
		for range 45 {
			w.Split([]int{8})
			w.Run(40 * time.Second)
			w.Heal()
			w.Run(40 * time.Second)
			for i := 1; i <= 7; i++ {
				require.Equal(t, 1, w.At(i).Leader())
			}
		}
		w.Run(2 * time.Minute)
		require.NoError(t, w.Agreed())
		require.Equal(t, []int{1}, w.leaders())
	})
}

func TestScenario25_BothSidesShrinkAsTheyMerge(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		seeds(t, 10, cfg, func(t *testing.T, cfg Config) {
			w := group(t, cfg, 16, 0)
			w.Split(hosts(1, 8), hosts(9, 16))
			w.Run(time.Minute)
			require.Len(t, w.leaders(), 2)
			// Both lose five of eight, and so a class, at about the moment at
			// which they meet.
			for _, i := range []int{2, 3, 4, 5, 6, 10, 11, 12, 13, 14} {
				w.Kill(i)
			}
			w.Run(classic.TMember + time.Duration(cfg.Seed)*classic.W/4)
			w.Heal()
			agreed(t, w, time.Minute)
			w.Run(time.Minute)
			require.NoError(t, w.Agreed())
			require.Len(t, w.leaders(), 1)
		})
	})
}

func TestScenario26_TheWinnerOfAMergeCrashes(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		w := group(t, cfg, 16, 0)
		w.Split(hosts(1, 4), hosts(5, 8), hosts(9, 16))
		w.Run(time.Minute)
		require.Len(t, w.leaders(), 3)
		crashed := 0
		w.Filter = func(pkt *Packet, from, to *Process) Fate {
			if _, ok := pkt.Body.(membership.MergeAck); ok && crashed == 0 {
				crashed = from.Host()
				w.After(classic.MergeGap/4, func() { w.Kill(crashed) })
			}
			return Fate{}
		}
		w.Heal()
		w.Run(classic.H)
		require.NotZero(t, crashed)
		agreed(t, w, time.Minute)
		require.Len(t, w.At(w.leaders()[0]).View().Members, 15)
	})
}

func TestScenario27_ADeltaIsLost(t *testing.T) {
	w := group(t, Config{}, 8, 1)
	w.Filter = func(pkt *Packet, from, to *Process) Fate {
		_, ok := pkt.Body.(membership.ViewChange)
		return Fate{Drop: ok && pkt.Group && to.Host() >= 3 && to.Host() <= 5}
	}
	w.Start(9)
	agreed(t, w, classic.H+classic.RTO)
}

func TestScenario27_ADeltaIsLostAndTheFirstRequest(t *testing.T) {
	w := group(t, Config{}, 8, 1)
	asked := map[int]int{}
	w.Filter = func(pkt *Packet, from, to *Process) Fate {
		switch pkt.Body.(type) {
		case membership.ViewChange:
			return Fate{Drop: asked[to.Host()] < 3 && to.Host() >= 3 && to.Host() <= 5}
		case membership.ViewReq:
			asked[from.Host()]++
			return Fate{Drop: asked[from.Host()] < 3}
		}
		return Fate{}
	}
	w.Start(9)
	agreed(t, w, classic.H+5*classic.RTO)
	require.Len(t, asked, 3)
}

func TestScenario28_RingTokenHolderCrashes(t *testing.T) {
	seeds(t, 10, Config{Elector: election.NewRing}, func(t *testing.T, cfg Config) {
		w := group(t, cfg, 8, 0)
		crashed := 0
		var token *Packet
		w.Filter = func(pkt *Packet, from, to *Process) Fate {
			if pkt.Election == nil {
				return Fate{}
			}
			switch pkt.Election.Kind {
			case election.KindToken:
				if token == nil {
					token = pkt
				}
			case election.KindTokenAck:
				if crashed == 0 {
					crashed = from.Host()
					w.Kill(crashed) // the acknowledgement leaves, the token does not
				}
			}
			return Fate{}
		}
		w.Kill(1)
		agreed(t, w, 30*time.Second)
		require.NotZero(t, crashed)
		require.Equal(t, 1, w.Count.Elected)
		require.NotNil(t, token)
		before := w.At(w.leaders()[0]).View()
		for _, p := range w.Alive() {
			w.Deliver(p.Host(), token) // late
		}
		w.Run(time.Minute)
		require.NoError(t, w.Agreed())
		require.Equal(t, before.ID, w.Alive()[0].View().ID)
	})
}

func TestScenario29_RingOverAPartition(t *testing.T) {
	seeds(t, 5, Config{Elector: election.NewRing}, func(t *testing.T, cfg Config) {
		w := group(t, cfg, 16, 0)
		var token *Packet
		probes := 0
		w.Filter = func(pkt *Packet, from, to *Process) Fate {
			if pkt.Election != nil && pkt.Election.Kind == election.KindToken {
				token = pkt
			}
			return Fate{}
		}
		w.Split(hosts(1, 8), hosts(9, 16))
		_, ok := w.Await(time.Minute, func() bool { return w.AgreedOf(hosts(9, 16)...) == nil })
		require.True(t, ok)
		probes = w.Count.Sent["RING_PROBE"]
		require.Positive(t, probes)
		require.LessOrEqual(t, probes, 2*7*8, "two a dead member, for each that starts")
		require.NotNil(t, token)
		w.Run(time.Minute)

		// Once they are one group again, the token comes once more.
		refused := 0
		w.Heal()
		agreed(t, w, time.Minute)
		v := w.At(2).View()
		w.Filter = func(pkt *Packet, from, to *Process) Fate {
			if pkt.Election != nil && pkt.Election.Kind == election.KindTokenAck && pkt.Election.Refuse {
				refused++
			}
			return Fate{}
		}
		w.Deliver(2, token)
		w.Run(time.Minute)
		require.Equal(t, 1, refused)
		require.NoError(t, w.Agreed())
		require.Equal(t, v.ID, w.At(2).View().ID)
	})
}

func TestScenario30_HandoverLost(t *testing.T) {
	electors(t, func(t *testing.T, cfg Config) {
		lose := func(w *World, which func(i int) bool) (tried *[]int) {
			tried = new([]int)
			w.Filter = func(pkt *Packet, from, to *Process) Fate {
				if _, ok := pkt.Body.(membership.Handover); !ok {
					return Fate{}
				}
				if !slices.Contains(*tried, to.Host()) {
					*tried = append(*tried, to.Host())
				}
				return Fate{Drop: which(to.Host())}
			}
			return tried
		}
		t.Run("to the highest", func(t *testing.T) {
			w := group(t, cfg, 8, 0)
			tried := lose(w, func(i int) bool { return i == 8 })
			w.Leave(1)
			_, ok := w.Await(time.Minute, w.At(1).Left)
			require.True(t, ok)
			agreed(t, w, 5*time.Second)
			require.Equal(t, []int{8, 7}, *tried)
			require.Equal(t, []int{7}, w.leaders())
			require.Zero(t, w.Count.Elected)
		})
		t.Run("to all", func(t *testing.T) {
			w := group(t, cfg, 8, 0)
			lose(w, func(int) bool { return true })
			w.Leave(1)
			took, ok := w.Await(time.Minute, w.At(1).Left)
			require.True(t, ok)
			require.Less(t, took, 5*time.Second)
			require.Less(t, agreed(t, w, time.Minute), 2*time.Second, "BYE is proof")
			require.Equal(t, 1, w.Count.Elected)
		})
		t.Run("none", func(t *testing.T) {
			w := group(t, cfg, 8, 0)
			w.Leave(1)
			took, ok := w.Await(time.Minute, func() bool { return w.AgreedOf(hosts(2, 8)...) == nil })
			require.True(t, ok)
			require.LessOrEqual(t, took, 12*time.Millisecond)
			w.Run(time.Second)
			require.Equal(t, []int{8}, w.leaders())
			require.True(t, w.At(1).Left())
		})
	})
}
