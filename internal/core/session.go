package core

import (
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"

	"github.com/seed-885536be/p2p/membership"
)

// Direct messages are encrypted by HPKE (RFC 9180) in base mode, with
// DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-128-GCM. The receiver makes a
// key for each session and forgets it when the session is open; the sender's
// half is made by HPKE and never kept. Both halves are signed with the peers'
// identities, and the context binds both identities, their incarnations and the
// group. The nonce is the number of the message, so what is repeated, left out
// or out of order does not open. Acknowledgements are authenticated with a
// secret exported from the same context (RFC 9180, section 5.3).
//
// What HPKE draws at random is of no consequence to anything but the bytes of
// the frames, so that a Core stays a function of its inputs otherwise.
var (
	kem  = hpke.DHKEM(ecdh.X25519())
	kdf  = hpke.HKDFSHA256()
	aead = hpke.AES128GCM()
)

// sealed is how much longer a message becomes.
const sealed = 16

// sessionID names a session at both its ends.
type sessionID [16]byte

// ends are the two that a session binds, in the group that it is of.
type ends struct {
	group    string
	from, to runOf
}

// runOf is one run of a peer.
type runOf struct {
	key membership.Key
	inc uint64
}

func (e ends) info() []byte {
	b := binary.AppendUvarint([]byte("p2p direct\x00"), uint64(len(e.group)))
	b = append(b, e.group...)
	for _, r := range []runOf{e.from, e.to} {
		b = append(b, r.key[:]...)
		b = binary.BigEndian.AppendUint64(b, r.inc)
	}
	return b
}

// secrets are what both ends derive from the context of a session.
type secrets struct {
	id  sessionID
	ack []byte
}

func derive(export func(string, int) ([]byte, error)) (s secrets, err error) {
	id, err := export("id", len(s.id))
	if err != nil {
		return s, err
	}
	s.id = sessionID(id)
	s.ack, err = export("ack", sha256.Size)
	return s, err
}

// mac authenticates an acknowledgement.
func (s *secrets) mac(n, round uint64) (m [16]byte) {
	h := hmac.New(sha256.New, s.ack)
	h.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, n), round))
	return [16]byte(h.Sum(nil))
}

// sealer is the sending end of a session.
type sealer struct {
	secrets
	enc []byte // what the receiver needs besides its key
	ctx *hpke.Sender
}

func newSealer(e ends, public []byte) (*sealer, error) {
	pub, err := kem.NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	s := new(sealer)
	if s.enc, s.ctx, err = hpke.NewSender(pub, kdf, aead, e.info()); err != nil {
		return nil, err
	}
	s.secrets, err = derive(s.ctx.Export)
	return s, err
}

// opener is the receiving end of a session.
type opener struct {
	secrets
	ctx *hpke.Recipient
}

func newOpener(e ends, private hpke.PrivateKey, enc []byte) (*opener, error) {
	ctx, err := hpke.NewRecipient(enc, private, kdf, aead, e.info())
	if err != nil {
		return nil, err
	}
	o := &opener{ctx: ctx}
	o.secrets, err = derive(ctx.Export)
	return o, err
}
