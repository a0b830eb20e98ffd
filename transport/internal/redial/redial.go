// Package redial spaces connection attempts, for the transports.
package redial

import (
	"net/netip"
	"sync"
	"time"
)

// How attempts are spaced.
const (
	free    = 3                      // attempts in a row that need not wait, so that evidence of a death comes at once
	first   = 50 * time.Millisecond  // the pause after those; it doubles with each attempt
	longest = time.Second            // and grows no further
	forget  = 5 * time.Second        // an attempt this long ago no longer counts
	stable  = 500 * time.Millisecond // a connection that lived so long ends the row
	sweep   = 1024                   // peers that are remembered without removing those forgotten
)

// Table remembers the attempts for each peer, also after its stream is gone:
// two nodes that dial and hang up in turn are slowed down as well. The zero
// Table is ready; it can be used from any goroutine.
type Table struct {
	mu    sync.Mutex
	peers map[netip.AddrPort]row
	swept int // when there are more peers, those forgotten are removed
}

// row is a series of attempts with no stable connection among them.
type row struct {
	n    int
	last time.Time // when the last of them was, or will be, made
}

// Next records one attempt and returns how long to wait before making it.
func (t *Table) Next(peer netip.AddrPort, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.peers == nil {
		t.peers = make(map[netip.AddrPort]row)
	}
	r := t.peers[peer]
	if now.Sub(r.last) >= forget {
		r = row{last: now}
	}
	at := now
	if r.n >= free {
		pause := longest
		if d := r.n - free; d < 5 {
			pause = min(first<<d, longest)
		}
		if next := r.last.Add(pause); next.After(at) {
			at = next
		}
	}
	t.peers[peer] = row{n: r.n + 1, last: at}
	if len(t.peers) > max(t.swept, sweep) {
		for p, r := range t.peers {
			if now.Sub(r.last) >= forget {
				delete(t.peers, p)
			}
		}
		t.swept = 2 * len(t.peers) // so that it costs little for each attempt
	}
	return at.Sub(now)
}

// Ended tells how long a connection to the peer lived.
func (t *Table) Ended(peer netip.AddrPort, lived time.Duration) {
	if lived < stable {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.peers, peer)
}
