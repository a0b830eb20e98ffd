package core

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-885536be/p2p/membership"
)

// post is a network of direct machines that lies, cuts and repeats.
type post struct {
	fatal interface {
		Fatalf(string, ...any)
		Helper()
	}
	now   time.Time
	ends  []*postEnd
	pipes map[[2]int][][]byte
	up    map[[2]int]bool // by the lower first
	seen  []sniffed       // what has been on the network
	sent  map[string]*sentMail
	said  int
}

type postEnd struct {
	*direct
	signs *signer
	inc   uint64
	sees  map[int]bool // whom its view lists
	got   []string     // read, by this run
	due   map[uint64]string
}

type sniffed struct {
	from, to int
	frame    []byte
}

// sentMail is what the model knows of a message.
type sentMail struct {
	from, to     int
	toInc        uint64 // whose run has read it; 0: none
	acked, ended bool
	err          *DirectError
}

func newPost(f interface {
	Fatalf(string, ...any)
	Helper()
}, n int) *post {
	p := &post{fatal: f, now: time.Unix(1000, 0), pipes: map[[2]int][][]byte{}, up: map[[2]int]bool{}, sent: map[string]*sentMail{}}
	for i := range n {
		s, _ := testSigner(byte(i+1), "group")
		p.ends = append(p.ends, &postEnd{signs: s, sees: map[int]bool{}})
		p.boot(i)
	}
	for i := range n {
		for j := range n {
			p.ends[i].sees[j] = true
			p.up[[2]int{min(i, j), max(i, j)}] = true
		}
	}
	p.views(nil)
	return p
}

func (p *post) key(i int) membership.Key {
	return keyOf(p.ends[i].signs.key.Public().(ed25519.PublicKey))
}

func (p *post) boot(i int) {
	e := p.ends[i]
	e.inc++
	e.direct, e.got, e.due = newDirect(p.key(i), "group"), nil, map[uint64]string{}
}

func (p *post) linked(i, j int) bool { return i != j && p.up[[2]int{min(i, j), max(i, j)}] }

// views tells everybody whom it sees; left is who said goodbye.
func (p *post) views(left []membership.Departure) {
	for i, e := range p.ends {
		v := membership.View{}
		for j, o := range p.ends {
			if i == j || e.sees[j] {
				v.Members = append(v.Members, membership.Member{Key: p.key(j), Inc: o.inc})
			}
		}
		e.view(p.now, v, left, func(k membership.Key) bool { return p.linked(i, p.find(k)) })
		p.settle(i)
	}
}

func (p *post) find(k membership.Key) int {
	return slices.IndexFunc(p.ends, func(e *postEnd) bool { return e.self == k })
}

// settle puts what an end has to say on its streams.
func (p *post) settle(i int) {
	p.fatal.Helper()
	e := p.ends[i]
	for {
		r := e.ready()
		for _, d := range r.done {
			m := p.sent[e.due[d.Ticket]]
			if m.ended {
				p.fatal.Fatalf("%q ended twice", e.due[d.Ticket])
			}
			m.ended = true
			if d.Err == nil {
				m.acked = true
			} else {
				m.err = d.Err.(*DirectError)
			}
		}
		if len(r.peers) == 0 {
			return
		}
		for _, k := range r.peers {
			j := p.find(k)
			for m := e.nextFor(k); m != nil; m = e.nextFor(k) {
				f := encodeDirect(sender{From: e.self, Inc: e.inc}, m)
				if signed(f[0]) {
					f = e.signs.sign(f)
				}
				p.seen = append(p.seen, sniffed{i, j, f})
				if p.linked(i, j) {
					p.pipes[[2]int{i, j}] = append(p.pipes[[2]int{i, j}], f)
				}
			}
		}
	}
}

// receive gives a frame to an end, as Core.Handle does.
func (p *post) receive(i int, frame []byte) {
	e := p.ends[i]
	b, ok := frame, true
	if len(b) > 0 && signed(b[0]) {
		var err error
		if b, err = cut(frame); err != nil {
			return
		}
	}
	f, err := decode(b)
	if err != nil || f.direct == nil {
		return
	}
	if signed(frame[0]) {
		ok = e.signs.verify(frame, f.header.From) == nil
	}
	if ok {
		e.step(p.now, f.header.From, f.header.Inc, f.direct)
		p.settle(i)
	}
}

func (p *post) deliver(i, j int) bool {
	q := p.pipes[[2]int{i, j}]
	if len(q) == 0 {
		return false
	}
	p.pipes[[2]int{i, j}] = q[1:]
	p.receive(j, q[0])
	return true
}

func (p *post) link(i, j int, up bool) {
	p.up[[2]int{min(i, j), max(i, j)}] = up
	if !up { // what was on its way is lost
		delete(p.pipes, [2]int{i, j})
		delete(p.pipes, [2]int{j, i})
	}
	for _, x := range [][2]int{{i, j}, {j, i}} {
		p.ends[x[0]].link(p.now, p.key(x[1]), up)
		p.settle(x[0])
	}
}

// send returns the text, or "" if it was refused.
func (p *post) send(i, j int) string {
	p.said++
	text := fmt.Sprintf("message %d from %d to %d", p.said, i, j)
	e := p.ends[i]
	ticket, err := e.send(p.now, p.key(j), []byte(text))
	if err != nil {
		p.settle(i)
		return ""
	}
	e.due[ticket] = text
	p.sent[text] = &sentMail{from: i, to: j}
	p.settle(i)
	return text
}

// read takes one message from an inbox and holds it against the model.
func (p *post) read(i int) bool {
	p.fatal.Helper()
	e := p.ends[i]
	x, ok := e.take()
	if !ok {
		return false
	}
	m := p.sent[string(x.Data)]
	switch {
	case m == nil:
		p.fatal.Fatalf("%q was never sent", x.Data)
	case m.to != i || p.key(m.from) != x.From:
		p.fatal.Fatalf("%q was read by %d as from %x", x.Data, i, x.From)
	case m.toInc != 0:
		p.fatal.Fatalf("%q came twice", x.Data)
	case m.err != nil && !m.err.Sent:
		p.fatal.Fatalf("%q came though it was not sent", x.Data)
	}
	m.toInc = e.inc
	e.got = append(e.got, string(x.Data))
	p.settle(i)
	return true
}

func (p *post) advance(d time.Duration) {
	p.now = p.now.Add(d)
	for i, e := range p.ends {
		if due := e.deadline(); !due.IsZero() && !p.now.Before(due) {
			e.tick(p.now)
			p.settle(i)
		}
	}
}

// calm delivers and reads all there is for a while.
func (p *post) calm() {
	for range 200 {
		for busy := true; busy; {
			busy = false
			for i := range p.ends {
				for j := range p.ends {
					busy = p.deliver(i, j) || busy
				}
				busy = p.read(i) || busy
			}
		}
		p.advance(time.Second)
	}
}

// ordered holds the order of what each run has read from each sender.
func (p *post) ordered() {
	for i, e := range p.ends {
		last := map[int]int{}
		for _, text := range e.got {
			var n, from, to int
			_, _ = fmt.Sscanf(text, "message %d from %d to %d", &n, &from, &to)
			if n <= last[from] {
				p.fatal.Fatalf("%d read %q after message %d", i, text, last[from])
			}
			last[from] = n
		}
	}
}

func TestDirectMessagesArriveOnceAndInOrder(t *testing.T) {
	p := newPost(t, 2)
	var texts []string
	for range 300 {
		if s := p.send(0, 1); s != "" {
			texts = append(texts, s)
		}
	}
	require.Len(t, texts, directQueue, "the queue is bounded")
	p.calm()
	require.Equal(t, texts, p.ends[1].got)
	for _, s := range texts {
		require.True(t, p.sent[s].acked)
	}
	require.Equal(t, uint64(directQueue), p.ends[0].count.Sent)
	for _, f := range p.seen {
		require.NotContains(t, string(f.frame), "message")
	}
	require.Nil(t, p.ends[1].mails[p.key(0)].key, "the key of an open session is kept")
}

// While nobody reads, no more is taken than the bounds allow, and nothing is
// lost; others are not held up.
func TestDirectWaitsForASlowReader(t *testing.T) {
	p := newPost(t, 3)
	for range directQueue {
		require.NotEmpty(t, p.send(0, 1))
	}
	for range 30 {
		for p.deliver(0, 1) || p.deliver(1, 0) {
		}
		p.advance(time.Second)
	}
	require.Len(t, p.ends[1].inbox, windowQueue)
	hello := p.send(2, 1)
	for p.deliver(2, 1) || p.deliver(1, 2) {
	}
	require.True(t, p.sent[hello].acked)
	p.calm()
	require.Len(t, p.ends[1].got, directQueue+1)
	require.Zero(t, p.ends[1].held)
}

func TestDirectFatesOfAPeer(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(p *post)
		want [2]*DirectError // of one that was under way, and one that was not
	}{
		{"restarted", func(p *post) { p.boot(1); p.views(nil) }, [2]*DirectError{{Why: "restarted", Sent: true}, nil}},
		{"left", func(p *post) {
			p.ends[0].sees[1] = false
			p.views([]membership.Departure{{Key: p.key(1), Inc: 1, Reason: membership.ReasonLeft}})
		}, [2]*DirectError{{Why: "left", Sent: true}, {Why: "left"}}},
		{"dead", func(p *post) {
			p.ends[0].sees[1] = false
			p.views([]membership.Departure{{Key: p.key(1), Inc: 1, Reason: membership.ReasonFailed}})
			p.advance(goneAfter)
		}, [2]*DirectError{{Why: "dead", Sent: true}, {Why: "dead"}}},
		{"back in time", func(p *post) {
			p.ends[0].sees[1] = false
			p.views([]membership.Departure{{Key: p.key(1), Inc: 1, Reason: membership.ReasonFailed}})
			p.advance(goneAfter - time.Second)
			p.ends[0].sees[1] = true
			p.views(nil)
		}, [2]*DirectError{}},
		{"forgot the session", func(p *post) {
			delete(p.ends[1].mails, p.key(0))
			p.views(nil)
			p.link(0, 1, false)
			p.link(0, 1, true)
		}, [2]*DirectError{{Why: "lost", Sent: true}, nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPost(t, 2)
			p.send(0, 1)
			p.calm()
			var texts [2]string
			for i := range windowQueue + 1 {
				s := p.send(0, 1)
				texts[min(i/windowQueue, 1)] = s
			}
			c.do(p)
			p.calm()
			for i, s := range texts {
				require.Equal(t, c.want[i], p.sent[s].err, "%s", s)
				require.Equal(t, c.want[i] == nil, p.sent[s].acked)
			}
		})
	}
	p := newPost(t, 2)
	_, err := p.ends[0].send(p.now, membership.Key{9}, nil)
	require.Equal(t, &DirectError{Why: "unknown"}, err)
}

func TestDirectAbandonedBeforeItWasSent(t *testing.T) {
	p := newPost(t, 2)
	p.link(0, 1, false)
	text := p.send(0, 1)
	p.ends[0].abandon(1)
	p.link(0, 1, true)
	p.calm()
	require.Zero(t, p.sent[text].toInc)
	require.Zero(t, p.ends[0].mails[p.key(1)].size)
}

// A session that is at rest is replaced in time, so that a key that is found
// later opens no more than an hour of talk.
func TestDirectSessionsAreReplaced(t *testing.T) {
	p := newPost(t, 2)
	p.send(0, 1)
	p.calm()
	first := p.ends[0].mails[p.key(1)].session.id
	p.send(0, 1)
	p.calm()
	require.Equal(t, first, p.ends[0].mails[p.key(1)].session.id)
	p.advance(sessionLimit)
	p.send(0, 1)
	p.calm()
	require.NotEqual(t, first, p.ends[0].mails[p.key(1)].session.id)
	require.Len(t, p.ends[1].got, 3)
}

// Peers that come and go leave nothing behind for ever.
func TestDirectForgetsPeers(t *testing.T) {
	p := newPost(t, 2)
	p.send(0, 1)
	p.calm()
	p.ends[0].sees[1] = false
	p.views(nil)
	for range 20 {
		p.advance(time.Minute)
	}
	require.Empty(t, p.ends[0].mails)
	require.Zero(t, p.ends[0].deadline())
}

// Whatever the network does, and whoever is in between, a message arrives at
// most once, where it was sent to, in order, and acknowledged only if it did;
// and when the network is well again, all that did not fail arrive.
func TestDirectAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 3
		p := newPost(t, n)
		mallory, _ := testSigner(9, "group")
		pair := func() (int, int) {
			i := rapid.IntRange(0, n-1).Draw(t, "i")
			return i, (i + rapid.IntRange(1, n-1).Draw(t, "to")) % n
		}
		captured := func() (sniffed, bool) {
			if len(p.seen) == 0 {
				return sniffed{}, false
			}
			return rapid.SampledFrom(p.seen).Draw(t, "captured"), true
		}
		t.Repeat(map[string]func(*rapid.T){
			"send": func(*rapid.T) {
				i, j := pair()
				for range rapid.SampledFrom([]int{1, 3, 100}).Draw(t, "many") {
					p.send(i, j)
				}
			},
			"deliver": func(*rapid.T) {
				i, j := pair()
				for range rapid.IntRange(1, 10).Draw(t, "many") {
					p.deliver(i, j)
				}
			},
			"read": func(*rapid.T) { p.read(rapid.IntRange(0, n-1).Draw(t, "i")) },
			"break": func(*rapid.T) {
				i, j := pair()
				p.link(i, j, false)
			},
			"mend": func(*rapid.T) {
				i, j := pair()
				p.link(i, j, true)
			},
			"wait": func(*rapid.T) {
				p.advance(time.Duration(rapid.SampledFrom([]int{1, 300, 5000, 40000}).Draw(t, "ms")) * time.Millisecond)
			},
			"view": func(*rapid.T) {
				i, j := pair()
				p.ends[i].sees[j] = rapid.Bool().Draw(t, "sees")
				p.views(nil)
			},
			"restart": func(*rapid.T) {
				i := rapid.IntRange(0, n-1).Draw(t, "i")
				for j := range n {
					if i != j {
						p.link(i, j, false)
					}
				}
				for _, text := range p.ends[i].due {
					p.sent[text].ended = true // nobody is there to be told
				}
				p.boot(i)
				p.views(nil)
			},
			"replay": func(*rapid.T) {
				if f, ok := captured(); ok {
					p.receive(rapid.IntRange(0, n-1).Draw(t, "at"), f.frame)
				}
			},
			"alter": func(*rapid.T) {
				if f, ok := captured(); ok {
					b := bytes.Clone(f.frame)
					bit := rapid.IntRange(0, 8*len(b)-1).Draw(t, "bit")
					b[bit/8] ^= 1 << (bit % 8)
					p.receive(f.to, b)
				}
			},
			"sign as another": func(*rapid.T) {
				if f, ok := captured(); ok && signed(f.frame[0]) {
					b, _ := cut(bytes.Clone(f.frame))
					p.receive(f.to, mallory.sign(b))
				}
			},
			"": func(*rapid.T) {
				p.ordered()
				for _, e := range p.ends {
					for _, m := range e.mails {
						if len(m.flight) > windowQueue || len(m.flight)+len(m.waiting) > directQueue || m.unread > windowQueue || m.unread < 0 {
							t.Fatalf("beyond the bounds: %+v", m)
						}
					}
				}
			},
		})
		for i, e := range p.ends {
			for j := range p.ends {
				e.sees[j] = true
				if i < j {
					p.link(i, j, false)
				}
			}
		}
		p.views(nil)
		for i := range p.ends {
			for j := range i {
				p.link(i, j, true)
			}
		}
		p.calm()
		p.ordered()
		for _, text := range slices.Sorted(maps.Keys(p.sent)) {
			m := p.sent[text]
			if !m.ended {
				t.Fatalf("%q: no word of it", text)
			}
			if m.acked && m.toInc == 0 && p.ends[m.to].inc == 1 {
				t.Fatalf("%q was acknowledged and did not arrive", text)
			}
		}
		for _, f := range p.seen {
			if bytes.Contains(f.frame, []byte("message ")) {
				t.Fatalf("a message in clear")
			}
		}
	})
}

// Two ends derive the same secrets only if they agree on everything.
func TestSessionsBindTheirEnds(t *testing.T) {
	a, b := runOf{membership.Key{1}, 1}, runOf{membership.Key{2}, 1}
	key, err := kem.GenerateKey()
	require.NoError(t, err)
	s, err := newSealer(ends{"group", a, b}, key.PublicKey().Bytes())
	require.NoError(t, err)
	body, err := s.ctx.Seal(nil, []byte("hello"))
	require.NoError(t, err)
	for _, e := range []ends{{"group", b, a}, {"other", a, b}, {"group", runOf{a.key, 2}, b}, {"group", a, runOf{b.key, 2}}, {"group", runOf{membership.Key{3}, 1}, b}} {
		o, err := newOpener(e, key, s.enc)
		require.NoError(t, err)
		require.NotEqual(t, s.id, o.id)
		_, err = o.ctx.Open(nil, body)
		require.Error(t, err)
	}
	o, err := newOpener(ends{"group", a, b}, key, s.enc)
	require.NoError(t, err)
	require.Equal(t, s.secrets, o.secrets)
	data, err := o.ctx.Open(nil, body)
	require.NoError(t, err)
	require.Equal(t, "hello", string(data))
}

// Whoever is in between can make nobody believe that a message arrived, lose
// one, or take a session over.
func TestDirectForgeries(t *testing.T) {
	p := newPost(t, 3)
	text := p.send(0, 1)
	var hello, key, data []byte
	for p.sent[text].toInc == 0 {
		p.deliver(0, 1)
		p.deliver(1, 0)
		for _, f := range p.seen {
			switch f.frame[0] - wireDirect {
			case kindHello:
				hello = f.frame
			case kindKey:
				key = f.frame
			case kindData:
				data = f.frame
			}
		}
		if data != nil && p.sent[text].toInc == 0 {
			// An acknowledgement by somebody who read the frames.
			f, err := decode(data)
			require.NoError(t, err)
			ack := &directAck{Session: f.direct.(*directData).Session, N: 1}
			p.receive(0, encodeDirect(sender{From: p.key(1), Inc: 1}, ack))
			require.False(t, p.sent[text].ended)
			require.Equal(t, uint64(1), p.ends[0].count.Forged)
			p.deliver(0, 1)
			p.deliver(0, 1)
			p.read(1)
		}
	}
	p.calm()
	require.True(t, p.sent[text].acked)

	// An old HELLO moves nothing, at whom it was for, and who was told it.
	before := len(p.seen)
	p.receive(1, hello)
	require.Len(t, p.seen, before)
	p.receive(2, hello)
	require.Len(t, p.seen, before+1, "it was not heard there before: a key, for nobody")
	p.deliver(2, 0)
	require.Equal(t, uint64(1), p.ends[0].count.Replayed)

	// An old KEY, and one meant for another, open nothing.
	p.advance(sessionLimit + time.Second)
	next := p.send(0, 1)
	p.receive(0, key)
	require.Nil(t, p.ends[0].mails[p.key(1)].session)
	f, err := decode(key[:len(key)-trailerSize])
	require.NoError(t, err)
	k := *f.direct.(*directKey)
	k.To, k.Nonce = p.key(2), p.ends[0].mails[p.key(1)].asking
	p.receive(0, p.ends[1].signs.sign(encodeDirect(sender{From: p.key(1), Inc: 1}, &k)))
	require.Nil(t, p.ends[0].mails[p.key(1)].session)
	p.calm()
	require.True(t, p.sent[next].acked)

	// Who is no member is not heard at all.
	eve, _ := testSigner(9, "group")
	p.receive(1, eve.sign(encodeDirect(sender{From: keyOf(eve.key.Public().(ed25519.PublicKey)), Inc: 1}, &directHello{Nonce: 1})))
	require.Equal(t, uint64(1), p.ends[1].count.Strange)
	require.Len(t, p.ends[1].mails, 2)
}

// A HELLO that the other end was not ready to hear is repeated.
func TestDirectAsksAgain(t *testing.T) {
	p := newPost(t, 2)
	p.ends[1].sees[0] = false
	p.views(nil)
	text := p.send(0, 1)
	for p.deliver(0, 1) {
	}
	p.ends[1].sees[0] = true
	p.views(nil)
	p.calm()
	require.True(t, p.sent[text].acked)
}
