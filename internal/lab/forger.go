package lab

import (
	"bytes"
	"net/netip"
	"sync"

	"github.com/seed-885536be/p2p/transport"
)

// Forger is the transport of a member that turns against its group: it sends
// what it has said itself over the streams to the others, altered, so that its
// signature is wrong.
type Forger struct {
	transport.Transport
	mark []byte

	mu     sync.Mutex
	forged []byte
	peers  map[netip.AddrPort]struct{}
}

// NewForger returns a transport that takes down what the member says that
// contains mark.
func NewForger(t transport.Transport, mark string) *Forger {
	return &Forger{Transport: t, mark: []byte(mark), peers: make(map[netip.AddrPort]struct{})}
}

// Stream implements transport.Transport.
func (f *Forger) Stream(to netip.AddrPort, frame []byte) error {
	f.mu.Lock()
	f.peers[to] = struct{}{}
	if at := bytes.Index(frame, f.mark); at >= 0 && f.forged == nil {
		f.forged = bytes.Clone(frame)
		f.forged[at] ^= 1
	}
	f.mu.Unlock()
	return f.Transport.Stream(to, frame)
}

// atOnce bounds what a Flood sends to one that takes all.
const atOnce = 1000

// Flood sends forgeries to all that the member has spoken to, as many as they
// take now, and returns how many.
func (f *Forger) Flood() (sent int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.forged == nil {
		return 0
	}
	for to := range f.peers {
		for n := 0; n < atOnce && f.Transport.Stream(to, f.forged) == nil; n++ {
			sent++
		}
	}
	return sent
}
