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
// membership and election are signed, so that no member can speak as another.
// Log messages are not: their blocks are signed by whoever wrote them.
const (
	trailerBody = ed25519.PublicKeySize + ed25519.SignatureSize
	trailerSize = 2 + trailerBody
)

// errForged is a frame whose signature is wrong, or not its sender's.
var errForged = errors.New("forged")

// recentFrames is how many frames are remembered as verified. What gets lost
// is repeated word for word, to everybody, so this saves most signatures.
const recentFrames = 512

type signer struct {
	key    ed25519.PrivateKey
	domain []byte
	known  map[[sha256.Size]byte]struct{} // frames that were verified lately
	queue  [][sha256.Size]byte            // known, the oldest first from next on
	next   int
}

func newSigner(key ed25519.PrivateKey, group string) *signer {
	d := binary.AppendUvarint([]byte("p2p frame\x00"), uint64(len(group)))
	return &signer{key: key, domain: append(d, group...), known: make(map[[sha256.Size]byte]struct{})}
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

// cut returns what stands before the trailer.
func cut(b []byte) ([]byte, error) {
	n := len(b) - trailerSize
	if n < 1 || b[n] != 0xc4 || b[n+1] != trailerBody {
		return nil, errForged
	}
	return b[:n], nil
}

// verify checks that a frame, with its trailer, is what the named peer signed.
func (s *signer) verify(b []byte, by membership.Key) error {
	frame, err := cut(b)
	if err != nil {
		return err
	}
	trailer := b[len(frame)+2:]
	pub, sig := ed25519.PublicKey(trailer[:ed25519.PublicKeySize]), trailer[ed25519.PublicKeySize:]
	if keyOf(pub) != by {
		return errForged
	}
	sum := sha256.Sum256(b)
	if _, ok := s.known[sum]; ok {
		return nil
	}
	if !ed25519.Verify(pub, s.text(frame), sig) {
		return errForged
	}
	if len(s.queue) < recentFrames {
		s.queue = append(s.queue, sum)
	} else {
		delete(s.known, s.queue[s.next])
		s.queue[s.next] = sum
		s.next = (s.next + 1) % recentFrames
	}
	s.known[sum] = struct{}{}
	return nil
}

// text is what is signed.
func (s *signer) text(frame []byte) []byte {
	t := make([]byte, 0, len(s.domain)+len(frame))
	return append(append(t, s.domain...), frame...)
}
