package seal

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-885536be/p2p/internal/optional"
	"github.com/seed-885536be/p2p/transport"
)

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Gatherer  = (*Transport)(nil)
	_ transport.Reporter  = (*Transport)(nil)
	_ transport.Refuser   = (*Transport)(nil)
	_ transport.Warner    = (*Transport)(nil)
)

// Config describes a Transport. Key is needed.
type Config struct {
	// Key is the secret of the group, which seals and opens.
	Key Key
	// Accept are keys that open besides. See SetKeys.
	Accept []Key
	// Identity is the key pair of this node. If it is set, the node proves to
	// each peer, when a stream is set up, that it has the private key, and what
	// it writes is reported there with the public key as Event.Key.
	Identity ed25519.PrivateKey
	// Queue is how many bytes of frames to one peer are kept until the
	// handshake with it is complete; one frame is always taken. If zero, it is
	// 1 MiB.
	Queue int

	// For tests.
	renewal uint64 // of datagrams
	rekey   uint64 // of frames
}

// Times and bounds of streams, and for strangers.
const (
	// handshakeTimeout is how long a peer that is connected may take to answer,
	// or, if nothing is wanted of it, to begin.
	handshakeTimeout = 5 * time.Second
	maxPeers         = 8192
	maxControl       = 8 // messages of handshakes that wait for one stream
	maxInbound       = 4 // sessions in which one peer writes
	lastWords        = 200 * time.Millisecond
	// reports of strangers are at most so many at once, and one more after each
	// of these times.
	reportBurst = 16
	reportEvery = time.Second / 16
)

// Transport seals what another one carries.
type Transport struct {
	inner   transport.Transport
	later   transport.Deferrer // the same, or nil
	cfg     Config
	group   string
	handler transport.Handler
	self    instance // of handshakes
	ring    atomic.Pointer[ring]
	sender  sender
	guests  guests
	drops   [dropReasons]atomic.Uint64

	mu       sync.Mutex
	identity ed25519.PrivateKey
	open     bool
	closed   bool
	peers    map[netip.AddrPort]*peer
	hung     int           // peers that were hung up and have something queued
	drained  chan struct{} // one of them has not any more
	timers   sync.WaitGroup
	strange  limiter
}

// New returns a transport that seals what inner carries, which it opens and
// closes, and nobody else may use. For a passphrase it takes some tenths of a
// second. The error is ErrNoKey.
func New(inner transport.Transport, c Config) (*Transport, error) {
	if c.Queue == 0 {
		c.Queue = 1 << 20
	}
	if c.renewal == 0 {
		c.renewal = renewal
	}
	if c.rekey == 0 {
		c.rekey = rekeyFrames
	}
	if c.Queue < 0 {
		return nil, errors.New("seal: the queue is negative")
	}
	t := &Transport{
		inner: inner, cfg: c, group: groupPrefix + inner.Group(), identity: c.Identity,
		peers:   make(map[netip.AddrPort]*peer),
		drained: make(chan struct{}, 1),
		guests:  guests{known: make(map[instance]*known), at: make(map[netip.AddrPort]instance), pending: make(map[instance][]*pending)},
		sender:  sender{limit: c.renewal},
	}
	t.later, _ = inner.(transport.Deferrer)
	rand.Read(t.self[:]) // never fails
	r, err := newRing(nil, t.group, c.Key, c.Accept)
	if err != nil {
		return nil, err
	}
	t.ring.Store(r)
	t.sender.setKey(r.use)
	return t, nil
}

// SetKeys makes use the key that seals, and accept the keys that open besides,
// in place of those before. A group goes over to a new key in three steps, each
// taken at all its nodes before the next is at any: SetKeys(old, new), then
// SetKeys(new, old), then SetKeys(new). Nothing is lost thereby. Streams go over
// to the new key in the second step without a break; in the third one the
// streams break of peers that have not, and who does not have the new key is
// out.
//
// For a passphrase that is new it takes some tenths of a second. The error is
// ErrNoKey, and nothing has changed then.
func (t *Transport) SetKeys(use Key, accept ...Key) error {
	r, err := newRing(t.ring.Load(), t.group, use, accept)
	if err != nil {
		return err
	}
	t.ring.Store(r)
	t.sender.setKey(r.use)
	t.guests.keep(r)
	for _, p := range t.all() {
		p.keysChanged(r)
	}
	return nil
}

// all are the peers.
func (t *Transport) all() []*peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.peers))
}

// Identify sets Config.Identity. It must be called before Open.
func (t *Transport) Identify(key ed25519.PrivateKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.identity = key
}

// Unwrap returns the transport that this one seals, to be asked what only it
// knows.
func (t *Transport) Unwrap() transport.Transport { return t.inner }

// Open implements transport.Transport.
func (t *Transport) Open(h transport.Handler) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open || t.closed {
		return transport.ErrClosed
	}
	// What comes before Open has returned is handled as well.
	t.handler = h
	t.open = true
	if err := t.inner.Open(transport.HandlerFunc(t.handle)); err != nil {
		t.open = false
		return err
	}
	return nil
}

// Addr implements transport.Transport.
func (t *Transport) Addr() netip.AddrPort { return t.inner.Addr() }

// groupPrefix begins the name of a sealed group. No transport names a group so
// that is open.
const groupPrefix = "sealed:"

// Group implements transport.Transport: "sealed:" and what the inner transport
// says. So a history that was written behind the seal is not taken for that of
// an open group with the same address, nor the other way round. The key is not
// a part of it, because it may change.
func (t *Transport) Group() string { return t.group }

// Multicast implements transport.Transport. Its limit is MaxDatagram.
func (t *Transport) Multicast(frame []byte) error {
	if err := t.check(len(frame), transport.MaxDatagram); err != nil {
		return err
	}
	return t.inner.Multicast(t.sender.seal(kindDatagram, frame))
}

// Unicast implements transport.Transport. Its limit is MaxDatagram.
func (t *Transport) Unicast(to netip.AddrPort, frame []byte) error {
	if err := t.check(len(frame), transport.MaxDatagram); err != nil {
		return err
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	return t.inner.Unicast(to, t.sender.seal(t.guests.direct(to, frame)))
}

// check returns the error for a frame of a size that cannot be sent now, or at all.
func (t *Transport) check(size, limit int) error {
	t.mu.Lock()
	usable := t.open && !t.closed
	t.mu.Unlock()
	if !usable {
		return transport.ErrClosed
	}
	if size > limit {
		return &transport.TooLargeError{Size: size, Limit: limit}
	}
	return nil
}

// Close implements transport.Transport. It must not be called by the Handler,
// which it waits for.
func (t *Transport) Close() error {
	t.mu.Lock()
	first := !t.closed
	t.closed = true
	t.mu.Unlock()
	if first {
		t.drain()
	}
	err := t.inner.Close()
	for _, p := range t.all() {
		p.mu.Lock()
		p.unwatch()
		p.mu.Unlock()
	}
	t.timers.Wait()
	return err
}

// drain gives peers that were hung up a moment to take what is queued.
func (t *Transport) drain() {
	deadline := time.NewTimer(lastWords)
	defer deadline.Stop()
	for {
		t.mu.Lock()
		left := t.hung
		t.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-t.drained:
		case <-deadline.C:
			return
		}
	}
}

// handle is the inner transport's handler.
func (t *Transport) handle(e transport.Event) {
	switch e.Kind {
	case transport.Datagram, transport.Frame:
		t.arrived(e)
	case transport.Up:
		for {
			p := t.peer(e.Peer, true)
			if p == nil {
				t.drop(dropOverflow)
				t.inner.Hangup(e.Peer)
				return
			}
			if p.connected() {
				return
			}
		}
	case transport.Writable:
		if p := t.peer(e.Peer, false); p != nil {
			p.writable()
		}
	case transport.Down:
		if p := t.peer(e.Peer, false); p != nil {
			p.down(e)
		}
	default:
		t.handler.Handle(e)
	}
}

// arrived takes a frame from the inner transport.
func (t *Transport) arrived(e transport.Event) {
	if len(e.Frame) == 0 || e.Frame[0] < transport.FirstSealed {
		t.stranger(e.Peer, dropOpen)
		return
	}
	if err, ok := transport.ParseNotice(e.Frame, true); ok {
		t.report(transport.Event{Kind: transport.Rejected, Peer: e.Peer, Err: err})
		return
	}
	switch kind := e.Frame[0]; {
	case e.Kind == transport.Datagram && kind <= kindProof:
		t.datagram(e)
	case e.Kind == transport.Frame && kind >= kindHello && kind <= kindFrame:
		t.frame(e)
	default:
		t.drop(dropMalformed)
	}
}

// stranger counts what no key opens, and reports who sent it.
func (t *Transport) stranger(from netip.AddrPort, why drop) {
	t.drop(why)
	t.report(transport.Event{Kind: transport.Stranger, Peer: from, Err: &transport.AuthError{Sealed: why != dropOpen, OwnSealed: true}})
}

// report reports what anybody can cause, and therefore not all of it.
func (t *Transport) report(e transport.Event) {
	t.mu.Lock()
	ok := t.strange.allow(time.Now())
	t.mu.Unlock()
	if ok {
		t.handler.Handle(e)
	}
}

// Refuse implements transport.Refuser. For what the inner transport reported it
// asks that one.
func (t *Transport) Refuse(to netip.AddrPort, err error) {
	var auth *transport.AuthError
	if errors.As(err, &auth) {
		_ = t.inner.Unicast(to, auth.Notice())
	} else if r, ok := t.inner.(transport.Refuser); ok {
		r.Refuse(to, err)
	}
}

// Interfaces implements transport.Reporter.
func (t *Transport) Interfaces() []transport.Interface {
	return optional.Interfaces(t.inner)
}

// Warnings implements transport.Warner.
func (t *Transport) Warnings() []transport.Warning {
	return optional.Warnings(t.inner)
}

// Drops implements transport.Reporter. To what the inner transport dropped it
// adds
//
//	open       frames that are not sealed
//	auth       frames that no key opens, because they were sealed with another or changed on their way
//	replay     packets that came before, are old, or were meant for somebody else
//	unproven   datagrams for which there was no room while their sender was asked for a proof
//	malformed  frames that begin like sealed ones, and are none
//	overflow   peers, or messages of handshakes, of which there were too many
func (t *Transport) Drops() map[string]uint64 {
	m := optional.Drops(t.inner)
	for i := range t.drops {
		if n := t.drops[i].Load(); n > 0 {
			m[dropNames[i]] += n
		}
	}
	return m
}

// drop is a reason to refuse a frame.
type drop int

const (
	dropOpen drop = iota
	dropAuth
	dropReplay
	dropUnproven
	dropMalformed
	dropOverflow
	dropReasons
)

var dropNames = [dropReasons]string{"open", "auth", "replay", "unproven", "malformed", "overflow"}

func (t *Transport) drop(why drop) { t.drops[why].Add(1) }

// limiter lets a few through at once, and then one after the other.
type limiter struct {
	left int
	at   time.Time // when left was counted
}

func (l *limiter) allow(now time.Time) bool {
	if l.at.IsZero() {
		l.left, l.at = reportBurst, now
	}
	if n := now.Sub(l.at) / reportEvery; n > 0 {
		l.left = int(min(reportBurst, time.Duration(l.left)+n))
		l.at = l.at.Add(n * reportEvery)
	}
	if l.left == 0 {
		return false
	}
	l.left--
	return true
}
