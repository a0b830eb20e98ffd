package lan

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"

	"github.com/seed-885536be/p2p/transport"
)

// The versions of the wire format that this package speaks.
const (
	minVersion = 1
	maxVersion = 1
)

// headerSize is the length of the header in bytes, and prefixSize the length of
// its beginning, which is the same in every version.
const (
	headerSize = 44
	prefixSize = 16
)

// What this transport takes. With the headers of this package, UDP and IP a
// datagram is below 1280 bytes, which no network fragments.
const (
	maxDatagram = transport.MaxDatagram + transport.Overhead
	maxFrame    = transport.MaxFrame + transport.Overhead
)

// What follows a header.
const (
	kindDatagram = 'd' // one frame, until the end of the packet
	kindHello    = 'h' // on a stream: frames, each after its length in 4 bytes, until the end
	kindTry      = 't' // on a stream: nothing; it is answered like a hello, and closed
	kindBeacon   = 'b' // nothing: the sender is here
	kindPing     = 'q' // a ping, which see
	kindPong     = 'a' // a pong
	kindRefusal  = 'r' // nothing, and of the header only the prefix
)

// header begins every datagram, and each direction of every TCP connection.
//
//	offset  length  field
//	0       3       "p2p"
//	3       1       kind, a letter
//	4       1       the lowest version of the wire format that the sender speaks
//	5       1       the highest
//	6       2       port of the sender's endpoint
//	8       8       label of the group
//	16      8       instance: random, one for each run of a transport
//	24      4       number of the datagram, for each instance; 0 but in a 'd'
//	28      16      address of the sender's endpoint, ::ffff:a.b.c.d if it is an IPv4 one
//
// Numbers are big-endian. The first 16 bytes are the same in every version; the
// rest is as the highest version says that both sides speak.
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
	b = h.appendPrefix(b)
	b = binary.BigEndian.AppendUint64(b, h.instance)
	b = binary.BigEndian.AppendUint32(b, h.seq)
	ip := h.endpoint.Addr().As16()
	return append(b, ip[:]...)
}

func (h header) appendPrefix(b []byte) []byte {
	b = append(b, 'p', '2', 'p', h.kind, h.min, h.max)
	b = binary.BigEndian.AppendUint16(b, h.endpoint.Port())
	return append(b, h.label[:]...)
}

// Why a header is refused, besides a *transport.VersionError.
var (
	errMalformed = errors.New("lan: not a packet of this protocol")
	errForeign   = errors.New("lan: a packet of another group")
)

// parseHeader reads a header of one of some kinds from the beginning of b and
// checks that it is meant for a group. The version is checked before whatever
// may differ between versions.
func parseHeader(b []byte, kinds string, group label) (header, error) {
	if len(b) < 6 || string(b[:3]) != "p2p" {
		return header{}, errMalformed
	}
	h := header{kind: b[3], min: b[4], max: b[5]}
	switch {
	case h.min == 0 || h.min > h.max:
		return header{}, errMalformed
	case h.min > maxVersion || h.max < minVersion:
		return header{}, &transport.VersionError{Min: h.min, Max: h.max, OwnMin: minVersion, OwnMax: maxVersion}
	case strings.IndexByte(kinds, h.kind) < 0 || len(b) < headerSize:
		return header{}, errMalformed
	}
	h.label = label(b[8:16])
	if h.label != group {
		return header{}, errForeign
	}
	h.instance = binary.BigEndian.Uint64(b[16:])
	h.seq = binary.BigEndian.Uint32(b[24:])
	ip := netip.AddrFrom16([16]byte(b[28:44])).Unmap()
	h.endpoint = netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[6:]))
	if h.endpoint.Port() == 0 || ip.IsUnspecified() || ip.IsMulticast() {
		return header{}, errMalformed
	}
	return h, nil
}

// sameGroup tells whether a packet of whatever version is of a group.
func sameGroup(b []byte, group label) bool {
	return len(b) >= prefixSize && label(b[8:16]) == group
}

// lengthSize is the length of the number before each frame of a stream.
const lengthSize = 4

// eager is the length up to which a frame is given memory before it is there: a
// frame full of blocks has it.
const eager = 264 << 10

// buffers is memory for larger frames, of each of these sizes, and of frames of at
// least an eighth of the first. It comes back if the handler gives it back.
var buffers = [...]pool{{size: eager}, {size: 4 * eager}, {size: maxFrame}}

const pooled = eager / 8

// pool is memory of one size, to be used again.
type pool struct {
	size int
	free sync.Pool // of *[]byte
}

func (p *pool) get() *[]byte {
	if b, ok := p.free.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, p.size)
	return &b
}

// readFrame reads one frame of a stream; free is for Event.Free. It returns
// errMalformed for a length over the limit, and io.EOF only between frames.
func readFrame(r io.Reader, length *[lengthSize]byte) (frame []byte, free func(), err error) {
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, nil, err
	}
	size := int(binary.BigEndian.Uint32(length[:]))
	if size > maxFrame {
		return nil, nil, errMalformed
	}
	if size < pooled {
		frame = make([]byte, size)
		if _, err := io.ReadFull(r, frame); err != nil {
			return nil, nil, broken(err)
		}
		return frame, nil, nil
	}
	// More memory is taken only when what there is has been filled.
	read := 0
	var all *[]byte
	for i := range buffers {
		p := &buffers[i]
		b := p.get()
		if all != nil {
			copy(*b, *all)
			buffers[i-1].free.Put(all)
		}
		all = b
		n, err := io.ReadFull(r, (*b)[read:min(size, p.size)])
		if err != nil {
			p.free.Put(b)
			return nil, nil, broken(err)
		}
		if read += n; read == size {
			return (*b)[:size:size], func() { p.free.Put(b) }, nil
		}
	}
	panic("lan: no frame is larger than the last buffer")
}

// broken is the error of a frame that has ended before its length.
func broken(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
