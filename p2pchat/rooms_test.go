package p2pchat_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// slowRooms is what Rooms says, by reading the whole history.
func slowRooms(n *p2pchat.Node) (rooms []string) {
	seen := map[string]bool{}
	for m := range n.History("").All() {
		if !m.Dropped && !seen[m.Room] {
			seen[m.Room] = true
			rooms = append(rooms, m.Room)
		}
	}
	return rooms
}

// Two halves talk in rooms of their own and in the same ones, again and again.
func TestRoomsAreThoseOfTheHistory(t *testing.T) {
	for seed := range uint64(5) {
		in(t, memnet.Config{Seed: seed, Delay: time.Millisecond}, func(w *world) {
			rng := rand.New(rand.NewPCG(seed, 1))
			w.join(4)
			sent := 0
			for round := range 4 {
				w.wait(w.nodes, holds(4, sent))
				w.net.Partition(w.addrs(1, 2), w.addrs(3, 4))
				for range 30 {
					i := rng.IntN(4)
					_, err := w.nodes[i].Send(w.ctx, fmt.Sprintf("room %d", rng.IntN(2+4*round)+i/2), []byte("x"))
					require.NoError(t, err)
					sent++
					if rng.IntN(10) == 0 {
						<-time.After(time.Millisecond)
						synctest.Wait() // what comes at that instant comes before both
						require.Equal(t, slowRooms(w.nodes[i]), w.nodes[i].Rooms(), "seed %d", seed)
					}
				}
				w.net.Heal()
				w.wait(w.nodes, holds(4, sent))
				for _, n := range w.nodes {
					require.Equal(t, slowRooms(n), n.Rooms(), "seed %d", seed)
				}
			}
		})
	}
}

// A room that nothing is left of is no room.
func TestRoomsForgetWhatIsDropped(t *testing.T) {
	in(t, memnet.Config{Seed: 1}, func(w *world) {
		w.join(1, p2pchat.WithRetention(time.Hour, 0))
		n := w.nodes[0]
		say := func(room string) {
			_, err := n.Send(w.ctx, room, []byte("x"))
			require.NoError(t, err)
		}
		say("old")
		say("lobby")
		require.Equal(t, []string{"old", "lobby"}, n.Rooms())
		<-time.After(59 * time.Minute)
		say("lobby")
		<-time.After(2 * time.Minute)
		say("new")
		require.Equal(t, slowRooms(n), n.Rooms())
		require.Equal(t, []string{"lobby", "new"}, n.Rooms())
	})
}
