package core

import (
	"bytes"
	"crypto/hmac"
	"crypto/hpke"
	"errors"
	"time"

	"github.com/seed-885536be/p2p/membership"
)

// Direct messages go from one member to another, encrypted between the two,
// acknowledged, each once and in order. They are not in the history.
//
//	HELLO  asks the receiver for a key, or what it holds of a session
//	KEY    the answer if it holds no such session: a key for a new one
//	OPEN   opens a session with that key
//	DATA   a message of the session, numbered from 1
//	ACK    all messages up to a number have arrived
//
// The sender, for each peer, by the row that fits:
//
//	state   event                     action
//	idle    a message to send         HELLO; asking
//	asking  KEY that answers HELLO    OPEN, DATA as far as the window goes; open
//	open    a message to send         DATA, if the window allows
//	        ACK                       those messages are done; DATA; a higher round: again from there
//	        KEY that answers HELLO    the session is lost: what was sent fails; OPEN; DATA
//	        all is done, session old  idle
//	asking, the stream came up, or    HELLO
//	open    no progress for a while
//	any     the peer is another run   what was sent fails; HELLO if there is more
//	        it said goodbye           everything fails; idle
//	        gone for goneAfter        everything fails; idle
//
// The receiver, for each peer:
//
//	HELLO of the session that is open   ACK, of the next round
//	HELLO of another one                KEY
//	OPEN with the key given last        a new session; the key is forgotten
//	DATA with the next number           to the inbox; ACK. No room there: nothing
//	DATA with an older number           ACK
//	room in the inbox again             ACK, of the next round
//
// Only members of the present view are heard. A round is the receiver's word
// that what came after the acknowledged messages is lost to it.
type direct struct {
	self  membership.Key
	group string
	inc   uint64 // own
	mails map[membership.Key]*mail
	asked uint64 // HELLOs so far
	sent  uint64 // tickets so far
	inbox []DirectMessage
	held  int  // bytes of inbox
	full  bool // somebody's message found no room there
	count DirectStats
	due   time.Time // when Tick is due
	out   directReady
}

// Bounds for each peer. One message is always taken, however large.
const (
	directQueue  = 256      // messages that wait or are under way
	directBytes  = 4 << 20  // of them
	windowQueue  = 64       // messages under way, and messages that nobody has read
	windowBytes  = 2 << 20  // of either
	inboxQueue   = 4096     // messages of all peers that nobody has read
	inboxBytes   = 64 << 20 // of them
	goneAfter    = 30 * time.Second
	mailAfter    = 10 * time.Minute // for which a session outlives its peer's membership
	maxMails     = 4096             // of peers that are no members
	helloAfter   = 500 * time.Millisecond
	helloAtMost  = 4 * time.Second
	sessionLimit = time.Hour // after which a session that is at rest is replaced
)

// mail is what goes to and comes from one peer.
type mail struct {
	run    runOf
	member bool
	gone   time.Time // since when it is not, if its queue waits for it to come back
	up     bool      // there is a stream to it
	queued bool      // listed in directReady.peers

	// To the peer.
	waiting []letter
	size    int // bytes of waiting
	flight  []letter
	flying  int // bytes of flight
	next    int // of flight: the first to be sent, again or not
	n       uint64
	session *sealer
	since   time.Time // when it was opened
	round   uint64    // the highest heard
	open    *directOpen
	asking  uint64    // the HELLO that waits for an answer, or 0
	hello   bool      // HELLO is to be sent
	again   time.Time // when to ask again
	backoff time.Duration

	// From the peer.
	key     hpke.PrivateKey // for the next session
	heard   uint64          // the last HELLO
	answer  uint64          // the HELLO to be answered with the key, or 0
	lost    sessionID       // that the HELLO was about
	opened  *opener
	got     uint64 // the last message of the session
	rounds  uint64
	ack     bool // ACK is to be sent
	starved bool // there was no room for the next message
	unread  int
	held    int // bytes of unread
}

// letter is a message to a peer.
type letter struct {
	ticket uint64
	n      uint64 // in its session; 0: not sent yet
	body   []byte // sealed once n is set
}

// DirectID names a direct message at both its ends.
type DirectID struct {
	Session [16]byte
	N       uint64
}

// DirectMessage is one that arrived.
type DirectMessage struct {
	ID   DirectID
	From membership.Key
	Data []byte
	Came time.Time
}

// DirectDone notes the fate of a message sent with SendTo. Err is nil or a
// *DirectError.
type DirectDone struct {
	Ticket uint64
	ID     DirectID // zero if it was not sent
	Err    error
}

// DirectError says that a direct message was not acknowledged.
type DirectError struct {
	Why string // "left", "dead", "restarted", "unknown" or "lost"
	// Sent says that it was given to the network, so that it may have arrived.
	Sent bool
}

func (e *DirectError) Error() string { return "core: direct message: " + e.Why }

// ErrDirectFull is returned by SendTo while as many messages wait for a peer as
// may.
var ErrDirectFull = errors.New("core: too many direct messages wait")

// DirectStats count.
type DirectStats struct {
	Sent, Received            uint64 // messages, acknowledged and delivered
	Forged, Replayed, Strange uint64 // refused: not authentic, heard before, or of no member
	Waiting, Unread           int    // now: not acknowledged, and not taken
}

type directReady struct {
	peers []membership.Key // for which next has something
	done  []DirectDone
	came  bool
}

func newDirect(self membership.Key, group string) *direct {
	return &direct{self: self, group: group, mails: make(map[membership.Key]*mail)}
}

// send queues a message.
func (d *direct) send(now time.Time, to membership.Key, data []byte) (ticket uint64, err error) {
	m := d.mails[to]
	if m == nil || !m.member {
		return 0, &DirectError{Why: "unknown"}
	}
	if n := len(m.waiting) + len(m.flight); n >= directQueue || n > 0 && m.size+m.flying+len(data) > directBytes {
		return 0, ErrDirectFull
	}
	d.sent++
	m.waiting = append(m.waiting, letter{ticket: d.sent, body: bytes.Clone(data)})
	m.size += len(data)
	if m.session != nil && len(m.flight) == 0 && now.Sub(m.since) > sessionLimit {
		m.session, m.open, m.asking, m.hello = nil, nil, 0, false
	}
	d.proceed(now, m)
	return d.sent, nil
}

// abandon forgets a message that was not sent yet. One that was stays, as those
// after it depend on it.
func (d *direct) abandon(ticket uint64) {
	for _, m := range d.mails {
		for i, l := range m.waiting {
			if l.ticket == ticket {
				m.size -= len(l.body)
				m.waiting = append(m.waiting[:i:i], m.waiting[i+1:]...)
				return
			}
		}
	}
}

// proceed sees to it that what waits is sent.
func (d *direct) proceed(now time.Time, m *mail) {
	switch {
	case !m.member || !m.up:
		return
	case m.session == nil && len(m.waiting) > 0 && m.asking == 0:
		d.ask(now, m)
	case m.session != nil && m.sendable():
		if m.again.IsZero() {
			m.backoff = helloAfter
			d.askAt(m, now.Add(m.backoff))
		}
		d.pump(m)
	}
}

// sendable reports whether DATA is due.
func (m *mail) sendable() bool {
	if m.next < len(m.flight) {
		return true
	}
	return len(m.waiting) > 0 && len(m.flight) < windowQueue &&
		(len(m.flight) == 0 || m.flying+len(m.waiting[0].body) <= windowBytes)
}

// ask sends HELLO, and again later if nothing comes of it.
func (d *direct) ask(now time.Time, m *mail) {
	d.asked++
	m.asking, m.hello = d.asked, true
	m.backoff = min(max(2*m.backoff, helloAfter), helloAtMost)
	d.askAt(m, now.Add(m.backoff))
	d.pump(m)
}

func (d *direct) askAt(m *mail, at time.Time) {
	m.again = at
	d.due = earlier(d.due, at)
}

// progress notes that the peer answers.
func (d *direct) progress(now time.Time, m *mail) {
	m.again, m.backoff = time.Time{}, 0
	if len(m.flight) > 0 {
		m.backoff = helloAfter
		d.askAt(m, now.Add(m.backoff))
	}
}

func (d *direct) pump(m *mail) {
	if m.up && !m.queued {
		m.queued = true
		d.out.peers = append(d.out.peers, m.run.key)
	}
}

// link notes that a stream to a peer came up or broke.
func (d *direct) link(now time.Time, k membership.Key, up bool) {
	m := d.mails[k]
	if m == nil || m.up == up {
		return
	}
	m.up, m.queued, m.hello, m.backoff = up, false, false, 0
	if !up {
		return
	}
	if m.asking = 0; len(m.flight)+len(m.waiting) > 0 && m.member {
		d.ask(now, m)
	}
	if m.ack || m.answer != 0 {
		d.pump(m)
	}
}

// view notes who is a member. left are those who said goodbye.
func (d *direct) view(now time.Time, v membership.View, left []membership.Departure, up func(membership.Key) bool) {
	me, _ := v.Find(d.self)
	moved := d.inc != 0 && d.inc != me.Inc
	d.inc = me.Inc
	members := make(map[membership.Key]bool, len(v.Members))
	for _, x := range v.Members {
		if x.Key == d.self {
			continue
		}
		members[x.Key] = true
		m := d.mails[x.Key]
		if m == nil {
			m = &mail{run: runOf{x.Key, x.Inc}}
			d.mails[x.Key] = m
		}
		if m.run.inc != x.Inc || moved {
			d.fail(m, "restarted", false)
			*m = mail{run: runOf{x.Key, x.Inc}, waiting: m.waiting, size: m.size, unread: m.unread, held: m.held}
		}
		m.member, m.gone, m.up = true, time.Time{}, up(x.Key)
		if len(m.flight)+len(m.waiting) > 0 && m.asking == 0 && m.up && (m.session == nil || m.again.IsZero()) {
			d.ask(now, m)
		}
	}
	for _, l := range left {
		if m := d.mails[l.Key]; m != nil && !members[l.Key] && l.Reason == membership.ReasonLeft {
			d.fail(m, "left", true)
		}
	}
	for k, m := range d.mails {
		if m.member && !members[k] {
			m.member, m.gone, m.asking, m.hello, m.again = false, now, 0, false, time.Time{}
			d.due = earlier(d.due, now.Add(goneAfter))
		}
	}
}

// fail ends what was sent to a peer, and also what waits if all is true.
func (d *direct) fail(m *mail, why string, all bool) {
	for _, l := range m.flight {
		d.done(DirectDone{Ticket: l.ticket, ID: DirectID{Session: m.session.id, N: l.n}, Err: &DirectError{Why: why, Sent: true}})
	}
	m.flight, m.flying, m.next, m.n, m.round = nil, 0, 0, 0, 0
	m.session, m.open, m.asking, m.hello, m.again = nil, nil, 0, false, time.Time{}
	if all {
		for _, l := range m.waiting {
			d.done(DirectDone{Ticket: l.ticket, Err: &DirectError{Why: why}})
		}
		m.waiting, m.size = nil, 0
	}
}

func (d *direct) done(x DirectDone) { d.out.done = append(d.out.done, x) }

// tick makes the time noticed.
func (d *direct) tick(now time.Time) {
	if d.due.IsZero() || now.Before(d.due) {
		return
	}
	d.due = time.Time{}
	absent := 0
	for k, m := range d.mails {
		if !m.member {
			absent++
			switch since := now.Sub(m.gone); {
			case m.unread == 0 && (since >= mailAfter || absent > maxMails && since >= goneAfter):
				delete(d.mails, k)
				absent--
			case since >= goneAfter:
				d.fail(m, "dead", true)
				d.due = earlier(d.due, later(m.gone.Add(mailAfter), now.Add(goneAfter)))
			default:
				d.due = earlier(d.due, m.gone.Add(goneAfter))
			}
			continue
		}
		if m.again.IsZero() {
			continue
		}
		if !now.Before(m.again) {
			if m.again = (time.Time{}); m.up && len(m.flight)+len(m.waiting) > 0 {
				d.ask(now, m)
			}
		} else {
			d.due = earlier(d.due, m.again)
		}
	}
}

// deadline is when tick is due next.
func (d *direct) deadline() time.Time { return d.due }

// The messages. HELLO, KEY and OPEN are signed by their sender; DATA and ACK
// are authenticated by the session.
type (
	directHello struct {
		Nonce   uint64    // never used twice by one run
		Session sessionID // that is open, or zero
	}
	directKey struct {
		To     membership.Key
		ToInc  uint64
		Nonce  uint64 // of the HELLO
		Lost   sessionID
		Public []byte
	}
	directOpen struct {
		Public []byte // of the KEY
		Enc    []byte
	}
	directData struct {
		Session sessionID
		N       uint64
		Body    []byte
	}
	directAck struct {
		Session  sessionID
		N, Round uint64
		Mac      [16]byte
	}
)

// nextFor returns the next message for a peer's stream, or nil.
func (d *direct) nextFor(k membership.Key) any {
	m := d.mails[k]
	if m == nil {
		return nil
	}
	m.queued = false
	switch {
	case !m.up || !m.member:
		return nil
	case m.hello:
		m.hello = false
		h := &directHello{Nonce: m.asking}
		if m.session != nil {
			h.Session = m.session.id
		}
		return h
	case m.answer != 0:
		a := &directKey{To: k, ToInc: m.run.inc, Nonce: m.answer, Lost: m.lost, Public: m.key.PublicKey().Bytes()}
		m.answer = 0
		return a
	case m.ack:
		m.ack = false
		return &directAck{Session: m.opened.id, N: m.got, Round: m.rounds, Mac: m.opened.mac(m.got, m.rounds)}
	case m.open != nil:
		o := m.open
		m.open = nil
		return o
	case m.session == nil || !m.sendable():
		return nil
	}
	if m.next == len(m.flight) {
		l := m.waiting[0]
		m.waiting[0] = letter{}
		m.waiting = m.waiting[1:]
		m.size -= len(l.body)
		m.n++
		l.n = m.n
		l.body, _ = m.session.ctx.Seal(nil, l.body) // cannot fail with a cipher
		m.flight = append(m.flight, l)
		m.flying += len(l.body) - sealed
	}
	l := m.flight[m.next]
	m.next++
	return &directData{Session: m.session.id, N: l.n, Body: l.body}
}

// step takes a message of a peer's run: a signed one, or DATA or ACK.
func (d *direct) step(now time.Time, from membership.Key, inc uint64, msg any) {
	m := d.mails[from]
	if m == nil || !m.member || m.run.inc != inc {
		d.count.Strange++
		return
	}
	switch x := msg.(type) {
	case *directHello:
		d.onHello(m, x)
	case *directKey:
		d.onKey(now, m, x)
	case *directOpen:
		d.onOpen(m, x)
	case *directData:
		d.onData(now, m, x)
	case *directAck:
		d.onAck(now, m, x)
	}
	d.proceed(now, m)
}

func (d *direct) onHello(m *mail, x *directHello) {
	if x.Nonce <= m.heard {
		d.count.Replayed++
		return
	}
	m.heard = x.Nonce
	if m.opened != nil && x.Session == m.opened.id {
		if m.ack = true; !m.starved {
			m.rounds++
		}
		d.pump(m)
		return
	}
	if m.key == nil {
		key, err := kem.GenerateKey()
		if err != nil {
			return // it will ask again
		}
		m.key = key
	}
	m.answer, m.lost = x.Nonce, x.Session
	d.pump(m)
}

func (d *direct) onKey(now time.Time, m *mail, x *directKey) {
	var own sessionID
	if m.session != nil {
		own = m.session.id
	}
	if x.To != d.self || x.ToInc != d.inc || m.asking == 0 || x.Nonce != m.asking || x.Lost != own {
		d.count.Replayed++
		return
	}
	if m.session != nil {
		d.fail(m, "lost", false)
	}
	s, err := newSealer(ends{d.group, runOf{d.self, d.inc}, m.run}, x.Public)
	if err != nil {
		d.count.Forged++
		return
	}
	m.session, m.since, m.asking, m.n, m.round = s, now, 0, 0, 0
	m.open = &directOpen{Public: x.Public, Enc: s.enc}
	d.progress(now, m)
	d.pump(m)
}

func (d *direct) onOpen(m *mail, x *directOpen) {
	if m.key == nil || !bytes.Equal(x.Public, m.key.PublicKey().Bytes()) {
		d.count.Replayed++
		return
	}
	o, err := newOpener(ends{d.group, m.run, runOf{d.self, d.inc}}, m.key, x.Enc)
	if err != nil {
		d.count.Forged++
		return
	}
	m.opened, m.key, m.answer = o, nil, 0
	m.got, m.rounds, m.ack, m.starved = 0, 0, false, false
}

func (d *direct) onData(now time.Time, m *mail, x *directData) {
	switch {
	case m.opened == nil || x.Session != m.opened.id:
		d.count.Replayed++
	case x.N <= m.got:
		d.count.Replayed++
		m.ack = true
		d.pump(m)
	case x.N > m.got+1: // what is missing comes again first
	case !d.room(m, len(x.Body)-sealed):
		m.starved, d.full = true, true
	default:
		data, err := m.opened.ctx.Open(nil, x.Body)
		if err != nil {
			d.count.Forged++
			return
		}
		m.got, m.ack = x.N, true
		m.unread++
		m.held += len(data)
		d.held += len(data)
		d.inbox = append(d.inbox, DirectMessage{ID: DirectID{Session: x.Session, N: x.N}, From: m.run.key, Data: data, Came: now})
		d.count.Received++
		d.out.came = true
		d.pump(m)
	}
}

func (d *direct) onAck(now time.Time, m *mail, x *directAck) {
	if m.session == nil || x.Session != m.session.id {
		d.count.Replayed++
		return
	}
	if mac := m.session.mac(x.N, x.Round); !hmac.Equal(mac[:], x.Mac[:]) || x.N > m.n {
		d.count.Forged++
		return
	}
	arrived := 0
	for _, l := range m.flight {
		if l.n > x.N {
			break
		}
		arrived++
		m.flying -= len(l.body) - sealed
		d.count.Sent++
		d.done(DirectDone{Ticket: l.ticket, ID: DirectID{Session: x.Session, N: l.n}})
	}
	m.flight = m.flight[arrived:]
	m.next = max(m.next-arrived, 0)
	if x.Round > m.round {
		m.round, m.next, m.asking, m.hello = x.Round, 0, 0, false
		d.progress(now, m)
	} else if arrived > 0 {
		d.progress(now, m)
	}
}

// take removes the oldest message from the inbox.
func (d *direct) take() (DirectMessage, bool) {
	if len(d.inbox) == 0 {
		return DirectMessage{}, false
	}
	x := d.inbox[0]
	d.inbox[0] = DirectMessage{}
	d.inbox = d.inbox[1:]
	d.held -= len(x.Data)
	if m := d.mails[x.From]; m != nil {
		m.unread--
		m.held -= len(x.Data)
	}
	if d.full {
		d.full = false
		for _, m := range d.mails {
			switch {
			case !m.starved:
			case m.unread <= windowQueue/2 && m.held <= windowBytes/2 && d.room(m, 0):
				m.starved, m.ack = false, true
				m.rounds++
				d.pump(m)
			default:
				d.full = true
			}
		}
	}
	return x, true
}

// room reports whether the inbox takes so many bytes more of a peer.
func (d *direct) room(m *mail, size int) bool {
	if len(d.inbox) >= inboxQueue || len(d.inbox) > 0 && d.held+size > inboxBytes {
		return false
	}
	return m.unread == 0 || m.unread < windowQueue && m.held+size <= windowBytes
}

func (d *direct) ready() directReady {
	r := d.out
	d.out = directReady{}
	return r
}
