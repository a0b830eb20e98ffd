package lan

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// conn is a TCP connection on which both sides have said hello.
type conn struct {
	*net.TCPConn
	instance uint64 // the peer's
	dialed   bool   // by this side
	since    time.Time
	raw      syscall.RawConn // nil: there is none
	started  bool            // the reader; guarded by link.mu
	replaced bool            // by another that the peer opened; guarded by link.mu

	done chan struct{} // closed when the reader has ended
	err  error         // why it ended; valid then
}

// age is how long the connection has been open.
func (c *conn) age() time.Duration { return time.Since(c.since) }

// keepAlive finds out about idle peers that vanished.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: time.Second, Count: 5}

// pending are the connections that have not yet said hello, the oldest first.
type pending struct {
	conns []net.Conn
}

// add keeps a connection, and returns the oldest if there are too many.
func (p *pending) add(c net.Conn) (oldest net.Conn) {
	p.conns = append(p.conns, c)
	if len(p.conns) > maxPending {
		oldest = p.conns[0]
		p.conns = append(p.conns[:0], p.conns[1:]...)
	}
	return oldest
}

// remove returns false if the connection is not, or no longer, kept.
func (p *pending) remove(c net.Conn) bool {
	for i := range p.conns {
		if p.conns[i] == c {
			p.conns = append(p.conns[:i], p.conns[i+1:]...)
			return true
		}
	}
	return false
}

func (p *pending) close() {
	for _, c := range p.conns {
		c.Close()
	}
}

// accept takes connections that peers open.
func (t *Transport) accept(l *net.TCPListener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			// It may pass, if the process has too many files open.
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		t.mu.Lock()
		if t.closed {
			t.mu.Unlock()
			nc.Close()
			return
		}
		if oldest := t.pending.add(nc); oldest != nil {
			t.drops.count(dropOverflow)
			oldest.Close()
		}
		t.wg.Go(func() { t.welcome(nc) })
		t.mu.Unlock()
	}
}

// welcome lets a connection say hello and answers it.
func (t *Transport) welcome(nc net.Conn) {
	h, err := t.answer(nc)
	t.mu.Lock()
	kept := t.pending.remove(nc)
	t.mu.Unlock()
	if err != nil || !kept || h.kind == kindTry {
		nc.Close()
		return
	}
	t.attach(t.met(h, nc), newConn(nc, h, false))
}

// met notes the address of a node that said hello, and returns its name.
func (t *Transport) met(h header, nc net.Conn) netip.AddrPort {
	ip := nc.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	local := t.networks.own(ip) && t.networks.own(h.endpoint.Addr()) || ip.IsLoopback()
	return t.roster.hear(h, netip.AddrPortFrom(ip, h.endpoint.Port()), local, time.Now())
}

func newConn(nc net.Conn, h header, dialed bool) *conn {
	c := &conn{TCPConn: nc.(*net.TCPConn), instance: h.instance, dialed: dialed, since: time.Now(), done: make(chan struct{})}
	if raw, err := c.SyscallConn(); err == nil {
		c.raw = raw
	}
	return c
}

var errOwn = errors.New("lan: connected to itself")

// answer reads a hello and says hello too. It does so even if the two have
// nothing in common, as long as it is a hello: so the other side learns who is
// here, or rather who is not.
func (t *Transport) answer(nc net.Conn) (header, error) {
	tune(nc)
	if err := nc.SetDeadline(time.Now().Add(t.times.hello)); err != nil {
		return header{}, err
	}
	h, err := t.hello(nc, string(kindHello)+string(kindTry))
	if errors.Is(err, errSilent) {
		t.drops.count(dropNoHello)
		return header{}, err
	}
	if err != nil {
		t.drops.refused(err)
		if errors.Is(err, errMalformed) {
			return header{}, err
		}
	}
	if _, werr := nc.Write(t.header(kindHello, 0).append(nil)); err == nil {
		err = werr
	}
	if err != nil {
		return header{}, err
	}
	if h.instance == t.instance {
		return header{}, errOwn
	}
	return h, nc.SetDeadline(time.Time{})
}

var errSilent = errors.New("lan: the connection ended without a hello")

// hello reads a hello. The error wraps errSilent if there was none, and is one
// of parseHeader otherwise.
func (t *Transport) hello(nc net.Conn, kinds string) (header, error) {
	var b [headerSize]byte
	if _, err := io.ReadFull(nc, b[:prefixSize]); err != nil {
		return header{}, fmt.Errorf("%w: %w", errSilent, err)
	}
	// Another protocol, or another version, may have no more to say.
	var version *transport.VersionError
	if _, err := parseHeader(b[:prefixSize], kinds, t.label); string(b[:3]) != "p2p" || errors.As(err, &version) {
		return header{}, err
	}
	if _, err := io.ReadFull(nc, b[prefixSize:]); err != nil {
		return header{}, fmt.Errorf("%w: %w", errSilent, err)
	}
	return parseHeader(b[:], kinds, t.label)
}

// dial opens a connection to an endpoint. The error is one of notThere if it
// is certain that no peer is there.
func (t *Transport) dial(ctx context.Context, to netip.AddrPort) (*conn, error) {
	nc, h, err := t.call(ctx, to, kindHello)
	if err != nil {
		return nil, err
	}
	t.met(h, nc)
	return newConn(nc, h, true), nil
}

// How the addresses of a peer are tried: one more when nothing has come of the
// last for a while, or at once when it failed; the others not much longer when
// one has said that nobody is there.
const (
	nextRoute  = 250 * time.Millisecond
	lastRoutes = 100 * time.Millisecond
)

// call connects to an endpoint, by one of the routes to it, and says hello. The
// error is what the best of them said, of those that have a way at all.
func (t *Transport) call(ctx context.Context, to netip.AddrPort, kind byte) (net.Conn, header, error) {
	var routes []netip.AddrPort
	for _, at := range t.roster.routesTo(to) {
		routes = append(routes, t.zoned(at)...)
	}
	type result struct {
		i  int
		nc net.Conn
		h  header
		e  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result)
	started, running := 0, 0
	begin := func() {
		if started < len(routes) {
			i := started
			started++
			running++
			go func() {
				nc, h, err := t.callAt(ctx, routes[i], kind)
				if notThere(err) && t.elsewhere(routes[i]) {
					err = fmt.Errorf("%w: %v", errElsewhere, err)
				}
				results <- result{i, nc, h, err}
			}()
		}
	}
	best := result{i: len(routes), e: errFamily}
	begin()
	next := time.NewTimer(nextRoute)
	defer next.Stop()
	for running > 0 {
		select {
		case <-next.C:
			begin()
			next.Reset(nextRoute)
			continue
		case r := <-results:
			running--
			switch {
			case best.nc != nil: // another was faster
				if r.nc != nil {
					r.nc.Close()
				}
				continue
			case r.e == nil:
				best, started = r, len(routes)
				cancel()
				continue
			case best.i == len(routes) || unreachable(best.e) || r.i < best.i && !unreachable(r.e):
				best = r
			}
			if notThere(r.e) {
				time.AfterFunc(lastRoutes, cancel)
			}
			begin()
		}
	}
	return best.nc, best.h, best.e
}

var errElsewhere = errors.New("lan: the only address that is known of the peer is a loopback one, perhaps of another host")

// elsewhere reports whether a loopback address, which the peer said is its own, may
// be that of another host, one that had lost its network: who answers or refuses
// there is then none of the peer's, and proves nothing.
func (t *Transport) elsewhere(at netip.AddrPort) bool {
	return at.Addr().IsLoopback() && !t.Addr().Addr().IsLoopback() && !t.roster.here(at)
}

// callAt connects to one address and says hello.
func (t *Transport) callAt(ctx context.Context, to netip.AddrPort, kind byte) (net.Conn, header, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive}
	nc, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, header{}, err
	}
	// Close must not wait for the answer.
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	h, err := t.greet(nc, kind)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		nc.Close()
		return nil, header{}, err
	}
	return nc, h, nil
}

// try opens a connection to one address only to tell what becomes of it.
func (t *Transport) try(to netip.AddrPort) tried {
	ctx, cancel := context.WithTimeout(t.ctx, t.cfg.DialTimeout)
	defer cancel()
	nc, _, err := t.callAt(ctx, to, kindTry)
	switch {
	case err == nil:
		nc.Close()
		return triedOpen
	case notThere(err):
		return triedRefused
	default:
		return triedTimeout
	}
}

// greet says hello and reads the answer.
func (t *Transport) greet(nc net.Conn, kind byte) (header, error) {
	tune(nc)
	if err := nc.SetDeadline(time.Now().Add(t.times.hello)); err != nil {
		return header{}, err
	}
	if _, err := nc.Write(t.header(kind, 0).append(nil)); err != nil {
		return header{}, fmt.Errorf("%w: %w", errSilent, err)
	}
	h, err := t.hello(nc, string(kindHello))
	if err != nil {
		if !errors.Is(err, errSilent) {
			t.drops.refused(err)
		}
		return header{}, err
	}
	if h.instance == t.instance {
		// The kernel can connect a port that nobody listens on to itself.
		return header{}, errOwn
	}
	return h, nc.SetDeadline(time.Time{})
}

// notThere tells whether an error of dial proves that no peer of the group is
// at the endpoint.
func notThere(err error) bool {
	var version *transport.VersionError
	return isRefused(err) || errors.Is(err, errOwn) || errors.Is(err, errForeign) ||
		errors.Is(err, errMalformed) || errors.As(err, &version)
}

// readBuffer is how much a connection reads at once.
const readBuffer = 16 << 10

// frames calls f with each frame that arrives, until the connection ends.
func (c *conn) frames(f func(frame []byte, free func())) error {
	r := bufio.NewReaderSize(c, readBuffer)
	var length [lengthSize]byte
	for {
		frame, free, err := readFrame(r, &length)
		if err != nil {
			return err
		}
		f(frame, free)
	}
}

// outgoing is a frame in a queue: its bytes, in parts or not, or what makes
// them.
type outgoing struct {
	frame []byte   // or the first part
	rest  [][]byte // the other parts
	later transport.Encoder
	begun bool // frame is what is left of one, with its length
}

func (o outgoing) size() int {
	if o.later != nil {
		return o.later.Size()
	}
	return total(o.frame, o.rest)
}

// total is the size of a frame in parts.
func total(first []byte, rest [][]byte) int {
	size := len(first)
	for _, p := range rest {
		size += len(p)
	}
	return size
}

// copied is how much of it is copied, if it exists.
func (o outgoing) copied() (size int) {
	if len(o.frame) <= smallPart {
		size = len(o.frame)
	}
	for _, p := range o.rest {
		if len(p) <= smallPart {
			size += len(p)
		}
	}
	return size
}

// appendTo appends the frame after its length.
func (o outgoing) appendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(o.size()))
	if o.later != nil {
		return o.later.AppendTo(b)
	}
	b = append(b, o.frame...)
	for _, p := range o.rest {
		b = append(b, p...)
	}
	return b
}

// writer writes frames to a connection in batches.
type writer struct {
	batch []outgoing
	need  int // what of it is copied or made, with all lengths
	bufs  net.Buffers
}

// How a batch is made: what is small is copied together, and what does not
// exist yet is made there; what is large is written from where it is.
const (
	batchBytes = 256 << 10
	smallPart  = 2 << 10
	copyBytes  = 64 << 10
)

// copies is memory for what is copied together, taken for as long as one batch
// is being written.
var copies = sync.Pool{New: func() any { return new([]byte) }}

// take moves the beginning of a queue into the batch, and returns its cost.
func (w *writer) take(queue *[]outgoing) (cost int) {
	size, copied, n := 0, 0, 0
	for _, o := range *queue {
		length, need := o.size(), lengthSize
		if o.later != nil {
			need += length
		} else {
			need += o.copied()
		}
		if n > 0 && (size+length > batchBytes || copied+need > copyBytes) {
			break
		}
		size += length
		copied += need
		n++
	}
	w.need = copied
	w.batch = append(w.batch[:0], (*queue)[:n]...)
	clear((*queue)[:n])
	if n == len(*queue) {
		*queue = (*queue)[:0]
	} else {
		*queue = (*queue)[n:]
	}
	return size + n*frameCost
}

// write writes the batch.
func (w *writer) write(c *conn) error {
	memory := copies.Get().(*[]byte)
	defer copies.Put(memory)
	*memory = slices.Grow(*memory, max(w.need, copyBytes))
	all, begin := *memory, 0
	bufs := w.bufs[:0]
	put := func(part []byte) {
		if len(part) <= smallPart {
			all = append(all, part...)
			return
		}
		bufs = append(bufs, all[begin:], part)
		begin = len(all)
	}
	for _, o := range w.batch {
		if !o.begun {
			all = binary.BigEndian.AppendUint32(all, uint32(o.size()))
		}
		if o.later != nil {
			all = o.later.AppendTo(all)
			continue
		}
		put(o.frame)
		for _, p := range o.rest {
			put(p)
		}
	}
	if begin < len(all) {
		bufs = append(bufs, all[begin:])
	}
	clear(w.batch)
	if err := c.SetWriteDeadline(time.Now().Add(stuck)); err != nil {
		return err
	}
	w.bufs = bufs // WriteTo moves its own copy of the slice along
	defer clear(w.bufs)
	if len(bufs) == 1 {
		_, err := c.Write(bufs[0])
		return err
	}
	_, err := bufs.WriteTo(c.TCPConn)
	return err
}
