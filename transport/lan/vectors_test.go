package lan

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write the vectors in testdata anew")

const vectorsFile = "testdata/vectors.json"

// vectors are packets and what they say, for other implementations to check
// themselves against. Bytes are in hex.
type vectors struct {
	Group   string   `json:"group"` // address and port
	Name    string   `json:"name"`
	Label   string   `json:"label"` // of the two
	Packets []packet `json:"packets"`
}

// packet is a datagram, or what one side of a connection sends.
type packet struct {
	Kind     string           `json:"kind"`
	Name     string           `json:"name"`
	Min      uint8            `json:"min"`
	Max      uint8            `json:"max"`
	Endpoint netip.AddrPort   `json:"endpoint"` // of a refusal the port alone
	Instance uint64           `json:"instance,omitempty"`
	Seq      uint32           `json:"seq,omitempty"`
	Flags    byte             `json:"flags,omitempty"` // of a ping or pong, as are
	Token    string           `json:"token,omitempty"`
	Known    []netip.AddrPort `json:"known,omitempty"`
	Room     int              `json:"room,omitempty"`
	Frames   []string         `json:"frames,omitempty"` // of a 'd' the one, of an 'h' all
	Bytes    string           `json:"bytes"`
}

func sampleVectors() vectors {
	v4, v6 := netip.MustParseAddrPort("192.168.1.23:40001"), netip.MustParseAddrPort("[fd00::23]:40001")
	known := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:7713"), v6}
	at := func(kind byte, name string) packet {
		return packet{Kind: string(kind), Name: name, Min: minVersion, Max: maxVersion, Endpoint: v4, Instance: 0x0102030405060708}
	}
	with := func(p packet, change func(p *packet)) packet {
		change(&p)
		return p
	}
	return vectors{Group: DefaultGroup, Name: "vectors", Packets: []packet{
		with(at(kindDatagram, "a frame"), func(p *packet) { p.Seq, p.Frames = 7, []string{"010203"} }),
		with(at(kindDatagram, "an empty frame, by IPv6"), func(p *packet) { p.Seq, p.Frames, p.Endpoint = 8, []string{""}, v6 }),
		with(at(kindHello, "a stream of three frames"), func(p *packet) { p.Frames = []string{"010203", "", "04"} }),
		with(at(kindHello, "also a later version"), func(p *packet) { p.Max = 3 }),
		at(kindTry, "a connection that is only tried"),
		at(kindBeacon, "a beacon"),
		with(at(kindPing, "a ping"), func(p *packet) { p.Flags, p.Token = pingGroup, "1112131415161718" }),
		with(at(kindPing, "a ping of a node that does not hear the group"), func(p *packet) {
			p.Flags, p.Token, p.Known, p.Room = pingJoin|pingConnect, "2122232425262728", known, 2
		}),
		with(at(kindPong, "a pong"), func(p *packet) { p.Token = "1112131415161718" }),
		with(at(kindPong, "a pong: the connection was refused"), func(p *packet) {
			p.Flags, p.Token, p.Known = byte(triedRefused), "2122232425262728", known
		}),
		{Kind: string(kindRefusal), Name: "a refusal of a later version", Min: 7, Max: 8, Endpoint: netip.AddrPortFrom(netip.IPv4Unspecified(), 40001)},
	}}
}

// encode makes the packet's bytes from its fields.
func (p packet) encode(t *testing.T, group label) []byte {
	h := header{kind: p.Kind[0], min: p.Min, max: p.Max, label: group, instance: p.Instance, seq: p.Seq, endpoint: p.Endpoint}
	if h.kind == kindRefusal {
		return h.appendPrefix(nil)
	}
	b := h.append(nil)
	switch h.kind {
	case kindDatagram:
		b = append(b, unhex(t, p.Frames[0])...)
	case kindPing, kindPong:
		b = ping{flags: p.Flags, token: [8]byte(unhex(t, p.Token)), known: p.Known, room: p.Room}.append(b)
	case kindHello:
		for _, f := range p.Frames {
			b = binary.BigEndian.AppendUint32(b, uint32(len(f)/2))
			b = append(b, unhex(t, f)...)
		}
	}
	return b
}

// decoded is the packet that the bytes are read as.
func decoded(t *testing.T, b []byte, group label) packet {
	if b[3] == kindRefusal {
		e, err := parseRefusal(b, group)
		require.NoError(t, err)
		port := binary.BigEndian.Uint16(b[6:])
		return packet{Kind: "r", Min: e.Min, Max: e.Max, Endpoint: netip.AddrPortFrom(netip.IPv4Unspecified(), port)}
	}
	h, err := parseHeader(b, allKinds, group)
	require.NoError(t, err)
	p := packet{Kind: string(h.kind), Min: h.min, Max: h.max, Endpoint: h.endpoint, Instance: h.instance, Seq: h.seq}
	body := b[headerSize:]
	switch h.kind {
	case kindDatagram:
		p.Frames = []string{hex.EncodeToString(body)}
	case kindHello:
		r := bytes.NewReader(body)
		var length [lengthSize]byte
		for r.Len() > 0 {
			f, _, err := readFrame(r, &length)
			require.NoError(t, err)
			p.Frames = append(p.Frames, hex.EncodeToString(f))
		}
	case kindPing, kindPong:
		q, err := parseBody(h.kind, body)
		require.NoError(t, err)
		p.Flags, p.Token, p.Known, p.Room = q.flags, hex.EncodeToString(q.token[:]), q.known, q.room
	}
	return p
}

func unhex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// What the vectors say is encoded as their bytes, and the bytes are read as what
// they say.
func TestVectors(t *testing.T) {
	if *rewrite {
		all := sampleVectors()
		group := labelOf(netip.MustParseAddrPort(all.Group), all.Name)
		all.Label = hex.EncodeToString(group[:])
		for i := range all.Packets {
			all.Packets[i].Bytes = hex.EncodeToString(all.Packets[i].encode(t, group))
		}
		b, err := json.MarshalIndent(all, "", " ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(vectorsFile, append(b, '\n'), 0o644))
	}
	b, err := os.ReadFile(vectorsFile)
	require.NoError(t, err)
	var all vectors
	require.NoError(t, json.Unmarshal(b, &all))
	group := labelOf(netip.MustParseAddrPort(all.Group), all.Name)
	require.Equal(t, all.Label, hex.EncodeToString(group[:]))
	seen := map[string]bool{}
	for _, p := range all.Packets {
		seen[p.Kind] = true
		require.Equal(t, p.Bytes, hex.EncodeToString(p.encode(t, group)), p.Name)
		got := decoded(t, unhex(t, p.Bytes), group)
		got.Name, got.Bytes = p.Name, p.Bytes
		require.Equal(t, p, got)
	}
	for _, kind := range allKinds + string(kindRefusal) {
		require.True(t, seen[string(kind)], "kind %q has no vector", kind)
	}
}
