package core

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/internal/codec"
	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

// A frame is a row of msgpack values in the one form of package codec: the
// kind, the header or sender, the body, and after a heartbeat or keep-alive
// what its sender holds of the history.
//
//	membership  kind  membership.Header  body  [causal.Beat]  trailer
//	election    kind  membership.Header  election.Message     trailer
//	log         kind  sender             body
//	cast        kind  sender             body
//	direct      kind  sender             body                 [trailer]
//
// The kind is a byte below 128: the package's own kind above the base of the
// package. The trailer is the sender's signature; see sign.go. Of the direct
// messages HELLO, KEY and OPEN have it. Log and direct messages travel on
// streams only, but for a Fresh, and for a Want where a Fresh was lost; those of
// a cast are datagrams.
const (
	wireMembership = 0x00
	wireElection   = 0x30
	wireLog        = 0x40
	wireCast       = 0x50
	wireDirect     = 0x60
)

// travels reports whether a frame without trailer may come as it came: those of
// a log by a stream, but a Fresh by datagram, and a Want by either; those of a
// cast by datagram.
func travels(kind byte, by transport.Kind) bool {
	switch kind {
	case wireLog + byte(causal.KindFresh), wireCast + kindPiece, wireCast + kindMissing:
		return by == transport.Datagram
	case wireLog + byte(causal.KindWant):
		return true
	}
	return by == transport.Frame
}

// The kinds of a cast, above wireCast.
const (
	kindPiece = iota
	kindMissing
)

// The kinds of direct messages, above wireDirect.
const (
	kindHello = iota
	kindKey
	kindOpen
	kindData
	kindAck
	directKinds
)

// signed reports whether frames of a kind have a trailer.
func signed(kind byte) bool {
	return kind < wireLog || kind >= wireDirect && kind < wireDirect+kindData
}

// sender stands in front of a log's message.
type sender struct {
	From membership.Key
	Inc  uint64
}

// frame is a decoded frame: exactly one of body, election, log, cast and direct
// is set.
type frame struct {
	header   membership.Header
	body     membership.Body
	election *election.Message
	log      causal.Protocol
	cast     any // *piece or *missing
	direct   any
	beat     *causal.Beat // with a body
}

var bodies = func() map[membership.Kind]reflect.Type {
	types := make(map[membership.Kind]reflect.Type)
	for _, b := range []membership.Body{
		membership.Join{}, membership.Welcome{}, membership.Heartbeat{}, membership.KeepAlive{},
		membership.ViewChange{}, membership.ViewReq{}, membership.NotMember{}, membership.Suspect{},
		membership.Alive{}, membership.Probe{}, membership.ProbeAck{}, membership.ProbeReq{},
		membership.MergeReq{}, membership.MergeAck{}, membership.Redirect{}, membership.Leave{},
		membership.Handover{}, membership.Bye{}, membership.JoinReject{}, membership.RetryAfter{},
		membership.Foreign{}, membership.Call{},
	} {
		types[b.Kind()] = reflect.TypeOf(b)
	}
	return types
}()

func encodeMembership(h membership.Header, b membership.Body, beat *causal.Beat) []byte {
	f := append(make([]byte, 0, 256), wireMembership+byte(b.Kind()))
	f = codec.Append(f, &h)
	f = codec.Append(f, b)
	if beat != nil {
		f = codec.Append(f, beat)
	}
	return f
}

func encodeElection(h membership.Header, m election.Message) []byte {
	f := append(make([]byte, 0, 256), wireElection+byte(m.Kind))
	f = codec.Append(f, &h)
	return codec.Append(f, &m)
}

func encodeLog(s sender, m causal.Protocol) []byte {
	return encodeLogInto(s, m, math.MaxInt)[0]
}

// wholePart is the size from which a block is a part of its own of a frame in
// parts.
const wholePart = 4 << 10

func encodeLogParts(s sender, m causal.Protocol) [][]byte { return encodeLogInto(s, m, wholePart) }

// encodeLogInto encodes a message in parts, of which each block of at least so
// many bytes is one.
func encodeLogInto(s sender, m causal.Protocol, whole int) [][]byte {
	size := 64
	switch m := m.(type) {
	case *causal.Blocks:
		size += framesSize(m.Frames, whole)
	case *causal.Fresh:
		size += framesSize(m.Frames, whole)
	case *causal.Batch:
		size += framesSize(m.Frames, whole)
	default:
		size = 512
	}
	p := parts{buf: append(make([]byte, 0, size), wireLog+byte(m.Kind())), whole: whole}
	p.buf = codec.Append(p.buf, &s)
	// Blocks are written by hand, as the same bytes that the codec would make:
	// they are almost all of the traffic.
	switch m := m.(type) {
	case *causal.Blocks:
		p.buf = append(p.buf, 0x91)
		p.frames(m.Frames)
	case *causal.Fresh:
		p.buf = append(p.buf, 0x91)
		p.frames(m.Frames)
	case *causal.Batch:
		p.buf = codec.Append(append(p.buf, 0x93), m.Session)
		p.frames(m.Frames)
		p.buf = codec.Append(p.buf, m.More)
	default:
		p.buf = codec.Append(p.buf, m)
	}
	p.cut()
	return p.done
}

func encodeCast(s sender, m any) []byte {
	kind, size := byte(kindPiece), 1200
	if _, ok := m.(*missing); ok {
		kind, size = kindMissing, 256
	}
	f := append(make([]byte, 0, size), wireCast+kind)
	f = codec.Append(f, &s)
	return codec.Append(f, m)
}

func encodeDirect(s sender, m any) []byte {
	kind, size := byte(kindHello), 256
	switch m := m.(type) {
	case *directKey:
		kind = kindKey
	case *directOpen:
		kind = kindOpen
	case *directData:
		kind, size = kindData, 64+len(m.Body)
	case *directAck:
		kind = kindAck
	}
	f := append(make([]byte, 0, size), wireDirect+kind)
	f = codec.Append(f, &s)
	return codec.Append(f, m)
}

// framesSize is the size of a list of blocks without those that are parts.
func framesSize(frames [][]byte, whole int) int {
	n := 8
	for _, f := range frames {
		if n += 5; len(f) < whole {
			n += len(f)
		}
	}
	return n
}

// parts is a frame that is being made in parts.
type parts struct {
	done  [][]byte
	buf   []byte // what follows those, from begin on
	begin int
	whole int // blocks of this size are parts
}

// cut ends a part.
func (p *parts) cut() {
	if p.begin < len(p.buf) {
		p.done = append(p.done, p.buf[p.begin:len(p.buf):len(p.buf)])
		p.begin = len(p.buf)
	}
}

// frames appends a list of blocks.
func (p *parts) frames(frames [][]byte) {
	switch n := len(frames); {
	case n < 16:
		p.buf = append(p.buf, 0x90|byte(n))
	case n < 1<<16:
		p.buf = binary.BigEndian.AppendUint16(append(p.buf, 0xdc), uint16(n))
	default:
		p.buf = binary.BigEndian.AppendUint32(append(p.buf, 0xdd), uint32(n))
	}
	for _, f := range frames {
		switch n := len(f); {
		case n < 1<<8:
			p.buf = append(p.buf, 0xc4, byte(n))
		case n < 1<<16:
			p.buf = binary.BigEndian.AppendUint16(append(p.buf, 0xc5), uint16(n))
		default:
			p.buf = binary.BigEndian.AppendUint32(append(p.buf, 0xc6), uint32(n))
		}
		if len(f) < p.whole {
			p.buf = append(p.buf, f...)
			continue
		}
		p.cut()
		p.done = append(p.done, f)
	}
}

// Errors of decode.
var (
	errKind     = errors.New("unknown kind")
	errTrailing = errors.New("bytes after the end")
)

// decode decodes a whole frame. The byte strings of blocks are parts of b.
func decode(b []byte) (frame, error) {
	var f frame
	if len(b) == 0 {
		return f, codec.ErrTruncated
	}
	kind, rest := b[0], b[1:]
	var err error
	switch {
	case kind >= wireDirect && kind < wireDirect+directKinds:
		var s sender
		if rest, err = codec.Decode(rest, &s); err != nil {
			return f, err
		}
		f.header.From, f.header.Inc = s.From, s.Inc
		f.direct = [...]any{new(directHello), new(directKey), new(directOpen), new(directData), new(directAck)}[kind-wireDirect]
		rest, err = codec.Decode(rest, f.direct)
	case kind >= wireCast && kind <= wireCast+kindMissing:
		var s sender
		if rest, err = codec.Decode(rest, &s); err != nil {
			return f, err
		}
		f.header.From, f.header.Inc = s.From, s.Inc
		f.cast = [...]any{new(piece), new(missing)}[kind-wireCast]
		rest, err = codec.Decode(rest, f.cast)
	case kind >= wireLog && kind < wireDirect:
		var s sender
		if rest, err = codec.Decode(rest, &s); err != nil {
			return f, err
		}
		f.header.From, f.header.Inc = s.From, s.Inc
		f.log, rest, err = decodeLog(causal.Kind(kind-wireLog), rest)
	case kind >= wireElection && kind < wireLog:
		if rest, err = codec.Decode(rest, &f.header); err != nil {
			return f, err
		}
		f.election = new(election.Message)
		rest, err = codec.Decode(rest, f.election)
		if err == nil && (byte(f.election.Kind) != kind-wireElection || f.election.Kind < election.KindElection || f.election.Kind > election.KindRingProbeOK) {
			err = errKind
		}
	default:
		t := bodies[membership.Kind(kind)]
		if t == nil {
			return f, errKind
		}
		if rest, err = codec.Decode(rest, &f.header); err != nil {
			return f, err
		}
		v := reflect.New(t)
		if rest, err = codec.Decode(rest, v.Interface()); err != nil {
			return f, err
		}
		f.body = v.Elem().Interface().(membership.Body)
		if k := f.body.Kind(); len(rest) > 0 && (k == membership.KindHeartbeat || k == membership.KindKeepAlive) {
			f.beat = new(causal.Beat)
			rest, err = codec.Decode(rest, f.beat)
		}
	}
	if err == nil && len(rest) > 0 {
		err = errTrailing
	}
	return f, err
}

func decodeLog(k causal.Kind, b []byte) (m causal.Protocol, rest []byte, err error) {
	switch k {
	case causal.KindBlocks, causal.KindFresh:
		if len(b) == 0 || b[0] != 0x91 {
			return nil, nil, codec.ErrForm
		}
		frames, rest, err := decodeFrames(b[1:])
		if k == causal.KindFresh {
			return &causal.Fresh{Frames: frames}, rest, err
		}
		return &causal.Blocks{Frames: frames}, rest, err
	case causal.KindBatch:
		m := new(causal.Batch)
		if len(b) == 0 || b[0] != 0x93 {
			return nil, nil, codec.ErrForm
		}
		if rest, err = codec.Decode(b[1:], &m.Session); err != nil {
			return nil, nil, err
		}
		if m.Frames, rest, err = decodeFrames(rest); err != nil {
			return nil, nil, err
		}
		rest, err = codec.Decode(rest, &m.More)
		return m, rest, err
	case causal.KindBeat:
		m = new(causal.Beat)
	case causal.KindPull:
		m = new(causal.Pull)
	case causal.KindCredit:
		m = new(causal.Credit)
	case causal.KindWant:
		m = new(causal.Want)
	case causal.KindFork:
		m = new(causal.Fork)
	case causal.KindBase:
		m = new(causal.Base)
	case causal.KindAck:
		m = new(causal.Ack)
	case causal.KindRanges:
		m = new(causal.Ranges)
	case causal.KindDiffs:
		m = new(causal.Diffs)
	default:
		return nil, nil, errKind
	}
	rest, err = codec.Decode(b, m)
	return m, rest, err
}

// decodeFrames decodes an array of byte strings without copying them.
func decodeFrames(b []byte) (frames [][]byte, rest []byte, err error) {
	take := func(n int) (v uint64, ok bool) {
		if len(b) < n {
			return 0, false
		}
		for _, x := range b[:n] {
			v = v<<8 | uint64(x)
		}
		b = b[n:]
		return v, true
	}
	var n uint64
	c, ok := take(1)
	switch {
	case !ok:
	case c&0xf0 == 0x90:
		n = c & 0x0f
	case c == 0xdc:
		n, ok = take(2)
		ok = ok && n >= 16
	case c == 0xdd:
		n, ok = take(4)
		ok = ok && n >= 1<<16
	default:
		ok = false
	}
	if !ok || n > uint64(len(b)/2) { // the shortest byte string takes two
		return nil, nil, fmt.Errorf("%w: list of blocks", codec.ErrForm)
	}
	if n > 0 {
		frames = make([][]byte, 0, n)
	}
	for range n {
		var size, least uint64
		c, ok = take(1)
		switch {
		case !ok:
		case c == 0xc4:
			size, ok = take(1)
		case c == 0xc5:
			least = 1 << 8
			size, ok = take(2)
		case c == 0xc6:
			least = 1 << 16
			size, ok = take(4)
		default:
			ok = false
		}
		if !ok || size < least || size > uint64(len(b)) {
			return nil, nil, fmt.Errorf("%w: block", codec.ErrForm)
		}
		frames = append(frames, b[:size:size])
		b = b[size:]
	}
	return frames, b, nil
}
