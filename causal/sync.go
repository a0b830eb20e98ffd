package causal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"
)

// Times and bounds of anti-entropy.
const (
	beatHeads = 4 // heads that a Beat lists
	// recent is how long a Beat is worth being acted on.
	recent = 5 * time.Second
	// patience is how long a block is awaited from its author, if that is
	// linked, before it is fetched from somebody else.
	patience = 2 * time.Second
	// stall is how long something that is missing, and cannot come from its
	// author, is awaited.
	stall = 250 * time.Millisecond

	// wantDelay is how long a block waits for its parents before they are
	// asked for: they may be under way on another stream. The wait is
	// wantDelayBusy while more than wantFew blocks wait.
	wantDelay     = 40 * time.Millisecond
	wantDelayBusy = 400 * time.Millisecond
	wantFew       = 32
	wantMax       = 256 // blocks in a Want; more come by Pull
	answerMax     = 1024

	maxTips = 400 // entries of a Pull; with more, ranges are compared

	backoffMin = time.Second
	backoffMax = time.Minute
)

var (
	errStranger    = errors.New("stranger")
	errProof       = errors.New("no_proof")
	errPendingFull = errors.New("pending_full")
	errPendingOld  = errors.New("pending_old")
	errTips        = errors.New("too_many_tips")
	errRanges      = errors.New("ranges")
	errBase        = errors.New("checkpoint")
)

// computeDigest hashes the number of blocks, the sum of their hashes, and the
// heads, which commit to all that is below them. The sum makes a difference
// visible even if somebody could forge a hash.
func (m *Memory) computeDigest() Digest {
	if m.count == 0 {
		return Digest{}
	}
	heads := make([]Hash, len(m.heads))
	for i, h := range m.heads {
		heads[i] = m.blocks.at(h).hash
	}
	slices.SortFunc(heads, func(a, b Hash) int { return bytes.Compare(a[:], b[:]) })
	b := make([]byte, 0, 40+32*len(heads))
	b = binary.LittleEndian.AppendUint64(b, m.count)
	for _, s := range m.sum {
		b = binary.LittleEndian.AppendUint64(b, s)
	}
	for i := range heads {
		b = append(b, heads[i][:]...)
	}
	sum := sha256.Sum256(b)
	return Digest{Messages: m.order.msgs, Hash: [16]byte(sum[:16])}
}

// beats decides when to ask for a Beat: soon after the log has become quiet,
// and now and then while it has not.
type beats struct {
	said  Digest    // in the last Beat
	dirty time.Time // since when that is outdated; zero: it is not
	last  time.Time // when the log changed
	quiet time.Time // when a Beat was asked for because the log was quiet
	asked bool      // Ready has asked, Beat was not called yet
}

func (b *beats) changed(now time.Time) {
	b.last = now
	if b.dirty.IsZero() {
		b.dirty = now
	}
}

// beatAt is when a Beat is to be asked for, or the zero time.
func (m *Memory) beatAt() time.Time {
	b := &m.beats
	if b.dirty.IsZero() || b.asked || len(m.members) == 0 {
		return time.Time{}
	}
	n := time.Duration(len(m.members) + 1)
	interval := m.cfg.BeatInterval * max(8, n) / 8
	calm := b.last.Add(25*time.Millisecond + n*time.Millisecond/2)
	if t := b.quiet.Add(interval); t.After(calm) {
		calm = t
	}
	if busy := b.dirty.Add(2 * interval); busy.Before(calm) {
		return busy
	}
	return calm
}

// Beat implements Log.
func (m *Memory) Beat(now time.Time) *Beat {
	m.now = now
	d := m.Digest()
	m.beats.said, m.beats.dirty, m.beats.asked = d, time.Time{}, false
	b := &Beat{
		Count: m.count, Height: m.order.top(), Digest: d,
		Heads: []Ref{}, Writer: m.me.id, N: m.me.n, Intro: []byte{},
	}
	if len(m.heads) <= beatHeads {
		for _, h := range m.heads {
			b.Heads = append(b.Heads, m.ref(h))
		}
		slices.SortFunc(b.Heads, compareRefs)
	}
	return b
}

// PeerDigest implements Log.
func (m *Memory) PeerDigest(k Key) (Digest, bool) {
	if k == m.self {
		return m.Digest(), true
	}
	if p := m.peers[k]; p != nil && p.said {
		return p.digest, true
	}
	return Digest{}, false
}

func (m *Memory) onBeat(p *peer, msg *Beat) {
	if len(msg.Heads) > beatHeads {
		m.fault(errMalformed)
		return
	}
	if len(msg.Intro) == len(m.pub)+16 {
		pub := msg.Intro[:len(m.pub)]
		if keyOf(pub) == p.key && writerID(m.cfg.Group, pub, msg.Intro[len(m.pub):]) == msg.Writer {
			p.introduced, p.writer, p.pub = true, msg.Writer, [32]byte(pub)
		}
	}
	if p.beat != nil && msg.Writer == p.beat.Writer && msg.Count < p.beat.Count {
		return // overtaken by a later one
	}
	b := *msg
	b.Heads, b.Intro = slices.Clone(msg.Heads), nil
	p.holds(m, b.Count, b.Digest, p.beat == nil || p.beat.Writer != b.Writer)
	p.beat, p.beatAt = &b, m.now

	head, missing := m.missingHead(&b)
	if !missing {
		// All that it holds is here, so what it writes from now on is higher
		// than all that.
		p.final = max(p.final, b.Height)
		m.refinal()
	}
	switch {
	case p.active && p.unchecked:
		p.unchecked = false
		if missing {
			p.unknown, p.since, p.pullAt = head, m.now, m.now
		} else if m.pull == nil {
			m.sync()
		}
	case !missing:
		p.unknown = Ref{}
	case m.missingStill(p.unknown, head):
		wait := stall
		if p.unknown.N > 0 && m.coming(p.unknown.Writer) {
			wait = patience
		}
		if m.now.Sub(p.since) >= wait && p.pullAt.IsZero() {
			p.pullAt = m.now.Add(p.backoff)
		}
	default:
		p.unknown, p.since = head, m.now
	}
}

// missingStill reports whether what was missing at a Beat is missing at the
// next.
func (m *Memory) missingStill(old, head Ref) bool {
	if old.N == 0 {
		return old == head && old != Ref{}
	}
	_, ok := m.parent(old, false)
	return !ok
}

// missingHead returns a head of a Beat that is not held. If the Beat lists none
// since there are too many, and its digest is another, that counts as one,
// named by the digest.
func (m *Memory) missingHead(b *Beat) (Ref, bool) {
	for i := range b.Heads {
		if _, ok := m.parent(b.Heads[i], false); !ok {
			return b.Heads[i], true
		}
	}
	if len(b.Heads) == 0 && b.Count > 0 && b.Digest != m.Digest() {
		var h Hash
		copy(h[:], b.Digest.Hash[:])
		return Ref{Hash: h}, true
	}
	return Ref{}, false
}

// coming reports whether a writer's author is linked, so that its blocks come
// by themselves.
func (m *Memory) coming(w WriterID) bool {
	if i, ok := m.byID[w]; ok {
		p := m.peers[m.writers[i].author]
		return p != nil && p.active
	}
	for _, p := range m.sorted {
		if p.active && p.introduced && p.writer == w {
			return true
		}
	}
	return false
}

// sync notes that the first sync is complete.
func (m *Memory) sync() {
	if !m.synced {
		m.synced, m.out.Synced = true, true
	}
}

// lacks reports whether a peer has something that is not here, as far as is
// known.
func (m *Memory) lacks(p *peer) bool {
	if p.lossy || len(p.exact) > 0 {
		return true
	}
	if p.beat != nil {
		if _, missing := m.missingHead(p.beat); missing {
			return true
		}
	}
	return m.isAhead(p)
}

func (m *Memory) isAhead(p *peer) bool {
	if p.aheadAt.IsZero() {
		return false
	}
	w, ok := m.byID[p.ahead.Writer]
	return !ok || m.writers[w].n() < p.ahead.N
}

// pull is a Pull under way.
type pull struct {
	from    *peer
	session uint64
	until   time.Time // when it counts as failed
	spent   int       // bytes that were received and not credited yet
	before  uint64    // blocks held when it began, and
	step    uint64    // when it was gone on with
	whole   bool      // it asked for what checkpoints stand for, too
	came    bool      // a part of the answer, for this session
	last    *base     // what stands for the first of it, taken when all has come
	base    []byte    // the parts that have come of a base
	search  *search   // nil: everything was asked for by tips
}

// repull starts a Pull if one is due: one at a time is enough, as most of what
// one peer lacks is with any other.
func (m *Memory) repull() {
	if m.pull != nil {
		return
	}
	var due []*peer
	for _, p := range m.sorted {
		if p.active && !p.pullAt.IsZero() && !m.now.Before(p.pullAt) {
			if m.lacks(p) && !(p.short && m.keeper()) {
				due = append(due, p)
				continue
			}
			p.pullAt = time.Time{}
		}
	}
	if len(due) == 0 {
		return
	}
	p := due[m.rng.IntN(len(due))]
	m.session++
	m.pulls++
	m.pull = &pull{from: p, session: m.session, until: m.now.Add(m.cfg.PullTimeout), before: m.count}
	p.pullAt, p.lossy = time.Time{}, false
	p.ask, p.find = nil, nil
	if tips := m.tips(p.exact); len(tips) <= m.limits.tips {
		p.ask = m.ask()
		p.ask.Tips = tips
	} else {
		m.search()
	}
	p.exact = nil
}

// ask returns a Pull for the session of the one under way.
func (m *Memory) ask() *Pull {
	m.pull.whole = m.whole()
	return &Pull{
		Session: m.pull.session, Tips: []Tip{}, Credit: uint32(m.cfg.Window),
		Height: m.base.height, Base: m.base.commit, Whole: m.pull.whole, Parts: []Part{},
	}
}

// whole reports whether this node is to have everything, and may still get it.
func (m *Memory) whole() bool { return m.cfg.Compaction.Keep && m.order.floor == 0 }

// keeper reports whether there is somebody, or may be soon, who may give
// everything to a node that is to have it.
func (m *Memory) keeper() bool {
	return m.whole() && slices.ContainsFunc(m.sorted, func(p *peer) bool {
		return !p.short && (p.active || p.member && m.now.Before(p.awaited))
	})
}

// tips says what is held. For the writers in exact it goes back in growing
// steps, so that the other finds the last block in common.
func (m *Memory) tips(exact []WriterID) []Tip {
	tips := make([]Tip, 0, len(m.writers))
	for i := range m.writers {
		w := &m.writers[i]
		for _, t := range m.ends(w) {
			tips = append(tips, m.tip(t))
		}
		if len(w.blocks) == 0 || len(w.ends) > 1 {
			for _, e := range w.ends {
				tips = append(tips, Tip{Writer: w.id, N: e.n, Hash: [8]byte(e.hash[:8])})
			}
		}
		if slices.Contains(exact, w.id) {
			for step, n := uint64(1), w.n(); n > w.off+step; step *= 2 {
				n -= step
				tips = append(tips, m.tip(w.at(n)))
			}
			tips = append(tips, Tip{Writer: w.id})
		}
	}
	return tips
}

func (m *Memory) tip(i uint32) Tip {
	b := m.blocks.at(i)
	return Tip{Writer: m.writers[b.writer].id, N: b.n, Hash: [8]byte(b.hash[:8])}
}

// ends are the last blocks of a writer: one, unless it forked.
func (m *Memory) ends(w *writer) []uint32 {
	if len(w.branches) == 0 {
		return w.blocks[max(len(w.blocks), 1)-1:]
	}
	all := slices.Concat(w.blocks, w.branches)
	follows := make(map[uint32]bool, len(all))
	for _, i := range all {
		if p := m.blocks.at(i).prev; p != 0 {
			follows[p-1] = true
		}
	}
	return slices.DeleteFunc(all, func(i uint32) bool { return follows[i] })
}

// session is the answer to a peer's Pull, as far as it has been sent.
type session struct {
	id     uint64
	credit int64
	heard  time.Time
	next   uint32 // block to look at
	end    uint32
	more   int                 // how often end may still be moved to catch up
	cover  []uint64            // by writer: what the peer holds up to, or a mark
	covers map[uint32]struct{} // blocks of forked writers that it holds
	split  map[uint32]struct{} // writers of whom it named a block that is not here
	base   []byte              // what is still to be sent of the base
	last   []byte              // the base, if it is to be sent after all blocks
	floor  uint64              // what is up to this height is not sent: the base stands for it

	// By ranges, instead of next to split.
	ranged bool
	salt   uint64
	parts  []span // what is still to be looked at, from
	height uint64 // this height on, and there
	after  Hash   // this hash
}

const (
	coverAll  = math.MaxUint64     // nothing of this writer is to be sent
	coverEach = math.MaxUint64 - 1 // see covers
)

func (m *Memory) onPull(p *peer, msg *Pull) {
	if len(msg.Tips) > maxTips {
		m.fault(errTips)
		return
	}
	s := &session{id: msg.Session, credit: int64(msg.Credit), heard: m.now}
	if msg.Ranged {
		if s.ranged = true; !s.take(msg) {
			m.refuse(errRanges)
			return
		}
	} else {
		m.cover(p, s, msg)
	}
	if m.base.exceeds(msg.Height, msg.Base) {
		switch all := m.order.floor == 0; {
		case all && msg.Whole:
			s.last = m.base.blob
		case all && !m.vouched(&m.base, m.self):
			// Nobody here has signed it, so the peer cannot take it.
		default:
			s.base, s.floor = m.base.blob, m.base.height
		}
	} else if msg.Height > 0 && msg.Base != m.base.commit && p.pullAt.IsZero() {
		p.lossy, p.pullAt = true, m.now.Add(p.backoff) // its checkpoint goes before ours
	}
	p.serving = s
}

// cover finds out what is missing where the tips are.
func (m *Memory) cover(p *peer, s *session, msg *Pull) {
	s.end, s.more, s.cover = m.blocks.n, 3, make([]uint64, len(m.writers))
	unsure := make(map[uint32]bool) // has the peer named something unknown, and nothing known?
	for _, t := range msg.Tips {
		w, ok := m.byID[t.Writer]
		if !ok {
			continue
		}
		at, ok := m.locate(&m.writers[w], t)
		switch {
		case t.N <= m.writers[w].off: // 0, too
			unsure[w] = false
		case !ok:
			if s.split == nil {
				s.split = make(map[uint32]struct{})
			}
			s.split[w] = struct{}{}
			if _, seen := unsure[w]; !seen {
				unsure[w] = true
			}
		default:
			unsure[w] = false
			if len(m.writers[w].branches) == 0 {
				s.cover[w] = max(s.cover[w], t.N)
				break
			}
			s.cover[w] = coverEach
			if s.covers == nil {
				s.covers = make(map[uint32]struct{})
			}
			for {
				if _, done := s.covers[at]; done {
					break
				}
				s.covers[at] = struct{}{}
				prev := m.blocks.at(at).prev
				if prev == 0 || m.blocks.gone(prev-1) {
					break
				}
				at = prev - 1
			}
		}
	}
	first := m.blocks.n
	for i := range m.writers {
		w := &m.writers[i]
		if unsure[uint32(i)] {
			// Most likely it is ahead. If it is on another branch, it will see
			// so by this, and ask again.
			s.cover[i] = coverAll
			for _, e := range m.ends(w) {
				p.doubts = append(p.doubts, m.tip(e))
			}
			continue
		}
		switch c := s.cover[i]; {
		case c == coverEach:
			for _, b := range w.blocks {
				if _, ok := s.covers[b]; !ok {
					first = min(first, b)
					break
				}
			}
			first = min(first, w.branches[0])
		case max(c, w.off) < w.n():
			first = min(first, w.at(max(c, w.off)+1))
			if len(w.branches) > 0 {
				first = min(first, w.branches[0])
			}
		}
	}
	s.next = first
}

// locate finds the block that a tip names.
func (m *Memory) locate(w *writer, t Tip) (uint32, bool) {
	if t.N == 0 || t.N > w.n() {
		return 0, false
	}
	is := func(i uint32) bool {
		b := m.blocks.at(i)
		return b.n == t.N && [8]byte(b.hash[:8]) == t.Hash
	}
	if t.N > w.off && is(w.at(t.N)) {
		return w.at(t.N), true
	}
	for _, i := range w.branches {
		if is(i) {
			return i, true
		}
	}
	return 0, false
}

// batch returns the next part of the answer to a Pull.
func (m *Memory) batch(p *peer) *Batch {
	s := p.serving
	b := &Batch{Session: s.id, Frames: [][]byte{}, More: true}
	size := 0
	for s.credit > 0 {
		i, ok := m.following(p, s)
		if !ok {
			b.More = s.last != nil
			break
		}
		x := m.blocks.at(i)
		if size > 0 && size+int(x.size) > batchBytes {
			break
		}
		b.Frames = append(b.Frames, m.raw(i))
		size += int(x.size)
		s.credit -= int64(x.size)
		s.pass(x)
	}
	for p.cursor < len(m.mine) && m.mine[p.cursor] < s.next {
		p.cursor++
	}
	m.served += uint64(size)
	if !b.More {
		p.serving = nil
	}
	return b
}

// following is the place of the block to be sent next.
func (m *Memory) following(p *peer, s *session) (uint32, bool) {
	if s.ranged {
		return m.inParts(s)
	}
	for {
		if s.next >= s.end {
			if s.more == 0 || s.end == m.blocks.n {
				return 0, false
			}
			s.more--
			s.end = m.blocks.n
		}
		if !m.blocks.gone(s.next) && !m.covered(p, s, m.blocks.at(s.next)) {
			return s.next, true
		}
		s.next++
	}
}

// pass goes on to what is behind a block.
func (s *session) pass(x *block) {
	if !s.ranged {
		s.next++
		return
	}
	s.after = x.hash
}

func (m *Memory) covered(p *peer, s *session, x *block) bool {
	if x.height <= s.floor || m.withheld(p, x) {
		return true
	}
	if int(x.writer) < len(s.cover) {
		switch c := s.cover[x.writer]; c {
		case coverAll:
			return true
		case coverEach:
			i, _ := m.table.find(&m.blocks, &x.hash)
			_, ok := s.covers[i]
			return ok
		default:
			if x.n <= c && len(m.writers[x.writer].branches) == 0 {
				return true
			}
		}
	}
	// It may have come to it from elsewhere meanwhile. A number says so only of
	// writers that did not fork.
	if _, ok := s.split[x.writer]; ok || m.writers[x.writer].forked {
		return false
	}
	return x.n <= p.ack(x.writer)
}

func (m *Memory) onBatch(p *peer, from Key, msg *Batch) {
	q := m.pull
	mine := q != nil && q.from == p && q.session == msg.Session
	m.receive(from, msg.Frames, mine && !m.synced, mine)
	if !mine || m.pull != q {
		return
	}
	q.until, q.came = m.now.Add(m.cfg.PullTimeout), true
	q.spent += framesSize(msg.Frames)
	if msg.More {
		if q.spent >= m.cfg.Window/4 {
			bytes := uint32(min(q.spent, math.MaxInt32))
			if p.credit != nil {
				bytes += p.credit.Bytes
			}
			p.credit = &Credit{Session: q.session, Bytes: bytes}
			q.spent = 0
		}
		return
	}
	if q.search != nil && len(q.search.open) > 0 && m.count != q.step {
		m.goOn()
		return
	}
	m.pulled()
}

// pulled ends a Pull.
func (m *Memory) pulled() {
	q, p := m.pull, m.pull.from
	if m.count == q.before {
		// It brought nothing: what the peer claims to have may not exist.
		p.backoff = min(max(2*p.backoff, backoffMin), backoffMax)
		p.short = true
	} else {
		p.backoff = 0
		for _, o := range m.sorted {
			o.short = false
		}
	}
	m.pull = nil
	if q.last != nil {
		m.adopt(*q.last)
	}
	if m.undecided {
		m.decide()
	}
	m.sync()
}

// onWant notes which blocks to send.
func (m *Memory) onWant(p *peer, msg *Want) {
	for _, s := range msg.Spans {
		w, ok := m.byID[s.Writer]
		if !ok || s.From == 0 {
			continue
		}
		wr := &m.writers[w]
		for n := max(s.From, wr.off+1); n <= min(s.To, wr.n()) && len(p.answer) < answerMax; n++ {
			p.answer = append(p.answer, wr.at(n))
		}
		for _, i := range wr.branches {
			if n := m.blocks.at(i).n; n >= s.From && n <= s.To && len(p.answer) < answerMax {
				p.answer = append(p.answer, i)
			}
		}
	}
	slices.Sort(p.answer)
	p.answer = slices.Compact(p.answer)
}

func (m *Memory) answer(p *peer) *Blocks {
	b, size := new(Blocks), 0
	for len(p.answer) > 0 {
		raw := m.raw(p.answer[0])
		if size += len(raw); size > sendBytes && len(b.Frames) > 0 {
			break
		}
		b.Frames = append(b.Frames, raw)
		p.answer = p.answer[1:]
	}
	return b
}

// want asks for parents that have been missing for a while: first the peer that
// sent the child, then others.
func (m *Memory) want() {
	if m.pull != nil {
		return // it may bring them
	}
	total := 0
	for _, e := range m.pending.list {
		if e.gone || m.now.Before(e.ask) {
			continue
		}
		wait := wantDelay
		if len(m.pending.byHash) > wantFew {
			wait = wantDelayBusy
		}
		if m.now.Sub(e.since) < wait {
			e.ask = e.since.Add(wait)
			continue
		}
		e.tries++
		e.ask = m.now.Add(wait << min(e.tries, 5))
		p := m.peers[e.from]
		if e.tries > 1 || p == nil || !p.active {
			p = m.other(p)
		}
		if p == nil {
			continue
		}
		for _, r := range e.missing {
			if m.pending.byHash[r.Hash] != nil {
				continue
			}
			s := Span{Writer: r.Writer, From: 1, To: r.N}
			if w, ok := m.byID[r.Writer]; ok {
				s.From = min(m.writers[w].n()+1, r.N)
			}
			if n := s.To - s.From; n >= wantMax || total+int(n) >= wantMax {
				if p.lossy = true; p.pullAt.IsZero() {
					p.pullAt = m.now.Add(p.backoff)
				}
				continue
			}
			if k := slices.IndexFunc(p.wants, func(x Span) bool { return x.Writer == s.Writer }); k >= 0 {
				total -= int(p.wants[k].To - p.wants[k].From + 1)
				s.From, s.To = min(s.From, p.wants[k].From), max(s.To, p.wants[k].To)
				p.wants[k] = s
			} else {
				p.wants = append(p.wants, s)
			}
			total += int(s.To - s.From + 1)
		}
	}
}

// other is an active peer, another than p if there is one.
func (m *Memory) other(p *peer) *peer {
	var all []*peer
	for _, q := range m.sorted {
		if q.active && q != p {
			all = append(all, q)
		}
	}
	switch {
	case len(all) > 0:
		return all[m.rng.IntN(len(all))]
	case p != nil && p.active:
		return p
	}
	return nil
}

// expire drops what has waited too long.
func (m *Memory) expire() {
	for _, e := range slices.Clone(m.pending.list) {
		if !e.gone && m.now.Sub(e.since) >= m.cfg.PendingTime {
			m.pending.remove(e)
			m.refuse(errPendingOld)
		}
	}
}
