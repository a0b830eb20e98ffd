package causal

// Protocol is a message between two logs: one of *Blocks, *Beat, *Ranges,
// *Diffs, *Pull, *Credit, *Batch, *Base, *Want, *Fork, *Ack and *Fresh. All but
// Beat and Fresh travel on the stream of two peers. None but Blocks, Batch, Fork
// and Fresh carries blocks, and none of the others has more than 16 KiB.
type Protocol interface{ Kind() Kind }

// Kind tells the messages apart. The values are part of the wire format.
type Kind uint8

// The kinds of Protocol.
const (
	KindBlocks Kind = iota + 1
	KindBeat
	KindPull
	KindCredit
	KindBatch
	KindWant
	KindFork
	KindAck
	KindBase
	KindRanges
	KindDiffs
	KindFresh
)

type (
	// Blocks are encoded blocks, in causal order: their author's live word, or
	// the answer to Want. The slices may be shared with other Blocks and with
	// the log.
	Blocks struct {
		Frames [][]byte
	}
	// Fresh are the sender's own last blocks, by datagram to all: the same come
	// by the streams, but perhaps later. What is held is skipped, and nothing
	// follows from what is lost.
	Fresh struct {
		Frames [][]byte
	}
	// Beat says what a node holds.
	Beat struct {
		Count  uint64 // blocks
		Height uint64 // the greatest
		Digest Digest
		Heads  []Ref    // the blocks without successor, or none if over four
		Writer WriterID // its own writer, and
		N      uint64   // the last block of it
		// Intro is the public key (32 bytes) and the random bytes (16) that
		// Writer is made of, so that its blocks can be verified before its
		// first one is here; only in the first Beat on a stream, else empty.
		Intro []byte
	}
	// Pull asks for all that the sender does not hold: by Tips, the ends of the
	// chains that it holds, or, if Ranged, for what it found to differ, by
	// Parts. Session numbers it.
	Pull struct {
		Session uint64
		Tips    []Tip
		Credit  uint32 // bytes of blocks that may be sent before more credit
		Height  uint64 // of the checkpoint that the sender's history begins with, and
		Base    Hash   // what that commits to
		Whole   bool   // all is wanted, also what a checkpoint of the other stands for
		Ranged  bool
		Salt    uint64 // of the short hashes in Parts
		Parts   []Part // ascending
	}
	// Part is what is asked for of the blocks from From up to, without, To:
	// those with the short hashes that are listed if Only, else all others.
	Part struct {
		From, To Bound
		Only     bool
		Short    []byte // 8 bytes each, ascending
	}
	// Bound is a place between blocks in the order of height, then hash: before
	// all those at Height whose first eight bytes, big-endian, are Part or more.
	Bound struct {
		Height, Part uint64
	}
	// Ranges asks which ranges of blocks the other holds differently. They lie
	// end to end: the first begins at From, each goes up to its To.
	Ranges struct {
		Session uint64
		Salt    uint64 // of the short hashes in the answer
		From    Bound
		Ranges  []Range
	}
	// Range is one of them.
	Range struct {
		To Bound
		// Print is the fingerprint of the blocks that the sender holds in it: 16
		// bytes of the SHA-256 of the sum of their hashes modulo 2^256, least
		// byte first, and their number, in 8 bytes. If it is empty, the range is
		// left out.
		Print []byte
	}
	// Diffs answers Ranges by those that differ, ascending.
	Diffs struct {
		Session uint64
		Diffs   []Diff
	}
	// Diff is one of them.
	Diff struct {
		Index  uint32 // of the range
		Blocks uint64 // that the sender holds in it
		// Short are the short hashes of these, 8 bytes each, ascending: of each
		// the first bytes of the SHA-256 of the salt, in 8 bytes big-endian, and
		// the hash. It is empty if they are many, or the message is full.
		Short []byte
	}
	// Credit allows the server of a Pull to send so many more bytes.
	Credit struct {
		Session uint64
		Bytes   uint32
	}
	// Batch is a part of the answer to a Pull: blocks in an order in which
	// each can be delivered at once.
	Batch struct {
		Session uint64
		Frames  [][]byte
		More    bool // false in the last
	}
	// Base is a part of a checkpoint, before the blocks that answer a Pull: what
	// stands for all that is older, and the votes for it.
	Base struct {
		Session uint64
		Part    []byte
		More    bool // false in the last
	}
	// Want asks for a few blocks by their places. The answer is Blocks.
	Want struct {
		Spans []Span
	}
	// Span is the places From to To of a writer.
	Span struct {
		Writer   WriterID
		From, To uint64
	}
	// Fork proves that a writer signed two blocks with one number.
	Fork struct {
		A, B []byte // encoded blocks without their payload
	}
	// Ack says what the sender holds: all blocks of each writer up to N. It
	// lists what changed since the Ack before on the same stream, or all if
	// Full; what it has no room for follows in the next ones.
	Ack struct {
		Full   bool
		Height uint64 // the greatest held
		Count  uint64 // blocks held
		Digest Digest // of what is held
		Tips   []Dot
		// Doubts are ends of chains that are held, of writers for whom the
		// other's last Pull named an end that is not held. They show the other
		// whether it is merely ahead, or on another branch of a fork.
		Doubts []Tip
	}
	// Dot is the place of a block: the N-th of its writer.
	Dot struct {
		Writer WriterID
		N      uint64
	}
	// Ref is a block's place and its hash.
	Ref struct {
		Writer WriterID
		N      uint64
		Hash   Hash
	}
	// Tip is the end of a writer's chain, as far as it is held. A Pull has
	// several for a writer with several branches, or one that may have: then
	// also blocks further back, and last N = 0, "or else nothing".
	Tip struct {
		Writer WriterID
		N      uint64
		Hash   [8]byte // the first bytes of the block's hash
	}
)

// Hash is a SHA-256 sum.
type Hash [32]byte

// Kind returns KindBlocks.
func (*Blocks) Kind() Kind { return KindBlocks }

// Kind returns KindBeat.
func (*Beat) Kind() Kind { return KindBeat }

// Kind returns KindPull.
func (*Pull) Kind() Kind { return KindPull }

// Kind returns KindCredit.
func (*Credit) Kind() Kind { return KindCredit }

// Kind returns KindBatch.
func (*Batch) Kind() Kind { return KindBatch }

// Kind returns KindBase.
func (*Base) Kind() Kind { return KindBase }

// Kind returns KindRanges.
func (*Ranges) Kind() Kind { return KindRanges }

// Kind returns KindFresh.
func (*Fresh) Kind() Kind { return KindFresh }

// Kind returns KindDiffs.
func (*Diffs) Kind() Kind { return KindDiffs }

// Kind returns KindWant.
func (*Want) Kind() Kind { return KindWant }

// Kind returns KindFork.
func (*Fork) Kind() Kind { return KindFork }

// Kind returns KindAck.
func (*Ack) Kind() Kind { return KindAck }
