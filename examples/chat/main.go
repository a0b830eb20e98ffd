// Command chat lets people on one network talk without a server. Start it in
// several terminals, or on several machines of a LAN, and type:
//
//	go run ./examples/chat
//
// With -spawn it runs several processes of itself in one terminal, which can be
// killed, stopped and cut off from each other; -script plays a file of such
// steps, and demo.jsonl is one that shows all of it in 13 minutes:
//
//	go run ./examples/chat -spawn 4
//	go run ./examples/chat -script examples/chat/demo.jsonl
//
// With -check it says which interfaces are used, who answers, and what keeps
// the group back, if anything does.
//
// With -json it speaks a line protocol on its standard input and output, for
// tests, scripts and other languages; PROTOCOL.md describes it.
//
// With -web 127.0.0.1:8080 it shows the group on a web page, beside any of
// these; the page can be read, and nothing else.
//
// At a terminal it reads each key, and gives the terminal back as it was however it
// ends, unless it is killed by SIGKILL or dies of a fault in the library: then
// "stty sane" does.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/fault"
	"github.com/seed-885536be/p2p/transport/lan"
	"github.com/seed-885536be/p2p/transport/seal"
)

// Exit codes.
const (
	exitOK        = 0
	exitRuntime   = 1
	exitUsage     = 2
	exitNoNetwork = 3
	exitRefused   = 4 // by the group
	exitTimeout   = 5 // a wait took too long
	exitCrash     = 137
)

// wireVersion is what this program's packets carry.
const wireVersion = 1

func main() {
	defer protect()
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go protected(func() {
		<-signals
		stop()
		<-signals // who asks twice does not want to wait
		restore()
		os.Exit(exitRuntime)
	})()
	// A reader that goes away must not kill the process before it has left
	// the group: with SIGPIPE caught, the write reports an error instead.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	restore()
	os.Exit(code)
}

// settings are the flags.
type settings struct {
	group, nick, room, listen string
	ifaces                    []string
	peers                     list
	passphrase                string // or a group's code
	algorithm                 string
	heartbeat, timeout        time.Duration
	data                      string
	json                      bool
	spawn                     int
	script, pace              string
	given                     []given // the flags that were set
	web                       string
	log                       string
	verbose, veryVerbose      bool
	version, newKey, check    bool
}

// given is a flag as it was given.
type given struct{ name, value string }

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

// Set implements flag.Value.
func (l *list) Set(s string) error {
	*l = append(*l, strings.Split(s, ",")...)
	return nil
}

// maxPassphrase is the longest passphrase, in bytes.
const maxPassphrase = 4 << 10

// errUsage marks what flag has already reported.
var errUsage = errors.New("usage")

func parseFlags(args []string, out io.Writer) (settings, error) {
	var s settings
	var ifaces, passFile string
	fs := flag.NewFlagSet("chat", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.Usage = func() { usage(fs, out) }
	fs.StringVar(&s.group, "group", lan.DefaultGroup, "multicast `address` of the group: all that a newcomer must know")
	fs.StringVar(&s.nick, "nick", defaultNick(), "your `name`: free text, need not be unique")
	fs.StringVar(&s.room, "room", "lobby", "`room` to talk in")
	fs.StringVar(&ifaces, "iface", "", "network interfaces to use, `names` with commas between; lo is this machine only (default: all that are fit)")
	fs.Var(&s.peers, "peer", "`address` of a member that multicast does not reach; may be given more than once, or several with commas between")
	fs.StringVar(&passFile, "pass-file", "", "`file` with the passphrase or the code of a sealed group; or set P2PCHAT_PASS (default: an open group)")
	fs.BoolVar(&s.newKey, "newkey", false, "print a new code for a sealed group and exit")
	fs.StringVar(&s.listen, "listen", "", "own unicast `address` (default: any free port)")
	fs.BoolVar(&s.check, "check", false, "find out how well the group can be reached from here, and exit")
	fs.StringVar(&s.algorithm, "election", "bully", "election `algorithm`: bully or ring")
	fs.DurationVar(&s.heartbeat, "heartbeat", 500*time.Millisecond, "time between two heartbeats of the coordinator (the classic pair is 5s with -timeout 10s)")
	fs.DurationVar(&s.timeout, "timeout", 2*time.Second, "silence after which the coordinator is presumed dead")
	fs.StringVar(&s.data, "data", "", "`directory` in which identity and history survive a restart (default: in memory only)")
	fs.BoolVar(&s.json, "json", false, "machine mode: JSON commands on stdin, JSON events on stdout")
	fs.IntVar(&s.spawn, "spawn", 0, "cockpit: run `n` processes in this terminal, in a group of their own unless -group is given")
	fs.StringVar(&s.script, "script", "", "play the steps of a `file` in the cockpit")
	fs.StringVar(&s.pace, "pace", "", "pauses of a script: `live`, step (each until Enter) or fast (none; default without a terminal)")
	fs.StringVar(&s.web, "web", "", "show the group on a web page at this `address`, such as 127.0.0.1:8080")
	fs.StringVar(&s.log, "log", "", "write a structured log to this `file`")
	fs.BoolVar(&s.verbose, "v", false, "log views and elections, to stderr unless -log is given")
	fs.BoolVar(&s.veryVerbose, "vv", false, "log every heartbeat as well")
	fs.BoolVar(&s.version, "version", false, "print the version and exit")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return s, err
		}
		return s, errUsage
	}
	fs.Visit(func(f *flag.Flag) { s.given = append(s.given, given{f.Name, f.Value.String()}) })
	if fs.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if ifaces != "" {
		for name := range strings.SplitSeq(ifaces, ",") {
			if name = strings.TrimSpace(name); name == "" {
				return s, fmt.Errorf("-iface %q: an empty name", ifaces)
			}
			s.ifaces = append(s.ifaces, name)
		}
	}
	s.passphrase = os.Getenv("P2PCHAT_PASS")
	if passFile != "" {
		var err error
		if s.passphrase, err = readPassphrase(passFile); err != nil {
			return s, err
		}
	}
	return s, s.validate()
}

// readPassphrase reads the first line of a file.
func readPassphrase(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("-pass-file: %w", err)
	}
	defer f.Close()
	line, err := readLine(bufio.NewReader(io.LimitReader(f, maxPassphrase+3)), maxPassphrase)
	switch {
	case errors.Is(err, errLineTooLong):
		return "", fmt.Errorf("-pass-file %s: the first line is over %d bytes", name, maxPassphrase)
	case err != nil && !errors.Is(err, io.EOF):
		return "", fmt.Errorf("-pass-file: %w", err)
	case len(line) == 0:
		return "", fmt.Errorf("-pass-file %s: the first line must be the passphrase, and is empty", name)
	}
	return string(line), nil
}

func (s *settings) validate() error {
	var errs []error
	if g, err := netip.ParseAddrPort(s.group); err != nil || !g.Addr().Is4() || !g.Addr().IsMulticast() || g.Port() == 0 {
		errs = append(errs, fmt.Errorf("-group %q: want an IPv4 multicast address with a port, such as %s", s.group, lan.DefaultGroup))
	}
	if s.listen != "" {
		host, port, err := net.SplitHostPort(s.listen)
		if _, notIP := netip.ParseAddr(host); err == nil && host != "" {
			err = notIP
		}
		if _, notPort := strconv.ParseUint(port, 10, 16); err == nil && port != "" {
			err = notPort
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("-listen %q: want ip:port, with either left out", s.listen))
		}
	}
	errs = append(errs, s.validateCockpit()...)
	for _, peer := range s.peers {
		if a, err := netip.ParseAddrPort(peer); err != nil || a.Port() == 0 {
			errs = append(errs, fmt.Errorf("-peer %q: want ip:port, as the other's /status shows it", peer))
		}
	}
	if s.web != "" {
		if _, _, err := parseWeb(s.web); err != nil {
			errs = append(errs, err)
		}
	}
	if strings.TrimSpace(s.nick) == "" {
		errs = append(errs, errors.New("-nick: empty"))
	}
	if s.room == "" || len(s.room) > p2pchat.MaxRoom || !utf8.ValidString(s.room) {
		errs = append(errs, &p2pchat.NameError{What: "room", Name: s.room, Limit: p2pchat.MaxRoom})
	}
	if s.algorithm != "bully" && s.algorithm != "ring" {
		errs = append(errs, fmt.Errorf("-election %q: want bully or ring", s.algorithm))
	}
	if s.heartbeat <= 0 || s.timeout <= s.heartbeat {
		errs = append(errs, fmt.Errorf("-heartbeat %s -timeout %s: the time-out must be the longer one", s.heartbeat, s.timeout))
	}
	return errors.Join(errs...)
}

func (s *settings) network() lan.Config {
	return lan.Config{Group: s.group, Interfaces: s.ifaces, Listen: s.listen, Peers: s.peers}
}

func (s *settings) options(t transport.Transport, l logger) []p2pchat.Option {
	elector := election.New(election.NewBully)
	if s.algorithm == "ring" {
		elector = election.NewRing
	}
	opts := []p2pchat.Option{
		p2pchat.WithName(strings.TrimSpace(s.nick)),
		p2pchat.WithElector(elector),
		p2pchat.WithTransport(t),
		p2pchat.WithTiming(membership.For(s.heartbeat, s.timeout)),
		p2pchat.WithLogger(l.Logger),
	}
	if _, err := seal.Code(s.passphrase); err == nil || mistyped(err, s.passphrase) {
		opts = append(opts, p2pchat.WithGroupCode(s.passphrase))
	} else if s.passphrase != "" {
		opts = append(opts, p2pchat.WithPassphrase(s.passphrase))
	}
	if s.data != "" {
		opts = append(opts, p2pchat.WithDataDir(s.data), p2pchat.WithMemoryFallback())
	}
	return opts
}

// mistyped reports whether a passphrase is meant to be a group's code.
func mistyped(err error, passphrase string) bool {
	var code *seal.CodeError
	return errors.As(err, &code) && code.Checksum && strings.Contains(passphrase, "-")
}

func defaultNick() string {
	for _, name := range []string{"USER", "USERNAME"} {
		if v := strings.TrimSpace(os.Getenv(name)); v != "" {
			return cut(v, min(len(v), p2pchat.MaxNick))
		}
	}
	return "peer"
}

// run is the program; what it returns is the exit code. It ends gracefully
// when ctx ends or stdin does.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	case err != nil:
		return fail(stderr, exitUsage, err)
	case s.version:
		fmt.Fprintf(stdout, "chat %s  wire v%d\n", buildVersion(), wireVersion)
		return exitOK
	}
	if s.newKey {
		fmt.Fprintln(stdout, seal.NewCode())
		return exitOK
	}
	if s.check {
		return check(ctx, s.network(), stdout, stderr)
	}
	if s.spawn > 0 || s.script != "" {
		c, err := newCockpit(s, stdin, stdout, stderr)
		if err != nil {
			return fail(stderr, exitRuntime, err)
		}
		return c.run(ctx)
	}
	log, err := openLog(s, stderr)
	if err != nil {
		return fail(stderr, exitRuntime, err)
	}
	defer log.Close()
	view, err := startWeb(s.web, stderr)
	if err != nil {
		return fail(stderr, exitRuntime, err)
	}
	defer view.close()
	network := fault.New(lan.New(s.network()), fault.Config{Seed: rand.Uint64()}) // #nosec G404 -- for simulated faults
	node, err := p2pchat.New(s.options(network, log)...)
	if err != nil {
		code := exitUsage
		if store := (*p2pchat.StoreError)(nil); errors.As(err, &store) {
			code = exitRuntime
		}
		return fail(stderr, code, err)
	}
	life := newSession(node, network)
	if s.json {
		life.face = newMachine(life, s, stdin, stdout)
	} else {
		life.face = newLine(life, s, log.stderr, stdin, stdout, stderr)
	}
	view.watch(life, s)
	return life.run(ctx)
}

func fail(w io.Writer, code int, err error) int {
	err = explain(err)
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(w, "chat: "+harmless(line))
	}
	return code
}

func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// exitCode is the exit code for an error of the node.
func exitCode(err error) int {
	var network *transport.NetworkError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &network):
		return exitNoNetwork
	case errors.Is(err, membership.ErrDuplicateIdentity), errors.As(err, new(*p2pchat.AuthError)), errors.As(err, new(*p2pchat.VersionError)):
		return exitRefused
	}
	return exitRuntime
}

// explain says in one sentence what is wrong and what can be done about it,
// for errors that people meet.
func explain(err error) error {
	var (
		auth    *p2pchat.AuthError
		version *p2pchat.VersionError
		network *transport.NetworkError
		store   *p2pchat.StoreError
	)
	say := func(cause error, advice string) error {
		_, text, _ := strings.Cut(cause.Error(), ": ") // without the package's name
		return fmt.Errorf("%s: %s", text, advice)
	}
	switch {
	case errors.As(err, &auth) && auth.Sealed && auth.OwnSealed:
		return say(auth, "ask a member for the right one, or choose another -group")
	case errors.As(err, &auth) && auth.Sealed:
		return say(auth, "ask a member for the passphrase and give it by -pass-file or P2PCHAT_PASS, or choose another -group")
	case errors.As(err, &auth):
		return say(auth, "start without a passphrase, or choose another -group")
	case errors.As(err, &version):
		return say(version, "use the version of this program that the group uses, or choose another -group")
	case errors.As(err, &network):
		return say(network, "choose other interfaces with -iface; -iface lo is this machine only")
	case errors.Is(err, membership.ErrDuplicateIdentity):
		return errors.New("another process has this identity: give each process a -data directory of its own")
	case errors.As(err, &store) && errors.Is(err, causal.ErrLocked):
		return fmt.Errorf("the directory %s is used by another process: choose another with -data", store.Dir)
	case errors.As(err, &store) && errors.Is(err, causal.ErrWrongGroup):
		return fmt.Errorf("the directory %s belongs to another group: choose another with -data, or the -group and passphrase it is of", store.Dir)
	}
	return err
}

// errorCode is an error's name in machine mode.
func errorCode(err error) string {
	var (
		network  *transport.NetworkError
		tooLarge *p2pchat.TooLargeError
		name     *p2pchat.NameError
		gone     *p2pchat.PeerGoneError
		auth     *p2pchat.AuthError
		version  *p2pchat.VersionError
	)
	switch {
	case errors.As(err, &network):
		return codeNoNetwork
	case errors.As(err, &tooLarge):
		return codeTooLarge
	case errors.As(err, &name), errors.Is(err, p2pchat.ErrSelf):
		return codeBadArg
	case errors.As(err, &gone):
		return codeNoSuchPeer
	case errors.As(err, &auth):
		return codeAuth
	case errors.As(err, &version):
		return codeVersion
	case errors.Is(err, p2pchat.ErrNotJoined):
		return codeNotReady
	case errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
		return codeClosed
	case errors.Is(err, context.DeadlineExceeded):
		return codeTimeout
	}
	return codeInternal
}
