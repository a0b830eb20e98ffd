package core

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/membership"
)

// shelf is a log with own blocks of one size, of which the members hold as many
// as held says, and their streams were given as many as sent says.
type shelf struct {
	made, size int
	sent, held map[membership.Key]int
	from       uint64                 // what is held of others
	slow       map[membership.Key]int // by how much too little a member holds
	withheld   int
	but        map[causal.Key]bool
}

func (s *shelf) Made() int                             { return s.made }
func (s *shelf) Own(place int) ([]byte, uint64)        { return shelved(place, s.size), uint64(place) + 1 }
func (s *shelf) OwnBytes(from, to int) int             { return max(0, to-from) * s.size }
func (s *shelf) Held(causal.Key) (uint64, bool)        { return s.from, true }
func (s *shelf) Apart(time.Time, causal.Key, []byte)   {}
func (s *shelf) Withhold(p int, b map[causal.Key]bool) { s.withheld, s.but = p, b }
func (s *shelf) Progress() (all []causal.Progress) {
	for k := range s.held {
		all = append(all, causal.Progress{Key: k, Sent: s.sent[k], Held: s.held[k]})
	}
	return all
}

func shelved(place, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(place + i/pieceSize)
	}
	return b
}

// casting is a cast among so many members on hosts of their own.
func casting(members int) (*cast, *shelf, time.Time) {
	s := &shelf{size: 10 * pieceSize, sent: map[membership.Key]int{}, held: map[membership.Key]int{}}
	c := newCast(nil, membership.Key{})
	c.log, c.least = s, members
	v := membership.View{}
	for i := range members {
		k := membership.Key{byte(i)}
		v.Members = append(v.Members, membership.Member{Key: k, Inc: 1, Addr: from(i, 7)})
		if i > 0 {
			s.sent[k], s.held[k] = 0, 0
		}
	}
	c.view(v)
	return c, s, time.Unix(1000, 0)
}

// drained takes what is to be sent, apart from the pieces.
func drained(c *cast) (pieces []*piece, rest []castOut) {
	for _, o := range c.out {
		if p, ok := o.body.(*piece); ok && o.group {
			pieces = append(pieces, p)
		} else {
			rest = append(rest, o)
		}
	}
	c.out = nil
	return pieces, rest
}

// to advances to a time, doing all that is due before.
func (c *cast) to(at time.Time) {
	for due := c.deadline(); !due.IsZero() && !due.After(at); due = c.deadline() {
		c.tick(due)
	}
}

// started is a cast that has begun: 1,000 blocks wait, and all members hold what
// they were given.
func started(t *testing.T, members int) (*cast, *shelf, time.Time) {
	c, s, now := casting(members)
	s.made = 1000
	c.flushed(now)
	now = now.Add(castLooks * castLook)
	c.to(now)
	require.Equal(t, castWaiting, c.state)
	require.Zero(t, s.withheld)
	_, asked := drained(c)
	require.Len(t, asked, members-1)
	for i := 1; i < members; i++ {
		require.Equal(t, castOut{to: membership.Key{byte(i)}, body: &piece{}}, asked[i-1])
		c.heard(now, membership.Key{byte(i)}, &missing{})
	}
	now = now.Add(castAsk)
	c.to(now)
	require.Equal(t, castOn, c.state)
	return c, s, now
}

func TestACastBeginsWhenTheStreamsAreBehind(t *testing.T) {
	started(t, 4)

	c, s, now := casting(4)
	s.made = castLag/s.size - 1
	c.flushed(now)
	c.to(now.Add(time.Minute))
	require.Equal(t, castOff, c.state, "little waits")
	require.True(t, c.deadline().IsZero())

	s.made = 1000
	c.least = 5
	c.flushed(now)
	require.True(t, c.deadline().IsZero(), "the group is small")
	c.least = 0
	c.flushed(now)
	require.True(t, c.deadline().IsZero(), "it is not wanted")

	c.least = 4
	c.flushed(now)
	now = now.Add(castLooks * castLook)
	c.to(now)
	for i := 1; i < 3; i++ {
		c.heard(now, membership.Key{byte(i)}, &missing{})
	}
	now = now.Add(castAsks * castAsk)
	c.to(now)
	require.Equal(t, castOff, c.state, "one does not answer")
	require.Negative(t, s.withheld)
	_, asked := drained(c)
	require.Len(t, asked, 3+castAsks-1)
	c.flushed(now)
	require.True(t, c.deadline().IsZero(), "and is not asked again for a while")
	c.flushed(now.Add(castPause))
	require.False(t, c.deadline().IsZero())
}

func TestACastWaitsForTheStreams(t *testing.T) {
	c, s, now := casting(5)
	s.made = 1000
	for i := 1; i < 5; i++ {
		s.sent[membership.Key{byte(i)}] = 100
	}
	c.flushed(now)
	now = now.Add(castLooks * castLook)
	c.to(now)
	require.Equal(t, 100, s.withheld)
	for i := 1; i < 5; i++ {
		c.heard(now, membership.Key{byte(i)}, &missing{})
	}
	now = now.Add(castAsk)
	c.to(now)
	require.Equal(t, castWaiting, c.state)
	s.held[membership.Key{1}], s.held[membership.Key{2}] = 100, 100
	now = now.Add(castAsk)
	c.to(now)
	require.Equal(t, castOn, c.state, "half of them are through")
	pieces, _ := drained(c)
	require.EqualValues(t, 101, pieces[0].N)

	c, s, now = casting(5)
	s.made = 1000
	for i := 1; i < 5; i++ {
		s.sent[membership.Key{byte(i)}] = 100
		c.heard(now, membership.Key{byte(i)}, &missing{})
	}
	c.flushed(now)
	c.to(now.Add(castLooks*castLook + castDrain + castAsk))
	require.Equal(t, castOff, c.state, "they stand still")
	require.Negative(t, s.withheld)
}

// All pieces go out in order, at the rate, and again when somebody lacks them.
func TestACastSendsAndSendsAgain(t *testing.T) {
	c, s, now := started(t, 4)
	s.made = 30
	var all []*piece
	hold := func(n int) {
		for k := range s.held {
			s.held[k] = n
		}
	}
	for len(all) < 300 {
		now = c.deadline()
		c.tick(now)
		pieces, _ := drained(c)
		require.LessOrEqual(t, len(pieces), castBurst)
		all = append(all, pieces...)
		hold(int(all[len(all)-1].N) - 1)
	}
	for i, p := range all {
		require.Equal(t, &piece{N: uint64(i/10) + 1, Size: uint32(s.size), Index: uint32(i % 10), Data: shelved(i/10, s.size)[:pieceSize]},
			&piece{N: p.N, Size: p.Size, Index: p.Index, Data: bytes.Repeat([]byte{byte(i / 10)}, pieceSize)})
		require.Equal(t, shelved(i/10, s.size)[i%10*pieceSize:][:pieceSize], p.Data)
	}

	// 30 is all there is. Two ask for the same, and one for what never was.
	drained(c)
	lack := &missing{Spans: []stretch{{N: 30, From: 3, To: 5}, {N: 30, From: 9, To: ^uint32(0)}, {N: 31, To: 4}, {N: 1, To: 4}}}
	c.heard(now, membership.Key{1}, lack)
	c.heard(now, membership.Key{2}, lack)
	c.heard(now, membership.Key{9}, lack)
	now = now.Add(castAgain - 1)
	c.to(now)
	c.heard(now, membership.Key{2}, lack)
	c.to(now)
	again, _ := drained(c)
	var at []uint32
	for _, p := range again {
		require.EqualValues(t, 30, p.N)
		at = append(at, p.Index)
	}
	require.Equal(t, []uint32{3, 4, 9}, at)

	// Nobody is known to hold the last: it is mentioned, and when all hold it
	// there is nothing more to do.
	now = now.Add(castTail + castMeasure)
	c.to(now)
	again, _ = drained(c)
	require.NotEmpty(t, again)
	require.EqualValues(t, 9, again[0].Index)
	hold(30)
	now = now.Add(castMeasure)
	c.to(now)
	require.Equal(t, castOff, c.state)
	require.Negative(t, s.withheld)
	require.True(t, c.deadline().IsZero())
}

// run lets time pass in which the members hold at once what is sent, but for
// those that are told what to lose of each piece.
func (s *shelf) run(c *cast, now, until time.Time, loses func(k membership.Key, p *piece) bool) time.Time {
	for now.Before(until) && c.state == castOn {
		if now = c.deadline(); now.IsZero() {
			break
		}
		c.tick(now)
		pieces, _ := drained(c)
		for _, p := range pieces {
			for k := range s.held {
				if loses != nil && loses(k, p) {
					c.heard(now, k, &missing{Spans: []stretch{{N: p.N, From: p.Index, To: p.Index + 1}}})
				} else if by := s.slow[k]; by > 0 {
					s.held[k] = int(p.N) / by
				} else {
					s.held[k] = max(s.held[k], int(p.N)-1)
				}
			}
		}
	}
	return now
}

func TestTheRateFollowsWhatIsLost(t *testing.T) {
	c, s, now := started(t, 4)
	s.made = 1 << 30
	before := c.rate
	now = s.run(c, now, now.Add(time.Second), nil)
	require.Greater(t, c.rate, 4*before, "nothing is lost")
	require.LessOrEqual(t, c.rate, float64(castMost))
	before, n := c.rate, 0
	s.run(c, now, now.Add(time.Second), func(k membership.Key, _ *piece) bool {
		n++
		return k == membership.Key{3} && n%5 == 0
	})
	require.Less(t, c.rate, before/4, "one member loses a fifth")
	require.GreaterOrEqual(t, c.rate, float64(castLeast))
}

func TestACastSlowerThanTheStreamsEnds(t *testing.T) {
	c, s, now := started(t, 4)
	s.made = 1 << 30
	c.speed = 2 * castMost
	now = s.run(c, now, now.Add(3*castJudge), nil)
	require.Equal(t, castOff, c.state)
	require.Equal(t, castPause, c.until.Sub(now))
	require.Equal(t, 2*castPause, c.pause, "the next time it is longer")
}

func TestTheDeafAreLeftToTheirStreams(t *testing.T) {
	c, s, now := started(t, 6)
	s.made = 1 << 30
	s.run(c, now, now.Add(castDeaf+time.Second), func(k membership.Key, _ *piece) bool {
		return k[0] <= 2
	})
	require.Equal(t, castOn, c.state)
	require.Equal(t, map[causal.Key]bool{{1}: true, {2}: true}, s.but)
	require.Positive(t, s.withheld)
	require.LessOrEqual(t, c.next, s.withheld+castBlocks)

	// So is who comes after all, but much later than the others; and what the
	// streams were faster with is not cast.
	c, s, now = started(t, 6)
	s.made = 1 << 30
	s.slow = map[membership.Key]int{{1}: 2}
	now = s.run(c, now, now.Add(castDeaf-time.Second), nil)
	require.Equal(t, map[causal.Key]bool{{1}: true}, s.but)
	for k := range s.held {
		s.held[k] = c.next + 1000
	}
	c.at = 0
	c.to(now.Add(castMeasure))
	require.GreaterOrEqual(t, c.next, s.held[membership.Key{1}])

	// Nothing goes out while the middle member does not keep up.
	c, s, now = started(t, 6)
	s.made = 1 << 30
	s.slow = map[membership.Key]int{{1}: 1e9, {2}: 1e9, {3}: 1e9}
	now = s.run(c, now, now.Add(castDeaf/2), nil)
	require.Equal(t, castOn, c.state)
	require.LessOrEqual(t, s.OwnBytes(c.middle, c.next), castWindow+s.size)
	before := c.next
	s.run(c, now, now.Add(castMeasure), nil)
	require.Equal(t, before, c.next)

	c, s, now = started(t, 6)
	s.made = 1 << 30
	s.run(c, now, now.Add(castDeaf+time.Second), func(k membership.Key, _ *piece) bool { return k[0] <= 3 })
	require.Equal(t, castOff, c.state, "they are more than half")
}

func TestACastEndsWithTheView(t *testing.T) {
	c, s, _ := started(t, 4)
	v := membership.View{Members: []membership.Member{
		{Key: membership.Key{}, Addr: from(0, 7)}, {Key: membership.Key{1}, Inc: 1, Addr: from(1, 7)},
		{Key: membership.Key{2}, Inc: 1, Addr: from(2, 7)}, {Key: membership.Key{3}, Inc: 2, Addr: from(3, 7)},
	}}
	c.view(v)
	require.Equal(t, castOff, c.state, "one is another process now, and has said nothing")
	require.Negative(t, s.withheld)

	c, s, _ = started(t, 4)
	v.Members[3] = membership.Member{Key: membership.Key{3}, Inc: 1, Addr: from(2, 8)}
	c.view(v)
	require.Equal(t, castOff, c.state, "two are on one host")
	require.Negative(t, s.withheld)
}

// receiving is a node that takes pieces of member 1.
func receiving() (c *cast, s *shelf, now time.Time, take func(p piece) []byte) {
	c, s, now = casting(4)
	return c, s, now, func(p piece) []byte { return c.take(now, membership.Key{1}, &p) }
}

func cut1(n uint64, size int, i int) piece {
	raw := shelved(int(n), size)
	return piece{N: n, Size: uint32(size), Index: uint32(i), Data: raw[i*pieceSize : min(len(raw), (i+1)*pieceSize)]}
}

func TestPiecesMakeABlock(t *testing.T) {
	const size = 3*pieceSize + 5
	c, s, now, take := receiving()
	s.from = 4
	require.Nil(t, take(cut1(5, size, 3)))
	require.Nil(t, take(cut1(5, size, 0)))
	require.Nil(t, take(cut1(5, size, 0)), "twice")
	require.Nil(t, take(cut1(5, size, 2)))
	require.Equal(t, shelved(5, size), take(cut1(5, size, 1)))
	require.Nil(t, take(cut1(5, size, 1)), "it is there")
	require.EqualValues(t, 4, c.count.Took)
	s.from = 5
	require.Nil(t, take(cut1(5, size, 1)), "it is held")
	require.Equal(t, shelved(6, 1), take(cut1(6, 1, 0)))

	// What others overtook is asked for, and again, ever more rarely.
	drained(c)
	take(cut1(7, size, 0))
	take(cut1(7, size, 2))
	take(cut1(9, size, 1))
	want := []stretch{{N: 7, From: 1, To: 2}, {N: 7, From: 3, To: 4}, {N: 8, To: ^uint32(0)}, {N: 9, To: 1}}
	at := c.deadline()
	require.LessOrEqual(t, at.Sub(now), 2*chaseWait)
	c.tick(at)
	_, asked := drained(c)
	require.Equal(t, []castOut{{to: membership.Key{1}, body: &missing{Spans: want}}}, asked)
	next := c.deadline()
	require.Equal(t, chaseNext, next.Sub(at))
	c.tick(next)
	_, asked = drained(c)
	want = append(want, stretch{N: 9, From: 2, To: 4})
	require.Equal(t, []castOut{{to: membership.Key{1}, body: &missing{Spans: want}}}, asked, "nothing more seems to come")
	require.Equal(t, 2*chaseNext, c.deadline().Sub(next))

	// Nothing comes at all: it is forgotten, the streams have it.
	c.to(now.Add(2 * stale))
	require.Empty(t, c.readers)
	require.Zero(t, c.held)
}

func TestPiecesThatAreNone(t *testing.T) {
	const size = 3*pieceSize + 5
	c, s, now, take := receiving()
	s.from = 10
	for name, p := range map[string]piece{
		"held":       cut1(10, size, 0),
		"far":        cut1(11+ahead, size, 0),
		"large":      {N: 11, Size: maxPieces + 1, Data: make([]byte, pieceSize)},
		"short":      {N: 11, Size: size, Data: make([]byte, pieceSize-1)},
		"long":       {N: 11, Size: size, Index: 3, Data: make([]byte, 6)},
		"none":       {N: 11, Size: size, Index: 4},
		"no size":    {N: 11},
		"last piece": {N: ^uint64(0), Size: ^uint32(0), Index: ^uint32(0), Data: make([]byte, pieceSize)},
	} {
		require.Nil(t, take(p), name)
		require.Zero(t, c.held, name)
	}
	require.Nil(t, c.take(now, membership.Key{9}, &piece{N: 11, Size: 1, Data: []byte{1}}), "no member")

	require.Nil(t, take(cut1(11, size, 0)))
	other := cut1(11, size-1, 3)
	require.Nil(t, take(other), "another size than the first")
	require.Equal(t, size, c.held)
	take(cut1(11, size, 1))
	take(cut1(11, size, 2))
	require.Equal(t, shelved(11, size), take(cut1(11, size, 3)))

	// Whatever a member sends, it takes so much memory.
	large := piece{Size: maxPieces / 4, Data: make([]byte, pieceSize)}
	for n := range uint64(ahead) {
		large.N = 11 + n
		take(large)
	}
	require.LessOrEqual(t, c.held, eachPieces)
	for k := byte(1); k < 4; k++ {
		for n := range uint64(ahead) {
			large.N = 11 + n
			c.take(now, membership.Key{k}, &large)
		}
	}
	require.Equal(t, 3*eachPieces, c.held)
	c.view(membership.View{})
	require.Zero(t, c.held)

	c, _, now = casting(20)
	for k := byte(1); k < 20; k++ {
		for n := range uint64(20) {
			large.N = 1 + n
			c.take(now, membership.Key{k}, &large)
		}
	}
	require.Equal(t, allPieces, c.held)
}

func TestTheQuestionForPiecesIsAnsweredSoOften(t *testing.T) {
	c, _, now := casting(4)
	for range 1000 {
		c.asks(now, membership.Key{1})
	}
	_, said := drained(c)
	require.Len(t, said, castTold)
	require.Equal(t, castOut{to: membership.Key{1}, body: &missing{}}, said[0])
}
