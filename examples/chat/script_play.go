package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// stepTime is how long a step may take unless it says otherwise.
const stepTime = time.Minute

// player plays a script in a cockpit, and keeps account of what the nodes said
// and were given, so that the script can say what must hold of it.
type player struct {
	*cockpit
	ctx context.Context // of the step that is played

	mu        sync.Mutex
	sent      map[string]sentBy // what the script let nodes say, by key
	delivered map[*pilot]map[string]int
}

type sentBy struct {
	p    *pilot
	text string
}

func newPlayer(c *cockpit) *player {
	p := &player{cockpit: c}
	p.reset()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heed = p.heard
	return p
}

func (p *player) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent, p.delivered = map[string]sentBy{}, map[*pilot]map[string]int{}
}

func (p *player) heard(n *pilot, h header, line []byte) {
	if h.Ev != "msg" {
		return
	}
	m := decode[msgBody](line).M
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.delivered[n] == nil {
		p.delivered[n] = map[string]int{}
	}
	p.delivered[n][m]++
}

// errWait marks that something was waited for in vain.
var errWait = errors.New("waited in vain")

// play plays the steps. A step that fails ends it.
func (p *player) play(steps []step) ending {
	asserts := 0
	for i := range steps {
		s := &steps[i]
		limit := stepTime
		if s.given["timeout_ms"] {
			limit = time.Duration(s.TimeoutMS) * time.Millisecond
		}
		var cancel context.CancelFunc
		p.ctx, cancel = context.WithTimeout(p.cockpit.ctx, limit)
		err := stepKinds[s.Do].play(p, s)
		cancel()
		if p.cockpit.ctx.Err() != nil {
			return ending{} // it was ended from outside
		}
		if err != nil {
			code := exitRuntime
			if errors.Is(err, errWait) || errors.Is(err, context.DeadlineExceeded) {
				code = exitTimeout
			}
			return ending{code: code, err: fmt.Errorf("%s: %s: %w", s.place, s.Do, err)}
		}
		if s.Do == "assert" {
			asserts++
		}
	}
	p.notice(false, "the script is over: %s, %s held", count(len(steps), "step", "steps"), count(asserts, "assertion", "assertions"))
	return ending{}
}

func (p *player) tell(s *step) error {
	p.happens(func(d *deck) []string { return d.tell(harmless(s.Act), harmless(s.Text)) })
	p.pause(s.Seconds)
	return nil
}

func (p *player) pauseStep(s *step) error {
	p.pause(s.Seconds)
	return nil
}

// pause waits as the pace says: so long, until Enter, or not at all. Enter ends
// every pause.
func (p *player) pause(seconds float64) {
	pace := p.settings.pace
	if seconds == 0 || pace == "fast" || pace == "" && p.panel == nil {
		return
	}
	select {
	case <-p.skip: // pressed before this pause
	default:
	}
	var over <-chan time.Time
	if pace != "step" {
		over = time.After(time.Duration(seconds * float64(time.Second)))
	}
	select {
	case <-over:
	case <-p.skip:
	case <-p.cockpit.ctx.Done():
	}
}

func (p *player) spawn(s *step) error { return p.cockpit.spawn(p.ctx, s.Nick, s.Flags) }

func (p *player) restart(s *step) error {
	i, err := p.find(s.Node)
	if err != nil {
		return err
	}
	return p.respawn(p.ctx, i)
}

func (p *player) found(s *step) error {
	p.refound(s.Election)
	p.reset()
	return nil
}

func (p *player) say(s *step) error {
	i, err := p.find(s.Node)
	if err != nil {
		return err
	}
	return p.sends([]int{i}, []string{s.Text})
}

func (p *player) burst(s *step) error {
	nodes, err := p.nodesOf(s)
	if err != nil {
		return err
	}
	texts := make([]string, s.N)
	for k := range texts {
		texts[k] = fmt.Sprintf("%d of %d", k+1, s.N)
	}
	return p.sends(nodes, texts)
}

// sends lets nodes say things, all at once, and takes note of their keys.
func (p *player) sends(nodes []int, texts []string) error {
	type sending struct {
		by   sentBy
		call *call
	}
	var all []sending
	for _, text := range texts {
		for _, i := range nodes {
			n := p.at(i)
			k, err := n.begin("send", "text", text)
			if err != nil {
				return fmt.Errorf("%s: %w", n.nick, err)
			}
			all = append(all, sending{sentBy{n, text}, k})
		}
	}
	for _, s := range all {
		data, err := s.call.wait(p.ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", s.by.p.nick, err)
		}
		p.mu.Lock()
		p.sent[decode[sentData](data).M] = s.by
		p.mu.Unlock()
	}
	return nil
}

// kill, and leave, return when the process is gone.
func (p *player) kill(s *step) error  { return p.ends(s, killed) }
func (p *player) leave(s *step) error { return p.ends(s, left) }

func (p *player) ends(s *step, f fate) error {
	i, err := p.find(s.Node)
	if err != nil {
		return err
	}
	n := p.at(i)
	if err := p.signal(i, f); err != nil {
		return err
	}
	select {
	case <-n.done:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

func (p *player) stop(s *step) error { return signals(stopped)(p.cockpit, s.Node) }
func (p *player) cont(s *step) error { return signals(up)(p.cockpit, s.Node) }

func (p *player) elect(s *step) error { return p.cmdElect(s.Node) }
func (p *player) heal(*step) error    { return p.disturb(weather{}, p.await) }

func (p *player) cut(s *step) error {
	f, err := p.split(s.Sides)
	if err != nil {
		return err
	}
	return p.disturb(f, p.await)
}

// await waits for the reply to a command.
func (p *player) await(n *pilot, k *call, err error) error {
	if err == nil {
		_, err = k.wait(p.ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", n.nick, err)
	}
	return nil
}

func (p *player) loss(s *step) error {
	f := p.weather()
	f.loss = s.Percent
	return p.disturb(f, p.await)
}

func (p *player) delay(s *step) error {
	f := p.weather()
	f.delay = time.Duration(s.MS) * time.Millisecond
	return p.disturb(f, p.await)
}

// nodesOf are the nodes that a step is about: all that live, unless it names
// them.
func (p *player) nodesOf(s *step) ([]int, error) {
	if s.Nodes == nil {
		if nodes := p.living(); len(nodes) > 0 {
			return nodes, nil
		}
		return nil, errors.New("nobody is there")
	}
	var nodes []int
	for _, name := range s.Nodes {
		i, err := p.find(name)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, i)
	}
	return nodes, nil
}

// name is how the node in column i is called.
func (p *player) name(i int) string {
	p.cockpit.mu.Lock()
	defer p.cockpit.mu.Unlock()
	return p.deck.columns[i].name()
}

// wait waits until the same holds at all of the nodes.
func (p *player) wait(s *step) error {
	nodes, err := p.nodesOf(s)
	if err != nil {
		return err
	}
	args := []any{"for", s.For}
	if s.given["n"] {
		args = append(args, "n", s.N)
	}
	if s.given["text"] {
		args = append(args, "text", s.Text)
	}
	if len(s.Is) > 0 {
		i, err := p.find(s.Is[0])
		if err != nil {
			return err
		}
		args = append(args, "id", p.id(i))
	}
	calls := make([]*call, len(nodes))
	for k, i := range nodes {
		if calls[k], err = p.at(i).begin("wait", args...); err != nil {
			return fmt.Errorf("%s: %w", p.name(i), err)
		}
	}
	for k, i := range nodes {
		if _, err := calls[k].wait(p.ctx); errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%w for %s, which %s", errWait, s.what(), p.sees(i))
		} else if err != nil {
			return fmt.Errorf("%s: %w", p.name(i), err)
		}
	}
	return nil
}

// what names what a step waits for.
func (s *step) what() string {
	what := s.For
	if s.given["n"] {
		what += fmt.Sprintf(" n=%d", s.N)
	}
	if s.given["text"] {
		what += fmt.Sprintf(" %q", s.Text)
	}
	if len(s.Is) > 0 {
		what += " " + strings.Join(s.Is, " ")
	}
	return what
}

// sees tells what a node sees of the group.
func (p *player) sees(i int) string {
	p.cockpit.mu.Lock()
	defer p.cockpit.mu.Unlock()
	c := p.deck.columns[i]
	return fmt.Sprintf("%s has not: it is %s, has the view %s and %d messages, digest %s, held by %d of %d",
		c.name(), strings.ToLower(c.fate.String()), c.notation(), c.n, short(c.hist), c.same, c.of)
}

func (p *player) assert(s *step) error {
	nodes, err := p.nodesOf(s)
	if err != nil {
		return err
	}
	if err := asserts[s.That].check(p, s, nodes); err != nil {
		return fmt.Errorf("%s: %w", s.That, err)
	}
	return nil
}

// query gives a command to each of the nodes and returns their replies.
func query[T any](p *player, nodes []int, op string, args ...any) ([]T, error) {
	out := make([]T, len(nodes))
	for k, i := range nodes {
		data, err := p.at(i).do(p.ctx, op, args...)
		if err == nil {
			err = json.Unmarshal(data, &out[k])
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name(i), err)
		}
	}
	return out, nil
}

// assertMembers: all of the nodes have one view, of n members.
func (p *player) assertMembers(s *step, nodes []int) error {
	views, err := query[viewData](p, nodes, "view")
	if err != nil {
		return err
	}
	for _, v := range views {
		if v.Size != s.N || v.VID != views[0].VID || v.Coord != views[0].Coord {
			return fmt.Errorf("expected one view of %d members, saw %s", s.N, p.seen(nodes, func(k int) string {
				c := &column{view: views[k]}
				return c.notation()
			}))
		}
	}
	return nil
}

// assertCoordinator: all of the nodes follow one coordinator, one of those
// that are named if any are.
func (p *player) assertCoordinator(s *step, nodes []int) error {
	views, err := query[viewData](p, nodes, "view")
	if err != nil {
		return err
	}
	var allowed []uint32
	for _, name := range s.Is {
		i, err := p.find(name)
		if err != nil {
			return err
		}
		allowed = append(allowed, p.id(i))
	}
	for _, v := range views {
		if v.Coord != views[0].Coord || allowed != nil && !slices.Contains(allowed, v.Coord) {
			want := "one for all"
			if allowed != nil {
				want = strings.Join(s.Is, " or ")
			}
			return fmt.Errorf("expected %s, saw %s", want, p.seen(nodes, func(k int) string { return fmt.Sprintf("#%d", views[k].Coord) }))
		}
	}
	return nil
}

// seen lists what was seen at each of the nodes.
func (p *player) seen(nodes []int, what func(k int) string) string {
	parts := make([]string, len(nodes))
	for k, i := range nodes {
		parts[k] = fmt.Sprintf("%s at %s", what(k), p.name(i))
	}
	return strings.Join(parts, ", ")
}

// histories reads the whole history of each of the nodes.
func (p *player) histories(nodes []int) ([][]msgBody, error) {
	out := make([][]msgBody, len(nodes))
	for k, i := range nodes {
		var err error
		if out[k], err = p.historyOf(i); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (p *player) historyOf(i int) ([]msgBody, error) {
	for {
		items, hist, same := []msgBody(nil), "", true
		for since := new(uint64); since != nil && same; {
			pages, err := query[historyData](p, []int{i}, "history", "since", *since)
			if err != nil {
				return nil, err
			}
			items = append(items, pages[0].Items...)
			same = hist == "" || hist == pages[0].Hist
			hist, since = pages[0].Hist, pages[0].Next
		}
		if same { // else something came in between
			return items, nil
		}
	}
}

// assertEqual: the histories are equal, item by item, and have n items if that
// is given.
func (p *player) assertEqual(s *step, nodes []int) error {
	all, err := p.histories(nodes)
	if err != nil {
		return err
	}
	for k, items := range all {
		if s.given["n"] && len(items) != s.N {
			return fmt.Errorf("expected %d messages, saw %s", s.N, p.seen(nodes, func(k int) string { return fmt.Sprint(len(all[k])) }))
		}
		if at, ok := differ(all[0], items); ok {
			return fmt.Errorf("expected one history, saw %s at position %d", p.seen([]int{nodes[0], nodes[k]}, func(j int) string {
				if h := all[[]int{0, k}[j]]; at < len(h) {
					return fmt.Sprintf("%s %q", h[at].M, h[at].Text)
				}
				return "nothing"
			}), at)
		}
	}
	return nil
}

// differ returns the first place where two histories are not the same.
func differ(a, b []msgBody) (int, bool) {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i].M != b[i].M || a[i].Text != b[i].Text ||
			a[i].From.Node != b[i].From.Node || a[i].Pos != b[i].Pos {
			return i, true
		}
	}
	return 0, false
}

// assertApart: not all of the histories are equal.
func (p *player) assertApart(_ *step, nodes []int) error {
	all, err := p.histories(nodes)
	if err != nil {
		return err
	}
	for _, items := range all {
		if _, ok := differ(all[0], items); ok {
			return nil
		}
	}
	return fmt.Errorf("expected different histories, saw one of %d messages at all", len(all[0]))
}

// assertOnce: each node was given each message of its history exactly once and
// nothing else, and what the living have said is in it as they said it.
func (p *player) assertOnce(_ *step, nodes []int) error {
	all, err := p.histories(nodes)
	if err != nil {
		return err
	}
	for k, i := range nodes {
		if err := p.allDelivered(i, all[k]); err != nil {
			return err
		}
		given, sent := p.account(p.at(i))
		had := map[string]bool{}
		for _, m := range all[k] {
			if had[m.M] {
				return fmt.Errorf("%s has %s %q twice in its history", p.name(i), m.M, m.Text)
			}
			had[m.M] = true
			if n := given[m.M]; n != 1 {
				return fmt.Errorf("expected %s %q to be delivered once, saw it %d times at %s", m.M, m.Text, n, p.name(i))
			}
			if by, ok := sent[m.M]; ok && by.text != m.Text {
				return fmt.Errorf("%s has %q where %s said %q", p.name(i), m.Text, by.p.nick, by.text)
			}
		}
		for m := range given {
			if !had[m] {
				return fmt.Errorf("%s was given %s, which is not in its history", p.name(i), m)
			}
		}
		for m, by := range sent {
			select {
			case <-by.p.done: // what one said just before it died may be lost
			default:
				if !had[m] {
					return fmt.Errorf("%s lacks %s %q, which %s said", p.name(i), m, by.text, by.p.nick)
				}
			}
		}
	}
	return nil
}

// allDelivered returns when the node in column i has told of all messages of
// its history.
func (p *player) allDelivered(i int, items []msgBody) error {
	given, _ := p.account(p.at(i))
	for _, m := range items {
		if given[m.M] > 0 {
			continue
		}
		if _, err := p.at(i).do(p.ctx, "wait", "for", "message", "m", m.M); err != nil {
			return fmt.Errorf("%s: %s: %w", p.name(i), m.M, err)
		}
	}
	return nil
}

// account returns what a node was given, and what all have said.
func (p *player) account(n *pilot) (map[string]int, map[string]sentBy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.delivered[n]), maps.Clone(p.sent)
}

// assertState: the processes are in one of these states.
func (p *player) assertState(s *step, nodes []int) error {
	for _, i := range nodes {
		p.cockpit.mu.Lock()
		state := strings.ToLower(p.deck.columns[i].fate.String())
		p.cockpit.mu.Unlock()
		if !slices.Contains(s.Is, state) {
			return fmt.Errorf("expected %s, saw %s at %s", strings.Join(s.Is, " or "), state, p.name(i))
		}
	}
	return nil
}
