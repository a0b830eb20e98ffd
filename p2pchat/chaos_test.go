package p2pchat_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/memnet"
)

var (
	chaosSeed  = flag.Uint64("chaos.seed", 1, "the first seed of TestChaos")
	chaosSeeds = flag.Uint64("chaos.seeds", 0, "how many seeds it takes; 0: those that found something")
)

// foundBy are seeds that found something: streams that broke while they were
// full, and members that were not dialed any more.
var foundBy = []uint64{12, 146}

// Whole nodes, with all ways by which a message travels, on a network that does
// what networks do, in virtual time: in the end all hold the same, and all that
// those who are left have said, once. A single seed is replayed by
//
//	go test ./p2pchat -run Chaos -chaos.seed 17 -chaos.seeds 1 -v
//
// up to the order in which goroutines run that wake up at one instant.
func TestChaos(t *testing.T) {
	seeds := foundBy
	if *chaosSeeds > 0 {
		seeds = nil
		for i := range *chaosSeeds {
			seeds = append(seeds, *chaosSeed+i)
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { chaos(t, seed) })
	}
}

// wild is a world in which things happen by chance.
type wild struct {
	*world
	rng    *rand.Rand
	live   []*wildNode
	pieces uint64
}

type wildNode struct {
	*p2pchat.Node
	host *narrow
	said map[string]p2pchat.MessageID
}

func chaos(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	cfg := memnet.Config{Seed: seed, Delay: time.Millisecond, Jitter: time.Millisecond}
	in(t, cfg, func(w *world) {
		x := &wild{world: w, rng: rng}
		for range 3 + rng.IntN(4) {
			x.start()
		}
		w.wait(w.nodes, func(s p2pchat.Status) bool { return len(s.View.Members) == len(x.live) })
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			x.happen()
			<-time.After(time.Duration(rng.IntN(600)) * time.Millisecond)
		}
		w.net.Heal()
		x.calm()
		x.converge()
		t.Logf("%d nodes, %d messages, %d pieces", len(x.live), x.live[0].Status().Digest.N, x.pieces)
	})
}

// start starts a node, every other one on a host with a slow link.
func (x *wild) start() {
	h := newNarrow(x.net.Host(), 0)
	if x.rng.IntN(2) == 0 {
		h.rate = 3e5 * float64(1+x.rng.IntN(10))
	}
	n := x.add(p2pchat.WithTransport(h), p2pchat.WithMulticast(2*x.rng.IntN(2)))
	x.hosts[len(x.hosts)-1] = h.Host
	x.live = append(x.live, &wildNode{Node: n, host: h, said: map[string]p2pchat.MessageID{}})
	require.NoError(x, n.Join(x.ctx))
}

// stop kills a node, or lets it leave.
func (x *wild) stop() {
	i := x.rng.IntN(len(x.live))
	n := x.live[i]
	x.pieces += n.Stats().Pieces
	if x.rng.IntN(2) == 0 {
		x.net.Kill(n.host.Host)
		require.NoError(x, n.Close())
	} else {
		_ = n.Leave(x.ctx)
	}
	x.live = append(x.live[:i:i], x.live[i+1:]...)
}

func addrsOf(nodes []*wildNode) (a []netip.AddrPort) {
	for _, n := range nodes {
		a = append(a, n.host.Addr())
	}
	return a
}

func (x *wild) say(times, size int) {
	n := x.live[x.rng.IntN(len(x.live))]
	for range times {
		text := fmt.Sprintf("%s %d ", n.Self().Nick, len(n.said))
		data := append([]byte(text), bytes.Repeat([]byte{'.'}, size)...)
		id, err := n.Send(x.ctx, "lobby", data)
		require.NoError(x, err)
		n.said[string(data)] = id
	}
}

func (x *wild) happen() {
	pick := func() *wildNode { return x.live[x.rng.IntN(len(x.live))] }
	switch x.rng.IntN(16) {
	case 0, 1, 2, 3:
		x.say(1+x.rng.IntN(3), x.rng.IntN(300))
	case 4, 5:
		x.say(20+x.rng.IntN(140), 16<<10)
	case 6:
		if len(x.live) < 8 {
			x.start()
		}
	case 7:
		if len(x.live) > 3 {
			x.stop()
		}
	case 8:
		x.net.Cut(pick().host.Addr(), pick().host.Addr())
	case 9:
		cut := 1 + x.rng.IntN(len(x.live)-1)
		var a, b []*wildNode
		for i, j := range x.rng.Perm(len(x.live)) {
			if i < cut {
				a = append(a, x.live[j])
			} else {
				b = append(b, x.live[j])
			}
		}
		x.net.Partition(addrsOf(a), addrsOf(b))
	case 10, 11:
		x.net.Heal()
	case 12:
		x.net.SetLoss(x.rng.Float64() / 3)
	case 13:
		x.net.SetDuplicate(x.rng.Float64() / 3)
		x.net.SetReorder(x.rng.Float64() / 3)
	case 14:
		x.net.SetMulticast(pick().host.Addr(), x.rng.IntN(2) == 0)
	case 15:
		x.calm()
	}
}

// calm ends what is wrong with packets.
func (x *wild) calm() {
	x.net.SetLoss(0)
	x.net.SetDuplicate(0)
	x.net.SetReorder(0)
	for _, n := range x.live {
		x.net.SetMulticast(n.host.Addr(), true)
	}
}

// converge requires that all hold the same.
func (x *wild) converge() {
	var nodes []*p2pchat.Node
	for _, n := range x.live {
		nodes = append(nodes, n.Node)
		x.pieces += n.Stats().Pieces
	}
	x.wait(nodes, func(s p2pchat.Status) bool {
		return len(s.View.Members) == len(nodes) && s.Converged() && s.Of == len(nodes)
	})
	first := texts(nodes[0])
	seen := map[string]bool{}
	for _, text := range first {
		require.False(x, seen[text], "twice: %.20s", text)
		seen[text] = true
	}
	for _, n := range nodes[1:] {
		require.Equal(x, first, texts(n))
	}
	for _, n := range x.live {
		for text := range n.said {
			require.True(x, seen[text], "lost: %.20s", text)
		}
		for _, reason := range []string{"malformed", "forged", "signature", "links", "height"} {
			require.Zero(x, n.Stats().Drops[reason], "%v: %s", n.Self(), reason)
		}
	}
	last := map[[16]byte]uint64{}
	for m := range nodes[0].History("").All() {
		require.Greater(x, m.ID.N, last[m.ID.Writer], "author's order")
		last[m.ID.Writer] = m.ID.N
	}
}
