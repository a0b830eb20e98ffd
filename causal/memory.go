package causal

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"
)

// When own messages become a block, and how large messages to peers are. A
// block costs a signature, a message to a peer a verification for each writer
// in it: at these sizes both cost less than hashing the content does.
const (
	// flushBytes is the payload at which a block is closed; a larger message
	// has a block of its own. Two full blocks just fit in a message to a peer.
	flushBytes = 126 << 10
	// flushDelay is how long a message waits for others to share its block.
	flushDelay = time.Millisecond
	// sendBytes bounds Blocks, batchBytes Batch, unless a single block is larger.
	sendBytes  = 256 << 10
	batchBytes = 256 << 10
)

// Memory is a Log that holds everything in memory, and in a Store if there is
// one. The zero value is not usable; see NewMemory.
//
// Step keeps nothing of the message it is given, nor do the results of Next
// change later: messages may be decoded from, and encoded into, buffers that
// are used again. What Ready returns is valid until its next call.
type Memory struct {
	cfg    Config
	pub    ed25519.PublicKey
	self   Key
	rng    *rand.Rand
	now    time.Time // the last that was given
	closed bool

	// What is held.
	hash    *hasher
	blocks  blocks
	table   table
	order   order
	arena   arena
	writers []writer
	byID    map[WriterID]uint32
	heads   []uint32  // blocks that no other follows
	count   uint64    // of blocks, with those that are gone
	index   uint64    // of the next message in the order of delivery
	begun   uint64    // how often the history was begun anew
	sum     [4]uint64 // of all hashes, modulo 2^256, least first
	base    base      // what the group agreed on last
	gone    struct {  // up to order.floor
		blocks uint64
		sum    [4]uint64
	}
	cp        checkpoints
	late      []late // held before the base, and in question
	undecided bool   // the Store still has what was there before the base
	bytes     uint64 // of payload
	took      uint64 // bytes of payload that were ever delivered
	kept      retention
	level     sortedLevel
	limits    limits
	digest    Digest
	stale     bool // digest is to be computed again
	pending   pending
	gap       bool  // what Ready said last: blocks wait for a parent
	vias      []Key // who sent blocks; the own key first
	byVia     map[Key]uint32

	// What is being written.
	me        own
	full      int    // bytes at which a block is closed
	open      []byte // payload of the block to come
	openCount uint32
	openUntil time.Time    // when it is closed at the latest
	mine      []uint32     // own blocks of this run
	sent      [8]cached    // Blocks made for others, to be used again
	oldest    int          // of sent
	held      uint64       // own blocks from this number on are not sent by streams; 0: all are,
	heldBut   map[Key]bool // as they are to these
	heldFirst uint64       // the lowest number that was ever withheld; 0: none was

	// Who is there.
	peers   map[Key]*peer
	sorted  []*peer // by key
	members []*peer // by key; without the own
	pull    *pull
	session uint64
	synced  bool
	final   uint64 // height

	beats   beats
	checkAt time.Time // when to look after what is missing
	mergeAt time.Time
	lastNew time.Time // a block was delivered

	// What Ready will say.
	out      Ready
	unstable []uint32 // writers whose stable count has grown
	refused  map[string]uint64
	pulls    uint64
	served   uint64

	store   Store
	state   State
	loaded  Loaded
	recs    []Record
	first   uint64 // the record of the first block, at the earliest
	stored  uint64 // the record to come
	durable bool   // recs holds an own block
	broken  bool   // the store failed, or holds less than it should

	// Room to work in, kept from call to call.
	in      []incoming
	chain   map[WriterID]Hash
	fresh   map[WriterID][32]byte
	parents []uint32
	via     uint32 // who sent what is being delivered,
	early   bool   // and that it came by a Fresh,
	apart   bool   // and what it follows comes in the same way
	wake    []woken
	woke    frame
	scratch []byte
	listed  []Key
	stables []MessageID
}

// writer is what is known of one writer. It has delivered blocks.
type writer struct {
	id       WriterID
	author   Key
	pub      [32]byte
	blocks   []uint32 // its blocks off + 1, 2, 3, …: of several with one number the first delivered
	branches []uint32 // the others; not empty means that it forked
	off      uint64   // the greatest number of what is gone, and
	low      uint64   // of what the base sums up
	ends     []end    // what of that nothing followed, or did not at the checkpoint
	forked   bool     // proven, by
	proof    *Fork
	stable   uint64 // how many of its messages all members hold
	told     uint64 // the stable count that Ready reported
	dirty    bool   // listed in unstable
}

// n is the number of the last block held, or gone.
func (w *writer) n() uint64 { return w.off + uint64(len(w.blocks)) }

// at is the place of block n, which must be held.
func (w *writer) at(n uint64) uint32 { return w.blocks[n-w.off-1] }

// own is the writer of own messages.
type own struct {
	id     WriterID
	random [16]byte
	tip    uint32 // last block, plus one
	n      uint64 // its number
	next   uint64 // number of the next message
	cont   Ref    // what the genesis will say it continues
}

var _ Log = (*Memory)(nil)

// NewMemory returns a log with what cfg.Store holds. It takes possession of
// the store, and fails with ErrWrongGroup, ErrFormat, ErrLocked or another
// error of the store if that cannot be used.
func NewMemory(cfg Config) (*Memory, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	m := &Memory{cfg: cfg, full: flushBytes, limits: limits{tips: maxTips, ack: ackTips, small: small}, refused: make(map[string]uint64)}
	if most := cfg.Retention.MaxBytes; most > 0 { // whole blocks are dropped
		m.full = int(min(flushBytes, 1+most/8))
	}
	var seed [32]byte
	if _, err := io.ReadFull(cfg.Rand, seed[:]); err != nil {
		return nil, fmt.Errorf("causal: no randomness: %w", err)
	}
	m.rng = rand.New(rand.NewChaCha8(seed)) // #nosec G404 -- the seed is from Config.Rand
	m.reset()
	if err := m.load(); err != nil {
		return nil, err
	}
	return m, nil
}

// reset makes the log empty.
func (m *Memory) reset() {
	m.hash = newHasher(m.cfg.Group)
	m.blocks, m.order, m.arena = blocks{}, order{}, arena{alloc: m.cfg.Alloc}
	m.table = table{seed: [2]uint64{m.rng.Uint64() | 1, m.rng.Uint64() | 1}}
	m.writers, m.byID = nil, make(map[WriterID]uint32)
	m.heads, m.sum, m.bytes, m.stale = nil, [4]uint64{}, 0, true
	m.took, m.kept = 0, retention{}
	m.count, m.index, m.base = 0, 0, base{}
	m.gone.blocks, m.gone.sum = 0, [4]uint64{}
	m.pending = newPending()
	m.vias, m.byVia = []Key{m.self}, make(map[Key]uint32)
	if m.peers == nil {
		m.peers = make(map[Key]*peer)
	}
	m.chain, m.fresh = make(map[WriterID]Hash), make(map[WriterID][32]byte)
}

// PrivateKey is the peer's key: the one of the Config, or the one of the Store.
func (m *Memory) PrivateKey() ed25519.PrivateKey { return m.cfg.Key }

// Incarnation counts how often the Store was opened, from 1. It is 0 without
// a Store.
func (m *Memory) Incarnation() uint64 { return m.state.Inc }

// Writer implements Log. It changes if somebody else turns out to write in its
// name: a copy of this process, say, resumed from an image. IDs that Append
// returned for messages not flushed yet are void then: the messages follow under
// the new writer.
func (m *Memory) Writer() WriterID { return m.me.id }

// Append implements Log.
func (m *Memory) Append(now time.Time, data ...[]byte) (MessageID, error) {
	if m.closed {
		return MessageID{}, ErrClosed
	}
	for _, d := range data {
		if len(d) > m.cfg.MaxMessage {
			return MessageID{}, ErrTooLarge
		}
	}
	m.now = now
	id := MessageID{Writer: m.me.id, N: m.me.next}
	for _, d := range data {
		if m.openCount > 0 && len(m.open)+len(d)+3 > m.full {
			m.flush(now)
		}
		if m.openCount == 0 {
			if len(d) >= m.full { // it has a block of its own, and is copied into that only
				m.draw(now)
				m.me.next++
				m.write(now, 1, binary.AppendUvarint(nil, uint64(len(d))), d)
				continue
			}
			m.openUntil = now.Add(flushDelay)
		}
		m.open = binary.AppendUvarint(m.open, uint64(len(d)))
		m.open = append(m.open, d...)
		m.openCount++
		m.me.next++
		if len(m.open) >= m.full || m.openCount == MaxCount {
			m.flush(now)
		}
	}
	return id, nil
}

// Flush implements Log.
func (m *Memory) Flush(now time.Time) error {
	if m.closed {
		return ErrClosed
	}
	m.now = now
	if m.openCount > 0 {
		m.flush(now)
	}
	m.settle()
	return nil
}

// flush makes the open messages a block.
func (m *Memory) flush(now time.Time) {
	m.draw(now)
	payload, count := m.open, m.openCount
	m.open, m.openCount, m.openUntil = m.open[:0], 0, time.Time{}
	m.write(now, count, payload)
}

// draw draws heads together if there are more than one block can follow. None
// is left out: that would lose what they happened before.
func (m *Memory) draw(now time.Time) {
	for m.others() > MaxDeps {
		m.write(now, 0)
	}
}

// others is how many heads there are beside the own.
func (m *Memory) others() int {
	n := len(m.heads)
	if m.me.tip > 0 && m.blocks.at(m.me.tip-1).flags&flagParent == 0 {
		n--
	}
	return n
}

// write signs a block and delivers it; the payload is given in parts. It follows
// the own last block and the heads, the highest first if they are too many, so
// that its height exceeds all there is.
func (m *Memory) write(now time.Time, count uint32, payload ...[]byte) {
	m.writeAs(now, body{kind: kindMessages, count: count}, payload...)
}

// writeAs is write for a block of the given kind.
func (m *Memory) writeAs(now time.Time, as body, payload ...[]byte) {
	x, count := &m.woke.body, as.count
	as.deps = x.deps[:0]
	*x = as
	x.writer, x.n, x.height = m.me.id, m.me.n+1, m.base.height
	x.first = m.me.next - uint64(count) - uint64(m.openCount)
	x.wall = min(max(now.UnixMilli(), 0), maxWall-1)
	m.parents = m.parents[:0]
	switch {
	case m.me.tip == 0:
		x.kind, x.random, x.cont = kindGenesis, m.me.random, m.me.cont
		copy(x.pub[:], m.pub)
	default:
		if count == 0 && x.kind == kindMessages {
			x.kind = kindMerge
		}
		x.prev = m.blocks.at(m.me.tip - 1).hash
		m.parents = append(m.parents, m.me.tip-1)
	}
	first := len(m.parents)
	for _, h := range m.heads {
		if h+1 != m.me.tip {
			m.parents = append(m.parents, h)
		}
	}
	if heads := m.parents[first:]; len(heads) > MaxDeps {
		slices.SortFunc(heads, func(a, b uint32) int {
			if x, y := m.blocks.at(a).height, m.blocks.at(b).height; x != y {
				if x > y {
					return -1
				}
				return 1
			}
			return int(a) - int(b)
		})
		m.parents = m.parents[:first+MaxDeps]
	}
	for _, p := range m.parents {
		x.height = max(x.height, m.blocks.at(p).height)
	}
	x.height++
	for _, p := range m.parents[first:] {
		x.deps = append(x.deps, m.ref(p))
	}
	slices.SortFunc(x.deps, compareRefs)

	head := x.append(m.scratch[:0])
	m.scratch = head
	f := &m.woke
	var at place
	size := 0
	for _, p := range payload {
		size += len(p)
	}
	f.raw, at = m.arena.reserve(frameHead + len(head) + size)
	f.raw[0] = formWhole
	binary.BigEndian.PutUint16(f.raw[frameHead-2:], uint16(len(head)))
	end := frameHead + copy(f.raw[frameHead:], head)
	f.payload = f.raw[end:]
	for _, p := range payload {
		end += copy(f.raw[end:], p)
	}
	f.hash = m.hash.block(sha256.Sum256(f.payload), head)
	copy(f.raw[1:], ed25519.Sign(m.cfg.Key, signed(f.hash)))

	i := m.insert(f, at, flagOwn)
	m.me.tip, m.me.n = i+1, x.n
	m.mine = append(m.mine, i)
	m.deliverWaiting(f.hash, true)
}

func (m *Memory) ref(i uint32) Ref {
	b := m.blocks.at(i)
	return Ref{Writer: m.writers[b.writer].id, N: b.n, Hash: b.hash}
}

// rotate begins another writer: the one so far has been, or may have been, used
// by somebody else, and a number must never be used twice.
func (m *Memory) rotate() error {
	old := m.me
	m.me = own{next: 1 + uint64(m.openCount), cont: old.cont}
	if old.tip > 0 {
		m.me.cont = m.ref(old.tip - 1)
	}
	if _, err := io.ReadFull(m.cfg.Rand, m.me.random[:]); err != nil {
		return fmt.Errorf("causal: no randomness: %w", err)
	}
	m.me.id = writerID(m.cfg.Group, m.pub, m.me.random[:])
	for _, p := range m.sorted {
		p.greet = p.active
	}
	return nil
}

// known is the place of a writer in m.writers. One that is new there has the
// given public key.
func (m *Memory) known(id WriterID, pub *[32]byte) uint32 {
	w, ok := m.byID[id]
	if !ok {
		w = uint32(len(m.writers))
		m.writers = append(m.writers, writer{id: id, author: keyOf(pub[:]), pub: *pub})
		m.byID[id] = w
		for _, p := range m.sorted {
			p.learn(id, w)
		}
	}
	return w
}

// insert delivers a block whose parents, listed in m.parents, are there, and
// whose frame is kept at the given place.
func (m *Memory) insert(f *frame, at place, flags uint8) uint32 {
	w := m.known(f.writer, &f.pub)
	wr := &m.writers[w]
	i := m.blocks.n
	b := m.blocks.add()
	*b = block{
		hash: f.hash, n: f.n, first: f.first, msgs: m.index, height: f.height, wall: f.wall,
		chunk: at.chunk, off: at.off, size: uint32(len(f.raw)), data: uint32(len(f.raw) - len(f.payload)),
		count: f.count, writer: w, flags: flags, via: m.via, came: m.now.UnixMilli(),
	}
	if wr.author == m.self {
		b.flags |= flagOwn
	}
	if f.payload == nil || !parses(f.payload, f.count) {
		// A payload that is no list of messages is as good as none. The block
		// counts all the same: whoever has it without its payload cannot tell.
		b.flags |= flagHollow
	} else {
		m.bytes += uint64(len(f.payload))
		m.took += uint64(len(f.payload))
	}
	if f.n > 1 && m.parents[0] != below {
		b.prev = m.parents[0] + 1
	}
	for _, p := range m.parents {
		if p == below {
			continue
		}
		if q := m.blocks.at(p); q.flags&flagParent == 0 {
			q.flags |= flagParent
			k := slices.Index(m.heads, p)
			m.heads[k] = m.heads[len(m.heads)-1]
			m.heads = m.heads[:len(m.heads)-1]
		}
	}
	m.heads = append(m.heads, i)
	m.table.add(&m.blocks, i)

	m.count++
	m.index += uint64(b.count)
	last := b.height > m.order.top()
	m.order.add(&m.blocks, i)
	if !last && b.count > 0 {
		if pos := m.order.pos(&m.blocks, i); pos+uint64(b.count) < m.order.msgs {
			b.flags |= flagInserted
			if m.out.Inserted == 0 || pos < m.out.InsertedAt {
				m.out.InsertedAt = pos
			}
			m.out.Inserted += uint64(b.count)
		}
	}

	var carry uint64
	for k := range m.sum {
		m.sum[k], carry = add64(m.sum[k], binary.LittleEndian.Uint64(f.hash[8*k:]), carry)
	}
	m.stale = true
	m.out.Digest = true
	m.out.Delivered = m.out.Delivered || b.count > 0
	m.lastNew = m.now
	m.beats.changed(m.now)
	if p := m.peers[wr.author]; p != nil {
		p.wrote = true
	}

	if f.n == wr.n()+1 {
		wr.blocks = append(wr.blocks, i)
	} else {
		wr.branches = append(wr.branches, i)
		if f.n > wr.off {
			m.forked(w, wr.at(f.n), i)
		}
	}
	m.restable(w)
	m.retain(i)
	if f.kind == kindCheckpoint {
		m.voted(wr.author, f.upto, f.commit, i)
	}
	if m.store != nil && !m.broken {
		m.recs = append(m.recs, Record{Frame: m.raw(i), Own: b.flags&flagOwn != 0})
		m.durable = m.durable || b.flags&flagOwn != 0
	}
	return i
}

func add64(a, b, carry uint64) (sum, out uint64) {
	sum = a + b + carry
	return sum, ((a & b) | ((a | b) &^ sum)) >> 63
}

// raw is the frame of the block at place i.
func (m *Memory) raw(i uint32) []byte {
	b := m.blocks.at(i)
	return m.arena.chunks[b.chunk][b.off : b.off+b.size : b.off+b.size]
}

// payload is the payload of a block, nil if it is not held.
func (m *Memory) payload(b *block) []byte {
	if b.flags&flagHollow != 0 {
		return nil
	}
	return m.arena.chunks[b.chunk][b.off+b.data : b.off+b.size : b.off+b.size]
}

func (m *Memory) refuse(reason error) { m.refused[reason.Error()]++ }

// fault refuses what no honest peer sends.
func (m *Memory) fault(reason error) {
	m.refuse(reason)
	m.out.Faults++
}

// Ready implements Log.
func (m *Memory) Ready() Ready {
	m.persist()
	r := m.out
	m.out = Ready{}
	if waits := len(m.pending.byHash) > 0; waits != m.gap {
		m.gap, r.Gap = waits, true
	}
	m.listed = m.listed[:0]
	for _, p := range m.sorted {
		if m.has(p) {
			m.listed = append(m.listed, p.key)
		}
	}
	r.Peers = m.listed
	m.stables = m.stables[:0]
	for _, w := range m.unstable {
		wr := &m.writers[w]
		wr.dirty, wr.told = false, wr.stable
		m.stables = append(m.stables, MessageID{Writer: wr.id, N: wr.stable})
	}
	m.unstable = m.unstable[:0]
	r.Stable = m.stables
	return r
}

// Digest implements Log. It is the zero value while nothing is held.
func (m *Memory) Digest() Digest {
	if m.stale {
		m.stale = false
		m.digest = m.computeDigest()
	}
	return m.digest
}

// Len implements Log.
func (m *Memory) Len() uint64 { return m.order.msgs }

// Stats implements Log.
func (m *Memory) Stats() Stats {
	s := Stats{
		Blocks: m.count, Messages: m.order.msgs, Bytes: m.bytes, Pending: len(m.pending.byHash),
		Missing: m.pending.missing(), Pulls: m.pulls, Served: m.served, Refused: make(map[string]uint64, len(m.refused)),
	}
	for k, v := range m.refused {
		s.Refused[k] = v
	}
	return s
}
