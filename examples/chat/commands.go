package main

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-885536be/p2p/p2pchat"
)

// slash is a command of the line chat.
type slash struct {
	name, args, help string
	do               func(l *line, arg string) error
}

var slashes []slash

func init() {
	slashes = []slash{
		{"who", "", "who is here", (*line).who},
		{"view", "", "the view: term, coordinator, members", (*line).showView},
		{"status", "", "all about this node", (*line).status},
		{"nick", "name", "change your nick", (*line).nick},
		{"whois", "peer", "all about a peer: by 3, ada, ada#3 or key", (*line).whois},
		{"me", "text", "say what you do", (*line).me},
		{"join", "room", "go to a room, and follow it from now on", (*line).joinRoom},
		{"rooms", "", "the rooms of the history", (*line).listRooms},
		{"history", "[n]", "the last n messages of the room (20)", (*line).history},
		{"search", "words", "messages that contain these words", (*line).search},
		{"digest", "", "the digest of your history, and who shares it", (*line).digest},
		{"elect", "", "elect a coordinator now", (*line).elect},
		{"clear", "", "clear the screen", (*line).clear},
		{"crash", "", "die at once, without a goodbye", (*line).crash},
		{"leave", "", "say goodbye and end", (*line).quit},
		{"quit", "", "the same", (*line).quit},
		{"help", "", "this list", (*line).help},
	}
}

// command carries out a command, without its slash.
func (l *line) command(text string) {
	name, arg, _ := strings.Cut(text, " ")
	name, arg = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(arg)
	i := slices.IndexFunc(slashes, func(s slash) bool { return s.name == name })
	if i < 0 {
		names := make([]string, len(slashes))
		for i, s := range slashes {
			names[i] = s.name
		}
		hint := "/help lists all; //" + cut(name, min(len(name), 32)) + " sends it as text"
		if near := nearest(name, names); len(near) > 0 {
			hint = "did you mean /" + strings.Join(near, " or /") + "? " + hint
		}
		l.complain("unknown command /%s: %s", cut(name, min(len(name), 32)), hint)
		return
	}
	s := slashes[i]
	needs, takes := s.args != "" && s.args[0] != '[', s.args != ""
	var err error
	switch {
	case needs && arg == "":
		err = fmt.Errorf("usage: /%s %s", s.name, s.args)
	case !takes && arg != "":
		err = fmt.Errorf("/%s takes no argument", s.name)
	default:
		err = s.do(l, arg)
	}
	if err != nil {
		l.complain("%v", err)
	}
}

// print prints lines in one piece.
func (l *line) print(lines ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range lines {
		l.printf("  %s", s)
	}
}

func (l *line) who(string) error {
	v, self := l.node.View(), l.node.Self()
	lines := make([]string, len(v.Members))
	for i, p := range v.Members {
		lines[i] = fmt.Sprintf("%-20s %s", show(p), address(p.Addr))
		if p.Key == v.Coordinator.Key {
			lines[i] += "  coordinator"
		}
		if p.Key == self.Key {
			lines[i] += "  you"
		}
	}
	l.print(lines...)
	return nil
}

func (l *line) showView(string) error {
	v := l.node.View()
	l.print(fmt.Sprintf("term %d, view %d, coordinator %s  %s", v.Term, v.Number, show(v.Coordinator), v))
	return nil
}

func (l *line) status(string) error {
	s := l.node.Status()
	l.mu.Lock()
	room := l.room
	l.mu.Unlock()
	coordinator := show(s.View.Coordinator) + ", heard " + seconds(s.Heartbeat) + " ago"
	if s.View.Coordinator.Key == s.Self.Key {
		coordinator = "you"
	}
	lines := []string{
		fmt.Sprintf("you         %s  %s", show(s.Self), s.Self.Key),
		fmt.Sprintf("phase       %s", s.Phase),
		fmt.Sprintf("room        %s", harmless(room)),
		fmt.Sprintf("group       %s  %s  %s", s.Group, security(s), s.Algorithm),
		fmt.Sprintf("endpoint    %s", address(s.Self.Addr)),
		fmt.Sprintf("view        term %d  %s", s.View.Term, s.View),
		fmt.Sprintf("coordinator %s", coordinator),
		fmt.Sprintf("history     %s, %s, held by %d of %d", count(int(s.Digest.N), "message", "messages"), s.Digest, s.Same, s.Of),
	}
	if s.LocalOnly {
		lines = append(lines, "network     this machine only")
	}
	for _, reason := range slices.Sorted(maps.Keys(s.Drops)) {
		if n := s.Drops[reason]; n > 0 {
			lines = append(lines, fmt.Sprintf("dropped     %d %s", n, harmless(reason)))
		}
	}
	l.print(lines...)
	return nil
}

func (l *line) nick(name string) error {
	ctx, cancel := context.WithTimeout(l.ctx, opTime)
	defer cancel()
	return l.node.SetNick(ctx, name)
}

func (l *line) whois(name string) error {
	v := l.node.View()
	p, err := findPeer(v, name)
	if err != nil {
		return err
	}
	n := 0
	for m := range l.node.History("").All() {
		if m.From.Key == p.Key {
			n++
		}
	}
	lines := []string{
		fmt.Sprintf("%s  key %s", show(p), p.Key),
		fmt.Sprintf("endpoint %s, %s", address(p.Addr), count(n, "message", "messages")),
	}
	if p.Key == v.Coordinator.Key {
		lines = append(lines, fmt.Sprintf("coordinator of term %d", v.Term))
	}
	l.print(lines...)
	return nil
}

func (l *line) me(text string) error {
	l.say("/me " + text)
	return nil
}

func (l *line) joinRoom(room string) error {
	l.mu.Lock()
	l.room = room
	l.rooms[room] = true
	l.mu.Unlock()
	l.print("you are in " + harmless(room))
	return l.history(strconv.Itoa(burstShown))
}

func (l *line) listRooms(string) error {
	n := map[string]int{}
	l.mu.Lock()
	for room := range l.rooms {
		n[room] = 0
	}
	l.mu.Unlock()
	for m := range l.node.History("").All() {
		n[m.Room]++
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, room := range slices.SortedFunc(maps.Keys(n), func(a, b string) int {
		return cmp.Or(cmp.Compare(n[b], n[a]), cmp.Compare(a, b))
	}) {
		mark := ""
		switch {
		case room == l.room:
			mark = "  you are here"
		case l.rooms[room]:
			mark = "  followed"
		}
		l.printf("  %-20s %s%s", harmless(room), count(n[room], "message", "messages"), mark)
	}
	return nil
}

func (l *line) history(arg string) error {
	n := 20
	if arg != "" {
		var err error
		if n, err = strconv.Atoi(arg); err != nil || n < 1 {
			return fmt.Errorf("usage: /history [n]")
		}
	}
	l.mu.Lock()
	room := l.room
	l.mu.Unlock()
	l.list(l.node.History(room).Backwards(), n)
	return nil
}

func (l *line) search(words string) error {
	l.list(l.node.History("").Search(words), 20)
	return nil
}

// list prints the first n of the messages, the newest of which comes first, in
// the history's order.
func (l *line) list(messages iter.Seq[p2pchat.Message], n int) {
	var list []p2pchat.Message
	for m := range messages {
		if list = append(list, m); len(list) == n {
			break
		}
	}
	slices.Reverse(list)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(list) == 0 {
		l.printf("  nothing")
	}
	for _, m := range list {
		in := ""
		if m.Room != l.room {
			in = "[" + harmlessNick(m.Room) + "] "
		}
		l.printf("  %6d  %s  %s%s", m.Pos+1, m.Sent.Local().Format(clock), in, said(m))
	}
}

func (l *line) digest(string) error {
	s := l.node.Status()
	l.print(fmt.Sprintf("%s, %s, the same at %d of %d", s.Digest, count(int(s.Digest.N), "message", "messages"), s.Same, s.Of))
	return nil
}

func (l *line) elect(string) error {
	ctx, cancel := context.WithTimeout(l.ctx, opTime)
	defer cancel()
	return l.node.Elect(ctx)
}

func (l *line) clear(string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.interactive {
		fmt.Fprint(l.out, "\x1b[2J\x1b[H")
	}
	return nil
}

func (l *line) crash(string) error {
	l.end(ending{code: exitCrash})
	<-l.ctx.Done()
	return nil
}

func (l *line) quit(string) error {
	l.end(ending{cause: "quit", graceful: true})
	<-l.ctx.Done()
	return nil
}

func (l *line) help(string) error {
	var lines []string
	for _, s := range slashes {
		lines = append(lines, strings.TrimRight(fmt.Sprintf("/%-8s %-6s %s", s.name, s.args, s.help), " "))
	}
	l.print(append(lines, "anything else is sent to the room; //text sends a leading slash")...)
	return nil
}
