// # Wire
//
// What follows is for whoever writes another implementation, or reads a capture.
// Version 1 is made of layers, each described where its code is:
//
//	layer                       described in           vectors
//	packets, TCP connections    transport/lan          transport/lan/testdata/vectors.json
//	sealed frames, if sealed    transport/seal         transport/seal/testdata/vectors.json
//	frames                      here                   internal/core/testdata/vectors.json
//	blocks of the history       causal                 causal/testdata/vectors.json
//	messages in blocks          p2pchat
//
// A vector is the bytes in hex and what they say, made of fixed keys; there is
// at least one for each kind, and tests hold the code against them both ways.
//
// # Values
//
// A frame is a row of msgpack values, each in one form only: whatever else a
// decoder of msgpack would take is refused, so that what is signed has one
// encoding. Nothing may follow the last value. Arrays nest at most 8 deep.
//
//	u8, u32, u64   unsigned, in the shortest form: 00 to 7f, cc, cd, ce, cf
//	duration       nanoseconds, signed, in the shortest form: 00 to 7f, e0 to ff, d0, d1, d2, d3
//	bool           c2 or c3
//	text           UTF-8, in the shortest form: a0 to bf, d9, da, db
//	bytes          any number of them, in the shortest form: c4, c5, c6
//	16 bytes, …    the same, with that length always
//	endpoint       bytes: an address of 4 or 16, behind one of 16 the name of its zone if there is
//	               one, and the port, in 2 bytes, the least first; 2 zeros if there is none
//	list of …      an array: 90 to 9f, dc, dd
//	a struct       an array of its fields in their order, which are those of the Go type
//
// A list, or bytes of no fixed length, can also be c0, "not there". That is not
// the same bytes as an empty one, and means the same. Frames of Blocks and Batch
// are never c0.
//
// # Frames
//
// The first byte is the kind: the number of the message, and the base of its
// package, 00 for membership, 30 for election, 40 for causal, 50 for what goes to
// the group in pieces, and 60 for direct messages. A transport that seals has those from 80 on; see transport.FirstSealed.
//
//	kind      what follows                                   travels by
//	01 to 16  Header, message, after 03 and 04 a Beat or     datagram, to the group or one node; by
//	          nothing, trailer                               stream if it is over transport.MaxDatagram
//	                                                         or must not be lost
//	31 to 36  Header, Message, trailer                       datagram
//	41 to 4b  sender, message                                stream
//	4c        sender, message                                datagram, to the group or one node
//	46        the same, if what is lacking is a Fresh        datagram to its sender
//	50, 51    sender, message                                datagram, to the group or one node
//	60 to 62  sender, message, trailer                       stream
//	63, 64    sender, message                                stream
//
// The trailer is 96 bytes, as msgpack after c4 60: the sender's Ed25519 public
// key, and its signature (RFC 8032) of what stands before the trailer, with this
// in front: the 10 bytes "p2p frame" and 00, the length of the group's name as a
// uvarint (as in Protocol Buffers), and that name, which is what Transport.Group
// says. The From of a header or sender is the peer's key: the first 16 bytes of
// the SHA-256 of its public key. Inc tells the runs of a peer apart, and grows.
//
//	Header    From 16 bytes, Inc u64, View ViewID
//	sender    From 16 bytes, Inc u64
//
// # Messages
//
// To whom each goes, and what its fields mean, is said at the types of these
// names: in package membership for the first,
//
//	01  JOIN          MaxCtr u64, Addr endpoint, Name text
//	02  WELCOME       View View
//	03  HEARTBEAT     Class u8, Size u32, Seq u64, Hash 8 bytes
//	04  KEEPALIVE     Seq u64
//	05  VIEW          ID ViewID, Base ViewID, Class u8, Number u64, NextID u32, Cause u8, Joined list of Member, Left list of Departure
//	06  VIEW_REQ      Have ViewID
//	07  NOT_MEMBER    Max u64
//	08  SUSPECT       Epoch Epoch, Proof bool
//	09  ALIVE         Epoch Epoch, Age duration
//	0a  PROBE         Subject 16 bytes, Inc u64, Nonce u64
//	0b  PROBE_ACK     Subject 16 bytes, Inc u64, Nonce u64
//	0c  PROBE_REQ     Subject 16 bytes, Inc u64, Addr endpoint, Nonce u64
//	0d  MERGE_REQ     View View, Hash 8 bytes, MaxCtr u64, To Epoch
//	0e  MERGE_ACK     View ViewID, Want bool
//	0f  REDIRECT      View ViewID, Class u8, Addr endpoint
//	10  LEAVE
//	11  HANDOVER
//	12  BYE
//	13  JOIN_REJECT   Known u64
//	14  RETRY_AFTER   After duration
//	15  FOREIGN       View ViewID, Addr endpoint, Class u8, Size u32
//	16  CALL
//
//	Epoch      Ctr u64, Leader 16 bytes, Inc u64
//	ViewID     Epoch Epoch, Seq u32
//	Member     Key 16 bytes, Inc u64, ID u32, Addr endpoint, Name text
//	View       ID ViewID, Class u8, Number u64, NextID u32, Members list of Member
//	Departure  Key 16 bytes, Inc u64, Reason u8
//
// in package election for these, which all have the fields of Message, with its
// Kind, From and Inc as the frame and its header say them,
//
//	31  ELECTION
//	32  ANSWER
//	33  TOKEN
//	34  TOKEN_ACK
//	35  RING_PROBE
//	36  RING_PROBE_OK
//
//	Message    Kind u8, From 16 bytes, Inc u64, Base Base, Cand 16 bytes, CandInc u64, Attempt u32, Hops u32, Refuse bool
//	Base       Ctr u64, Leader 16 bytes, Inc u64, Seq u32
//
// in package causal for these,
//
//	41  Blocks        Frames list of bytes
//	42  Beat          Count u64, Height u64, Digest Digest, Heads list of Ref, Writer 16 bytes, N u64, Intro bytes
//	43  Pull          Session u64, Tips list of Tip, Credit u32, Height u64, Base 32 bytes, Whole bool, Ranged bool, Salt u64, Parts list of Part
//	44  Credit        Session u64, Bytes u32
//	45  Batch         Session u64, Frames list of bytes, More bool
//	46  Want          Spans list of Span
//	47  Fork          A bytes, B bytes
//	48  Ack           Full bool, Height u64, Count u64, Digest Digest, Tips list of Dot, Doubts list of Tip
//	49  Base          Session u64, Part bytes, More bool
//	4a  Ranges        Session u64, Salt u64, From Bound, Ranges list of Range
//	4b  Diffs         Session u64, Diffs list of Diff
//	4c  Fresh         Frames list of bytes
//
//	Digest     Messages u64, Hash 16 bytes
//	Ref        Writer 16 bytes, N u64, Hash 32 bytes
//	Tip        Writer 16 bytes, N u64, Hash 8 bytes
//	Dot        Writer 16 bytes, N u64
//	Span       Writer 16 bytes, From u64, To u64
//	Bound      Height u64, Part u64
//	Part       From Bound, To Bound, Only bool, Short bytes
//	Range      To Bound, Print bytes
//	Diff       Index u32, Blocks u64, Short bytes
//
// these are for blocks that go to the group in pieces,
//
//	50  PIECE         N u64, Size u32, Index u32, Data bytes
//	51  MISSING       Spans list of stretch
//
//	stretch    N u64, From u32, To u32
//
// and these are direct messages:
//
//	60  HELLO         Nonce u64, Session 16 bytes
//	61  KEY           To 16 bytes, ToInc u64, Nonce u64, Lost 16 bytes, Public bytes
//	62  OPEN          Public bytes, Enc bytes
//	63  DATA          Session 16 bytes, N u64, Body bytes
//	64  ACK           Session 16 bytes, N u64, Round u64, Mac 16 bytes
//
// The Hash of a HEARTBEAT or MERGE_REQ is the FNV-1a sum, of 64 bits, most
// significant byte first, of the view: Ctr, Leader, Inc and Seq of its ID, Class,
// Number, NextID, and for each member Key, Inc, ID, endpoint as text ("10.0.0.1:7000",
// "[fd00::1]:7000"), 00, Name, 00. Numbers are big-endian in the length that they
// have here.
//
// # Pieces
//
// A PIECE is a part of the block number N of its sender's writer, which has Size
// bytes: those from 1,024 times Index on, 1,024 of them, or the rest. It goes to the
// group. One with no Size goes to one node and asks whether that takes pieces; the
// answer is a MISSING with nothing in it. Nobody sends pieces before all members
// have answered. In other cases MISSING goes to who sent pieces, and lists which of
// those that others have overtaken did not come, From one and before To; they are
// sent to the group again.
//
// # Direct messages
//
// Who has something to send says HELLO, with a Nonce that grows, and the Session
// that it has or zeros. Who knows that session answers ACK; else KEY, with that
// nonce, the same session as Lost, and a new X25519 key, Public. OPEN repeats Public
// and has the encapsulated key, Enc, of HPKE (RFC 9180) in base mode, with
// DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-128-GCM. Its info is the 11 bytes
// "p2p direct" and 00, the length of the group's name as a uvarint, the name, and
// for the sender, then the receiver, the key and the Inc in 8 bytes, big-endian.
//
// The session's name is 16 bytes exported with the context "id". DATA number N,
// from 1, has in Body the N-th message sealed without associated data. ACK says
// that all up to N have come; its Mac is the first 16 bytes of the HMAC-SHA256 of N
// and Round, 8 bytes each, big-endian, with the 32 bytes exported with the context
// "ack". A greater Round asks for all after N again.
package p2p
