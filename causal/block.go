package causal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
)

// Bounds of a block. They are part of the format: a block beyond them is
// refused by everybody.
const (
	// MaxMessage is the greatest size of a message: 1 MiB for what a program
	// has to say, and a KiB for what it may put around that.
	MaxMessage = 1<<20 + 1<<10
	// MaxDeps is how many heads beside its writer's own a block can follow.
	// What has more heads is drawn together by merge blocks first.
	MaxDeps = 32
	// MaxCount is the greatest number of messages in a block.
	MaxCount = 1 << 16

	maxPayload = MaxMessage + binary.MaxVarintLen32
	maxBody    = 4 << 10
	maxWall    = 1 << 48 // milliseconds: some 8,900 years

	bodyVersion = 1
)

// The kinds of blocks.
const (
	kindMessages   = iota + 1
	kindMerge      // draws heads together; no messages
	kindGenesis    // the first of a writer
	kindCheckpoint // a vote for a checkpoint; no messages
)

// body is what is hashed and signed of a block, beside its payload. It has
// exactly one encoding: big-endian for what has a fixed size, the shortest
// uvarint for the rest.
//
//	version, kind          1 byte each
//	writer                 16 bytes
//	n                      uvarint: 1, 2, 3, … per writer
//	first                  uvarint: number of its first message, from 1 per writer
//	count                  uvarint: messages in it
//	height                 uvarint: 1 + the greatest height of the parents
//	wall                   uvarint: milliseconds since 1970; never decides causality
//	genesis: key, random   32 and 16 bytes, and whom it continues: 0, or 1 and a reference
//	others: prev           32 bytes: hash of the writer's block n-1
//	checkpoint: upto, sum  uvarint and 32 bytes: a height, and the commitment to all up to it
//	deps                   1 byte: how many, then references in ascending order
//
// A reference is writer (16 bytes), n (uvarint) and hash (32 bytes).
type body struct {
	kind   uint8
	writer WriterID
	n      uint64
	first  uint64
	count  uint32
	height uint64
	wall   int64
	pub    [32]byte // genesis only
	random [16]byte // genesis only
	cont   Ref      // genesis only; N is 0 if it continues none
	prev   Hash     // all others
	upto   uint64   // checkpoint only: below height, and
	commit Hash     // what it commits to
	deps   []Ref
}

// A frame is a block as it is stored and sent:
//
//	form       1 byte: 0 with the payload, 1 with the payload's hash in its place
//	signature  64 bytes, Ed25519 over signPrefix and the block's hash
//	body       2 bytes of length, then the body
//	payload    the rest: the messages back to back, each after its length as
//	           the shortest uvarint; or 32 bytes of SHA-256
//
// The payload stands behind its own hash, so that it can be dropped while the
// chain stays verifiable.
const (
	formWhole = iota
	formHollow

	frameHead = 1 + ed25519.SignatureSize + 2
)

const (
	hashDomain   = "p2p causal block 1\x00"
	writerDomain = "p2p causal writer 1\x00"
	signPrefix   = "p2p causal signature 1\x00"
)

// Why a block is refused; the strings are the keys of Stats.Refused.
var (
	errMalformed = errors.New("malformed")
	errTooLarge  = errors.New("too_large")
	errSignature = errors.New("signature")
	errWriter    = errors.New("unknown_writer")
	errLinks     = errors.New("links")
	errHeight    = errors.New("height")
	errUnchecked = errors.New("unchecked")
	errHollow    = errors.New("no_payload")
	errBelow     = errors.New("below_checkpoint")
)

// domain is the prefix of what is hashed: it keeps groups apart.
func domain(s, group string) []byte {
	b := append([]byte(s), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(b[len(s):], uint32(len(group)))
	return append(b, group...)
}

// writerID is the name of the writer that a key and 16 random bytes make.
func writerID(group string, pub, random []byte) WriterID {
	h := sha256.New()
	h.Write(domain(writerDomain, group))
	h.Write(pub)
	h.Write(random)
	var sum Hash
	h.Sum(sum[:0])
	return WriterID(sum[:16])
}

// keyOf is the name of the peer with the given public key.
func keyOf(pub []byte) Key {
	sum := sha256.Sum256(pub)
	return Key(sum[:16])
}

func compareRefs(a, b Ref) int {
	if c := bytes.Compare(a.Writer[:], b.Writer[:]); c != 0 {
		return c
	}
	switch {
	case a.N < b.N:
		return -1
	case a.N > b.N:
		return 1
	}
	return bytes.Compare(a.Hash[:], b.Hash[:])
}

func appendRef(b []byte, r Ref) []byte {
	b = append(b, r.Writer[:]...)
	b = binary.AppendUvarint(b, r.N)
	return append(b, r.Hash[:]...)
}

// append appends the encoding of the body.
func (x *body) append(b []byte) []byte {
	b = append(b, bodyVersion, x.kind)
	b = append(b, x.writer[:]...)
	b = binary.AppendUvarint(b, x.n)
	b = binary.AppendUvarint(b, x.first)
	b = binary.AppendUvarint(b, uint64(x.count))
	b = binary.AppendUvarint(b, x.height)
	b = binary.AppendUvarint(b, uint64(x.wall))
	if x.kind == kindGenesis {
		b = append(b, x.pub[:]...)
		b = append(b, x.random[:]...)
		if x.cont.N == 0 {
			b = append(b, 0)
		} else {
			b = appendRef(append(b, 1), x.cont)
		}
	} else {
		b = append(b, x.prev[:]...)
	}
	if x.kind == kindCheckpoint {
		b = binary.AppendUvarint(b, x.upto)
		b = append(b, x.commit[:]...)
	}
	b = append(b, byte(len(x.deps)))
	for _, d := range x.deps {
		b = appendRef(b, d)
	}
	return b
}

// reader takes a body apart. After an error everything is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) bytes(n int) []byte {
	if r.bad || len(r.b) < n {
		r.bad = true
		return zeros[:n]
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

var zeros [64]byte

func (r *reader) uvarint() uint64 {
	v, n := uvarint(r.b)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// uvarint is binary.Uvarint for the shortest form only: n is at most zero if b
// does not begin with it.
func uvarint(b []byte) (v uint64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	v, n = binary.Uvarint(b)
	if n > 1 && b[n-1] == 0 {
		return 0, 0
	}
	return v, n
}

func (r *reader) ref() Ref {
	return Ref{Writer: WriterID(r.bytes(16)), N: r.uvarint(), Hash: Hash(r.bytes(32))}
}

// decode sets x to the body that b is the encoding of. It uses x.deps again.
func (x *body) decode(b []byte) error {
	r := reader{b: b}
	deps := x.deps[:0]
	*x = body{}
	version, kind := r.bytes(1)[0], r.bytes(1)[0]
	x.kind = kind
	x.writer = WriterID(r.bytes(16))
	x.n, x.first = r.uvarint(), r.uvarint()
	count := r.uvarint()
	x.height = r.uvarint()
	wall := r.uvarint()
	if kind == kindGenesis {
		x.pub = [32]byte(r.bytes(32))
		x.random = [16]byte(r.bytes(16))
		switch r.bytes(1)[0] {
		case 0:
		case 1:
			x.cont = r.ref()
			r.bad = r.bad || x.cont.N == 0
		default:
			r.bad = true
		}
	} else {
		x.prev = Hash(r.bytes(32))
	}
	if kind == kindCheckpoint {
		x.upto = r.uvarint()
		x.commit = Hash(r.bytes(32))
	}
	for i := int(r.bytes(1)[0]); i > 0 && !r.bad; i-- {
		d := r.ref()
		if d.N == 0 || len(deps) > 0 && compareRefs(deps[len(deps)-1], d) >= 0 || d.Hash == x.prev {
			r.bad = true
		}
		deps = append(deps, d)
	}
	x.deps = deps
	x.count, x.wall = uint32(count), int64(wall)
	const far = 1 << 62 // no counter gets there
	ok := !r.bad && len(r.b) == 0 && version == bodyVersion && len(deps) <= MaxDeps &&
		x.n > 0 && x.n < far && x.first > 0 && x.first < far && x.height > 0 && x.height < far &&
		count <= MaxCount && wall < maxWall
	switch kind {
	case kindGenesis:
		ok = ok && x.n == 1 && x.first == 1
	case kindMessages:
		ok = ok && x.n > 1 && count > 0
	case kindMerge:
		ok = ok && x.n > 1 && count == 0
	case kindCheckpoint:
		ok = ok && x.n > 1 && count == 0 && x.upto > 0 && x.upto < x.height
	default:
		ok = false
	}
	if !ok {
		return errMalformed
	}
	return nil
}

// frame is a decoded frame. Its slices are parts of what was decoded.
type frame struct {
	body
	raw     []byte
	sig     []byte
	payload []byte // nil if hollow
	hash    Hash
}

// decodeFrame sets f to what b holds. It checks everything about the block
// that can be seen without another, but for the signature.
func (f *frame) decode(h *hasher, b []byte) error {
	if len(b) < frameHead {
		return errMalformed
	}
	size := int(binary.BigEndian.Uint16(b[frameHead-2:]))
	if size > maxBody || len(b) > frameHead+size+maxPayload {
		return errTooLarge
	}
	if len(b) < frameHead+size {
		return errMalformed
	}
	f.raw, f.sig = b, b[1:1+ed25519.SignatureSize]
	head, rest := b[frameHead:frameHead+size], b[frameHead+size:]
	if err := f.body.decode(head); err != nil {
		return err
	}
	switch b[0] {
	case formWhole:
		if f.count == 0 && len(rest) > 0 {
			return errMalformed
		}
		f.payload = rest
		f.hash = h.block(sha256.Sum256(rest), head)
	case formHollow:
		if len(rest) != len(Hash{}) {
			return errMalformed
		}
		f.payload = nil
		f.hash = h.block(Hash(rest), head)
	default:
		return errMalformed
	}
	return nil
}

// parses reports whether a payload is exactly so many messages.
func parses(payload []byte, count uint32) bool {
	for ; count > 0; count-- {
		size, n := uvarint(payload)
		if n <= 0 || size > MaxMessage || uint64(len(payload)-n) < size {
			return false
		}
		payload = payload[n+int(size):]
	}
	return len(payload) == 0
}

// hasher computes hashes of blocks of one group.
type hasher struct {
	buf    []byte // the domain, and room for what follows
	domain int
}

func newHasher(group string) *hasher {
	d := domain(hashDomain, group)
	return &hasher{buf: slices.Grow(d, 1<<10), domain: len(d)}
}

// block is the hash of the block with the given hash of its payload and the
// given encoded body.
func (h *hasher) block(payload Hash, body []byte) Hash {
	h.buf = append(h.buf[:h.domain], payload[:]...)
	h.buf = append(h.buf, body...)
	return sha256.Sum256(h.buf)
}

// signed is what is signed of a block.
func signed(h Hash) []byte { return append([]byte(signPrefix), h[:]...) }

// strip returns a frame without its messages. One that has none, or that is no
// frame, is returned as it is.
func strip(b []byte) []byte {
	if len(b) < frameHead || b[0] != formWhole {
		return b
	}
	var x body
	end := frameHead + int(binary.BigEndian.Uint16(b[frameHead-2:]))
	if end > len(b) || x.decode(b[frameHead:end]) != nil || x.count == 0 {
		return b
	}
	return hollow(b)
}

// hollow returns the frame with the hash of its payload in place of that.
func hollow(b []byte) []byte {
	if b[0] == formHollow {
		return b
	}
	end := frameHead + int(binary.BigEndian.Uint16(b[frameHead-2:]))
	sum := sha256.Sum256(b[end:])
	out := append(make([]byte, 0, end+len(sum)), b[:end]...)
	out[0] = formHollow
	return append(out, sum[:]...)
}
