package causal

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
)

// base sums up all blocks up to a height, so that they need not be held. The
// ends of the writers' chains commit to every one of them.
type base struct {
	height  uint64 // 0: there is none
	blocks  uint64
	msgs    uint64
	sum     [4]uint64
	members []Key // who agreed, ascending
	ends    []end // ascending

	commit Hash
	blob   []byte // its encoding, and the votes
}

// end is the last block of a writer's chain that a base sums up. A writer that
// forked has several.
type end struct {
	writer WriterID
	pub    [32]byte
	n      uint64
	next   uint64 // number of the message after it
	wall   int64
	hash   Hash
}

// below stands for the place of a block that a base sums up.
const below = math.MaxUint32

const (
	baseDomain = "p2p causal base 1\x00"
	maxBase    = 16 << 20 // bytes of a base and its votes
	baseHead   = 8 + 8 + 8 + 32 + 4
	endSize    = 16 + 32 + 8 + 8 + 8 + 32
)

func compareEnds(a, b end) int {
	return cmp.Or(bytes.Compare(a.writer[:], b.writer[:]), cmp.Compare(a.n, b.n), bytes.Compare(a.hash[:], b.hash[:]))
}

// append appends the encoding, big-endian: height, blocks, messages and sum
// (most significant byte last), then the members' and the ends' number, in 4
// bytes each, before themselves.
func (b *base) append(to []byte) []byte {
	for _, v := range []uint64{b.height, b.blocks, b.msgs} {
		to = binary.BigEndian.AppendUint64(to, v)
	}
	for _, v := range b.sum {
		to = binary.LittleEndian.AppendUint64(to, v)
	}
	to = binary.BigEndian.AppendUint32(to, uint32(len(b.members)))
	for _, k := range b.members {
		to = append(to, k[:]...)
	}
	to = binary.BigEndian.AppendUint32(to, uint32(len(b.ends)))
	for _, e := range b.ends {
		to = append(append(to, e.writer[:]...), e.pub[:]...)
		to = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(to, e.n), e.next)
		to = binary.BigEndian.AppendUint64(to, uint64(e.wall))
		to = append(to, e.hash[:]...)
	}
	return to
}

// decode sets b to what to is the encoding of.
func (b *base) decode(from []byte) bool {
	if len(from) < baseHead {
		return false
	}
	*b = base{height: binary.BigEndian.Uint64(from), blocks: binary.BigEndian.Uint64(from[8:]), msgs: binary.BigEndian.Uint64(from[16:])}
	for i := range b.sum {
		b.sum[i] = binary.LittleEndian.Uint64(from[24+8*i:])
	}
	const far = 1 << 62
	members := binary.BigEndian.Uint32(from[56:])
	from = from[baseHead:]
	if b.height == 0 || b.height >= far || b.blocks >= far || b.msgs >= far || uint64(len(from)) < uint64(members)*16+4 {
		return false
	}
	for range members {
		b.members = append(b.members, Key(from))
		from = from[16:]
	}
	ends := binary.BigEndian.Uint32(from)
	if from = from[4:]; uint64(len(from)) != uint64(ends)*endSize {
		return false
	}
	for ; len(from) > 0; from = from[endSize:] {
		e := end{
			writer: WriterID(from), pub: [32]byte(from[16:]), n: binary.BigEndian.Uint64(from[48:]),
			next: binary.BigEndian.Uint64(from[56:]), wall: int64(binary.BigEndian.Uint64(from[64:])), hash: Hash(from[72:]),
		}
		if e.n == 0 || e.n >= far || e.next == 0 || e.next >= far || e.wall < 0 || e.wall >= maxWall {
			return false
		}
		b.ends = append(b.ends, e)
	}
	return strictly(b.members, func(x, y Key) int { return bytes.Compare(x[:], y[:]) }) && strictly(b.ends, compareEnds)
}

// strictly reports whether a list ascends.
func strictly[T any](list []T, compare func(a, b T) int) bool {
	for i := 1; i < len(list); i++ {
		if compare(list[i-1], list[i]) >= 0 {
			return false
		}
	}
	return true
}

// commitment is what members sign for a base.
func (m *Memory) commitment(encoded []byte) Hash {
	return sha256.Sum256(append(domain(baseDomain, m.cfg.Group), encoded...))
}

// exceeds reports whether b goes before another of which height and commitment
// are known: of two that exclude each other all must choose alike.
func (b *base) exceeds(height uint64, commit Hash) bool {
	return cmp.Or(cmp.Compare(b.height, height), bytes.Compare(b.commit[:], commit[:])) > 0
}

// baseAt sums up what is held and gone up to a height.
func (m *Memory) baseAt(height uint64, members []Key) base {
	b := base{height: height, blocks: m.gone.blocks, msgs: m.order.under, sum: m.gone.sum, members: members}
	for h := m.order.floor + 1; h <= height; h++ {
		for at := m.order.at(h).head; at != 0; {
			x := m.blocks.at(at - 1)
			b.blocks++
			b.msgs += uint64(x.count)
			addHash(&b.sum, &x.hash)
			at = x.next
		}
	}
	for i := range m.writers {
		b.ends = append(b.ends, m.endsAt(&m.writers[i], height)...)
	}
	slices.SortFunc(b.ends, compareEnds)
	encoded := b.append(nil)
	b.commit = m.commitment(encoded)
	b.blob = append(binary.BigEndian.AppendUint32(nil, uint32(len(encoded))), encoded...)
	return b
}

// endsAt are the ends of a writer's chain up to a height.
func (m *Memory) endsAt(w *writer, height uint64) []end {
	of := func(i uint32) end {
		x := m.blocks.at(i)
		return end{writer: w.id, pub: w.pub, n: x.n, next: x.first + uint64(x.count), wall: x.wall, hash: x.hash}
	}
	if len(w.branches) == 0 && len(w.ends) < 2 {
		for k := len(w.blocks); k > 0; k-- {
			if m.blocks.at(w.blocks[k-1]).height <= height {
				return []end{of(w.blocks[k-1])}
			}
		}
		return w.ends
	}
	followed := make(map[Hash]bool)
	all := slices.Clone(w.ends)
	for _, i := range slices.Concat(w.blocks, w.branches) {
		var f frame
		if m.blocks.at(i).height > height || f.decode(m.hash, m.raw(i)) != nil {
			continue
		}
		all = append(all, of(i))
		followed[f.prev] = true
	}
	return slices.DeleteFunc(all, func(e end) bool { return followed[e.hash] })
}

func addHash(sum *[4]uint64, h *Hash) {
	var carry uint64
	for k := range sum {
		sum[k], carry = add64(sum[k], binary.LittleEndian.Uint64(h[8*k:]), carry)
	}
}

// parent finds a block that another follows: its place, or below. Whatever is
// numbered like a block that the base sums up counts as that one, since nobody
// can tell any more; but a writer's own chain goes on at an end.
func (m *Memory) parent(r Ref, chain bool) (uint32, bool) {
	if i, ok := m.table.find(&m.blocks, &r.Hash); ok {
		return i, true
	}
	if m.base.height == 0 {
		return 0, false
	}
	if chain {
		_, ok := m.end(r.Writer, r.N, r.Hash)
		return below, ok
	}
	w, ok := m.byID[r.Writer]
	return below, ok && r.N <= m.writers[w].low
}

// end finds an end of a writer's chain in the base.
func (m *Memory) end(id WriterID, n uint64, h Hash) (end, bool) {
	if w, ok := m.byID[id]; ok {
		for _, e := range m.writers[w].ends {
			if e.n == n && e.hash == h {
				return e, true
			}
		}
	}
	return end{}, false
}

// install begins an empty log with a base.
func (m *Memory) install(b base) {
	if b.height == 0 {
		return
	}
	m.base = b
	m.order.floor, m.order.under, m.order.msgs = b.height, b.msgs, b.msgs
	m.count, m.sum, m.index = b.blocks, b.sum, max(m.index, b.msgs)
	m.gone.blocks, m.gone.sum = b.blocks, b.sum
	m.kept.heights = b.height
	m.final = max(m.final, b.height)
	for _, e := range b.ends {
		wr := &m.writers[m.known(e.writer, &e.pub)]
		wr.ends = append(wr.ends, e)
		wr.forked = len(wr.ends) > 1
		wr.off, wr.low = max(wr.off, e.n), max(wr.low, e.n)
		wr.stable = max(wr.stable, e.next-1)
	}
	m.stale = true
}

// discard gives up all blocks that the base sums up. None of them may be a head.
func (m *Memory) discard() {
	b := &m.base
	k := b.height - m.order.floor
	if k == 0 {
		return
	}
	var list []uint32
	for h := range int(k) {
		list = m.order.level(&m.blocks, h, list)
	}
	for _, i := range list {
		x := m.blocks.at(i)
		if x.flags&flagHollow == 0 {
			m.bytes -= uint64(x.size - x.data)
		}
		m.arena.release(x.chunk, x.size)
		x.flags |= flagGone
	}
	gone := m.blocks.gone
	for w := range m.writers {
		wr := &m.writers[w]
		kept := slices.IndexFunc(wr.blocks, func(i uint32) bool { return !gone(i) })
		if kept < 0 {
			kept = len(wr.blocks)
		}
		wr.blocks = slices.Clone(wr.blocks[kept:])
		wr.off += uint64(kept)
		wr.branches = slices.DeleteFunc(wr.branches, gone)
		wr.ends = nil
	}
	for _, e := range b.ends {
		wr := &m.writers[m.byID[e.writer]]
		wr.ends = append(wr.ends, e)
	}
	m.gone.blocks, m.gone.sum = b.blocks, b.sum
	old := m.order
	m.order = order{floor: b.height, under: b.msgs, msgs: b.msgs}
	m.table.slots, m.table.n = nil, 0
	for _, l := range old.heights[k:] {
		for at := l.head; at != 0; {
			i := at - 1
			at = m.blocks.at(i).next
			m.order.add(&m.blocks, i)
			m.table.add(&m.blocks, i)
		}
	}
	m.kept.late = slices.DeleteFunc(m.kept.late, gone)
	m.kept.heights = max(m.kept.heights, b.height)
	for k := range m.sent {
		m.sent[k] = cached{}
	}
	for _, p := range m.sorted {
		p.answer = slices.DeleteFunc(p.answer, gone)
		for p.cursor < len(m.mine) && gone(m.mine[p.cursor]) {
			p.cursor++
		}
	}
	m.blocks.trim()
	m.kept.done = max(m.kept.done, m.blocks.first)
}

// vote is a member's word for a base: its block, and if the block's writer is
// not among the ends, the key and the random bytes that name the writer.
type vote struct {
	frame, intro []byte
}

func appendVote(b []byte, v vote) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(v.intro)))
	b = append(b, v.intro...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(v.frame)))
	return append(b, v.frame...)
}

// cut takes what follows its length in two bytes.
func cut(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return nil, nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return b[2:n], b[n:], true
}

// openBase decodes a base with its votes, and checks that every member that it
// names has signed it.
func (m *Memory) openBase(blob []byte) (base, bool) {
	var b base
	if len(blob) < 4 || uint64(len(blob)-4) < uint64(binary.BigEndian.Uint32(blob)) {
		return b, false
	}
	size := 4 + int(binary.BigEndian.Uint32(blob))
	if !b.decode(blob[4:size]) {
		return b, false
	}
	b.blob, b.commit = bytes.Clone(blob), m.commitment(blob[4:size])
	keys := make(map[WriterID][]byte)
	for i := range b.ends {
		keys[b.ends[i].writer] = b.ends[i].pub[:]
	}
	voters := make(map[Key]bool)
	for rest := blob[size:]; len(rest) > 0; {
		var v vote
		var ok1, ok2 bool
		if v.intro, rest, ok1 = cut(rest); !ok1 {
			return b, false
		}
		if v.frame, rest, ok2 = cut(rest); !ok2 {
			return b, false
		}
		var f frame
		if f.decode(m.hash, v.frame) != nil || f.kind != kindCheckpoint || f.upto != b.height || f.commit != b.commit {
			return b, false
		}
		pub := keys[f.writer]
		if len(v.intro) == introSize && writerID(m.cfg.Group, v.intro[:ed25519.PublicKeySize], v.intro[ed25519.PublicKeySize:]) == f.writer {
			pub = v.intro[:ed25519.PublicKeySize]
		}
		if pub == nil || !ed25519.Verify(pub, signed(f.hash), f.sig) {
			return b, false
		}
		voters[keyOf(pub)] = true
	}
	for _, k := range b.members {
		if !voters[k] {
			return b, false
		}
	}
	return b, len(b.members) > 0
}

const introSize = ed25519.PublicKeySize + 16

// voteAt makes a vote of the block at a place.
func (m *Memory) voteAt(i uint32) vote {
	v := vote{frame: m.raw(i)}
	if w := &m.writers[m.blocks.at(i).writer]; w.off == 0 {
		var f frame
		if f.decode(m.hash, m.raw(w.at(1))) == nil {
			v.intro = append(append(v.intro, f.pub[:]...), f.random[:]...)
		}
	}
	return v
}
