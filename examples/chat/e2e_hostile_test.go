//go:build unix

package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/lan"
)

// Longer and harder runs:
//
//	go test ./examples/chat -run HostileStranger -hostile.rate 60000 -hostile.for 10s
//	go test ./examples/chat -run StuckMember -stuck.for 60s
var (
	hostileRate = flag.Int("hostile.rate", 5000, "packets a second from the hostile stranger")
	hostileFor  = flag.Duration("hostile.for", 5*time.Second, "how long the hostile stranger attacks")
	stuckFor    = flag.Duration("stuck.for", 5*time.Second, "how long a member takes nothing; from 30s on, the others must go on at 80 % of their pace")
)

// TestSituationHostileStranger attacks a group of three from a fourth host,
// while it talks. The group keeps its coordinator and loses nothing, and its
// processes do not grow.
func TestSituationHostileStranger(t *testing.T) {
	net := lab.NewNet(t, 4)
	g := onNet(t, "-timeout", "4s") // less than the attack lasts, and more than a busy machine makes a heartbeat late
	stranger := net.Host(4).Command(lab.Build(t, "github.com/seed-885536be/p2p/internal/lab/testdata/stranger"),
		"-rate", fmt.Sprint(*hostileRate), "-for", hostileFor.String())
	var complaint strings.Builder
	stranger.Stderr = &complaint
	whom, err := stranger.StdinPipe()
	require.NoError(t, err)
	pipe, err := stranger.StdoutPipe()
	require.NoError(t, err)
	out := bufio.NewReader(pipe)
	require.NoError(t, stranger.Start())
	t.Cleanup(func() { _ = stranger.Process.Kill() }) // it has ended, if all is well
	_, err = out.ReadString('\n')
	require.NoError(t, err, "it listens")

	var targets []string
	for i := 1; i <= 3; i++ {
		n := g.join(net.Host(i))
		targets = append(targets, lab.As[struct{ Addr string }](t, n.Events()[0]).Addr)
	}
	waitMembers(t, g.nodes)
	g.say(g.nodes, 10)
	g.converge(g.nodes, nil)
	before := map[*node]int64{}
	for _, n := range g.nodes {
		before[n] = n.Memory()
	}
	from := marks(g.nodes)

	var did struct{ Heard, Packets, Connections int }
	attacked := make(chan error, 1)
	go func() {
		_, err := io.WriteString(whom, strings.Join(targets, " ")+"\n")
		line, rerr := out.ReadBytes('\n')
		attacked <- errors.Join(err, rerr, json.Unmarshal(line, &did), stranger.Wait())
	}()
	for over := false; !over; {
		select {
		case err := <-attacked:
			require.NoError(t, err, complaint.String())
			over = true
		default:
			g.say(g.nodes, 5)
			for _, n := range g.nodes {
				n.wait("message", lab.Args{"n": len(g.sent)})
			}
		}
	}
	t.Logf("%d packets in %v, %.0f a second, made of %d heard, and %d connections; %d messages meanwhile", did.Packets, *hostileFor, float64(did.Packets)/hostileFor.Seconds(), did.Heard, did.Connections, len(g.sent))
	require.Positive(t, did.Heard)
	require.Positive(t, did.Connections)

	g.converge(g.nodes, nil)
	require.Equal(t, 1, waitMembers(t, g.nodes).Coord)
	g.check(g.nodes)
	for _, n := range g.nodes {
		n.never(from[n], "coord", "elect")
		_, drops := n.drops()
		for _, reason := range []string{"malformed", "forged"} {
			require.Positive(t, drops[reason], "%s: %v", n.Name(), drops)
		}
		grown := n.Memory() - before[n]
		t.Logf("%s: %d MiB, %d more than before; drops %v", n.Name(), n.Memory()>>20, grown>>20, drops)
		if !lab.Race { // whose shadow memory grows with all that was touched
			require.Less(t, grown, int64(64<<20), n.Name())
		}
	}
}

// TestSituationHostileMember lets a member in that fills its streams with blocks
// whose signatures are wrong. The others look at some of them, go on as before,
// and say who it is.
func TestSituationHostileMember(t *testing.T) {
	g := onLoopback(t, long...)
	for range 3 {
		g.join(nil)
	}
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	evil := lab.NewForger(lan.New(lan.Config{Group: g.flags[slices.Index(g.flags, "-group")+1], Interfaces: []string{"lo"}}), "said by eve")
	eve, err := p2pchat.New(p2pchat.WithName("eve"), p2pchat.WithTransport(evil),
		p2pchat.WithTiming(membership.For(500*time.Millisecond, 5*time.Second)))
	require.NoError(t, err)
	defer eve.Close()
	require.NoError(t, eve.Join(ctx))
	text := "said by eve"
	id, err := eve.Send(ctx, "lobby", []byte(text))
	require.NoError(t, err)
	g.sent[id.String()] = text
	for _, n := range g.nodes {
		n.wait("message", lab.Args{"n": 1})
	}
	from, began, sent := marks(g.nodes), time.Now(), 0
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		for tick := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-tick.C {
			sent += evil.Flood()
		}
	}()
	// It goes on for longer than the time-out, counted in heartbeats that come.
	ear := g.nodes[2]
	ear.Do("subscribe", lab.Args{"what": "hb"})
	for heard := 0; heard <= threeTimeouts/2; {
		g.say(g.nodes, 5)
		for _, n := range g.nodes {
			n.wait("message", lab.Args{"n": len(g.sent)})
		}
		heard = 0
		for _, e := range ear.Since(from[ear]) {
			if e.Ev == "hb" {
				heard++
			}
		}
	}
	cancel()
	<-over
	limit := 100 * (int(time.Since(began)/time.Second) + 2)
	for _, n := range g.nodes {
		n.never(from[n], "coord", "elect")
		require.Contains(t, n.warned(from[n], "held"), "eve#4")
		_, drops := n.drops()
		t.Logf("%s: %d of %d forgeries to all were looked at", n.Name(), drops["signature"], sent)
		require.Positive(t, drops["signature"])
		require.LessOrEqual(t, int(drops["signature"]), limit)
	}
	g.check(g.nodes)
}

// rounds lets all nodes talk, in rounds that end when each has delivered what
// the others said, for some time, and returns how long each round took.
func (g *group) rounds(nodes []*node, d time.Duration) (took []time.Duration) {
	g.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		const each = 40
		began, from := time.Now(), marks(nodes)
		g.say(nodes, each)
		for _, n := range nodes {
			left := each * len(nodes)
			n.Await(from[n], "msg", func(lab.Event) bool { left--; return left == 0 })
		}
		took = append(took, time.Since(began))
	}
	return took
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}

// TestSituationStuckMember stops a process while the others talk as fast as
// they can. They go on, do not grow, and it catches up when it may. For some
// seconds it remains a member; after ten its connections are given up, and so
// is it.
func TestSituationStuckMember(t *testing.T) {
	// It is not to be suspected because it is silent.
	g := onLoopback(t, "-heartbeat", "1s", "-timeout", "10m")
	for range 4 {
		g.join(nil)
	}
	waitMembers(t, g.nodes)
	stuck, rest := g.nodes[3], g.nodes[:3]
	g.rounds(g.nodes, time.Second) // to warm up
	before := g.rounds(rest, max(2*time.Second, *stuckFor/3))
	from := marks(rest)
	memory := map[*node]int64{}
	for _, n := range rest {
		memory[n] = n.Memory()
	}
	said := len(g.sent)
	stuck.Freeze()
	during := g.rounds(rest, *stuckFor)
	for _, n := range rest {
		grown := n.Memory() - memory[n]
		t.Logf("%s: grown by %d KiB in %d messages", n.Name(), grown>>10, len(g.sent)-said)
		if !lab.Race {
			// What was said is kept; what waits for one who takes nothing is not
			// kept again.
			require.Less(t, grown, int64(32<<20+8<<10*(len(g.sent)-said)), n.Name())
		}
		n.never(from[n], "coord", "elect")
	}
	stuck.Thaw()
	thawed := time.Now()
	g.converge(g.nodes, nil)
	t.Logf("all have the same %v after it went on", time.Since(thawed))
	g.check(g.nodes)
	waitMembers(t, g.nodes)
	t.Logf("a round of the others took %v before and %v meanwhile, in the median of %d and %d", median(before), median(during), len(before), len(during))
	if *stuckFor >= 30*time.Second {
		require.Less(t, float64(median(during)), 1.25*float64(median(before)))
	}
}
