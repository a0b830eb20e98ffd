package transport

import (
	"fmt"
	"net/netip"
)

// Transport carries frames between the nodes of one group: datagrams to all
// of them or to one, which may be lost, duplicated or reordered, and a
// reliable, ordered stream to each peer. What a frame says is none of its
// business; which group it belongs to is: frames of another group, or of
// another wire version, never reach the Handler.
//
// All methods may be called from any goroutine, and none but Close blocks.
//
// Ownership: a frame passed to a Transport must not be changed afterwards by
// anybody; the Transport may hold it until it is written, and does not change
// it. So one encoded frame can be passed for any number of peers. A frame
// passed to the Handler belongs to the Handler.
type Transport interface {
	// Open starts the transport, which calls h from then on until Close. It is
	// called once. The error is a *NetworkError if there is no network at all.
	Open(h Handler) error

	// Addr is the endpoint at which peers reach this node, valid after Open. It
	// changes only when the host has lost that address.
	Addr() netip.AddrPort

	// Group names the group, in the same way at all its nodes and differently
	// in other groups: what its address and name are, say. It can be called
	// before Open. Histories are signed for one group, so nodes that name it
	// differently cannot read each other.
	Group() string

	// Multicast sends a datagram to all nodes of the group but this one. It
	// returns a *TooLargeError for a frame over its limit, which is MaxDatagram
	// or up to Overhead more.
	Multicast(frame []byte) error

	// Unicast sends a datagram to one endpoint. It returns a *TooLargeError
	// for a frame over the same limit.
	Unicast(to netip.AddrPort, frame []byte) error

	// Stream queues a frame on the stream to a peer, which is opened if there
	// is none. Frames arrive in order, each once, unless the stream breaks;
	// then Down is reported and the frames not yet delivered are lost. It
	// returns ErrFull, and has not taken the frame, when the peer does not
	// keep up; Writable follows when there is room, or else Down. It returns a
	// *TooLargeError for a frame over its limit, which is MaxFrame or up to
	// Overhead more.
	//
	// A frame taken before Down is handled may be lost with the stream or sent
	// on the next one. After Refused or Timeout the next frame makes a new
	// attempt; attempts that follow each other closely are spaced, and frames
	// wait meanwhile.
	Stream(to netip.AddrPort, frame []byte) error

	// Hangup closes the stream to a peer, if there is one, after what is
	// queued has been written. Nothing is reported for it here; the peer sees
	// Reset and dials again, which is reported here as Up if it succeeds.
	Hangup(peer netip.AddrPort)

	// Close ends everything and waits for all goroutines; the Handler is not
	// called afterwards. So the Handler must return, and must not call Close.
	// What was queued for peers that were hung up is written if that takes no
	// longer than a moment. It is idempotent. Before Open and after Close the
	// other methods return ErrClosed.
	Close() error
}

// Limits that every Transport keeps.
const (
	// MaxDatagram is the largest frame that a caller may count on Multicast and
	// Unicast to take. With Overhead and 48 bytes for a transport's own header
	// it makes 1,200 bytes, which no network fragments.
	MaxDatagram = 1088
	// MaxFrame is the largest frame that a caller may count on Stream to take.
	MaxFrame = 2 << 20
	// Overhead is what a transport that wraps another may add to a frame: one
	// that reaches the network takes frames that are larger by so much.
	Overhead = 64
)

// Handler receives what a Transport has to say. Handle is called from several
// goroutines. It may block: for a Frame from a stream that holds back
// that one peer (its sender sees ErrFull in the end); for anything else it
// delays other events, so a Handler should then rather drop.
type Handler interface {
	Handle(e Event)
}

// HandlerFunc is a function that is a Handler.
type HandlerFunc func(Event)

// Handle calls f.
func (f HandlerFunc) Handle(e Event) { f(e) }

// Kind tells events apart.
type Kind uint8

// The kinds of Event.
const (
	Datagram Kind = iota + 1 // a frame arrived as a datagram, to the group or to this node
	Frame                    // a frame arrived on a stream
	Up                       // a stream to the peer can be written: it was dialed, or accepted from the peer
	Writable                 // after ErrFull there is room again
	Down                     // the stream to the peer broke, or could not be opened; see Cause
	Stranger                 // a node with this group's address speaks another version, or has another key; see Err
	Rejected                 // a node says that of this one; see Err
)

var kinds = [...]string{Datagram: "datagram", Frame: "frame", Up: "up", Writable: "writable", Down: "down", Stranger: "stranger", Rejected: "rejected"}

// String is the kind in one lower-case word.
func (k Kind) String() string {
	if int(k) < len(kinds) && kinds[k] != "" {
		return kinds[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Event is one thing that a Transport tells its Handler.
type Event struct {
	Kind Kind
	// Peer is the sender's unicast endpoint: for a datagram the address it
	// came from, for the other kinds the address by which the peer announced
	// itself or was dialed. An answer sent to it reaches the peer.
	Peer  netip.AddrPort
	Frame []byte // for Datagram and Frame
	// Key is, for Frame, the Ed25519 public key of which the peer has proven to
	// this transport that it has the private one; nil if it proved nothing.
	Key []byte
	// Free, if not nil, takes the memory of Frame back, for another one. A
	// Handler that is through with a frame may call it, once, and uses no part
	// of the frame afterwards.
	Free  func()
	Cause Cause // for Down
	// Err is, for Down, the operating system's word; for Stranger and Rejected
	// a *VersionError or an *AuthError. What it says is not proven: anybody can
	// send what causes these two, so a Handler bounds what it does for a
	// Stranger, and believes a Rejected only if it has no group, and not the
	// first.
	Err error
}

// Cause is why a peer is down.
type Cause uint8

// The causes. A stream that ends is reported as Reset at once; the transport
// then dials again by itself and reports Up, Refused or Timeout. So Reset alone
// proves nothing, and Refused proves that the peer's process is gone, because
// its host answers and nobody listens there, or a program that is not of this
// group.
const (
	Reset   Cause = iota + 1 // an open stream ended
	Refused                  // a connection was refused
	Timeout                  // no answer to a connection attempt, or the network is unreachable
)

var causes = [...]string{Reset: "reset", Refused: "refused", Timeout: "timeout"}

// String is the cause in one lower-case word.
func (c Cause) String() string {
	if int(c) < len(causes) && causes[c] != "" {
		return causes[c]
	}
	return fmt.Sprintf("cause(%d)", uint8(c))
}
