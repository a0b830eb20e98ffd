// Package causal keeps the history of a group: what was said, by whom, and
// after what. All nodes that can reach each other, directly or through others,
// come to hold the same history, in the same order.
//
// # Blocks
//
// An author's messages are appended in blocks. A block names the author's
// block before it and the heads, that is, all blocks that nobody had followed
// yet when it was written, each by its whole hash; so it stands for everything
// that its author had seen. It is signed once, and the bytes that were signed
// are kept, stored and passed on as they are. A full block holds hundreds of
// messages, an idle author's block one.
//
// A writer is one incarnation of one peer's log: a chain of blocks 1, 2, 3, …
// whose messages are numbered 1, 2, 3, … Every start of a log with a Store
// begins another writer, so that a number is never used twice.
//
// The height of a block is 1 + the greatest height of the blocks it follows.
// It is the only clock, and it is recomputed by everybody: a block that claims
// another height is refused, and no clock of any machine decides what comes
// after what.
//
// # Two orders
//
// Deliveries are the messages in the order in which they arrived here, each
// after all that it depends on. That order only grows, and differs from node
// to node. The history has the same messages by (height, wall clock, hash),
// those of a block together: it is a causal order too, and the same on all
// nodes that hold the same messages; a message that comes late is inserted
// where it belongs.
//
// # How nodes become equal
//
//	what is sent         when                                        what for
//	Blocks               an author has written, to all linked        live
//	Beat                 with heartbeats, and when things went quiet  shows what is missing
//	Pull, Batch, Credit  a link came up, or something stays missing  takes over any difference, in one round
//	Ranges, Diffs        before a Pull, if there are many writers     finds what differs
//	Base                 before a Batch, if the other lacks a checkpoint  stands for what was given up
//	Want, Blocks         a block's parent stays missing              repairs single gaps
//	Ack                  every 20 ms while blocks arrive, see below   receipts, and what a Beat may miss
//	Fork                 a writer used a number twice                proof
//
// A Pull says for each writer how far its chain is held; what is missing is a
// suffix of each chain, and is streamed in causal order against credit. A
// block that came before its parents waits in a bounded buffer. The buffer, the
// streams and the datagrams may all lose what they hold: what is missing shows
// in the next Beat or Ack, and is fetched.
//
// With over 400 chain ends that would take more than 16 KiB. Then ranges of
// blocks, in the order of height, then hash, are compared instead (Meyer,
// "Range-Based Set Reconciliation", 2022, arXiv:2212.13567). Who asks sends
// fingerprints of up to 16 ranges of about equal numbers of its blocks; the
// other says which differ, and lists by 8 bytes each the blocks in those that
// have at most 32; what is larger is split again. So n blocks take at most
// log16(n/32) + 1 rounds, of 23 to 31 bytes a range and 8 a listed block, for
// each of the ranges that differ; mostly these are few, the latest. A fingerprint is
// the SHA-256 of a sum modulo 2^256 and a number, never an exclusive or, which
// anybody can forge. The short hashes are salted anew for each Pull, and the
// ranges cut by chance, so that nobody can prepare blocks that are overlooked
// twice. What was found is asked for by Pulls of 14 KiB, lowest first, so that it
// can be delivered as it comes: about 1,500 listed blocks, or any number where
// the one that asks holds few, in a Pull. Ranges begin above the checkpoint that
// the asking one has. The other keeps nothing but the last question, and what of
// the last Pull is still to be sent.
//
// In a group of n members, more than 8, an Ack follows the one before after n · 2.5
// ms. Of more than 16, that is for members of whom a block has arrived since; those
// who only listen get theirs after n/16 times that, or a second if that is less.
// So within a second after a talk all know what all hold; of more than 400 members,
// within n · 2.5 ms. In up to 16 also 256 KiB of messages are followed by an Ack,
// in larger groups n · 16 KiB, or 1 MiB if that is less, to those who write.
//
// No message that carries no blocks is larger than 16 KiB: an Ack of more than
// 384 writers is followed by others, which go on where it ended.
//
// A Store that lost or damaged a record in the middle is opened without what
// depends on that record. To the others such a node is one that was away: it
// takes over what it lacks, and stores it again.
//
// # What is kept
//
// Config.Retention limits the messages that are kept, by age and size. Of the
// oldest blocks, in the order of the history, the payload is dropped, and the
// header stays, with the payload's hash: the digest, all positions and what can
// be synced are the same with and without it, and every chain can still be
// verified. Such a block is hollow. Who takes it over in the answer to a Pull
// has its messages without Data, too, and does not look for them elsewhere; so
// a member that serves Pulls can withhold old messages, but not alter them. A
// block that comes live, or is asked for by a Want, must have its payload.
//
// # What is given up
//
// With Config.Compaction the members agree to give up what is old, headers and
// all. The member with the lowest key proposes a height by a checkpoint block,
// which commits to all blocks up to it: their number, their messages, the sum
// of their hashes, and the last block of each writer. A member that holds
// exactly these, and whose Final is as high, answers with a checkpoint block of
// its own. When all have, those that do not Keep drop everything up to that
// height, here and in the Store. The checkpoint with its votes stands in for it,
// in the answer to a Pull too; so who joins later checks the signatures of all
// that agreed, and that what it takes over is what they signed. It cannot check
// more: what nobody has, nobody can show. But one that is to Keep asks for the
// whole: a member that has it sends the checkpoint after all blocks, and who
// sends it before any has not, so another member is asked.
//
// From then on a block up to that height is refused, and a block above it may
// follow what is given up: whatever is numbered like it counts as held, and has
// that height. All nodes that have the checkpoint decide by these rules, those
// that keep all, too; so their digests, positions and counts are the same.
//
// What somebody who is away may still bring is waited for. An author that is no
// member writes above its own last block only, and nothing above that is given
// up until it has been away, and not been heard of, for Compaction.Away. So no
// partition that is shorter loses anything. Who comes back later takes over the
// checkpoint and keeps of its own what fits on that. It appends its own
// messages that do not fit again, under new IDs; it may happen that both are in
// the history in the end, but not that neither is. Messages of others that do
// not fit are reported in Ready.Displaced; their authors append them again if
// they come. If two halves of a group have each given up something, the
// checkpoint with the greater height, then commitment, goes before the other,
// and the members of the other half do as if they had been away; how many
// messages they had given up among themselves, Ready.Forgotten says.
//
// # What is refused
//
// A block is authentic if its signature verifies, or if an authentic block of
// the same writer names it as the one before. Whether a block is accepted
// depends on it and on its ancestors alone, so that all nodes decide alike.
// What is refused changes nothing but a count, by reason, in Stats.Refused:
//
//	malformed       not the one encoding of a block, or beyond the limits below
//	too_large       more than a block, or a message, can have
//	known           held already
//	signature       neither signed nor vouched for
//	unchecked       came after 16 bad signatures in one message; it comes again by another
//	unknown_writer  the writer's key is not known, or the writer is not the key's
//	links           contradicts the blocks that it follows
//	height          has another height than it claims
//	no_payload      came without its messages, and not in the answer to a Pull
//	pending_full    gave way in the buffer; it comes again
//	pending_old     its parents never came; it comes again with them
//	below_checkpoint  belongs to what was given up
//	checkpoint      a Base that is not signed by all that it names, or by nobody who is here
//	stranger        a message of a node that is neither a member nor linked
//	too_many_tips   a Pull or an Ack beyond the limit
//	ranges          Ranges, Diffs or a Pull that contradict themselves, lead nowhere, or are too many
//	no_proof        a Fork that proves nothing
//
// A writer that signs two blocks with one number forks. Both branches are kept
// everywhere, and the two blocks are the proof.
//
// # Limits
//
//	message                      1 MiB (MaxMessage; less by Config.MaxMessage)
//	block                        126 KiB of messages, or one larger message; 65,536 messages (MaxCount)
//	heads that a block follows   32 beside the own (MaxDeps); with more, merge blocks come first
//	Blocks, Batch                256 KiB, or one block
//	waiting for parents          4,096 blocks, 8 MiB, 30 s (Config.Pending…)
//	under way in a Pull          2 MiB (Config.Window)
//	chain ends in a Pull         400; in an Ack 384, and 120 doubts
//	Ranges                       384, 512 times a second from a peer
//	Parts in a Pull              256, of at most 32 short hashes
//	a checkpoint                 16 MiB: 104 bytes a writer, in parts of 12 KiB
//	history                      2^32 - 1 blocks, all that are held in memory
//
// # Encoding
//
// Numbers of a fixed size are big-endian; a uvarint is that of Protocol Buffers, in
// the shortest form. A block as it is stored and sent, which is called a frame:
//
//	form       1 byte: 0 with the payload, 1 with the payload's hash in its place
//	signature  64 bytes: Ed25519 over "p2p causal signature 1", 00, and the block's hash
//	length     2 bytes: of the body, 4,096 at most
//	body       see below
//	payload    the rest: the messages back to back, each after its length as a uvarint; or the
//	           32 bytes of the payload's SHA-256
//
// The body:
//
//	version    1 byte: 1
//	kind       1 byte: 1 messages, 2 merge, 3 genesis, 4 checkpoint
//	writer     16 bytes
//	n          uvarint: 1, 2, 3, … for each writer
//	first      uvarint: number of its first message, from 1 for each writer
//	count      uvarint: messages in it; none in a merge or checkpoint, any number in a genesis
//	height     uvarint: 1 + the greatest height of the blocks that it follows
//	wall       uvarint: milliseconds since 1970, below 2^48
//	public     genesis only, 32 bytes: the author's Ed25519 key
//	random     genesis only, 16 bytes
//	continues  genesis only: 0, or 1 and a reference to the last block of the author's run before
//	prev       all others, 32 bytes: hash of the writer's block n-1
//	upto       checkpoint only, uvarint: a height, below its own
//	commit     checkpoint only, 32 bytes: the commitment to all blocks up to it
//	deps       1 byte: how many other heads it follows, 32 at most, then references, ascending
//
// A reference is writer (16 bytes), n (uvarint) and hash (32 bytes). Domain(s) is s, 00,
// the length of the group's name in 4 bytes, and the name. In a sum each hash is a
// number of 32 bytes, the least first:
//
//	block's hash      SHA-256 of Domain("p2p causal block 1"), the payload's SHA-256, the body
//	writer            first 16 bytes of the SHA-256 of Domain("p2p causal writer 1"), public, random
//	commitment        SHA-256 of Domain("p2p causal base 1") and the encoded sum, see below
//	Digest.Hash       first 16 bytes of the SHA-256 of the number of blocks and the sum of their
//	                  hashes modulo 2^256, 8 and 32 bytes, both least byte first, and the hashes of the
//	                  heads, ascending; zeros if there is no block
//
// What sums up the blocks up to a height is encoded as that height, the number of
// blocks and that of messages, in 8 bytes each; the sum of the hashes, 32 bytes, least
// byte first; the number of members that agreed, in 4 bytes, and their keys, 16 bytes
// each, ascending; and the number of chain ends, in 4 bytes, and each of these, ascending:
// writer (16), public key (32), n, first message after it, and wall, 8 bytes each, and
// hash (32). The parts of a Base, put together, are the length of that in 4 bytes, the
// sum, and for each vote two byte strings after their length in 2 bytes: the public and
// random bytes of the voter's writer, or nothing if one of the ends tells them, and the
// checkpoint block.
//
// testdata/vectors.json has blocks of every kind, the sum of those up to height 2, and
// the digest of all but the checkpoint.
package causal
