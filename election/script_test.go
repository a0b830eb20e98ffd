package election_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/election/electiontest"
	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write what happens into testdata/*.txt as what is expected")

var algorithms = map[string]election.New{"bully": election.NewBully, "ring": election.NewRing}

// TestScripts runs testdata/*.txt. A line that begins with "== " starts a case,
// one with "#" is a comment, one that is indented is expected of the command
// above it. See machine.run and group.run for the commands.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { runScript(t, file) })
	}
}

func runScript(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var actual bytes.Buffer
	var c *scriptCase
	end := func() {
		if c == nil {
			return
		}
		t.Run(c.name, func(t *testing.T) {
			if !*rewrite {
				require.Equal(t, c.expected.String(), c.actual.String())
			}
		})
		actual.Write(c.actual.Bytes())
	}
	for line := range strings.Lines(string(text)) {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "== "):
			end()
			c = &scriptCase{name: trimmed[3:]}
			c.both(line)
		case c == nil:
			require.True(t, trimmed == "" || trimmed[0] == '#', "%s: before the first case: %s", file, trimmed)
			actual.WriteString(line)
		case trimmed == "" || trimmed[0] == '#':
			c.both(line)
		case line[0] == ' ' || line[0] == '\t':
			c.expected.WriteString(line)
		default:
			c.both(line)
			out, err := c.run(strings.Fields(trimmed))
			require.NoError(t, err, "%s: %s: %s", file, c.name, trimmed)
			for _, l := range out {
				fmt.Fprintf(&c.actual, "  %s\n", l)
			}
		}
	}
	end()
	if *rewrite {
		require.NoError(t, os.WriteFile(file, actual.Bytes(), 0o644))
	}
}

// scriptCase is one case of a script.
type scriptCase struct {
	name             string
	expected, actual bytes.Buffer
	machine          *machine
	group            *group
}

func (c *scriptCase) both(line string) {
	c.expected.WriteString(line)
	c.actual.WriteString(line)
}

func (c *scriptCase) run(cmd []string) ([]string, error) {
	a := arguments{words: cmd[1:]}
	switch cmd[0] {
	case "machine":
		c.machine = newMachine(&a)
		return nil, a.err
	case "group":
		c.group = newGroup(&a)
		return nil, a.err
	}
	var out []string
	switch {
	case c.machine != nil:
		out = c.machine.run(cmd[0], &a)
	case c.group != nil:
		out = c.group.run(cmd[0], &a)
	default:
		return nil, fmt.Errorf("the first command must be machine or group")
	}
	if a.err == nil && len(a.words) > 0 {
		a.err = fmt.Errorf("unknown: %q", a.words)
	}
	return out, a.err
}

// arguments are the words behind a command.
type arguments struct {
	words []string
	err   error
}

// word takes the next word.
func (a *arguments) word() string {
	if len(a.words) == 0 {
		a.err = fmt.Errorf("a word is missing")
		return ""
	}
	w := a.words[0]
	a.words = a.words[1:]
	return w
}

func (a *arguments) number() int {
	n, err := strconv.Atoi(a.word())
	if err != nil {
		a.err = err
	}
	return n
}

func (a *arguments) duration() time.Duration {
	d, err := time.ParseDuration(a.word())
	if err != nil {
		a.err = err
	}
	return d
}

// flag reports whether a word is there, and removes it.
func (a *arguments) flag(name string) bool {
	i := slices.Index(a.words, name)
	if i < 0 {
		return false
	}
	a.words = slices.Delete(a.words, i, i+1)
	return true
}

// option is the text of a word name=text.
func (a *arguments) option(name, otherwise string) string {
	for i, w := range a.words {
		if text, ok := strings.CutPrefix(w, name+"="); ok {
			a.words = slices.Delete(a.words, i, i+1)
			return text
		}
	}
	return otherwise
}

func (a *arguments) int(name string, otherwise int) int {
	n, err := strconv.Atoi(a.option(name, strconv.Itoa(otherwise)))
	if err != nil {
		a.err = err
	}
	return n
}

func (a *arguments) float(name string) float64 {
	f, err := strconv.ParseFloat(a.option(name, "0"), 64)
	if err != nil {
		a.err = err
	}
	return f
}

// machine is one elector, and everybody else is played by the script.
type machine struct {
	elector election.Elector
	self    int
	members int
	now     time.Time
	epoch   time.Time
}

func newMachine(a *arguments) *machine {
	m := &machine{now: time.Unix(0, 0), epoch: time.Unix(0, 0)}
	create := algorithms[a.word()]
	if create == nil {
		a.err = fmt.Errorf("no such algorithm")
		return m
	}
	m.elector = create(election.Config{})
	m.self, m.members = a.int("self", 3), a.int("of", 5)
	return m
}

// run is one command:
//
//	begin [invited] [rto=D] [term=T] [others]  a round; "others" leaves this node out
//	recv KIND FROM [ID.ATTEMPT] [refuse] [live] [term=T] [inc=I] [candinc=I]
//	tick                                       wait until the deadline
//	wait D                                     wait that long
//	cancel
//
// It returns what the elector wants done and what it waits for.
func (m *machine) run(cmd string, a *arguments) []string {
	base := election.Base{Ctr: uint64(a.int("term", 1)), Leader: electiontest.Key(m.members + 1), Inc: 1}
	switch cmd {
	case "begin":
		r := election.Round{Base: base, Self: electiontest.Key(m.self), Invited: a.flag("invited")}
		others := a.flag("others")
		for id := m.members; id > 0; id-- {
			if !others || id != m.self {
				r.Candidates = append(r.Candidates, election.Candidate{Key: electiontest.Key(id), Inc: 1})
			}
		}
		if rto := a.option("rto", ""); rto != "" {
			r.RTO, a.err = time.ParseDuration(rto)
		}
		m.elector.Begin(m.now, r)
	case "recv":
		msg := election.Message{Base: base, Inc: uint64(a.int("inc", 1)), Refuse: a.flag("refuse")}
		live := a.flag("live")
		candInc := uint64(a.int("candinc", 1))
		kind := a.word()
		for k := election.KindElection; k <= election.KindRingProbeOK; k++ {
			if k.String() == kind {
				msg.Kind = k
			}
		}
		if msg.Kind == 0 {
			a.err = fmt.Errorf("no kind %q", kind)
		}
		msg.From = electiontest.Key(a.number())
		if len(a.words) > 0 {
			var id int
			if _, err := fmt.Sscanf(a.word(), "%d.%d", &id, &msg.Attempt); err != nil {
				a.err = err
			}
			msg.Cand, msg.CandInc = electiontest.Key(id), candInc
		}
		m.elector.Step(m.now, msg, live)
	case "tick":
		if d := m.elector.Deadline(); !d.IsZero() {
			m.now = d
		}
		m.elector.Tick(m.now)
	case "wait":
		m.now = m.now.Add(a.duration())
		m.elector.Tick(m.now)
	case "cancel":
		m.elector.Cancel()
	default:
		a.err = fmt.Errorf("no command %q", cmd)
	}
	var out []string
	r := m.elector.Ready()
	for _, o := range r.Out {
		to := "all"
		if o.To != (election.Key{}) {
			to = number(o.To)
		}
		out = append(out, fmt.Sprintf("→%s %s", to, show(o.Msg)))
	}
	if r.Won {
		out = append(out, "won")
	}
	if d := m.elector.Deadline(); d.IsZero() {
		out = append(out, "idle")
	} else {
		out = append(out, fmt.Sprintf("until %v", d.Sub(m.epoch)))
	}
	return out
}

func number(k election.Key) string { return strconv.Itoa(int(k[14])<<8 | int(k[15])) }

func show(m election.Message) string {
	s := m.Kind.String()
	if m.Cand != (election.Key{}) {
		s += fmt.Sprintf(" of %s.%d", number(m.Cand), m.Attempt)
	}
	if m.Hops > 0 {
		s += fmt.Sprintf(" after %d", m.Hops)
	}
	if m.Refuse {
		s += " refused"
	}
	if m.Base.Ctr != 1 {
		s += fmt.Sprintf(" term=%d", m.Base.Ctr)
	}
	return s
}

// group is an electiontest.Network.
type group struct {
	*electiontest.Network
	lines []string
	quiet bool
}

func newGroup(a *arguments) *group {
	g := &group{quiet: a.flag("quiet")}
	c := electiontest.Config{New: algorithms[a.word()], Members: a.int("members", 4), Seed: uint64(a.int("seed", 1)),
		Loss: a.float("loss"), Duplicate: a.float("duplicate"),
		Trace: func(l string) {
			if !g.quiet {
				g.lines = append(g.lines, l)
			}
		}}
	if c.New == nil {
		a.err = fmt.Errorf("no such algorithm")
		return g
	}
	g.Network = electiontest.NewNetwork(c)
	return g
}

// run is one command:
//
//	verify ID | all D      a member finds the coordinator gone, or all within D
//	prove ID               a member has proof that the coordinator is gone
//	crash ID | crash winner N    now, or the next N winners as they win
//	cut A B | mend A B     the link from A to B
//	split A B              all links between the members up to A and those above, up to B
//	hears ID               it hears the coordinator
//	away ID                it has gone over to another group
//	run D                  let time pass
//	settle D               until all follow one, at most so long
//	count                  the messages so far
//
// It returns what happened.
func (g *group) run(cmd string, a *arguments) []string {
	switch cmd {
	case "verify":
		if a.flag("all") {
			g.VerifyAll(a.duration())
		} else {
			g.Verify(a.number())
		}
	case "prove":
		g.Prove(a.number())
	case "crash":
		if a.flag("winner") {
			left := a.number()
			g.OnWin = func(w electiontest.Win) {
				if left--; left >= 0 {
					g.Crash(w.Member)
				}
			}
		} else {
			g.Crash(a.number())
		}
	case "cut", "mend":
		g.Cut(a.number(), a.number(), cmd == "cut")
	case "split":
		for low, last, all := 1, a.number(), a.number(); low <= last; low++ {
			for high := last + 1; high <= all; high++ {
				g.Cut(low, high, true)
				g.Cut(high, low, true)
			}
		}
	case "hears":
		g.Hears(a.number(), true)
	case "away":
		g.Away(a.number())
	case "run":
		g.Run(a.duration())
	case "settle":
		leader := g.Settle(a.duration())
		g.lines = append(g.lines, fmt.Sprintf("%v all follow %d", g.Now(), leader))
	case "count":
		g.lines = append(g.lines, g.String())
	default:
		a.err = fmt.Errorf("no command %q", cmd)
	}
	for _, f := range g.Faults {
		g.lines = append(g.lines, "FAULT "+f)
	}
	out := g.lines
	g.lines = nil
	return out
}
