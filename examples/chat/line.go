package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/seed-885536be/p2p/p2pchat"
)

const (
	maxTyped   = 1 << 20                // bytes of a typed line
	burstShown = 10                     // messages of a burst that are shown
	burstGap   = 150 * time.Millisecond // quiet that ends a burst
	viewColumn = 72                     // where the view stands in a line, if that is wide enough
	clock      = "15:04:05"

	promptGap   = 250 * time.Millisecond // between two looks at the group's state for the prompt
	progressGap = time.Second            // between two lines about the progress of joining
)

// line is the face for people: lines in, lines out.
type line struct {
	*session
	settings settings
	in       io.Reader
	err      io.Writer
	log      *redirect
	welcomed chan struct{} // closed when the person knows to be a member

	mu       sync.Mutex // guards all below, and the output
	out      io.Writer
	term     *terminal       // nil if input or output is no terminal that could be
	room     string          // where text goes
	rooms    map[string]bool // that are shown
	burst    burst
	more     func() iter.Seq[p2pchat.Message] // what /more goes on with, the newest first
	from     p2pchat.Peer                     // of the last direct message
	leader   p2pchat.PeerID                   // of the last view that was shown
	number   uint32                           // the own one in the last view
	progress time.Time                        // when the progress of joining was shown last
}

func newLine(s *session, set settings, log *redirect, in io.Reader, out, err io.Writer) *line {
	return &line{
		session: s, settings: set, log: log, in: in, out: out, err: err,
		welcomed: make(chan struct{}), room: set.room, rooms: map[string]bool{set.room: true},
	}
}

func isTerminal(f any) bool {
	fd, ok := f.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(fd.Fd()))
}

// burst collects messages that come late, from another node's stock or from
// the other side of a split, of which there may be very many at once.
type burst struct {
	timer    *time.Timer
	n        int // in rooms that are shown
	inserted int
	last     []p2pchat.Message
}

func (l *line) printf(format string, args ...any) {
	fmt.Fprintf(l.out, format+"\n", args...)
}

// note prints one line about the group: the time, a mark of two or three
// characters, the text, and the view if there is one.
func (l *line) note(mark, text string, v *p2pchat.View) {
	s := fmt.Sprintf("%s  %-3s %s", time.Now().Format(clock), mark, text)
	if v != nil {
		view, column := notation(*v), viewColumn
		if l.term != nil {
			column = min(column, l.term.width()-textWidth(view)-1)
		}
		s += strings.Repeat(" ", max(2, column-textWidth(s))) + view
	}
	l.printf("%s", s)
}

// notation is the view in one short piece of text.
func notation(v p2pchat.View) string {
	const most = 16
	s := v.String()
	if len(v.Members) <= most {
		return s
	}
	few := v
	few.Members = v.Members[:most]
	return strings.TrimSuffix(strings.Replace(few.String(), fmt.Sprintf("(%d)", most), fmt.Sprintf("(%d)", len(v.Members)), 1), "]") + ",…]"
}

func (l *line) opened() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.openTerminal()
	s := l.node.Status()
	security := "open (no passphrase)"
	if s.Sealed {
		security = "sealed"
	}
	l.printf("  group %s  wire v%d  %s", l.settings.group, wireVersion, security)
	for _, f := range s.Interfaces {
		if !f.Used && len(l.settings.ifaces) > 0 && !slices.Contains(l.settings.ifaces, f.Name) {
			continue // nobody asked for it
		}
		use := "joined"
		switch {
		case f.Used && f.Why != "":
			use += " (" + f.Why + ")"
		case !f.Used:
			use = "skipped: " + f.Why
		}
		addr := "-"
		if f.Addr.IsValid() {
			addr = f.Addr.String()
		}
		l.printf("  %-8s  %-15s  %s", harmless(f.Name), addr, use)
	}
	if s.LocalOnly {
		l.printf("  this machine only: no network, only programs on it can join")
	}
}

// openTerminal gives a person at a terminal a prompt, for as long as the session
// goes on. l is locked.
func (l *line) openTerminal() {
	if l.ctx.Err() != nil {
		return
	}
	t := openTerminal(l.in, l.out, l.completer)
	if t == nil {
		return
	}
	l.term, l.out = t, t
	if isTerminal(l.err) {
		l.log.to(t) // or it would be written across the prompt
	}
	go func() {
		defer protect()
		<-l.ctx.Done()
		t.close()
	}()
	go func() {
		defer protect()
		l.keepPrompt(t)
	}()
}

// keepPrompt keeps the prompt up to date.
func (l *line) keepPrompt(t *terminal) {
	tick := time.NewTicker(promptGap)
	defer tick.Stop()
	for l.ctx.Err() == nil {
		room := ""
		l.mu.Lock()
		if l.room != l.settings.room {
			room = l.room
		}
		l.mu.Unlock()
		t.setPrompt(prompts(l.node.Status(), room))
		select {
		case <-tick.C:
		case <-l.ctx.Done():
		}
	}
}

func (l *line) drained() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endBurst()
}

func (l *line) message(m p2pchat.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.Backlog || m.Inserted {
		l.addToBurst(m)
		return
	}
	l.endBurst()
	if m.Own && l.term == nil && isTerminal(l.in) {
		return // it stands there, typed
	}
	if l.rooms[m.Room] {
		l.printMessage(m)
	}
}

func (l *line) direct(m p2pchat.Direct) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endBurst()
	l.from = m.From
	l.printf("%s  %s -> you: %s", m.Came.Local().Format(clock), show(m.From), harmless(string(m.Data)))
}

func (l *line) addToBurst(m p2pchat.Message) {
	if l.rooms[m.Room] {
		b := &l.burst
		b.n++
		if m.Inserted {
			b.inserted++
		}
		if len(b.last) == burstShown {
			b.last = b.last[1:]
		}
		b.last = append(b.last, m)
	}
	if l.burst.timer != nil {
		l.burst.timer.Stop()
	}
	l.burst.timer = time.AfterFunc(burstGap, protected(l.drained))
}

// endBurst shows the last messages of a burst, as the history orders them.
func (l *line) endBurst() {
	b := l.burst
	l.burst = burst{}
	if b.timer != nil {
		b.timer.Stop()
	}
	if b.n == 0 {
		return
	}
	if n := b.n - len(b.last); n > 0 {
		l.printf("          … %d messages before these: /history %d", n, b.n)
	}
	slices.SortFunc(b.last, func(a, b p2pchat.Message) int { return int(int64(a.Pos - b.Pos)) })
	for _, m := range b.last {
		l.printMessage(m)
	}
	if b.inserted > 1 {
		l.printf("          ^   %d messages were inserted above: /history", b.inserted)
	}
}

func (l *line) printMessage(m p2pchat.Message) {
	mark := ""
	if m.Inserted {
		mark = "^ "
	}
	room := ""
	if m.Room != l.room {
		room = "[" + harmlessNick(m.Room) + "] "
	}
	text := fmt.Sprintf("%s  %s%s%s", m.Sent.Local().Format(clock), mark, room, said(m))
	if l.term != nil && m.Own && !l.isStable(m.ID) {
		l.term.printMarked(m.ID, text)
		return
	}
	l.printf("%s", text)
}

// isStable reports whether every member holds a message.
func (l *line) isStable(id p2pchat.MessageID) bool {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	return l.node.WaitStable(now, id) == nil
}

// said is a message as people read it. Text that begins with /me is what its
// author does.
func said(m p2pchat.Message) string {
	if m.Dropped {
		return show(m.From) + " (not kept any more)"
	}
	text := harmless(string(m.Data))
	if deed, ok := strings.CutPrefix(text, "/me "); ok {
		return "* " + show(m.From) + " " + deed
	}
	return show(m.From) + ": " + text
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func (l *line) event(e p2pchat.Event) {
	if l.ctx.Err() != nil {
		return // who leaves does not care for the group any more
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	self := l.node.Self()
	switch e := e.(type) {
	case *p2pchat.JoinEvent:
		l.join(e)
	case *p2pchat.ViewEvent:
		l.view(e, self)
	case *p2pchat.CoordinatorEvent:
		l.coordinator(e, self)
	case *p2pchat.PeerEvent:
		who := show(e.Peer)
		if l.node.View().Coordinator.Key == e.Peer.Key {
			who = "coordinator " + who
		}
		switch e.State {
		case p2pchat.PeerSuspect:
			why := "is silent for " + seconds(e.Silent)
			switch e.Why {
			case "reset":
				why = "has broken its connection"
			case "refused":
				why = "refuses connections"
			case "timeout":
				why = "takes no connections"
			}
			l.note("!!", who+" "+why+": suspect", nil)
		case p2pchat.PeerUp:
			if e.Why != "joined" {
				l.note("--", who+" is well", nil)
			}
		}
	case *p2pchat.ElectionEvent:
		if e.Phase == p2pchat.ElectionStart {
			l.note("!!", fmt.Sprintf("election for term %d (%s)", e.Term, e.Algorithm), nil)
		}
	case *p2pchat.NickEvent:
		old := e.Peer
		old.Nick = e.Old
		l.note("--", show(old)+" is now "+show(e.Peer), nil)
	case *p2pchat.StableEvent:
		if l.term != nil {
			l.term.unmark(func(id any) bool {
				m, ok := id.(p2pchat.MessageID)
				return ok && m.Writer == e.Last.Writer && m.N <= e.Last.N
			})
		}
	case *p2pchat.SyncEvent:
		l.showProgress(e)
	case *p2pchat.ForkEvent:
		l.note("!!", show(e.Author)+" forked its history", nil)
	case *p2pchat.WarningEvent:
		l.note("!!", harmless(e.Text), nil)
	case *p2pchat.LaggedEvent:
		l.note("!!", fmt.Sprintf("%d events were not shown", e.Dropped), nil)
	}
}

func (l *line) join(e *p2pchat.JoinEvent) {
	switch e.Phase {
	case p2pchat.JoinProbe:
		if e.Try == 1 {
			l.printf("  looking for the group…")
		}
	case p2pchat.JoinFirst:
		l.printf("  nobody answered -> founding a new group as its coordinator")
		l.welcome()
	case p2pchat.JoinSync:
		l.printf("  taking over the history…")
	case p2pchat.JoinReady:
		l.printf("  joined the group of %s, term %d", show(e.Coordinator), e.Term)
		l.welcome()
	}
}

// showProgress tells, where no prompt does, how far a long history has come.
func (l *line) showProgress(e *p2pchat.SyncEvent) {
	if l.term != nil || l.node.Status().Phase != p2pchat.PhaseSyncing || time.Since(l.progress) < progressGap {
		return
	}
	l.progress = time.Now()
	l.printf("  %d of %s", e.Have, count(int(e.Of), "message", "messages"))
}

func (l *line) welcome() {
	l.printf("  you are #%d. type to chat, /help for commands", l.node.Self().ID)
	select {
	case <-l.welcomed: // not for the first time
	default:
		close(l.welcomed)
	}
}

func (l *line) view(e *p2pchat.ViewEvent, self p2pchat.Peer) {
	notes := [][2]string{}
	add := func(mark, format string, args ...any) {
		notes = append(notes, [2]string{mark, fmt.Sprintf(format, args...)})
	}
	own := slices.ContainsFunc(e.Joined, func(p p2pchat.Peer) bool { return p.Key == self.Key })
	if e.Cause == p2pchat.CauseMerge {
		add("**", "merged with another group: term %d, coordinator %s", e.View.Term, show(e.View.Coordinator))
	}
	if !own {
		for _, p := range e.Joined {
			add("-->", "%s joined", show(p))
		}
	}
	for _, d := range e.Left {
		if d.Failed {
			add("!!", "%s is dead", show(d.Peer))
		} else {
			add("<--", "%s left", show(d.Peer))
		}
	}
	if e.Cause == p2pchat.CauseElected && e.View.Coordinator.Key == l.leader {
		who := show(e.View.Coordinator) + " stays"
		if l.leader == self.Key {
			who = "you stay"
		}
		add("**", "%s coordinator (term %d)", who, e.View.Term)
	}
	l.leader = e.View.Coordinator.Key
	for _, p := range e.Renumbered {
		if p.Key == self.Key {
			add("**", "you were #%d, now #%d (merge)", l.number, p.ID)
		} else {
			add("--", "%s has a new number (merge)", show(p))
		}
	}
	if me, ok := e.View.Find(self.Key); ok {
		l.number = me.ID
	}
	for i, n := range notes {
		var v *p2pchat.View
		if i == len(notes)-1 {
			v = &e.View
		}
		l.note(n[0], n[1], v)
	}
}

func (l *line) coordinator(e *p2pchat.CoordinatorEvent, self p2pchat.Peer) {
	if e.Cause == p2pchat.CauseFirst || e.Cause == p2pchat.CauseMerge || e.Old.ID == 0 {
		return // the start lines, or the view, say so
	}
	who := show(e.New) + " is"
	if e.New.Key == self.Key {
		who = "you are"
	}
	how := fmt.Sprintf("%s without one", seconds(e.Gap))
	if e.Cause == p2pchat.CauseHandover {
		how = "handed over by " + show(e.Old)
	}
	v := l.node.View()
	l.note("**", fmt.Sprintf("%s coordinator (term %d), %s", who, e.Term, how), &v)
}

// input sends what is typed, and carries out what begins with a slash. Nothing
// is read before the node is a member.
func (l *line) input() {
	l.mu.Lock()
	t := l.term
	l.mu.Unlock()
	if t != nil {
		l.edit(t)
		return
	}
	select {
	case <-l.welcomed:
	case <-l.ctx.Done():
		return
	}
	r := bufio.NewReader(l.in)
	for l.ctx.Err() == nil {
		typed, err := readLine(r, maxTyped)
		switch {
		case errors.Is(err, errLineTooLong):
			l.complain("a line is over %d bytes", maxTyped)
		case errors.Is(err, io.EOF):
			l.end(ending{cause: "eof", graceful: true})
			return
		case err != nil:
			l.end(ending{code: exitRuntime, cause: "stdin", err: err, graceful: true})
			return
		default:
			l.typed(strings.ToValidUTF8(string(typed), "\ufffd"))
		}
	}
}

// edit is input at a terminal with a prompt. Lines are carried out one after
// the other, and in a goroutine of their own: Ctrl-C does not wait for them.
func (l *line) edit(t *terminal) {
	lines := make(chan string, 1024)
	go func() {
		defer protect()
		select {
		case <-l.welcomed:
		case <-l.ctx.Done():
		}
		for text := range lines {
			for text := range strings.SplitSeq(text, "\n") { // more than one if they were pasted
				l.typed(text)
			}
		}
	}()
	_ = t.read(func(a ask) {
		switch a.what {
		case askLine:
			select {
			case lines <- a.text:
			case <-l.ctx.Done():
			}
		case askShow:
			l.print(a.text)
		case askClear:
			t.clear()
		case askEnd:
			l.end(ending{cause: "signal", graceful: true})
		case askEOF:
			l.end(ending{cause: "eof", graceful: true})
		}
	})
	l.end(ending{cause: "eof", graceful: true}) // the terminal is gone
	close(lines)
}

func (l *line) typed(text string) {
	if l.term != nil && l.ctx.Err() == nil && strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//") {
		l.mu.Lock()
		l.printf("> %s", harmless(text)) // what follows is the answer
		l.mu.Unlock()
	}
	switch {
	case strings.TrimSpace(text) == "" || l.ctx.Err() != nil:
	case strings.HasPrefix(text, "//"):
		l.say(text[1:])
	case strings.HasPrefix(text, "/"):
		l.command(text[1:])
	default:
		l.say(text)
	}
}

func (l *line) say(text string) {
	l.mu.Lock()
	room := l.room
	l.mu.Unlock()
	if _, err := l.node.Send(l.ctx, room, []byte(text)); err != nil {
		l.complain("not sent: %v", err)
	}
}

// complain tells the person what went wrong.
func (l *line) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.printf("  ! %s", harmless(fmt.Sprintf(format, args...)))
}

func (l *line) closed(e ending) {
	l.mu.Lock()
	t := l.term
	l.mu.Unlock()
	if t != nil {
		t.close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case e.err != nil:
		fail(l.err, e.code, e.err)
	case e.graceful:
		l.printf("  you have left")
	}
}
