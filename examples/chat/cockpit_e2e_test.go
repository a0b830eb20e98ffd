//go:build linux

package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-885536be/p2p/internal/lab"
	"github.com/seed-885536be/p2p/internal/tty"
)

// The tests of this file run the cockpit, which runs processes of the same
// program.

const chat = "github.com/seed-885536be/p2p/examples/chat"

// seat is a cockpit on a terminal of its own.
type seat struct {
	*tty.Session
	t *testing.T
}

func sit(t *testing.T, width, height int, args ...string) *seat {
	t.Helper()
	s, err := tty.Start(exec.Command(lab.Build(t, chat), args...), width, height)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return &seat{s, t}
}

// sees waits until what is shown matches.
func (s *seat) sees(pattern string) {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	if err := s.Await(lab.Patience, re.MatchString); err != nil {
		require.FailNow(s.t, "it never showed "+pattern, "%v", err)
	}
}

func (s *seat) enter(command string) {
	s.t.Helper()
	require.NoError(s.t, s.Type(command+"\r"))
}

func (s *seat) exits(code int) {
	s.t.Helper()
	got, err := s.Exit(lab.Patience)
	require.NoError(s.t, err)
	require.Equal(s.t, code, got)
}

func TestCockpit(t *testing.T) {
	t.Parallel()
	s := sit(t, 150, 40, append([]string{"-spawn", "4"}, slow...)...)
	s.sees(`╭─ ♛ ada#1 up ─.* bob#2 up ─.* eve#3 up ─.* dan#4 up ─`)
	s.sees(`= one history at all 4: 0 messages`)

	s.enter("1> hello, who is there?")
	s.sees(`(│ ada#1: hello, who is there\?\s+│){4}`)
	s.enter("eve> eve here")
	s.sees(`(│ eve#3: eve here\s+│){4}`)
	s.sees(`= one history at all 4: 2 messages`)

	// The crown moves.
	s.enter("/kill 1")
	s.sees(`╭─ ada#1 KILLED ─.* bob#2 up ─.* eve#3 up ─.*╭─ ♛ dan#4 up ─`)
	s.sees(`KILL +ada#1`)
	s.sees(`COORDINATOR dan#4 ──▶ all  reached (bob#2 eve#3|eve#3 bob#2)`)
	s.sees(`= one history at all 3: 2 messages`)

	// One more, and two histories.
	s.enter("/spawn")
	s.sees(`fay#5 up ─`)
	s.sees(`= one history at all 4: 2 messages`)
	s.enter("/cut bob,3|4,fay")
	s.sees(`cut bob,eve \| dan,fay`)
	s.sees(`bob#2 up CUT 1 ─.* ♛ eve#3 up CUT 1 ─.* ♛ dan#4 up CUT 2 ─.* fay#5 up CUT 2`)
	s.enter("2> just us")
	s.enter("5> we are two")
	s.sees(`≠ 2 histories  A [0-9a-f]{4} \(3\) bob#2 eve#3  B [0-9a-f]{4} \(3\) dan#4 fay#5`)
	s.sees(`│ A [0-9a-f]{4}  3 messages  2/2 .*│ B [0-9a-f]{4}  3 messages  2/2`)
	s.enter("/heal")
	s.sees(`= one history at all 4: 4 messages`)
	s.sees(`HEAL`)

	// What cannot be done is told, and does nothing.
	for _, c := range [][2]string{
		{"/kil 2", `unknown command /kil: did you mean /kill\?`},
		{"/kill", `usage: /kill n`},
		{"/kill 77", `there is no "77"; there are ada#1 bob#2`},
		{"/kill 1", `ada is gone`},
		{"hello", `1> text speaks as node 1; /help`},
		{"9> hello", `there is no "9"`},
		{"2>", `nothing to say`},
		{"/cut 2", `usage: /cut`},
		{"/cut 2|2", `bob is named twice`},
		{"/cut 2|9", `there is no "9"`},
		{"/loss much", `usage: /loss`},
		{"/delay -1", `usage: /delay`},
		{"/burst 0", `usage: /burst`},
		{"/heal now", `/heal takes no argument`},
		{"/spawn bob", `there is a bob already`},
		{"/spawn 7", `"7" would be taken for an ID`},
		{"/restart 2", `bob still runs`},
		{"\x1b[31m\x00/x日本", `unknown command /x日本`},
	} {
		s.enter(c[0])
		s.sees(c[1])
	}
	s.enter("/help")
	s.sees(`1> text · /kill n · /stop n`)

	// Other sizes.
	require.NoError(t, s.Resize(52, 40))
	s.sees(`(?m)^╭─ .*bob#2 up ─+╮╭─ .*eve#3 up ─+╮$`)
	s.sees(`(?m)^╭─ .*dan#4 up ─+╮╭─ .*fay#5 up ─+╮$`)
	s.sees(`gone:  ada#1 killed`)
	require.NoError(t, s.Resize(100, 10))
	s.sees(`(?m)^.*bob#2 up  = [0-9a-f]{4}  4 messages  4/4`)

	// Stopped, and woken.
	s.enter("/stop 2")
	s.sees(`bob#2 STOPPED`)
	s.sees(`\(3\) \[3,4,5\]`)
	s.enter("/cont 2")
	s.sees(`(?m)^.*bob#\d up .*\(4\) `)

	s.enter("/leave 4")
	s.sees(`dan#4 left`)
	s.enter("/restart 1")
	s.sees(`ada#\d up .*\(4\) `)
	s.enter("/quit")
	s.exits(0)
	require.NotContains(t, s.Screen.Text(), "ada", "the terminal is as it was")
}

func TestCockpitEndsByKeys(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"\x03", "\x04"} {
		s := sit(t, 80, 24, "-spawn", "1")
		s.sees(`♛ ada#1 up`)
		require.NoError(t, s.Type(key))
		s.exits(0)
	}
}

func TestCockpitWithoutColor(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(lab.Build(t, chat), "-spawn", "2")
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	session, err := tty.Start(cmd, 80, 24)
	require.NoError(t, err)
	t.Cleanup(session.Close)
	s := &seat{session, t}
	s.sees(`= one history at all 2`)
	for _, line := range s.Screen.Cells() {
		for _, c := range line {
			require.Equal(t, -1, c.Style.Fore)
			require.Equal(t, -1, c.Style.Back)
		}
	}
	s.enter("/quit")
	s.exits(0)
}

// dumb is a cockpit without a terminal.
type dumb struct {
	*exec.Cmd
	t     *testing.T
	stdin *os.File
	ended chan struct{}

	mu    sync.Mutex
	out   bytes.Buffer
	grown chan struct{}
}

func (d *dumb) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.grown)
	d.grown = make(chan struct{})
	return d.out.Write(p)
}

func startDumb(t *testing.T, args ...string) *dumb {
	t.Helper()
	in, stdin, err := os.Pipe()
	require.NoError(t, err)
	defer in.Close()
	d := &dumb{Cmd: exec.Command(lab.Build(t, chat), args...), t: t, stdin: stdin, ended: make(chan struct{}), grown: make(chan struct{})}
	d.Stdin, d.Stdout, d.Stderr = in, d, d
	require.NoError(t, d.Start())
	go func() {
		defer close(d.ended)
		_ = d.Wait()
	}()
	t.Cleanup(func() {
		stdin.Close()
		_ = d.Process.Kill()
		<-d.ended
	})
	return d
}

func (d *dumb) enter(line string) {
	d.t.Helper()
	_, err := d.stdin.WriteString(line + "\n")
	require.NoError(d.t, err)
}

// says waits until a line matches, and returns its groups.
func (d *dumb) says(pattern string) []string {
	d.t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	late := time.After(lab.Patience)
	for {
		d.mu.Lock()
		found, grown, all := re.FindStringSubmatch(d.out.String()), d.grown, d.out.String()
		d.mu.Unlock()
		if found != nil {
			return found
		}
		select {
		case <-grown:
		case <-late:
			require.FailNow(d.t, "it never said "+pattern, "%s", lab.Excerpt(all))
		}
	}
}

func (d *dumb) exits(code int) string {
	d.t.Helper()
	select {
	case <-d.ended:
	case <-time.After(2 * lab.Patience):
		require.FailNow(d.t, "it does not end")
	}
	out := d.out.String()
	require.Equal(d.t, code, d.ProcessState.ExitCode(), "%s", out)
	return out
}

// TestCockpitPlain is the cockpit without a terminal: a line for each happening.
func TestCockpitPlain(t *testing.T) {
	t.Parallel()
	d := startDumb(t, append([]string{"-spawn", "3", "-election", "ring", "-data", t.TempDir()}, calm...)...)
	d.says(`^eve#3 +joined the group of ada#1, and has its history$`)
	d.enter("2> hello")
	d.says(`^eve#3 +\| bob#2: hello$`)
	d.says(`^ada#1 +holds 1 message, as all 3 do`)
	d.enter("/burst 3")
	d.says(`^bob#2 +holds 10 messages, as all 3 do`)
	d.enter("/kill coordinator")
	d.says(`^ada#1 +is gone: killed$`)
	d.says(`^eve#3 +TOKEN to bob#2, term \d+$`)
	d.says(`^bob#2 +follows eve#3, term \d+ \(elected, \d+ ms after the last heartbeat\)$`)
	d.enter("/restart ada") // with its key and history
	d.says(`(?s)\Qkill (process\E.*^ada#\d+ +holds 10 messages, as all 3 do`)
	d.enter("/elect")
	d.says(`(?s)\Qholds 10 messages\E.*calls an election for term \d+ \(ring\)`)
	d.enter("/loss 10%")
	d.says(`^network +loss 10%$`)
	d.enter("/delay 5ms")
	d.says(`^network +loss 10%, delay 5ms$`)
	d.enter("/nonsense")
	d.says(`^cockpit +unknown command /nonsense: /help lists all$`)
	d.enter("/help")
	d.says(`^ +/kill +n +end the process of node n, by SIGKILL$`)
	d.stdin.Close() // the end of input is the end
	out := d.exits(0)
	require.NotContains(t, out, "\x1b")
}

// TestCockpitNewcomerSuffers starts processes while the network is bad, which is
// no better for them.
func TestCockpitNewcomerSuffers(t *testing.T) {
	t.Parallel()
	d := startDumb(t, append([]string{"-spawn", "2"}, slow...)...)
	d.says(`^bob#2 +joined`)
	d.enter("/loss 10")
	d.enter("/delay 20")
	d.says(`^network +loss 10%, delay 20ms$`)
	d.enter("/spawn eve")
	d.says(`^eve\S* +suffers loss 10%, delay 20ms$`)
	for _, node := range []string{"ada#1", "bob#2", "eve#3"} { // all know whom to cut off
		d.says(`^` + node + ` +view \[\d+\*\|v\d+\] \(3\)`)
	}
	d.enter("/cut ada|bob,eve")
	d.says(`^eve#3 +suffers cut 1 \| 2,3, loss 10%, delay 20ms$`)
	d.says(`^ada#1 +view \[\d+\*\|v\d+\] \(1\)`)
	d.enter("/spawn dan")
	d.says(`^dan\S* +suffers loss 10%, delay 20ms$`)
	d.says(`^dan#\d+ +founds the group$`) // it is on neither side
	d.enter("/loss 0")
	d.says(`^dan#\d+ +suffers delay 20ms$`)
	d.says(`^ada#1 +suffers cut 1 \| 2,3, delay 20ms$`)
	d.enter("/heal")
	for _, nick := range []string{"ada", "bob", "eve", "dan"} {
		d.says(`^` + nick + `#\d+ +suffers no faults$`)
		d.says(`^` + nick + `#\d+ +view \[\d+\*\|v\d+\] \(4\)`)
	}
	d.enter("/quit")
	require.NotContains(t, d.exits(0), "no member had")
}

// gone waits until processes are no more.
func gone(t *testing.T, pids ...string) {
	t.Helper()
	for _, s := range pids {
		pid, err := strconv.Atoi(s)
		require.NoError(t, err)
		fd, err := unix.PidfdOpen(pid, 0)
		if err == unix.ESRCH {
			continue
		}
		require.NoError(t, err)
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(lab.Patience.Milliseconds()))
			if err == unix.EINTR {
				continue
			}
			require.NoError(t, err)
			require.Equal(t, 1, n, "process %d is still there", pid)
			break
		}
		unix.Close(fd)
	}
}

// TestCockpitIsKilled checks that no process is left when the cockpit is, not
// even one that was stopped, and whatever ended the cockpit.
func TestCockpitIsKilled(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			d := startDumb(t, append([]string{"-spawn", "3"}, calm...)...)
			d.says(`^eve#3 +joined`)
			var pids []string
			for _, nick := range []string{"ada", "bob", "eve"} {
				pids = append(pids, d.says(`^` + nick + ` +process (\d+)$`)[1])
			}
			d.enter("/stop 2")
			d.says(`^bob#2 +stop`)
			require.NoError(t, d.Process.Signal(sig))
			gone(t, pids...)
			<-d.ended
			if sig != syscall.SIGKILL {
				require.Zero(t, d.ProcessState.ExitCode(), d.out.String())
			}
		})
	}
}

func TestCockpitOutputGone(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.Command(lab.Build(t, chat), "-spawn", "2")
	cmd.Stdout = w
	stdin, err := cmd.StdinPipe() // stays open
	require.NoError(t, err)
	defer stdin.Close()
	require.NoError(t, cmd.Start())
	w.Close()
	r.Close()
	require.Error(t, cmd.Wait())
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
}

// script runs a script at full speed, and returns what the cockpit said.
func script(t *testing.T, code int, steps string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(steps), 0o600))
	return startDumb(t, append([]string{"-script", path}, args...)...).exits(code)
}

// TestDemo plays the demo at full speed, with Bully and then Ring, and with
// Ring alone.
func TestDemo(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"bully", "ring"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			d := startDumb(t, "-script", "demo.jsonl", "-election", algorithm)
			out := d.exits(0)
			require.Regexp(t, `the script is over: \d+ steps, 4\d assertions held`, out)
			require.Equal(t, 8, strings.Count(out, " kill (process")*2)
		})
	}
}

func TestScriptFails(t *testing.T) {
	t.Parallel()
	two := `{"do":"spawn"}
{"do":"spawn"}
{"do":"wait","for":"members","n":2}
{"do":"say","node":"ada","text":"one"}
{"do":"wait","for":"converged","n":2}
`
	for _, c := range []struct {
		name, steps string
		code        int
		want        string
	}{
		{"what holds", two + `{"do":"assert","that":"equal","n":1}
{"do":"assert","that":"once"}
{"do":"pause","s":3000}
{"do":"tell","text":"a long one","s":3000}`, 0, `the script is over: 9 steps, 2 assertions held`},
		{"members", two + `{"do":"assert","that":"members","n":3}`, 1,
			`x.jsonl:6: assert: members: expected one view of 3 members, saw \[1\*\|v2\] \(2\) \[1,2\] at ada#1, `},
		{"coordinator", two + `{"do":"assert","that":"coordinator","is":["bob"]}`, 1,
			`x.jsonl:6: assert: coordinator: expected bob, saw #1 at ada#1, #1 at bob#2`},
		{"number of messages", two + `{"do":"assert","that":"equal","n":2}`, 1,
			`x.jsonl:6: assert: equal: expected 2 messages, saw 1 at ada#1, 1 at bob#2`},
		{"apart", two + `{"do":"assert","that":"apart"}`, 1,
			`x.jsonl:6: assert: apart: expected different histories, saw one of 1 messages at all`},
		{"state", two + `{"do":"kill","node":"bob"}
{"do":"assert","that":"state","nodes":["bob"],"is":["up","left"]}`, 1,
			`x.jsonl:7: assert: state: expected up or left, saw killed at bob#2`},
		{"equal", two + `{"do":"cut","sides":[["ada"],["bob"]]}
{"do":"say","node":"ada","text":"two"}
{"do":"assert","that":"equal"}`, 1,
			`x.jsonl:8: assert: equal: expected one history, saw \S+ "two" at ada#1, nothing at bob#2 at position 1`},
		{"lost", two + `{"do":"cut","sides":[["ada"],["bob"]]}
{"do":"say","node":"ada","text":"two"}
{"do":"assert","that":"once"}`, 1,
			`x.jsonl:8: assert: once: bob#2 lacks \S+ "two", which ada said`},
		{"wait", two + `{"do":"wait","for":"members","n":3,"timeout_ms":50}`, 5,
			`x.jsonl:6: wait: waited in vain for members n=3, which ada#1 has not: it is up, has the view .* and 1 messages`},
		{"nobody", `{"do":"burst","n":1}`, 1, `x.jsonl:1: burst: nobody is there`},
		{"unknown node", two + `{"do":"kill","node":"eve"}`, 1, `x.jsonl:6: kill: there is no "eve"; there are ada#1 bob#2`},
		{"unknown flag", `{"do":"spawn","flags":["-nonsense"]}`, 1, `x.jsonl:1: spawn: ada does not become a member: the process has ended`},
		{"not a script", "nonsense", 2, `x.jsonl:1: not a JSON object`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Regexp(t, c.want, script(t, c.code, c.steps, calm...))
		})
	}
}
