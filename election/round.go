package election

import (
	"math/rand/v2"
	"slices"
	"time"
)

const (
	maxStagger    = 16 // positions that differ in Timing.Stagger
	maxPostponed  = 3  // how often a higher candidate's ELECTION, or being late, puts a decision off
	noSuchMember  = -1
	fixedSeedHigh = 0x62756c6c79 // for a Config without Rand
	fixedSeedLow  = 0x72696e67
)

// round is what Bully and Ring have in common: the Round that runs, its
// timing, and the results that wait for Ready.
type round struct {
	config Config

	running    bool
	base       Base
	candidates []Candidate // the highest rank first
	pos        int         // this node's position among them
	timing     Timing

	ready Ready
}

func newRound(c Config) round {
	if c.Rand == nil {
		c.Rand = rand.New(rand.NewPCG(fixedSeedHigh, fixedSeedLow)) // #nosec G404 -- a run without randomness is one that can be replayed
	}
	return round{config: c}
}

// runs reports whether the present round starts from b.
func (r *round) runs(b Base) bool { return r.running && r.base == b }

// start replaces the present round and reports whether the new one runs.
func (r *round) start(n Round) bool {
	r.stop()
	if r.pos = n.Pos(n.Self); r.pos < 0 {
		return false
	}
	r.running, r.base, r.candidates = true, n.Base, slices.Clone(n.Candidates)
	r.timing = r.config.Timing
	if n.RTO > 0 {
		r.timing.RTO = n.RTO
	}
	r.timing = r.timing.WithDefaults()
	return true
}

// stop ends the present round and forgets what it wanted done.
func (r *round) stop() { *r = round{config: r.config} }

// win ends the present round as won. What waits for Ready is kept: it may
// hold the acknowledgement of the token that won.
func (r *round) win() {
	out := r.ready.Out
	r.stop()
	r.ready = Ready{Out: out, Won: true}
}

// Ready implements Elector.
func (r *round) Ready() Ready {
	out := r.ready
	r.ready = Ready{}
	return out
}

// position is the position of the candidate that is meant, or noSuchMember.
func (r *round) position(k Key, inc uint64) int {
	for i, c := range r.candidates {
		if c.Key == k {
			if c.Inc == inc {
				return i
			}
			break
		}
	}
	return noSuchMember
}

// sender is the position of the other candidate that sent m for the present
// round, or noSuchMember.
func (r *round) sender(m Message) int {
	if !r.runs(m.Base) {
		return noSuchMember
	}
	if from := r.position(m.From, m.Inc); from != r.pos {
		return from
	}
	return noSuchMember
}

// send sends m, as part of the present round, to one candidate.
func (r *round) send(to int, m Message) {
	m.Base = r.base
	r.ready.Out = append(r.ready.Out, Out{To: r.candidates[to].Key, Msg: m})
}

// notify sends ELECTION to the group.
func (r *round) notify() {
	r.ready.Out = append(r.ready.Out, Out{Msg: Message{Kind: KindElection, Base: r.base}})
}

// stagger is how long this node leaves it to higher candidates to come
// forward. Those beyond the last position that has a slot of its own are
// spread over one RTO, so that they do not all come at once.
func (r *round) stagger() time.Duration {
	d := r.timing.Stagger * time.Duration(min(r.pos, maxStagger))
	if r.pos > maxStagger {
		d += r.jitter(r.timing.RTO)
	}
	return d
}

// late reports whether a timer is noticed so long after its time that the
// process must have been suspended. What it would have heard meanwhile may wait
// to be read, so that silence proves nothing.
func (r *round) late(now, timer time.Time) bool { return now.Sub(timer) >= r.timing.TCoord }

// jitter is a random duration in [0, d).
func (r *round) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(r.config.Rand.Int64N(int64(d)))
}
