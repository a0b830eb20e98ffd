package lan

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
)

func TestPingBytes(t *testing.T) {
	p := ping{flags: pingJoin | pingConnect, token: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}, known: []netip.AddrPort{ep("10.0.0.1:258")}, room: 1}
	b := p.append(nil)
	require.Equal(t, "\x06\x01\x02\x03\x04\x05\x06\x07\x08"+
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x00\x00\x01\x01\x02"+string(make([]byte, 18)), string(b))
	got, err := parsePing(b, pingFlags)
	require.NoError(t, err)
	require.Equal(t, p, got)
	require.LessOrEqual(t, headerSize+pingSize+maxKnown*endpointSize, headerSize+maxDatagram)
}

func TestPingRefused(t *testing.T) {
	good := ping{known: []netip.AddrPort{ep("10.0.0.1:1")}, room: 1}.append(nil)
	change := func(i int, v byte) []byte {
		b := append([]byte(nil), good...)
		b[i] = v
		return b
	}
	for name, b := range map[string][]byte{
		"nothing":                    nil,
		"short":                      good[:8],
		"half an endpoint":           good[:20],
		"an unknown flag":            change(0, pingFlags+1),
		"no port":                    change(26, 0),
		"an endpoint after room":     append(append([]byte(nil), good...), good[9:27]...),
		"a group":                    change(21, 239),
		"a port and no address":      change(27+17, 1),
		"more endpoints than may be": ping{room: maxKnown + 1}.append(nil),
	} {
		_, err := parsePing(b, pingFlags)
		require.ErrorIs(t, err, errMalformed, name)
	}
}

func TestRefusal(t *testing.T) {
	h := testHeader()
	h.kind, h.min, h.max = kindRefusal, 3, 4
	b := h.appendPrefix(nil)
	want := &transport.VersionError{Min: 3, Max: 4, OwnMin: minVersion, OwnMax: maxVersion}
	for _, later := range [][]byte{b, append(b[:prefixSize:prefixSize], "what a later version adds"...)} {
		e, err := parseRefusal(later, testGroup)
		require.NoError(t, err)
		require.Equal(t, want, e)
	}
	_, err := parseRefusal(b, label{})
	require.ErrorIs(t, err, errForeign)
	for _, v := range [][2]byte{{0, 4}, {4, 3}, {1, 1}, {1, 9}} {
		h.min, h.max = v[0], v[1]
		_, err := parseRefusal(h.appendPrefix(nil), testGroup)
		require.ErrorIs(t, err, errMalformed, "%v", v)
	}
	_, err = parseRefusal(b[:15], testGroup)
	require.ErrorIs(t, err, errMalformed)
}

func TestLimiter(t *testing.T) {
	l := newLimiter(2, 5)
	now := time.Unix(1e9, 0)
	ip := netip.MustParseAddr
	count := func(source string, n int) (allowed int) {
		for range n {
			if l.allow(ip(source), now) {
				allowed++
			}
		}
		return allowed
	}
	require.Equal(t, 2, count("10.0.0.1", 9))
	require.Zero(t, count("::ffff:10.0.0.1", 9), "it is the same")
	require.Equal(t, 2, count("2001:db8::1", 9))
	require.Zero(t, count("2001:db8::2", 9), "a host has all of these")
	require.Equal(t, 1, count("10.0.0.2", 9), "of all")
	now = now.Add(time.Second)
	require.Equal(t, 2, count("10.0.0.1", 9))
	for i := range 1000 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(i))
		l.allow(netip.AddrFrom4(b), now)
	}
	require.LessOrEqual(t, len(l.by), 5)
}

func FuzzParsePing(f *testing.F) {
	f.Add(ping{flags: pingGroup, known: []netip.AddrPort{ep("10.0.0.1:1"), ep("[fe80::1]:2")}, room: 2}.append(nil), byte(pingFlags))
	f.Add([]byte{}, byte(3))
	f.Fuzz(func(t *testing.T, b []byte, maxFlags byte) {
		p, err := parsePing(b, maxFlags)
		if err != nil {
			require.ErrorIs(t, err, errMalformed)
			return
		}
		require.Equal(t, b, p.append(nil), "what is accepted has one form only")
	})
}

func FuzzParseRefusal(f *testing.F) {
	h := testHeader()
	h.kind, h.min, h.max = kindRefusal, 3, 4
	f.Add(h.appendPrefix(nil))
	f.Add([]byte("p2pr"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseRefusal(b, testGroup)
		if err != nil {
			var d drops
			d.refused(err)
			require.Len(t, d.report(), 1)
			return
		}
		h := header{kind: kindRefusal, min: e.Min, max: e.Max, label: testGroup, endpoint: netip.AddrPortFrom(netip.Addr{}, binary.BigEndian.Uint16(b[6:]))}
		require.Equal(t, b[:prefixSize], h.appendPrefix(nil))
		require.True(t, e.Min > maxVersion || e.Max < minVersion)
	})
}
