package membership

import (
	"net/netip"
	"time"
)

// Membership decides who is in the group and who coordinates it. It is a state
// machine without I/O, clock or goroutine: every method is called by one
// goroutine at a time, with a time that never goes back, and none blocks.
// After Step and Tick the caller takes what is to be done by Ready.
//
// Coordinated is the implementation of this module.
type Membership interface {
	// Step takes one input; see Input for all there are.
	Step(now time.Time, in Input)
	// Tick makes the machine notice the time.
	Tick(now time.Time)
	// Deadline is when Tick is due next; the zero time means never.
	Deadline() time.Time
	// Ready returns what has accumulated since the last call, and forgets it.
	Ready() Ready
	// View is the view installed last. Its Members are nil before the first.
	// It must not be changed.
	View() View
	// Header is what stands in front of this node's messages now, those of the
	// Elector included.
	Header() Header
	// Live reports whether this node, by its own evidence, hears the
	// coordinator of the given view's epoch, or is that coordinator: what an
	// Elector must be told with each message.
	Live(now time.Time, base ViewID) bool
}

// Input is what a Membership is told: one of Start, Receive, Heard, Campaign,
// Down, Refused, Slept, Won, Elect, Rename, Move and Depart.
type Input interface{ input() }

// Start begins to look for the group. It is the first input, given once.
type Start struct{}

// Receive is a decoded message that arrived, authenticated if the transport
// does that.
type Receive struct {
	From   netip.AddrPort // where it came from, and where an answer reaches its sender
	Packet Packet
}

// Heard says that a message of no concern to membership arrived from a peer,
// which is a sign of life all the same.
type Heard struct {
	Key Key
	Inc uint64
}

// Campaign says that an elector's message arrived. The machine decides what
// this node makes of it: nothing, a part in the election (Ready.Round), or a
// word to its sender that the coordinator lives or that there is a newer view.
type Campaign struct {
	From   netip.AddrPort
	Header Header
	Base   ViewID // the view that the sender's election starts from
	// Candidacy is true for a message that stands for an election in progress
	// (ELECTION, TOKEN) and false for answers.
	Candidacy bool
	// Candidate is whose candidacy it is, where that is not the sender.
	Candidate Key
}

// Down says what the transport learned of an endpoint.
type Down struct {
	Addr  netip.AddrPort
	Cause Cause
}

// Cause is how an endpoint failed.
type Cause uint8

// The causes of Down. Only CauseRefused proves that the process is gone: its
// host answers, and nobody listens. The others begin verification early.
const (
	CauseReset   Cause = 1 // an open stream ended
	CauseRefused Cause = 2 // a new connection was refused
	CauseTimeout Cause = 3 // no answer to a new connection
)

// Refused says that a group is here whose members cannot talk to this node. A
// newcomer founds none of its own before JoinWin, and Wait, are over, and asks
// again soon. It is told so a few times at most, and not by whoever likes to.
type Refused struct{ Wait time.Duration }

// Slept says that the host slept for so long, where the clock that Step is given
// stood still meanwhile. Where it did not the machine notices by itself.
type Slept struct{ For time.Duration }

// Won is the Elector's verdict for the round of Base: this node has won.
type Won struct{ Base ViewID }

// Elect asks for an election now, although the coordinator may be well. All
// members are candidates, the coordinator too.
type Elect struct{}

// Rename changes this member's own name.
type Rename struct{ Name string }

// Move changes this member's own endpoint.
type Move struct{ Addr netip.AddrPort }

// Depart begins a graceful departure: a coordinator hands over first. Ready
// says Left when it is done.
type Depart struct {
	// Limit is how long it may take where others are slow to answer, or do not.
	// A coordinator spends half of it on its heir and half on the next in rank,
	// and then leaves it to them to elect one. Zero, or less, is 280 ms.
	Limit time.Duration
}

func (Start) input()    {}
func (Receive) input()  {}
func (Heard) input()    {}
func (Campaign) input() {}
func (Down) input()     {}
func (Refused) input()  {}
func (Slept) input()    {}
func (Won) input()      {}
func (Elect) input()    {}
func (Rename) input()   {}
func (Move) input()     {}
func (Depart) input()   {}

// Ready is what a Membership wants done, in this order: send, announce, and
// then see to the election.
type Ready struct {
	Send   []Send
	Events []Event
	// Round, if not nil, asks for an election among its candidates.
	Round *Round
	// Cancel says that an election that runs is no longer needed. If Round is
	// set too, Cancel came first.
	Cancel bool
	// Inc, if not zero, is this node's new incarnation: the group knew a
	// later one than it was given. A caller that persists incarnations keeps
	// it.
	Inc uint64
	// Left is true once, when a graceful departure is complete.
	Left bool
	// Err, if not nil, is why this node can no longer take part; the machine
	// has stopped for good.
	Err error
}

// Send is a message to send.
type Send struct {
	Group bool           // to every node on the multicast address; else to To
	To    netip.AddrPort // an endpoint
	// Reliable asks for the stream, for what may be larger than a datagram.
	Reliable bool
	// Routine says that the packet tells nothing but that this node is well. Any
	// other sign of life will do in its place, see Heard.
	Routine bool
	Packet  Packet
}

// Round asks for an election: who succeeds the coordinator of Base.
type Round struct {
	Base       ViewID
	Candidates []Member // the highest rank first
	Invited    bool     // begun by another member's message, not by own verification
	RTO        time.Duration
}
