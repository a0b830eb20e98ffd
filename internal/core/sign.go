package core

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/seed-885536be/p2p/membership"
)

// A signed frame ends with a byte string of msgpack: the sender's public key
// and its signature of all that stands before, for this group. Frames of
// membership and election are signed, and so is every datagram, so that no
// member can speak as another. Log messages on a stream are not: their blocks
// are signed by whoever wrote them.
const (
	trailerBody = ed25519.PublicKeySize + ed25519.SignatureSize
	trailerSize = 2 + trailerBody
)

// errForged is a frame whose signature is wrong, or not its sender's.
var errForged = errors.New("forged")

type signer struct {
	key    ed25519.PrivateKey
	domain []byte
}

func newSigner(key ed25519.PrivateKey, group string) *signer {
	d := binary.AppendUvarint([]byte("p2p frame\x00"), uint64(len(group)))
	return &signer{key: key, domain: append(d, group...)}
}

// keyOf is the name of the peer with the given public key.
func keyOf(pub ed25519.PublicKey) membership.Key {
	sum := sha256.Sum256(pub)
	return membership.Key(sum[:16])
}

// sign appends the trailer.
func (s *signer) sign(frame []byte) []byte {
	sig := ed25519.Sign(s.key, s.text(frame))
	frame = append(frame, 0xc4, trailerBody)
	frame = append(frame, s.key.Public().(ed25519.PublicKey)...)
	return append(frame, sig...)
}

// open returns what stands before the trailer, and who signed it.
func (s *signer) open(b []byte) (frame []byte, by membership.Key, err error) {
	n := len(b) - trailerSize
	if n < 1 || b[n] != 0xc4 || b[n+1] != trailerBody {
		return nil, by, errForged
	}
	frame, pub, sig := b[:n], ed25519.PublicKey(b[n+2:n+2+ed25519.PublicKeySize]), b[n+2+ed25519.PublicKeySize:]
	if !ed25519.Verify(pub, s.text(frame), sig) {
		return nil, by, errForged
	}
	return frame, keyOf(pub), nil
}

// text is what is signed.
func (s *signer) text(frame []byte) []byte {
	t := make([]byte, 0, len(s.domain)+len(frame))
	return append(append(t, s.domain...), frame...)
}
