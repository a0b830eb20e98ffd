package election

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func FuzzBully(f *testing.F) { fuzz(f, NewBully) }

func FuzzRing(f *testing.F) { fuzz(f, NewRing) }

// fuzz drives an Elector by bytes through arbitrary calls in arbitrary states
// and checks after each what must always hold.
func fuzz(f *testing.F, create New) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		b := make([]byte, 400)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := driver{t: t, input: data, elector: create(Config{}), now: time.Unix(0, 0)}
		for len(d.input) > 0 {
			d.step()
		}
	})
}

// driver turns bytes into calls of an Elector.
type driver struct {
	t       *testing.T
	input   []byte
	elector Elector
	now     time.Time
	begun   bool // a round runs as far as can be known from outside
	round   Round
}

func (d *driver) byte() byte {
	if len(d.input) == 0 {
		return 0
	}
	b := d.input[0]
	d.input = d.input[1:]
	return b
}

// below returns a number in [0, n).
func (d *driver) below(n int) int { return int(d.byte()) % n }

func (d *driver) key() Key { return Key{15: d.byte() % 16} }

func (d *driver) base() Base { return Base{Ctr: 1, Seq: uint32(d.byte() & 1)} }

// incarnation is nearly always the right one.
func (d *driver) incarnation() uint64 {
	if d.byte() < 16 {
		return 2
	}
	return 1
}

func (d *driver) step() {
	var asked *Message
	switch op := d.below(16); {
	case op == 0:
		r := Round{Base: d.base(), Self: d.key(), Invited: d.byte()&1 == 0, RTO: time.Duration(d.byte()) * time.Millisecond}
		for k := d.below(14); k >= 0; k-- {
			r.Candidates = append(r.Candidates, Candidate{Key: Key{15: byte(k + 1)}, Inc: 1})
		}
		d.elector.Begin(d.now, r)
		if !d.begun || d.round.Base != r.Base { // otherwise the one that runs goes on
			d.round, d.begun = r, r.Pos(r.Self) >= 0
		}
	case op == 1:
		d.elector.Cancel()
		d.begun = false
		require.Zero(d.t, d.elector.Deadline())
		require.Zero(d.t, d.elector.Ready())
	case op < 6:
		if at := d.elector.Deadline(); !at.IsZero() && at.After(d.now) {
			d.now = at
		}
		d.elector.Tick(d.now)
	case op == 6:
		d.now = d.now.Add(time.Duration(d.byte()) * 20 * time.Millisecond)
		d.elector.Tick(d.now)
	default:
		m := Message{
			Kind: Kind(d.below(9)), From: d.key(), Inc: d.incarnation(), Base: d.base(),
			Cand: d.key(), CandInc: d.incarnation(), Attempt: uint32(d.below(20)), Hops: uint32(d.byte()) << 24,
			Refuse: d.byte() < 32,
		}
		asked = &m
		d.elector.Step(d.now, m, d.byte() < 16)
	}
	d.check(asked)
}

func (d *driver) check(asked *Message) {
	r := d.elector.Ready()
	require.Zero(d.t, d.elector.Ready(), "Ready forgets what it returned")
	if r.Won {
		require.True(d.t, d.begun, "won without a round")
		require.Zero(d.t, d.elector.Deadline(), "a round that was won waits for nothing")
		d.begun = false
	}
	if at := d.elector.Deadline(); asked == nil && !at.IsZero() {
		require.True(d.t, at.After(d.now), "nothing is overdue after Begin and Tick")
	}
	require.LessOrEqual(d.t, len(r.Out), 2+maxHops*len(d.round.Candidates))
	for _, o := range r.Out {
		require.True(d.t, d.begun || r.Won || asked != nil, "who takes no part sends nothing by itself: %v", o)
		require.Zero(d.t, o.Msg.From, "the caller states the sender")
		if asked != nil && !o.Msg.Candidacy() {
			require.Equal(d.t, asked.From, o.To, "%v was not asked: %v", o.To, o.Msg)
		}
	}
	if e, ok := d.elector.(*ring); ok {
		require.LessOrEqual(d.t, len(e.hops), maxHops)
		require.LessOrEqual(d.t, len(e.seen), len(e.candidates))
		for _, h := range e.hops {
			require.LessOrEqual(d.t, len(h.answers), len(e.candidates))
		}
	}
}

// TestRingMemory sends more tokens than any election has.
func TestRingMemory(t *testing.T) {
	e := NewRing(Config{}).(*ring)
	round := Round{Self: Key{15: 1}, Invited: true}
	for k := byte(100); k > 0; k-- {
		round.Candidates = append(round.Candidates, Candidate{Key: Key{15: k}, Inc: 1})
	}
	now := time.Unix(0, 0)
	e.Begin(now, round)
	for attempt := range uint32(100) {
		for _, c := range round.Candidates[:99] {
			e.Step(now, Message{Kind: KindToken, From: Key{15: 2}, Inc: 1, Cand: c.Key, CandInc: 1, Attempt: attempt}, false)
			require.LessOrEqual(t, len(e.Ready().Out), 2)
		}
	}
	require.Len(t, e.hops, maxHops)
	require.Len(t, e.seen, 99)
	for _, c := range round.Candidates[:99] {
		e.Step(now, Message{Kind: KindToken, From: Key{15: 2}, Inc: 1, Cand: c.Key, CandInc: 1}, true)
	}
	require.Len(t, e.kept, maxHops)
	e.Cancel()
	require.Nil(t, e.seen)
	require.Nil(t, e.hops)
}
