//go:build unix

package lan_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-885536be/p2p/internal/lab"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
)

const childEnv = "LAN_TEST_CHILD"

// TestMain runs the tests, or in a process started by one of them a node.
func TestMain(m *testing.M) {
	if s := os.Getenv(childEnv); s != "" {
		var c lan.Config
		if err := json.Unmarshal([]byte(s), &c); err != nil {
			panic(err)
		}
		child(c)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// child is a node that prints its endpoint, and then what it is told, and does
// what its standard input says until that ends.
func child(c lan.Config) {
	var mu sync.Mutex
	say := func(args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(args...)
	}
	n := lan.New(c)
	if err := n.Open(transport.HandlerFunc(func(e transport.Event) {
		if e.Kind == transport.Down {
			say(e.Kind, e.Peer, e.Cause)
			return
		}
		say(e.Kind, e.Peer, string(e.Frame))
	})); err != nil {
		panic(err)
	}
	say(n.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		op, rest, _ := strings.Cut(in.Text(), " ")
		to, text, _ := strings.Cut(rest, " ")
		switch op {
		case "multicast":
			say("ok", n.Multicast([]byte(rest)))
		case "unicast":
			say("ok", n.Unicast(netip.MustParseAddrPort(to), []byte(text)))
		case "stream":
			say("ok", n.Stream(netip.MustParseAddrPort(to), []byte(text)))
		case "addr":
			say("ok", n.Addr())
		case "interfaces":
			say("ok", fmt.Sprintf("%+v", n.Interfaces()))
		case "warnings":
			say("ok", fmt.Sprintf("%+v", n.Warnings()))
		case "drops":
			say("ok", n.Drops())
		case "check":
			r, err := lan.Check(context.Background(), c)
			say("ok", err, strings.ReplaceAll(r.String(), "\n", "; "))
		}
	}
}

// process is a node in a process of its own, on this host or another.
type process struct {
	*os.Process
	t     *testing.T
	at    netip.AddrPort
	in    io.Writer
	lines chan string
}

// spawn starts a node; a nil host is this one.
func spawn(t *testing.T, h *lab.Host, c lan.Config) *process {
	t.Helper()
	b, err := json.Marshal(c)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	if h != nil {
		cmd = h.Command(os.Args[0])
	}
	cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // the child ends with the test in any case
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{Process: cmd.Process, t: t, in: in, lines: make(chan string, 1<<12)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait()
	})
	p.at, err = netip.ParseAddrPort(p.next())
	require.NoError(t, err)
	return p
}

func (p *process) next() string {
	p.t.Helper()
	select {
	case line := <-p.lines:
		return line
	case <-time.After(lab.Patience):
		require.FailNow(p.t, "the node says nothing")
		return ""
	}
}

// await reads until the node says a line.
func (p *process) await(format string, args ...any) {
	p.t.Helper()
	want := fmt.Sprintf(format, args...)
	for {
		line := p.next()
		if line == want {
			return
		}
		p.t.Logf("%v: %s", p.at, line)
	}
}

// tell has the node do something.
func (p *process) tell(format string, args ...any) {
	p.t.Helper()
	_, err := fmt.Fprintf(p.in, format+"\n", args...)
	require.NoError(p.t, err)
}

// do has the node do something, and returns what came of it. What it was told
// meanwhile is lost.
func (p *process) do(format string, args ...any) string {
	p.t.Helper()
	p.tell(format, args...)
	for {
		if answer, ok := strings.CutPrefix(p.next(), "ok "); ok {
			return answer
		}
	}
}

// until repeats a command until its answer contains a text.
func (p *process) until(want, command string) string {
	p.t.Helper()
	for end := time.Now().Add(lab.Patience); ; {
		got := p.do("%s", command)
		if strings.Contains(got, want) {
			return got
		}
		require.True(p.t, time.Now().Before(end), "%s: %s", command, got)
		<-time.After(50 * time.Millisecond)
	}
}

// A process that is killed is known to be dead at once, and not by a timeout.
func TestKilledProcessIsRefusedAtOnce(t *testing.T) {
	c := config(t)
	c.DialTimeout = wait // no timeout can make this test pass
	r := record(t)
	n := opened(t, c, r.handle)
	for range 5 {
		p := spawn(t, nil, c)
		require.NoError(t, n.Stream(p.at, []byte("hello")))
		r.expect(transport.Up, p.at, 0)
		start := time.Now()
		require.NoError(t, p.Kill())
		r.expect(transport.Down, p.at, transport.Reset)
		reset := time.Since(start)
		r.expect(transport.Down, p.at, transport.Refused)
		t.Logf("reset after %v, refused after %v", reset, time.Since(start))
		require.Less(t, time.Since(start), wait/2)
	}
}
