package core

import (
	"time"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/transport"
)

// spread is a way for own blocks to the other members besides the streams, by
// which all of them travel.
type spread interface {
	// name is how the way is called.
	name() string
	// flushed says that own blocks were made, for so many members. It returns
	// what to send to the group now, nil if nothing.
	flushed(now time.Time, members int) *causal.Fresh
	// tick does the same for what is due, and deadline is when that is; the
	// zero time means never.
	tick(now time.Time) *causal.Fresh
	deadline() time.Time
}

// pushable is a log whose last blocks can be asked for.
type pushable interface {
	Fresh(skip, size int) (f *causal.Fresh, n int)
}

// newSpread is the best way for a log.
func newSpread(log causal.Log) spread {
	if l, ok := log.(pushable); ok {
		return &push{log: l}
	}
	return streams{}
}

// streams is no other way.
type streams struct{}

func (streams) name() string                         { return "streams" }
func (streams) flushed(time.Time, int) *causal.Fresh { return nil }
func (streams) tick(time.Time) *causal.Fresh         { return nil }
func (streams) deadline() time.Time                  { return time.Time{} }

// push sends small blocks at once, by a datagram to the group. Where packets
// get lost a stream waits for the lost one, and so does all that comes behind
// it; of datagrams the next one is there in time. Each has as many of the last
// blocks as it can hold, so that the next makes up for one that is lost. What
// no member has acknowledged after a while is sent again, ever more rarely.
//
// When blocks follow each other closely none is pushed: then a stream carries
// them for less, and a network that is full is not the place for copies.
type push struct {
	log     pushable
	members int
	made    time.Time     // when the last own block was made
	newer   int           // blocks made since due was set
	due     time.Time     // when to look whether all is acknowledged; zero: it is
	wait    time.Duration // until due, the last time
	lossy   time.Time     // until then packets are taken to get lost
	skip    int           // blocks to go on behind, then
}

// Times and bounds of a push. In large groups, where Acks are rarer, the times
// are longer.
const (
	pushGap   = 2 * time.Millisecond   // the least time between two blocks that are pushed
	pushCheck = 40 * time.Millisecond  // by then a block is acknowledged if nothing got lost
	pushAgain = 10 * time.Millisecond  // until one is sent again where packets get lost, then twice as long
	pushLast  = 640 * time.Millisecond // each time, up to this
	pushLossy = 5 * time.Second        // how long it is believed that they do
	pushBytes = transport.MaxDatagram - 64
)

func (*push) name() string { return "push" }

func (p *push) flushed(now time.Time, members int) *causal.Fresh {
	gap := now.Sub(p.made)
	p.made, p.members = now, members
	p.newer++
	if gap < pushGap || members < 2 {
		return nil
	}
	f, n := p.log.Fresh(0, pushBytes)
	if n == 0 { // it is too large
		return nil
	}
	switch {
	case now.Before(p.lossy):
		p.skip = n
		p.after(now, pushAgain)
	case p.due.IsZero():
		p.after(now, pushCheck)
	}
	return f
}

// after sets the time to look again.
func (p *push) after(now time.Time, wait time.Duration) {
	p.newer, p.wait = 0, wait
	p.due = now.Add(wait * time.Duration(max(8, p.members)) / 8)
}

func (p *push) deadline() time.Time { return p.due }

func (p *push) tick(now time.Time) *causal.Fresh {
	if p.due.IsZero() || now.Before(p.due) {
		return nil
	}
	p.due = time.Time{}
	if !now.Before(p.lossy) {
		newer := p.newer
		f, n := p.log.Fresh(newer, pushBytes)
		if n > 0 {
			p.lossy, p.skip = now.Add(pushLossy), newer+n
			p.after(now, pushAgain)
			return f
		}
		if newer > 0 {
			p.after(now, pushCheck)
		}
		return nil
	}
	f, n := p.log.Fresh(p.skip, pushBytes)
	if n == 0 { // from the last one on again
		p.skip = 0
		f, n = p.log.Fresh(0, pushBytes)
	}
	if n == 0 {
		return nil
	}
	p.skip += n
	if p.wait < pushLast {
		p.after(now, 2*p.wait)
	}
	return f
}
