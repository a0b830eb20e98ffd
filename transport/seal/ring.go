package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
)

// version is that of all that this package puts on the network. It is a part
// of every key, so that two versions do not understand each other.
const version = "p2p seal 1 "

// keyID tells apart the keys of a ring on the network.
type keyID [4]byte

// groupKey is what a Key becomes in one group: a key for each purpose, by HKDF
// (RFC 5869) with the group's name in the salt.
type groupKey struct {
	key       Key
	id        keyID
	datagrams []byte // from which senders' keys are derived
	psk       []byte // of the handshakes of streams
}

func newGroupKey(k Key, group string) (*groupKey, error) {
	salt := sha256.Sum256([]byte(version + "group\x00" + group))
	secret, err := k.stretch(salt[:])
	if err != nil {
		return nil, err
	}
	prk, err := hkdf.Extract(sha256.New, secret, salt[:])
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	g := &groupKey{key: k, datagrams: expand(prk, "datagrams"), psk: expand(prk, "streams")}
	copy(g.id[:], expand(prk, "id"))
	return g, nil
}

// expand derives a key for one purpose.
func expand(prk []byte, purpose string) []byte {
	b, err := hkdf.Expand(sha256.New, prk, version+purpose, sha256.Size)
	if err != nil {
		panic(err) // only for more than 255 blocks
	}
	return b
}

// sender is the AEAD of one sender's datagrams.
func (g *groupKey) sender(id instance) cipher.AEAD {
	return newGCM(expand(g.datagrams, "sender\x00"+string(id[:])))
}

// newGCM is AES-256-GCM with a key of 32 bytes.
func newGCM(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err == nil {
		var aead cipher.AEAD
		if aead, err = cipher.NewGCM(block); err == nil {
			return aead
		}
	}
	panic(err) // only for a key of another length
}

// ring is the keys that a node accepts. It is never changed, but replaced.
type ring struct {
	use    *groupKey
	accept []*groupKey // use among them
}

// newRing makes a ring. What old has derived already is taken from there.
func newRing(old *ring, group string, use Key, accept []Key) (*ring, error) {
	r := &ring{}
	for _, k := range append([]Key{use}, accept...) {
		if r.byKey(k) != nil {
			continue
		}
		g := old.byKey(k)
		if g == nil {
			var err error
			if g, err = newGroupKey(k, group); err != nil {
				return nil, err
			}
		}
		r.accept = append(r.accept, g)
	}
	r.use = r.accept[0]
	return r, nil
}

func (r *ring) byKey(k Key) *groupKey {
	if r == nil {
		return nil
	}
	for _, g := range r.accept {
		if g.key == k {
			return g
		}
	}
	return nil
}

// find returns the key with an ID, or nil.
func (r *ring) find(id []byte) *groupKey {
	for _, g := range r.accept {
		if string(g.id[:]) == string(id) {
			return g
		}
	}
	return nil
}

// has tells whether a key is still accepted.
func (r *ring) has(g *groupKey) bool { return r.byKey(g.key) != nil }
