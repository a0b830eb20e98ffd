package p2pchat

import (
	"context"
	"crypto/ed25519"
	crand "crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/causal/boltstore"
	"github.com/seed-885536be/p2p/internal/core"
	"github.com/seed-885536be/p2p/internal/pages"
	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

// Node is one participant of a group. Its methods may be called from any
// goroutine.
//
// A Node has one lock and two goroutines of its own. All that changes the
// node happens under the lock, in short steps that never wait: what the
// transport delivers is handled in the transport's goroutine, what a program
// asks for in the program's. The driver's goroutine sees to the timer and sends
// off what programs have appended; another one writes the log, as a reader of
// Events like any other.
type Node struct {
	cfg config
	key ed25519.PrivateKey
	id  PeerID

	mu       sync.Mutex
	phase    Phase
	history  causal.Log
	core     *core.Core // nil before Join
	known    map[PeerID]Peer
	beatAt   time.Time                   // when the coordinator was heard last
	full     map[netip.AddrPort][][]byte // frames, in parts
	stable   map[causal.WriterID]uint64
	said     announced
	behind   behind
	drops    dropReport
	net      network
	first    bool      // this node founded the group
	own      uint64    // number of the last own message
	sent     time.Time // when it was sent
	hurry    bool      // soon after the one before
	appended bool      // something waits for Flush
	left     bool      // the goodbye is complete
	err      error     // why the node ended by itself
	closing  error     // what the store said when it was closed
	subs     map[*subscription]struct{}
	more     chan struct{} // closed when messages were delivered
	changed  chan struct{} // closed when anything changed
	direct   direct
	rooms    rooms
	watch    watch
	buf      [1][]byte // for encoding payloads

	timer  *time.Timer
	wake   chan struct{}
	stop   chan struct{}
	closed chan struct{} // Close is complete
	driver sync.WaitGroup
}

// New makes a node. It reports every invalid option at once, joined by
// errors.Join; a data directory that cannot be used is a *StoreError. Nothing
// happens on the network before Join, but what the data directory holds can be
// read. A Node must be closed, by Leave or Close.
func New(opts ...Option) (*Node, error) {
	cfg, err := configure(opts)
	if err != nil {
		return nil, err
	}
	history, key, err := openLog(cfg)
	if err != nil {
		return nil, err
	}
	if t := cfg.sealed(); t != nil {
		t.Identify(key)
	}
	n := &Node{
		cfg: cfg, history: history, key: key, id: peerID(key.Public().(ed25519.PublicKey)),
		known: make(map[PeerID]Peer), full: make(map[netip.AddrPort][][]byte),
		stable: make(map[causal.WriterID]uint64), subs: make(map[*subscription]struct{}),
		more: make(chan struct{}), changed: make(chan struct{}),
		direct: direct{sending: make(map[uint64]chan core.DirectDone), more: make(chan struct{})},
		watch:  newWatch(),
		rooms:  rooms{ends: make(map[string]*ends)},
		wake:   make(chan struct{}, 1), stop: make(chan struct{}), closed: make(chan struct{}),
	}
	return n, nil
}

// openLog makes the log, with what the data directory holds if there is one.
func openLog(cfg config) (causal.Log, ed25519.PrivateKey, error) {
	c := causal.Config{Group: cfg.transport.Group(), Rand: crand.Reader, Retention: cfg.retention, Compaction: cfg.compaction, Alloc: pages.Make}
	if cfg.dataDir != "" {
		return openStored(cfg, c)
	}
	_, key, err := ed25519.GenerateKey(crand.Reader)
	if err != nil {
		return nil, nil, err
	}
	c.Key = key
	if cfg.log != nil {
		l, err := cfg.log(c)
		return l, key, err
	}
	l, err := causal.NewMemory(c)
	return l, key, err
}

func openStored(cfg config, c causal.Config) (causal.Log, ed25519.PrivateKey, error) {
	if err := os.MkdirAll(cfg.dataDir, 0o700); err != nil {
		return nil, nil, &StoreError{Dir: cfg.dataDir, Err: err}
	}
	store, err := boltstore.Open(filepath.Join(cfg.dataDir, "history.db"), boltstore.Options{Group: c.Group})
	if err != nil {
		return nil, nil, &StoreError{Dir: cfg.dataDir, Err: err}
	}
	c.Store = store
	l, err := causal.NewMemory(c)
	if err != nil {
		return nil, nil, &StoreError{Dir: cfg.dataDir, Err: err}
	}
	return l, l.PrivateKey(), nil
}

func peerID(pub ed25519.PublicKey) PeerID {
	sum := sha256.Sum256(pub)
	return PeerID(sum[:16])
}

// Join finds the group or, if nobody answers, founds it. It returns nil when
// this node is a member and has taken over the history that was there. Any
// error is a *JoinError; if ctx ends first, it wraps ctx's error. The node is
// closed then, unless it is that Join was called before.
func (n *Node) Join(ctx context.Context) error {
	if err := n.start(); err != nil {
		if err != ErrJoined && err != ErrClosed {
			n.finish(err)
		}
		return &JoinError{Err: err}
	}
	err := n.Wait(ctx, func(s Status) bool { return s.Phase == PhaseMember || s.Phase == PhaseElecting })
	if err == nil {
		return nil
	}
	n.mu.Lock()
	if n.err != nil {
		err = n.err
	}
	n.mu.Unlock()
	n.finish(err)
	return &JoinError{Err: err}
}

// start opens the transport and sets the machines going.
func (n *Node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch n.phase {
	case PhaseNew:
	case PhaseClosed:
		return ErrClosed
	default:
		return ErrJoined
	}
	n.phase = PhaseJoining
	var seed [32]byte
	if _, err := crand.Read(seed[:]); err != nil {
		return err
	}
	// What arrives while the lock is held waits in the transport.
	if err := n.cfg.transport.Open(transport.HandlerFunc(n.handle)); err != nil {
		return err
	}
	now := time.Now()
	n.net.addr = n.cfg.transport.Addr()
	g, err := core.NewGroup(core.GroupConfig{
		Self:   membership.Member{Key: n.id, Inc: uint64(now.UnixMilli()), Addr: n.net.addr, Name: n.cfg.nick},
		Timing: n.cfg.timing, Elector: n.cfg.elector, Seniority: n.cfg.seniority,
		Detector: n.cfg.detector, Membership: n.cfg.membership,
		Rand: rand.New(rand.NewChaCha8(seed)), // #nosec G404 -- it is for waits and nonces of questions; the seed is from crypto/rand
	})
	if err != nil {
		return err
	}
	n.core = core.New(g, n.history, n.key, n.cfg.transport.Group())
	n.core.Cast(n.cfg.multicast)
	if _, ok := n.cfg.transport.(transport.Gatherer); ok {
		n.core.Gather()
	}
	n.timer = time.NewTimer(time.Hour)
	n.driver.Go(n.drive)
	if n.cfg.logger.Enabled(context.Background(), slog.LevelError) {
		events := n.read(context.Background(), n.subscribe())
		n.driver.Go(func() { n.log(events) })
	}
	n.found()
	n.core.Step(now, membership.Start{})
	n.carry(now)
	return nil
}

// seldom is the time between calls of Send from which on each sends its message
// off by itself. What comes faster shares blocks, which the driver sends off. One
// longer time does not count: it is how a program that does nothing but send
// looks when others have had the processor.
const seldom = time.Millisecond

// Send appends a message to the history and hands it on. It returns when the
// message is a part of this node's history; it never waits for peers. It is
// given to them at once when there is little to say, and in batches when there
// is much.
//
// The errors are ctx's, before anything is done, ErrNotJoined, ErrClosed,
// *TooLargeError and *NameError. data is copied.
func (n *Node) Send(ctx context.Context, room string, data []byte) (MessageID, error) {
	if err := ctx.Err(); err != nil {
		return MessageID{}, err
	}
	if err := checkRoom(room); err != nil {
		return MessageID{}, err
	}
	if len(data) > n.cfg.maxMessage {
		return MessageID{}, &TooLargeError{Size: len(data), Limit: n.cfg.maxMessage}
	}
	n.mu.Lock()
	if err := n.usable(); err != nil {
		n.mu.Unlock()
		return MessageID{}, err
	}
	n.buf[0] = appendPayload(n.buf[0][:0], room, n.cfg.nick, data)
	now := time.Now()
	id, err := n.core.Append(now, n.buf[:]...)
	first := !n.appended
	if err == nil {
		n.own, n.appended = id.N, true
		hurry := now.Sub(n.sent) < seldom
		alone := !hurry && !n.hurry
		n.sent, n.hurry = now, hurry
		if alone {
			n.flushed()
			first = false
			n.sent = time.Now() // a program that does nothing but send is not seldom
		}
	}
	n.mu.Unlock()
	if first && err == nil {
		n.poke()
	}
	return id, err
}

// usable says why a member's method cannot be used now.
func (n *Node) usable() error {
	switch n.phase {
	case PhaseNew, PhaseJoining:
		return ErrNotJoined
	case PhaseClosed:
		return ErrClosed
	}
	return nil
}

// SetNick changes the own nick, for the members' lists and for messages sent
// from now on. The error is ctx's, a *NameError, ErrNotJoined or ErrClosed.
func (n *Node) SetNick(ctx context.Context, nick string) error {
	if err := checkNick(nick); err != nil {
		return err
	}
	return n.input(ctx, membership.Rename{Name: nick}, func() { n.cfg.nick = nick })
}

// Elect starts an election now, although the coordinator may be well. It does
// not wait for its end. The error is ctx's, ErrNotJoined or ErrClosed.
func (n *Node) Elect(ctx context.Context) error {
	return n.input(ctx, membership.Elect{}, func() {})
}

func (n *Node) input(ctx context.Context, in membership.Input, also func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.usable(); err != nil {
		return err
	}
	also()
	now := time.Now()
	n.core.Step(now, in)
	n.carry(now)
	return nil
}

// Leave hands on what this node has still to say, says goodbye, handing the
// coordinatorship over first if this node has it, and closes the node. That
// takes a few round trips. Where others do not answer it takes 430 ms at most;
// if ctx has a deadline they are given until then, though not longer than they
// would need to miss this node by themselves (WithTiming). When ctx ends first,
// the node is closed all the same and ctx's error returned. The error is
// ErrClosed if the node had ended before, and else also what the data directory
// said to the end.
func (n *Node) Leave(ctx context.Context) error {
	n.mu.Lock()
	if n.phase == PhaseClosed {
		n.mu.Unlock()
		return ErrClosed
	}
	var err error
	if n.core != nil && n.phase >= PhaseSyncing {
		n.phase = PhaseLeaving
		now := time.Now()
		n.flush(now)
		w := n.history.Writer()
		n.mu.Unlock()
		// A member that stopped answering must not hold up the goodbye.
		handOn, cancel := context.WithTimeout(ctx, leavePatience)
		_ = n.wait(handOn, func() bool { return n.history.Stable(w) >= n.own })
		cancel()
		n.mu.Lock()
		if n.phase == PhaseLeaving {
			now = time.Now()
			n.core.Step(now, membership.Depart{Limit: n.patience(ctx, now)})
			n.carry(now)
		}
		n.mu.Unlock()
		err = n.wait(ctx, func() bool { return n.left })
	} else {
		n.mu.Unlock()
	}
	n.finish(nil)
	if err == ErrClosed {
		err = nil
	}
	return errors.Join(err, n.closing)
}

// patience is how long a goodbye may take that must be over when ctx ends; zero
// if ctx does not say.
func (n *Node) patience(ctx context.Context, now time.Time) time.Duration {
	end, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	left := end.Sub(now)
	return min(left-left/8, n.cfg.timing.TElect) // what is said last has to get out
}

// leavePatience is how long Leave waits until all members hold what this node
// has sent.
const leavePatience = 150 * time.Millisecond

// Close drops out at once, as a crash would: the others find out by
// themselves. It waits until all goroutines of the node have ended. Closing
// again does nothing. The error is what the data directory said to the end.
func (n *Node) Close() error {
	n.finish(nil)
	return n.closing
}

// finish ends the node for the reason err, and waits until that is done.
func (n *Node) finish(err error) {
	n.mu.Lock()
	if n.phase == PhaseClosed {
		n.mu.Unlock()
		<-n.closed
		return
	}
	joining := n.phase == PhaseJoining
	n.phase = PhaseClosed
	if n.err == nil {
		n.err = err
	}
	if joining && n.err != nil {
		n.publish(&JoinEvent{Phase: JoinFailed, Err: n.err})
	}
	close(n.stop)
	n.mu.Unlock()

	_ = n.cfg.transport.Close()

	n.mu.Lock()
	for s := range n.subs {
		s.end()
	}
	if n.timer != nil {
		n.timer.Stop()
	}
	n.closing = n.history.Close()
	n.broadcast()
	close(n.more)
	close(n.direct.more)
	n.mu.Unlock()
	n.driver.Wait()
	close(n.closed)
}

// Err is why the node ended by itself: the network was lost, say, or another
// process uses its key (membership.ErrDuplicateIdentity). It is nil while the
// node goes on, and after Leave or Close.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// Wait returns nil when cond is true of the node's status. It is asked at once
// and whenever something changed, never concurrently. The error is ctx's, or
// ErrClosed if the node ends before.
func (n *Node) Wait(ctx context.Context, cond func(Status) bool) error {
	return n.wait(ctx, func() bool { return cond(n.status()) })
}

// WaitStable returns nil when every member of the view is known to hold the
// message: 20 ms after the last of them got it, or 2.5 ms for each member if that
// is more. In a group of more than 16 that is so for own messages; for those of
// others it takes up to a second. It waits, too, for a message that this node does
// not hold yet. The error is ctx's, or ErrClosed if the node ends before.
func (n *Node) WaitStable(ctx context.Context, id MessageID) error {
	return n.wait(ctx, func() bool { return n.history.Stable(id.Writer) >= id.N })
}

// wait calls cond under the lock.
func (n *Node) wait(ctx context.Context, cond func() bool) error {
	for {
		n.mu.Lock()
		ok, over, changed := cond(), n.phase == PhaseClosed, n.changed
		n.mu.Unlock()
		switch {
		case ok:
			return nil
		case over:
			return ErrClosed
		}
		select {
		case <-changed:
		case <-n.stop:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// View is the view installed last. Its Members are nil before the first.
func (n *Node) View() View {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.core == nil {
		return View{}
	}
	return view(n.core.Group().View())
}

// Self is this node as the view lists it; its ID is 0 before it is a member.
func (n *Node) Self() Peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.self()
}

func (n *Node) self() Peer {
	p := Peer{Key: n.id, Nick: n.cfg.nick}
	if n.core == nil {
		return p
	}
	if m, ok := n.core.Group().View().Find(n.id); ok {
		p.ID, p.Addr = m.ID, m.Addr
	} else {
		p.Addr = n.cfg.transport.Addr()
	}
	return p
}

// Status is a snapshot of all that is of interest.
func (n *Node) Status() Status {
	n.mu.Lock()
	s := n.status()
	n.mu.Unlock()
	if r, ok := n.cfg.transport.(transport.Reporter); ok && s.Phase != PhaseNew {
		s.Interfaces = r.Interfaces()
		s.LocalOnly = true
		for _, i := range s.Interfaces {
			s.LocalOnly = s.LocalOnly && (!i.Used || i.Addr.IsLoopback())
		}
		for reason, count := range r.Drops() {
			s.Drops[reason] += count
		}
	}
	return s
}

func (n *Node) status() Status {
	n.flushed() // what was sent counts
	s := Status{Phase: n.phase, Self: n.self(), Group: n.cfg.transport.Group(), Drops: make(map[string]uint64)}
	if t := n.cfg.sealed(); t != nil {
		s.Sealed, s.Group = true, t.Unwrap().Group()
	}
	if n.core == nil {
		return s
	}
	g := n.core.Group()
	s.View = view(g.View())
	s.Algorithm = g.Algorithm()
	if n.phase == PhaseMember && g.Electing() {
		s.Phase = PhaseElecting
	}
	if s.View.Coordinator.Key != n.id && !n.beatAt.IsZero() {
		s.Heartbeat = time.Since(n.beatAt)
	}
	for _, m := range s.View.Members {
		if e := n.watch.suspects[m.Key]; e != nil {
			s.Suspects = append(s.Suspects, *e)
		}
	}
	s.Digest, s.Same, s.Of, s.Known = n.digest()
	n.core.Drops(s.Drops)
	return s
}

// digest compares what the members hold. known is how many messages the member
// has that said it has the most.
func (n *Node) digest() (d Digest, same, of int, known uint64) {
	own := n.history.Digest()
	known = own.Messages
	for _, m := range n.core.Group().View().Members {
		of++
		if m.Key == n.id {
			same++
		} else if theirs, ok := n.history.PeerDigest(m.Key); ok {
			known = max(known, theirs.Messages)
			if theirs == own {
				same++
			}
		}
	}
	return Digest{N: own.Messages, Hash: own.Hash}, same, of, known
}

func view(v membership.View) View {
	out := View{Term: v.ID.Epoch.Ctr, Number: v.Number}
	for _, m := range v.Members {
		p := peer(m)
		out.Members = append(out.Members, p)
		if m.Key == v.ID.Epoch.Leader {
			out.Coordinator = p
		}
	}
	return out
}

func peer(m membership.Member) Peer {
	return Peer{ID: m.ID, Key: m.Key, Nick: m.Name, Addr: m.Addr}
}
