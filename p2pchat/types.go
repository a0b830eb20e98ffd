package p2pchat

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/transport"
)

// PeerID identifies a peer for good: the first 16 bytes of the SHA-256 of its
// Ed25519 public key.
type PeerID [16]byte

// String is the ID in lower-case hex.
func (p PeerID) String() string { return hex.EncodeToString(p[:]) }

// ParsePeerID is the inverse of PeerID.String.
func ParsePeerID(s string) (PeerID, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(PeerID{}) {
		return PeerID{}, fmt.Errorf("p2pchat: %q is not a peer ID", s)
	}
	return PeerID(b), nil
}

// MessageID names a message for good: "<writer>:<n>", the n-th message, from
// 1, of one incarnation of its author's log.
type MessageID = causal.MessageID

// ParseMessageID is the inverse of MessageID.String.
func ParseMessageID(s string) (MessageID, error) { return causal.ParseMessageID(s) }

// Digest is equal on two nodes exactly when they hold the same history.
type Digest struct {
	N    uint64   // messages
	Hash [16]byte // zero while there are none
}

// String is the hash in lower-case hex.
func (d Digest) String() string { return hex.EncodeToString(d.Hash[:]) }

// Peer is a participant.
type Peer struct {
	ID   uint32         // assigned by the coordinator, unique in a view; 0 if unknown
	Key  PeerID         // the same at every node, and in every run with the same data directory
	Nick string         // free text; may collide, and may contain anything
	Addr netip.AddrPort // its endpoint; zero if unknown
}

// String is the nick and the ID, as in "ada#3". The nick is shown as it is: a
// program that prints to a terminal must make it harmless.
func (p Peer) String() string { return p.Nick + "#" + strconv.FormatUint(uint64(p.ID), 10) }

// View is what the group is, as a coordinator announced it.
type View struct {
	Term        uint64 // counts coordinatorships; only grows
	Number      uint64 // counts views along the group's life
	Coordinator Peer   // one of the Members
	Members     []Peer // ascending by ID
}

// String is the view in the field's notation: coordinator and number, size,
// members; as in "[4*|v5] (3) [2,3,4]".
func (v View) String() string {
	ids := make([]string, len(v.Members))
	for i, m := range v.Members {
		ids[i] = strconv.FormatUint(uint64(m.ID), 10)
	}
	return fmt.Sprintf("[%d*|v%d] (%d) [%s]", v.Coordinator.ID, v.Number, len(v.Members), strings.Join(ids, ","))
}

// Find returns the member with the given key.
func (v View) Find(k PeerID) (Peer, bool) {
	for _, m := range v.Members {
		if m.Key == k {
			return m, true
		}
	}
	return Peer{}, false
}

// Message is one entry of the history.
type Message struct {
	ID MessageID // the same on every node
	// From is the author: its key is proven, its nick is as it was when it
	// wrote, and its ID is the one it has, or had last as far as is known here.
	From Peer
	Room string // that it was sent to
	Data []byte // must not be changed
	// Dropped says that only the message's place is known: what it said was
	// dropped by WithRetention, here or on the node that this one took it over
	// from. Room, Data and the author's nick are empty.
	Dropped bool
	// Sent is when, by the author's clock: nobody can check it.
	Sent time.Time
	// Index is the place in the order of delivery on this node, from 0:
	// causal, and never changed. Messages from the next index resume there.
	Index uint64
	// Pos is the place in the converged history at the moment of reading, from
	// 0. It grows when older messages arrive.
	Pos uint64
	// Inserted says that the message belonged before one delivered already.
	Inserted bool
	// Backlog says that the message is older than this node's membership, or
	// was caught up on from another's stock.
	Backlog bool
	Own     bool // this peer is the author, in this run or one before
}

// Phase is where a Node is in its life.
type Phase uint8

// The phases of a Node.
const (
	PhaseNew      Phase = iota // Join was not called
	PhaseJoining               // looking for the group
	PhaseSyncing               // registered, taking over the history
	PhaseMember                // registered, and up to date when that began
	PhaseElecting              // a member without a coordinator
	PhaseLeaving               // saying goodbye
	PhaseClosed                // gone
)

var phases = [...]string{"new", "joining", "syncing", "member", "electing", "leaving", "closed"}

// String is the phase in one lower-case word.
func (p Phase) String() string {
	if int(p) < len(phases) {
		return phases[p]
	}
	return fmt.Sprintf("phase(%d)", uint8(p))
}

// Status is a snapshot of a Node.
type Status struct {
	Phase     Phase
	Self      Peer          // this node; its ID is 0 before it is a member
	View      View          // its Members are nil before the first
	Heartbeat time.Duration // since the coordinator was heard last; 0 at the coordinator
	Digest    Digest        // of the history that this node holds
	// Same of Of members, this one included, said last that they hold the same
	// history as this node.
	Same, Of int
	// Known is how many messages the member has that said last it has the
	// most: while it is more than Digest.N, there is something to catch up on.
	Known uint64
	// Suspects are the members of which this node does not know whether they
	// are well, with what it knows: at the coordinator any member, elsewhere the
	// coordinator alone.
	Suspects   []PeerEvent
	Algorithm  string                // of the election
	Group      string                // the address that newcomers must know, if the transport has one
	Sealed     bool                  // encrypted and authenticated
	LocalOnly  bool                  // no network but this machine
	Interfaces []transport.Interface // nil before Join, and if the transport does not tell
	// Drops counts what was refused, by reason.
	Drops map[string]uint64
}

// Converged reports whether all members of the view hold the same history.
func (s Status) Converged() bool { return s.Of > 0 && s.Same == s.Of }
