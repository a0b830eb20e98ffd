package core

import (
	"net/netip"
	"slices"
	"time"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/membership"
)

// cast is the way for much in a group on many hosts: where the streams, each of
// which takes the same bytes, cannot keep up with what this node writes, its
// blocks go to the group in pieces, by datagrams, once for all. That needs
// repair, and a rate.
//
// Repair: who lacks a piece that others behind it have overtaken asks for it,
// and it is sent to the group again. The streams are held back from what is
// cast. Who stands still, or falls far behind the others, is taken to be deaf,
// and its stream carries all after all. So nothing depends on the datagrams.
//
// Rate: it grows while hardly anything gets lost on the way to the member that
// loses most, and falls when more does, as in PGMCC (Rizzo, SIGCOMM 2000). If
// it ends up below what the streams carried before, or if half of the group is
// deaf, the streams are the better way, as on most wireless networks, and the
// cast pauses.
type cast struct {
	log     castable
	self    membership.Key
	least   int // hosts from which on it is tried; 0: never
	hosts   int
	members map[membership.Key]*listener
	order   []membership.Key // of members, as in the view
	state   castState
	out     []castOut

	// Off: are the streams behind? After a failure nobody asks before until.
	look  time.Time // next
	looks int       // in a row that found so
	until time.Time
	pause time.Duration

	// Waiting for answers, and for the streams to get rid of what they have.
	since time.Time
	asked int
	stop  map[membership.Key]int // what each had been sent then
	from  int                    // what the middle member held
	speed float64                // bytes a second of the streams meanwhile

	// On. Places are those of the log.
	next     int // being sent,
	at       int // from this piece on
	middle   int // the middle member holds what is before it,
	released int // and so do all that are not deaf
	flying   []flight
	again    []pieceID // to be sent once more
	deaf     map[membership.Key]bool
	rate     float64 // bytes a second
	tokens   float64 // bytes that may be sent
	ran      time.Time
	measure  measure
	verdict  verdict
	count    CastStats

	readers map[membership.Key]*pieces // of what others cast
	held    int                        // bytes of all of them
	told    tally                      // answers to the question whether this node takes pieces
}

// castable is a log of which own blocks can be sent by another way.
type castable interface {
	Made() int
	Own(place int) (raw []byte, n uint64)
	OwnBytes(from, to int) int
	Progress() []causal.Progress
	Withhold(place int, but map[causal.Key]bool)
	Held(from causal.Key) (n uint64, ok bool)
	Apart(now time.Time, from causal.Key, block []byte)
}

// Times and bounds of a cast.
const (
	castLag      = 512 << 10              // that wait for the middle stream when it is behind
	castLook     = 100 * time.Millisecond // between two looks
	castLooks    = 3                      // that find so
	castAsk      = 200 * time.Millisecond // to wait for answers,
	castAsks     = 5                      // so often
	castDrain    = 10 * time.Second       // to wait for the streams
	castPause    = 10 * time.Second       // after a failure, then twice as long
	castPauseMax = 10 * time.Minute
	castBurst    = 32 // pieces at once
	castAgain    = 25 * time.Millisecond
	castQueue    = 8192                   // pieces to be sent again
	castTold     = 20                     // answers in 100 ms
	castTail     = 100 * time.Millisecond // until the last block is mentioned again
	castMeasure  = 50 * time.Millisecond
	castLeast    = 256 << 10       // bytes a second
	castMost     = 32 << 20        // which is castBurst in a millisecond
	castWindow   = 4 << 20         // bytes that the middle member does not hold yet,
	castBlocks   = 2048            // and blocks
	castDeaf     = 3 * time.Second // without progress
	castJudge    = time.Second

	castGrow, castShrink = 1.25, 0.7
	castFew, castMany    = 0.05, 0.10 // shares lost
)

type castState uint8

const (
	castOff castState = iota
	castWaiting
	castOn
)

// castOut is a datagram to send, to the group or to a member.
type castOut struct {
	group bool
	to    membership.Key
	body  any // *piece or *missing
}

// listener is what is known of a member.
type listener struct {
	inc  uint64
	able bool // it said that it takes pieces
	lost int  // pieces, in this measure

	held  int       // place up to which it holds all,
	since time.Time // and since when
}

// flight is a block of which pieces were sent.
type flight struct {
	place int
	n     uint64
	size  int
	done  time.Time            // when all were; zero: not yet
	again map[uint32]time.Time // when pieces were sent again; zero: they wait for it
}

type pieceID struct {
	place int
	piece uint32
}

// measure is what happened since a time.
type measure struct {
	since  time.Time
	pieces int
	rest   bool // after a decrease, which what is under way does not show yet
}

// verdict compares with the streams.
type verdict struct {
	since time.Time
	bytes int
	slow  int  // times in a row
	idle  bool // there was nothing to send for a moment
}

// CastStats count pieces of blocks that went to the group.
type CastStats struct {
	Sent  uint64 // once
	Again uint64 // sent once more
	Took  uint64 // of other members, and used
}

func newCast(log causal.Log, self membership.Key) *cast {
	l, _ := log.(castable)
	return &cast{
		log: l, self: self, pause: castPause,
		members: make(map[membership.Key]*listener), readers: make(map[membership.Key]*pieces),
	}
}

// view takes a new view.
func (c *cast) view(v membership.View) {
	old := c.members
	c.members, c.order = make(map[membership.Key]*listener), nil
	addrs := make(map[netip.Addr]struct{})
	for _, m := range v.Members {
		addrs[m.Addr.Addr().Unmap()] = struct{}{}
		if m.Key == c.self {
			continue
		}
		l := old[m.Key]
		if l == nil || l.inc != m.Inc {
			l = &listener{inc: m.Inc}
		}
		c.members[m.Key] = l
		c.order = append(c.order, m.Key)
	}
	c.hosts = len(addrs)
	for k, r := range c.readers {
		if c.members[k] == nil {
			c.forget(k, r)
		}
	}
	if c.state == castOn && !c.able() {
		c.end()
	}
}

// able reports whether the group is one to cast to, and all its members said
// that they take pieces.
func (c *cast) able() bool {
	if c.least == 0 || c.hosts < c.least {
		return false
	}
	for _, l := range c.members {
		if !l.able {
			return false
		}
	}
	return true
}

// flushed says that there are new own blocks.
func (c *cast) flushed(now time.Time) {
	switch {
	case c.least == 0 || c.hosts < c.least:
	case c.state == castOn:
		c.run(now)
	case c.state == castOff && c.look.IsZero() && !now.Before(c.until):
		c.look = now.Add(castLook)
	}
}

// tick does what is due.
func (c *cast) tick(now time.Time) {
	switch {
	case c.state == castOn:
		c.run(now)
	case c.state == castWaiting:
		c.await(now)
	case !c.look.IsZero() && !now.Before(c.look):
		c.watch(now)
	}
	for _, k := range c.order {
		if r := c.readers[k]; r != nil && !now.Before(r.deadline()) {
			c.chase(now, k, r)
		}
	}
}

// deadline is when tick is due.
func (c *cast) deadline() (due time.Time) {
	switch c.state {
	case castOff:
		due = c.look
	case castWaiting:
		due = c.until
	case castOn:
		due = c.measure.since.Add(castMeasure)
		if c.more() {
			wait := time.Duration((pieceSize - c.tokens) / c.rate * float64(time.Second))
			due = earlier(due, c.ran.Add(max(wait, time.Millisecond)))
		}
	}
	for _, r := range c.readers {
		due = earlier(due, r.deadline())
	}
	return due
}

// watch looks whether the streams are behind.
func (c *cast) watch(now time.Time) {
	c.look = time.Time{}
	progress := c.log.Progress()
	sent, held := middles(progress)
	if c.log.OwnBytes(sent, c.log.Made()) < castLag {
		c.looks = 0
		return
	}
	if c.looks++; c.looks < castLooks {
		c.look = now.Add(castLook)
		return
	}
	c.looks = 0
	c.state, c.since, c.asked, c.from, c.stop = castWaiting, now, 0, held, make(map[membership.Key]int)
	c.released = sent
	for _, p := range progress {
		c.stop[p.Key] = p.Sent
		c.released = min(c.released, p.Sent)
	}
	c.log.Withhold(c.released, nil)
	c.until = now
	c.await(now)
}

// await asks the members whether they take pieces, and waits until half of them
// hold what their streams were given. Datagrams that go beside full streams are lost.
func (c *cast) await(now time.Time) {
	if now.Before(c.until) {
		return
	}
	progress, held, done := c.log.Progress(), c.log.Made(), 0
	for _, p := range progress {
		if p.Held >= c.stop[p.Key] {
			held = min(held, p.Held)
			done++
		}
	}
	waited := now.Sub(c.since)
	if c.able() && 2*done >= len(progress) {
		_, middle := middles(progress)
		c.speed = float64(c.log.OwnBytes(c.from, middle)) / max(waited, castAsk).Seconds()
		c.begin(now, held, middle)
		return
	}
	if c.asked++; waited >= castDrain || c.asked > castAsks && !c.able() {
		c.fail(now)
		return
	}
	c.until = now.Add(castAsk)
	for _, k := range c.order {
		if !c.members[k].able {
			c.out = append(c.out, castOut{to: k, body: new(piece)})
		}
	}
}

// middles are places that half of the members have reached.
func middles(all []causal.Progress) (sent, held int) {
	if len(all) == 0 {
		return 0, 0
	}
	mid := (len(all) - 1) / 2
	slices.SortFunc(all, func(a, b causal.Progress) int { return a.Sent - b.Sent })
	sent = all[mid].Sent
	slices.SortFunc(all, func(a, b causal.Progress) int { return a.Held - b.Held })
	return sent, all[mid].Held
}

// begin goes over to casting, from a place that most hold all before.
func (c *cast) begin(now time.Time, from, middle int) {
	c.state = castOn
	c.next, c.at, c.middle, c.released = from, 0, middle, from
	c.flying, c.again, c.deaf = nil, nil, make(map[membership.Key]bool)
	c.rate, c.tokens, c.ran = min(max(2*c.speed, 1<<20), castMost), 0, now.Add(-time.Millisecond)
	c.measure, c.verdict = measure{since: now}, verdict{since: now}
	for _, l := range c.members {
		l.held, l.since, l.lost = 0, now, 0
	}
	c.log.Withhold(c.released, c.deaf)
	c.run(now)
}

// end leaves all to the streams.
func (c *cast) end() {
	c.state, c.flying, c.again = castOff, nil, nil
	c.log.Withhold(-1, nil)
}

// fail ends it for a while.
func (c *cast) fail(now time.Time) {
	c.end()
	c.until = now.Add(c.pause)
	c.pause = min(2*c.pause, castPauseMax)
}

// more reports whether there is something to cast, and room for it.
func (c *cast) more() bool {
	return len(c.again) > 0 || c.next < c.log.Made() && (c.at > 0 || c.room())
}

// room reports whether another block may be begun.
func (c *cast) room() bool {
	return c.next-c.middle < castBlocks && c.log.OwnBytes(c.middle, c.next) < castWindow
}

// run casts what the rate allows, and lets go what has had its time.
func (c *cast) run(now time.Time) {
	if c.log.Made() < c.next { // the history was begun anew
		c.end()
		return
	}
	c.tokens = min(c.tokens+c.rate*now.Sub(c.ran).Seconds(), castBurst*pieceSize)
	c.ran = now
	for c.tokens >= pieceSize {
		// In turn, so that nobody who asks for too much holds up the rest.
		if again := c.sendAgain(now); !c.sendNext(now) && !again {
			break
		}
	}
	if len(c.again) == 0 && c.next >= c.log.Made() {
		c.tokens = min(c.tokens, pieceSize)
		c.verdict.idle = true
	}
	c.adapt(now)
	switch {
	case c.state != castOn:
	case now.Sub(c.verdict.since) >= castJudge:
		c.judge(now)
	case len(c.flying) == 0 && !c.more():
		c.end()
	}
}

// sendNext sends the next piece of the next block.
func (c *cast) sendNext(now time.Time) bool {
	if c.next >= c.log.Made() || c.at == 0 && !c.room() {
		return false
	}
	raw, n := c.log.Own(c.next)
	if c.at == 0 {
		c.flying = append(c.flying, flight{place: c.next, n: n, size: len(raw)})
	}
	if raw != nil {
		c.send(raw, n, uint32(c.at))
		c.count.Sent++
		c.measure.pieces++
		c.verdict.bytes += min(pieceSize, len(raw)-c.at*pieceSize)
		c.at++
	}
	if c.at*pieceSize >= len(raw) {
		c.flying[len(c.flying)-1].done = now
		c.next, c.at = c.next+1, 0
	}
	return true
}

// sendAgain sends a piece that somebody lacks.
func (c *cast) sendAgain(now time.Time) bool {
	if len(c.again) == 0 {
		return false
	}
	id := c.again[0]
	c.again = c.again[1:]
	if id.place < c.released {
		return true // all hold it now
	}
	if raw, n := c.log.Own(id.place); raw != nil {
		c.send(raw, n, id.piece)
		c.count.Again++
		if f := c.flightOf(n); f != nil && f.again != nil {
			f.again[id.piece] = now
		}
	}
	return true
}

func (c *cast) send(raw []byte, n uint64, i uint32) {
	from := int(i) * pieceSize
	data := raw[from:min(from+pieceSize, len(raw))]
	c.tokens -= float64(len(data))
	c.out = append(c.out, castOut{group: true, body: &piece{N: n, Size: uint32(len(raw)), Index: i, Data: data}})
}

// adapt changes the rate by what the member lost that lost most, and sees who is
// deaf.
func (c *cast) adapt(now time.Time) {
	m := &c.measure
	if now.Sub(m.since) < castMeasure {
		return
	}
	most := 0
	for k, l := range c.members {
		if !c.deaf[k] {
			most = max(most, l.lost)
		}
		l.lost = 0
	}
	switch lost := float64(most) / float64(max(m.pieces, 1)); {
	case m.rest:
		m.rest = false
	case lost > castMany:
		c.rate, m.rest = max(c.rate*castShrink, castLeast), true
	case lost < castFew && c.more():
		c.rate = min(c.rate*castGrow, castMost)
	}
	m.since, m.pieces = now, 0
	c.follow(now)
}

// follow looks how far the members are. Those that fall far behind, or stand
// still, get all by their streams.
func (c *cast) follow(now time.Time) {
	progress := c.log.Progress()
	_, c.middle = middles(progress)
	deaf, all := 0, c.log.Made()
	for _, p := range progress {
		l := c.members[p.Key]
		if l == nil {
			continue
		}
		if p.Held > l.held || p.Held >= c.next {
			l.held, l.since = p.Held, now
		}
		if now.Sub(l.since) >= castDeaf || c.log.OwnBytes(p.Held, c.middle) > castWindow {
			c.deaf[p.Key] = true
		}
		if c.deaf[p.Key] {
			deaf++
		} else {
			all = min(all, p.Held)
		}
	}
	if c.at == 0 { // the streams may be ahead
		c.next = max(c.next, min(all, c.log.Made()))
	}
	for len(c.flying) > 0 && !c.flying[0].done.IsZero() && c.flying[0].place < all {
		c.released, c.flying = c.flying[0].place+1, c.flying[1:]
	}
	if c.log.Withhold(c.released, c.deaf); 2*deaf >= len(c.members) {
		c.fail(now)
	}
	if n := len(c.flying); n > 0 && c.next == c.log.Made() && now.Sub(c.flying[n-1].done) >= castTail {
		// Who got nothing of the last one does not know of it.
		f := &c.flying[n-1]
		f.done = now
		c.again = append(c.again, pieceID{place: f.place, piece: piecesOf(f.size) - 1})
	}
}

// judge ends what is slower than the streams were.
func (c *cast) judge(now time.Time) {
	v := &c.verdict
	speed := float64(v.bytes) / now.Sub(v.since).Seconds()
	switch {
	case v.idle || speed >= c.speed:
		v.slow, c.pause = 0, castPause
	default:
		v.slow++
	}
	v.since, v.bytes, v.idle = now, 0, false
	if v.slow >= 2 {
		c.fail(now)
	}
}

// heard takes what a member lacks; it says at the same time that it takes
// pieces.
func (c *cast) heard(now time.Time, from membership.Key, m *missing) {
	l := c.members[from]
	if l == nil {
		return
	}
	l.able = true
	if c.state != castOn {
		return
	}
	for _, s := range m.Spans {
		c.lacks(now, l, s)
	}
	c.run(now)
}

// lacks queues pieces to be sent again.
func (c *cast) lacks(now time.Time, l *listener, s stretch) {
	f := c.flightOf(s.N)
	if f == nil {
		return
	}
	if f.again == nil {
		f.again = make(map[uint32]time.Time)
	}
	end := min(s.To, piecesOf(f.size))
	if f.done.IsZero() {
		end = min(end, uint32(c.at))
	}
	for i := s.From; i < end; i++ {
		if len(c.again) >= castQueue {
			return
		}
		if at, asked := f.again[i]; asked && (at.IsZero() || now.Sub(at) < castAgain) {
			continue
		}
		f.again[i] = time.Time{}
		l.lost++
		c.again = append(c.again, pieceID{place: f.place, piece: i})
	}
}

// flightOf finds a block that was cast and not released yet.
func (c *cast) flightOf(n uint64) *flight {
	if len(c.flying) == 0 || n < c.flying[0].n {
		return nil
	}
	if i := n - c.flying[0].n; i < uint64(len(c.flying)) && c.flying[i].n == n {
		return &c.flying[i]
	}
	return nil
}
