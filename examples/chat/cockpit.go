package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxSpawn  = 64               // processes of a cockpit
	readyTime = 30 * time.Second // for a process to become a member before the next is started
)

// firstNicks are the names of the processes, in their order.
var firstNicks = []string{"ada", "bob", "eve", "dan", "fay", "gus", "hal", "ida", "joe", "kim", "leo", "mia", "ned", "oda", "pia", "rob"}

// cockpit runs a group of processes of this program in one terminal.
type cockpit struct {
	settings settings
	path     string // of this program
	in       io.Reader
	out, err io.Writer
	panel    *panel // nil without a terminal
	ends     chan ending
	ctx      context.Context // ends when the cockpit begins to end
	cancel   context.CancelFunc
	work     sync.WaitGroup // what runs besides
	spawning sync.Mutex     // one process joins at a time, so that IDs are in the order of the columns

	mu    sync.Mutex
	deck  deck
	nodes []*pilot                              // as deck.columns
	heed  func(p *pilot, h header, line []byte) // gets all that is said; may be nil
	skip  chan struct{}                         // the person does not want to wait any longer
	web   *web
}

// pilot is the process of a column.
type pilot struct {
	*child
	nick  string
	flags []string // its own
}

func newCockpit(s settings, in io.Reader, out, err io.Writer) (*cockpit, error) {
	path, e := os.Executable()
	if e != nil {
		return nil, e
	}
	c := &cockpit{
		settings: s, path: path, in: in, out: out, err: err,
		ends: make(chan ending, 1), skip: make(chan struct{}, 1),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.ground()
	c.deck.title = c.title()
	return c, nil
}

// ground chooses a group of the cockpit's own, on this machine only, so that
// two cockpits do not meet. A group that was asked for is left as it is.
func (c *cockpit) ground() {
	if slices.ContainsFunc(c.settings.given, func(g given) bool { return g.name == "group" }) {
		return
	}
	c.settings.group = fmt.Sprintf("239.255.%d.%d:%d", 1+rand.IntN(250), 1+rand.IntN(250), 20000+rand.IntN(12000)) // #nosec G404 -- a group of its own needs no secret
	if len(c.settings.ifaces) == 0 {
		c.settings.ifaces = []string{"lo"}
	}
}

func (c *cockpit) title() string {
	s := &c.settings
	return fmt.Sprintf("-group %s -iface %s  %s  heartbeat %s, timeout %s",
		s.group, cmp.Or(strings.Join(s.ifaces, ","), "auto"), s.algorithm, s.heartbeat, s.timeout)
}

// args are the flags of a process: those that the cockpit was given, and its
// own.
func (c *cockpit) args(nick string, own []string) []string {
	s := &c.settings
	args := []string{"-json", "-nick", nick, "-group", s.group, "-iface", strings.Join(s.ifaces, ","), "-election", s.algorithm}
	for _, g := range s.given {
		switch g.name {
		case "spawn", "script", "pace", "web", "group", "iface", "election":
		case "data":
			args = append(args, "-data", filepath.Join(g.value, nick))
		case "log":
			args = append(args, "-log", g.value+"."+nick)
		default:
			args = append(args, "-"+g.name+"="+g.value)
		}
	}
	return append(args, own...)
}

// run runs the cockpit and returns the exit code. All its processes are gone
// then.
func (c *cockpit) run(ctx context.Context) int {
	var steps []step
	if c.settings.script != "" {
		var err error
		if steps, err = readScript(c.settings.script); err != nil {
			return fail(c.err, exitUsage, err)
		}
	}
	view, err := startWeb(c.settings.web, c.err)
	if err != nil {
		return fail(c.err, exitRuntime, err)
	}
	defer view.close()
	c.web = view
	c.panel = openPanel(c.in, c.out, c.complete, c.draw)
	played := make(chan ending, 1)
	c.work.Go(protected(func() {
		c.spawnAll(c.settings.spawn)
		if steps != nil {
			played <- newPlayer(c).play(steps)
		}
	}))
	go protected(c.input)()

	var e ending
	tick := time.NewTicker(time.Second / 20)
	defer tick.Stop()
	for done := false; !done; {
		select {
		case <-ctx.Done():
			e, done = ending{cause: "signal"}, true
		case e = <-c.ends:
			done = true
		case e = <-played:
			done = c.panel == nil || e.err != nil
			if !done {
				c.notice(false, "that was all; /quit ends")
			}
		case <-tick.C:
			c.show()
		}
	}
	c.cancel()
	c.shutDown()
	if c.panel != nil {
		c.panel.close()
	}
	if e.err != nil {
		return fail(c.err, cmp.Or(e.code, exitRuntime), e.err)
	}
	return e.code
}

// skipPause ends the pause that a script makes.
func (c *cockpit) skipPause() {
	select {
	case c.skip <- struct{}{}:
	default:
	}
}

// shutDown ends all processes and returns when they are gone.
func (c *cockpit) shutDown() {
	c.work.Wait() // nothing is started any more
	c.mu.Lock()
	nodes := slices.Clone(c.nodes)
	c.mu.Unlock()
	endAll(nodes)
}

func endAll(nodes []*pilot) {
	var gone sync.WaitGroup
	for _, n := range nodes {
		gone.Go(protected(n.end))
	}
	gone.Wait()
}

// end asks for the end of the cockpit. Only the first call counts.
func (c *cockpit) end(e ending) {
	select {
	case c.ends <- e:
	default:
	}
}

// happens lets something happen to the deck, and shows it.
func (c *cockpit) happens(what func(d *deck) []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := what(&c.deck)
	if c.panel != nil {
		return // it is drawn all the time
	}
	for _, l := range lines {
		if _, err := fmt.Fprintln(c.out, l); err != nil {
			c.end(ending{code: exitRuntime, err: err})
			return
		}
	}
}

// notice tells the person something.
func (c *cockpit) notice(wrong bool, format string, args ...any) {
	c.happens(func(d *deck) []string { return d.noted(wrong, harmless(fmt.Sprintf(format, args...))) })
}

// draw is the deck as it is now.
func (c *cockpit) draw(width, height int) []row {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deck.draw(width, height, time.Now())
}

func (c *cockpit) show() {
	if c.panel != nil {
		c.panel.show()
	}
}

// input carries out what the person types.
func (c *cockpit) input() {
	if c.panel != nil {
		_ = c.panel.read(func(a ask) {
			switch a.what {
			case askLine:
				c.command(a.text)
			case askShow:
				c.notice(false, "%s", a.text)
			case askEnd, askEOF:
				c.end(ending{cause: "eof"})
			}
		})
		c.end(ending{cause: "eof"})
		return
	}
	r := bufio.NewReader(c.in)
	for {
		line, err := readLine(r, maxTyped)
		switch {
		case errors.Is(err, errLineTooLong):
			c.notice(true, "a line is over %d bytes", maxTyped)
		case err != nil:
			if c.settings.script == "" { // a script needs nobody
				c.end(ending{cause: "eof"})
			}
			return
		default:
			c.command(string(line))
		}
	}
}

// spawnAll starts n processes, one after the other.
func (c *cockpit) spawnAll(n int) {
	for range n {
		if err := c.spawn(c.ctx, "", nil); err != nil {
			if c.ctx.Err() == nil {
				c.notice(true, "%v", err)
			}
			return
		}
	}
}

// spawn starts one more process, and returns when it is a member of the group.
func (c *cockpit) spawn(ctx context.Context, nick string, flags []string) error {
	c.spawning.Lock()
	defer c.spawning.Unlock()
	c.mu.Lock()
	i := len(c.nodes)
	taken := func(nick string) bool {
		return slices.ContainsFunc(c.nodes, func(n *pilot) bool { return n.nick == nick })
	}
	if nick == "" {
		for k := 0; nick == "" || taken(nick); k++ {
			nick = firstNicks[k%len(firstNicks)]
			if k >= len(firstNicks) {
				nick += strconv.Itoa(k/len(firstNicks) + 1)
			}
		}
	}
	used := taken(nick)
	c.mu.Unlock()
	switch {
	case i == maxSpawn:
		return fmt.Errorf("there are %d processes already", maxSpawn)
	case used:
		return fmt.Errorf("there is a %s already", harmlessNick(nick))
	case harmlessNick(nick) != nick || strings.ContainsAny(nick, "#>,|/"):
		return fmt.Errorf("%q cannot be the name of a process here", harmless(nick))
	case nick == "all" || nick == theCoordinator:
		return fmt.Errorf("%q is a name for others here", nick)
	}
	if _, err := strconv.Atoi(nick); err == nil {
		return fmt.Errorf("%q would be taken for an ID", nick)
	}
	return c.launch(ctx, i, nick, flags)
}

// respawn starts the process of a column that is gone once more.
func (c *cockpit) respawn(ctx context.Context, i int) error {
	c.spawning.Lock()
	defer c.spawning.Unlock()
	c.mu.Lock()
	old := c.nodes[i]
	c.mu.Unlock()
	select {
	case <-old.done:
	default:
		return fmt.Errorf("%s still runs", old.nick)
	}
	return c.launch(ctx, i, old.nick, old.flags)
}

// launch starts a process for column i and waits until it is a member. The
// caller holds spawning.
func (c *cockpit) launch(ctx context.Context, i int, nick string, flags []string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	// What it says waits until its column is there.
	column := make(chan struct{})
	var stderr io.Writer
	if c.panel == nil {
		stderr = c.err
	}
	p := &pilot{nick: nick, flags: flags}
	var err error
	p.child, err = startChild(c.path, c.args(nick, flags), func(h header, line []byte) {
		<-column
		c.hear(p, h, line)
	}, stderr)
	if err != nil {
		return err
	}
	c.happens(func(d *deck) []string {
		if i == len(c.nodes) {
			c.nodes = append(c.nodes, p)
		} else {
			c.nodes[i] = p
		}
		return d.spawned(i, nick, p.pid())
	})
	close(column)
	go func() {
		defer protect()
		<-p.done
		why := p.fate()
		if why != "" && p.lastWords() != "" {
			why += ": " + harmless(p.lastWords())
		}
		c.place(p, func(i int, d *deck) []string {
			c.web.ended(p.nick)
			return d.exited(i, why)
		})
	}()
	if f := c.weather(); f.String() != "" {
		k, err := p.begin("fault", faultArgs(f, "", nil)...)
		if err := c.watch(p, k, err); err != nil {
			return err
		}
	}
	for _, what := range []string{"hb", "order"} {
		if _, err := p.begin("subscribe", "what", what); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	stop := context.AfterFunc(c.ctx, cancel)
	defer stop()
	if _, err := p.do(ctx, "wait", "for", "ready"); err != nil {
		return fmt.Errorf("%s does not become a member: %w", nick, err)
	}
	return nil
}

// place lets something happen to the column of a process, if it still has one.
func (c *cockpit) place(p *pilot, what func(i int, d *deck) []string) {
	c.happens(func(d *deck) []string {
		if i := slices.Index(c.nodes, p); i >= 0 {
			return what(i, d)
		}
		return nil
	})
}

func (c *cockpit) hear(p *pilot, h header, line []byte) {
	c.place(p, func(i int, d *deck) []string {
		c.web.said(p.nick, line)
		if c.heed != nil {
			c.heed(p, h, line)
		}
		return d.heard(i, h, line, time.Now())
	})
}

// theCoordinator is how the node that coordinates is called in commands,
// whichever it is.
const theCoordinator = "coordinator"

// find returns the column of the node that a person means: by its ID in the
// group, its nick, both, or as the coordinator. The living go before those
// that are gone.
func (c *cockpit) find(name string) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	is := func(k *column) bool {
		id := strconv.FormatUint(uint64(k.id), 10)
		return name == k.nick || name == k.name() || k.id != 0 && strings.TrimPrefix(name, "#") == id
	}
	if name == theCoordinator {
		is = (*column).leads
	}
	for _, alive := range []bool{true, false} {
		var found []int
		var names []string
		for i, k := range c.deck.columns {
			if is(k) && k.alive() == alive {
				found, names = append(found, i), append(names, k.name())
			}
		}
		switch {
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			return 0, fmt.Errorf("%s may be %s", harmless(name), strings.Join(names, " or "))
		}
	}
	var names []string
	for _, k := range c.deck.columns {
		names = append(names, k.name())
	}
	return 0, fmt.Errorf("there is no %q; there are %s", harmless(name), cmp.Or(strings.Join(names, " "), "none"))
}

// living returns the columns whose processes run and are not stopped.
func (c *cockpit) living() (out []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, k := range c.deck.columns {
		if k.alive() && k.fate != stopped {
			out = append(out, i)
		}
	}
	return out
}

// at returns the process of column i.
func (c *cockpit) at(i int) *pilot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[i]
}

// id returns the ID of the node in column i.
func (c *cockpit) id(i int) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deck.columns[i].id
}

// watch tells the person if a command fails.
func (c *cockpit) watch(p *pilot, k *call, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", p.nick, err)
	}
	go func() {
		defer protect()
		if _, err := k.wait(c.ctx); err != nil && c.ctx.Err() == nil && !errors.Is(err, errGone) {
			c.notice(true, "%s: %v", p.nick, err)
		}
	}()
	return nil
}

// signal kills, stops or wakes a process, or lets it leave.
func (c *cockpit) signal(i int, f fate) error {
	p := c.at(i)
	select {
	case <-p.done:
		return fmt.Errorf("%s is gone", p.nick)
	default:
	}
	// The deck first: what follows of it must not be shown before.
	c.place(p, func(i int, d *deck) []string { return d.signalled(i, f, time.Now()) })
	switch f {
	case killed:
		return p.kill()
	case stopped:
		return halt(p.cmd.Process)
	case up:
		return cont(p.cmd.Process)
	}
	p.leave()
	return nil
}

// disturb gives the network this weather. reply is what to do about the reply
// of each node.
func (c *cockpit) disturb(f weather, reply func(p *pilot, k *call, err error) error) error {
	cut, err := c.cutOf(f)
	if err != nil {
		return err
	}
	// The deck first: a process that is started from now on asks it.
	c.happens(func(d *deck) []string { return d.disturbed(f, time.Now()) })
	for _, i := range c.living() {
		p := c.at(i)
		k, err := p.begin("fault", faultArgs(f, p.nick, cut)...)
		if err := reply(p, k, err); err != nil {
			return err
		}
	}
	return nil
}

// cutOf are the sides of a cut by the IDs of their nodes.
func (c *cockpit) cutOf(f weather) ([][]uint32, error) {
	sides := [][]uint32{}
	for _, side := range f.sides {
		var ids []uint32
		for _, nick := range side {
			i, err := c.find(nick)
			if err != nil {
				return nil, err
			}
			ids = append(ids, c.id(i))
		}
		sides = append(sides, ids)
	}
	return sides, nil
}

// faultArgs are the arguments of the command that gives a node its part of the
// weather. Who is on no side of a cut, as a newcomer, is cut off by the others
// and knows none of them.
func faultArgs(f weather, nick string, cut [][]uint32) []any {
	if f.sideOf(nick) == 0 {
		cut = [][]uint32{}
	}
	return []any{"loss", f.loss, "delay_ms", f.delay.Milliseconds(), "cut", cut}
}

// weather is what the network is like now.
func (c *cockpit) weather() weather {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deck.weather
}

// split returns the weather with a cut in it. Each side is a list of nodes.
func (c *cockpit) split(sides [][]string) (weather, error) {
	f := c.weather()
	f.sides = nil
	seen := map[int]bool{}
	for _, side := range sides {
		var nicks []string
		for _, name := range side {
			i, err := c.find(name)
			if err != nil {
				return f, err
			}
			if seen[i] {
				return f, fmt.Errorf("%s is named twice", c.at(i).nick)
			}
			seen[i] = true
			nicks = append(nicks, c.at(i).nick)
		}
		f.sides = append(f.sides, nicks)
	}
	return f, nil
}

// burst lets nodes say n things each, all at once.
func (c *cockpit) burst(nodes []int, n int) error {
	for k := range n {
		for _, i := range nodes {
			p := c.at(i)
			call, err := p.begin("send", "text", fmt.Sprintf("%d of %d", k+1, n))
			if err := c.watch(p, call, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// refound ends all processes. What is started from then on founds another
// group, with another algorithm.
func (c *cockpit) refound(algorithm string) {
	c.spawning.Lock()
	defer c.spawning.Unlock()
	c.mu.Lock()
	nodes := c.nodes
	c.mu.Unlock()
	c.happens(func(d *deck) []string {
		c.nodes = nil
		c.settings.algorithm = algorithm
		c.ground()
		return d.cleared(c.title())
	})
	endAll(nodes)
}

// validateCockpit returns what is wrong with the flags of a cockpit.
func (s *settings) validateCockpit() (errs []error) {
	if s.spawn < 0 || s.spawn > maxSpawn {
		errs = append(errs, fmt.Errorf("-spawn %d: want 1 to %d", s.spawn, maxSpawn))
	}
	switch s.pace {
	case "", "live", "step", "fast":
	default:
		errs = append(errs, fmt.Errorf("-pace %q: want live, step or fast", s.pace))
	}
	if s.pace != "" && s.script == "" {
		errs = append(errs, errors.New("-pace is for -script"))
	}
	if s.spawn == 0 && s.script == "" {
		return errs
	}
	for _, g := range s.given {
		switch g.name {
		case "json", "nick", "listen":
			errs = append(errs, fmt.Errorf("-%s is for one process, not for those of a cockpit", g.name))
		}
	}
	return errs
}
