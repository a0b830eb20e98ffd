package lan

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// limiter bounds what others can cause: so many times a second for each source
// and for all together. The zero limiter allows nothing.
type limiter struct {
	each, all int

	mu    sync.Mutex
	since time.Time
	count int
	by    map[netip.Addr]int // has no more entries than all
}

func newLimiter(each, all int) *limiter { return &limiter{each: each, all: all} }

// allow reports whether it may be once more. The addresses that an IPv6 host can
// give itself are one source.
func (l *limiter) allow(source netip.Addr, now time.Time) bool {
	if source = source.Unmap().WithZone(""); source.Is6() {
		p, _ := source.Prefix(64)
		source = p.Addr()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil || now.Sub(l.since) >= time.Second {
		l.since, l.count, l.by = now, 0, make(map[netip.Addr]int)
	}
	if l.count >= l.all || l.by[source] >= l.each {
		return false
	}
	l.count++
	l.by[source]++
	return true
}

// strange reports a packet of this group in another version, at a bounded rate.
func (t *Transport) strange(b []byte, from netip.AddrPort, err error) {
	version, ok := errors.AsType[*transport.VersionError](err)
	if ok && b[3] != kindRefusal && sameGroup(b, t.label) && t.strangers.allow(from.Addr(), time.Now()) {
		t.handler.Handle(transport.Event{Kind: transport.Stranger, Peer: from, Err: version})
	}
}

// Refuse implements transport.Refuser. It does nothing if it has just told so
// to that host, or to many.
func (t *Transport) Refuse(to netip.AddrPort, err error) {
	var version *transport.VersionError
	if !errors.As(err, &version) || t.usable() != nil || !t.refusals.allow(to.Addr(), time.Now()) {
		return
	}
	h := t.header(kindRefusal, 0)
	_ = t.write(to, h.appendPrefix(nil)) // it may be lost in any case
}

// rejected takes a refusal.
func (t *Transport) rejected(b []byte, from netip.AddrPort) {
	e, err := parseRefusal(b, t.label)
	if err != nil {
		t.drops.refused(err)
		return
	}
	if t.strangers.allow(from.Addr(), time.Now()) {
		t.handler.Handle(transport.Event{Kind: transport.Rejected, Peer: from, Err: e})
	}
}

// parseRefusal reads a refusal of any version: what follows the prefix is not
// known here.
func parseRefusal(b []byte, group label) (*transport.VersionError, error) {
	if len(b) < prefixSize || string(b[:3]) != "p2p" || b[3] != kindRefusal {
		return nil, errMalformed
	}
	if !sameGroup(b, group) {
		return nil, errForeign
	}
	e := &transport.VersionError{Min: b[4], Max: b[5], OwnMin: minVersion, OwnMax: maxVersion}
	if e.Min == 0 || e.Min > e.Max || e.Min <= maxVersion && e.Max >= minVersion {
		return nil, errMalformed // to one that speaks the same there is nothing to refuse
	}
	return e, nil
}
