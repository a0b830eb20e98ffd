package seal

import (
	"crypto/cipher"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"sync"
)

// On a stream there are three kinds of frames. Each direction has a session of
// its own: whoever writes begins the handshake, and the answer comes on the
// stream on which the other one writes.
//
//	hello    kind, ID of the key (4), first message of the handshake:
//	         a public key (32), the writer's instance (16, encrypted), tag (16)
//	answer   kind, session (8), second message of the handshake:
//	         a public key (32), the reader's instance and identity (encrypted), tag (16)
//	frame    kind, session (8), number (8), what is encrypted, tag (16)
//
// A session is named after the first bytes of the writer's public key. Frame 0
// has the writer's identity; the caller's frames are counted on from 1. An
// identity is nothing, or an Ed25519 public key (32) and a signature (64) of
// what the handshake was until then, by which it is bound to this session.
const (
	sessionSize   = 8
	numberAt      = 1 + sessionSize
	frameHeader   = numberAt + 8
	frameCost     = frameHeader + tagSize
	identitySize  = ed25519.PublicKeySize + ed25519.SignatureSize
	rekeyFrames   = 1 << 24 // with one key, see RFC 8446, section 5.5
	rekeyBytes    = 1 << 36
	writerContext = version + "writer\x00"
	readerContext = version + "reader\x00"
)

// sessionID names a session.
type sessionID [sessionSize]byte

// prologue is what both sides of a handshake must agree on.
func prologue(group string, key keyID) []byte {
	return append([]byte(version+"stream\x00"+group+"\x00"), key[:]...)
}

// identify makes an identity for one side of a handshake.
func identify(key ed25519.PrivateKey, context string, bound []byte) []byte {
	if key == nil {
		return nil
	}
	b := append([]byte(nil), key.Public().(ed25519.PublicKey)...)
	return append(b, ed25519.Sign(key, append([]byte(context), bound...))...)
}

var errIdentity = errors.New("seal: not the signature of this identity")

// identified returns the public key of an identity, or nil if there is none.
func identified(b []byte, context string, bound []byte) (ed25519.PublicKey, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) != identitySize {
		return nil, errIdentity
	}
	key := ed25519.PublicKey(b[:ed25519.PublicKeySize:ed25519.PublicKeySize])
	if !ed25519.Verify(key, append([]byte(context), bound...), b[ed25519.PublicKeySize:]) {
		return nil, errIdentity
	}
	return key, nil
}

// greeting is a handshake that this node began, and that is not answered yet.
type greeting struct {
	*handshake
	key *groupKey
	id  sessionID
}

// greet makes a hello.
func (t *Transport) greet() (*greeting, []byte, error) {
	own, err := newEphemeral()
	if err != nil {
		return nil, nil, err
	}
	g := &greeting{key: t.ring.Load().use}
	h, msg := initiate(own, g.key.psk, prologue(t.group, g.key.id), t.self[:])
	g.handshake = h
	copy(g.id[:], msg)
	return g, append(append([]byte{kindHello}, g.key.id[:]...), msg...), nil
}

// answered reads the answer to a hello, and returns the session and the frame
// that begins it. A failure leaves the greeting as it was.
func (t *Transport) answered(g *greeting, msg []byte) (*outbound, []byte, error) {
	payload, bound, err := g.finish(msg)
	if err != nil {
		return nil, nil, err
	}
	if len(payload) < len(instance{}) || instance(payload) == t.self {
		return nil, nil, errHandshake // an own hello, thrown back and answered
	}
	if _, err := identified(payload[len(instance{}):], readerContext, bound); err != nil {
		return nil, nil, err
	}
	o := &outbound{key: g.key, id: g.id, aead: g.writer()}
	return o, o.seal(identify(t.identity, writerContext, g.h)), nil
}

// outbound is a session in which this node writes.
type outbound struct {
	key   *groupKey
	id    sessionID
	aead  cipher.AEAD
	n     uint64 // frames numbered
	bytes uint64
}

// seal seals the next frame.
func (o *outbound) seal(plain []byte) []byte { return o.next(plain, nil).bytes() }

// next numbers the next frame, which is sealed when it is written.
func (o *outbound) next(plain []byte, rest [][]byte) *numbered {
	f := &numbered{id: o.id, aead: o.aead, plain: plain, rest: rest}
	binary.BigEndian.PutUint64(f.nonce[4:], o.n)
	o.n++
	o.bytes += uint64(f.Size() - frameCost)
	return f
}

// numbered is a frame with its place in a session. It implements
// transport.Encoder. To seal it twice would give the same bytes.
type numbered struct {
	id    sessionID
	nonce [12]byte // its number, as gcmNonce has it
	aead  cipher.AEAD
	plain []byte   // or the first part
	rest  [][]byte // the other parts
}

// Size is the length of the sealed frame.
func (f *numbered) Size() int { return frameCost + sizeOf(f.plain, f.rest) }

// sizeOf is the length of a frame in parts.
func sizeOf(plain []byte, rest [][]byte) int {
	size := len(plain)
	for _, p := range rest {
		size += len(p)
	}
	return size
}

// AppendTo seals the frame.
func (f *numbered) AppendTo(b []byte) []byte {
	at := len(b)
	b = append(b, kindFrame)
	b = append(b, f.id[:]...)
	b = append(b, f.nonce[4:]...)
	if len(f.rest) == 0 {
		return f.aead.Seal(b, f.nonce[:], f.plain, b[at:])
	}
	// The parts are put together where they are sealed then.
	begin := len(b)
	b = append(b, f.plain...)
	for _, p := range f.rest {
		b = append(b, p...)
	}
	return f.aead.Seal(b[:begin], f.nonce[:], b[begin:], b[at:begin])
}

// bytes is the sealed frame in memory of its own.
func (f *numbered) bytes() []byte { return f.AppendTo(make([]byte, 0, f.Size())) }

// inbound is a session in which a peer writes.
type inbound struct {
	key    *groupKey
	id     sessionID
	aead   cipher.AEAD
	answer []byte // to the hello

	mu       sync.Mutex
	n        uint64 // of the next frame; above 0 the peer has completed the handshake
	nonce    [12]byte
	bound    []byte
	identity ed25519.PublicKey
}

// welcome reads a hello and makes the answer.
func (t *Transport) welcome(b []byte) (*inbound, error) {
	if len(b) < 1+len(keyID{}) {
		return nil, errHandshake
	}
	key := t.ring.Load().find(b[1:5])
	if key == nil {
		return nil, errHandshake
	}
	msg := b[5:]
	h, payload, err := respond(key.psk, prologue(t.group, key.id), msg)
	if err != nil {
		return nil, err
	}
	if len(payload) != len(t.self) {
		return nil, errHandshake
	}
	if instance(payload) == t.self {
		return nil, errReplay // an own hello, thrown back
	}
	own, err := newEphemeral()
	if err != nil {
		return nil, err
	}
	s := &inbound{key: key, id: sessionID(msg[:sessionSize])}
	msg, err = h.answer(own, func(bound []byte) []byte {
		return append(t.self[:len(t.self):len(t.self)], identify(t.identity, readerContext, bound)...)
	})
	if err != nil {
		return nil, err
	}
	s.aead, s.bound = h.writer(), h.h
	s.answer = append(append([]byte{kindAnswer}, s.id[:]...), msg...)
	return s, nil
}

var (
	errReplay = errors.New("seal: a frame that came before")
	errGap    = errors.New("seal: frames are missing")
)

// open opens a frame in place. The first one gives no plain text, and begins is
// true. The error is errReplay, errGap, errIdentity or errHandshake.
func (s *inbound) open(b []byte) (plain []byte, begins bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := binary.BigEndian.Uint64(b[numberAt:])
	copy(s.nonce[4:], b[numberAt:])
	plain, err = s.aead.Open(b[frameHeader:frameHeader], s.nonce[:], b[frameHeader:], b[:frameHeader])
	switch {
	case err != nil:
		return nil, false, errHandshake
	case n < s.n:
		return nil, false, errReplay
	case n > s.n:
		return nil, false, errGap
	case n == 0:
		if s.identity, err = identified(plain, writerContext, s.bound); err != nil {
			return nil, false, err
		}
		s.n, s.bound = 1, nil
		return nil, true, nil
	}
	s.n++
	return plain, false, nil
}

// complete tells whether the peer has completed the handshake.
func (s *inbound) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n > 0
}
