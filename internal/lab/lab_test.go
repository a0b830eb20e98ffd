//go:build unix

package lab

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
)

// The tests start this test binary again as the program.
func TestMain(m *testing.M) {
	if role := os.Getenv("LAB_ROLE"); role != "" {
		os.Exit(fake(role))
	}
	os.Exit(Main(m))
}

var testGroup = &net.UDPAddr{IP: net.IPv4(239, 255, 1, 1), Port: 9000}

// fake is a program that speaks the protocol. It sends and reports datagrams,
// so that a test can see what a Net lets pass.
func fake(role string) int {
	var mu sync.Mutex
	seq := 0
	start := time.Now()
	say := func(ev string, fields map[string]any) {
		mu.Lock()
		defer mu.Unlock()
		seq++
		line := map[string]any{"v": 1, "seq": seq, "t": time.Now(), "ms": time.Since(start).Milliseconds(), "node": "00", "ev": ev}
		for k, v := range fields {
			line[k] = v
		}
		b, _ := json.Marshal(line)
		os.Stdout.Write(append(b, '\n'))
	}
	switch role {
	case "mute first line":
		fmt.Println(`{"v":1,"seq":1,"t":"2020-01-01T00:00:00Z","node":"00","ev":"join"}`)
	case "no json":
		say("hello", nil)
		fmt.Println("hello?")
	case "gap":
		say("hello", nil)
		seq++
		say("join", nil)
	case "after bye":
		say("hello", nil)
		say("bye", nil)
		say("join", nil)
	case "long":
		say("hello", nil)
		say("join", map[string]any{"text": strings.Repeat("x", maxLine)})
	case "panic":
		say("hello", nil)
		panic("on purpose")
	case "udp":
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			panic(err)
		}
		pc, err := net.ListenPacket("udp4", ":9000")
		if err != nil {
			panic(err)
		}
		p := ipv4.NewPacketConn(pc)
		if err := p.JoinGroup(eth0, testGroup); err != nil {
			panic(err)
		}
		p.SetMulticastInterface(eth0)
		p.SetMulticastLoopback(false)
		say("hello", nil)
		go func() {
			buf := make([]byte, 2000)
			for {
				n, from, err := pc.ReadFrom(buf)
				if err != nil {
					return
				}
				say("got", map[string]any{"text": string(buf[:n]), "from": from.(*net.UDPAddr).IP.String()})
			}
		}()
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			var c struct{ Op, Ref, To, Text string }
			json.Unmarshal(in.Bytes(), &c)
			switch c.Op {
			case "quit":
				say("reply", map[string]any{"ref": c.Ref, "ok": true})
				say("bye", nil)
				return 7
			case "send":
				to := testGroup
				if c.To != "" {
					to = &net.UDPAddr{IP: net.ParseIP(c.To), Port: 9000}
				}
				pc.WriteTo([]byte(c.Text), to)
				say("reply", map[string]any{"ref": c.Ref, "ok": true, "data": map[string]any{"sent": c.Text}})
			default:
				say("reply", map[string]any{"ref": c.Ref, "ok": false, "err": map[string]any{"code": "unknown_op", "text": c.Op}})
			}
		}
		say("bye", nil)
	}
	return 0
}

func start(t testing.TB, role string, h *Host) *Process {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	name := role
	if h != nil {
		name = fmt.Sprintf("%s on %v", role, h.Addr())
	}
	return Start(t, Config{Path: exe, Env: []string{"LAB_ROLE=" + role}, Host: h, Name: name})
}

// errorsOf is a testing.TB that keeps what a Process complains about.
type errorsOf struct {
	testing.TB
	cleanups []func()
	errors   []string
}

func (e *errorsOf) ArtifactDir() string { return e.TempDir() }
func (e *errorsOf) Helper()             {}
func (e *errorsOf) Cleanup(f func())    { e.cleanups = append(e.cleanups, f) }
func (e *errorsOf) Failed() bool        { return len(e.errors) > 0 }
func (e *errorsOf) Logf(string, ...any) {}
func (e *errorsOf) Errorf(format string, args ...any) {
	e.errors = append(e.errors, fmt.Sprintf(format, args...))
}

func TestViolationsAreReported(t *testing.T) {
	for role, want := range map[string]string{
		"mute first line": "the first line is not hello",
		"no json":         "invalid character",
		"gap":             "seq 3 follows 1",
		"after bye":       "a line after bye",
		"long":            "a line of over 65536 bytes",
		"panic":           "panic: ",
	} {
		t.Run(role, func(t *testing.T) {
			tb := &errorsOf{TB: t}
			start(tb, role, nil).Exit()
			for _, f := range tb.cleanups {
				f()
			}
			require.Len(t, tb.errors, 1)
			require.Contains(t, tb.errors[0], want)
		})
	}
}

func TestRepliesAndExit(t *testing.T) {
	net := NewNet(t, 1)
	p := start(t, "udp", net.Host(1))
	a, b := p.Begin("send", Args{"text": "a"}), p.Begin("nonsense", nil)
	r := b.Reply() // replies are told apart by their ref
	require.False(t, r.OK)
	require.Equal(t, "unknown_op", r.Err.Code)
	require.Equal(t, "a", As[struct{ Sent string }](t, a.OK()).Sent)
	mark := p.Mark()
	p.Do("quit", nil)
	require.Equal(t, 7, p.Exit())
	require.Len(t, p.Since(mark), 2)
}

func TestKillAndFreeze(t *testing.T) {
	net := NewNet(t, 1)
	p := start(t, "udp", net.Host(1))
	p.Await(0, "hello", nil)
	p.Freeze()
	c := p.Begin("send", Args{"text": "x"})
	require.Equal(t, "T", state(t, p), "stopped")
	p.Thaw()
	c.OK()
	p.Kill()
	require.Equal(t, -1, p.Exit())
	require.Equal(t, syscall.SIGKILL, p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
}

// state is the process state as the kernel abbreviates it, once it is not
// running any more.
func state(t *testing.T, p *Process) string {
	for {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		require.NoError(t, err)
		_, rest, _ := strings.Cut(string(b), ") ")
		if s := rest[:1]; s != "R" && s != "S" {
			return s
		}
	}
}

// lan is a Net with a fake program on each host.
type lan struct {
	*Net
	t   *testing.T
	at  []*Process // from 1
	seq int
}

func newLAN(t *testing.T, n int) *lan {
	l := &lan{Net: NewNet(t, n), t: t, at: make([]*Process, n+1)}
	for i := 1; i <= n; i++ {
		l.at[i] = start(t, "udp", l.Host(i))
	}
	for _, p := range l.at[1:] {
		p.Await(0, "hello", nil)
	}
	// Let all know each other's hardware address: the kernel holds a datagram
	// back until it does, over the end of a cut if need be.
	for i := 1; i <= n; i++ {
		for j := 1; j <= n; j++ {
			if i != j {
				mark := l.at[j].Mark()
				l.at[j].Await(mark, "got", l.is(l.send(i, j)))
			}
		}
	}
	return l
}

// is is the condition that a text has arrived.
func (l *lan) is(text string) func(Event) bool {
	return func(e Event) bool { return As[struct{ Text string }](l.t, e).Text == text }
}

// send sends a new text from a host; to 0 is the group.
func (l *lan) send(from, to int) string {
	l.seq++
	text := fmt.Sprintf("text %d", l.seq)
	args := Args{"text": text}
	if to != 0 {
		args["to"] = l.Host(to).Addr().String()
	}
	l.at[from].Do("send", args)
	return text
}

// passes reports whether datagrams from one host, to it alone or to the group,
// arrive at another. A second one, sent when all is healed, tells that the
// first did not just take its time.
func (l *lan) passes(from, to int, multicast bool, fault func()) bool {
	fault()
	dest := to
	if multicast {
		dest = 0
	}
	mark := l.at[to].Mark()
	first := l.send(from, dest)
	l.Heal()
	second := l.send(from, dest)
	found := false
	l.at[to].Await(mark, "got", func(e Event) bool {
		got := As[struct{ Text string }](l.t, e).Text
		found = found || got == first
		return got == second
	})
	return found
}

func TestCuts(t *testing.T) {
	l := newLAN(t, 4)
	for _, tc := range []struct {
		name     string
		fault    func()
		from, to int
		unicast  bool
		group    bool
	}{
		{"nothing", func() {}, 1, 2, true, true},
		{"cut", func() { l.Cut(1, 2) }, 1, 2, false, false},
		{"the other direction of a cut", func() { l.Cut(1, 2) }, 2, 1, true, true},
		{"another host than the cut one", func() { l.Cut(1, 2) }, 1, 3, true, true},
		{"split", func() { l.Split([]int{1, 2}, []int{3, 4}) }, 1, 3, false, false},
		{"split, backwards", func() { l.Split([]int{1, 2}, []int{3, 4}) }, 4, 2, false, false},
		{"split, same side", func() { l.Split([]int{1, 2}, []int{3, 4}) }, 3, 4, true, true},
		{"split off", func() { l.Split([]int{1, 2}) }, 3, 4, false, false},
		{"mute", func() { l.Mute(1) }, 1, 2, true, false},
		{"mute, another", func() { l.Mute(1) }, 2, 1, true, true},
		{"deaf", func() { l.Deafen(2) }, 1, 2, true, false},
		{"deaf, another", func() { l.Deafen(2) }, 2, 1, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l.t = t
			require.Equal(t, tc.unicast, l.passes(tc.from, tc.to, false, tc.fault), "unicast")
			require.Equal(t, tc.group, l.passes(tc.from, tc.to, true, tc.fault), "multicast")
		})
	}
}

func TestLoss(t *testing.T) {
	l := newLAN(t, 2)
	const sent = 200
	l.Loss(30)
	for range sent {
		l.send(1, 2)
	}
	l.Loss(0)
	last := l.send(1, 2)
	got := -1
	l.at[2].Await(0, "got", func(e Event) bool {
		got++
		return As[struct{ Text string }](t, e).Text == last
	})
	// Fewer than 20 or more than 110 lost of 200 at 30 % happens by chance
	// once in 10¹² runs.
	require.Greater(t, sent-got, 20)
	require.Less(t, sent-got, 110)
}

func TestBuild(t *testing.T) {
	t.Parallel()
	a := Build(t, "github.com/seed-885536be/p2p/internal/lab/testdata/nothing")
	require.Equal(t, a, Build(t, "github.com/seed-885536be/p2p/internal/lab/testdata/nothing"))
	p := Start(t, Config{Path: a})
	require.Equal(t, 3, p.Exit())
}

// What a test has found must not drown in what its processes said.
func TestExcerptIsShort(t *testing.T) {
	require.Equal(t, "a\nb\n", Excerpt("a\nb"))
	require.Empty(t, Excerpt(""))
	got := strings.Split(Excerpt(strings.Repeat(strings.Repeat("x", 1000)+"\n", 100)+"the end\n"), "\n")
	require.Len(t, got, excerptLines+2)
	require.Equal(t, "  … 61 lines …", got[0])
	require.Equal(t, strings.Repeat("x", excerptWidth)+"…", got[1])
	require.Equal(t, []string{"the end", ""}, got[excerptLines:])
}
