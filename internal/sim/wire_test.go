package sim

import (
	"fmt"
	"reflect"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/internal/codec"
	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

// maxDatagram is what the encoding of a datagram may take: the limit of
// transports, less the kind and the signature.
const maxDatagram = transport.MaxDatagram - 1 - 98

// wire encodes and decodes a packet, so that nothing that travels is shared,
// and nothing travels that is not encoded.
func wire(p *Packet) (*Packet, error) {
	out := *p
	size, err := recode(&p.Header, &out.Header)
	if err != nil {
		return nil, err
	}
	var n int
	if p.Election != nil {
		out.Election = new(election.Message)
		n, err = recode(p.Election, out.Election)
	} else {
		body := reflect.New(reflect.TypeOf(p.Body))
		n, err = recode(p.Body, body.Interface())
		out.Body = body.Elem().Interface().(membership.Body)
	}
	if size += n; err == nil && !p.Reliable && size > maxDatagram {
		err = fmt.Errorf("%d bytes in a datagram: %s", size, p.describe())
	}
	return &out, err
}

func recode(from, to any) (size int, err error) {
	b := codec.Append(nil, from)
	rest, err := codec.Decode(b, to)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes are left of %T", len(rest), from)
	}
	return len(b), err
}
