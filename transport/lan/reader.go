package lan

import (
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/net/ipv4"
)

// When a socket is read in batches: a system call for each datagram is most of
// what a flood costs, but a batch of one costs more than a plain read.
const (
	batchSize   = 16
	burst       = 8                // plain reads
	burstWithin = time.Millisecond // that took no longer than this
)

// reader reads the datagrams of a socket: one by one when there are few, and
// in batches, where the system can, when they come fast.
type reader struct {
	conn     *net.UDPConn
	buf, oob []byte

	since time.Time // of the plain reads
	reads int

	batches *ipv4.PacketConn // nil: the system has none. The family does not matter to it
	batch   []ipv4.Message   // nil until there was a burst
	fast    bool             // the last batch was worth it
}

// maxPacket is a byte more than a datagram has, so that longer ones are seen.
const maxPacket = headerSize + maxDatagram + 1

// maxOOB is room for what the system says of a datagram.
const maxOOB = 128

func newReader(c *net.UDPConn) *reader {
	r := &reader{conn: c, buf: make([]byte, maxPacket), oob: make([]byte, maxOOB)}
	if runtime.GOOS == "linux" {
		r.batches = ipv4.NewPacketConn(c)
	}
	return r
}

// read waits for datagrams and passes on those that are there. What take gets
// is its own until it returns. The socket must have no other reader.
func (r *reader) read(take func(b, oob []byte, from netip.AddrPort)) error {
	if r.fast {
		return r.readBatch(take)
	}
	n, oobn, _, from, err := r.conn.ReadMsgUDPAddrPort(r.buf, r.oob)
	if isMessageSize(err) {
		n, err = len(r.buf), nil
	}
	if err != nil {
		return err
	}
	take(r.buf[:n], r.oob[:oobn], from)
	if r.reads++; r.reads == burst {
		r.pace(time.Now())
	}
	return nil
}

// pace looks at how fast datagrams come, after a burst of plain reads or a batch
// that was not worth it.
func (r *reader) pace(now time.Time) {
	r.fast = r.batches != nil && r.reads == burst && now.Sub(r.since) <= burstWithin
	r.since, r.reads = now, 0
}

// readBatch reads what is there, up to a batch.
func (r *reader) readBatch(take func(b, oob []byte, from netip.AddrPort)) error {
	if r.batch == nil {
		r.batch = make([]ipv4.Message, batchSize)
		for i := range r.batch {
			r.batch[i].Buffers = [][]byte{make([]byte, maxPacket)}
			r.batch[i].OOB = make([]byte, maxOOB)
		}
	}
	n, err := r.batches.ReadBatch(r.batch, 0)
	if n < 2 {
		r.pace(time.Now())
	}
	if err != nil {
		return err
	}
	for _, m := range r.batch[:n] {
		take(m.Buffers[0][:m.N], m.OOB[:m.NN], m.Addr.(*net.UDPAddr).AddrPort())
	}
	return nil
}
