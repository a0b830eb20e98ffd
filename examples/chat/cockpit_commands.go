package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxBurst  = 1000 // messages of each node
	mostDelay = 10 * time.Second
)

// order is a command of the cockpit.
type order struct {
	name, args, help string
	do               func(c *cockpit, arg string) error
}

var orders []order

func init() {
	orders = []order{
		{"kill", "n", "end the process of node n, by SIGKILL", signals(killed)},
		{"stop", "n", "stop it where it is, by SIGSTOP", signals(stopped)},
		{"cont", "n", "let it go on", signals(up)},
		{"leave", "n", "let it say goodbye and end", signals(left)},
		{"spawn", "[nick]", "start one more", (*cockpit).cmdSpawn},
		{"restart", "n", "start one that is gone once more", (*cockpit).cmdRestart},
		{"cut", "1,2|3,4", "split the network", (*cockpit).cmdCut},
		{"loss", "percent", "lose so many packets", (*cockpit).cmdLoss},
		{"delay", "ms", "delay packets", (*cockpit).cmdDelay},
		{"heal", "", "end cut, loss and delay", (*cockpit).cmdHeal},
		{"burst", "n", "let every node say n things at once", (*cockpit).cmdBurst},
		{"elect", "[n]", "let a node call an election", (*cockpit).cmdElect},
		{"quit", "", "end them all", (*cockpit).cmdQuit},
		{"help", "", "this list", (*cockpit).cmdHelp},
	}
}

// command carries out what was typed, and tells if it cannot be done.
func (c *cockpit) command(line string) {
	c.happens(func(d *deck) []string { // what was wrong before is past
		if d.wrong {
			return d.noted(false, "")
		}
		return nil
	})
	if err := c.obey(strings.TrimSpace(line)); err != nil {
		c.notice(true, "%v", err)
	}
}

func (c *cockpit) obey(line string) error {
	if line == "" {
		c.skipPause()
		return nil
	}
	name, text, said := strings.Cut(line, ">")
	if said && line[0] != '/' && !strings.ContainsAny(strings.TrimSpace(name), " \t") {
		i, err := c.find(strings.TrimSpace(name))
		if err != nil {
			return err
		}
		return c.say(i, strings.TrimSpace(text))
	}
	if line[0] != '/' {
		return errors.New("1> text speaks as node 1; /help lists the commands")
	}
	name, arg, _ := strings.Cut(line[1:], " ")
	name, arg = strings.ToLower(name), strings.TrimSpace(arg)
	i := slices.IndexFunc(orders, func(k order) bool { return k.name == name })
	if i < 0 {
		names := make([]string, len(orders))
		for i, k := range orders {
			names[i] = k.name
		}
		return fmt.Errorf("unknown command /%s: %s", cut(name, min(len(name), 32)), cmp.Or(meant(name, "/", names), "/help lists all"))
	}
	k := orders[i]
	switch {
	case arg == "" && k.args != "" && k.args[0] != '[':
		return fmt.Errorf("usage: /%s %s", k.name, k.args)
	case arg != "" && k.args == "":
		return fmt.Errorf("/%s takes no argument", k.name)
	}
	return k.do(c, arg)
}

// say lets a node say something.
func (c *cockpit) say(i int, text string) error {
	if text == "" {
		return errors.New("nothing to say")
	}
	p := c.at(i)
	k, err := p.begin("send", "text", text)
	return c.watch(p, k, err)
}

func signals(f fate) func(c *cockpit, arg string) error {
	return func(c *cockpit, arg string) error {
		i, err := c.find(arg)
		if err != nil {
			return err
		}
		return c.signal(i, f)
	}
}

// later does what takes some time, and tells if it fails.
func (c *cockpit) later(what func() error) error {
	c.work.Go(protected(func() {
		if err := what(); err != nil && c.ctx.Err() == nil {
			c.notice(true, "%v", err)
		}
	}))
	return nil
}

func (c *cockpit) cmdSpawn(nick string) error {
	return c.later(func() error { return c.spawn(c.ctx, nick, nil) })
}

func (c *cockpit) cmdRestart(name string) error {
	i, err := c.find(name)
	if err != nil {
		return err
	}
	return c.later(func() error { return c.respawn(c.ctx, i) })
}

func (c *cockpit) cmdCut(arg string) error {
	var sides [][]string
	for side := range strings.SplitSeq(arg, "|") {
		sides = append(sides, strings.FieldsFunc(side, func(r rune) bool { return r == ',' || r == ' ' }))
	}
	if len(sides) < 2 || slices.ContainsFunc(sides, func(s []string) bool { return len(s) == 0 }) {
		return errors.New("usage: /cut 1,2|3,4 with two sides or more")
	}
	f, err := c.split(sides)
	if err != nil {
		return err
	}
	return c.disturb(f, c.watch)
}

func (c *cockpit) cmdLoss(arg string) error {
	n, err := strconv.Atoi(strings.TrimSuffix(arg, "%"))
	if err != nil || n < 0 || n > 100 {
		return errors.New("usage: /loss 20, in percent")
	}
	f := c.weather()
	f.loss = n
	return c.disturb(f, c.watch)
}

func (c *cockpit) cmdDelay(arg string) error {
	n, err := strconv.Atoi(strings.TrimSuffix(arg, "ms"))
	if d := time.Duration(n) * time.Millisecond; err != nil || d < 0 || d > mostDelay {
		return fmt.Errorf("usage: /delay 200, in ms and at most %d", mostDelay.Milliseconds())
	}
	f := c.weather()
	f.delay = time.Duration(n) * time.Millisecond
	return c.disturb(f, c.watch)
}

func (c *cockpit) cmdHeal(string) error { return c.disturb(weather{}, c.watch) }

func (c *cockpit) cmdBurst(arg string) error {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 || n > maxBurst {
		return fmt.Errorf("usage: /burst 10, at most %d", maxBurst)
	}
	return c.burst(c.living(), n)
}

// cmdElect lets a node call an election: the first that lives, unless it is
// named.
func (c *cockpit) cmdElect(name string) error {
	i := 0
	if name != "" {
		var err error
		if i, err = c.find(name); err != nil {
			return err
		}
	} else {
		living := c.living()
		if len(living) == 0 {
			return errors.New("nobody is there")
		}
		i = living[0]
	}
	p := c.at(i)
	k, err := p.begin("elect")
	return c.watch(p, k, err)
}

func (c *cockpit) cmdQuit(string) error {
	c.end(ending{cause: "quit"})
	return nil
}

func (c *cockpit) cmdHelp(string) error {
	if c.panel == nil {
		for _, k := range orders {
			c.happens(func(d *deck) []string {
				return d.line("", "%s", strings.TrimRight(fmt.Sprintf("/%-8s %-8s %s", k.name, k.args, k.help), " "))
			})
		}
		return nil
	}
	words := make([]string, len(orders))
	for i, k := range orders {
		words[i] = strings.TrimSpace("/" + k.name + " " + k.args)
	}
	c.notice(false, "1> text · %s", strings.Join(words, " · "))
	return nil
}

// complete completes the name of a command, or what stands before a >.
func (c *cockpit) complete(before string) completion {
	var options []string
	if strings.HasPrefix(before, "/") && !strings.Contains(before, " ") {
		for _, k := range orders {
			if name := "/" + k.name; strings.HasPrefix(name, before) {
				options = append(options, name)
			}
		}
		return completion{before, options, " "}
	}
	word := before[strings.LastIndexAny(before, " ,|")+1:]
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.deck.columns {
		if strings.HasPrefix(k.nick, word) {
			options = append(options, k.nick)
		}
	}
	if strings.HasPrefix(before, "/") {
		return completion{word, options, ""}
	}
	return completion{before, options, "> "}
}
