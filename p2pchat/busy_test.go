package p2pchat_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
)

var busyFor = flag.Duration("busy", 5*time.Second, "how long TestBusyGroupStaysWhole lasts")

// A busy process is a member of a group of four. It sends as fast as it can
// until it has sent maxBusy messages, so that the history fits into memory, and
// then at a pace, while it keeps a processor busy with nothing until the end.
//
// It then says how many it has sent, is told how many all have sent, says what
// it has seen when it holds them, and goes when its input ends.
const (
	busyEnv = "P2PCHAT_BUSY" // group and duration
	maxBusy = 1_000_000
)

// busyReport is what such a process says in the end.
type busyReport struct {
	Held, Members                     uint64
	Departures, Elections, Successors uint64 // that it was told of
}

func stayBusy(args string) error {
	group, howLong, _ := strings.Cut(args, " ")
	d, err := time.ParseDuration(howLong)
	if err != nil {
		return err
	}
	ctx := context.Background()
	n, err := joinLoopback(ctx, group)
	if err != nil {
		return err
	}
	defer func() { _ = n.Close() }()
	if err := n.Wait(ctx, func(s p2pchat.Status) bool { return len(s.View.Members) == 4 }); err != nil {
		return err
	}
	var departures, elections, successors atomic.Uint64
	events := n.Events(ctx)
	go func() {
		for e := range events {
			switch e := e.(type) {
			case *p2pchat.ViewEvent:
				departures.Add(uint64(len(e.Left)))
			case *p2pchat.ElectionEvent:
				elections.Add(1)
			case *p2pchat.CoordinatorEvent:
				successors.Add(1)
			}
		}
	}()
	end := time.Now().Add(d)
	data := make([]byte, 100)
	sent := 0
	for ; time.Now().Before(end); sent++ {
		if _, err := n.Send(ctx, "lobby", data); err != nil {
			return err
		}
		if sent > maxBusy {
			for spin := time.Now(); time.Since(spin) < time.Millisecond; {
			}
		}
	}
	fmt.Println(sent)
	var total uint64
	if _, err := fmt.Scan(&total); err != nil {
		return err
	}
	if err := n.Wait(ctx, func(s p2pchat.Status) bool { return s.Digest.N == total && s.Converged() }); err != nil {
		return err
	}
	err = json.NewEncoder(os.Stdout).Encode(busyReport{
		Held: n.Status().Digest.N, Members: uint64(len(n.View().Members)),
		Departures: departures.Load(), Elections: elections.Load(), Successors: successors.Load(),
	})
	_, _ = io.Copy(io.Discard, os.Stdin)
	return err
}

// Four processes talk as fast as they can, on a machine that has nothing left:
// nobody is taken for dead, and no election is held.
func TestBusyGroupStaysWhole(t *testing.T) {
	group := anyGroup()
	type child struct {
		in  io.WriteCloser
		out *bufio.Reader
		cmd *exec.Cmd
	}
	var children []child
	for range 4 {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), busyEnv+"="+group+" "+busyFor.String())
		c.Stderr = os.Stderr
		in, err := c.StdinPipe()
		require.NoError(t, err)
		out, err := c.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, c.Start())
		defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
		children = append(children, child{in, bufio.NewReader(out), c})
	}
	total := uint64(0)
	for _, c := range children {
		var sent uint64
		_, err := fmt.Fscanln(c.out, &sent)
		require.NoError(t, err)
		total += sent
	}
	for _, c := range children {
		_, err := fmt.Fprintln(c.in, total)
		require.NoError(t, err)
	}
	for _, c := range children {
		var r busyReport
		require.NoError(t, json.NewDecoder(c.out).Decode(&r))
		require.Equal(t, busyReport{Held: total, Members: 4}, r)
	}
	for _, c := range children {
		require.NoError(t, c.in.Close())
	}
	for _, c := range children {
		require.NoError(t, c.cmd.Wait())
	}
	t.Logf("%d messages in %v", total, *busyFor)
}
