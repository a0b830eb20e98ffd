package lan_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
)

// A node of another version is told what this one speaks, in bytes that it
// understands, and not more often than four times a second; what it says in turn is
// reported.
func TestOtherVersionIsToldSo(t *testing.T) {
	t.Parallel()
	c := config(t)
	r := record(t)
	n := opened(t, c, r.handle)
	other, at := outsider(t)
	later := header(c, 'd', at, 42, 1)
	later[4], later[5] = 7, 8
	began := time.Now()
	// atMost is how often something may have happened by now that may happen four
	// times a second.
	atMost := func() int { return 4 * (int(time.Since(began)/time.Second) + 1) }
	for range 20 {
		_, err := other.WriteToUDPAddrPort(later, n.Addr())
		require.NoError(t, err)
	}
	e := r.expect(transport.Stranger, at, 0)
	require.Equal(t, &transport.VersionError{Min: 7, Max: 8, OwnMin: 1, OwnMax: 1}, e.Err)
	drops(t, n, map[string]uint64{"version": 20})
	require.LessOrEqual(t, 1+len(r.c), atMost(), "not one for each packet")
	for len(r.c) > 0 {
		<-r.c
	}

	began = time.Now()
	for range 20 {
		n.Refuse(at, e.Err)
	}
	n.Refuse(at, errors.New("anything else"))
	require.NoError(t, n.Unicast(at, []byte("last")))
	buf := make([]byte, 100)
	require.NoError(t, other.SetReadDeadline(time.Now().Add(wait)))
	refusals := 0
	for {
		size, _, err := other.ReadFromUDPAddrPort(buf)
		require.NoError(t, err)
		if buf[3] != 'r' {
			break
		}
		refusals++
		require.Equal(t, append([]byte("p2pr\x01\x01"), header(c, 'r', n.Addr(), 0, 0)[6:16]...), buf[:size])
	}
	require.Positive(t, refusals)
	require.LessOrEqual(t, refusals, atMost())

	refusal := append([]byte("p2pr\x07\x08"), later[6:16]...)
	<-time.After(time.Second) // the one that was reported counts
	_, err := other.WriteToUDPAddrPort(refusal, n.Addr())
	require.NoError(t, err)
	require.Equal(t, &transport.VersionError{Min: 7, Max: 8, OwnMin: 1, OwnMax: 1}, r.expect(transport.Rejected, at, 0).Err)
	refusal[15] ^= 1
	_, err = other.WriteToUDPAddrPort(refusal, n.Addr())
	require.NoError(t, err)
	drops(t, n, map[string]uint64{"version": 20, "foreign_group": 1})
	require.Empty(t, r.c)
}
