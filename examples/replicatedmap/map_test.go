package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// replica is a node and its map.
type replica struct {
	*Map
	host *memnet.Host
}

func start(t *testing.T, net *memnet.Network, count int) []replica {
	t.Helper()
	var all []replica
	for i := range count {
		host := net.Host()
		node, err := p2pchat.New(p2pchat.WithName(fmt.Sprint("n", i)), p2pchat.WithTransport(host))
		require.NoError(t, err)
		t.Cleanup(func() { _ = node.Close() })
		require.NoError(t, node.Join(t.Context()))
		r := replica{NewMap(node, "map"), host}
		go r.Follow(t.Context())
		all = append(all, r)
	}
	return all
}

// settled waits until all of them hold the same history of n messages.
func settled(t *testing.T, all []replica, members int, n uint64) {
	t.Helper()
	for _, r := range all {
		require.NoError(t, r.node.Wait(t.Context(), func(s p2pchat.Status) bool {
			return len(s.View.Members) == members && s.Converged() && s.Digest.N == n
		}))
	}
	synctest.Wait() // until the maps have followed
}

func addrs(some []replica) (a []netip.AddrPort) {
	for _, r := range some {
		a = append(a, r.host.Addr())
	}
	return a
}

func set(t *testing.T, r replica, key, value string) {
	t.Helper()
	_, err := r.Set(t.Context(), key, value)
	require.NoError(t, err)
}

func TestTheLatestWriteCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
		all := start(t, net, 3)
		set(t, all[0], "a", "1")
		set(t, all[0], "b", "2")
		settled(t, all, 3, 2)
		set(t, all[1], "a", "3")
		settled(t, all, 3, 3)
		_, err := all[2].Delete(t.Context(), "b")
		require.NoError(t, err)
		settled(t, all, 3, 4)
		for _, r := range all {
			require.Equal(t, map[string]string{"a": "3"}, maps.Collect(r.All()))
			_, ok := r.Get("b")
			require.False(t, ok)
		}
		late := start(t, net, 1)
		settled(t, append(all, late...), 4, 4)
		require.Equal(t, map[string]string{"a": "3"}, maps.Collect(late[0].All()))
	})
}

// Both sides of a split write the same keys. When they meet, all nodes have the
// same map, although some had applied the writes in another order.
func TestSplitAndMerge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{Seed: 2, Delay: time.Millisecond})
		all := start(t, net, 4)
		left, right := all[:2], all[2:]
		net.Partition(addrs(left), addrs(right))
		for i := range 20 {
			set(t, left[i%2], fmt.Sprint("key", i%5), fmt.Sprint("left", i))
		}
		for i := range 13 {
			set(t, right[i%2], fmt.Sprint("key", i%5), fmt.Sprint("right", i))
		}
		settled(t, left, 2, 20)
		settled(t, right, 2, 13)
		require.NotEqual(t, maps.Collect(left[0].All()), maps.Collect(right[0].All()))
		net.Heal()
		settled(t, all, 4, 33)
		want := make(map[string]string) // written in the order of the history
		for m := range all[0].node.History("map").All() {
			var w write
			require.NoError(t, json.Unmarshal(m.Data, &w))
			want[w.Key] = *w.Value
		}
		for _, r := range all {
			require.Equal(t, want, maps.Collect(r.All()))
		}
	})
}

func TestCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := start(t, memnet.New(memnet.Config{}), 1)
		run := func(lines string) string {
			var out strings.Builder
			require.NoError(t, commands(t.Context(), all[0].Map, strings.NewReader(lines), &out))
			return out.String()
		}
		require.Empty(t, run("set a 1\nset b two words\nset c\n"))
		settled(t, all, 1, 3)
		require.Equal(t, "\"1\"\nno such key\n", run("get a\nget d\n"))
		require.Equal(t, "\"a\" = \"1\"\n\"b\" = \"two words\"\n\"c\" = \"\"\n", run("list"))
		require.Empty(t, run("delete a\n"))
		settled(t, all, 1, 4)
		require.Equal(t, "no such key\n", run("get a"))
		require.Contains(t, run("put a 1"), "set key value")
	})
}
