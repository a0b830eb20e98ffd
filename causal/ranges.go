package causal

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"sort"
	"time"
)

// Range-based set reconciliation (Meyer, "Range-Based Set Reconciliation",
// 2022). Who lacks something sends fingerprints of ranges of what it holds; the
// other answers which of them differ, and what it holds in those that are
// small; these are settled, the others are split, and so on. Then what was found
// is asked for by a Pull, lowest first, so that it can be delivered as it comes.
// All that the search needs to know is with the one that asks.
const (
	splits    = 16       // ranges that one is split into, at most
	small     = 32       // blocks of a range that are listed
	scanned   = 4096     // blocks of a range that are compared with a list
	maxRanges = 384      // in Ranges
	maxParts  = 256      // in a Pull
	listBytes = 10 << 10 // of short hashes in Diffs
	partBytes = 14 << 10 // of Parts in a Pull
	partHead  = 44       // bytes of a Part without its short hashes, at most
	maxOpen   = 2048     // ranges that a search keeps
	maxRounds = 64       // of a search without anything new, and one more for 256 blocks held
	maxBurst  = 512      // Ranges of a peer that are looked at in a second
)

// limits are what tests may lower, to see what many writers and blocks bring.
type limits struct {
	tips  int    // of a Pull
	ack   int    // tips of an Ack
	small uint64 // blocks of a range that are listed
}

// total sums up a set of blocks.
type total struct {
	blocks uint64
	sum    [4]uint64 // of the hashes modulo 2^256, least first
}

func (t *total) count(h *Hash) {
	t.blocks++
	addHash(&t.sum, h)
}

func (t *total) add(o *total) {
	t.blocks += o.blocks
	var carry uint64
	for k := range t.sum {
		t.sum[k], carry = add64(t.sum[k], o.sum[k], carry)
	}
}

// minus is what t has more than o, a part of it.
func (t total) minus(o total) total {
	d := total{blocks: t.blocks - o.blocks}
	carry := uint64(1) // a - b is a + ^b + 1
	for k := range t.sum {
		d.sum[k], carry = add64(t.sum[k], ^o.sum[k], carry)
	}
	return d
}

// print is the fingerprint of a range.
func (t total) print() []byte {
	b := make([]byte, 0, 40)
	for _, s := range t.sum {
		b = binary.LittleEndian.AppendUint64(b, s)
	}
	h := sha256.Sum256(binary.LittleEndian.AppendUint64(b, t.blocks))
	return h[:16]
}

// first sums up the first n heights, a whole number of stretches.
func (o *order) first(n uint64) (t total) {
	for k := n / stretch; k > 0; k -= k & -k {
		t.add(&o.sums[k-1])
	}
	return t
}

func part(h *Hash) uint64 { return binary.BigEndian.Uint64(h[:]) }

func (b Bound) compare(o Bound) int {
	return cmp.Or(cmp.Compare(b.Height, o.Height), cmp.Compare(b.Part, o.Part))
}

// endless is above all blocks.
var endless = Bound{math.MaxUint64, math.MaxUint64}

// sortedLevel is the last height that was looked at by hash: mostly it is the next one.
type sortedLevel struct {
	height, floor uint64
	blocks        uint32 // delivered then
	list          []uint32
}

// byHash are the places of the blocks at a height that is not gone, by hash.
func (m *Memory) byHash(height uint64) []uint32 {
	l := &m.level
	if l.height != height || l.floor != m.order.floor || l.blocks != m.blocks.n {
		*l = sortedLevel{height: height, floor: m.order.floor, blocks: m.blocks.n}
		l.list = m.order.level(&m.blocks, int(height-m.order.floor-1), nil)
		slices.SortFunc(l.list, func(a, b uint32) int {
			return bytes.Compare(m.blocks.at(a).hash[:], m.blocks.at(b).hash[:])
		})
	}
	return l.list
}

// within are the blocks at a height that lie between two bounds, by hash.
func (m *Memory) within(height uint64, from, to Bound) []uint32 {
	list := m.byHash(height)
	below := func(b Bound) int {
		return sort.Search(len(list), func(i int) bool {
			return Bound{height, part(&m.blocks.at(list[i]).hash)}.compare(b) >= 0
		})
	}
	return list[below(from):below(to)]
}

// tally sums up what is below one bound after another, which must ascend. All
// together cost no more than a look at the blocks around each.
type tally struct {
	m      *Memory
	height uint64 // up to here everything is
	below  total
	next   []uint32 // blocks at the height above by hash, once they were asked for,
	passed int      // so many of them are
	some   total
}

func (m *Memory) tally() *tally { return &tally{m: m, height: m.order.floor} }

func (t *tally) upTo(b Bound) total {
	m, o := t.m, &t.m.order
	if to := min(max(b.Height, 1)-1, o.top()); to > t.height {
		if n := (to - o.floor) / stretch * stretch; n > t.height-o.floor {
			t.below, t.height = o.first(n), o.floor+n
		}
		for ; t.height < to; t.height++ {
			for at := o.at(t.height + 1).head; at != 0; {
				x := m.blocks.at(at - 1)
				t.below.count(&x.hash)
				at = x.next
			}
		}
		t.next, t.passed, t.some = nil, 0, total{}
	}
	sum := t.below
	if b.Part == 0 || b.Height != t.height+1 || b.Height > o.top() {
		return sum
	}
	if t.next == nil {
		t.next = m.byHash(b.Height)
	}
	for t.passed < len(t.next) {
		x := m.blocks.at(t.next[t.passed])
		if part(&x.hash) >= b.Part {
			break
		}
		t.some.count(&x.hash)
		t.passed++
	}
	sum.add(&t.some)
	return sum
}

// split returns bounds in a range of own blocks, of which so many are below it
// and so many in it: bounds of parts with about as many each. Where they are is
// a matter of chance, so that blocks made to look like others in one range are
// seen through in the next.
func (m *Memory) split(s span, below, blocks uint64) (bounds []Bound) {
	uneven := m.limits.small / 2 // blocks at one height that stay together
	k := min(max(blocks/uneven, 2), splits)
	var height uint64
	var list []uint32
	for i := uint64(1); i < k; i++ {
		h, rest := m.order.nth(below + (blocks*i+m.rng.Uint64N(blocks))/k)
		b := Bound{Height: h}
		if rest > 0 && uint64(m.order.at(h).size) > uneven {
			if height != h {
				height, list = h, m.byHash(h)
			}
			b.Part = part(&m.blocks.at(list[rest]).hash)
		}
		if b.compare(s.from) > 0 && b.compare(s.to) < 0 && (len(bounds) == 0 || b.compare(bounds[len(bounds)-1]) > 0) {
			bounds = append(bounds, b)
		}
	}
	return bounds
}

// nth returns the height of the n-th block that is not gone, from 0, and how
// many blocks at this height are before it.
func (o *order) nth(n uint64) (height, rest uint64) {
	k := 0
	for step := 1 << 30; step > 0; step >>= 1 {
		if k+step <= len(o.sums) && o.sums[k+step-1].blocks <= n {
			k += step
			n -= o.sums[k-1].blocks
		}
	}
	h := k * stretch
	for ; uint64(o.heights[h].size) <= n; h++ {
		n -= uint64(o.heights[h].size)
	}
	return o.floor + uint64(h) + 1, n
}

// short is a hash that nobody could prepare another block for, as it is salted.
func short(salt uint64, h *Hash) uint64 {
	var b [40]byte
	binary.BigEndian.PutUint64(b[:], salt)
	copy(b[8:], h[:])
	sum := sha256.Sum256(b[:])
	return binary.BigEndian.Uint64(sum[:])
}

// shorts lists the short hashes of the blocks that are held in a range.
func (m *Memory) shorts(from, to Bound, salt uint64) (list []uint64) {
	o := &m.order
	for h := max(from.Height, o.floor+1); h <= min(to.Height, o.top()); h++ {
		for _, i := range m.within(h, from, to) {
			list = append(list, short(salt, &m.blocks.at(i).hash))
		}
	}
	slices.Sort(list)
	return list
}

func packShorts(list []uint64) []byte {
	b := make([]byte, 0, 8*len(list))
	for _, s := range list {
		b = binary.BigEndian.AppendUint64(b, s)
	}
	return b
}

// unpackShorts is the inverse, for at most small of them.
func unpackShorts(b []byte) (list []uint64, ok bool) {
	if len(b)%8 != 0 || len(b) > 8*small {
		return nil, false
	}
	for ; len(b) > 0; b = b[8:] {
		list = append(list, binary.BigEndian.Uint64(b))
	}
	return list, strictly(list, cmp.Compare[uint64])
}

// search is how far it is known in which ranges another holds what is not held
// here.
type search struct {
	salt   uint64
	open   []span // ascending; all others are settled
	asked  []int  // by range of the last Ranges: the span, or -1
	rounds int    // since something new came
	pulled bool   // something was asked for already
}

// span is a range that differs, or may.
type span struct {
	from, to Bound
	found    bool // what is missing is known:
	only     bool // these, else all but these
	list     []uint64
}

func (s *span) size() int { return partHead + 8*len(s.list) }

// search begins a Pull by ranges. They begin above the checkpoint: what it
// stands for is the same for all who have it.
func (m *Memory) search() {
	q := m.pull
	all := span{from: Bound{Height: m.base.height + 1}, to: endless}
	q.search = &search{salt: m.rng.Uint64()}
	below := m.tally().upTo(all.from).blocks
	q.search.open = m.divide(nil, all, below, m.blocksHeld()-below)
	m.goOn()
}

// blocksHeld is the number of blocks that are not gone.
func (m *Memory) blocksHeld() uint64 { return m.count - m.gone.blocks }

// divide appends the parts of a span.
func (m *Memory) divide(dst []span, s span, below, blocks uint64) []span {
	if blocks > m.limits.small {
		for _, b := range m.split(s, below, blocks) {
			dst = append(dst, span{from: s.from, to: b})
			s.from = b
		}
	}
	return append(dst, span{from: s.from, to: s.to})
}

// goOn asks for what is found, if that is enough for a Pull or all, or else on.
func (m *Memory) goOn() {
	q := m.pull
	s := q.search
	n, size := 0, 0
	for n < len(s.open) && s.open[n].found && n < maxParts && size+s.open[n].size() <= partBytes {
		size += s.open[n].size()
		n++
	}
	if n < len(s.open) && !s.open[n].found && n < maxParts && size < partBytes*3/4 {
		m.ranges()
		return
	}
	if n == 0 && s.pulled {
		m.pulled()
		return
	}
	m.session++
	s.pulled = true
	q.session, q.step, q.spent, q.until = m.session, m.count, 0, m.now.Add(m.cfg.PullTimeout)
	q.came = false
	a := m.ask()
	a.Ranged, a.Salt = true, s.salt
	for _, x := range s.open[:n] {
		a.Parts = append(a.Parts, Part{From: x.from, To: x.to, Only: x.only, Short: packShorts(x.list)})
	}
	s.open, s.asked, s.rounds = slices.Clone(s.open[n:]), nil, 0
	q.from.ask, q.from.credit = a, nil
}

// ranges asks about the first spans of which it is not known what is missing,
// as many as the answer will have room for.
func (m *Memory) ranges() {
	q := m.pull
	s := q.search
	r := &Ranges{Session: q.session, Salt: s.salt}
	s.asked = s.asked[:0]
	t, listed := m.tally(), 0
	var end Bound
	for i := range s.open {
		x := &s.open[i]
		if x.found {
			continue
		}
		low := t.upTo(x.from)
		own := t.upTo(x.to).minus(low)
		listed += 8 * (1 + int(min(own.blocks, m.limits.small)))
		if len(r.Ranges) > 0 && (listed > listBytes || len(r.Ranges)+2 > maxRanges) {
			break
		}
		switch {
		case len(r.Ranges) == 0:
			r.From = x.from
		case x.from != end:
			r.Ranges = append(r.Ranges, Range{To: x.from, Print: []byte{}})
			s.asked = append(s.asked, -1)
		}
		end = x.to
		r.Ranges = append(r.Ranges, Range{To: x.to, Print: own.print()})
		s.asked = append(s.asked, i)
	}
	q.from.find = r
}

// onDiffs takes in which ranges differ.
func (m *Memory) onDiffs(p *peer, msg *Diffs) {
	q := m.pull
	if q == nil || q.from != p || q.session != msg.Session || q.search == nil || len(q.search.asked) == 0 {
		return
	}
	s := q.search
	if s.rounds++; uint64(s.rounds) > maxRounds+m.blocksHeld()/256 || !m.narrow(s, msg.Diffs) {
		m.refuse(errRanges)
		m.giveUp()
		return
	}
	q.until = m.now.Add(m.cfg.PullTimeout)
	m.goOn()
}

// narrow replaces the spans that were asked for by what is known of them now.
func (m *Memory) narrow(s *search, diffs []Diff) bool {
	next, done := make([]span, 0, len(s.open)), 0
	t := m.tally()
	k := 0
	for r, i := range s.asked {
		if i < 0 {
			continue
		}
		next, done = append(next, s.open[done:i]...), i+1
		if k == len(diffs) || diffs[k].Index != uint32(r) {
			continue // it is the same there
		}
		d, x := &diffs[k], s.open[i]
		k++
		theirs, ok := unpackShorts(d.Short)
		if !ok || len(theirs) > 0 && uint64(len(theirs)) != d.Blocks {
			return false
		}
		low := t.upTo(x.from)
		own := t.upTo(x.to).minus(low).blocks
		switch {
		case d.Blocks == 0:
		case len(theirs) > 0 && own <= scanned:
			held := m.shorts(x.from, x.to, s.salt)
			x.list = slices.DeleteFunc(theirs, func(h uint64) bool {
				_, ok := slices.BinarySearch(held, h)
				return ok
			})
			if x.found, x.only = true, true; len(x.list) > 0 {
				next = append(next, x)
			}
		case own <= m.limits.small && d.Blocks > m.limits.small:
			x.found, x.list = true, m.shorts(x.from, x.to, s.salt)
			next = append(next, x)
		default: // also what the answer had no room for
			next = m.divide(next, x, low.blocks, own)
		}
	}
	if k < len(diffs) {
		return false
	}
	if next = append(next, s.open[done:]...); len(next) > maxOpen {
		next[maxOpen-1] = span{from: next[maxOpen-1].from, to: next[len(next)-1].to}
		next = next[:maxOpen]
	}
	s.open, s.asked = next, s.asked[:0]
	return true
}

// giveUp ends a Pull that leads nowhere. Others may have the same; this one is
// asked again later.
func (m *Memory) giveUp() {
	p := m.pull.from
	m.pull, p.short = nil, true
	p.backoff = min(max(2*p.backoff, backoffMin), backoffMax)
	p.pullAt = m.now.Add(p.backoff)
	p.lossy = true
	for _, o := range m.sorted {
		if o != p && o.active && m.lacks(o) {
			o.pullAt = m.now
		}
	}
}

// burst counts what a peer asks in a second.
type burst struct {
	since time.Time
	n     int
}

func (b *burst) over(now time.Time, limit int) bool {
	if now.Sub(b.since) >= time.Second {
		b.since, b.n = now, 0
	}
	b.n++
	return b.n > limit
}

// onRanges keeps the last question of a peer until it can be sent the answer.
func (m *Memory) onRanges(p *peer, msg *Ranges) {
	ok, end := len(msg.Ranges) <= maxRanges, msg.From
	for i := range msg.Ranges {
		r := &msg.Ranges[i]
		ok = ok && r.To.compare(end) > 0 && (len(r.Print) == 0 || len(r.Print) == 16)
		end = r.To
	}
	if !ok || p.compared.over(m.now, maxBurst) {
		m.refuse(errRanges)
		return
	}
	c := *msg
	c.Ranges = slices.Clone(msg.Ranges)
	for i := range c.Ranges {
		c.Ranges[i].Print = bytes.Clone(c.Ranges[i].Print)
	}
	p.compare = &c
}

// diffs answers the question.
func (m *Memory) diffs(p *peer) *Diffs {
	c := p.compare
	p.compare = nil
	d := &Diffs{Session: c.Session, Diffs: []Diff{}}
	t, room := m.tally(), listBytes
	from, low := c.From, t.upTo(c.From)
	for i, r := range c.Ranges {
		high := t.upTo(r.To)
		own := high.minus(low)
		if len(r.Print) > 0 && !bytes.Equal(own.print(), r.Print) {
			x := Diff{Index: uint32(i), Blocks: own.blocks, Short: []byte{}}
			if n := 8 * int(min(own.blocks, m.limits.small+1)); own.blocks <= m.limits.small && n <= room {
				x.Short = packShorts(m.shorts(from, r.To, c.Salt))
				room -= n
			}
			d.Diffs = append(d.Diffs, x)
		}
		from, low = r.To, high
	}
	return d
}

// take takes over what is asked for by ranges, and reports whether it is in
// order.
func (s *session) take(msg *Pull) bool {
	if len(msg.Parts) > maxParts || len(msg.Tips) > 0 {
		return false
	}
	s.salt = msg.Salt
	end := Bound{}
	for _, x := range msg.Parts {
		list, ok := unpackShorts(x.Short)
		if !ok || x.From.compare(end) < 0 || x.To.compare(x.From) <= 0 {
			return false
		}
		end = x.To
		s.parts = append(s.parts, span{from: x.From, to: x.To, only: x.Only, list: list})
	}
	return true
}

// inParts is the place of the next block that is asked for by ranges: they are
// sent in the order of the history.
func (m *Memory) inParts(s *session) (uint32, bool) {
	o := &m.order
	for len(s.parts) > 0 {
		x := &s.parts[0]
		if low := max(x.from.Height, o.floor+1, s.floor+1); s.height < low {
			s.height, s.after = low, Hash{}
		}
		if s.height > min(x.to.Height, o.top()) {
			s.parts = s.parts[1:]
			continue
		}
		list := m.within(s.height, x.from, x.to)
		first := sort.Search(len(list), func(i int) bool {
			return bytes.Compare(m.blocks.at(list[i]).hash[:], s.after[:]) > 0
		})
		for _, i := range list[first:] {
			_, listed := slices.BinarySearch(x.list, short(s.salt, &m.blocks.at(i).hash))
			if listed == x.only {
				return i, true
			}
		}
		if s.height == x.to.Height {
			s.parts = s.parts[1:] // the next may begin at this height
		} else {
			s.height, s.after = s.height+1, Hash{}
		}
	}
	return 0, false
}
