package transport

import "net/netip"

// Reporter is what a Transport implements besides, if it can be asked about its
// network. Both methods may be called from any goroutine at any time after Open.
type Reporter interface {
	// Interfaces are those of the host, used or not.
	Interfaces() []Interface
	// Drops counts, by reason, the packets that were refused before they
	// reached the Handler. The map is the caller's.
	Drops() map[string]uint64
}

// Interface is what a Transport says of one network interface.
type Interface struct {
	Name string     // the system's
	Addr netip.Addr // its first address of use here
	Used bool       // packets to the group leave and come through it
	Why  string     // why it is not used, or what is particular about its use
}

// Warner is what a Transport implements besides, if it can tell what is wrong
// with its network. Warnings may be called from any goroutine at any time.
type Warner interface {
	// Warnings are the faults that last, one for each, the same until they pass.
	Warnings() []Warning
}

// Warning is a fault of the network.
type Warning struct {
	Code      string // such as "no_multicast"
	Interface string // its name, if it is the fault of one
	Text      string // for a person
}

// Refuser is what a Transport implements besides, if it can tell a Stranger
// why it is not understood.
type Refuser interface {
	// Refuse tells the node at an endpoint, once, by a datagram that may be
	// lost, what Err said when it was reported as a Stranger. There it is
	// reported as Rejected. Any other err does nothing.
	Refuse(to netip.AddrPort, err error)
}

// Gatherer is what a Transport implements besides, if it can take a frame in
// parts, so that what the sender keeps anyway is not copied for it.
type Gatherer interface {
	// StreamParts is Stream for the frame that the parts make together. It must
	// not be changed afterwards either, nor the list.
	StreamParts(to netip.AddrPort, parts [][]byte) error
}

// Deferrer is what a Transport implements besides, if a frame need not be made
// before it is written. That spares the memory for frames that wait, and for
// each peer's own form of one frame.
type Deferrer interface {
	// StreamLater is Stream for a frame that does not exist yet. One that wraps a
	// transport which is no Deferrer returns errors.ErrUnsupported, and does
	// nothing.
	StreamLater(to netip.AddrPort, f Encoder) error
}

// Encoder makes a frame when it is to be written.
type Encoder interface {
	// Size is the length of the frame in bytes.
	Size() int
	// AppendTo appends the frame to b, which is the Transport's before and
	// after, and returns the result. It is called once if the frame is written,
	// in the order in which the peer's frames were taken, and not if it was not
	// taken or is lost; within StreamLater or by a goroutine of the Transport,
	// which it must not block, perhaps after Hangup and Down.
	AppendTo(b []byte) []byte
}
