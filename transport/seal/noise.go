package seal

import (
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// protocol is the name of the handshake in the Noise framework (revision 34):
//
//	NNpsk0:
//	  -> psk, e
//	  <- e, ee
const protocol = "Noise_NNpsk0_25519_AESGCM_SHA256"

// dhLen is the length of a public key of X25519.
const dhLen = 32

// errHandshake is a message of a handshake that was not made with this key, for
// this group, or for this handshake.
var errHandshake = errors.New("seal: not authentic")

// symmetric is Noise's SymmetricState, with the CipherState in it.
type symmetric struct {
	ck, h []byte
	aead  cipher.AEAD
	n     uint64
}

func newSymmetric(prologue []byte) *symmetric {
	s := &symmetric{ck: []byte(protocol), h: []byte(protocol)} // just as long as a hash
	s.mixHash(prologue)
	return s
}

func (s *symmetric) mixHash(data []byte) {
	sum := sha256.New()
	sum.Write(s.h)
	sum.Write(data)
	s.h = sum.Sum(nil)
}

// derive is Noise's HKDF with n outputs.
func (s *symmetric) derive(ikm []byte, n int) [][]byte {
	b, err := hkdf.Key(sha256.New, ikm, s.ck, "", n*sha256.Size)
	if err != nil {
		panic(err) // only for more than 255 blocks
	}
	out := make([][]byte, n)
	for i := range out {
		out[i] = b[i*sha256.Size : (i+1)*sha256.Size]
	}
	return out
}

func (s *symmetric) mixKey(ikm []byte) {
	k := s.derive(ikm, 2)
	s.ck, s.aead, s.n = k[0], newGCM(k[1]), 0
}

func (s *symmetric) mixKeyAndHash(ikm []byte) {
	k := s.derive(ikm, 3)
	s.ck = k[0]
	s.mixHash(k[1])
	s.aead, s.n = newGCM(k[2]), 0
}

func (s *symmetric) encrypt(dst, plain []byte) []byte {
	at := len(dst)
	dst = s.aead.Seal(dst, gcmNonce(s.n), plain, s.h)
	s.n++
	s.mixHash(dst[at:])
	return dst
}

func (s *symmetric) decrypt(b []byte) ([]byte, error) {
	plain, err := s.aead.Open(nil, gcmNonce(s.n), b, s.h)
	if err != nil {
		return nil, errHandshake
	}
	s.n++
	s.mixHash(b)
	return plain, nil
}

// gcmNonce is the n-th nonce of a key.
func gcmNonce(n uint64) []byte {
	b := make([]byte, 4, 12)
	return binary.BigEndian.AppendUint64(b, n)
}

// handshake is one side of NNpsk0. A failed read leaves it as it was.
type handshake struct {
	*symmetric
	own    *ecdh.PrivateKey // ephemeral
	theirs *ecdh.PublicKey
}

// initiate makes the first message, with a payload that has no forward secrecy.
func initiate(own *ecdh.PrivateKey, psk, prologue, payload []byte) (*handshake, []byte) {
	h := &handshake{symmetric: newSymmetric(prologue), own: own}
	h.mixKeyAndHash(psk)
	e := own.PublicKey().Bytes()
	h.mixEphemeral(e)
	return h, h.encrypt(e, payload)
}

// respond reads the first message. Nothing that is costly is done for one that
// was not made with the key.
func respond(psk, prologue, msg []byte) (*handshake, []byte, error) {
	if len(msg) < dhLen {
		return nil, nil, errHandshake
	}
	h := &handshake{symmetric: newSymmetric(prologue)}
	h.mixKeyAndHash(psk)
	var err error
	if h.theirs, err = ecdh.X25519().NewPublicKey(msg[:dhLen]); err != nil {
		return nil, nil, errHandshake
	}
	h.mixEphemeral(msg[:dhLen])
	payload, err := h.decrypt(msg[dhLen:])
	return h, payload, err
}

// answer makes the second message, whose payload is made when all that it can
// be bound to is known.
func (h *handshake) answer(own *ecdh.PrivateKey, payload func(h []byte) []byte) ([]byte, error) {
	h.own = own
	e := own.PublicKey().Bytes()
	h.mixEphemeral(e)
	if err := h.mixShared(); err != nil {
		return nil, err
	}
	return h.encrypt(e, payload(h.h)), nil
}

// finish reads the second message. It also returns the hash that the payload
// can be bound to.
func (h *handshake) finish(msg []byte) (payload, bound []byte, err error) {
	if len(msg) < dhLen {
		return nil, nil, errHandshake
	}
	was := *h.symmetric
	defer func() {
		if err != nil {
			*h.symmetric = was
		}
	}()
	if h.theirs, err = ecdh.X25519().NewPublicKey(msg[:dhLen]); err != nil {
		return nil, nil, errHandshake
	}
	h.mixEphemeral(msg[:dhLen])
	if err = h.mixShared(); err != nil {
		return nil, nil, err
	}
	bound = h.h
	payload, err = h.decrypt(msg[dhLen:])
	return payload, bound, err
}

// mixEphemeral takes in a public key; where there is a psk, it also goes into
// the key.
func (h *handshake) mixEphemeral(e []byte) {
	h.mixHash(e)
	h.mixKey(e)
}

func (h *handshake) mixShared() error {
	secret, err := h.own.ECDH(h.theirs)
	if err != nil {
		return errHandshake // a point of small order
	}
	h.mixKey(secret)
	return nil
}

// writer is the AEAD from the initiator to the responder. The other one that
// Noise has is not used: each direction has a handshake of its own.
func (h *handshake) writer() cipher.AEAD { return newGCM(h.derive(nil, 2)[0]) }

func newEphemeral() (*ecdh.PrivateKey, error) { return ecdh.X25519().GenerateKey(rand.Reader) }
