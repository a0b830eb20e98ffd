package p2pchat_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/memnet"
)

func TestDataDirSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	in(t, memnet.Config{Seed: 20, Delay: time.Millisecond}, func(w *world) {
		w.join(1)
		require.NoError(t, w.add(p2pchat.WithDataDir(dir)).Join(w.ctx))
		kept := w.nodes[1]
		key := kept.Self().Key
		for i := range 50 {
			w.send(w.nodes[0], fmt.Sprint("a", i))
			w.send(kept, fmt.Sprint("b", i))
		}
		w.wait(w.nodes, holds(2, 100))
		before := texts(kept)
		first := map[p2pchat.MessageID]bool{}
		for m := range kept.History("").All() {
			first[m.ID] = true
		}
		require.NoError(t, kept.Close()) // as a crash would
		w.send(w.nodes[0], "meanwhile")

		h := w.net.Host()
		again, err := p2pchat.New(p2pchat.WithTransport(h), p2pchat.WithDataDir(dir), p2pchat.WithName("n2"))
		require.NoError(t, err)
		w.nodes[1] = again
		require.Equal(t, key, again.Self().Key, "the same peer")
		require.Equal(t, before, texts(again), "its history is there before it joins")
		require.NoError(t, again.Join(w.ctx))
		w.wait(w.nodes, holds(2, 101))
		id := w.send(again, "back")[0]
		require.False(t, first[id], "a number that nobody has seen before")
		w.wait(w.nodes, holds(2, 102))
		require.Equal(t, texts(w.nodes[0]), texts(again))
		require.Equal(t, key, w.nodes[0].View().Members[1].Key)
	})
}

func TestDataDirIsRefusedWithAReason(t *testing.T) {
	dir := t.TempDir()
	in(t, memnet.Config{Seed: 21}, func(w *world) {
		n := w.add(p2pchat.WithDataDir(dir))
		_, err := p2pchat.New(p2pchat.WithTransport(w.net.Host()), p2pchat.WithDataDir(dir))
		var se *p2pchat.StoreError
		require.ErrorAs(t, err, &se)
		require.ErrorIs(t, err, causal.ErrLocked)
		require.NoError(t, n.Close())

		require.NoError(t, os.WriteFile(filepath.Join(dir, "history.db"), []byte("not a store, but long enough to look at"), 0o600))
		_, err = p2pchat.New(p2pchat.WithTransport(w.net.Host()), p2pchat.WithDataDir(dir))
		require.ErrorAs(t, err, &se)
		require.ErrorIs(t, err, causal.ErrFormat)

		_, err = p2pchat.New(p2pchat.WithTransport(w.net.Host()), p2pchat.WithDataDir(filepath.Join(dir, "history.db")))
		require.ErrorAs(t, err, &se, "a file where the directory should be")
	})
}
