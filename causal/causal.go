package causal

import (
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
)

// Key identifies a peer for good: the first 16 bytes of the SHA-256 of its
// Ed25519 public key.
type Key = [16]byte

// WriterID names one incarnation of one peer's log: a hash chain of blocks
// that one process writes.
type WriterID [16]byte

// String is the writer in lower-case hex.
func (w WriterID) String() string { return hex.EncodeToString(w[:]) }

// MessageID names a message for good: the N-th, from 1, of its writer.
type MessageID struct {
	Writer WriterID
	N      uint64
}

// String is "<writer in hex>:<n>".
func (m MessageID) String() string { return m.Writer.String() + ":" + strconv.FormatUint(m.N, 10) }

// ParseMessageID is the inverse of MessageID.String.
func ParseMessageID(s string) (MessageID, error) {
	w, n, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(w)
	if !ok || err != nil || len(b) != 16 || w != strings.ToLower(w) {
		return MessageID{}, fmt.Errorf("causal: %q is not a message ID", s)
	}
	num, err := strconv.ParseUint(n, 10, 64)
	if err != nil || num == 0 || strconv.FormatUint(num, 10) != n {
		return MessageID{}, fmt.Errorf("causal: %q is not a message ID", s)
	}
	return MessageID{Writer: WriterID(b), N: num}, nil
}

// Message is one entry of the history. Data is a part of the log and must not
// be changed.
type Message struct {
	ID     MessageID
	Author Key
	Data   []byte // nil if retention has dropped it, here or where it came from; else not nil
	Height uint64 // of its block: 1 + the greatest height of the block's parents
	Wall   time.Time
	// Index is the message's place in the order of local delivery, from 0. It
	// never changes, and differs from node to node.
	Index uint64
	// Pos is the message's place in the history when it was asked for, from 0.
	// It is the same on all nodes that hold the same messages, and grows when
	// older messages are inserted.
	Pos uint64
	// Inserted says that the message, when it was delivered, belonged before
	// one that had been delivered already.
	Inserted bool
	// Backlog says that the message came from another node's stock during the
	// first sync after the start, or from the Store, and not as its author's
	// live word.
	Backlog bool
	// Own says that this log's own peer wrote it.
	Own bool
}

// Digest is equal on two nodes exactly when they hold the same history.
type Digest struct {
	Messages uint64 // how many messages it covers
	Hash     [16]byte
}

// Mark is a place in the life of a history, as it is on one node.
type Mark struct {
	Index uint64 // of the next message in the order of delivery
	Begun uint64 // how often the history was begun anew (see Ready.Rebased)
}

// Log holds what was said: signed blocks of messages, chained per writer and
// linked by causality. It is a state machine without I/O, clock or goroutine:
// every method is called by one goroutine at a time, with a time that never
// goes back, and none blocks (but for what its Store does). After Append,
// Step, SetPeers, Link and Tick the caller takes what is to be done by Ready.
//
// What is for one peer is not pushed but taken: Ready names the peers for
// which there is something, and Next gives the next message for one of them
// whenever its link can be written. So a slow peer costs no memory.
//
// Memory is the implementation of this module.
type Log interface {
	// Append adds own messages, in order, and returns the ID of the first; the
	// others follow without a hole. All of one call may share a block. The
	// data is copied. Messages may be held back until Flush or Deadline to
	// fill a block.
	Append(now time.Time, data ...[]byte) (MessageID, error)
	// Flush closes the open block, so that what was appended can be sent.
	Flush(now time.Time) error
	// Step takes a message of the peer from, and keeps no part of it.
	Step(now time.Time, from Key, m Protocol)
	// SetPeers says who the members are: whom the log serves, whose word
	// counts for stability. The own key may be among them and does not matter.
	SetPeers(now time.Time, members []Key)
	// Link says that the stream to a peer came up, or broke. What was under
	// way on a broken stream counts as lost.
	Link(now time.Time, peer Key, up bool)
	// Next returns the next message for a peer, in the order in which they must
	// travel on its stream, or nil if there is none.
	Next(now time.Time, peer Key) Protocol
	// Beat is this node's word on what it holds, for all members. The caller
	// sends it with heartbeats and keep-alives, and when Ready asks for it.
	Beat(now time.Time) *Beat
	// Tick makes the machine notice the time.
	Tick(now time.Time)
	// Deadline is when Tick is due next; the zero time means never.
	Deadline() time.Time
	// Ready returns what has accumulated since the last call, and forgets it.
	Ready() Ready

	// Len is the number of messages held.
	Len() uint64
	// Deliveries yields the messages in the order of local delivery, from the
	// given index. The log must not be changed meanwhile.
	Deliveries(from uint64) iter.Seq[Message]
	// History yields the messages in the order all nodes agree on: upwards
	// those from the given position on, or backwards those before it, nearest
	// first. So History(Len(), true) begins with the last. The log must not be
	// changed meanwhile.
	History(pos uint64, backwards bool) iter.Seq[Message]
	// Changes says what has changed in the history since a mark: the lowest
	// position from which on it is another, Len if it is the same, and the mark
	// to go on from. The zero Mark is the beginning.
	Changes(since Mark) (pos uint64, now Mark)
	// Lookup returns one message.
	Lookup(id MessageID) (Message, bool)
	// Digest is the digest of what is held now.
	Digest() Digest
	// PeerDigest is what a peer said last of what it holds.
	PeerDigest(peer Key) (Digest, bool)
	// Stable returns how many of a writer's messages all members hold.
	Stable(w WriterID) uint64
	// Final returns the position before which nothing will be inserted any
	// more by a member that is there now.
	Final() uint64
	// Writer is the writer of own messages.
	Writer() WriterID
	// Stats counts what happened.
	Stats() Stats
	// Close closes the Store.
	Close() error
}

// Ready is what a Log wants done. Its slices are valid until the next call.
type Ready struct {
	// Peers are all those for which Next has something now, also those that
	// were listed before.
	Peers []Key
	// SendBeat asks for a Beat to the group soon: the digest changed.
	SendBeat bool
	// Delivered is true if Deliveries has grown.
	Delivered bool
	// InsertedAt is the lowest position at which a message was inserted before
	// others, valid if Inserted is not zero: Inserted counts such messages.
	InsertedAt uint64
	Inserted   uint64
	// Digest is true if a peer's digest, or the own one, changed.
	Digest bool
	// Gap is true if blocks began to wait for a parent, or if none do any more.
	Gap bool
	// Stable lists, per writer, up to which number its messages have become
	// stable.
	Stable []MessageID
	// Forks are the writers newly proven to have used one number twice.
	Forks []Forked
	// Rebased says that the history was begun anew from a checkpoint of the
	// group, which this node was away from for too long (see Compaction):
	// positions have changed, and what the checkpoint stands for is gone.
	Rebased bool
	// Displaced are messages that this node held, and the group had given up
	// waiting for when it agreed on that checkpoint. They are in nobody's
	// history any more. Own ones are not among them, if this node had their
	// Data: they were appended again, and have new IDs.
	Displaced []Message
	// Forgotten counts messages that this node had given up itself, by a
	// checkpoint of its own side, before the others ever heard of them.
	Forgotten uint64
	// Faults counts what was refused of the messages given to Step, and is such
	// as no honest peer sends: blocks that are malformed, badly signed, or
	// contradict those that they follow, or more at once than anybody may send.
	Faults int
	// Synced is true once, when the first sync after the start is complete:
	// this node holds what its first peer held.
	Synced bool
	// Err is what the Store said last; the log goes on in memory.
	Err error
}

// Forked is a writer that signed two blocks with one number, and the proof.
type Forked struct {
	Writer WriterID
	Author Key
	N      uint64 // of the blocks
	Proof  Fork
}

// Stats counts what a Log saw. Refused counts by reason the blocks and
// messages that changed nothing else.
type Stats struct {
	Blocks   uint64 // held
	Messages uint64 // held
	Bytes    uint64 // of payload held
	Pending  int    // blocks that wait for a parent
	Missing  uint64 // parents that they name and that are not here: there may be more, which these name
	Pulls    uint64 // syncs asked for
	Served   uint64 // bytes of blocks sent to pulls
	Refused  map[string]uint64
}

// Errors of a Log.
var (
	// ErrTooLarge is returned by Append for a message over Config.MaxMessage.
	ErrTooLarge = errors.New("causal: message too large")
	// ErrClosed is returned by Append after Close.
	ErrClosed = errors.New("causal: log is closed")
)
