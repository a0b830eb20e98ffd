package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

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
		{"msg", "peer text", "say something to one peer alone", (*line).msg},
		{"reply", "text", "the same, to who did so last", (*line).answer},
		{"me", "text", "say what you do", (*line).me},
		{"join", "room", "go to a room, and follow it from now on", (*line).joinRoom},
		{"rooms", "", "the rooms of the history", (*line).listRooms},
		{"history", "[n]", "the last n messages of the room (20)", (*line).history},
		{"search", "words", "messages that contain these words", (*line).search},
		{"more", "", "what was said before those that were listed last", (*line).listMore},
		{"why", "m", "why a message stands where it does: by number or key", (*line).why},
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
		if which := meant(name, "/", names); which != "" {
			hint = which + " " + hint
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
			lines = append(lines, fmt.Sprintf("dropped     %d %s", n, harmless(strings.ReplaceAll(reason, "_", " "))))
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

func (l *line) msg(arg string) error {
	name, text, _ := strings.Cut(arg, " ")
	if text = strings.TrimSpace(text); text == "" {
		return errors.New("usage: /msg peer text")
	}
	to, err := findPeer(l.node.View(), name)
	if err != nil {
		return err
	}
	return l.whisper(to, text)
}

func (l *line) answer(text string) error {
	l.mu.Lock()
	to := l.from
	l.mu.Unlock()
	if to.ID == 0 {
		return errors.New("nobody has sent you a direct message yet")
	}
	return l.whisper(to, text)
}

// whisper sends a direct message. It is marked until the other has it.
func (l *line) whisper(to p2pchat.Peer, text string) error {
	if to.Key == l.node.Self().Key {
		return p2pchat.ErrSelf
	}
	said := fmt.Sprintf("%s  you -> %s: %s", time.Now().Format(clock), show(to), harmless(text))
	id := new(p2pchat.DirectID) // a mark of its own
	l.mu.Lock()
	if l.term != nil {
		l.term.printMarked(id, said)
	}
	l.mu.Unlock()
	l.sendDirect(to.Key, text, func(_ p2pchat.DirectID, err error) {
		switch {
		case err != nil && l.ctx.Err() == nil:
			l.complain("not delivered to %s: %v", show(to), err)
		case err == nil && l.term != nil:
			l.term.unmark(func(other any) bool { return other == id })
		case err == nil:
			l.mu.Lock()
			defer l.mu.Unlock()
			l.printf("%s", said)
		}
	})
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

const pageLen = 20 // messages

func (l *line) history(arg string) error {
	n := pageLen
	if arg != "" {
		var err error
		if n, err = strconv.Atoi(arg); err != nil || n < 1 {
			return fmt.Errorf("usage: /history [n]")
		}
	}
	l.mu.Lock()
	room := l.room
	l.mu.Unlock()
	l.list(l.node.History(room).Backwards, n)
	return nil
}

func (l *line) search(words string) error {
	l.list(func() iter.Seq[p2pchat.Message] { return l.node.History("").Search(words) }, pageLen)
	return nil
}

func (l *line) listMore(string) error {
	l.mu.Lock()
	more := l.more
	l.mu.Unlock()
	if more == nil {
		return errors.New("there is nothing more: /history or /search first")
	}
	l.list(more, pageLen)
	return nil
}

// list prints the first n of the messages, the newest of which comes first, in
// the history's order, and takes note of where /more goes on.
func (l *line) list(messages func() iter.Seq[p2pchat.Message], n int) {
	var list []p2pchat.Message
	more := false
	for m := range messages() {
		if more = len(list) == n; more {
			break
		}
		list = append(list, m)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.more = nil
	if more {
		l.more = after(messages, list[n-1].ID)
		l.printf("  … /more for what was said before")
	}
	if len(list) == 0 {
		l.printf("  nothing")
	}
	for _, m := range slices.Backward(list) {
		l.printf("  %s", l.listed(m))
	}
}

// after is what comes after a message. Its place may have changed meanwhile.
func after(messages func() iter.Seq[p2pchat.Message], last p2pchat.MessageID) func() iter.Seq[p2pchat.Message] {
	return func() iter.Seq[p2pchat.Message] {
		return func(yield func(p2pchat.Message) bool) {
			found := false
			for m := range messages() {
				if found && !yield(m) {
					return
				}
				found = found || m.ID == last
			}
		}
	}
}

// listed is a message with its number in the history. l is locked.
func (l *line) listed(m p2pchat.Message) string {
	in := ""
	if m.Room != l.room && !m.Dropped {
		in = "[" + harmlessNick(m.Room) + "] "
	}
	return fmt.Sprintf("%6d  %s  %s%s", m.Pos+1, m.Sent.Local().Format(clock), in, said(m))
}

const whyShown = 5 // messages of each kind that /why lists

func (l *line) why(arg string) error {
	id, err := p2pchat.ParseMessageID(arg)
	if err != nil {
		n, err := strconv.ParseUint(strings.TrimPrefix(arg, "#"), 10, 64)
		if err != nil || n < 1 {
			return errors.New("usage: /why m, a number as /history shows it or a message's key")
		}
		for m := range l.node.History("").From(n - 1) {
			id = m.ID
			break
		}
	}
	w, ok := l.node.Why(id)
	if !ok {
		return fmt.Errorf("there is no message %s", harmless(arg))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.printf("  %s", l.listed(w.Message))
	l.printf("  key         %s", w.ID)
	l.printf("  height      %d: one more than that of the last its author had seen", w.Height)
	l.printRefs("after", w.After)
	l.printRefs("concurrent", w.Concurrent)
	if len(w.Concurrent) > 0 {
		l.printf("              nobody who wrote these had seen the others: height, time and hash order them")
	}
	switch {
	case w.Own:
		l.printf("  came        from you")
	case w.Came.IsZero():
		l.printf("  came        from the data directory")
	default:
		l.printf("  came        by %s at %s", show(w.Via), w.Came.Local().Format(clock))
	}
	return nil
}

func (l *line) printRefs(title string, ids []p2pchat.MessageID) {
	for i, id := range ids {
		if i == whyShown {
			l.printf("              and %s", count(len(ids)-i, "other", "others"))
			break
		}
		what := id.String()
		if m, ok := l.node.Lookup(id); ok {
			what = l.listed(m)
		}
		l.printf("  %-10s  %s", title, what)
		title = ""
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
	if l.term != nil {
		l.term.clear()
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
		lines = append(lines, strings.TrimRight(fmt.Sprintf("/%-8s %-9s %s", s.name, s.args, s.help), " "))
	}
	l.print(append(lines, "anything else is sent to the room; //text sends a leading slash",
		"^ came late and belongs above; ~ is not held by all who shall have it yet")...)
	return nil
}
