package p2pchat_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// A member fills its streams with blocks whose signatures are wrong. It costs
// the others a bounded number of looks a second, and nobody has to wait for it:
// what is said comes at once, by everybody, and it remains a member.
func TestAFloodOfForgedBlocksDelaysNobody(t *testing.T) {
	in(t, memnet.Config{Seed: 1, Delay: time.Millisecond}, func(w *world) {
		w.join(2)
		honest := w.nodes[:2]
		evil := lab.NewForger(w.net.Host(), "said by eve")
		eve := w.add(p2pchat.WithName("eve"), p2pchat.WithTransport(evil))
		held := warnings(w, honest[0], p2pchat.WarnHeld)
		require.NoError(t, eve.Join(w.ctx))
		w.send(eve, strings.Repeat("said by eve ", 50))
		w.wait(w.nodes, holds(3, 1))

		const seconds = 20
		sent := 0
		for i := range seconds {
			for range 20 {
				sent += evil.Flood()
				<-time.After(50 * time.Millisecond)
			}
			began := time.Now()
			w.send(honest[i%2], "an honest word")
			w.wait(honest, func(s p2pchat.Status) bool { return s.Digest.N == uint64(i+2) })
			require.Less(t, time.Since(began), 10*time.Millisecond)
		}
		for _, n := range honest {
			refused := n.Status().Drops["signature"]
			t.Logf("%d forgeries were sent, and %d looked at", sent, refused)
			require.LessOrEqual(t, refused, uint64(100*(seconds+1)))
			require.Greater(t, refused, uint64(50*seconds), "what waits is looked at later")
			require.Greater(t, uint64(sent), 2*refused)
			require.Len(t, n.View().Members, 3)
		}
		got := held()
		require.Len(t, got, 1, "once a minute")
		require.Equal(t, "eve#3 sends what is refused, and is slowed down", got[0].Text)

		// What it has sent is looked at in the end, and then it is heard again.
		w.send(eve, "and now something true")
		w.wait(w.nodes, holds(3, seconds+2))
	})
}
