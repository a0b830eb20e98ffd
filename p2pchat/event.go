package p2pchat

import "time"

// Event is something that happened in the group: one of *JoinEvent,
// *ViewEvent, *CoordinatorEvent, *PeerEvent, *HeartbeatEvent, *ElectionEvent,
// *StableEvent, *DigestEvent, *ConvergedEvent, *SyncEvent, *GapEvent,
// *NickEvent, *ForkEvent, *WarningEvent and *LaggedEvent. An Event must not be
// changed.
type Event interface{ event() }

// JoinPhase is how far a newcomer is.
type JoinPhase string

// The phases of a JoinEvent.
const (
	JoinProbe    JoinPhase = "probe"    // looking for a coordinator
	JoinAssigned JoinPhase = "assigned" // registered
	JoinSync     JoinPhase = "sync"     // taking over the history
	JoinReady    JoinPhase = "ready"    // a member, and up to date
	JoinFirst    JoinPhase = "first"    // founded a new group
	JoinFailed   JoinPhase = "failed"
)

// JoinEvent tells how joining goes on.
type JoinEvent struct {
	Phase       JoinPhase
	Try         int    // for "probe", from 1
	Coordinator Peer   // for "assigned", "ready" and "first"
	Term        uint64 // the coordinator's
	Err         error  // for "failed"
}

// Cause is why a view was made, or a coordinator changed.
type Cause string

// The causes of a ViewEvent. A CoordinatorEvent has one of First, Elected,
// Handover and Merge.
const (
	CauseFirst    Cause = "first"    // a group was founded
	CauseJoin     Cause = "join"     // members were admitted
	CauseLeave    Cause = "leave"    // members said goodbye
	CauseDead     Cause = "dead"     // members failed
	CauseMerge    Cause = "merge"    // groups became one
	CauseElected  Cause = "elected"  // a coordinator was elected
	CauseHandover Cause = "handover" // the coordinator passed its office on
	CauseRename   Cause = "rename"   // a member changed its nick
)

// ViewEvent says that a view was installed.
type ViewEvent struct {
	View   View
	Cause  Cause
	Joined []Peer      // who was not in the view before, for the first view all
	Left   []Departure // who was, and is not in this one
	// Renumbered are members, as they are now, whose ID changed in a merge.
	Renumbered []Peer
}

// Departure is a member that is gone.
type Departure struct {
	Peer   Peer
	Failed bool // false: it said goodbye
}

// CoordinatorEvent says that the coordinator changed.
type CoordinatorEvent struct {
	Old, New Peer // Old is zero for the first
	Term     uint64
	Cause    Cause
	Gap      time.Duration // how long this node had heard none
}

// PeerState is what is known of a peer's health.
type PeerState string

// The states of a PeerEvent.
const (
	PeerUp      PeerState = "up"
	PeerSuspect PeerState = "suspect" // it is asked whether it is there
	PeerLeft    PeerState = "left"    // it said goodbye
	PeerDead    PeerState = "dead"    // it failed, or the group went on without it
)

// PeerEvent says what is known of a peer's health, when it changes.
type PeerEvent struct {
	Peer   Peer
	State  PeerState
	Why    string        // such as "silent", "refused", "joined"
	Silent time.Duration // how long nothing had been heard of it
}

// HeartbeatEvent says that the coordinator's heartbeat was sent, or heard.
type HeartbeatEvent struct {
	From   Peer
	Term   uint64
	Number uint64 // of the view
	Sent   bool   // by this node, the coordinator
}

// ElectionPhase is what a step of an election is.
type ElectionPhase string

// The phases of an ElectionEvent.
const (
	ElectionStart ElectionPhase = "start"
	ElectionSend  ElectionPhase = "send" // a message was sent, see ElectionEvent.Kind
	ElectionRecv  ElectionPhase = "recv" // a message came
	ElectionWin   ElectionPhase = "win"
	ElectionLose  ElectionPhase = "lose"
	ElectionAbort ElectionPhase = "abort" // the coordinator was there after all
)

// ElectionEvent is one step of an election.
type ElectionEvent struct {
	Algorithm string // "bully", "ring"
	Term      uint64 // the term that the election is for
	Phase     ElectionPhase
	// Kind is, for "send" and "recv", the message: "ELECTION", "ANSWER",
	// "COORDINATOR" (the winner's announcement), "TOKEN", "TOKEN_ACK",
	// "RING_PROBE" or "RING_PROBE_OK".
	Kind string
	From Peer
	To   Peer // zero: all
}

// StableEvent says that every member of the view holds all messages of a
// writer up to this one.
type StableEvent struct {
	// First and Last are the newly stable messages, both included.
	First, Last MessageID
}

// DigestEvent says that the own digest changed, or how many members share it.
type DigestEvent struct {
	Digest   Digest
	Same, Of int // as in Status
}

// ConvergedEvent says that all members of the view hold the same history.
type ConvergedEvent struct {
	Members int
	Digest  Digest
}

// SyncEvent tells how the taking over of messages goes on that others have:
// after joining, and whenever this node has had fewer than another member for
// 200 ms. It is told at most 5 times a second, and the last time when Have is
// Of. It goes by the numbers of messages: of two sides that meet again and had
// said equally much, neither tells it.
type SyncEvent struct {
	Have uint64 // messages here
	Of   uint64 // messages at the member that said it has the most
}

// GapEvent says that messages have come that follow others which have not: they
// are kept back until those have come too, so that nobody reads an answer before
// the question. It is told of a gap that has lasted for 200 ms, and once more,
// with Waiting 0, when it is closed. Blocks are counted, each one or more messages
// that were sent together.
type GapEvent struct {
	Waiting int           // blocks that are kept back
	Missing uint64        // blocks that they follow and that are not here, of which others may be missing
	Lasted  time.Duration // since the first was kept back
	// GivenUp counts, when the gap is closed, blocks that were dropped because
	// they had waited for 30 s, or were too many. They come again with what they
	// follow.
	GivenUp uint64
}

// NickEvent says that a member changed its nick.
type NickEvent struct {
	Peer Peer
	Old  string
}

// ForkEvent says that an author signed two blocks with one number. Both are
// kept, and histories converge all the same.
type ForkEvent struct {
	Author Peer
	Writer [16]byte // the run of the author's log
	N      uint64   // number of the two blocks
}

// Codes of a WarningEvent. A transport has its own besides, such as
// "no_multicast" of package lan.
const (
	WarnDropped   = "dropped"    // packets were refused; at most once a minute for each reason, which Text names
	WarnEvicted   = "evicted"    // the group went on without this node, which joins again
	WarnWoke      = "woke"       // the process or its host stood still
	WarnHeld      = "held"       // a peer sends so much that is refused that its stream is read slowly; at most once a minute for each
	WarnClockSkew = "clock_skew" // an author's clock differs by over a minute; once for each
	WarnStore     = "store"      // the data directory failed; see WithMemoryFallback
	WarnTorn      = "torn"       // the data directory lacked the end of the last write, or was damaged, when it was opened
	WarnFlapping  = "flapping"   // a member was lost and came back again and again; told by the coordinator
	WarnDisplaced = "displaced"  // the group had given up waiting for messages that this node held; see WithCompaction
)

// WarningEvent says that something may need a person.
type WarningEvent struct {
	Code  string
	Text  string // for a person
	Count uint64 // packets if "dropped", since the last warning for the reason; messages if "displaced"; blocks if "torn"; losses if "flapping"; else 1
	Err   error  // a *StoreError if "store"; else nil
}

// LaggedEvent says that the reader of Events was so slow that events were
// dropped before it. Messages are never dropped.
type LaggedEvent struct {
	Dropped uint64 // events
}

func (*JoinEvent) event()        {}
func (*ViewEvent) event()        {}
func (*CoordinatorEvent) event() {}
func (*PeerEvent) event()        {}
func (*HeartbeatEvent) event()   {}
func (*ElectionEvent) event()    {}
func (*StableEvent) event()      {}
func (*DigestEvent) event()      {}
func (*ConvergedEvent) event()   {}
func (*SyncEvent) event()        {}
func (*GapEvent) event()         {}
func (*NickEvent) event()        {}
func (*ForkEvent) event()        {}
func (*WarningEvent) event()     {}
func (*LaggedEvent) event()      {}
