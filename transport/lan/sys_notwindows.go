//go:build !windows

package lan

import (
	"errors"
	"syscall"
)

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// isReset tells whether the other end ended a connection without a word.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNABORTED)
}

// isMessageSize tells whether a datagram was longer than the buffer, where that
// is an error; elsewhere the rest is cut off.
func isMessageSize(error) bool { return false }
