package lan

import (
	"errors"
	"sync/atomic"

	"github.com/seed-885536be/p2p/transport"
)

// Drops implements transport.Reporter. The reasons are
//
//	malformed      not a packet or a stream of this protocol
//	version        no version of the wire format in common; some of these are reported as Stranger
//	foreign_group  another group's
//	oversize       a datagram longer than any
//	duplicate      a datagram that came before by the same way; by another is as it should be
//	no_hello       a connection that was silent for two seconds, or ended before it had said hello
//	overflow       a connection closed because there were too many: that had not said hello, of the peer, or of all peers
func (t *Transport) Drops() map[string]uint64 { return t.drops.report() }

// drop is a reason to refuse a packet.
type drop int

const (
	dropMalformed drop = iota
	dropVersion
	dropForeign
	dropOversize
	dropDuplicate
	dropNoHello
	dropOverflow
	dropReasons
)

var dropNames = [dropReasons]string{"malformed", "version", "foreign_group", "oversize", "duplicate", "no_hello", "overflow"}

// drops counts what was dropped.
type drops [dropReasons]atomic.Uint64

func (d *drops) count(why drop) { d[why].Add(1) }

// refused counts a packet or a hello that could not be read.
func (d *drops) refused(err error) {
	_, version := errors.AsType[*transport.VersionError](err)
	switch {
	case version:
		d.count(dropVersion)
	case errors.Is(err, errForeign):
		d.count(dropForeign)
	default:
		d.count(dropMalformed)
	}
}

func (d *drops) report() map[string]uint64 {
	m := make(map[string]uint64)
	for i := range d {
		if n := d[i].Load(); n > 0 {
			m[dropNames[i]] = n
		}
	}
	return m
}
