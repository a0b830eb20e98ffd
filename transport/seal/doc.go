// Package seal wraps any transport with authenticated encryption, so that only
// those who know a group's secret can read what is said in it, or say anything.
//
// The secret is a passphrase, or a code of 128 bits that NewCode makes. It is
// the one thing that a newcomer needs besides the group's address, and nothing
// is handed out to anybody: who has it is in.
//
// # Threat model
//
// An outsider is somebody who can read, hold back, change, copy and send any
// packet on the network, at any time, and does not have the secret. A member is
// somebody who has it.
//
//	level        who can read and take part      against outsiders
//	open         everybody on the network        signatures only: nobody speaks in another's name,
//	                                             nobody changes the history
//	passphrase   whoever has it, or guesses it   all below, as far as it cannot be guessed: a captured
//	                                             packet lets a machine try guesses, each at the cost
//	                                             of Iterations rounds of PBKDF2
//	code         whoever has it                  all below: 128 bits cannot be guessed
//
// What the seal gives:
//
//   - Confidentiality: outsiders see neither what is said nor who says it by
//     name, in which room, or what the group's members are called.
//   - Authenticity: a frame is taken only if a member sealed it, for this group
//     and this version of the format, and nobody has changed it since.
//   - No replay: a frame is taken once at most. A datagram recorded in another
//     run of its sender is never taken. A frame of a stream is taken in its place
//     or not at all; if one is missing the stream breaks, and says so.
//   - Forward secrecy of streams: who records them and learns the secret later
//     cannot read them. Almost everything that is said travels on streams.
//   - Identity, if Config.Identity is set: what is read on a stream is reported
//     with the key of whoever writes it, which no other member can claim.
//
// What it does not give:
//
//   - Forward secrecy of datagrams: who records them and learns the secret later
//     reads them. They carry who is in the group, by address and nick, and
//     elections, not what is said.
//   - Protection of members from each other at this level: a member can read
//     everything, and seal datagrams in the name of any other. Signatures over
//     the frames, which package p2pchat makes, and Config.Identity are for that.
//     A member cannot be shut out but by a new secret, see Transport.SetKeys.
//   - Secrecy of who talks to whom, when, and how much: addresses, times and
//     sizes are in the open, and so is which secret, by a number derived from it,
//     so that it can be seen that two packets are of one group.
//   - Timeliness: who holds back a datagram can deliver it later, as long as it
//     has not come and no more than 2,048 that its sender sent after it have; and
//     the first that a node sends to an endpoint of which it knows nothing, to
//     another member as well.
//   - Availability: who can hold back packets can keep members apart, and who can
//     send enough of them can keep a node busy. What a false packet costs is
//     bounded, see below.
//
// # Datagrams
//
// Each run of a sender has a random number of 128 bits, its instance, and thereby
// a key of its own: by HKDF-SHA256 (RFC 5869) from the secret, the group's name,
// the version, and the instance. Datagrams are sealed with AES-256-GCM; the nonce
// is the datagram's number, in 48 bits, and 48 random bits. The number alone is
// unique, since no two runs have a key in common; the random half is for a machine
// whose memory is copied while it runs, so that two have one key after all.
//
// A receiver takes each number of an instance once, with a window of 2,048 in which
// packets may overtake each other (RFC 6479). An instance that it does not know
// might be one of long ago, so it has to prove that it is alive:
//
//	sender     receiver
//	datagram ─▶          holds it, up to 8 of them, up to 5 s
//	         ◀─ challenge  a random number, and the instance that is meant
//	proof    ─▶          that number, and a floor; takes what it holds from the floor on
//
// So the first datagram of a newcomer takes one round trip longer, and the
// challenged one asks in turn, so that the answer does not take another. The
// floor is the number that the sender had reached a while ago: what it sent in
// the last second is above it, what it sent more than three seconds ago is below.
// The proof is also one of the address to which the challenge was sent: a datagram
// that comes from elsewhere is held in the same way. A datagram to one node names
// the receiver's instance, if the sender knows who is there, and nobody else takes
// it.
//
// Why nothing can be replayed, although what is remembered is bounded:
//
//	a datagram                        is refused because
//	of a run that is over             nobody answers the challenge: the answer needs its random number
//	of a run that is known            its number was taken, or is below the window
//	of a run that was forgotten       nothing had come from it for a minute when it was forgotten, so
//	                                  what was taken is older than that, and below the floor
//	of the receiver's own             it knows its instances
//
// What a receiver took and then forgot by restarting is new to it if it is less
// than three seconds old, as it would be if it had been slow on its way.
//
// If the tables are full, newcomers are refused and nobody is forgotten: at most
// 4,096 senders, and 1,024 from which a proof is awaited, with 1 MiB of packets.
// The sender tells a while by the clock that says more, the monotonic one, which
// stands still while a machine sleeps, or that of the wall.
//
// # Streams
//
// Each direction of a stream has a session of its own, which the one who writes
// sets up by a handshake of the Noise framework, revision 34,
// Noise_NNpsk0_25519_AESGCM_SHA256: both have to know the secret, and the keys
// come from ephemeral ones that are forgotten. Its prologue is the version, the
// group's name and the number of the key. In it are both instances, so that
// nobody can be made to talk to himself, and, if Config.Identity is set, a
// signature of the handshake's hash by each side. Frames are numbered, and sealed
// with the number as the nonce.
//
// Up is reported when the own session stands, which takes one round trip more
// than the inner transport's Up. Frames that were given before wait here. After a
// Down there are new sessions. A session takes new keys, without a break, after
// 2^24 frames or 64 GiB, and when SetKeys changes the key in use.
//
// # Strangers
//
// A frame that is not sealed, or that no key opens, is counted, and its sender is
// reported as transport.Stranger, at most sixteen at once and sixteen a second. A false
// datagram costs the derivation of a key and the check of a tag, some
// microseconds; nothing is remembered of it. A hello that was recorded and is
// replayed on a new stream costs two operations on curve 25519. A peer that
// connects and does not complete the handshake is hung up after five seconds.
//
// # Format
//
// Numbers are big-endian; "‖" joins bytes. The group is named "sealed:" and what
// the inner transport says; that is the group in what follows, without a length or
// an end. Of a key and a group come, with HKDF-SHA256:
//
//	salt       SHA-256("p2p seal 1 group" ‖ 00 ‖ group)
//	secret     of a code its 16 bytes; of a passphrase PBKDF2-HMAC-SHA256 of it, with that salt,
//	           Iterations rounds and 32 bytes
//	prk        Extract(salt, secret)
//	ID         the first 4 bytes of Expand(prk, "p2p seal 1 id", 32)
//	psk        Expand(prk, "p2p seal 1 streams", 32)
//	datagrams  Expand(prk, "p2p seal 1 datagrams", 32)
//	sender     Expand(datagrams, "p2p seal 1 sender" ‖ 00 ‖ instance, 32), for each sender
//
// A code's 28 digits are base32 with Crockford's alphabet: 16 bytes, and 12 bits of
// the SHA-256 of "p2p seal code", 00 and these.
//
// A datagram, sealed with AES-256-GCM and the sender's key:
//
//	offset  length  field
//	0       1       80: a frame of the caller's; 81: the same, for one receiver; 82: challenge; 83: proof
//	1       4       ID of the key
//	5       16      instance of the sender
//	21      6       number of the datagram, from 0
//	27      6       random
//	33              what is encrypted, with the 16 bytes of the tag
//
// The nonce is 21 to 33; all before 33 is the associated data. In an 81 the first 8
// bytes that are encrypted are those of the receiver's instance. A challenge has 16
// random bytes and the instance that is meant; a proof these 16 bytes, and the floor
// in 8.
//
// On a stream:
//
//	84  hello   ID of the key (4), first message of the handshake: a public key (32),
//	            the writer's instance (16), encrypted, tag (16)
//	85  answer  session (8), second message of the handshake: a public key (32), the
//	            reader's instance (16) and identity (0 or 96), encrypted, tag (16)
//	86  frame   session (8), number (8), what is encrypted, tag (16)
//
// The prologue of the handshake is "p2p seal 1 stream", 00, the group, 00, and the
// ID. A session is the first 8 bytes of the writer's public key. Its frames are
// sealed with the first of the two keys that Noise's Split gives; their nonce is 4
// zeros and the number, and the 17 bytes before what is encrypted are the associated
// data. Frame 0 has the writer's identity, or nothing; frames of the caller's are
// counted on from 1. An identity is an Ed25519 public key (32) and the signature (64)
// of "p2p seal 1 reader" or "p2p seal 1 writer", 00, and the handshake's hash: for
// the reader as it is before the payload of the second message, for the writer at the
// end.
package seal
