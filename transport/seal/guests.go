package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// Bounds of what is kept of others.
const (
	maxSenders   = 4096                   // that have proven to be alive
	maxAddrs     = 4                      // of one sender
	maxPending   = 1024                   // that have been asked to
	maxHeld      = 8                      // packets of one of those
	maxHeldBytes = 1 << 20                // of all those together
	patience     = 5 * time.Second        // with those
	askAgain     = 100 * time.Millisecond // at the earliest
	// idle is how long nothing must have come from a sender before it can be
	// forgotten. It is much longer than three times freshness, see the package
	// comment.
	idle = time.Minute
)

// nonceSize is the length of the random number in a challenge.
const nonceSize = 16

// known is a sender that has proven to be alive.
type known struct {
	key    *groupKey
	aead   cipher.AEAD
	window window
	addrs  []netip.AddrPort // that have been proven, the latest last
	used   time.Time
}

// pending is a sender at an address that has been asked for a proof.
type pending struct {
	key   *groupKey
	id    instance
	addr  netip.AddrPort
	nonce [nonceSize]byte
	asked time.Time
	since time.Time
	held  []held
}

// held is a packet that waits for the proof.
type held struct {
	n     uint64
	frame []byte
}

// guests are the senders whose datagrams are, or may be, taken.
type guests struct {
	mu      sync.Mutex
	known   map[instance]*known
	at      map[netip.AddrPort]instance // who has proven an address last
	pending map[instance][]*pending
	waiting int // of pending
	bytes   int // that they hold
}

// aead is what opens the datagrams of a sender.
func (g *guests) aead(key *groupKey, id instance) cipher.AEAD {
	g.mu.Lock()
	if k := g.known[id]; k != nil && k.key == key {
		g.mu.Unlock()
		return k.aead
	}
	g.mu.Unlock()
	return key.sender(id)
}

// verdict is what is to be done with a packet.
type verdict int

const (
	take verdict = iota
	replayed
	hold     // it waits for a proof
	unproven // there is no room for it to wait
)

// judge takes note of a packet. If a proof is to be asked for, ask is the
// payload of the challenge. A packet without a frame is not held.
func (g *guests) judge(key *groupKey, id instance, addr netip.AddrPort, n uint64, frame []byte, now time.Time) (v verdict, ask []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if k := g.known[id]; k != nil {
		if !k.window.fresh(n) {
			return replayed, nil
		}
		if slices.Contains(k.addrs, addr) {
			if frame != nil {
				k.window.take(n)
				k.used = now
			}
			return take, nil
		}
	}
	p := g.ask(key, id, addr, now)
	if p == nil {
		return unproven, nil
	}
	v = hold
	if frame != nil {
		if len(p.held) == maxHeld || g.bytes+len(frame) > maxHeldBytes {
			v = unproven
		} else {
			p.held = append(p.held, held{n, frame})
			g.bytes += len(frame)
		}
	}
	if now.Sub(p.asked) >= askAgain {
		p.asked = now
		ask = append(append(make([]byte, 0, nonceSize+len(id)), p.nonce[:]...), id[:]...)
	}
	return v, ask
}

// ask returns the pending entry of a sender at an address, which it makes if
// there is none, and room for it.
func (g *guests) ask(key *groupKey, id instance, addr netip.AddrPort, now time.Time) *pending {
	for _, p := range g.pending[id] {
		if p.addr == addr {
			if now.Sub(p.since) < patience {
				return p
			}
			g.drop(p)
			break
		}
	}
	if g.waiting >= maxPending && !g.expire(now) {
		return nil
	}
	p := &pending{key: key, id: id, addr: addr, since: now, asked: now.Add(-askAgain)}
	rand.Read(p.nonce[:]) // never fails
	g.pending[id] = append(g.pending[id], p)
	g.waiting++
	return p
}

// expire drops those that have not answered in time, if there are any.
func (g *guests) expire(now time.Time) bool {
	before := g.waiting
	for _, ps := range g.pending {
		for _, p := range slices.Clone(ps) {
			if now.Sub(p.since) >= patience {
				g.drop(p)
			}
		}
	}
	return g.waiting < before
}

func (g *guests) drop(p *pending) {
	ps := slices.DeleteFunc(g.pending[p.id], func(q *pending) bool { return q == p })
	if len(ps) == 0 {
		delete(g.pending, p.id)
	} else {
		g.pending[p.id] = ps
	}
	g.waiting--
	for _, h := range p.held {
		g.bytes -= len(h.frame)
	}
}

// prove takes a proof. It returns the packets that are thereby good, and how
// many are not; ok is false if this was no answer to a challenge, or there is
// no room for one more sender.
func (g *guests) prove(key *groupKey, id instance, payload []byte, aead cipher.AEAD, now time.Time) (addr netip.AddrPort, good [][]byte, bad int, ok bool) {
	if len(payload) != nonceSize+8 {
		return addr, nil, 0, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.pending[id], func(p *pending) bool {
		return p.key == key && string(p.nonce[:]) == string(payload[:nonceSize]) && now.Sub(p.since) < patience
	})
	if i < 0 {
		return addr, nil, 0, false
	}
	p := g.pending[id][i]
	g.drop(p)
	k := g.known[id]
	if k == nil {
		if len(g.known) >= maxSenders && !g.forget(now) {
			return addr, nil, len(p.held), false
		}
		k = &known{key: key, aead: aead}
		k.window.floor = binary.BigEndian.Uint64(payload[nonceSize:])
		g.known[id] = k
	}
	k.used = now
	if len(k.addrs) == maxAddrs {
		g.leave(id, k.addrs[0])
		k.addrs = k.addrs[1:]
	}
	g.at[p.addr] = id
	k.addrs = append(k.addrs[:len(k.addrs):len(k.addrs)], p.addr)
	for _, h := range p.held {
		if k.window.take(h.n) {
			good = append(good, h.frame)
		} else {
			bad++
		}
	}
	return p.addr, good, bad, true
}

// forget forgets the senders from which nothing has come for long.
func (g *guests) forget(now time.Time) bool {
	before := len(g.known)
	for id, k := range g.known {
		if now.Sub(k.used) >= idle {
			g.remove(id, k)
		}
	}
	return len(g.known) < before
}

func (g *guests) remove(id instance, k *known) {
	delete(g.known, id)
	for _, addr := range k.addrs {
		g.leave(id, addr)
	}
}

// leave notes that a sender is not known at an address any more.
func (g *guests) leave(id instance, addr netip.AddrPort) {
	if g.at[addr] == id {
		delete(g.at, addr)
	}
}

// direct prepares a frame for one receiver, if that is known.
func (g *guests) direct(to netip.AddrPort, frame []byte) (kind byte, plain []byte) {
	g.mu.Lock()
	id, ok := g.at[to]
	g.mu.Unlock()
	if !ok {
		return kindDatagram, frame
	}
	return kindDirect, append(append(make([]byte, 0, targetSize+len(frame)), id[:targetSize]...), frame...)
}

// keep forgets all whose key is in the ring no more.
func (g *guests) keep(r *ring) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, k := range g.known {
		if !r.has(k.key) {
			g.remove(id, k)
		}
	}
	for _, ps := range g.pending {
		for _, p := range slices.Clone(ps) {
			if !r.has(p.key) {
				g.drop(p)
			}
		}
	}
}

// datagram takes a datagram from the inner transport.
func (t *Transport) datagram(e transport.Event) {
	if len(e.Frame) < sealingCost {
		t.drop(dropMalformed)
		return
	}
	header, kind := e.Frame[:headerSize], e.Frame[0]
	key := t.ring.Load().find(header[1:5])
	if key == nil {
		t.stranger(e.Peer, dropAuth)
		return
	}
	id := instance(header[5:])
	if id == t.sender.instance() {
		t.drop(dropReplay) // an own packet, thrown back
		return
	}
	aead := t.guests.aead(key, id)
	plain, err := aead.Open(e.Frame[headerSize:headerSize], header[nonceAt:], e.Frame[headerSize:], header)
	if err != nil {
		t.stranger(e.Peer, dropAuth)
		return
	}
	now := time.Now()
	n := binary.BigEndian.Uint64(header[nonceAt:]) >> 16
	if kind == kindDirect {
		if len(plain) < targetSize || !t.sender.is(plain[:targetSize]) {
			t.drop(dropReplay) // meant for another
			return
		}
		plain, kind = plain[targetSize:], kindDatagram
	}
	switch kind {
	case kindDatagram: // an empty frame is one as well
		v, ask := t.guests.judge(key, id, e.Peer, n, plain, now)
		t.ask(e.Peer, ask)
		switch v {
		case take:
			t.handler.Handle(transport.Event{Kind: transport.Datagram, Peer: e.Peer, Frame: plain})
		case replayed:
			t.drop(dropReplay)
		case unproven:
			t.drop(dropUnproven)
		}
	case kindChallenge:
		if len(plain) != nonceSize+len(id) {
			t.drop(dropMalformed)
			return
		}
		proof := t.sender.prove(instance(plain[nonceSize:]), plain[:nonceSize])
		if proof == nil {
			t.drop(dropReplay) // meant for a run that is over
			return
		}
		_ = t.inner.Unicast(e.Peer, proof)
		// Who asks has something to say as a rule, so it is asked as well.
		_, ask := t.guests.judge(key, id, e.Peer, n, nil, now)
		t.ask(e.Peer, ask)
	case kindProof:
		addr, good, bad, ok := t.guests.prove(key, id, plain, aead, now)
		if !ok {
			bad++
		}
		t.drops[dropReplay].Add(uint64(bad))
		for _, frame := range good {
			t.handler.Handle(transport.Event{Kind: transport.Datagram, Peer: addr, Frame: frame})
		}
	default:
		t.drop(dropMalformed)
	}
}

// ask sends a challenge, if there is one to be sent.
func (t *Transport) ask(to netip.AddrPort, challenge []byte) {
	if challenge != nil {
		_ = t.inner.Unicast(to, t.sender.seal(kindChallenge, challenge))
	}
}
