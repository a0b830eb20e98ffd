package causal

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// acksIn counts what another sends while one of so many members writes a block
// each 10 ms: Acks to the one that writes, and to each of those who listen.
func acksIn(t *testing.T, members, size int, long time.Duration) (writer, listener int) {
	const every = 10 * time.Millisecond
	from, m := benchLog(t, 0), benchLog(t, 1)
	now := benchNow
	keys := []Key{m.self, from.self}
	for i := 2; i < members; i++ {
		keys = append(keys, Key{byte(i), byte(i >> 8)})
	}
	m.SetPeers(now, keys)
	for _, k := range keys[1:] {
		m.Link(now, k, true)
	}
	sent := make(map[Key]int)
	pump := func() {
		for _, k := range slices.Clone(m.Ready().Peers) {
			for msg := m.Next(now, k); msg != nil; msg = m.Next(now, k) {
				if _, ok := msg.(*Ack); ok {
					sent[k]++
				}
			}
		}
	}
	write := func() {
		fill(from, 1, size)
		m.Step(now, from.self, &Blocks{Frames: [][]byte{from.raw(from.blocks.n - 1)}})
		pump()
	}
	write()
	clear(sent) // the first lists all
	for end, next := now.Add(long), now.Add(every); ; {
		d := m.Deadline()
		if now = next; !d.IsZero() && d.Before(next) {
			now = d
		}
		if now.After(end) {
			break
		}
		if now.Equal(next) {
			next = next.Add(every)
			write()
		} else {
			m.Tick(now)
			pump()
		}
	}
	for _, k := range keys[2:] {
		require.Equal(t, sent[keys[2]], sent[k])
	}
	return sent[from.self], sent[keys[len(keys)-1]]
}

// While somebody writes, a node sends as many Acks as it gets. By the time they
// are at most 400 a second however large the group is. In one of more than 16
// there are fewer again, as those who only listen are not told in a hurry.
func TestAcksOfALargeGroupAreFew(t *testing.T) {
	for _, c := range []struct{ members, writer, listener, all int }{ // in four seconds; all in one
		{3, 200, 200, 100},
		{8, 200, 200, 350},
		{16, 100, 100, 375},
		{24, 66, 44, 258},
		{64, 25, 6, 101},
		{160, 10, 4, 161},
		{800, 2, 2, 400},
	} {
		writer, listener := acksIn(t, c.members, 100, 4*time.Second)
		require.InDelta(t, c.writer, writer, 1, "to the one that writes, %d members", c.members)
		require.InDelta(t, c.listener, listener, 1, "to one that listens, %d members", c.members)
		require.LessOrEqual(t, (writer+(c.members-2)*listener)/4, c.all, "%d members", c.members)
	}
	// Much is acknowledged sooner, to the one that writes it.
	for _, c := range []struct{ members, writer, listener int }{ // in two seconds
		{16, 66, 66}, {32, 40, 12}, {160, 22, 2},
	} {
		writer, listener := acksIn(t, c.members, 120_000, 2*time.Second)
		require.InDelta(t, c.writer, writer, 1, "to the one that writes, %d members", c.members)
		require.InDelta(t, c.listener, listener, 1, "to one that listens, %d members", c.members)
	}
}

// When the talk is over, the one that talked knows after 2.5 ms for each member,
// and 20 ms, at least, that all hold it; all others do after a second at most, if
// they are up to 400, and in a group of up to 16 at the same time.
func TestReceiptsComeSoonAfterATalk(t *testing.T) {
	for _, c := range []struct {
		members       int
		writer, other time.Duration
	}{
		{4, 20 * time.Millisecond, 20 * time.Millisecond},
		{16, 40 * time.Millisecond, 40 * time.Millisecond},
		{32, 80 * time.Millisecond, 160 * time.Millisecond},
	} {
		g := newGroup(t, c.members, 1)
		g.mesh(true)
		g.run(50 * time.Millisecond)
		var last [2]MessageID
		for range 60 {
			last[0] = g.say(0, "a")
			g.run(time.Millisecond)
			last[1] = g.say(1, "b")
			g.run(2 * time.Millisecond)
		}
		begin := g.now
		until := func(done func(i int, n *node) bool) time.Duration {
			for {
				all := true
				for i, n := range g.nodes {
					all = all && done(i, n)
				}
				if all {
					return g.now.Sub(begin)
				}
				require.Less(t, g.now.Sub(begin), 2*time.Second, "%d members", c.members)
				g.run(time.Millisecond)
			}
		}
		const way = 3 * time.Millisecond
		require.LessOrEqual(t, until(func(i int, n *node) bool {
			return i > 1 || n.Stable(last[i].Writer) >= last[i].N
		}), c.writer+way, "who wrote it, %d members", c.members)
		require.LessOrEqual(t, until(func(_ int, n *node) bool {
			return n.Stable(last[0].Writer) >= last[0].N && n.Stable(last[1].Writer) >= last[1].N
		}), c.other+way, "all, %d members", c.members)
	}
}

// An Ack that has no room for the writer that its peer is does not put off the one
// that tells it.
func TestAnAckWithoutRoomIsFollowedSoon(t *testing.T) {
	m := benchLog(t, 0)
	m.limits.ack = 1
	now := benchNow
	other := benchLog(t, 1)
	keys := []Key{m.self, other.self}
	for i := range 62 {
		keys = append(keys, Key{byte(i)})
	}
	m.SetPeers(now, keys)
	m.Link(now, other.self, true)
	for m.Next(now, other.self) != nil {
	}
	fill(m, 1, 1)
	fill(other, 1, 1)
	m.Step(now, other.self, &Blocks{Frames: [][]byte{other.raw(0)}})
	told := false
	for begin := now; !told; now = now.Add(time.Millisecond) {
		require.Less(t, now.Sub(begin), 400*time.Millisecond)
		m.Tick(now)
		for msg := m.Next(now, other.self); msg != nil; msg = m.Next(now, other.self) {
			if a, ok := msg.(*Ack); ok {
				told = told || a.Tips[0].Writer == other.Writer()
			}
		}
	}
}
