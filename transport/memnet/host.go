package memnet

import (
	"bytes"
	"container/heap"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/internal/redial"
)

var (
	_ transport.Transport = (*Host)(nil)
	_ transport.Reporter  = (*Host)(nil)
)

// backlog is how many datagrams wait at a host before more are dropped, as the
// buffer of a socket would.
const backlog = 1 << 14

// Host is one host's transport on a Network.
type Host struct {
	net  *Network
	addr netip.AddrPort

	// Guarded by net.mu.
	handler transport.Handler // not nil once open
	dead    bool              // killed or closed
	inbox   inbox
	waiting int // datagrams in the inbox
	dropped uint64
	streams map[netip.AddrPort]*stream

	redial redial.Table
	kick   chan struct{}  // the inbox or dead has changed
	gone   chan struct{}  // closed when dead
	wg     sync.WaitGroup // all goroutines that call the handler
}

func newHost(n *Network, addr netip.AddrPort) *Host {
	return &Host{
		net:     n,
		addr:    addr,
		streams: make(map[netip.AddrPort]*stream),
		kick:    make(chan struct{}, 1),
		gone:    make(chan struct{}),
	}
}

// Open implements transport.Transport. It returns a *transport.NetworkError
// while another open host has the same address.
func (h *Host) Open(handler transport.Handler) error {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if h.dead || h.handler != nil {
		return transport.ErrClosed
	}
	if n.at(h.addr) != nil {
		return &transport.NetworkError{Op: "open " + h.addr.String(), Err: errors.New("address already in use")}
	}
	h.handler = handler
	n.hosts = append(n.hosts, h)
	n.known[h.addr] = struct{}{}
	h.wg.Go(h.run)
	return nil
}

// Addr implements transport.Transport. It is valid before Open as well.
func (h *Host) Addr() netip.AddrPort { return h.addr }

// Multicast implements transport.Transport.
func (h *Host) Multicast(frame []byte) error {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := h.check(frame, transport.MaxDatagram+transport.Overhead); err != nil {
		return err
	}
	for _, to := range n.hosts {
		if to != h {
			h.datagram(to, n.weather.Plan(h.addr, to.addr, true), frame)
		}
	}
	return nil
}

// Unicast implements transport.Transport.
func (h *Host) Unicast(to netip.AddrPort, frame []byte) error {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := h.check(frame, transport.MaxDatagram+transport.Overhead); err != nil {
		return err
	}
	plan := n.weather.Plan(h.addr, to, false)
	if peer := n.at(to); peer != nil {
		h.datagram(peer, plan, frame)
	}
	return nil
}

// Stream implements transport.Transport.
func (h *Host) Stream(to netip.AddrPort, frame []byte) error {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := h.check(frame, transport.MaxFrame+transport.Overhead); err != nil {
		return err
	}
	s := h.streams[to]
	if s == nil {
		s = h.open(to)
	}
	return s.send(frame)
}

// Hangup implements transport.Transport.
func (h *Host) Hangup(peer netip.AddrPort) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := h.streams[peer]; s != nil {
		s.hangup()
	}
}

// Close implements transport.Transport. It must not be called by the Handler,
// which it waits for.
func (h *Host) Close() error {
	h.net.mu.Lock()
	h.die()
	h.net.mu.Unlock()
	h.wg.Wait()
	return nil
}

// Interfaces implements transport.Reporter.
func (h *Host) Interfaces() []transport.Interface {
	return []transport.Interface{{Name: "mem0", Addr: h.addr.Addr(), Used: true}}
}

// Group implements transport.Transport: a Network is one group.
func (h *Host) Group() string { return "memnet" }

// Drops implements transport.Reporter. The only reason is "overflow":
// datagrams for which a slow Handler left no room.
func (h *Host) Drops() map[string]uint64 {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	drops := make(map[string]uint64)
	if h.dropped > 0 {
		drops["overflow"] = h.dropped
	}
	return drops
}

// check returns the error for a frame that cannot be sent now, or at all.
func (h *Host) check(frame []byte, limit int) error {
	if h.dead || h.handler == nil {
		return transport.ErrClosed
	}
	if len(frame) > limit {
		return &transport.TooLargeError{Size: len(frame), Limit: limit}
	}
	return nil
}

// die ends the host's part in the network; goroutines end by themselves.
func (h *Host) die() {
	if h.dead {
		return
	}
	h.dead = true
	close(h.gone)
	n := h.net
	if i := slices.Index(n.hosts, h); i >= 0 {
		n.hosts = slices.Delete(n.hosts, i, i+1)
	}
	for _, s := range h.streams {
		s.end()
	}
	clear(h.streams)
	h.inbox, h.waiting = nil, 0
}

// datagram puts the copies of a frame that arrive into the inbox of a host.
func (h *Host) datagram(to *Host, plan []time.Duration, frame []byte) {
	for _, d := range plan {
		if to.waiting >= backlog {
			to.dropped++
			continue
		}
		to.waiting++
		to.put(d, transport.Event{Kind: transport.Datagram, Peer: h.addr, Frame: bytes.Clone(frame)}, nil)
	}
}

// put lets an event reach the handler after a time; done, if not nil, is
// called after the handler with net.mu held.
func (h *Host) put(after time.Duration, e transport.Event, done func()) {
	if h.dead {
		return
	}
	h.net.seq++
	heap.Push(&h.inbox, item{at: time.Now().Add(after), seq: h.net.seq, event: e, done: done})
	kick(h.kick)
}

// run calls the handler with what is in the inbox when its time has come.
func (h *Host) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		h.net.mu.Lock()
		if h.dead {
			h.net.mu.Unlock()
			return
		}
		wait := time.Duration(-1)
		var due *item
		if len(h.inbox) > 0 {
			if wait = time.Until(h.inbox[0].at); wait <= 0 {
				it := heap.Pop(&h.inbox).(item)
				if it.event.Kind == transport.Datagram {
					h.waiting--
				}
				due = &it
			}
		}
		h.net.mu.Unlock()

		if due != nil {
			h.handler.Handle(due.event)
			if due.done != nil {
				h.net.mu.Lock()
				due.done()
				h.net.mu.Unlock()
			}
			continue
		}
		timer.Stop()
		if wait > 0 {
			timer.Reset(wait)
		}
		select {
		case <-h.kick:
		case <-h.gone:
		case <-timer.C:
		}
	}
}

// kick wakes the goroutine that waits for c.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// item is an event that is due at a time.
type item struct {
	at    time.Time
	seq   uint64
	event transport.Event
	done  func()
}

// inbox is a heap of items, the earliest first, and in the order of their
// arrival at equal times.
type inbox []item

func (b inbox) Len() int      { return len(b) }
func (b inbox) Swap(i, j int) { b[i], b[j] = b[j], b[i] }
func (b inbox) Less(i, j int) bool {
	if !b[i].at.Equal(b[j].at) {
		return b[i].at.Before(b[j].at)
	}
	return b[i].seq < b[j].seq
}
func (b *inbox) Push(x any) { *b = append(*b, x.(item)) }
func (b *inbox) Pop() any {
	old := *b
	last := len(old) - 1
	x := old[last]
	old[last] = item{}
	*b = old[:last]
	return x
}
