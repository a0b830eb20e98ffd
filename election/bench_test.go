package election_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/election/electiontest"
)

func middle(counts []int) int {
	counts = slices.Sorted(slices.Values(counts))
	return counts[len(counts)/2]
}

// BenchmarkElection runs whole elections on the network in virtual time. All
// members notice within 500 ms.
func BenchmarkElection(b *testing.B) {
	for _, algorithm := range []string{"bully", "ring"} {
		for _, members := range []int{4, 16, 64, 256, 1000} {
			b.Run(fmt.Sprintf("%s/%d", algorithm, members), func(b *testing.B) {
				b.ReportAllocs()
				var counts []int
				var virtual time.Duration
				for b.Loop() {
					n := electiontest.NewNetwork(electiontest.Config{
						New: algorithms[algorithm], Members: members - 1, Seed: uint64(len(counts)),
						MinDelay: time.Millisecond, MaxDelay: 3 * time.Millisecond,
					})
					n.VerifyAll(500 * time.Millisecond)
					if n.Settle(time.Minute) == 0 {
						b.Fatal("no agreement")
					}
					counts = append(counts, n.Messages()-len(n.Wins))
					virtual += n.Now()
				}
				b.ReportMetric(float64(middle(counts)), "messages")
				b.ReportMetric(float64(virtual.Milliseconds())/float64(len(counts)), "virtual-ms")
			})
		}
	}
}

// BenchmarkStep measures one message at a member of a large group, in the
// middle of an election.
func BenchmarkStep(b *testing.B) {
	const members = 1000
	r := election.Round{Base: election.Base{Ctr: 1}, Self: electiontest.Key(members / 2), Invited: true}
	for id := members; id > 0; id-- {
		r.Candidates = append(r.Candidates, election.Candidate{Key: electiontest.Key(id), Inc: 1})
	}
	now := time.Unix(0, 0)
	message := election.Message{From: electiontest.Key(members/2 - 1), Inc: 1, Base: r.Base, Cand: electiontest.Key(members), CandInc: 1}
	for name, kind := range map[string]election.Kind{"bully": election.KindElection, "ring": election.KindToken} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			e := algorithms[name](election.Config{})
			e.Begin(now, r)
			m := message
			m.Kind = kind
			for b.Loop() {
				m.Attempt++
				e.Step(now, m, false)
				e.Ready()
			}
		})
	}
}
