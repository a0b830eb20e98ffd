package election_test

import (
	"testing"
	"time"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/election/electiontest"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// drawMembers draws how many members there are and which of them are alive; one
// is at least.
func drawMembers(t *rapid.T) (n int, alive []bool) {
	n = rapid.IntRange(1, 40).Draw(t, "members")
	alive = rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "alive")
	alive[rapid.IntRange(0, n-1).Draw(t, "alive anyway")] = true
	return n, alive
}

// highest is the model of both algorithms: who wins if no packet is lost.
func highest(alive []bool) int {
	id := 0
	for i, a := range alive {
		if a {
			id = i + 1
		}
	}
	return id
}

// TestHighestWinsOnce: without loss there is one winner, the highest candidate
// that is alive, whoever notices first and whoever is dead.
func TestHighestWinsOnce(t *testing.T) {
	for name, create := range algorithms {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			members, alive := drawMembers(t)
			n := electiontest.NewNetwork(electiontest.Config{
				New: create, Members: members, Seed: rapid.Uint64().Draw(t, "seed"),
				MinDelay: time.Millisecond, MaxDelay: 6 * time.Millisecond,
				Duplicate: rapid.SampledFrom([]float64{0, 0.2}).Draw(t, "duplicate"),
			})
			for i, a := range alive {
				if !a {
					n.Crash(i + 1)
				}
			}
			if rapid.Bool().Draw(t, "one notices") {
				first := rapid.IntRange(1, members).Filter(func(id int) bool { return alive[id-1] }).Draw(t, "first")
				n.Verify(first)
				n.Run(time.Millisecond)
			}
			n.VerifyAll(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "within")))
			leader := n.Settle(time.Minute)
			require.Empty(t, n.Faults)
			require.Equal(t, highest(alive), leader)
			require.Len(t, n.Wins, 1)
			require.Equal(t, leader, n.Wins[0].Member)
		}))
	}
}

// TestSomebodyWins: whatever is lost and whoever dies, all who are left follow
// one of them in the end.
func TestSomebodyWins(t *testing.T) {
	for name, create := range algorithms {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			members := rapid.IntRange(2, 20).Draw(t, "members")
			n := electiontest.NewNetwork(electiontest.Config{
				New: create, Members: members, Seed: rapid.Uint64().Draw(t, "seed"),
				MinDelay: time.Millisecond, MaxDelay: time.Duration(rapid.IntRange(1, 300).Draw(t, "delay")) * time.Millisecond,
				Duplicate: rapid.Float64Range(0, 0.3).Draw(t, "duplicate"),
				Loss:      rapid.Float64Range(0, 0.4).Draw(t, "loss"),
			})
			n.VerifyAll(time.Second)
			survivor := rapid.IntRange(1, members).Draw(t, "survivor")
			for range rapid.IntRange(0, members).Draw(t, "events") {
				n.Run(time.Duration(rapid.IntRange(0, 1500).Draw(t, "pause")) * time.Millisecond)
				a := rapid.IntRange(1, members).Draw(t, "a")
				b := rapid.IntRange(1, members).Draw(t, "b")
				switch rapid.SampledFrom([]string{"crash", "cut", "notice"}).Draw(t, "event") {
				case "crash":
					if a != survivor {
						n.Crash(a)
					}
				case "cut":
					n.Cut(a, b, true)
				case "notice":
					n.Verify(a)
				}
			}
			for a := 1; a <= members; a++ {
				for b := 1; b <= members; b++ {
					n.Cut(a, b, false)
				}
			}
			leader := n.Settle(10 * time.Minute)
			require.Empty(t, n.Faults)
			require.NotZero(t, leader)
		}))
	}
}

// TestNobodyDeposesAHealthyCoordinator: if all others hear the coordinator, who
// is wrong about it does not win. The highest candidate of Bully is an exception
// by design: it must be sure before it begins.
func TestNobodyDeposesAHealthyCoordinator(t *testing.T) {
	for name, create := range algorithms {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			members := rapid.IntRange(2, 20).Draw(t, "members")
			n := electiontest.NewNetwork(electiontest.Config{New: create, Members: members, Seed: rapid.Uint64().Draw(t, "seed")})
			for id := 1; id <= members; id++ {
				n.Hears(id, true)
			}
			highest := members
			if name == "bully" {
				highest--
			}
			n.Verify(rapid.IntRange(1, highest).Draw(t, "wrong"))
			n.Run(time.Minute)
			require.Empty(t, n.Wins)
			require.Empty(t, n.Faults)
		}))
	}
}

// TestMessages requires the figures of the package documentation: how many
// messages an election takes when nothing is lost.
func TestMessages(t *testing.T) {
	for _, c := range []struct {
		algorithm string
		members   int     // with the coordinator that is gone
		median    float64 // at most, without announcements
	}{
		{"bully", 4, 1}, {"bully", 16, 3}, {"bully", 64, 3}, {"bully", 256, 6}, {"bully", 1000, 11},
		{"ring", 16, 2.6 * 16}, {"ring", 64, 2.2 * 64}, {"ring", 256, 2.1 * 256}, {"ring", 1000, 2.1 * 1000},
	} {
		if testing.Short() && c.members > 64 {
			continue
		}
		var counts []int
		runs := 11
		if c.members > 64 {
			runs = 3
		}
		for seed := range uint64(runs) {
			n := electiontest.NewNetwork(electiontest.Config{
				New: algorithms[c.algorithm], Members: c.members - 1, Seed: seed,
				MinDelay: time.Millisecond, MaxDelay: 3 * time.Millisecond,
			})
			n.VerifyAll(500 * time.Millisecond)
			require.Equal(t, c.members-1, n.Settle(time.Minute), "seed %d", seed)
			require.Len(t, n.Wins, 1)
			counts = append(counts, n.Messages()-1)
		}
		median := middle(counts)
		t.Logf("%s, %d members: median %d, %.2f each, of %v", c.algorithm, c.members, median, float64(median)/float64(c.members), counts)
		require.LessOrEqual(t, float64(median), c.median, "%s, %d members: %v", c.algorithm, c.members, counts)
	}
}

// TestAllAtOnce bounds what a farewell costs, at which all begin in the same
// instant: a few messages a member, never one for each pair.
func TestAllAtOnce(t *testing.T) {
	for name, create := range algorithms {
		for _, members := range []int{4, 64, 256} {
			n := electiontest.NewNetwork(electiontest.Config{New: create, Members: members, Seed: 1})
			for id := 1; id <= members; id++ {
				n.Verify(id)
			}
			require.Equal(t, members, n.Settle(time.Minute))
			require.LessOrEqual(t, n.Messages(), 5*members, "%s: %v", name, n)
		}
	}
}

// TestLossyRingEnds: a lap that takes longer than any fixed time still ends. New
// attempts must not undo what earlier ones achieved.
func TestLossyRingEnds(t *testing.T) {
	n := electiontest.NewNetwork(electiontest.Config{
		New: election.NewRing, Members: 255, Seed: 3, Loss: 0.3, MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond,
	})
	n.VerifyAll(500 * time.Millisecond)
	require.NotZero(t, n.Settle(2*time.Minute), n.String())
}
