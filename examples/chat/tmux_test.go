//go:build unix

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
)

// tmux is a real terminal, with all its ways to wrap, resize and reflow.
type tmux struct {
	t       *testing.T
	socket  string
	changes chan struct{} // something was shown
}

// inTmux runs a program in a terminal of its own.
func inTmux(t *testing.T, columns, lines int, program ...string) *tmux {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is not installed")
	}
	m := &tmux{t: t, socket: fmt.Sprintf("p2p-test-%d-%d", os.Getpid(), time.Now().UnixNano()), changes: make(chan struct{}, 1)}
	m.do("new-session", "-d", "-x", fmt.Sprint(columns), "-y", fmt.Sprint(lines), strings.Join(program, " "), ";", "set-option", "-g", "window-size", "manual")
	// A client in control mode is told of all output.
	control := m.command("-C", "attach-session")
	in, err := control.StdinPipe()
	require.NoError(t, err)
	out, err := control.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, control.Start())
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			select {
			case m.changes <- struct{}{}:
			default:
			}
		}
	}()
	t.Cleanup(func() {
		in.Close()
		_ = m.command("kill-server").Run()
		_ = control.Wait()
	})
	m.resize(columns, lines)
	return m
}

func (m *tmux) command(args ...string) *exec.Cmd {
	cmd := exec.Command("tmux", append([]string{"-u", "-L", m.socket, "-f", "/dev/null"}, args...)...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "STY=") && !strings.HasPrefix(v, "XTERM_VERSION=") && !strings.HasPrefix(v, "TMUX") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd
}

func (m *tmux) do(args ...string) string {
	m.t.Helper()
	out, err := m.command(args...).CombinedOutput()
	require.NoError(m.t, err, "tmux %v: %s", args, out)
	return string(out)
}

func (m *tmux) resize(columns, lines int) {
	m.t.Helper()
	m.do("resize-window", "-x", fmt.Sprint(columns), "-y", fmt.Sprint(lines))
}

func (m *tmux) types(text string) { m.t.Helper(); m.do("send-keys", "-l", text) }
func (m *tmux) press(keys ...string) {
	m.t.Helper()
	m.do(append([]string{"send-keys"}, keys...)...)
}

// screen is all that was ever shown, without blanks at the ends of lines.
func (m *tmux) screen() string { m.t.Helper(); return m.do("capture-pane", "-p", "-S", "-") }

// sees waits until what is shown fits the pattern.
func (m *tmux) sees(pattern string) string {
	m.t.Helper()
	re, late := regexp.MustCompile(`(?m)`+pattern), time.After(patience)
	for {
		text := m.screen()
		if re.MatchString(text) {
			return text
		}
		select {
		case <-m.changes:
		case <-late:
			require.FailNow(m.t, "waited in vain for "+pattern, text)
		}
	}
}

func TestInTmux(t *testing.T) {
	t.Parallel()
	chat, group := lab.Build(t, "github.com/seed-885536be/p2p/examples/chat"), newGroup()
	a := inTmux(t, 90, 24, append([]string{chat, "-nick", "ada"}, group...)...)
	a.sees(`^\[#1 ada \| c you \| v1 n1 \| = 1/1 0000 \| open\] >`)
	b := start(t, group, "-nick", "bob")
	b.shows("you are #2.")
	a.sees(`n2 \| = 2/2 0000 \| open\] >`)
	a.types("half a 日本 line")
	for i := range 40 { // more than the screen has rows
		b.write("message %d", i)
	}
	text := a.sees(`bob#2: message 39\n\[#1 ada .* open\] > half a 日本 line$`)
	for i := range 40 {
		require.Regexp(t, fmt.Sprintf(`(?m)^\d\d:\d\d:\d\d  bob#2: message %d$`, i), text)
	}
	require.Equal(t, 1, strings.Count(text, "half"), text)

	// The terminal wraps anew what no longer fits, and nothing stays behind. What the
	// program writes between that and being told of it is wrapped for the old width: so
	// there must be nothing to write.
	a.sees(`= 2/2 [0-9a-f]{4} \| open\] > half a 日本 line$`)
	for _, columns := range []int{60, 45, 30, 12, 25, 50, 90} {
		a.resize(columns, 24)
		prompts := map[int]string{12: "#1 >", 25: "#1 >", 30: `\[#1 \| c you\] >`, 45: `\[#1 \| c you\] >`, 50: `\[#1 \| c you \| = 2/2\] >`, 60: `\[#1 ada \| c you \| v2 n2 \| = 2/2\] >`, 90: `open\] >`}
		a.sees(prompts[columns] + ` half`)
		text := a.do("capture-pane", "-p", "-J")
		require.Equal(t, 1, strings.Count(text, "half"), "%d columns:\n%s", columns, text)
	}
	a.press("Enter")
	b.shows("ada#1: half a 日本 line\n")
	a.sees(`^\d\d:\d\d:\d\d  ada#1: half a 日本 line$`)
	a.types("/wh")
	a.press("Tab")
	a.sees(`^  /who  /whois  /why$`)
	a.press("o", "Enter")
	a.sees(`bob#2 +127\.0\.0\.1:\d+`)
	a.press("C-c")
	b.shows("<-- ada#1 left")
}
