package membership

import "errors"

// Errors of this package.
var (
	// ErrDuplicateIdentity is in Ready.Err when another process runs with the
	// same key and a higher incarnation. Of two such processes the older
	// incarnation stops.
	ErrDuplicateIdentity = errors.New("membership: another process runs with this identity")
	// ErrExhausted is in Ready.Err when the epoch counter has reached the end of
	// its range, 2⁶³ - 2, so that no view can be made.
	ErrExhausted = errors.New("membership: a counter is exhausted")
	// ErrConfig is what every error of NewCoordinated and Timing.Validate
	// wraps.
	ErrConfig = errors.New("membership: invalid configuration")

	errView = errors.New("membership: malformed view")
)
