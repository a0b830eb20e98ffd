package p2pchat_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/memnet"
)

func TestRetention(t *testing.T) {
	dir := t.TempDir()
	in(t, memnet.Config{Seed: 30, Delay: time.Millisecond}, func(w *world) {
		w.join(1)
		short := w.add(p2pchat.WithRetention(2*time.Minute, 0), p2pchat.WithDataDir(dir))
		require.NoError(t, short.Join(w.ctx))
		old := w.send(w.nodes[0], "long ago")[0]
		w.wait(w.nodes, holds(2, 1))
		<-time.After(4 * time.Minute)
		w.send(w.nodes[0], "of late")
		w.wait(w.nodes, holds(2, 2))
		<-time.After(time.Second)

		all := slices.Collect(short.History("").All())
		require.Len(t, all, 2)
		require.Equal(t, old, all[0].ID)
		require.True(t, all[0].Dropped)
		require.Nil(t, all[0].Data)
		require.Empty(t, all[0].Room)
		require.Equal(t, w.nodes[0].Self().Key, all[0].From.Key)
		require.False(t, all[1].Dropped)
		require.Equal(t, "of late", string(all[1].Data))
		require.Len(t, short.Rooms(), 1)
		require.Empty(t, slices.Collect(short.History("").Search("ago")))
		m, ok := w.nodes[0].Lookup(old)
		require.True(t, ok)
		require.False(t, m.Dropped)
		require.Equal(t, "long ago", string(m.Data))
		require.Equal(t, w.nodes[0].Status().Digest, short.Status().Digest)

		require.NoError(t, short.Close())
		again, err := p2pchat.New(p2pchat.WithTransport(w.net.Host()), p2pchat.WithDataDir(dir), p2pchat.WithRetention(2*time.Minute, 0))
		require.NoError(t, err)
		defer again.Close()
		m, ok = again.Lookup(old)
		require.True(t, ok)
		require.True(t, m.Dropped)
	})
}

func TestRetentionLimitsAreChecked(t *testing.T) {
	for _, o := range []p2pchat.Option{p2pchat.WithRetention(-1, 0), p2pchat.WithRetention(0, -1)} {
		_, err := p2pchat.New(o)
		require.True(t, err != nil && strings.Contains(err.Error(), "negative"), "%v", err)
	}
}

// said is how much is said long ago, a block each: fewer are not worth compacting.
const said = 5000

// longAgo lets a node say that much.
func longAgo(w *world, a *p2pchat.Node) {
	for range said {
		w.send(a, "long ago")
		<-time.After(2 * time.Millisecond)
	}
	w.wait(w.nodes, holds(2, said))
}

func TestCompaction(t *testing.T) {
	in(t, memnet.Config{Seed: 31, Delay: time.Millisecond}, func(w *world) {
		opt := p2pchat.WithCompaction(time.Minute, time.Minute)
		for range 2 {
			require.NoError(t, w.add(opt).Join(w.ctx))
		}
		a, b := w.nodes[0], w.nodes[1]
		longAgo(w, a)
		mark := p2pchat.Mark{}
		pos, mark := a.Changes(mark)
		require.Zero(t, pos)
		<-time.After(5 * time.Minute)
		held := func(n *p2pchat.Node) int { return len(slices.Collect(n.History("").All())) }
		require.Less(t, held(a), said)
		require.Equal(t, held(a), held(b))
		require.EqualValues(t, said, a.Status().Digest.N)
		require.Equal(t, a.Status().Digest, b.Status().Digest)

		c := w.add(opt)
		require.NoError(t, c.Join(w.ctx))
		w.send(a, "of late")
		w.wait(w.nodes, holds(3, said+1))
		require.Equal(t, held(a), held(c))
		pos, _ = a.Changes(mark)
		require.EqualValues(t, said, pos)
		for m := range c.History("").Backwards() {
			require.EqualValues(t, said, m.Pos)
			require.Equal(t, "of late", string(m.Data))
			break
		}
	})
}

// An archive keeps what the others give up, also after a restart, and another
// that comes late takes it over.
func TestFullHistory(t *testing.T) {
	dir := t.TempDir()
	in(t, memnet.Config{Seed: 32, Delay: time.Millisecond}, func(w *world) {
		opt := p2pchat.WithCompaction(time.Minute, time.Minute)
		archive := []p2pchat.Option{p2pchat.WithFullHistory(), opt} // in any order
		require.NoError(t, w.add(opt).Join(w.ctx))
		require.NoError(t, w.add(append(archive, p2pchat.WithDataDir(dir))...).Join(w.ctx))
		a, b := w.nodes[0], w.nodes[1]
		longAgo(w, a)
		<-time.After(5 * time.Minute)
		held := func(n *p2pchat.Node) int { return len(slices.Collect(n.History("").All())) }
		require.Less(t, held(a), said)
		require.Equal(t, said, held(b))
		require.Equal(t, a.Status().Digest, b.Status().Digest)

		late, plain := w.add(archive...), w.add(opt)
		require.NoError(t, late.Join(w.ctx))
		require.NoError(t, plain.Join(w.ctx))
		w.send(a, "of late")
		w.wait(w.nodes, holds(4, said+1))
		require.Equal(t, said+1, held(late))
		require.Equal(t, held(a), held(plain))
		for m := range late.History("").All() {
			require.Zero(t, m.Pos)
			require.Equal(t, "long ago", string(m.Data))
			break
		}

		require.NoError(t, b.Close())
		again, err := p2pchat.New(append(archive, p2pchat.WithTransport(w.net.Host()), p2pchat.WithDataDir(dir))...)
		require.NoError(t, err)
		defer again.Close()
		require.Equal(t, said+1, held(again))
	})
}

func TestFullHistoryNeedsCompaction(t *testing.T) {
	_, err := p2pchat.New(p2pchat.WithFullHistory())
	require.ErrorContains(t, err, "WithCompaction")
}

func TestCompactionLimitsAreChecked(t *testing.T) {
	for _, o := range []p2pchat.Option{p2pchat.WithCompaction(0, 0), p2pchat.WithCompaction(-1, 0), p2pchat.WithCompaction(1, -1)} {
		_, err := p2pchat.New(o)
		require.True(t, err != nil && strings.Contains(err.Error(), "WithCompaction"), "%v", err)
	}
}
