//go:build !windows

package lan

import (
	"errors"
	"syscall"
)

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// isMessageSize tells whether a datagram was longer than the buffer, where that
// is an error; elsewhere the rest is cut off.
func isMessageSize(error) bool { return false }
