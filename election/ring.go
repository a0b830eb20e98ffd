package election

import (
	"math"
	"slices"
	"time"
)

const (
	hopTries     = 5 // how often a token is sent to one successor
	firstLook    = 2 // successors asked in the first step of a look-ahead
	maxLaps      = 5 // doublings of the time that a lap may take
	seenAttempts = 8 // attempts remembered of each candidate
	maxHops      = 8 // tokens under way to the successor, or kept; others are swallowed
)

// ringState is a state of the Ring table in the package documentation.
type ringState uint8

const (
	ringIdle        ringState = iota
	ringNotified              // invited; higher candidates may come forward first
	ringParticipant           // a token is its own, or passed here, or is announced
)

type ring struct {
	round
	state     ringState
	timer     time.Time // in every state but Idle
	postponed int       // restarts of the timer by ELECTION, since the last initiation

	attempt uint32 // number of this node's last token; outlives rounds
	laps    int    // tokens of its own in this round
	seen    map[int]*attempts
	hops    []hop // tokens that nobody has taken yet, at most one of each candidate

	kept []keptToken // of one base, for the next round
}

// keptToken is a TOKEN that ended here because the coordinator was heard. If it
// turns out to be gone right after, the lap need not be lost: all members find
// out at about the same time, but not in the order of the ring.
type keptToken struct {
	token Message
	at    time.Time
}

// attempts are the last attempts of one candidate that arrived here.
type attempts struct {
	last [seenAttempts]uint32
	n    int // how many were ever added
}

// add reports whether a is new, and remembers it.
func (s *attempts) add(a uint32) bool {
	if slices.Contains(s.last[:min(s.n, seenAttempts)], a) {
		return false
	}
	s.last[s.n%seenAttempts] = a
	s.n++
	return true
}

// hop is a token on its way to the next member that takes it. Members are
// counted from this one: 1 is the successor.
type hop struct {
	token Message
	cand  int       // position of the candidate
	reach int       // the farthest member that it may be handed to
	timer time.Time // when the state below is overdue

	to      int  // whom it was sent to, or 0 during a look-ahead
	tries   int  // how often; in a look-ahead also how often that was late
	refused bool // somebody is there, but has no part in this election

	from    int      // look-ahead: the first member asked
	answers []answer // look-ahead: of those asked; otherwise empty
}

// answer is what a look-ahead learned of one member.
type answer uint8

const (
	silent answer = iota
	present
	refusing
)

// NewRing returns an Elector that follows the ring algorithm of Chang and
// Roberts (1979), hardened as the package documentation says: the candidate
// with the highest rank whose token comes round wins.
func NewRing(c Config) Elector { return &ring{round: newRound(c)} }

// Name implements Elector.
func (r *ring) Name() string { return "ring" }

// Begin implements Elector. Rows R1 to R5, R28 and R29.
func (r *ring) Begin(now time.Time, n Round) {
	if r.runs(n.Base) {
		if !n.Invited && r.state == ringNotified {
			r.initiate(now, true)
		}
		return
	}
	r.Cancel()
	switch {
	case !r.start(n):
		return
	case len(r.candidates) == 1:
		r.elected()
		return
	case n.Invited && r.pos > 0:
		r.state, r.timer = ringNotified, now.Add(r.stagger())
	default:
		r.initiate(now, true)
	}
	for _, k := range r.kept {
		if r.sender(k.token) != noSuchMember && now.Sub(k.at) <= r.timing.TCoord {
			r.token(now, k.token)
		}
	}
	r.kept = nil
}

// Step implements Elector. Rows R6 to R21.
func (r *ring) Step(now time.Time, m Message, live bool) {
	if m.From == (Key{}) {
		return // an answer would go to the whole group
	}
	from := r.sender(m)
	switch m.Kind {
	case KindElection:
		if !live && from != noSuchMember && from < r.pos {
			r.notice(now)
		}
	case KindToken:
		r.acknowledge(m, KindTokenAck, from, live)
		switch {
		case live:
			r.keep(now, m)
		case from != noSuchMember:
			r.token(now, m)
		}
	case KindRingProbe:
		r.acknowledge(m, KindRingProbeOK, from, live)
	case KindTokenAck, KindRingProbeOK:
		if from != noSuchMember {
			r.answered(now, m, r.distance(from))
		}
	}
}

// Tick implements Elector. Rows R22 to R27.
func (r *ring) Tick(now time.Time) {
	for i := 0; i < len(r.hops); {
		h := &r.hops[i]
		if now.Before(h.timer) || r.overdue(now, h) {
			i++
			continue
		}
		own := h.cand == r.pos
		if r.drop(i); !r.running {
			return
		}
		if !own {
			// The candidate, too, is silent, and so is everybody between: of
			// those that are alive this node may be the highest.
			r.timer = now
		}
	}
	if r.state != ringIdle && !now.Before(r.timer) {
		r.initiate(now, true)
	}
}

// Deadline implements Elector.
func (r *ring) Deadline() time.Time {
	d := r.timer
	for _, h := range r.hops {
		if h.timer.Before(d) {
			d = h.timer
		}
	}
	return d
}

// Cancel implements Elector. Row R28.
func (r *ring) Cancel() {
	r.stop()
	r.reset()
}

func (r *ring) elected() {
	r.win()
	r.reset()
}

// reset forgets all but the number of the last token, and tokens kept.
func (r *ring) reset() { *r = ring{round: r.round, attempt: r.attempt, kept: r.kept} }

// initiate sends a token of this node's own on its way. Every one has a number
// of its own, for members drop what they have seen.
func (r *ring) initiate(now time.Time, notify bool) {
	if notify {
		r.notify()
	}
	r.attempt++
	r.laps++
	r.postponed = 0
	r.participate(now)
	r.pass(now, Message{Kind: KindToken, Cand: r.candidates[r.pos].Key, CandInc: r.candidates[r.pos].Inc, Attempt: r.attempt},
		r.pos, len(r.candidates)-1)
}

// participate waits for a winner as long as a lap may take. The time grows
// with this node's own attempts: where many packets are lost a lap takes longer
// than any fixed time.
func (r *ring) participate(now time.Time) {
	lap := r.timing.HopRTO * time.Duration(len(r.candidates)) / 4 << min(max(r.laps, 1), maxLaps)
	r.state, r.timer = ringParticipant, now.Add(r.timing.TCoord+lap+r.stagger())
}

// notice is an ELECTION from a higher candidate. Rows R6 and R7.
func (r *ring) notice(now time.Time) {
	if r.state == ringParticipant {
		if r.postponed == maxPostponed {
			return
		}
		r.postponed++
	}
	r.participate(now)
}

// acknowledge answers a TOKEN or RING_PROBE, duplicates too. Rows R8 to R10
// and R17.
func (r *ring) acknowledge(m Message, k Kind, from int, live bool) {
	r.ready.Out = append(r.ready.Out, Out{To: m.From, Msg: Message{
		Kind: k, Base: m.Base, Cand: m.Cand, CandInc: m.CandInc, Attempt: m.Attempt,
		Refuse: !live && from == noSuchMember,
	}})
}

// keep keeps a token in place of an earlier one of its candidate. Row R8.
func (r *ring) keep(now time.Time, m Message) {
	r.kept = slices.DeleteFunc(r.kept, func(k keptToken) bool {
		return k.token.Base != m.Base || k.token.Cand == m.Cand
	})
	if len(r.kept) < maxHops {
		r.kept = append(r.kept, keptToken{token: m, at: now})
	}
}

// token is a TOKEN of the present round. Rows R11 to R16.
func (r *ring) token(now time.Time, m Message) {
	cand := r.position(m.Cand, m.CandInc)
	switch {
	case cand == noSuchMember:
	case cand == r.pos:
		// Each attempt of this round counts: insisting on the last one would
		// let every new attempt undo the lap that was nearly complete.
		if back := r.attempt - m.Attempt; uint64(back) < uint64(r.laps) {
			r.elected()
		}
	case cand < r.pos:
		if r.isNew(cand, m.Attempt) {
			r.participate(now)
			m.Hops = min(m.Hops, math.MaxUint32-1) + 1
			r.pass(now, m, cand, r.distance(cand))
		}
	case r.state == ringNotified:
		r.initiate(now, false)
	}
}

func (r *ring) isNew(cand int, attempt uint32) bool {
	if r.seen == nil {
		r.seen = make(map[int]*attempts)
	}
	s := r.seen[cand]
	if s == nil {
		s = new(attempts)
		r.seen[cand] = s
	}
	return s.add(attempt)
}

// distance is how many members round the ring the one at pos is.
func (r *ring) distance(pos int) int {
	n := len(r.candidates)
	return (r.pos - pos + n) % n
}

// at is the position of the member at a distance.
func (r *ring) at(distance int) int {
	n := len(r.candidates)
	return (r.pos - distance + n) % n
}

// pass hands a token to the successor. A token of the same candidate that is
// still on its way there takes on the number of the new one.
func (r *ring) pass(now time.Time, m Message, cand, reach int) {
	m.From, m.Inc = Key{}, 0
	for i := range r.hops {
		if h := &r.hops[i]; h.cand == cand {
			h.token.Attempt = max(h.token.Attempt, m.Attempt)
			return
		}
	}
	if len(r.hops) == maxHops {
		return
	}
	r.hops = append(r.hops, hop{token: m, cand: cand, reach: reach})
	r.hand(now, &r.hops[len(r.hops)-1], 1)
}

// hand sends the token to the member at a distance.
func (r *ring) hand(now time.Time, h *hop, to int) {
	if h.to != to {
		h.to, h.tries, h.answers = to, 0, nil
	}
	h.tries++
	h.timer = now.Add(r.timing.HopRTO)
	r.send(r.at(to), h.token)
}

// overdue goes on with a hop whose timer has run out, and reports whether there
// is anything to go on with. Rows R22 to R25.
func (r *ring) overdue(now time.Time, h *hop) bool {
	again := r.late(now, h.timer) && h.tries < hopTries+maxPostponed
	switch {
	case h.to != 0 && (h.tries < hopTries || again):
		r.hand(now, h, h.to)
	case h.to != 0:
		return r.look(now, h, h.to+1, firstLook)
	default:
		if i := slices.Index(h.answers, present); i >= 0 {
			r.hand(now, h, h.from+i)
			return true
		}
		if again {
			h.tries++
			return r.look(now, h, h.from, len(h.answers))
		}
		return r.look(now, h, h.from+len(h.answers), 2*len(h.answers))
	}
	return true
}

// look asks a number of members, from one on, whether they are there. It
// reports whether there was anybody left to ask.
func (r *ring) look(now time.Time, h *hop, from, count int) bool {
	count = min(count, h.reach-from+1)
	if count <= 0 {
		return false
	}
	h.to, h.from, h.answers = 0, from, make([]answer, count)
	h.timer = now.Add(2 * r.timing.HopRTO)
	probe := h.token
	probe.Kind, probe.Hops = KindRingProbe, 0
	for i := range count {
		r.send(r.at(from+i), probe)
	}
	return true
}

// answered is a TOKEN_ACK or RING_PROBE_OK of the member at a distance. Rows
// R18 to R21.
func (r *ring) answered(now time.Time, m Message, from int) {
	i := slices.IndexFunc(r.hops, func(h hop) bool {
		return h.token.Cand == m.Cand && h.token.CandInc == m.CandInc &&
			(m.Kind == KindRingProbeOK || h.token.Attempt == m.Attempt)
	})
	if i < 0 {
		return
	}
	h := &r.hops[i]
	goesOn := true
	switch {
	case m.Kind == KindTokenAck && !m.Refuse:
		r.hops = slices.Delete(r.hops, i, i+1)
	case m.Kind == KindTokenAck:
		if h.to == from {
			h.refused = true
			goesOn = r.look(now, h, from+1, firstLook)
		}
	case from >= h.from && from < h.from+len(h.answers):
		h.answers[from-h.from] = present
		if m.Refuse {
			h.answers[from-h.from], h.refused = refusing, true
		}
		// Nobody nearer may still answer: there is nothing to wait for.
		next := slices.IndexFunc(h.answers, func(a answer) bool { return a != refusing })
		if next < 0 {
			goesOn = r.look(now, h, h.from+len(h.answers), 2*len(h.answers))
		} else if h.answers[next] == present {
			r.hand(now, h, h.from+next)
		}
	}
	if !goesOn {
		r.drop(i)
	}
}

// drop gives up a token that nobody takes. If it is this node's own, nobody
// else is there; but those who refuse may do so because the election is over,
// and its result on the way. Row R26.
func (r *ring) drop(i int) {
	h := r.hops[i]
	if h.cand == r.pos && (!h.refused || r.laps > 1) {
		r.elected()
		return
	}
	r.hops = slices.Delete(r.hops, i, i+1)
}
