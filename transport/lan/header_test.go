package lan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-885536be/p2p/transport"
)

// allKinds are those that begin with a whole header.
const allKinds = datagramKinds + string(kindHello) + string(kindTry)

var (
	testGroup = labelOf(netip.MustParseAddrPort(DefaultGroup), "test")
	testPeer  = netip.MustParseAddrPort("10.1.2.3:4567")
)

func testHeader() header {
	return header{kind: kindDatagram, min: 1, max: 1, label: testGroup, instance: 99, seq: 7, endpoint: testPeer}
}

func TestHeaderBytes(t *testing.T) {
	h := testHeader()
	h.label = label{1, 2, 3, 4, 5, 6, 7, 8}
	require.Equal(t, []byte("p2pd\x01\x01\x11\xd7"+"\x01\x02\x03\x04\x05\x06\x07\x08"+"\x00\x00\x00\x00\x00\x00\x00\x63"+"\x00\x00\x00\x07"+"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x01\x02\x03"), h.append(nil))
	h.endpoint = netip.MustParseAddrPort("[fe80::1]:4567")
	require.Equal(t, "\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", string(h.append(nil)[28:]))
	require.LessOrEqual(t, headerSize+maxDatagram, 1200)
	require.LessOrEqual(t, headerSize+maxDatagram+8+40, 1280, "no packet is fragmented on any network that also carries IPv6")
}

func TestHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := header{
			kind: rapid.SampledFrom([]byte(allKinds)).Draw(t, "kind"),
			min:  1, max: rapid.ByteMin(1).Draw(t, "max"),
			label:    testGroup,
			instance: rapid.Uint64().Draw(t, "instance"),
			seq:      rapid.Uint32().Draw(t, "seq"),
			endpoint: netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(rapid.IntRange(1, 223).Draw(t, "ip")), 2, 3, 4}), uint16(rapid.IntRange(1, 65535).Draw(t, "port"))),
		}
		if rapid.Bool().Draw(t, "IPv6") {
			h.endpoint = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0xfe, 0x80, 15: rapid.Byte().Draw(t, "ip6")}), h.endpoint.Port())
		}
		b := h.append(nil)
		require.Len(t, b, headerSize)
		got, err := parseHeader(append(b, "frame"...), allKinds, testGroup)
		require.NoError(t, err)
		require.Equal(t, h, got)
	})
}

func TestHeaderRefused(t *testing.T) {
	version := func(h header) bool {
		_, err := parseHeader(h.append(nil), string(kindDatagram), testGroup)
		var v *transport.VersionError
		return errors.As(err, &v) && *v == transport.VersionError{Min: h.min, Max: h.max, OwnMin: minVersion, OwnMax: maxVersion}
	}
	for _, c := range []struct {
		name   string
		change func(h *header)
		want   error
	}{
		{"nothing wrong", func(*header) {}, nil},
		{"a later version besides", func(h *header) { h.max = 9 }, nil},
		{"no version", func(h *header) { h.min = 0 }, errMalformed},
		{"versions the wrong way round", func(h *header) { h.min, h.max = 2, 1 }, errMalformed},
		{"another kind", func(h *header) { h.kind = kindHello }, errMalformed},
		{"another group", func(h *header) { h.label[7] ^= 1 }, errForeign},
		{"no port", func(h *header) { h.endpoint = netip.AddrPortFrom(testPeer.Addr(), 0) }, errMalformed},
		{"no address", func(h *header) { h.endpoint = netip.AddrPortFrom(netip.IPv4Unspecified(), 1) }, errMalformed},
		{"a group's address", func(h *header) { h.endpoint = netip.MustParseAddrPort(DefaultGroup) }, errMalformed},
		{"an IPv6 group's address", func(h *header) { h.endpoint = netip.MustParseAddrPort("[ff15::1]:1") }, errMalformed},
		{"no IPv6 address", func(h *header) { h.endpoint = netip.AddrPortFrom(netip.IPv6Unspecified(), 1) }, errMalformed},
	} {
		h := testHeader()
		c.change(&h)
		_, err := parseHeader(h.append(nil), string(kindDatagram), testGroup)
		require.ErrorIs(t, err, c.want, c.name)
	}

	later := testHeader()
	later.min, later.max = 2, 3
	later.label[0] ^= 1
	require.True(t, version(later), "the version is checked before what may differ between versions")
	short := testHeader()
	short.min, short.max = 2, 2
	_, err := parseHeader(short.append(nil)[:8], string(kindDatagram), testGroup)
	var v *transport.VersionError
	require.ErrorAs(t, err, &v)
	b := testHeader()
	for n := range headerSize {
		_, err := parseHeader(b.append(nil)[:n], string(kindDatagram), testGroup)
		require.ErrorIs(t, err, errMalformed, "%d bytes", n)
	}
}

func TestLabel(t *testing.T) {
	a, b := netip.MustParseAddrPort("239.0.0.1:1"), netip.MustParseAddrPort("239.0.0.1:2")
	seen := map[label]bool{labelOf(a, ""): true, labelOf(b, ""): true, labelOf(a, "x"): true, labelOf(b, "x"): true}
	require.Len(t, seen, 4)
}

func FuzzParseHeader(f *testing.F) {
	f.Add(testHeader().append(nil))
	f.Add(append(testHeader().append(nil), "frame"...))
	f.Add([]byte("p2pd\x02\x03"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b, allKinds, testGroup)
		if err != nil {
			var d drops
			d.refused(err)
			require.Len(t, d.report(), 1)
			return
		}
		require.Equal(t, b[:headerSize], h.append(nil), "what is accepted has one form only")
	})
}

func TestReadFrame(t *testing.T) {
	var frames [][]byte
	for i, size := range []int{0, 1, pooled - 1, pooled, eager - 1, eager, eager + 1, 4 * eager, 4*eager + 1, maxFrame} {
		f := make([]byte, size)
		for k := range f {
			f[k] = byte(k>>8 ^ k ^ i)
		}
		frames = append(frames, f)
	}
	last := frames[len(frames)-1]
	var b []byte
	for _, f := range frames {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	var length [lengthSize]byte
	for name, r := range map[string]io.Reader{"at once": bytes.NewReader(b), "by halves": iotest.HalfReader(bytes.NewReader(b)), "end with data": iotest.DataErrReader(bytes.NewReader(b))} {
		for i, f := range frames {
			got, free, err := readFrame(r, &length)
			require.NoError(t, err, "%s %d", name, i)
			require.True(t, bytes.Equal(f, got), "%s %d", name, i)
			if free != nil {
				free()
			}
		}
		_, _, err := readFrame(r, &length)
		require.Equal(t, io.EOF, err)
	}
	// Memory that was not given back is not used again.
	var kept [][]byte
	r := bytes.NewReader(slices.Repeat(b, 2))
	for range 2 * len(frames) {
		got, _, err := readFrame(r, &length)
		require.NoError(t, err)
		kept = append(kept, got)
	}
	for i, got := range kept {
		require.True(t, bytes.Equal(frames[i%len(frames)], got), "%d was written over", i)
	}
	for _, cut := range []int{1, 3, 4, 8, eager, eager + 4, eager + 5, 4*eager + 4, 4*eager + 5, len(last) + 3} {
		r := bytes.NewReader(b[len(b)-len(last)-4:][:cut])
		_, _, err := readFrame(r, &length)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut after %d", cut)
	}
	_, _, err := readFrame(bytes.NewReader(binary.BigEndian.AppendUint32(nil, maxFrame+1)), &length)
	require.ErrorIs(t, err, errMalformed)
}

// Whoever says that a large frame comes gets little memory for that: more only
// for what has come.
func TestReadFrameTakesMemoryForWhatIsThere(t *testing.T) {
	var length [lengthSize]byte
	read := 0
	r := readerFunc(func(b []byte) (int, error) {
		room := read + len(b) // of the frame, its length is not in it
		switch {
		case read < eager:
			require.LessOrEqual(t, room, eager)
		case read < 4*eager:
			require.LessOrEqual(t, room, 4*eager)
		}
		n := min(len(b), 1000)
		read += n
		return n, nil
	})
	begin := bytes.NewReader(binary.BigEndian.AppendUint32(nil, maxFrame))
	_, _, err := readFrame(io.MultiReader(begin, r), &length)
	require.NoError(t, err)
	require.Equal(t, maxFrame, read)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// The bytes a writer makes are the frames a reader gets.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 'x', 0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 0x20, 0, 0, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		var length [lengthSize]byte
		var again []byte
		for {
			frame, _, err := readFrame(r, &length)
			if err != nil {
				break
			}
			again = binary.BigEndian.AppendUint32(again, uint32(len(frame)))
			again = append(again, frame...)
		}
		require.True(t, bytes.HasPrefix(b, again))
	})
}

func TestRecentAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r recent
		var model []packetID // the accepted ones
		for range rapid.IntRange(0, 3).Draw(t, "rounds") {
			begin := rapid.Uint32Range(0, 6000).Draw(t, "begin")
			instance := rapid.Uint64Range(0, 1).Draw(t, "instance")
			count := rapid.Uint32Range(0, 5000).Draw(t, "packets")
			known := make(map[packetID]bool)
			for _, id := range model[max(0, len(model)-remembered):] {
				known[id] = true
			}
			for seq := begin; seq < begin+count; seq++ {
				id := packetID{instance, seq}
				if (r.add(instance, seq, way{}) == fresh) == known[id] {
					t.Fatalf("%v: known %v", id, known[id])
				}
				if !known[id] {
					model = append(model, id)
					known[id] = true
					if old := len(model) - remembered - 1; old >= 0 {
						delete(known, model[old])
					}
				}
			}
		}
	})
}
