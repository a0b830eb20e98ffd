// Command bench measures a group of real processes, one a node, on the
// loopback interface of this machine, and checks in every run that each node
// delivered each message exactly once and in causal order, and that all
// histories are equal at the end. A run that fails a check is no result: it is
// reported as an error.
//
//	go run ./examples/bench                          throughput: four nodes, one sender, 100 B
//	go run ./examples/bench -senders 4 -size 1000
//	go run ./examples/bench -raw                     the same bytes over plain TCP: the limit
//	go run ./examples/bench -compare -runs 5         both in turn
//	go run ./examples/bench -compare -keep           the same, and plain TCP keeps the messages, too
//	go run ./examples/bench -mode latency -rate 200
//	go run ./examples/bench -mode failover -fault kill|stop|cut
//	go run ./examples/bench -mode join|catchup|heal|idle|loss
//	go run ./examples/bench -writers 1024            in a history that so many have written
//
// Each run is a line of JSON on standard output; a table for people follows on
// standard error. With -runs n it is repeated and the table shows minimum,
// median and maximum. With -sweep nodes=2,4,8 it is repeated for each value of
// that flag, and -plot draws what became of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/seed-885536be/p2p/p2pchat"
)

// settings are the flags. They are handed to the processes as JSON.
type settings struct {
	Mode     string        `json:"mode"`
	Nodes    int           `json:"nodes"`
	Senders  int           `json:"senders"`
	Size     int           `json:"size"`
	Messages int           `json:"messages"`
	Volume   int           `json:"volume,omitempty"`
	Rate     float64       `json:"rate"`
	Duration time.Duration `json:"duration"`
	Raw      bool          `json:"raw"`
	Keep     bool          `json:"keep,omitempty"`
	Sealed   bool          `json:"sealed"`
	Data     bool          `json:"data"`
	Election string        `json:"election"`
	Fault    string        `json:"fault"`
	Loss     float64       `json:"loss"`
	Warm     int           `json:"warm"`
	Writers  int           `json:"writers,omitempty"`
	Hosts    bool          `json:"hosts,omitempty"`
	Link     int           `json:"link,omitempty"`
	Cast     int           `json:"multicast"`

	Label   string `json:"label,omitempty"` // the swept flag
	compare bool
	runs    int
	sweep   string
	plot    string
	profile string
	timeout time.Duration
}

// modes say what each measures.
var modes = []struct{ name, what string }{
	{"throughput", "-messages from -senders nodes as fast as they can: messages a second delivered at each node"},
	{"latency", "-rate messages a second for -duration: from Send at one node to Messages at each other"},
	{"failover", "a -fault of the coordinator: until all survivors know the next one"},
	{"join", "a process starts and joins: until every node lists it"},
	{"catchup", "a process starts and joins a node with -messages: until it holds them all"},
	{"heal", "two halves apart, 120 messages on each side: from the heal to one view and equal digests"},
	{"idle", "nothing is said for -duration: processor and memory of a node"},
	{"loss", "latency with a share -loss of all packets lost at the sender"},
}

func main() {
	if os.Getenv(childEnv) != "" {
		os.Exit(child(os.Stdin, os.Stdout, os.Stderr))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program; what it returns is the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	variants, err := s.variants(args)
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	// The variants take turns, so that what else the machine does meets all.
	results := make([][]result, len(variants))
	for range s.runs {
		for i, v := range variants {
			r, err := measure(ctx, v, stderr)
			if err != nil {
				fmt.Fprintln(stderr, "bench:", err)
				return 1
			}
			fmt.Fprintln(stdout, r.json())
			results[i] = append(results[i], r)
		}
	}
	table(stderr, results)
	if s.plot != "" {
		if err := os.WriteFile(s.plot, plot(results), 0o666); err != nil {
			fmt.Fprintln(stderr, "bench:", err)
			return 1
		}
	}
	return 0
}

// variants are the runs to make: one, or with -raw and a named mode also plain
// TCP, and with -sweep one for each value.
func (s settings) variants(args []string) ([]settings, error) {
	name, list, swept := strings.Cut(s.sweep, "=")
	if s.sweep == "" {
		return s.beside(), nil
	}
	if !swept || name == "sweep" {
		return nil, fmt.Errorf("-sweep %q: want the name of a flag, = and values with commas between", s.sweep)
	}
	var all []settings
	for value := range strings.SplitSeq(list, ",") {
		v, err := parse(append(slices.Clone(args), "-"+name+"="+value), io.Discard)
		if err != nil {
			return nil, fmt.Errorf("-sweep %s: %w", s.sweep, err)
		}
		v.Label = name + "=" + value
		all = append(all, v.beside()...)
	}
	return all, nil
}

// beside is the run and, if it is to be compared with plain TCP, that first.
func (s settings) beside() []settings {
	if !s.compare {
		return []settings{s}
	}
	raw := s
	raw.Raw = true
	s.Keep = false
	return []settings{raw, s}
}

func parse(args []string, out io.Writer) (settings, error) {
	var s settings
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.Usage = func() {
		fmt.Fprintln(out, "usage: bench [flags]\n\nMeasures a group of real processes on this machine. Modes:")
		for _, m := range modes {
			fmt.Fprintf(out, "  %-11s %s\n", m.name, m.what)
		}
		fmt.Fprintln(out, "\nFlags:")
		fs.PrintDefaults()
	}
	fs.StringVar(&s.Mode, "mode", "throughput", "what to measure")
	fs.IntVar(&s.Nodes, "nodes", 4, "processes (heal: 6)")
	fs.IntVar(&s.Senders, "senders", 1, "how many of them send")
	fs.IntVar(&s.Size, "size", 100, "bytes of a message, at least 24")
	fs.IntVar(&s.Messages, "messages", 1_000_000, "messages in all")
	fs.IntVar(&s.Volume, "volume", 0, "bytes of messages in all, instead of -messages")
	fs.Float64Var(&s.Rate, "rate", 200, "messages a second in all, in the modes that wait between them")
	fs.DurationVar(&s.Duration, "duration", 5*time.Second, "how long the modes with a rate go on")
	fs.BoolVar(&s.Raw, "raw", false, "plain TCP instead of a group: the same bytes, length-prefixed, 64 KiB a write")
	fs.BoolVar(&s.Keep, "keep", false, "plain TCP keeps all messages in memory: a limit for what has a history")
	fs.BoolVar(&s.compare, "compare", false, "runs of a group and of plain TCP in turn")
	fs.BoolVar(&s.Sealed, "sealed", false, "encrypt with a passphrase")
	fs.BoolVar(&s.Data, "data", false, "keep the history on disk, in a temporary directory")
	fs.StringVar(&s.Election, "election", "bully", "bully or ring")
	fs.StringVar(&s.Fault, "fault", "kill", "of failover: kill, stop (SIGSTOP) or cut (its network)")
	fs.Float64Var(&s.Loss, "loss", 0.3, "of loss: the share of packets lost")
	fs.IntVar(&s.Warm, "warm", 0, "`MB` of memory that each process uses before anything else, and then has for its history: where new memory is slow, as on many virtual machines, the figures say what the program itself takes")
	fs.IntVar(&s.Writers, "writers", 0, "writers of the history, with those that send: the others wrote a message each, in runs before this one")
	fs.BoolVar(&s.Hosts, "hosts", false, "each process in a network namespace of its own on one bridge, instead of loopback (Linux, root)")
	fs.IntVar(&s.Link, "link", 0, "of -hosts: `Mbit/s` that leave a host at most; 0: no limit")
	fs.IntVar(&s.Cast, "multicast", p2pchat.MulticastHosts, "`hosts` from which on blocks go by multicast when the streams cannot keep up; 0: never")
	fs.IntVar(&s.runs, "runs", 1, "how often")
	fs.StringVar(&s.sweep, "sweep", "", "repeat for each `value` of a flag, as in nodes=2,4,8")
	fs.StringVar(&s.plot, "plot", "", "draw the swept figure into this SVG `file`")
	fs.StringVar(&s.profile, "cpuprofile", "", "of throughput, latency, loss, catchup and idle: `directory` for a processor profile of each process")
	fs.DurationVar(&s.timeout, "timeout", 2*time.Minute, "the longest that one run may take")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return s, err
		}
		return s, errors.New("see bench -help")
	}
	if s.Volume > 0 && s.Size > 0 {
		s.Messages = max(s.Senders, s.Volume/s.Size)
	}
	if s.Mode == "heal" && !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "-nodes") || strings.HasPrefix(a, "--nodes") }) {
		s.Nodes = 6
	}
	return s, s.validate(fs.Args())
}

func (s settings) validate(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case !slices.ContainsFunc(modes, func(m struct{ name, what string }) bool { return m.name == s.Mode }):
		return fmt.Errorf("-mode %q: see bench -help", s.Mode)
	case s.Nodes < 2 || s.Nodes > 128:
		return fmt.Errorf("-nodes %d: want 2 to 128", s.Nodes)
	case s.Senders < 1 || s.Senders > min(s.Nodes, maxSenders):
		return fmt.Errorf("-senders %d: want 1 to the number of nodes, %d at most", s.Senders, maxSenders)
	case s.Size < headSize || s.Size > 1<<20:
		return fmt.Errorf("-size %d: want %d to %d", s.Size, headSize, 1<<20)
	case s.Messages < s.Senders || s.Messages > maxMessages:
		return fmt.Errorf("-messages %d: want one a sender to %d", s.Messages, maxMessages)
	case s.Warm < 0 || s.Warm > 1<<14:
		return fmt.Errorf("-warm %d: want 0 to %d", s.Warm, 1<<14)
	case s.Writers < 0 || s.Writers > maxWriters:
		return fmt.Errorf("-writers %d: want 0 to %d", s.Writers, maxWriters)
	case s.Writers > 0 && s.Data:
		return errors.New("-writers and -data exclude each other")
	case s.Writers > 0 && (s.Raw || s.compare):
		return errors.New("plain TCP has no -writers")
	case s.Rate <= 0 || s.Duration <= 0 || s.runs < 1 || s.timeout <= 0:
		return errors.New("-rate, -duration, -runs and -timeout must be positive")
	case s.Election != "bully" && s.Election != "ring":
		return fmt.Errorf("-election %q: want bully or ring", s.Election)
	case s.Fault != "kill" && s.Fault != "stop" && s.Fault != "cut":
		return fmt.Errorf("-fault %q: want kill, stop or cut", s.Fault)
	case s.Loss < 0 || s.Loss >= 1:
		return fmt.Errorf("-loss %v: want 0 to below 1", s.Loss)
	case (s.Raw || s.compare) && s.Mode != "throughput" && s.Mode != "latency":
		return fmt.Errorf("plain TCP has no -mode %s", s.Mode)
	case s.Raw && s.compare:
		return errors.New("-raw and -compare exclude each other")
	case s.Hosts && (s.Raw || s.compare):
		return errors.New("plain TCP is measured on loopback: -hosts excludes -raw and -compare")
	case s.Link < 0 || s.Link > 0 && !s.Hosts:
		return errors.New("-link is for -hosts, and not negative")
	case s.Cast < 0:
		return errors.New("-multicast is negative")
	case s.Keep && !s.Raw && !s.compare:
		return errors.New("-keep is for plain TCP: see -raw and -compare")
	}
	return nil
}
