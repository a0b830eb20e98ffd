//go:build unix

package main_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
)

// TestKilledWhileWriting kills a process with a data directory again and
// again, each time with many messages under way. What was acknowledged is
// never lost, no message's number is given twice, and the key stays.
func TestKilledWhileWriting(t *testing.T) {
	t.Parallel()
	lanes, rounds := 4, 30
	if testing.Short() {
		rounds = 5
	}
	for lane := range lanes {
		seed := rand.Uint64()
		t.Run(fmt.Sprint("lane ", lane+1), func(t *testing.T) {
			t.Parallel()
			t.Logf("seed %d", seed)
			killAgainAndAgain(t, rand.New(rand.NewPCG(seed, 0)), rounds)
		})
	}
}

func killAgainAndAgain(t *testing.T, random *rand.Rand, rounds int) {
	g := onLoopback(t, "-data", t.TempDir(), "-heartbeat", "50ms", "-timeout", "200ms")
	var key string
	acked := map[string]string{} // texts, by the keys of the messages
	seen := map[string]string{}  // in a history after a restart
	for round := range rounds {
		n := &node{g: g, Process: lab.Start(t, lab.Config{
			Path: lab.Build(t, "github.com/seed-885536be/p2p/examples/chat"),
			Args: append([]string{"-json", "-nick", "ada"}, g.flags...), Name: fmt.Sprint("round ", round+1), Check: checkLine,
		})}
		hello := n.Await(0, "hello", nil)
		require.Contains(t, []string{hello.Node, ""}, key, "the key")
		key = hello.Node

		// The history is there before anybody else could have brought it.
		now := map[string]string{}
		for _, m := range n.history() {
			require.NotContains(t, now, m.M, "twice in the history")
			require.Equal(t, key, m.From.Node)
			now[m.M] = m.Text
		}
		for _, before := range []map[string]string{acked, seen} {
			for m, text := range before {
				require.Equal(t, text, now[m], "round %d: %s", round+1, m)
			}
		}
		seen = now

		n.ready()
		const messages = 12
		texts := map[string]string{}
		for i := range messages {
			text := fmt.Sprintf("round %d message %d", round+1, i+1)
			texts[n.Begin("send", lab.Args{"text": text}).Ref()] = text
		}
		take := func(e lab.Event) bool {
			r := lab.As[lab.Reply](t, e)
			text, ok := texts[r.Ref]
			if !ok {
				return false
			}
			require.True(t, r.OK, "%s", e.Line)
			m := lab.As[struct{ M string }](t, r).M
			if old, ok := now[m]; ok {
				require.Equal(t, text, old, "the number of %s was given before", m)
			}
			delete(texts, r.Ref)
			acked[m] = text
			return true
		}
		left := random.IntN(messages) + 1
		n.Await(0, "reply", func(e lab.Event) bool {
			if take(e) {
				left--
			}
			return left == 0
		})
		n.Kill()
		for _, e := range n.Events() { // what it had still said
			if e.Ev == "reply" {
				take(e)
			}
		}
	}
	require.GreaterOrEqual(t, len(acked), rounds)
}
