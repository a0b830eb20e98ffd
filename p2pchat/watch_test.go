package p2pchat_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// warnings collects those of a code.
func warnings(w *world, n *p2pchat.Node, code string) (got func() []p2pchat.WarningEvent) {
	var mu sync.Mutex
	var all []p2pchat.WarningEvent
	events := n.Events(w.ctx)
	go func() {
		for e := range events {
			if e, ok := e.(*p2pchat.WarningEvent); ok && e.Code == code {
				mu.Lock()
				all = append(all, *e)
				mu.Unlock()
			}
		}
	}()
	return func() []p2pchat.WarningEvent {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return append([]p2pchat.WarningEvent(nil), all...)
	}
}

// The host sleeps for 41 s by the time of day, and its other clock stood still.
func TestWakesAndSaysSo(t *testing.T) {
	in(t, memnet.Config{Seed: 1, Delay: time.Millisecond}, func(w *world) {
		w.join(2)
		var mu sync.Mutex
		var slept time.Duration
		n := w.add()
		n.SetWall(func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Round(0).Add(slept)
		})
		got := warnings(w, n, "woke")
		require.NoError(t, n.Join(w.ctx))
		<-time.After(10 * time.Second)
		require.Empty(t, got())
		mu.Lock()
		slept = 41 * time.Second
		mu.Unlock()
		<-time.After(10 * time.Second)
		require.Equal(t, []p2pchat.WarningEvent{{Code: "woke", Text: "woke after 41 s, resyncing", Count: 1}}, got())
		w.wait(w.nodes, holds(3, 0))
	})
}

// lateLog writes at another time of day.
type lateLog struct {
	causal.Log
	by time.Duration
}

func (l lateLog) Append(now time.Time, data ...[]byte) (causal.MessageID, error) {
	return l.Log.Append(now.Add(l.by), data...)
}
func (l lateLog) Flush(now time.Time) error { return l.Log.Flush(now.Add(l.by)) }

func TestClocksThatDiffer(t *testing.T) {
	for _, c := range []struct {
		by   time.Duration
		want string
	}{{59 * time.Second, ""}, {75 * time.Second, "1m15s ahead of"}, {-2 * time.Minute, "2m0s behind"}} {
		in(t, memnet.Config{Seed: 2}, func(w *world) {
			w.join(1)
			got := warnings(w, w.nodes[0], "clock_skew")
			w.join(1, p2pchat.WithLog(func(cfg causal.Config) (causal.Log, error) {
				l, err := causal.NewMemory(cfg)
				return lateLog{l, c.by}, err
			}))
			<-time.After(3 * time.Minute) // time may not go back
			for i := range 3 {
				w.send(w.nodes[1], "what time is it?")
				w.wait(w.nodes, holds(2, i+1))
			}
			if c.want == "" {
				require.Empty(t, got())
				return
			}
			require.Len(t, got(), 1, "once")
			require.Equal(t, "the clock of n2#2 is "+c.want+" this one", got()[0].Text)
		})
	}
}

// However much is refused, a reason is named once a minute, with its count.
func TestRefusedPacketsAreWarnedOfOnceAMinute(t *testing.T) {
	in(t, memnet.Config{Seed: 4}, func(w *world) {
		w.join(1)
		got := warnings(w, w.nodes[0], "dropped")
		noise := w.net.Host()
		require.NoError(t, noise.Open(transport.HandlerFunc(func(transport.Event) {})))
		w.hosts = append(w.hosts, noise)
		defer func() { _ = noise.Close() }()
		for range 300 {
			require.NoError(t, noise.Multicast([]byte(strings.Repeat("x", 100))))
			<-time.After(time.Second)
		}
		<-time.After(time.Minute)
		sum := uint64(0)
		for _, e := range got() {
			require.Equal(t, "packets refused: forged", e.Text)
			sum += e.Count
		}
		require.Equal(t, uint64(300), sum)
		require.InDelta(t, 6, len(got()), 1)
	})
}

// While a member's fate is open, its coordinator's status says so.
func TestSuspectsStandInTheStatus(t *testing.T) {
	in(t, memnet.Config{Seed: 5, Delay: time.Millisecond}, func(w *world) {
		w.join(3)
		w.wait(w.nodes, holds(3, 0))
		require.Empty(t, w.nodes[0].Status().Suspects)
		w.net.Partition(w.addrs(1, 2), w.addrs(3))
		// A member suspects its coordinator sooner than that suspects a member.
		w.wait(w.nodes[2:], func(s p2pchat.Status) bool { return len(s.Suspects) == 1 && s.Suspects[0].Peer.ID == 1 })
		w.wait(w.nodes[:1], func(s p2pchat.Status) bool { return len(s.Suspects) == 1 })
		s := w.nodes[0].Status().Suspects[0]
		require.Equal(t, uint32(3), s.Peer.ID)
		require.Equal(t, p2pchat.PeerSuspect, s.State)
		w.net.Heal()
		w.wait(w.nodes, func(s p2pchat.Status) bool { return len(s.Suspects) == 0 && len(s.View.Members) == 3 })
	})
}

func TestStats(t *testing.T) {
	in(t, memnet.Config{Seed: 6, Delay: time.Millisecond}, func(w *world) {
		w.join(3)
		w.wait(w.nodes, holds(3, 0))
		w.send(w.nodes[1], "to all")
		_, err := w.nodes[1].SendTo(w.ctx, key(w.nodes[0]), []byte("to one"))
		require.NoError(t, err)
		w.wait(w.nodes, holds(3, 1))
		s := w.nodes[0].Stats()
		require.Equal(t, 3, s.Members)
		require.Equal(t, 2, s.Links)
		require.Equal(t, 1, s.Unread)
		require.EqualValues(t, 1, s.Messages)
		require.Positive(t, s.Bytes)
		require.Positive(t, s.Heartbeats)
		require.Positive(t, s.ViewsMade)
		var back p2pchat.Stats
		require.NoError(t, json.Unmarshal([]byte(s.String()), &back))
		require.Equal(t, s, back)
		fields := map[string]any{}
		require.NoError(t, json.Unmarshal([]byte(s.String()), &fields))
		require.Len(t, fields, reflect.TypeFor[p2pchat.Stats]().NumField())
	})
}
