package core

import (
	"time"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

// spread is a way for own blocks to the other members besides the streams, by
// which all of them travel.
type spread interface {
	// name is how the way is called.
	name() string
	// flushed says that so many messages became own blocks, for so many members.
	// It returns what to send to the group now, nil if nothing.
	flushed(now time.Time, messages, members int) *causal.Fresh
	// tick does the same for what is due, and deadline is when that is; the
	// zero time means never.
	tick(now time.Time) *causal.Fresh
	deadline() time.Time
	// took says that blocks of another member came by its way, and wanted that
	// one lacks some of the own. Both return what to send to it, nil if nothing.
	took(now time.Time, from membership.Key) causal.Protocol
	wanted(now time.Time, w *causal.Want) causal.Protocol
}

// pushable is a log that does what a push needs.
type pushable interface {
	Fresh(skip, size int) (f *causal.Fresh, n int)
	Refresh(want *causal.Want, size int) *causal.Fresh
	Lack(from causal.Key) *causal.Want
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

func (streams) name() string                                   { return "streams" }
func (streams) flushed(time.Time, int, int) *causal.Fresh      { return nil }
func (streams) tick(time.Time) *causal.Fresh                   { return nil }
func (streams) deadline() time.Time                            { return time.Time{} }
func (streams) took(time.Time, membership.Key) causal.Protocol { return nil }
func (streams) wanted(time.Time, *causal.Want) causal.Protocol { return nil }

// push sends small blocks at once, by a datagram to the group. Where packets
// get lost a stream waits for the lost one, and so does all that comes behind
// it; of datagrams the next one is there in time. Each has as many of the last
// blocks as it can hold, so that the next makes up for one that is lost. Who
// still lacks one, and sees it by those behind it, asks for it. While the last
// ones are not acknowledged by all they are sent again, ever more rarely.
//
// When blocks follow each other closely, or messages wait to share one, none is
// pushed: then a stream carries them for less, and a network or a machine that
// has enough to do is not the place for copies. Nor is the next block pushed at
// once then, as long as no packet seems to get lost: a program that does nothing
// but send pauses, too, when others have the processor.
type push struct {
	log     pushable
	members int
	made    time.Time                    // when the last own block was made
	hurry   bool                         // and it was too soon, or too much, to be pushed
	newer   int                          // blocks made since due was set
	due     time.Time                    // when to look whether all is acknowledged; zero: it is
	wait    time.Duration                // until due, the last time
	lossy   time.Time                    // until then packets are taken to get lost
	asked   map[membership.Key]time.Time // who was asked for what is lacking
	told    tally                        // answers to such questions
}

// Times and bounds of a push. In large groups, where Acks are rarer, the times
// are longer.
const (
	pushFew   = 4                      // messages that are flushed together at most, and
	pushGap   = 2 * time.Millisecond   // the least time between two blocks that are pushed
	pushCheck = 40 * time.Millisecond  // by then a block is acknowledged if nothing got lost
	pushAgain = 10 * time.Millisecond  // until one is sent again where packets get lost, then twice as long
	pushLast  = 640 * time.Millisecond // each time, up to this
	pushLossy = 5 * time.Second        // how long it is believed that they do
	pushBytes = transport.MaxDatagram - 64
	pushAsk   = 8 * time.Millisecond // between two questions to one member
	pushTold  = 50                   // answers in 100 ms
)

func (*push) name() string { return "push" }

func (p *push) flushed(now time.Time, messages, members int) *causal.Fresh {
	hurry := now.Sub(p.made) < pushGap || messages > pushFew
	after := p.hurry
	p.made, p.members, p.hurry = now, members, hurry
	p.newer++
	if hurry || members < 2 {
		return nil
	}
	f, n := p.log.Fresh(0, pushBytes)
	if n == 0 { // it is too large
		return nil
	}
	if after && !now.Before(p.lossy) {
		f = nil
	}
	switch {
	case now.Before(p.lossy):
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
		if _, n := p.log.Fresh(p.newer, pushBytes); n == 0 {
			if p.newer > 0 {
				p.after(now, pushCheck)
			}
			return nil
		}
		p.lossy, p.wait = now.Add(pushLossy), pushAgain/2
	}
	f, n := p.log.Fresh(0, pushBytes)
	if n == 0 {
		return nil
	}
	if p.wait < pushLast {
		p.after(now, 2*p.wait)
	}
	return f
}

func (p *push) took(now time.Time, from membership.Key) causal.Protocol {
	w := p.log.Lack(from)
	if w == nil || now.Sub(p.asked[from]) < pushAsk {
		return nil
	}
	if p.asked == nil || len(p.asked) > 2*p.members+16 {
		p.asked = make(map[membership.Key]time.Time)
	}
	p.asked[from] = now
	return w
}

func (p *push) wanted(now time.Time, w *causal.Want) causal.Protocol {
	if !p.told.take(now, 100*time.Millisecond, pushTold) {
		return nil
	}
	if f := p.log.Refresh(w, pushBytes); f != nil {
		return f
	}
	return nil
}
