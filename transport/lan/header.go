package lan

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strconv"

	"github.com/seed-885536be/p2p/transport"
)

// The versions of the wire format that this package speaks.
const (
	minVersion = 1
	maxVersion = 1
)

// headerSize is the length of the header in bytes.
const headerSize = 32

// What this transport takes. With the headers of this package, UDP and IP a
// datagram is below 1280 bytes, which no network fragments.
const (
	maxDatagram = transport.MaxDatagram + transport.Overhead
	maxFrame    = transport.MaxFrame + transport.Overhead
)

// What follows a header.
const (
	kindDatagram = 'd' // one frame, until the end of the packet
	kindHello    = 'h' // frames, each after its length in 4 bytes, until the end of the stream
)

// header begins every datagram, and each direction of every TCP connection.
//
//	offset  length  field
//	0       3       "p2p"
//	3       1       kind: 'd' or 'h'
//	4       1       the lowest version of the wire format that the sender speaks
//	5       1       the highest; the rest is as both sides' highest common version says
//	6       2       port of the sender's endpoint
//	8       8       label of the group
//	16      8       instance: random, one for each run of a transport
//	24      4       number of the datagram, for each instance; 0 in a hello
//	28      4       IPv4 address of the sender's endpoint
//
// Numbers are big-endian.
type header struct {
	kind     byte
	min, max byte
	label    label
	instance uint64
	seq      uint32
	endpoint netip.AddrPort
}

// label tells groups apart that share an address, or a port.
type label [8]byte

// labelOf returns the label of a group: the beginning of a SHA-256.
func labelOf(group netip.AddrPort, name string) label {
	sum := sha256.Sum256([]byte("p2p lan group\x00" + group.String() + "\x00" + name))
	return label(sum[:8])
}

// append adds the header's bytes to b.
func (h header) append(b []byte) []byte {
	b = append(b, 'p', '2', 'p', h.kind, h.min, h.max)
	b = binary.BigEndian.AppendUint16(b, h.endpoint.Port())
	b = append(b, h.label[:]...)
	b = binary.BigEndian.AppendUint64(b, h.instance)
	b = binary.BigEndian.AppendUint32(b, h.seq)
	var ip [4]byte
	if a := h.endpoint.Addr(); a.Is4() {
		ip = a.As4()
	}
	return append(b, ip[:]...)
}

// Why a header is refused, besides a versionError.
var (
	errMalformed = errors.New("lan: not a packet of this protocol")
	errForeign   = errors.New("lan: a packet of another group")
)

// versionError says that two sides have no version of the wire format in common.
type versionError struct{ min, max byte }

func (e *versionError) Error() string {
	return "lan: the peer speaks versions " + strconv.Itoa(int(e.min)) + " to " + strconv.Itoa(int(e.max)) + " of the wire format"
}

// parseHeader reads the header of one kind from the beginning of b and checks
// that it is meant for a group. The version is checked before whatever may
// differ between versions.
func parseHeader(b []byte, kind byte, group label) (header, error) {
	if len(b) < 6 || b[0] != 'p' || b[1] != '2' || b[2] != 'p' || b[3] != kind {
		return header{}, errMalformed
	}
	h := header{kind: b[3], min: b[4], max: b[5]}
	switch {
	case h.min == 0 || h.min > h.max:
		return header{}, errMalformed
	case h.min > maxVersion || h.max < minVersion:
		return header{}, &versionError{h.min, h.max}
	case len(b) < headerSize:
		return header{}, errMalformed
	}
	h.label = label(b[8:16])
	if h.label != group {
		return header{}, errForeign
	}
	h.instance = binary.BigEndian.Uint64(b[16:])
	h.seq = binary.BigEndian.Uint32(b[24:])
	h.endpoint = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[28:32])), binary.BigEndian.Uint16(b[6:]))
	if h.endpoint.Port() == 0 || h.endpoint.Addr().IsUnspecified() || h.endpoint.Addr().IsMulticast() {
		return header{}, errMalformed
	}
	return h, nil
}

// peer returns the endpoint at which the sender of a header is reached, given
// the address its packet came from and its port. That address has been seen to
// be true, so it decides, and nobody can pose as another host. Only for a
// packet from this host itself, whose source may be a loopback address or even
// none, because of the interface, does the header decide: so a node here is
// known by the same endpoint as everywhere else.
func (h header) peer(from netip.Addr, port uint16) netip.AddrPort {
	if from = from.Unmap(); from.IsLoopback() || from.IsUnspecified() {
		from = h.endpoint.Addr()
	}
	return netip.AddrPortFrom(from, port)
}

// lengthSize is the length of the number before each frame of a stream.
const lengthSize = 4

// eager is the length up to which a frame is given memory before it is there.
const eager = 256 << 10

// readFrame reads one frame of a stream. It returns errMalformed for a length
// over the limit, and io.EOF only between frames.
func readFrame(r io.Reader, length *[lengthSize]byte) ([]byte, error) {
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(length[:])
	if size > maxFrame {
		return nil, errMalformed
	}
	frame := make([]byte, min(size, eager))
	for read := 0; ; {
		n, err := io.ReadFull(r, frame[read:])
		if err == io.EOF && len(frame) > read {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		if read += n; read == int(size) {
			return frame, nil
		}
		more := make([]byte, min(int(size), 4*read))
		copy(more, frame)
		frame = more
	}
}
