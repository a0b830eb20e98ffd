package election

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Key identifies a peer for good: the 16 bytes that its transport or its
// membership knows it by.
type Key = [16]byte

// Base names the view that an election starts from. Two elections with
// different bases have nothing to do with each other. It is comparable.
type Base struct {
	Ctr    uint64 // counter of the epoch
	Leader Key    // who opened the epoch, and so coordinates it
	Inc    uint64 // the leader's incarnation
	Seq    uint32 // number of the view within the epoch
}

// SameEpoch reports whether the two views belong to one coordinatorship.
func (b Base) SameEpoch(o Base) bool {
	return b.Ctr == o.Ctr && b.Leader == o.Leader && b.Inc == o.Inc
}

// Candidate is a member that can be elected.
type Candidate struct {
	Key Key
	Inc uint64 // its incarnation: a restarted process is another candidate
}

// Round is what a caller asks an Elector to decide: who succeeds the
// coordinator of Base.
type Round struct {
	Base Base
	Self Key
	// Candidates are the members of Base without the missing coordinator, the
	// highest rank first; Self is among them. Bully elects the highest that
	// answers; Ring passes its token to the next higher rank, and from the
	// highest to the lowest.
	Candidates []Candidate
	// Invited is true when the round begins because another member's message
	// arrived, and false when the caller itself verified that the coordinator
	// is gone. An invited Elector gives higher candidates time to come forward
	// before it does so itself.
	Invited bool
	// RTO is the caller's present estimate of the time after which an answer
	// is overdue. Zero means Timing.RTO.
	RTO time.Duration
}

// Pos is the number of candidates ranked above k, or -1 if k is none.
func (r *Round) Pos(k Key) int {
	for i, c := range r.Candidates {
		if c.Key == k {
			return i
		}
	}
	return -1
}

// Elector decides who succeeds a coordinator that is gone. It is a state
// machine without I/O, clock or goroutine: every method is called by one
// goroutine at a time, with a time that never goes back, and none blocks.
// After Begin, Step, Tick and Cancel the caller takes what is to be done by
// Ready.
//
// An Elector never makes anybody coordinator. It says Won at the one member
// that won, and that member announces itself by whatever means the caller has;
// the others learn of it from that announcement and call Cancel.
type Elector interface {
	// Begin starts a round. A round with the same base that already runs goes
	// on as it is, with the candidates it has; but a candidacy that was only
	// postponed because the round was begun as Invited starts now if the new
	// one is not. A round with another base replaces the one that runs. If
	// Self is no candidate, nothing starts. Candidates may be reused when Begin
	// has returned.
	Begin(now time.Time, r Round)

	// Step takes one message of another member. live says that the caller
	// itself still hears the coordinator of the message's base, so that in its
	// eyes no election is needed: the machine then neither starts nor
	// supports a candidacy, but still acknowledges what must be acknowledged.
	// A message of another base, of a member that is no candidate, or of
	// another incarnation of a candidate changes nothing, though it may be
	// acknowledged. For a message whose Candidacy is true, a caller that wants
	// to take part calls Begin with an Invited round first.
	Step(now time.Time, m Message, live bool)

	// Tick makes the machine notice the time.
	Tick(now time.Time)

	// Deadline is when Tick is due next; the zero time means never.
	Deadline() time.Time

	// Ready returns what has accumulated since the last call, and forgets it.
	Ready() Ready

	// Cancel ends the round without a winner: the coordinator was heard after
	// all, or a new one was announced. What Ready has not returned is dropped.
	Cancel()

	// Name is the algorithm's name in lower case, such as "bully".
	Name() string
}

// Ready is what an Elector wants done.
type Ready struct {
	Out []Out
	// Won is true once, when this node has won the present round; the round is
	// over with it.
	Won bool
}

// Out is a message to send.
type Out struct {
	To  Key // the zero Key means every member of the group
	Msg Message
}

// Kind tells the messages apart. The values are part of the wire format.
type Kind uint8

// The kinds of Message.
const (
	KindElection    Kind = 1 // "I am a candidate" (Bully), or the notice that a round began (Ring)
	KindAnswer      Kind = 2 // Bully: the ANSWER "a higher one is alive"
	KindToken       Kind = 3 // Ring: the candidacy that travels
	KindTokenAck    Kind = 4 // Ring: a token arrived, or is refused
	KindRingProbe   Kind = 5 // Ring: "are you there?", to look ahead over dead successors
	KindRingProbeOK Kind = 6 // Ring: the answer
)

// String is the kind's name in capitals, as papers and traces write it.
func (k Kind) String() string {
	switch k {
	case KindElection:
		return "ELECTION"
	case KindAnswer:
		return "ANSWER"
	case KindToken:
		return "TOKEN"
	case KindTokenAck:
		return "TOKEN_ACK"
	case KindRingProbe:
		return "RING_PROBE"
	case KindRingProbeOK:
		return "RING_PROBE_OK"
	}
	return fmt.Sprintf("KIND(%d)", uint8(k))
}

// Message is what electors say to each other. Fields that a kind does not use
// are zero.
//
// From and Inc are for the receiver. An Elector leaves them zero in what it
// wants sent, and whoever sends the message states who it is.
type Message struct {
	Kind    Kind
	From    Key    // the sender
	Inc     uint64 // the sender's incarnation
	Base    Base   // the view that the sender's round starts from
	Cand    Key    // Ring, all but the notice: the candidate, which need not be the sender
	CandInc uint64 // Ring, all but the notice: the candidate's incarnation
	Attempt uint32 // Ring, all but the notice: tells the candidate's tokens apart; it never uses a number twice
	Hops    uint32 // Token: members passed so far
	Refuse  bool   // TokenAck, RingProbeOK: skip me, I am not part of this election
}

// Candidacy reports whether the message stands for an election in progress, in
// contrast to an answer. A caller that receives one either takes part, by Begin
// before Step, or knows better and tells the sender and the candidate.
func (m Message) Candidacy() bool {
	return m.Kind == KindElection || m.Kind == KindToken || m.Kind == KindRingProbe
}

// Candidate is the member whose candidacy the message is about: Cand where the
// kind has one, otherwise the sender.
func (m Message) Candidate() Key {
	if m.Cand != (Key{}) {
		return m.Cand
	}
	return m.From
}

// Timing holds the durations of both algorithms. The zero value of a field
// means its default; a default that is a multiple of RTO follows Round.RTO
// where the round has one.
type Timing struct {
	RTO         time.Duration // an answer is overdue after this; 200 ms
	HopRTO      time.Duration // a ring neighbour's acknowledgement is overdue after this; RTO/5
	Stagger     time.Duration // invited candidates wait this times their position, at most 16 times; RTO/8
	TCoord      time.Duration // an outranked candidate waits this for an announcement; 10 RTO
	Tries       int           // how often a candidate sends ELECTION before, unanswered, it has won; 5
	AnswerRanks int           // only so many of the highest ranks answer ELECTION with ANSWER; 3
}

// WithDefaults returns t with each zero field set to its default.
func (t Timing) WithDefaults() Timing {
	if t.RTO <= 0 {
		t.RTO = 200 * time.Millisecond
	}
	if t.HopRTO <= 0 {
		t.HopRTO = max(t.RTO/5, 1)
	}
	if t.Stagger <= 0 {
		t.Stagger = t.RTO / 8
	}
	if t.TCoord <= 0 {
		t.TCoord = 10 * t.RTO
	}
	if t.Tries <= 0 {
		t.Tries = 5
	}
	if t.AnswerRanks <= 0 {
		t.AnswerRanks = 3
	}
	return t
}

// Config is what a constructor such as NewBully or NewRing takes.
type Config struct {
	Timing Timing
	// Rand is the only source of randomness (jitter). Nil means a fixed seed.
	Rand *rand.Rand
}

// New is the type of NewBully and NewRing, and of any constructor that can
// stand in their place.
type New func(Config) Elector
