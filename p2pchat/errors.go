package p2pchat

import (
	"errors"
	"fmt"
	"net"

	"github.com/seed-885536be/p2p/transport"
)

// Errors of a Node.
var (
	// ErrClosed is returned by the methods of a Node that has left, was closed
	// or ended by itself; see Node.Err. It is net.ErrClosed.
	ErrClosed = net.ErrClosed
	// ErrNotJoined is returned by Send, SendTo, SetNick and Elect before the node
	// is a member of a group.
	ErrNotJoined = errors.New("p2pchat: not a member of a group yet")
	// ErrSelf is returned by SendTo for a message to this node itself.
	ErrSelf = errors.New("p2pchat: a direct message to oneself")
	// ErrJoined is what Join fails with when it is called twice.
	ErrJoined = errors.New("p2pchat: Join was called before")
)

// TooLargeError says that a message is over the limit.
type TooLargeError struct {
	Size, Limit int // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("p2pchat: a message of %d bytes is over the limit of %d", e.Size, e.Limit)
}

// PeerGoneError says that a direct message cannot be delivered any more.
type PeerGoneError struct {
	Peer PeerID
	// Why is "unknown" (no member of the view), "left" (it said goodbye), "dead"
	// (it failed, and did not come back within 30 s), "restarted" (it is another
	// run of the peer now, or this node is) or "lost" (it no longer knew what it
	// had received).
	Why string
	// Sent says that the message was given to the network: it may have arrived.
	Sent bool
}

func (e *PeerGoneError) Error() string {
	s := "p2pchat: direct message to " + e.Peer.String() + ": "
	switch e.Why {
	case "unknown":
		s += "no such member"
	case "left":
		s += "it has left"
	case "dead":
		s += "it is gone"
	case "restarted":
		s += "it was restarted"
	default:
		s += "it lost what it had received"
	}
	if e.Sent {
		s += "; the message may have arrived"
	}
	return s
}

// NameError says that a nick or a room's name is empty, too long or not UTF-8.
type NameError struct {
	What  string // "nick" or "room"
	Name  string
	Limit int // bytes
}

func (e *NameError) Error() string {
	return fmt.Sprintf("p2pchat: the %s %q is not 1 to %d bytes of UTF-8", e.What, e.Name, e.Limit)
}

// JoinError says why Join failed; Err is a context's error, a
// *transport.NetworkError, ErrJoined, ErrClosed, why the node ended meanwhile (see
// Node.Err), or what the group answered: an *AuthError or a *VersionError if that
// refused this node three times and no other welcomed it. Such an answer is not
// proven: whoever forges it can keep a node from founding a group, and no node out
// of a group that is there.
type JoinError struct{ Err error }

func (e *JoinError) Error() string { return "p2pchat: join: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *JoinError) Unwrap() error { return e.Err }

// AuthError and VersionError say why a group cannot be talked to.
type (
	AuthError    = transport.AuthError
	VersionError = transport.VersionError
)

// StoreError says that the data directory cannot be used. Err is or wraps one
// of causal.ErrLocked, causal.ErrWrongGroup and causal.ErrFormat, boltstore.ErrFull
// if the disk is full, boltstore.ErrCorrupt, or is the operating system's word.
type StoreError struct {
	Dir string
	Err error
}

func (e *StoreError) Error() string { return "p2pchat: data directory " + e.Dir + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *StoreError) Unwrap() error { return e.Err }
