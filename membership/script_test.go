package membership

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata do as what they are expected to do")

// TestScripts runs the files of testdata. Each is a list of blocks: commands, a
// line of four dashes, and what is to be seen of them, up to an empty line.
// The commands:
//
//	timing classic|default      for the nodes to come; classic if not given
//	seniority                   likewise
//	seed n                      of all that is random
//	delay d                     of every message; 1 ms if not given
//	node i…                     make nodes; node i has key i, and the higher i ranks higher as a key
//	restart i                   a new run of node i, which is killed if it runs
//	twin i                      another run of node i, at another address
//	start i…
//	run d
//	await n d                   run until all agree on a view of n members, for at most d; prints the time taken
//	kill i…                     without a trace
//	refuse i                    kill, and tell all that its endpoint refuses
//	reset i                     tell all that their streams to i ended
//	suspend i, resume i
//	cut i j                     nothing reaches j from i
//	split i… | j… | …           into parts that do not hear each other
//	heal                        undo cut and split
//	deaf i                      what is sent to the group does not reach i
//	lose KIND n [to i]          the next n messages of a kind
//	hold KIND from i            keep the next message of a kind, by node i
//	deliver                     … and deliver it
//	leave i, elect i, rename i name
//	views                       print who has which view
//	sent KIND…                  how many were sent since the last time
//	messages on|off             print messages
//	quiet on|off                do not print Searching, Suspected and Restored events
//	mute on|off                 print nothing but what is asked for
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			got := runScript(t, string(text))
			if *rewrite {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(text), got, "go test ./membership -run TestScripts -rewrite writes what happens now")
		})
	}
}

type script struct {
	t        *testing.T
	net      *network
	out      strings.Builder
	cfg      Config
	cuts     map[[2]string]bool
	group    map[string]int
	deaf     map[string]bool
	lose     map[string]int // KIND or KIND/to
	hold     string
	held     func()
	messages bool
	quiet    bool
	muted    bool
	counted  map[Kind]int
}

func runScript(t *testing.T, text string) string {
	s := &script{t: t, cfg: Config{Timing: Classic()}, cuts: map[[2]string]bool{}, group: map[string]int{}, deaf: map[string]bool{},
		lose: map[string]int{}, counted: map[Kind]int{}}
	s.reset(1)
	var result strings.Builder
	for i, block := range strings.Split(strings.TrimRight(text, "\n"), "\n\n") {
		if i > 0 {
			result.WriteByte('\n')
		}
		commands, _, _ := strings.Cut(block+"\n", "----\n")
		result.WriteString(strings.TrimRight(commands, "\n") + "\n")
		s.out.Reset()
		ran := false
		for _, line := range strings.Split(commands, "\n") {
			if line, _, _ = strings.Cut(line, "#"); strings.TrimSpace(line) != "" {
				ran = true
				s.do(strings.Fields(line))
			}
		}
		if ran {
			result.WriteString("----\n" + s.out.String())
		}
	}
	return result.String()
}

func (s *script) reset(seed uint64) {
	s.net = newNetwork(seed)
	n := s.net
	n.trace = func(format string, args ...any) {
		line := fmt.Sprintf(format, args...)
		if s.muted || s.quiet && (strings.Contains(line, " searching ") || strings.Contains(line, " suspects ") || strings.Contains(line, " restores ")) {
			return
		}
		fmt.Fprintf(&s.out, "%9.3f %s\n", n.now.Sub(epoch0).Seconds(), line)
	}
	n.drop = func(from, to *node, p Send) bool {
		if s.cuts[[2]string{from.name, to.name}] || s.group[from.name] != s.group[to.name] || p.Group && s.deaf[to.name] {
			return true
		}
		if p.Packet.Body == nil {
			return false
		}
		kind := p.Packet.Body.Kind().String()
		for _, key := range []string{kind, kind + "/" + to.name} {
			if s.lose[key] > 0 {
				s.lose[key]--
				return true
			}
		}
		if s.hold == kind+"/"+from.name {
			s.hold = ""
			src := from.addr
			s.held = func() { to.input(Receive{From: src, Packet: p.Packet}) }
			return true
		}
		return false
	}
	n.check = func(nd *node, in Installed) { checkInstalled(s.t, nd, in) }
	n.sending = func(from *node, p Send) {
		if s.messages {
			to := "all"
			if !p.Group {
				to = "?"
				if nd := n.at(p.To); nd != nil {
					to = nd.name
				}
			}
			n.trace("%s -> %s %s", from.name, to, p.Packet.Body.Kind())
		}
	}
}

// node is the last one made with the given number.
func (s *script) node(arg string) *node {
	for _, nd := range slices.Backward(s.net.nodes) {
		if nd.name == "n"+arg {
			return nd
		}
	}
	require.Fail(s.t, "no node "+arg)
	return nil
}

func (s *script) duration(arg string) time.Duration {
	d, err := time.ParseDuration(arg)
	require.NoError(s.t, err)
	return d
}

func (s *script) number(arg string) int {
	n, err := strconv.Atoi(arg)
	require.NoError(s.t, err)
	return n
}

func (s *script) do(f []string) {
	n, args := s.net, f[1:]
	each := func(do func(nd *node)) {
		for _, a := range args {
			do(s.node(a))
		}
	}
	switch f[0] {
	case "timing":
		s.cfg.Timing = map[string]func() Timing{"classic": Classic, "default": Default}[args[0]]()
	case "seniority":
		s.cfg.Seniority = true
	case "seed":
		s.reset(uint64(s.number(args[0])))
	case "delay":
		d := s.duration(args[0])
		n.delay = func() time.Duration { return d }
	case "node":
		for _, a := range args {
			n.add(s.number(a), 1, s.cfg)
		}
	case "restart":
		old := s.node(args[0])
		old.up = false
		n.add(s.number(args[0]), old.m.Inc()+1, s.cfg).start()
	case "twin":
		old := s.node(args[0])
		nd := n.add(s.number(args[0]), old.m.Inc()+1, s.cfg)
		nd.addr = addrOf(1000 + s.number(args[0]))
		nd.m.self.Addr = nd.addr
		nd.start()
	case "start":
		each((*node).start)
	case "run":
		n.run(s.duration(args[0]))
	case "await":
		s.await(s.number(args[0]), s.duration(args[1]))
	case "kill":
		each((*node).kill)
	case "refuse":
		each((*node).kill)
		each(func(dead *node) { s.down(dead, CauseRefused) })
	case "reset":
		each(func(nd *node) { s.down(nd, CauseReset) })
	case "suspend":
		each((*node).suspend)
	case "resume":
		each((*node).resume)
	case "cut":
		s.cuts[[2]string{"n" + args[0], "n" + args[1]}] = true
	case "split":
		part := 0
		for _, a := range args {
			if a == "|" {
				part++
			} else {
				s.group["n"+a] = part
			}
		}
	case "heal":
		clear(s.cuts)
		clear(s.group)
	case "deaf":
		each(func(nd *node) { s.deaf[nd.name] = true })
	case "lose":
		key := args[0]
		if len(args) > 2 {
			key += "/n" + args[3]
		}
		s.lose[key] = s.number(args[1])
	case "hold":
		s.hold = args[0] + "/n" + args[2]
	case "deliver":
		require.NotNil(s.t, s.held, "nothing was held")
		s.held()
	case "leave":
		each(func(nd *node) { nd.input(Depart{}) })
	case "elect":
		each(func(nd *node) { nd.input(Elect{}) })
	case "rename":
		s.node(args[0]).input(Rename{Name: args[1]})
	case "views":
		var order []string
		who := map[string]string{}
		for _, nd := range n.nodes {
			if nd.up {
				v := show(nd.m.View())
				if nd.m.state == joining {
					v = "searching, last " + v
				}
				if who[v] == "" {
					order = append(order, v)
				}
				who[v] += nd.name + " "
			}
		}
		for _, v := range order {
			fmt.Fprintf(&s.out, "%shave %s\n", who[v], v)
		}
	case "sent":
		for _, k := range slices.Sorted(maps.Keys(n.sent)) {
			if slices.Contains(args, k.String()) {
				fmt.Fprintf(&s.out, "%s %d\n", k, n.sent[k]-s.counted[k])
			}
		}
		s.counted = maps.Clone(n.sent)
	case "messages":
		s.messages = args[0] == "on"
	case "mute":
		s.muted = args[0] == "on"
	case "quiet":
		s.quiet = args[0] == "on"
	default:
		require.Fail(s.t, "unknown command "+f[0])
	}
}

func (s *script) down(nd *node, cause Cause) {
	for _, other := range s.net.nodes {
		if other != nd {
			s.net.after(time.Millisecond, func() { other.input(Down{Addr: nd.addr, Cause: cause}) })
		}
	}
}

func (s *script) await(members int, limit time.Duration) {
	n := s.net
	from := n.now
	for n.now.Sub(from) < limit {
		if n.agreed() == nil {
			for _, nd := range n.nodes {
				if nd.up && len(nd.m.View().Members) == members {
					fmt.Fprintf(&s.out, "agreed after %v on %s\n", n.now.Sub(from), show(nd.m.View()))
					return
				}
			}
		}
		n.run(time.Millisecond)
	}
	fmt.Fprintf(&s.out, "not agreed after %v: %v\n", limit, n.agreed())
}
