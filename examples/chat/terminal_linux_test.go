package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
	"github.com/seed-885536be/p2p/internal/tty"
)

// person is somebody at a real terminal, in front of the real program.
type person struct {
	*tty.Session
	t *testing.T
}

func sitDown(t *testing.T, group []string, columns, lines int, args ...string) *person {
	t.Helper()
	cmd := exec.Command(lab.Build(t, "github.com/seed-885536be/p2p/examples/chat"), append(append([]string{}, group...), args...)...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return slices.Contains([]string{"TERM", "NO_COLOR", "XTERM_VERSION", "STY"}, name)
	}), "TERM=xterm-256color", "USER=somebody", "XTERM_VERSION=cuts rows that become too long")
	return &person{t: t, Session: open(t, cmd, columns, lines)}
}

func open(t *testing.T, cmd *exec.Cmd, columns, lines int) *tty.Session {
	t.Helper()
	s, err := tty.Start(cmd, columns, lines)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func (p *person) types(text string) {
	p.t.Helper()
	require.NoError(p.t, p.Type(text))
}

// sees waits until the screen fits all of the patterns.
func (p *person) sees(patterns ...string) {
	p.t.Helper()
	for _, pattern := range patterns {
		re := regexp.MustCompile(`(?m)` + pattern)
		require.NoError(p.t, p.Await(patience, func(text string) bool { return re.MatchString(text) }), "%s", pattern)
	}
}

// last is the last line of the screen that is not blank.
func (p *person) last() string {
	text := strings.TrimRight(p.Screen.Text(), "\n")
	return text[strings.LastIndexByte(text, '\n')+1:]
}

func (p *person) leaves(code int) {
	p.t.Helper()
	got, err := p.Exit(patience)
	require.NoError(p.t, err)
	require.Equal(p.t, code, got, p.Screen.Text())
}

const full = `\[#%d %s \| c (you|#\d+ hb \d+\.\ds) \| v\d+ n%d \| = %d/%d [0-9a-f]{4} \| open\] >`

func promptOf(id int, nick string, n int) string { return fmt.Sprintf(full, id, nick, n, n, n) }

// neighbours are two people at terminals, who know of each other.
func neighbours(t *testing.T, nickA, nickB string, args ...string) (a, b *person) {
	t.Helper()
	group := append(newGroup(), args...)
	a = sitDown(t, group, 90, 24, "-nick", nickA)
	a.sees(`you are #1\. type to chat`)
	b = sitDown(t, group, 90, 24, "-nick", nickB)
	a.sees(`n2 \| = 2/2`)
	b.sees(`you are #2\. type to chat`, `n2 \| = 2/2`)
	a.sees(`^\d\d:\d\d:\d\d  --> ` + nickB + `#2 joined +\[1\*\|v2\] \(2\) \[1,2\]$`) // in one row
	return a, b
}

func TestTypingWhileMessagesArrive(t *testing.T) {
	t.Parallel()
	a, b := neighbours(t, "ada", "bob")
	a.sees(`^` + promptOf(1, "ada", 2) + `$`)
	b.types("half a li")
	b.sees(`open\] > half a li$`)
	for i := range 30 {
		a.types(fmt.Sprintf("message %d\r", i))
		a.sees(fmt.Sprintf(`^\d\d:\d\d:\d\d  ada#1: message %d$`, i)) // held by both: without a mark
		b.sees(fmt.Sprintf(`^\d\d:\d\d:\d\d  ada#1: message %d$`, i))
		require.Regexp(t, `open\] > half a li$`, b.last(), "the line below stays whole")
		require.Equal(t, 1, strings.Count(b.Screen.Text(), "half"), b.Screen.Text())
	}
	b.types("ne\x01日本 \x05!\r")
	a.sees(`^\d\d:\d\d:\d\d  bob#2: 日本 half a line!$`)
	b.sees(`^\d\d:\d\d:\d\d  bob#2: 日本 half a line!$`, promptOf(2, "bob", 2)+`$`)
	b.types("\x1b[A\x17again\r") // the line before, its last word replaced
	a.sees(`bob#2: 日本 half a again$`)
	b.types("\x1b[200~pasted\rof\rthree lines\x1b[201~")
	b.sees(`> pasted↵of↵three lines$`)
	require.NotContains(t, a.Screen.Text(), "pasted", "nothing is sent before Enter")
	b.types("\r")
	a.sees(`bob#2: pasted\n.*bob#2: of\n.*bob#2: three lines$`)
	a.types("\x04")
	a.leaves(exitOK)
	b.sees(`<-- ada#1 left`, `\[#2 bob \| c you \| v\d+ n1`)
	b.types("/quit\r")
	b.leaves(exitOK)
}

func TestCommandsAtATerminal(t *testing.T) {
	t.Parallel()
	a, b := neighbours(t, "ada", "bob")
	b.types("hello\r")
	a.sees(`bob#2: hello$`)
	for _, c := range []struct{ typed, sees string }{
		{"/who\r", `ada#1 .* coordinator  you`},
		{"/view\r", `term 2, view 2, coordinator ada#1`},
		{"/status\r", `phase       member`},
		{"/whois bob\r", `bob#2  key [0-9a-f]{32}`},
		{"/whoi\tb\t\r", `> /whois bob\n  bob#2  key`},
		{"/w\t\t", `/who  /whois  /why`},
		{"\x15/msg b\tpsst\r", `you -> bob#2: psst`},
		{"/me waves\r", `\* ada#1 waves`},
		{"b\thi\r", `ada#1: bob: hi`},
		{"//text\r", `ada#1: /text`},
		{"/history 2\r", `3  \d\d:.* ada#1: bob: hi\n.* 4  .*ada#1: /text`},
		{"/more\r", `1  \d\d:.* bob#2: hello\n`},
		{"/search HELLO\r", `1  \d\d:.* bob#2: hello\n`},
		{"/why 1\r", `height      1:`},
		{"/digest\r", `4 messages, the same at`},
		{"/rooms\r", `lobby  .*you are here`},
		{"/join attic\r", `you are in attic`},
		{"/join l\t\r", `> /join lobby\n  you are in lobby`},
		{"/nick lovelace\r", `\[#1 lovelace \| c you`},
		{"/elect\r", `bob#2 is coordinator \(term 3\)`},
		{"/frob\r", `! unknown command /frob`},
		{"/hlep\r", `did you mean /help\?`},
		{"/help\r", `anything else is sent to the room`},
		{"/clear\r", `\A[^\n]*open\] >\n*\z`},
	} {
		a.types(c.typed)
		a.sees(c.sees)
		if strings.Contains(c.typed, "/msg ") {
			b.sees(`ada#1 -> you: psst`) // before ada has another name
		}
	}
	b.sees(`lovelace#1`)
	b.types("/reply hush\r")
	a.sees(`bob#2 -> you: hush`)
	a.types("/crash\r")
	a.leaves(exitCrash)
	b.sees(`lovelace#1 is dead`, `n1 \| = 1/1`)
	b.types("/leave\r")
	b.leaves(exitOK)
}

func TestNarrowWindow(t *testing.T) {
	t.Parallel()
	a := sitDown(t, newGroup(), 90, 24, "-nick", "ada")
	a.sees(`^\[#1 ada \| c you \| v1 n1 \| = 1/1 [0-9a-f]{4} \| open\] >`)
	a.types("a text that is typed")
	for _, c := range []struct {
		columns int
		sees    string
	}{
		{80, `^\[#1 ada \| c you \| v1 n1 \| = 1/1 0000 \| open\] > a text that is typed$`},
		{64, `^\[#1 ada \| c you \| v1 n1 \| = 1/1 0000\] > a text that is typed$`},
		{60, `^\[#1 ada \| c you \| v1 n1 \| = 1/1\] > a text that is typed$`},
		{48, `^\[#1 \| c you \| = 1/1\] > a text that is typed$`},
		{40, `^\[#1 \| c you\] > a text that is typed$`},
		{20, `^#1 > a text that is\n typed$`},
		{7, `^> a te\nxt tha\nt is t\nyped$`},
		{90, `^\[#1 ada \| c you \| v1 n1 \| = 1/1 0000 \| open\] > a text that is typed$`},
	} {
		require.NoError(t, a.Resize(c.columns, 24))
		a.sees(c.sees)
	}
	a.types("\x03")
	a.leaves(exitOK)
}

// TestTerminalIsRestored ends the program in every way, and asks a shell that
// it was started from for the modes of the terminal.
func TestTerminalIsRestored(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(p *person, pid string){
		"Ctrl-C":  func(p *person, _ string) { p.types("half\x03") },
		"Ctrl-D":  func(p *person, _ string) { p.types("\x04") },
		"/quit":   func(p *person, _ string) { p.types("/quit\r") },
		"/crash":  func(p *person, _ string) { p.types("/crash\r") },
		"SIGTERM": func(p *person, pid string) { signalTo(p.t, pid, syscall.SIGTERM) },
		"SIGHUP":  func(p *person, pid string) { signalTo(p.t, pid, syscall.SIGHUP) },
		"SIGINT":  func(p *person, pid string) { signalTo(p.t, pid, syscall.SIGINT) },
		"SIGTERM twice": func(p *person, pid string) {
			signalTo(p.t, pid, syscall.SIGTERM)
			_ = syscall.Kill(number(p.t, pid), syscall.SIGTERM) // it may be gone
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chat := lab.Build(t, "github.com/seed-885536be/p2p/examples/chat")
			group := strings.Join(newGroup(), " ")
			pidFile := t.TempDir() + "/pid"
			cmd := exec.Command("sh", "-c", "before=$(stty -g); sh -c 'echo $$ >"+pidFile+"; exec "+chat+" "+group+" -nick ada'; echo code $?; "+
				`[ "$(stty -g)" = "$before" ] && echo the same || echo different; read line; echo got $line`)
			cmd.Env = append(os.Environ(), "TERM=xterm")
			p := &person{t: t, Session: open(t, cmd, 100, 30)}
			p.sees(`n1 \| = 1/1`)
			pid, err := os.ReadFile(pidFile)
			require.NoError(t, err)
			end(p, strings.TrimSpace(string(pid)))
			p.sees(`code (0|1|137)\n`, `the same\n`)
			require.NotContains(t, p.Screen.Text(), "half", "the prompt is gone")
			p.types("typed\r")
			p.sees(`^got typed`)
		})
	}
}

func signalTo(t *testing.T, pid string, s syscall.Signal) {
	t.Helper()
	require.NoError(t, syscall.Kill(number(t, pid), s))
}

func number(t *testing.T, pid string) int {
	t.Helper()
	n, err := strconv.Atoi(pid)
	require.NoError(t, err)
	return n
}

// panicEnv makes this test program a chat with these flags that has the command
// /panic.
const panicEnv = "P2PCHAT_TEST_PANIC"

// The nodes of a cockpit that is this test program are this test program, too.
func init() {
	if os.Getenv(panicEnv) != "" && !strings.HasPrefix(os.Args[1], "-test.") {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
}

// TestPanicGivesTheTerminalBack lets a goroutine of each face that draws on a
// terminal panic.
func TestPanicGivesTheTerminalBack(t *testing.T) {
	if args := os.Getenv(panicEnv); args != "" {
		slashes = append(slashes, slash{"panic", "", "", func(*line, string) error { panic("on purpose") }})
		orders = append(orders, order{"panic", "", "", func(*cockpit, string) error { panic("on purpose") }})
		os.Exit(run(t.Context(), strings.Fields(args), os.Stdin, os.Stdout, os.Stderr))
	}
	t.Parallel()
	for face, c := range map[string]struct{ args, shows string }{
		"line":    {strings.Join(newGroup(), " "), `n1 \| = 1/1`},
		"cockpit": {"-spawn 1 -iface lo", `ada#1 up`},
	} {
		t.Run(face, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("sh", "-c", "before=$(stty -g); "+os.Args[0]+" -test.run '^TestPanicGivesTheTerminalBack$'; echo code $?; "+
				`[ "$(stty -g)" = "$before" ] && echo the same || echo different; read line; echo got $line`)
			cmd.Env = append(os.Environ(), "TERM=xterm", panicEnv+"="+c.args)
			p := &person{t: t, Session: open(t, cmd, 100, 60)}
			p.sees(c.shows)
			p.types("/panic\r")
			p.sees(`panic: on purpose \[recovered`, `code 2\n`, `the same\n`)
			p.types("typed\r")
			p.sees(`^got typed`)
		})
	}
}

// TestTerminalIsKilled takes the terminal away from under the program, which
// says goodbye to the group all the same.
func TestTerminalIsKilled(t *testing.T) {
	t.Parallel()
	group := newGroup()
	a := start(t, group, "-nick", "ada")
	a.shows("you are #1.")
	cmd := exec.Command(lab.Build(t, "github.com/seed-885536be/p2p/examples/chat"), append(group, "-nick", "bob")...)
	cmd.Env = append(os.Environ(), "TERM=xterm")
	b := &person{t: t, Session: open(t, cmd, 80, 24)}
	b.sees(`you are #2`)
	b.HangUp()
	a.shows("<-- bob#2 left")
	a.in.Close()
	require.Equal(t, exitOK, a.exit())
}

func TestHostileNickAtATerminal(t *testing.T) {
	t.Parallel()
	group := newGroup()
	a := start(t, group, "-nick", "e\x1b[2Jv\u202ee\x1b]0;owned\a")
	a.shows("you are #1.")
	b := sitDown(t, group, 90, 24, "-nick", "bob")
	b.sees(`n2 \| = 2/2`)
	b.types("/w\x7f\t\x15kept")
	a.write("\x1b[2J\x1b[1;1Hgone?\r\u009b1m\u2028over")
	b.sees(`^\d\d:\d\d:\d\d  e\[2Jve\]0;owned#1: \[2J\[1;1Hgone\?1m over$`, `> kept$`, `joined the group of`)
	b.types("\x03")
	b.leaves(exitOK)
}

// TestPlainTerminal checks that neither a terminal that understands no codes
// nor one for output alone is sent any.
func TestPlainTerminal(t *testing.T) {
	t.Parallel()
	chat := lab.Build(t, "github.com/seed-885536be/p2p/examples/chat")
	for name, cmd := range map[string]*exec.Cmd{
		"TERM=dumb":     exec.Command("env", append([]string{"TERM=dumb", chat, "-nick", "ada"}, newGroup()...)...),
		"piped input":   exec.Command("sh", "-c", "(echo hello; echo /who; read x) | "+chat+" -nick ada "+strings.Join(newGroup(), " ")),
		"piped output":  exec.Command("sh", "-c", chat+" -nick ada "+strings.Join(newGroup(), " ")+" | cat"),
		"with NO_COLOR": exec.Command("env", append([]string{"NO_COLOR=1", "TERM=xterm", chat, "-nick", "ada"}, newGroup()...)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &person{t: t, Session: open(t, cmd, 90, 24)}
			p.sees(`you are #1`)
			p.types("hello\r")
			p.sees(`hello`)
			if name == "with NO_COLOR" {
				p.sees(`= 1/1`)
				for _, row := range p.Screen.Cells() {
					for _, c := range row {
						require.Equal(t, tty.Style{Fore: -1, Back: -1}, c.Style)
					}
				}
				return
			}
			require.NotContains(t, p.Screen.Text(), "= 1/1")
		})
	}
}

// TestLogDoesNotBreakTheLine checks that -v, which writes to standard error,
// writes above the prompt.
func TestLogDoesNotBreakTheLine(t *testing.T) {
	t.Parallel()
	a := sitDown(t, newGroup(), 120, 24, "-nick", "ada", "-v")
	a.sees(`n1 \| = 1/1`)
	a.types("half")
	a.sees(`> half$`)
	a.types("\x01/elect \x0b\r")
	a.sees(`level=INFO msg=election`, promptOf(1, "ada", 1)+`$`)
	require.Regexp(t, `^\[#1 ada .*\] >$`, a.last())
	a.types("\x03")
	a.leaves(exitOK)
}
