package core

import (
	"crypto/ed25519"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

// stock is a log whose last blocks fit by three, of which the first acked are
// known to all.
type stock struct{ made, acked int }

func (s *stock) Fresh(skip, _ int) (*causal.Fresh, int) {
	f := new(causal.Fresh)
	for i := s.made - skip; i > s.acked && len(f.Frames) < 3; i-- {
		f.Frames = append(f.Frames, []byte{byte(i)})
	}
	return f, len(f.Frames)
}

func (s *stock) Refresh(*causal.Want, int) *causal.Fresh { return &causal.Fresh{} }
func (s *stock) Lack(causal.Key) *causal.Want {
	if s.made == s.acked {
		return nil
	}
	return &causal.Want{}
}

// blocksOf are the numbers of the blocks in a message, the last one first.
func blocksOf(f *causal.Fresh) (n []int) {
	if f != nil {
		for _, b := range f.Frames {
			n = append(n, int(b[0]))
		}
	}
	return n
}

func TestPush(t *testing.T) {
	s := new(stock)
	p := newSpread(nil)
	require.Equal(t, "streams", p.name(), "a log that cannot be asked")
	p = &push{log: s}
	require.Equal(t, "push", p.name())
	now := time.Now()
	said := func() []int { s.made++; return blocksOf(p.flushed(now, 1, 4)) }
	due := func() []int {
		require.False(t, p.deadline().IsZero())
		now = p.deadline()
		return blocksOf(p.tick(now))
	}

	require.Equal(t, []int{1}, said())
	now = now.Add(pushGap / 2)
	require.Empty(t, said(), "too soon after the last")
	now = now.Add(pushGap)
	require.Empty(t, said(), "nor is the one after that, which may be a pause of somebody in a hurry")
	now = now.Add(pushGap)
	require.Equal(t, []int{4, 3, 2}, said(), "with those before")
	s.acked = 1
	require.Empty(t, due(), "what is younger than the check counts for the next one")
	s.acked = 4
	require.Empty(t, due())
	require.True(t, p.deadline().IsZero(), "all is acknowledged")

	// Something gets lost.
	for range 5 {
		now = now.Add(5 * time.Millisecond)
		said()
	}
	require.Equal(t, []int{9, 8, 7}, due(), "the fifth is overdue; who lacks it will ask")
	begun := now
	require.Equal(t, []int{9, 8, 7}, due())
	require.Equal(t, []int{9, 8, 7}, due())
	require.Equal(t, 3*pushAgain, now.Sub(begun))
	for range 10 {
		if p.deadline().IsZero() {
			break
		}
		due()
	}
	require.True(t, p.deadline().IsZero(), "it gives up: the streams have it")
	require.Less(t, now.Sub(begun), 2*pushLast)

	// Then blocks are sent again sooner, for a while.
	require.Equal(t, []int{10, 9, 8}, said())
	require.Equal(t, pushAgain, p.deadline().Sub(now))
	require.Equal(t, []int{10, 9, 8}, due())
	s.acked = 10
	require.Empty(t, due())
	require.True(t, p.deadline().IsZero())
	now = now.Add(pushLossy)
	said()
	require.Equal(t, pushCheck, p.deadline().Sub(now))

	p.(*push).lossy = now.Add(pushLossy)
	now = now.Add(pushGap / 2)
	require.Empty(t, said(), "too soon after the last")
	now = now.Add(pushGap)
	require.NotEmpty(t, said(), "while packets get lost also the one after that")

	now = now.Add(time.Second)
	require.Nil(t, p.flushed(now, 1, 1), "nobody is there")
	now = now.Add(time.Second)
	require.Nil(t, p.flushed(now, pushFew+1, 4), "more wait already")
	p.(*push).lossy = time.Time{}
	now = now.Add(time.Second)
	require.Nil(t, p.flushed(now, 1, 4))
	now = now.Add(time.Second)
	require.NotNil(t, p.flushed(now, pushFew, 4))
}

// What comes by datagram from a member counts once, whatever comes by its
// stream besides; from anybody else it is not looked at.
func TestFreshBlocksAreTakenFromMembersOnly(t *testing.T) {
	c, now := founded(t)
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	sum := sha256.Sum256(key.Public().(ed25519.PublicKey))
	ada := membership.Key(sum[:16])
	other, err := causal.NewMemory(causal.Config{Key: key, Group: "group", Rand: zeros{}})
	require.NoError(t, err)
	other.SetPeers(now, []causal.Key{c.self})
	empty := other.Beat(now)
	_, err = other.Append(now, []byte("hi"))
	require.NoError(t, err)
	require.NoError(t, other.Flush(now))
	f, n := other.Fresh(0, transport.MaxDatagram)
	require.Equal(t, 1, n)
	by := sender{From: ada, Inc: 5}
	at := from(3, 1)
	fresh := func(kind transport.Kind, peer int) {
		c.Handle(now, transport.Event{Kind: kind, Peer: from(peer, 1), Frame: encodeLog(by, f)})
	}
	fresh(transport.Datagram, 3)
	require.Zero(t, c.Log().Len(), "no member")

	s := newSigner(key, "group")
	join := s.sign(encodeMembership(membership.Header{From: ada, Inc: 5}, membership.Join{Addr: at, Name: "ada"}, nil))
	c.Handle(now, transport.Event{Kind: transport.Datagram, Peer: at, Frame: join})
	require.Len(t, c.Group().View().Members, 2)
	fresh(transport.Datagram, 4)
	require.Zero(t, c.Log().Len(), "not from there")
	fresh(transport.Frame, 3)
	require.Zero(t, c.Log().Len(), "not by a stream")
	fresh(transport.Datagram, 3)
	require.Zero(t, c.Log().Len(), "not before it is known what there is to take over")
	c.Handle(now, transport.Event{Kind: transport.Up, Peer: at})
	c.Handle(now, transport.Event{Kind: transport.Frame, Peer: at, Frame: encodeLog(by, empty)})
	fresh(transport.Datagram, 3)
	fresh(transport.Datagram, 3)
	require.EqualValues(t, 1, c.Log().Len(), "%v %v", c.Log().Stats(), c.drops)
	c.Handle(now, transport.Event{Kind: transport.Frame, Peer: at, Frame: encodeLog(by, &causal.Blocks{Frames: f.Frames})})
	require.EqualValues(t, 1, c.Log().Len())
	require.Empty(t, c.Log().Stats().Refused, "to come twice is as it should be")

	// Who lacks an own block, and is a member, is told so often.
	_, err = c.Append(now, []byte("hello"))
	require.NoError(t, err)
	require.NoError(t, c.Flush(now))
	c.Ready()
	asks := func(peer, times int) (told int) {
		for range times {
			w := &causal.Want{Spans: []causal.Span{{Writer: c.Log().Writer(), From: 1, To: 1}}}
			c.Handle(now, transport.Event{Kind: transport.Datagram, Peer: from(peer, 1), Frame: encodeLog(by, w)})
			for _, o := range c.Ready().Out {
				d, err := decode(o.Frame)
				require.NoError(t, err)
				require.Len(t, d.log.(*causal.Fresh).Frames, 1)
				require.Equal(t, Out{To: at, Frame: o.Frame}, o)
				told++
			}
		}
		return told
	}
	require.Zero(t, asks(4, 1), "not from there")
	require.Equal(t, pushTold, asks(3, 200))
	now = now.Add(100 * time.Millisecond)
	require.Equal(t, 1, asks(3, 1))

	// Forgeries are looked at so often in a second.
	f.Frames[0] = append([]byte(nil), f.Frames[0]...)
	f.Frames[0][len(f.Frames[0])-1] ^= 1
	for range 1000 {
		fresh(transport.Datagram, 3)
	}
	refused := uint64(0)
	for _, n := range c.Log().Stats().Refused {
		refused += n
	}
	require.EqualValues(t, faultsEach, refused)
	require.EqualValues(t, 1000-faultsEach, c.drops["limited"])
}

// zeros is no randomness at all.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
