package transport_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
)

func TestNames(t *testing.T) {
	for k, want := range map[fmt.Stringer]string{
		transport.Datagram: "datagram", transport.Frame: "frame", transport.Up: "up",
		transport.Writable: "writable", transport.Down: "down", transport.Stranger: "stranger", transport.Rejected: "rejected",
		transport.Kind(0): "kind(0)", transport.Kind(99): "kind(99)",
		transport.Reset: "reset", transport.Refused: "refused", transport.Timeout: "timeout",
		transport.Cause(0): "cause(0)", transport.Cause(99): "cause(99)",
	} {
		require.Equal(t, want, k.String())
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("it rained")
	err := fmt.Errorf("open: %w", &transport.NetworkError{Op: "listen", Err: cause})
	var ne *transport.NetworkError
	require.ErrorAs(t, err, &ne)
	require.ErrorIs(t, err, cause)
	require.EqualError(t, ne, "transport: no usable network: listen: it rained")
	require.EqualError(t, &transport.TooLargeError{Size: 3, Limit: 2}, "transport: a frame of 3 bytes is over the limit of 2")
}
