// Package fault is a transport that wraps another one and makes its network
// bad: packets are lost, late, doubled and out of order, and peers are cut off,
// as told while everything runs. So a whole program, with its real network, can
// be tested in bad weather without privileges.
//
// Until the first fault is set, and again when the last one has ended, a
// Transport hands on what it gets and does nothing else.
//
//	weather := fault.New(lan.New(lan.Config{}), fault.Config{})
//	node, err := p2pchat.New(p2pchat.WithTransport(weather))
//	…
//	err = weather.Set(fault.Faults{Loss: 0.3, Delay: 50 * time.Millisecond})
//	weather.Cut(peer.Addr) // the node and this peer do not hear each other
//	weather.Heal()         // they do again, and what was missed is repaired
//
// # Faults
//
// Faults concern what arrives, so that each receiver of a multicast has its own
// luck, and a packet between two nodes with the same faults suffers them once.
// A stream loses nothing: a lost packet costs it the time until it would have
// been sent again, which is 200 ms, and twice as much for each further loss.
//
// # Cuts
//
// A cut is like a cable that was pulled: nobody is told anything.
//
//	while a peer is cut off      datagrams vanish; streams are silent, what is sent waits
//	  for Config.StreamTimeout   its stream is reported as Down with Timeout, and ends
//	  a new stream to it         Down with Timeout, after Config.DialTimeout
//	the cut ends before          streams go on, as if nothing had been
//	  but the stream had broken  Down with Reset, and then what became of it: Up, Refused or Timeout
//	the cut ends later           Up, if the peer has opened a stream again; else the next frame opens one
//
// While there are cuts, Multicast is a Unicast to each endpoint that was heard
// of and is not cut off. A peer that is not wrapped, and is cut off here only,
// sees a stream that takes nothing, and is reset when that has timed out here.
package fault

import (
	"cmp"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-885536be/p2p/internal/optional"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
)

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Gatherer  = (*Transport)(nil)
	_ transport.Deferrer  = (*Transport)(nil)
	_ transport.Reporter  = (*Transport)(nil)
	_ transport.Refuser   = (*Transport)(nil)
	_ transport.Warner    = (*Transport)(nil)
)

// Config describes a Transport. The zero Config works.
type Config struct {
	// Seed makes the luck of packets differ, and equal for equal seeds.
	Seed uint64
	// Queue is how many bytes of frames are kept for a stream that is cut off
	// or late, in each direction; one frame is always taken. If zero, it is
	// 1 MiB.
	Queue int
	// DialTimeout is how long a new stream to a peer that is cut off waits
	// until it is reported as Down. If zero, it is one second.
	DialTimeout time.Duration
	// StreamTimeout is how long a stream outlives a cut. If zero, it is ten
	// seconds.
	StreamTimeout time.Duration
}

// Faults are what happens to the packets that arrive. The zero value is a
// perfect network.
type Faults struct {
	// Loss is the chance of each copy of a datagram to be lost, from 0 to 1.
	Loss float64
	// Delay is how much later everything arrives.
	Delay time.Duration
	// Jitter is how much later than that at most; datagrams thereby change
	// their order.
	Jitter time.Duration
	// Duplicate is the chance of a datagram to arrive twice, from 0 to 1.
	Duplicate float64
	// Reorder is the chance of a datagram to be held back for up to four times
	// the usual delay, from 0 to 1.
	Reorder float64
}

// RangeError says that a field of Faults makes no sense.
type RangeError struct {
	Field string
	Value any
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("fault: %s %v is out of range", e.Field, e.Value)
}

func (f Faults) check() error {
	for _, c := range []struct {
		field string
		value float64
	}{{"Loss", f.Loss}, {"Duplicate", f.Duplicate}, {"Reorder", f.Reorder}} {
		if !(c.value >= 0 && c.value <= 1) {
			return &RangeError{c.field, c.value}
		}
	}
	for _, c := range []struct {
		field string
		value time.Duration
	}{{"Delay", f.Delay}, {"Jitter", f.Jitter}} {
		if c.value < 0 || c.value > time.Hour {
			return &RangeError{c.field, c.value}
		}
	}
	return nil
}

// Transport wraps a transport. Its own methods may be called from any
// goroutine, at any time.
type Transport struct {
	inner   transport.Transport
	later   transport.Deferrer // the same, or nil
	cfg     Config
	handler transport.Handler
	busy    atomic.Bool // there is more to do than to hand on
	dropped atomic.Uint64
	wg      sync.WaitGroup // all own goroutines and timers
	done    chan struct{}  // closed by Close

	mu        sync.RWMutex
	open      bool
	closed    bool
	faults    Faults
	weather   *memnet.Weather
	cuts      map[netip.AddrPort]Way
	cutFunc   func(netip.AddrPort) Way
	heard     map[netip.AddrPort]struct{} // who sent datagrams
	datagrams lane                        // those that are late
	peers     map[netip.AddrPort]*peer
	room      *sync.Cond // something has left a lane, or never will
}

// New wraps inner, which must not be used by anybody else from then on.
func New(inner transport.Transport, c Config) *Transport {
	c.Queue = cmp.Or(c.Queue, 1<<20)
	c.DialTimeout = cmp.Or(c.DialTimeout, time.Second)
	c.StreamTimeout = cmp.Or(c.StreamTimeout, 10*time.Second)
	t := &Transport{
		inner: inner, cfg: c, done: make(chan struct{}),
		weather: memnet.NewWeather(memnet.Config{Seed: c.Seed}),
		cuts:    make(map[netip.AddrPort]Way),
		heard:   make(map[netip.AddrPort]struct{}),
		peers:   make(map[netip.AddrPort]*peer),
	}
	t.later, _ = inner.(transport.Deferrer)
	t.room = sync.NewCond(&t.mu)
	t.datagrams = newLane(t)
	return t
}

// Set replaces the faults, for all that arrives from now on. The error is a
// *RangeError, and nothing has changed then.
func (t *Transport) Set(f Faults) error {
	if err := f.check(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = f
	w := t.weather
	w.SetLoss(f.Loss)
	w.SetDelay(f.Delay, f.Jitter)
	w.SetDuplicate(f.Duplicate)
	w.SetReorder(f.Reorder)
	t.busy.Store(true)
	t.settle()
	return nil
}

// Faults returns what was set last.
func (t *Transport) Faults() Faults {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.faults
}

// Open implements transport.Transport.
func (t *Transport) Open(h transport.Handler) error {
	t.mu.Lock()
	if t.open || t.closed {
		t.mu.Unlock()
		return transport.ErrClosed
	}
	t.open = true
	t.handler = h
	t.mu.Unlock()
	err := t.inner.Open(transport.HandlerFunc(t.handle))
	if err != nil {
		t.mu.Lock()
		t.open = false
		t.mu.Unlock()
	}
	return err
}

// Addr implements transport.Transport.
func (t *Transport) Addr() netip.AddrPort { return t.inner.Addr() }

// Group implements transport.Transport.
func (t *Transport) Group() string { return t.inner.Group() }

// Interfaces implements transport.Reporter. It returns nil if the wrapped
// transport is none.
func (t *Transport) Interfaces() []transport.Interface {
	return optional.Interfaces(t.inner)
}

// Warnings implements transport.Warner. It returns nil if the wrapped transport
// is none.
func (t *Transport) Warnings() []transport.Warning {
	return optional.Warnings(t.inner)
}

// Drops implements transport.Reporter. To the reasons of the wrapped transport
// it adds "fault": datagrams lost on purpose.
func (t *Transport) Drops() map[string]uint64 {
	drops := optional.Drops(t.inner)
	if n := t.dropped.Load(); n > 0 {
		drops["fault"] = n
	}
	return drops
}

// Close implements transport.Transport.
func (t *Transport) Close() error {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		close(t.done)
		t.room.Broadcast()
		for _, p := range t.peers {
			p.disarm()
		}
	}
	t.mu.Unlock()
	err := t.inner.Close()
	t.wg.Wait()
	return err
}

// handle takes what the wrapped transport says.
func (t *Transport) handle(e transport.Event) {
	switch e.Kind {
	case transport.Frame:
		if t.busy.Load() {
			t.frame(e)
		} else {
			t.handler.Handle(e)
		}
	case transport.Up, transport.Writable, transport.Down:
		t.stream(e)
	default:
		t.datagram(e)
	}
}

// settle ends the time of faults when nothing is left of them.
func (t *Transport) settle() {
	if !t.busy.Load() || t.faults != (Faults{}) || t.cutting() || !t.datagrams.idle() {
		return
	}
	for _, p := range t.peers {
		if !p.idle() {
			return
		}
	}
	t.busy.Store(false)
}

// after calls f after a time with t.mu held. stop keeps it from being called.
func (t *Transport) after(d time.Duration, f func()) (stop func()) {
	stopped := false // guarded by mu
	t.wg.Add(1)
	timer := time.AfterFunc(d, func() {
		defer t.wg.Done()
		t.mu.Lock()
		defer t.mu.Unlock()
		if !stopped && !t.closed {
			f()
		}
	})
	return func() {
		stopped = true
		if timer.Stop() {
			t.wg.Done()
		}
	}
}
