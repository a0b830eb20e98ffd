package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
)

// patience is how long a test waits for what must happen. Nothing depends on
// its length.
const patience = lab.Patience

// sink is an output whose lines can be waited for.
type sink struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	grown chan struct{}
}

func newSink() *sink { return &sink{grown: make(chan struct{})} }

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.grown)
	s.grown = make(chan struct{})
	return s.buf.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// await waits until done is true of all that was written.
func (s *sink) await(t *testing.T, what string, done func(all string) bool) {
	t.Helper()
	late := time.After(patience)
	for {
		s.mu.Lock()
		all, grown := s.buf.String(), s.grown
		s.mu.Unlock()
		if done(all) {
			return
		}
		select {
		case <-grown:
		case <-late:
			require.FailNow(t, "waited in vain for "+what, "%s", lab.Excerpt(all))
		}
	}
}

// program is the program, run within the test.
type program struct {
	t        *testing.T
	in       *io.PipeWriter
	out, err *sink
	signal   context.CancelFunc
	done     chan struct{}
	code     int
	commands []string // begun, by their refs r1, r2, …
}

// newGroup returns the flags for a group of its own, on this machine only.
func newGroup() []string {
	return inGroup(fmt.Sprintf("239.255.%d.%d:%d", 1+rand.IntN(250), 1+rand.IntN(250), 30000+rand.IntN(2000)))
}

// inGroup returns the flags for a group on this machine only, in which nobody
// founds another group, or is given up, because the machine is busy.
func inGroup(addr string) []string {
	return []string{"-iface", "lo", "-group", addr, "-heartbeat", "2s", "-timeout", "1m"}
}

// start runs the program until the end of the test.
func start(t *testing.T, group []string, args ...string) *program {
	t.Helper()
	out := newSink()
	p := startWith(t, out, append(append([]string{}, group...), args...))
	p.out = out
	return p
}

func startWith(t *testing.T, out io.Writer, args []string) *program {
	in, w := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	p := &program{t: t, in: w, err: newSink(), signal: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.code = run(ctx, args, in, out, p.err)
		in.Close()
	}()
	t.Cleanup(func() {
		p.signal()
		w.Close()
		p.exit()
		if t.Failed() && p.out != nil {
			t.Logf("%v\n%s%s", args, lab.Excerpt(p.out.String()), lab.Excerpt(p.err.String()))
		}
	})
	return p
}

// exit waits for the end of the program and returns its exit code.
func (p *program) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		require.FailNow(p.t, "the program does not end")
	}
	return p.code
}

func (p *program) write(format string, args ...any) {
	p.t.Helper()
	_, err := fmt.Fprintf(p.in, format+"\n", args...)
	require.NoError(p.t, err)
}

type event = map[string]any

func parse(t *testing.T, all string) []event {
	var events []event
	for line := range strings.Lines(all) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		var e event
		require.NoError(t, json.Unmarshal([]byte(line), &e), line)
		events = append(events, e)
	}
	return events
}

// events returns all events up to now.
func (p *program) events() []event { return parse(p.t, p.out.String()) }

// await returns the first event of a kind after the first skip events for
// which fits is true.
func (p *program) await(skip int, ev string, fits func(e event) bool) event {
	p.t.Helper()
	var found event
	p.out.await(p.t, ev, func(all string) bool {
		for _, e := range parse(p.t, all)[skip:] {
			if e["ev"] == ev && (fits == nil || fits(e)) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// begin sends a command and returns its ref.
func (p *program) begin(command string) string {
	p.t.Helper()
	p.commands = append(p.commands, command)
	ref := fmt.Sprintf("r%d", len(p.commands))
	p.write(`%s,"ref":"%s"}`, strings.TrimSuffix(command, "}"), ref)
	return ref
}

func (p *program) reply(ref string) event {
	p.t.Helper()
	return p.await(0, "reply", func(e event) bool { return e["ref"] == ref })
}

// do carries out a command and returns its data.
func (p *program) do(command string) event {
	p.t.Helper()
	r := p.reply(p.begin(command))
	require.Equal(p.t, true, r["ok"], "%v", r)
	require.NotContains(p.t, r, "err")
	data, ok := r["data"].(event)
	require.True(p.t, ok, "%v", r)
	return data
}

// fails carries out a command that must fail, and returns the error's code.
func (p *program) fails(command string) string {
	p.t.Helper()
	r := p.reply(p.begin(command))
	require.Equal(p.t, false, r["ok"], "%v", r)
	require.NotContains(p.t, r, "data")
	require.NotEmpty(p.t, r["err"].(event)["text"])
	return r["err"].(event)["code"].(string)
}

// pair starts two programs in machine mode that are members of one group.
func pair(t *testing.T, args ...string) (a, b *program) {
	t.Helper()
	group := append(newGroup(), args...)
	a = start(t, group, "-json", "-nick", "ada")
	a.do(`{"op":"wait","for":"ready"}`)
	b = start(t, group, "-json", "-nick", "bob")
	b.do(`{"op":"wait","for":"ready"}`)
	a.do(`{"op":"wait","for":"members","n":2}`)
	return a, b
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		args  string
		code  int
		shows string
	}{
		{"unknown flag", "-frobnicate", exitUsage, "not defined: -frobnicate"},
		{"web without port", "-web 127.0.0.1", exitUsage, "-web"},
		{"web on no port", "-web 127.0.0.1:65536", exitUsage, "want ip:port"},
		{"argument", "hello", exitUsage, `unexpected argument "hello"`},
		{"group without port", "-group 239.1.2.3", exitUsage, "-group"},
		{"group is unicast", "-group 10.0.0.1:7000", exitUsage, "want an IPv4 multicast"},
		{"group with port 0", "-group 239.1.2.3:0", exitUsage, "want an IPv4 multicast"},
		{"listen", "-listen here", exitUsage, "-listen"},
		{"listen on a name", "-listen localhost:7000", exitUsage, "-listen"},
		{"listen on no port", "-listen 127.0.0.1:65536", exitUsage, "-listen"},
		{"peer", "-peer here", exitUsage, "-peer \"here\": want ip:port"},
		{"passphrase as a flag", "-pass secret", exitUsage, "not defined: -pass"},
		{"passphrase that is not there", "-pass-file /nowhere/at/all", exitUsage, "/nowhere/at/all"},
		{"empty passphrase", "-pass-file /dev/null", exitUsage, "the first line must be the passphrase"},
		{"endless passphrase", "-pass-file /dev/zero", exitUsage, "over 4096 bytes"},
		{"help has groups", "-h", exitOK, "\nThe network:\n  -iface names "},
		{"help has examples", "-h", exitOK, "chat -iface lo"},
		{"help has every flag", "-h", exitOK, "-pass-file file"},
		{"new key", "-newkey", exitOK, ""},
		{"election", "-election coin", exitUsage, "want bully or ring"},
		{"heartbeat", "-heartbeat soon", exitUsage, "invalid value"},
		{"negative heartbeat", "-heartbeat -1s", exitUsage, "-heartbeat"},
		{"time-out too short", "-heartbeat 2s -timeout 1s", exitUsage, "-timeout"},
		{"empty nick", "-nick=", exitUsage, "-nick: empty"},
		{"nick too long", "-nick " + strings.Repeat("x", 65), exitUsage, "nick"},
		{"empty room", "-room=", exitUsage, "the room \"\" is not"},
		{"room too long", "-room " + strings.Repeat("x", 65), exitUsage, "room"},
		{"empty interface", "-iface lo,", exitUsage, "-iface"},
		{"every fault at once", "-nick= -election coin -listen x", exitUsage, "-election"},
		{"log cannot be opened", "-log /nowhere/at/all", exitRuntime, "/nowhere/at/all"},
		{"no such interface", "-json -iface nosuch0", exitNoNetwork, ""},
		{"version", "-version", exitOK, ""},
		{"help", "-h", exitOK, "usage: chat"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out, err bytes.Buffer
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			in, w := io.Pipe()
			defer w.Close()
			require.Equal(t, c.code, run(ctx, strings.Fields(c.args), in, &out, &err), "%s%s", out.String(), err.String())
			require.Contains(t, err.String(), c.shows)
		})
	}
	var out bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"-version"}, strings.NewReader(""), &out, io.Discard))
	require.Regexp(t, `^chat \S+  wire v1\n$`, out.String())
}

// writeFile writes a file for one test and returns its name.
func writeFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	return name
}

// TestSealedGroup lets people with the same passphrase or code talk, and others
// be told why they are not let in.
func TestSealedGroup(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"-newkey"}, strings.NewReader(""), &out, io.Discard))
	code := out.String()
	require.Regexp(t, `^([0-9A-Z]{4}-){6}[0-9A-Z]{4}\n$`, code)
	for name, c := range map[string]struct{ own, other, says string }{
		"passphrases": {"secret words\r\nmore", "other words", "chat: this group uses another passphrase: ask"},
		"codes":       {code, strings.Repeat("x", 28), "chat: this group uses another passphrase: ask"},
		"open":        {"secret words", "", "group is sealed, you are open: ask"},
		"sealed":      {"", "secret words", "this group is open, you are sealed: start"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			group := newGroup()
			with := func(pass string, args ...string) []string {
				if pass != "" {
					args = append(args, "-pass-file", writeFile(t, pass))
				}
				return args
			}
			a := start(t, group, with(c.own, "-json", "-nick", "ada")...)
			a.do(`{"op":"wait","for":"ready"}`)
			b := start(t, group, with(c.own, "-nick", "bob")...)
			b.shows("you are #2.")
			b.write("hello")
			a.await(0, "msg", func(e event) bool { return e["text"] == "hello" })
			sec := a.await(0, "hello", nil)["sec"]
			require.Equal(t, map[bool]string{true: "open", false: "sealed"}[c.own == ""], sec)
			// A group answers strangers rarely: one comes to each.
			if name == "codes" {
				eve := start(t, group, with(c.other, "-json", "-nick", "eve")...)
				require.Equal(t, exitRefused, eve.exit())
				failed := eve.await(0, "join", func(e event) bool { return e["phase"] == "failed" })
				require.Equal(t, "auth", failed["code"])
				require.EqualValues(t, exitRefused, eve.await(0, "bye", nil)["code"])
				return
			}
			eve := start(t, group, with(c.other, "-nick", "eve")...)
			require.Equal(t, exitRefused, eve.exit())
			require.Contains(t, eve.err.String(), c.says)
			require.Equal(t, 1, strings.Count(eve.err.String(), "\n"))
		})
	}
	mistyped := []byte(code)
	mistyped[0] ^= 'A' ^ 'B' // perhaps no digit at all: then it is none
	if mistyped[0] >= '0' && mistyped[0] <= '9' || mistyped[0] >= 'A' && mistyped[0] <= 'Z' && mistyped[0] != 'U' {
		var err bytes.Buffer
		args := append(newGroup(), "-pass-file", writeFile(t, string(mistyped)))
		require.Equal(t, exitUsage, run(t.Context(), args, strings.NewReader(""), io.Discard, &err))
		require.Contains(t, err.String(), "mistyped")
	}
}

// TestFailedWaitIsSeenInTheExitCode ends the input after a wait that took too
// long.
func TestFailedWaitIsSeenInTheExitCode(t *testing.T) {
	t.Parallel()
	for end, code := range map[string]int{"": exitTimeout, `{"op":"quit"}`: exitOK} {
		p := start(t, newGroup(), "-json")
		require.Equal(t, codeTimeout, p.fails(`{"op":"wait","for":"members","n":7,"timeout_ms":1}`))
		if end != "" {
			p.do(end)
		}
		p.in.Close()
		require.Equal(t, code, p.exit())
		require.EqualValues(t, code, p.await(0, "bye", nil)["code"])
	}
}

func TestPeersWithoutMulticast(t *testing.T) {
	t.Parallel()
	a := start(t, newGroup(), "-json", "-nick", "ada")
	addr := a.await(0, "hello", nil)["addr"].(string)
	a.do(`{"op":"wait","for":"ready"}`)
	b := start(t, inGroup(a.await(0, "hello", nil)["group"].(string)), "-json", "-peer", addr)
	b.do(`{"op":"wait","for":"members","n":2}`)
}
