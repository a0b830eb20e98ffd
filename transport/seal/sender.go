package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// What a sealed frame is: its first byte.
const (
	kindDatagram  = transport.FirstSealed + iota // a frame of the caller's
	kindDirect                                   // the same, for one receiver and no other
	kindChallenge                                // asks a sender to prove that it is alive
	kindProof                                    // does so
	kindHello                                    // begins the handshake of a stream
	kindAnswer                                   // ends it
	kindFrame                                    // a frame of the caller's on a stream; the first says who writes
)

// instance is one run of a sender: a random number that no other has.
type instance [16]byte

// A datagram is
//
//	offset  length  field
//	0       1       kind
//	1       4       ID of the key
//	5       16      instance of the sender
//	21      6       number of the datagram, for each instance
//	27      6       random
//	33              what is encrypted, with the 16 bytes of the tag
//
// of which all before 33 is authenticated, and 21 to 33 is the nonce. What is
// encrypted begins, in one for a receiver whose instance is known, with the first
// 8 bytes of that.
const (
	nonceAt     = 21
	randomAt    = 27
	headerSize  = 33
	tagSize     = 16
	sealingCost = headerSize + tagSize
	targetSize  = 8
)

// renewal is how many datagrams are sealed with one key. Then the sender takes a
// new instance: 2^27 of them are less than 2^34 blocks of AES, far below the
// bound for GCM (RFC 8446, section 5.5, derives 2^24.5 records of 16 KiB).
const renewal = 1 << 27

// freshness is how long a packet that was sent before a proof is surely taken
// after it; after three times as long it surely is not.
const freshness = time.Second

// sender seals datagrams.
type sender struct {
	mu           sync.Mutex
	key          *groupKey
	id, previous instance
	aead         cipher.AEAD
	count        uint64 // of the datagrams sealed
	limit        uint64
	older, newer mark
}

// mark is how far the count had come at a time.
type mark struct {
	at    time.Time
	count uint64
}

// renew takes another instance, for a key. s.mu is held.
func (s *sender) renew(g *groupKey) {
	s.key, s.previous = g, s.id
	rand.Read(s.id[:]) // never fails
	s.aead = g.sender(s.id)
	now := mark{at: time.Now()}
	s.count, s.older, s.newer = 0, now, now
}

// setKey seals with a key from now on.
func (s *sender) setKey(g *groupKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != g {
		s.renew(g)
	}
}

// instance is the present one.
func (s *sender) instance() instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// is tells whether this is, or was last, the instance that begins with b.
func (s *sender) is(b []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(b) == string(s.id[:len(b)]) || string(b) == string(s.previous[:len(b)]) && s.previous != (instance{})
}

// seal makes a datagram.
func (s *sender) seal(kind byte, plain []byte) []byte {
	b, aead := s.header(kind, len(plain))
	return aead.Seal(b, b[nonceAt:headerSize], plain, b)
}

// prove makes a proof: the nonce of the challenge, and the number below which
// nothing is to be taken. It returns nil if another instance is meant.
func (s *sender) prove(id instance, nonce []byte) []byte {
	s.mu.Lock()
	if s.id != id {
		s.mu.Unlock()
		return nil
	}
	s.tick(time.Now())
	floor := s.older.count
	s.mu.Unlock()
	return s.seal(kindProof, binary.BigEndian.AppendUint64(append([]byte(nil), nonce...), floor))
}

// header begins a datagram.
func (s *sender) header(kind byte, size int) ([]byte, cipher.AEAD) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == s.limit {
		s.renew(s.key)
	}
	s.tick(time.Now())
	b := make([]byte, headerSize, sealingCost+size)
	b[0] = kind
	copy(b[1:], s.key.id[:])
	copy(b[5:], s.id[:])
	// The number alone makes the nonce unique. The random half keeps it so if
	// the memory of the process is copied, and both copies go on.
	binary.BigEndian.PutUint64(b[nonceAt:], s.count<<16)
	rand.Read(b[randomAt:headerSize])
	s.count++
	return b, s.aead
}

// tick moves the marks along, so that the older one is between one and three
// times freshness old, or nothing was sent since.
func (s *sender) tick(now time.Time) {
	switch age := since(s.newer.at, now); {
	case age >= 2*freshness: // what came after the newer mark came soon after it
		s.newer = mark{now, s.count}
		s.older = s.newer
	case age >= freshness:
		s.older = s.newer
		s.newer = mark{now, s.count}
	}
}

// since is how long ago a time is by the clock that says more. The one stands
// still while a machine sleeps, the other can be set back.
func since(t, now time.Time) time.Duration {
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}
