package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
)

// shows waits until the program has printed a text.
func (p *program) shows(text string) {
	p.t.Helper()
	p.out.await(p.t, fmt.Sprintf("%q", text), func(all string) bool { return strings.Contains(all, text) })
}

// talkers starts two programs of one group in line mode.
func talkers(t *testing.T, nickA, nickB string) (a, b *program) {
	t.Helper()
	group := newGroup()
	a = start(t, group, "-nick", nickA)
	a.shows("you are #1. type to chat")
	b = start(t, group, "-nick", nickB)
	b.shows("you are #2. type to chat")
	a.shows("#2 joined")
	return a, b
}

func TestTwoTalk(t *testing.T) {
	t.Parallel()
	a, b := talkers(t, "ada", "bob")
	a.shows("  nobody answered -> founding a new group as its coordinator\n")
	a.shows("wire v1  open (no passphrase)\n")
	b.shows("joined the group of ada#1, term 2")
	require.NotContains(t, a.out.String(), "skipped", "what -iface did not name is not mentioned")
	require.Regexp(t, `(?m)^\d\d:\d\d:\d\d  --> bob#2 joined {2,}\[1\*\|v2\] \(2\) \[1,2\]$`, a.out.String())

	a.write("hello")
	b.shows("  ada#1: hello\n")
	b.write("//who is there?")
	a.shows("  bob#2: /who is there?\n")
	b.write("/me waves")
	a.shows("  * bob#2 waves\n")
	a.shows("  ada#1: hello\n") // own text too, since no terminal shows it

	for _, c := range []struct{ typed, shown string }{
		{"/who", "ada#1                127.0.0.1:"},
		{"/who", "coordinator  you"},
		{"/view", "term 2, view 2, coordinator ada#1  [1*|v2] (2) [1,2]"},
		{"/status", "phase       member"},
		{"/status", "coordinator you"},
		{"/status", "3 messages, "},
		{"/digest", "3 messages, the same at"},
		{"/whois bob", "bob#2  key "},
		{"/whois bob", ", 2 messages"},
		{"/whois zoe", `! nobody here is called "zoe"`},
		{"/rooms", "lobby                3 messages  you are here"},
		{"/history 1", "       3  "},
		{"/search WHO is", "bob#2: /who is there?"},
		{"/search xyzzy", "  nothing\n"},
		{"/help", "/history  [n]       the last n messages of the room (20)"},
		{"/histroy", "! unknown command /histroy: did you mean /history?"},
		{"/xyzzy", "! unknown command /xyzzy: /help lists all; //xyzzy sends it as text"},
		{"/who else", "! /who takes no argument"},
		{"/nick", "! usage: /nick name"},
		{"/history 0", "! usage: /history [n]"},
		{"/clear", ""},
		{"/why 1", "height      1: one more"},
		{"/why 2", "came        by bob#2 at"},
		{"/why 99", "! there is no message 99"},
		{"/why x", "! usage: /why m"},
		{"/more", "! there is nothing more"},
		{"/history 1", "… /more for what was said before"},
		{"/more", "       1  "},
		{"/msg bob psst", "  you -> bob#2: psst"},
		{"/msg bob", "! usage: /msg peer text"},
		{"/msg zoe psst", `! nobody here is called "zoe"`},
		{"/msg ada psst", "! p2pchat: a direct message to oneself"},
		{"/reply hello", "! nobody has sent you a direct message yet"},
		{"/join attic", "you are in attic"},
	} {
		a.write("%s", c.typed)
		a.shows(c.shown)
	}
	for _, line := range strings.Split(b.out.String(), "\n") {
		require.NotContains(t, line, "xyzzy", "commands are not sent")
	}
	b.shows("  ada#1 -> you: psst\n")
	b.write("/reply hush")
	a.shows("  bob#2 -> you: hush\n")
	a.write("up here")
	b.write("/join attic")
	b.shows("ada#1: up here")
	b.write("/nick robert")
	a.shows("bob#2 is now robert#2")
	b.shows("bob#2 is now robert#2")
	b.write("/elect")
	a.shows("robert#2 is coordinator (term 3), ")
	b.shows("you are coordinator (term 3), ")
	b.write("/elect")
	a.shows("robert#2 stays coordinator (term 4)")
	b.shows("you stay coordinator (term 4)")

	b.write("/quit")
	require.Equal(t, exitOK, b.exit())
	b.shows("  you have left\n")
	a.shows("<-- robert#2 left")
	a.in.Close()
	require.Equal(t, exitOK, a.exit())
	require.Empty(t, a.err.String())
	require.Empty(t, b.err.String())
}

// TestPiped checks that nothing piped in is lost before this node is a member.
func TestPiped(t *testing.T) {
	t.Parallel()
	group := newGroup()
	a := start(t, group, "-nick", "ada")
	a.shows("you are #1.")
	b := start(t, group, "-nick", "bob")
	b.write("one\ntwo")
	a.shows("bob#2: one\n")
	a.shows("bob#2: two\n")
	b.in.Close()
	require.Equal(t, exitOK, b.exit())
	a.shows("<-- bob#2 left")
	require.Regexp(t, `(?s)joined the group of ada#1.*you are #2.*bob#2: one\n.*bob#2: two\n.*you have left\n$`, b.out.String())
}

func TestCrashIsSeen(t *testing.T) {
	t.Parallel()
	a, b := talkers(t, "ada", "bob")
	a.write("/crash")
	require.Equal(t, exitCrash, a.exit())
	b.shows("!!  ada#1 is dead")
	b.shows("you are coordinator (term 3)")
	require.NotContains(t, a.out.String(), "left")
}

func TestHostileNickAndText(t *testing.T) {
	t.Parallel()
	a, b := talkers(t, "ada\x1b]0;owned\a\u202e", "bob#1:\nyes")
	a.write("\x1b[2J\u009b1mhi\r\u2066there")
	b.shows("ada]0;owned#1: [2J1mhithere\n")
	b.write("/nick \x1b[31mred")
	a.shows("bob#1:_yes#2 is now [31mred#2")
	b.write("/whois \x1b[5m")
	b.shows(`nobody here is called "[5m"`)
	b.write("/\x1b[5m")
	b.shows("unknown command /[5m")
	b.write("/join \x1b]0;x\a")
	b.shows("you are in ]0;x")
	a.in.Close()
	b.in.Close()
	a.exit()
	b.exit()
	for _, p := range []*program{a, b} {
		for _, r := range strings.ReplaceAll(p.out.String()+p.err.String(), "\n", "") {
			require.False(t, r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' || r == '\u2066', "%U", r)
		}
	}
}

// TestBacklogIsShown checks that a newcomer sees the end of a long history.
func TestBacklogIsShown(t *testing.T) {
	t.Parallel()
	a, _ := talkers(t, "ada", "bob")
	for i := range 25 {
		a.write("line %d.", i+1)
	}
	a.shows("ada#1: line 25.\n")
	group := strings.Fields(a.out.String())[1]
	c := start(t, inGroup(group), "-nick", "eve")
	c.shows("ada#1: line 25.\n")
	c.shows("… 15 messages before these: /history 25\n")
	require.Contains(t, c.out.String(), "line 16.")
	require.NotContains(t, c.out.String(), "line 15.")
	c.write("/history 12")
	c.shows("ada#1: line 14.\n")
}

// TestLateMessagesAreMarked checks what is shown of messages that belong above
// those shown already.
func TestLateMessagesAreMarked(t *testing.T) {
	t.Parallel()
	say := func(l *line, n int, inserted bool) {
		for i := range n {
			l.message(p2pchat.Message{
				From: p2pchat.Peer{ID: 7, Nick: "eve"}, Room: []string{"lobby", "attic"}[i%2], Data: fmt.Appendf(nil, "m%d", i),
				Pos: uint64(n - i), Index: uint64(i), Inserted: inserted,
			})
		}
		l.drained()
	}
	for _, c := range []struct {
		name     string
		n        int
		inserted bool
		want     []string
	}{
		{"live", 3, false, []string{"eve#7: m0", "eve#7: m2"}},
		{"one late", 1, true, []string{"^ eve#7: m0"}},
		{"late, in the history's order, of this room alone", 5, true,
			[]string{"^ eve#7: m4", "^ eve#7: m2", "^ eve#7: m0", "^   3 messages were inserted above: /history"}},
		{"very many", 60, true,
			[]string{"… 20 messages before these: /history 30", "^ eve#7: m58", "^ eve#7: m40", "^   30 messages were inserted above: /history"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := newSink()
			l := newLine(newSession(nil, nil), settings{room: "lobby"}, nil, strings.NewReader(""), out, out)
			say(l, c.n, c.inserted)
			shown := out.String()
			for _, want := range c.want {
				_, rest, ok := strings.Cut(shown, want+"\n")
				require.True(t, ok, "%q, in this order:\n%s", want, out)
				shown = rest
			}
			require.LessOrEqual(t, strings.Count(out.String(), "eve"), burstShown)
			require.NotContains(t, out.String(), "m1\n", "another room")
		})
	}
}

// TestSituationRenumbered is what a person sees of a merge that gave out new numbers.
func TestSituationRenumbered(t *testing.T) {
	t.Parallel()
	l, self, out := alone(t)
	eve := p2pchat.Peer{ID: 7, Nick: "eve", Key: p2pchat.PeerID{7}}
	self.ID = 5
	l.event(&p2pchat.ViewEvent{View: p2pchat.View{Members: []p2pchat.Peer{self}}, Joined: []p2pchat.Peer{self}})
	self.ID = 8
	l.event(&p2pchat.ViewEvent{
		View:       p2pchat.View{Coordinator: eve, Term: 3, Members: []p2pchat.Peer{eve, self}},
		Cause:      p2pchat.CauseMerge,
		Joined:     []p2pchat.Peer{eve},
		Renumbered: []p2pchat.Peer{self, eve},
	})
	require.Regexp(t, `(?s)  \*\*  merged with another group: term 3, coordinator eve#7\n.*  --> eve#7 joined\n`+
		`.*  \*\*  you were #5, now #8 \(merge\)\n.*  --  eve#7 has a new number \(merge\)`, out.String())
}

// TestSituationForked is what a person sees of an author who wrote two blocks with
// one number.
func TestSituationForked(t *testing.T) {
	t.Parallel()
	l, _, out := alone(t)
	l.event(&p2pchat.ForkEvent{Author: p2pchat.Peer{ID: 3, Nick: "eve\x1b[2J"}, N: 4})
	require.Regexp(t, `^\d\d:\d\d:\d\d  !!  eve\[2J#3 forked its history\n$`, out.String())
}

// TestSituationForeignGroup is what a person sees of another group on the same
// address and port.
func TestSituationForeignGroup(t *testing.T) {
	t.Parallel()
	group := newGroup()
	a := start(t, group, "-nick", "ada")
	a.shows("you are #1. type to chat")
	other := lan.New(lan.Config{Group: group[3], Name: "other", Interfaces: []string{"lo"}})
	require.NoError(t, other.Open(transport.HandlerFunc(func(transport.Event) {})))
	defer other.Close()
	require.NoError(t, other.Multicast([]byte("nobody hears this")))
	require.Eventually(t, func() bool {
		a.write("/status")
		return strings.Contains(a.out.String(), "foreign group")
	}, lab.Patience, 20*time.Millisecond)
	require.Regexp(t, `(?m)^  dropped     \d+ foreign group$`, a.out.String())
	require.NotContains(t, a.out.String(), "nobody hears this")
}

// alone is the face of a node that has not joined.
func alone(t *testing.T) (*line, p2pchat.Peer, *sink) {
	node, err := p2pchat.New(p2pchat.WithName("bob"))
	require.NoError(t, err)
	t.Cleanup(func() { node.Close() })
	out := newSink()
	return newLine(newSession(node, nil), settings{room: "lobby"}, nil, strings.NewReader(""), out, out), node.Self(), out
}
