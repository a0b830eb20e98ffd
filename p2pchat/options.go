package p2pchat

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
	"github.com/seed-885536be/p2p/transport/seal"
)

// Limits of what a program may say.
const (
	MaxNick    = 64      // bytes of a nick
	MaxRoom    = 64      // bytes of a room's name
	MaxMessage = 1 << 20 // bytes of a message; WithMaxMessage makes it less
)

// Option configures New.
type Option func(*config) error

type config struct {
	nick       string
	elector    election.New
	seniority  bool
	transport  transport.Transport
	secret     seal.Key
	timing     membership.Timing
	logger     *slog.Logger
	maxMessage int
	dataDir    string
	fallback   bool // of the data directory to memory
	retention  causal.Retention
	compaction causal.Compaction
	keep       bool
	detector   membership.NewDetector
	membership func(membership.Config) (membership.Membership, error)
	log        func(causal.Config) (causal.Log, error)
	multicast  int // hosts
}

func configure(opts []Option) (config, error) {
	cfg := config{
		nick: "peer", elector: election.NewBully, timing: membership.Default(),
		logger: slog.New(slog.DiscardHandler), maxMessage: MaxMessage,
		multicast: MulticastHosts,
	}
	var errs []error
	for _, o := range opts {
		errs = append(errs, o(&cfg))
	}
	if cfg.transport == nil {
		cfg.transport = lan.New(lan.Config{})
	}
	if cfg.log != nil && cfg.dataDir != "" {
		errs = append(errs, errors.New("p2pchat: WithLog and WithDataDir exclude each other: a Log of your own keeps what it likes"))
	}
	if cfg.compaction.Keep = cfg.keep; cfg.keep && cfg.compaction.Age == 0 {
		errs = append(errs, errors.New("p2pchat: WithFullHistory needs WithCompaction: without it the group gives up nothing"))
	}
	if err := errors.Join(errs...); err != nil {
		return cfg, err
	}
	return cfg, cfg.seal()
}

// WithName sets the nick: 1 to MaxNick bytes of UTF-8. The default is "peer".
func WithName(nick string) Option {
	return func(c *config) error {
		c.nick = nick
		return checkNick(nick)
	}
}

// WithElector chooses the election algorithm: election.NewBully, which is the
// default, election.NewRing, or one of your own.
func WithElector(e election.New) Option {
	return func(c *config) error {
		if e == nil {
			return errors.New("p2pchat: WithElector: the constructor is nil")
		}
		c.elector = e
		return nil
	}
}

// WithSeniority makes the oldest member win elections, instead of the one with
// the highest ID. All members of a group must agree on this.
func WithSeniority() Option {
	return func(c *config) error {
		c.seniority = true
		return nil
	}
}

// WithDetector chooses how long a silence makes a member suspect:
// membership.NewFixed, which is the default, membership.NewPhi, or one of your
// own. A suspect is verified before anything is done about it.
func WithDetector(d membership.NewDetector) Option {
	return func(c *config) error {
		if d == nil {
			return errors.New("p2pchat: WithDetector: the constructor is nil")
		}
		c.detector = d
		return nil
	}
}

// WithMembership chooses who decides who is in the group. The default is
// membership.NewCoordinated. All members of a group must agree on this.
func WithMembership(m func(membership.Config) (membership.Membership, error)) Option {
	return func(c *config) error {
		if m == nil {
			return errors.New("p2pchat: WithMembership: the constructor is nil")
		}
		c.membership = m
		return nil
	}
}

// WithLog chooses what keeps the history. The default is causal.NewMemory. The
// Config that the constructor is given has the node's key, which signs. All
// members of a group must agree on this.
func WithLog(l func(causal.Config) (causal.Log, error)) Option {
	return func(c *config) error {
		if l == nil {
			return errors.New("p2pchat: WithLog: the constructor is nil")
		}
		c.log = l
		return nil
	}
}

// WithTransport chooses how frames travel. The default is
// lan.New(lan.Config{}). The Node opens it, owns it from then on and closes it.
func WithTransport(t transport.Transport) Option {
	return func(c *config) error {
		if t == nil {
			return errors.New("p2pchat: WithTransport: the transport is nil")
		}
		c.transport = t
		return nil
	}
}

// WithTiming chooses the durations of the protocol. The default is
// membership.Default(); membership.Classic() is a heartbeat every 5 s and an
// election after 10 s of silence. All members of a group should agree on it.
func WithTiming(t membership.Timing) Option {
	return func(c *config) error {
		c.timing = t
		if err := t.Validate(); err != nil {
			return fmt.Errorf("p2pchat: WithTiming: %w", err)
		}
		return nil
	}
}

// MulticastHosts is the default of WithMulticast.
const MulticastHosts = 16

// WithMulticast says from how many hosts on this node sends what it writes to
// the group by multicast, once for all, when its streams to the members, each of
// which takes the same bytes, cannot keep up. The default is MulticastHosts;
// zero is never. What gets lost is sent again, and in the end the streams have
// it. Multicast goes on only as long as it is faster than the streams were: on
// wired networks it is, on most wireless ones it is not. It reaches all ports of
// a switch that does not watch who listens (IGMP snooping), so that a program on
// such a network may not want it.
func WithMulticast(hosts int) Option {
	return func(c *config) error {
		c.multicast = hosts
		if hosts < 0 {
			return fmt.Errorf("p2pchat: WithMulticast(%d): the number is negative", hosts)
		}
		return nil
	}
}

// WithDataDir keeps the node's key and its history in a directory, which is
// made if there is none. A node that is restarted with it is the same peer,
// with the history it had. One process at a time can use a directory, for one
// group. The default is memory alone: a new peer at each start.
func WithDataDir(dir string) Option {
	return func(c *config) error {
		c.dataDir = dir
		if dir == "" {
			return errors.New("p2pchat: WithDataDir: no directory is named")
		}
		return nil
	}
}

// WithMemoryFallback lets the node go on in memory when its data directory fails
// while it runs, because the disk is full, say: it warns, and what comes from then
// on is lost at its end, but for what others hold. Without it the node ends then.
func WithMemoryFallback() Option {
	return func(c *config) error {
		c.fallback = true
		return nil
	}
}

// WithRetention limits the history that this node keeps, in memory and in the
// data directory: what is older than maxAge, or beyond maxBytes of messages, is
// dropped, the oldest first. Zero is no limit, which is the default for both.
// The places of the messages stay, see Message.Dropped, so that the history
// remains the same everywhere, whatever each node keeps. What a member has not
// taken over yet is never dropped. Who joins takes over what the others kept.
func WithRetention(maxAge time.Duration, maxBytes int64) Option {
	return func(c *config) error {
		c.retention = causal.Retention{MaxAge: maxAge, MaxBytes: maxBytes}
		if maxAge < 0 || maxBytes < 0 {
			return fmt.Errorf("p2pchat: WithRetention: %v, %d: a limit is negative", maxAge, maxBytes)
		}
		return nil
	}
}

// WithCompaction lets the group give up for good what is older than age: not
// only what was said, as WithRetention does on one node, but also that it was,
// so that a history can go on for years. All members must ask for it; nothing is
// given up as long as one does not. Those who are away are waited for during
// away: nothing is given up that they may not have seen. Zero is 30 days. Who
// comes back later than that says again what it had said alone, and is told by
// a WarningEvent what else was lost. The default keeps all; for one node that is
// to keep all while the others do not, see WithFullHistory.
func WithCompaction(age, away time.Duration) Option {
	return func(c *config) error {
		c.compaction = causal.Compaction{Age: age, Away: away}
		if age <= 0 || away < 0 {
			return fmt.Errorf("p2pchat: WithCompaction: %v, %v: no age to keep messages for", age, away)
		}
		return nil
	}
}

// WithFullHistory makes this node an archive: by WithCompaction, which it needs
// too, it agrees to what the group gives up, but keeps all of that itself. If it
// comes when the others have given up something already, it takes that over from
// another archive that is there; if none is, it begins where the others do. Its
// positions and digest are the same as theirs. Other nodes that join take over
// from it no more than from anybody else, and WithRetention, if it is given, still
// drops what was said.
func WithFullHistory() Option {
	return func(c *config) error {
		c.keep = true
		return nil
	}
}

// WithLogger gives a logger for what is of interest to whoever runs the
// program: views and elections at Info, refused packets at Warn and at most
// one a minute for each reason, the rest at Debug. The default logs nothing.
func WithLogger(l *slog.Logger) Option {
	return func(c *config) error {
		if l == nil {
			return errors.New("p2pchat: WithLogger: the logger is nil")
		}
		c.logger = l
		return nil
	}
}

// WithMaxMessage sets the size in bytes of the largest message that Send
// takes, up to MaxMessage, which is the default.
func WithMaxMessage(n int) Option {
	return func(c *config) error {
		c.maxMessage = n
		if n < 1 || n > MaxMessage {
			return fmt.Errorf("p2pchat: WithMaxMessage: %d is not between 1 and %d", n, MaxMessage)
		}
		return nil
	}
}

func checkNick(nick string) error {
	if nick == "" || len(nick) > MaxNick || !utf8.ValidString(nick) {
		return &NameError{What: "nick", Name: nick, Limit: MaxNick}
	}
	return nil
}

func checkRoom(room string) error {
	if room == "" || len(room) > MaxRoom || !utf8.ValidString(room) {
		return &NameError{What: "room", Name: room, Limit: MaxRoom}
	}
	return nil
}
