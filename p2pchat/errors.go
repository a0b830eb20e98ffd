package p2pchat

import (
	"errors"
	"fmt"
	"net"
)

// Errors of a Node.
var (
	// ErrClosed is returned by every method of a Node that has left or was
	// closed. It is net.ErrClosed.
	ErrClosed = net.ErrClosed
	// ErrNotJoined is returned by methods that need a member of a group.
	ErrNotJoined = errors.New("p2pchat: not a member of a group yet")
	// ErrJoined is returned by Join when it is called twice.
	ErrJoined = errors.New("p2pchat: Join was called before")
)

// TooLargeError says that a message is over the limit.
type TooLargeError struct {
	Size, Limit int // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("p2pchat: a message of %d bytes is over the limit of %d", e.Size, e.Limit)
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
// *transport.NetworkError, or what the group answered.
type JoinError struct{ Err error }

func (e *JoinError) Error() string { return "p2pchat: join: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *JoinError) Unwrap() error { return e.Err }

// StoreError says that the data directory cannot be used. Err is or wraps one
// of causal.ErrLocked, causal.ErrWrongGroup and causal.ErrFormat, or is the
// operating system's word.
type StoreError struct {
	Dir string
	Err error
}

func (e *StoreError) Error() string { return "p2pchat: data directory " + e.Dir + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *StoreError) Unwrap() error { return e.Err }
