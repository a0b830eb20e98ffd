package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/election/electiontest"
)

func TestConforms(t *testing.T) { electiontest.Run(t, newRendezvous) }

func TestFiveTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		require.NoError(t, run(context.Background(), &out))
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		require.Len(t, lines, 5)
		require.True(t, strings.HasPrefix(lines[0], "coordinator #1 died, #"), lines[0])
		for i, line := range lines {
			require.Contains(t, line, " of "+string(rune('5'-i))+" took over")
		}
	})
}

// Over many elections each candidate wins about as often as any other, and
// not by its rank.
func TestTheOfficeIsSpread(t *testing.T) {
	const rounds = 1200
	wins := make(map[election.Key]int)
	now := time.Unix(0, 0)
	for i := range uint64(rounds) {
		r := election.Round{Base: election.Base{Ctr: i + 1}}
		for k := byte(4); k > 0; k-- {
			r.Candidates = append(r.Candidates, election.Candidate{Key: election.Key{k}, Inc: 1})
		}
		given := slices.Clone(r.Candidates)
		var winners []election.Key
		for _, c := range given {
			r.Self = c.Key
			e := newRendezvous(election.Config{})
			e.Begin(now, r)
			if e.Ready().Won { // the first in rank need ask nobody
				winners = append(winners, c.Key)
			}
		}
		require.Equal(t, given, r.Candidates, "the caller's candidates were changed")
		require.Len(t, winners, 1, "all members rank alike")
		wins[winners[0]]++
	}
	require.Len(t, wins, 4)
	for k, n := range wins {
		require.InDelta(t, rounds/4, n, 60, "candidate %d", k[0])
	}
}
