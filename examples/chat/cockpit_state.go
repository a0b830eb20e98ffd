package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-885536be/p2p/p2pchat"
)

const (
	keptTalk    = 200 // messages of a column that are kept
	keptPassing = 200 // lines of the lane that are kept
)

// deck is what the cockpit shows. It is a function of what happened, in order:
// its methods are the happenings, and each returns the lines that tell of it
// where there is no screen.
type deck struct {
	title   string // how the group is run
	columns []*column
	lane    []passing
	act     string // heading of what is played
	told    string // narration
	note    string // the last thing that the person must know
	wrong   bool   // note is an error
	weather weather
}

// fate is what became of a process.
type fate int

const (
	starting fate = iota
	up
	stopped // by a signal
	killed
	left
	ended // for a reason of its own
)

func (f fate) String() string {
	return [...]string{"starting", "up", "STOPPED", "KILLED", "left", "ENDED"}[f]
}

// column is one process.
type column struct {
	nick  string
	id    uint32 // the last it had in the group
	key   string
	pid   int
	fate  fate
	why   string // for ended
	view  viewData
	coord string // key of the coordinator it follows
	hist  string // digest of its history
	n     uint64 // messages of it
	same  int    // members with the same digest
	of    int
	beat  time.Time // when it last sent or heard a heartbeat
	talk  []spoken
	side  int // of a cut, from 1
}

type spoken struct {
	m    string // its key
	from string
	text string
	own  bool
	late bool // came to stand above others that were there
}

// passing is one line of the lane of elections.
type passing struct {
	at   time.Time
	term uint64 // 0: not of an election
	kind string // ELECTION, TOKEN, …, or what else happened
	why  string
	from string
	to   []string // nobody: everybody
	got  []string // who received it
}

// weather is what the cockpit does to the network.
type weather struct {
	sides [][]string // names of columns
	loss  int        // percent
	delay time.Duration
}

func (f weather) String() string {
	var parts []string
	if len(f.sides) > 0 {
		sides := make([]string, len(f.sides))
		for i, s := range f.sides {
			sides[i] = strings.Join(s, ",")
		}
		parts = append(parts, "cut "+strings.Join(sides, " | "))
	}
	if f.loss > 0 {
		parts = append(parts, fmt.Sprintf("loss %d%%", f.loss))
	}
	if f.delay > 0 {
		parts = append(parts, "delay "+f.delay.String())
	}
	return strings.Join(parts, ", ")
}

// sideOf is the side of a cut that a node is on, from 1.
func (f weather) sideOf(nick string) int {
	return 1 + slices.IndexFunc(f.sides, func(side []string) bool { return slices.Contains(side, nick) })
}

// name is how a column's node is called: its nick, and its ID once it has one.
func (c *column) name() string { return nameOf(c.nick, c.id) }

func nameOf(nick string, id uint32) string {
	if id == 0 {
		return harmlessNick(nick)
	}
	return show(p2pchat.Peer{Nick: nick, ID: id})
}

func refName(p *peerRef) string {
	if p == nil {
		return "all"
	}
	return nameOf(p.Nick, p.ID)
}

// alive is whether the process is there.
func (c *column) alive() bool { return c.fate <= stopped }

// member is whether it is there and has been taken in.
func (c *column) member() bool { return c.alive() && c.view.Size > 0 }

// leads is whether the node coordinates the group, as far as it knows itself.
func (c *column) leads() bool { return c.member() && c.coord == c.key }

// line is how a happening is told without a screen.
func (d *deck) line(who, format string, args ...any) []string {
	return []string{fmt.Sprintf("%-10s ", who) + fmt.Sprintf(format, args...)}
}

// spawned: a process was started, in a new column or in that of one that is
// gone.
func (d *deck) spawned(i int, nick string, pid int) []string {
	c := &column{nick: nick, pid: pid}
	if i == len(d.columns) {
		d.columns = append(d.columns, c)
	} else {
		d.columns[i] = c
	}
	return d.line(nick, "process %d", pid)
}

// signalled: the cockpit did something to a process.
func (d *deck) signalled(i int, f fate, now time.Time) []string {
	c := d.columns[i]
	was := c.fate
	c.fate = f
	what := map[fate]string{up: "CONT", stopped: "STOP", killed: "KILL", left: "LEAVE"}[f]
	if f == up && was != stopped {
		return nil
	}
	d.pass(passing{at: now, kind: what, from: c.name()})
	return d.line(c.name(), "%s (process %d)", strings.ToLower(what), c.pid)
}

// exited: a process is gone; why is empty if it ended by itself and well.
func (d *deck) exited(i int, why string) []string {
	c := d.columns[i]
	switch {
	case c.fate == killed, c.fate == left && why == "":
	case why == "":
		c.fate = left
	default:
		c.fate, c.why = ended, why
	}
	c.side = 0
	return d.line(c.name(), "is gone%s", map[bool]string{true: ": " + why}[why != ""])
}

// disturbed: the network's faults are others now.
func (d *deck) disturbed(f weather, now time.Time) []string {
	was := d.weather
	d.weather = f
	for _, c := range d.columns {
		if c.side = 0; c.alive() {
			c.side = f.sideOf(c.nick)
		}
	}
	if f.String() == was.String() {
		return nil
	}
	kind, text := "FAULT", f.String()
	switch {
	case text == "":
		kind = "HEAL"
	case len(f.sides) > 0 && len(was.sides) == 0:
		kind, text = "CUT", strings.TrimPrefix(text, "cut ")
	}
	d.pass(passing{at: now, kind: kind, from: text})
	return d.line("network", "%s", cmp.Or(f.String(), "healed"))
}

// tell: the narration goes on, below a new heading if there is one.
func (d *deck) tell(act, text string) []string {
	d.told = text
	var lines []string
	if act != "" {
		d.act = act
		lines = append(lines, "", "== "+act+" ==")
	}
	if text != "" {
		lines = append(lines, "-- "+text)
	}
	return lines
}

// noted: there is something the person must know.
func (d *deck) noted(wrong bool, text string) []string {
	d.note, d.wrong = text, wrong
	if text == "" {
		return nil
	}
	return d.line("cockpit", "%s", text)
}

// cleared: the group is no more, another will be founded.
func (d *deck) cleared(title string) []string {
	d.title, d.columns, d.lane, d.weather = title, nil, nil, weather{}
	return d.line("cockpit", "a new group: %s", title)
}

// heard: a process said something.
func (d *deck) heard(i int, h header, line []byte, now time.Time) []string {
	c := d.columns[i]
	c.key = h.Node
	if h.ID != 0 {
		c.id = h.ID
	}
	if c.fate == starting {
		c.fate = up
	}
	switch h.Ev {
	case "join":
		return d.joined(c, decode[joinBody](line))
	case "view":
		return d.viewed(c, decode[viewBody](line))
	case "coord":
		return d.coordinated(c, decode[coordBody](line), stamp(h, now))
	case "peer":
		b := decode[peerBody](line)
		p := passing{at: stamp(h, now), kind: "SUSPECT", from: nameOf(b.Peer.Nick, b.Peer.ID), got: []string{c.name()}}
		switch {
		case b.State == "suspect":
			d.receipt(p, true)
			return d.line(c.name(), "suspects %s: %s", p.from, harmless(b.Why))
		case b.State == "up" && b.Why == "heard":
			p.kind = "WELL"
			d.receipt(p, true)
			return d.line(c.name(), "finds %s well", p.from)
		}
	case "hb":
		c.beat = now
	case "elect":
		return d.elected(c, decode[electBody](line), stamp(h, now))
	case "msg":
		return d.spoke(c, decode[msgBody](line))
	case "order":
		c.sort(decode[orderBody](line).Items)
	case "digest":
		b := decode[digestBody](line)
		c.hist, c.n, c.same, c.of = b.Hist, b.N, b.Same, b.Of
	case "converged":
		b := decode[convergedBody](line)
		return d.line(c.name(), "holds %s, as all %d do: %s", count(int(b.N), "message", "messages"), b.Members, short(b.Hist))
	case "fault":
		b := decode[faultBody](line)
		return d.line(c.name(), "suffers %s", cmp.Or(b.weather().String(), "no faults"))
	case "warn", "error":
		b := decode[warnBody](line)
		return d.line(c.name(), "%s: %s", h.Ev, harmless(b.Text))
	}
	return nil
}

// decode reads the body of an event. What does not fit is left zero: a child
// is of the same program.
func decode[T any](line []byte) (b T) {
	_ = json.Unmarshal(line, &b)
	return b
}

// stamp is when an event happened, which is a little before it is read.
func stamp(h header, now time.Time) time.Time {
	if t, err := time.Parse("2006-01-02T15:04:05.000Z", h.T); err == nil {
		return t
	}
	return now
}

// weather is what a node said that it suffers; its sides are lists of IDs.
func (b faultBody) weather() weather {
	f := weather{loss: b.Loss, delay: time.Duration(b.DelayMS) * time.Millisecond}
	for _, ids := range b.Cut {
		var side []string
		for _, id := range ids {
			side = append(side, strconv.FormatUint(uint64(id), 10))
		}
		f.sides = append(f.sides, side)
	}
	return f
}

func (d *deck) joined(c *column, b joinBody) []string {
	switch b.Phase {
	case "first":
		return d.line(c.name(), "founds the group")
	case "ready":
		return d.line(c.name(), "joined the group of %s, and has its history", refName(b.Coord))
	case "failed":
		c.why = harmless(b.Text)
		return d.line(c.name(), "cannot join: %s", c.why)
	}
	return nil
}

func (d *deck) viewed(c *column, b viewBody) []string {
	c.view = b.viewData
	text := fmt.Sprintf("view %s  %s", c.notation(), b.Cause)
	for _, p := range b.Joined {
		text += " +" + nameOf(p.Nick, p.ID)
	}
	for _, p := range b.Left {
		text += " -" + nameOf(p.Nick, p.ID)
	}
	for _, p := range b.Renumbered {
		text += " =" + nameOf(p.Nick, p.ID)
	}
	return d.line(c.name(), "%s", text)
}

// notation is the view in one short piece of text.
func (c *column) notation() string {
	v := p2pchat.View{Number: c.view.VID, Coordinator: p2pchat.Peer{ID: c.view.Coord}}
	for _, m := range c.view.Members {
		v.Members = append(v.Members, p2pchat.Peer{ID: m.ID})
	}
	return notation(v)
}

func (d *deck) coordinated(c *column, b coordBody, at time.Time) []string {
	c.coord = ""
	if b.New != nil {
		c.coord = b.New.Node
	}
	if b.New != nil && b.Cause != "first" {
		d.receipt(passing{at: at, term: b.Term, kind: "CROWN", why: b.Cause, from: refName(b.New), got: []string{c.name()}}, true)
	}
	gap := ""
	if b.Cause == "elected" {
		gap = fmt.Sprintf(", %d ms after the last heartbeat", b.GapMS)
	}
	return d.line(c.name(), "follows %s, term %d (%s%s)", refName(b.New), b.Term, b.Cause, gap)
}

// elected: a step of an election. What one sends and others receive is one
// line of the lane; acknowledgements are not shown.
func (d *deck) elected(c *column, b electBody, at time.Time) []string {
	from := refName(b.From)
	p := passing{at: at, term: b.Term, kind: b.Kind, from: from}
	switch b.Phase {
	case "start":
		p.kind, p.from, p.got = "CALLED", "", []string{from}
		d.receipt(p, true)
		return d.line(c.name(), "calls an election for term %d (%s)", b.Term, b.Algo)
	case "send", "recv":
		if b.Kind == "TOKEN_ACK" || b.Kind == "RING_PROBE_OK" {
			return nil
		}
		if b.Kind == "TOKEN" && b.To != nil {
			p.to = []string{refName(b.To)}
		}
		if b.Phase == "recv" {
			p.got = []string{c.name()}
			if b.Kind == "ANSWER" {
				p.to = []string{c.name()}
			}
		} else if b.To != nil && p.to == nil {
			p.to = []string{refName(b.To)}
		}
		d.receipt(p, b.Kind != "TOKEN")
		if b.Phase == "send" {
			return d.line(c.name(), "%s to %s, term %d", b.Kind, refName(b.To), b.Term)
		}
		return d.line(c.name(), "%s from %s, term %d", b.Kind, from, b.Term)
	case "win":
		return d.line(c.name(), "wins term %d", b.Term)
	case "abort":
		d.receipt(passing{at: at, term: b.Term, kind: "CALLED OFF", got: []string{c.name()}}, true)
		return d.line(c.name(), "calls off the election for term %d", b.Term)
	}
	return nil
}

// receipt adds a line to the lane, or adds who got it to the line that tells
// of the same message. gather is false for what is sent along from one to the
// next, whose receivers are not gathered.
func (d *deck) receipt(p passing, gather bool) {
	for i := len(d.lane) - 1; i >= 0 && p.at.Sub(d.lane[i].at) < 3*time.Second; i-- {
		q := &d.lane[i]
		if q.term != p.term || q.kind != p.kind || q.from != p.from {
			continue
		}
		if !gather && !slices.Equal(q.to, p.to) {
			continue
		}
		for _, to := range p.to {
			if !slices.Contains(q.to, to) {
				q.to = append(q.to, to)
			}
		}
		for _, name := range p.got {
			if !slices.Contains(q.got, name) {
				q.got = append(q.got, name)
			}
		}
		if p.at.Before(q.at) {
			q.at = p.at
			d.sortLane()
		}
		return
	}
	d.pass(p)
}

func (d *deck) pass(p passing) {
	d.lane = append(d.lane, p)
	d.sortLane()
	if n := len(d.lane) - keptPassing; n > 0 {
		d.lane = slices.Delete(d.lane, 0, n)
	}
}

// sequence is the order in which the steps of an election follow each other.
var sequence = []string{"SUSPECT", "CALLED", "ELECTION", "ANSWER", "TOKEN", "COORDINATOR", "CROWN"}

// sortLane puts what happened at different processes in its order: by the
// clock, and within one of its milliseconds as one thing follows from another.
func (d *deck) sortLane() {
	slices.SortStableFunc(d.lane, func(a, b passing) int {
		return cmp.Or(a.at.Compare(b.at), slices.Index(sequence, a.kind)-slices.Index(sequence, b.kind))
	})
}

func (d *deck) spoke(c *column, b msgBody) []string {
	s := spoken{
		m: b.M, from: nameOf(b.From.Nick, b.From.ID), text: harmless(b.Text),
		own: b.From.Node == c.key, late: b.Inserted,
	}
	if c.talk = append(c.talk, s); len(c.talk) > keptTalk {
		c.talk = slices.Delete(c.talk, 0, len(c.talk)-keptTalk)
	}
	mark := ""
	switch {
	case b.Inserted:
		mark = "  (belongs above)"
	case b.Backlog:
		mark = "  (from before)"
	}
	return d.line(c.name(), "| %s: %s%s", s.from, s.text, mark)
}

// sort puts the messages into the order of the history, the end of which is
// listed by keys.
func (c *column) sort(keys []string) {
	place := map[string]int{}
	for i, m := range keys {
		place[m] = i + 1
	}
	slices.SortStableFunc(c.talk, func(a, b spoken) int { return place[a.m] - place[b.m] })
}

// short is the beginning of a digest, enough to tell a few apart.
func short(hist string) string { return cut(hist, min(len(hist), 4)) }

// history is one of the different histories that the living nodes hold.
type history struct {
	hist  string
	n     uint64
	names []string
}

// histories are the different ones that the living members hold, as their
// digests tell; the one most have comes first.
func (d *deck) histories() []history {
	var all []history
	for _, c := range d.columns {
		if !c.member() {
			continue
		}
		i := slices.IndexFunc(all, func(h history) bool { return h.hist == c.hist })
		if i < 0 {
			i = len(all)
			all = append(all, history{hist: c.hist, n: c.n})
		}
		all[i].names = append(all[i].names, c.name())
	}
	slices.SortStableFunc(all, func(a, b history) int { return cmp.Compare(len(b.names), len(a.names)) })
	return all
}
