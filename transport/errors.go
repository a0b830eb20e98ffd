package transport

import (
	"errors"
	"fmt"
	"net"
)

// Errors of a Transport.
var (
	// ErrClosed is returned by every method before Open and after Close, and by
	// Open when it is called twice. It is net.ErrClosed.
	ErrClosed = net.ErrClosed
	// ErrFull is returned by Stream when the peer does not keep up.
	ErrFull = errors.New("transport: the peer's queue is full")
)

// TooLargeError says that a frame does not fit.
type TooLargeError struct {
	Size, Limit int // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("transport: a frame of %d bytes is over the limit of %d", e.Size, e.Limit)
}

// NetworkError says that no network can be used.
type NetworkError struct {
	Op  string // what was attempted
	Err error
}

func (e *NetworkError) Error() string {
	return "transport: no usable network: " + e.Op + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *NetworkError) Unwrap() error { return e.Err }

// VersionError says that two nodes have no version of the wire format in
// common.
type VersionError struct {
	Min, Max       uint8 // what the other node speaks
	OwnMin, OwnMax uint8 // what this node speaks
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("transport: this group speaks wire %s, you speak %s", versions(e.Min, e.Max), versions(e.OwnMin, e.OwnMax))
}

func versions(from, to uint8) string {
	if from == to {
		return fmt.Sprint(from)
	}
	return fmt.Sprintf("%d to %d", from, to)
}

// AuthError says that two nodes do not protect what they say in the same way.
type AuthError struct {
	Sealed    bool // the other node needs a key
	OwnSealed bool // this node has a key; if both do, they differ
}

func (e *AuthError) Error() string {
	switch {
	case e.Sealed && e.OwnSealed:
		return "transport: this group uses another passphrase"
	case e.Sealed:
		return "transport: this group is sealed, you are open"
	default:
		return "transport: this group is open, you are sealed"
	}
}
