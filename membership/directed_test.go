package membership

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The tests of this file look at single decisions that random runs seldom
// force, or that no other part of a group would notice.

// alone drives one machine by hand.
type alone struct {
	t   *testing.T
	m   *Coordinated
	now time.Time
}

func newAlone(t *testing.T, i int, timing Timing) *alone {
	m, err := NewCoordinated(Config{Self: Member{Key: keyOf(i), Inc: 5, Addr: addrOf(i), Name: "me"}, Timing: timing})
	require.NoError(t, err)
	return &alone{t: t, m: m, now: epoch0}
}

func (a *alone) step(in Input) Ready {
	a.m.Step(a.now, in)
	return a.m.Ready()
}

func (a *alone) receive(i int, inc uint64, view ViewID, b Body) Ready {
	return a.step(Receive{From: addrOf(i), Packet: Packet{Header: Header{From: keyOf(i), Inc: inc, View: view}, Body: b}})
}

// pass lets time go by, with a Tick at each deadline and nothing heard.
func (a *alone) pass(d time.Duration) (all Ready) {
	end := a.now.Add(d)
	for {
		at := a.m.Deadline()
		if at.IsZero() || at.After(end) {
			break
		}
		if at.After(a.now) {
			a.now = at
		}
		a.m.Tick(a.now)
		r := a.m.Ready()
		all.Send, all.Events = append(all.Send, r.Send...), append(all.Events, r.Events...)
		if r.Round != nil {
			all.Round = r.Round
		}
		all.Cancel = all.Cancel || r.Cancel
		all.Left, all.Err = all.Left || r.Left, r.Err
		require.True(a.t, a.m.Deadline().IsZero() || a.m.Deadline().After(a.now), "time goes on")
	}
	a.now = end
	return all
}

// sent returns the bodies of one kind.
func sent[B Body](r Ready) (out []B) {
	for _, s := range r.Send {
		if b, ok := s.Packet.Body.(B); ok {
			out = append(out, b)
		}
	}
	return out
}

func events[E Event](r Ready) (out []E) {
	for _, e := range r.Events {
		if e, ok := e.(E); ok {
			out = append(out, e)
		}
	}
	return out
}

// viewOf is a view led by member l with the given others, all of incarnation 1
// but for node 1, which is the node under test.
func viewOf(ctr uint64, l int, others ...int) View {
	member := func(i int) Member {
		m := Member{Key: keyOf(i), Inc: 1, Addr: addrOf(i)}
		if i == 1 {
			m.Inc = 5
		}
		return m
	}
	v := found(member(l), ctr, 0)
	var joined []Member
	for _, i := range others {
		joined = append(joined, member(i))
	}
	v = amend(v, ctr, true, joined, nil)
	return v
}

// follower is a node 1 in a group led by node 2.
func follower(t *testing.T, others ...int) (*alone, View) {
	a := newAlone(t, 1, Classic())
	a.step(Start{})
	v := viewOf(3, 2, append([]int{1}, others...)...)
	r := a.receive(2, 1, v.ID, Welcome{View: v})
	require.Len(t, events[Installed](r), 1)
	require.Equal(t, following, a.m.state)
	return a, v
}

// leader is a node 1 that leads the given others.
func leader(t *testing.T, others ...int) (*alone, View) {
	a := newAlone(t, 1, Classic())
	a.step(Start{})
	a.pass(3 * time.Second)
	require.Equal(t, leading, a.m.state)
	for _, i := range others {
		a.receive(i, 1, ViewID{}, Join{Addr: addrOf(i)})
		a.pass(time.Second)
	}
	require.Len(t, a.m.View().Members, 1+len(others))
	a.m.Ready()
	return a, a.m.View()
}

func (a *alone) beat(v View, seq uint64) Ready {
	return a.receive(2, 1, v.ID, Heartbeat{Class: v.Class, Size: uint32(len(v.Members)), Seq: seq, Hash: hash(v)})
}

func TestProbeIsForOneIncarnation(t *testing.T) {
	a, v := follower(t, 3)
	require.Len(t, sent[ProbeAck](a.receive(2, 1, v.ID, Probe{Subject: keyOf(1), Inc: 5, Nonce: 9})), 1)
	require.Empty(t, sent[ProbeAck](a.receive(2, 1, v.ID, Probe{Subject: keyOf(1), Inc: 4, Nonce: 9})), "that run is over")
	require.Empty(t, sent[ProbeAck](a.receive(2, 1, v.ID, Probe{Subject: keyOf(3), Inc: 1, Nonce: 9})))
}

func TestAnotherRunOfAMemberIsNoSignOfLife(t *testing.T) {
	a, v := leader(t, 2)
	a.pass(14 * time.Second)
	a.receive(2, 2, ViewID{}, ProbeAck{Subject: keyOf(2), Inc: 2})
	a.step(Heard{Key: keyOf(2), Inc: 2})
	a.receive(2, 2, v.ID, KeepAlive{})
	a.pass(4 * time.Second)
	require.Len(t, a.m.View().Members, 1, "the run that the view lists was not heard")
}

// TestMergeComparesIncarnations: a peer that was restarted and founded a group
// of its own is not the member that the view lists.
func TestMergeComparesIncarnations(t *testing.T) {
	a, v := leader(t, 2)
	again := found(Member{Key: keyOf(2), Inc: 7, Addr: addrOf(2)}, 1, 0)
	require.Negative(t, again.ID.Compare(v.ID))
	r := a.receive(2, 7, again.ID, MergeReq{View: again, Hash: hash(again)})
	require.Empty(t, sent[ViewChange](r), "the view lists another run of it")
	require.Equal(t, []MergeAck{{View: again.ID}}, sent[MergeAck](r))
	a.pass(300 * time.Millisecond)
	m, _ := a.m.View().Find(keyOf(2))
	require.EqualValues(t, 7, m.Inc)
	require.EqualValues(t, 2, m.ID, "under its old ID")
}

// TestMergeViewLost: the view that took a group over was lost; its coordinator
// asks again and gets it.
func TestMergeViewLost(t *testing.T) {
	a, _ := leader(t, 2)
	other := found(Member{Key: keyOf(3), Inc: 1, Addr: addrOf(3)}, 1, 0)
	a.receive(3, 1, other.ID, MergeReq{View: other, Hash: hash(other)})
	a.pass(time.Second)
	merged := a.m.View()
	require.Len(t, merged.Members, 3)
	r := a.receive(3, 1, other.ID, MergeReq{View: other, Hash: hash(other)})
	require.Len(t, sent[ViewChange](r), 1)
	a.pass(time.Second)
	require.Equal(t, merged.ID, a.m.View().ID)
}

func TestEpochsOfTwoRunsDiffer(t *testing.T) {
	a := Epoch{Ctr: 4, Leader: keyOf(1), Inc: 1}
	b := Epoch{Ctr: 4, Leader: keyOf(1), Inc: 2}
	require.Negative(t, a.Compare(b))
	require.Positive(t, b.Compare(a))
	require.Negative(t, ViewID{Epoch: a, Seq: 9}.Compare(ViewID{Epoch: b}), "the number counts within an epoch only")
}

// TestLiveIsAboutOneEpoch: whoever follows another coordinator says nothing of
// the one whose succession is at stake, so that an elector does not swallow
// what it should refuse.
func TestLiveIsAboutOneEpoch(t *testing.T) {
	a, v := follower(t, 3)
	require.True(t, a.m.Live(a.now, v.ID))
	older := v.ID
	older.Seq++
	require.True(t, a.m.Live(a.now, older), "another view of the same coordinator")
	other := v.ID
	other.Epoch.Inc++
	require.False(t, a.m.Live(a.now, other))
	require.False(t, a.m.Live(a.now.Add(9*time.Second), v.ID), "not heard for TProbe")
	l, v := leader(t, 2)
	require.True(t, l.m.Live(l.now, v.ID))
	require.False(t, l.m.Live(l.now, ViewID{Epoch: Epoch{Ctr: 1, Leader: keyOf(1), Inc: 5}}))
}

// TestSuspensionIsNotSilence: after a suspension nothing is known of the time
// before, and an election needs a whole unanswered window.
func TestSuspensionIsNotSilence(t *testing.T) {
	a, v := follower(t, 3)
	a.now = a.now.Add(40 * time.Second)
	a.m.Tick(a.now)
	r := a.m.Ready()
	require.Nil(t, r.Round, "it has not asked anybody yet")
	require.Len(t, events[Suspected](r), 1)
	r = a.pass(Classic().W - time.Millisecond)
	require.Nil(t, r.Round)
	require.NotEmpty(t, sent[Suspect](r))
	// Suspended again within the window: the answers may have been lost.
	a.now = a.now.Add(20 * time.Second)
	a.m.Tick(a.now)
	require.Nil(t, a.m.Ready().Round)
	r = a.pass(Classic().W + time.Second)
	require.NotNil(t, r.Round)
	require.Equal(t, v.ID, r.Round.Base)
}

// After a suspension a packet that waited may be looked at before the time. It is
// noticed all the same, and once.
func TestSuspensionIsNoticedByWhatCame(t *testing.T) {
	a, v := follower(t, 3)
	a.now = a.now.Add(40 * time.Second)
	a.m.Step(a.now, Receive{From: addrOf(2), Packet: Packet{Header: Header{From: keyOf(2), Inc: 1, View: v.ID}, Body: Heartbeat{}}})
	woke := events[Woke](a.m.Ready())
	require.Len(t, woke, 1)
	require.Greater(t, woke[0].After, 30*time.Second)
	a.m.Tick(a.now)
	require.Empty(t, events[Woke](a.m.Ready()))
	a.now = a.now.Add(time.Second)
	a.m.Tick(a.now)
	require.Empty(t, events[Woke](a.m.Ready()))
}

// TestCoordinatorsSuspensionIsNotItsMembersSilence is the same for the other
// side.
func TestCoordinatorsSuspensionIsNotItsMembersSilence(t *testing.T) {
	a, v := leader(t, 2, 3)
	a.now = a.now.Add(time.Minute)
	a.m.Tick(a.now)
	a.m.Ready()
	r := a.pass(time.Second)
	require.NotEmpty(t, sent[Probe](r))
	require.Equal(t, v.ID, a.m.View().ID)
	a.now = a.now.Add(time.Minute)
	a.m.Tick(a.now)
	a.m.Ready()
	require.Equal(t, v.ID, a.m.View().ID, "suspended while it verified")
	a.receive(2, 1, v.ID, KeepAlive{})
	a.receive(3, 1, v.ID, KeepAlive{})
	a.pass(5 * time.Second)
	require.Equal(t, v.ID, a.m.View().ID)
}

// TestCoordinatorThatStoodStillIsNotSure: it makes no view before a member
// answered a heartbeat, or those who do not could have elected another one.
func TestCoordinatorThatStoodStillIsNotSure(t *testing.T) {
	wakes := func(t *testing.T) (*alone, View) {
		a, v := leader(t, 2, 3, 4)
		a.now = a.now.Add(time.Minute)
		a.m.Tick(a.now)
		require.Len(t, events[Woke](a.m.Ready()), 1)
		// What waited says nothing of now: it was sent before anybody missed it.
		a.receive(2, 1, v.ID, KeepAlive{Seq: a.m.lead.slept})
		a.step(Down{Addr: addrOf(3), Cause: CauseRefused})
		a.receive(4, 1, v.ID, Leave{})
		a.receive(5, 1, ViewID{}, Join{Addr: addrOf(5)})
		other := found(Member{Key: keyOf(6), Inc: 1, Addr: addrOf(6)}, 1, 0)
		require.Len(t, sent[MergeAck](a.receive(6, 1, other.ID, MergeReq{View: other, Hash: hash(other)})), 1)
		r := a.pass(Classic().TElect - 10*time.Millisecond)
		require.NotEmpty(t, sent[Heartbeat](r))
		require.Empty(t, events[Installed](r))
		require.Zero(t, a.m.Stats().Evictions)
		return a, v
	}
	t.Run("none can hear", func(t *testing.T) {
		a, v := wakes(t)
		a.receive(2, 1, v.ID, KeepAlive{})
		a.receive(3, 1, v.ID, KeepAlive{})
		in := events[Installed](a.pass(Classic().W))
		require.Len(t, in, 2)
		require.Len(t, in[0].Left, 1, "who said goodbye")
		_, there := in[1].View.Find(keyOf(6))
		require.True(t, there, "who asked to be taken over")
	})
	t.Run("nobody answers", func(t *testing.T) {
		a, _ := wakes(t)
		require.NotEmpty(t, events[Installed](a.pass(Classic().W)), "who asked to come and to go")
		a.pass(time.Minute)
		require.Len(t, a.m.View().Members, 1)
	})
	t.Run("one answers", func(t *testing.T) {
		a, v := wakes(t)
		older := v.ID
		older.Epoch.Leader = keyOf(2)
		require.Empty(t, events[Installed](a.receive(2, 1, older, KeepAlive{Seq: a.m.lead.seq})), "a heartbeat of another one")
		r := a.receive(2, 1, v.ID, KeepAlive{Seq: a.m.lead.seq})
		require.Len(t, events[Installed](r), 1)
		require.Len(t, sent[Welcome](r), 1)
		_, there := a.m.View().Find(keyOf(4))
		require.False(t, there, "it said goodbye")
	})
	t.Run("another one was elected", func(t *testing.T) {
		a, v := wakes(t)
		e := succeed(v, v.Members[1], v.ID.Epoch.Ctr+1, nil, []Departure{{Key: keyOf(1), Inc: 5}})
		a.receive(2, 1, e.ID, Heartbeat{Class: e.Class, Size: 3, Seq: 1})
		require.NotEmpty(t, sent[MergeReq](a.pass(time.Second)))
		require.Equal(t, v.ID, a.m.View().ID)
	})
}

func TestOneLostBeatElectsNobody(t *testing.T) {
	a, v := follower(t, 3)
	a.beat(v, 1)
	r := a.pass(9900 * time.Millisecond)
	require.Nil(t, r.Round)
	require.NotEmpty(t, sent[Suspect](r))
	r = a.beat(v, 3)
	require.Len(t, events[Restored](r), 1)
	require.Nil(t, a.pass(7*time.Second).Round)
}

func TestOvertakenBeatsAreNoSignOfLife(t *testing.T) {
	a, v := follower(t, 3)
	a.beat(v, 7)
	a.pass(8 * time.Second)
	a.beat(v, 6)
	a.beat(v, 7)
	require.Equal(t, 8*time.Second, a.m.silence())
	a.beat(v, 8)
	require.Zero(t, a.m.silence())
}

func TestWitnessPostponesTheElection(t *testing.T) {
	a, v := follower(t, 3, 4)
	r := a.pass(9 * time.Second)
	require.NotEmpty(t, sent[Suspect](r))
	a.receive(4, 1, v.ID, Alive{Epoch: v.ID.Epoch, Age: 2 * time.Second})
	require.Equal(t, 2*time.Second, a.m.silence())
	require.Nil(t, a.pass(5*time.Second).Round)
	a.receive(9, 1, v.ID, Alive{Epoch: v.ID.Epoch})
	a.receive(4, 2, v.ID, Alive{Epoch: v.ID.Epoch})
	require.Equal(t, 7*time.Second, a.m.silence(), "strangers do not count, nor do other runs")
	require.NotNil(t, a.pass(5*time.Second).Round)
}

func TestOnlyWitnessesVouch(t *testing.T) {
	// In the order of IDs: 2 (the coordinator), 1, 3, 4, 5, 6. The witnesses
	// of 3 are 4, 5 and 6, those of 4 are 5, 6 and 1.
	a, v := follower(t, 3, 4, 5, 6)
	require.Empty(t, sent[Alive](a.receive(3, 1, v.ID, Suspect{Epoch: v.ID.Epoch})))
	require.Len(t, sent[Alive](a.receive(4, 1, v.ID, Suspect{Epoch: v.ID.Epoch})), 1)
	a.pass(8500 * time.Millisecond)
	require.Empty(t, sent[Alive](a.receive(4, 1, v.ID, Suspect{Epoch: v.ID.Epoch})), "it does not hear it either")
}

func TestRefusedEndpointIsProof(t *testing.T) {
	a, v := follower(t, 3)
	r := a.step(Down{Addr: addrOf(2), Cause: CauseReset})
	require.Nil(t, r.Round, "an ended stream proves nothing")
	r = a.step(Down{Addr: addrOf(2), Cause: CauseRefused})
	require.NotNil(t, r.Round)
	require.False(t, r.Round.Invited)
	require.Equal(t, []Suspect{{Epoch: v.ID.Epoch, Proof: true}}, sent[Suspect](r))
	r = a.beat(v, 1)
	require.False(t, r.Cancel, "it was on its way")
	a.receive(3, 1, v.ID, Alive{Epoch: v.ID.Epoch})
	require.False(t, a.m.Live(a.now, v.ID))
	r = a.step(Won{Base: v.ID})
	in := events[Installed](r)
	require.Len(t, in, 1)
	require.Equal(t, []Departure{{Key: keyOf(2), Inc: 1, Reason: ReasonFailed}}, in[0].Left)
	require.Len(t, sent[ViewChange](r), 1)
	require.Empty(t, sent[Heartbeat](r))
}

func TestProofOfOthersOnlyEndsVouching(t *testing.T) {
	a, v := follower(t, 3)
	r := a.receive(3, 1, v.ID, Suspect{Epoch: v.ID.Epoch, Proof: true})
	require.Nil(t, r.Round)
	require.False(t, a.m.Live(a.now, v.ID))
	r = a.step(Campaign{From: addrOf(3), Header: Header{From: keyOf(3), Inc: 1, View: v.ID}, Base: v.ID, Candidacy: true})
	require.NotNil(t, r.Round)
	require.True(t, r.Round.Invited)
	r = a.beat(v, 1)
	require.True(t, r.Cancel, "the coordinator speaks for itself")
	require.True(t, a.m.Live(a.now, v.ID))
}

func TestCampaigns(t *testing.T) {
	campaign := func(a *alone, i int, inc uint64, base ViewID) Ready {
		return a.step(Campaign{From: addrOf(i), Header: Header{From: keyOf(i), Inc: inc, View: base}, Base: base, Candidacy: true})
	}
	t.Run("live", func(t *testing.T) {
		a, v := follower(t, 3, 4)
		r := campaign(a, 4, 1, v.ID)
		require.Nil(t, r.Round)
		require.Len(t, sent[Alive](r), 1)
	})
	t.Run("silent", func(t *testing.T) {
		a, v := follower(t, 3)
		a.pass(8900 * time.Millisecond)
		r := campaign(a, 3, 1, v.ID)
		require.NotNil(t, r.Round)
		require.True(t, r.Round.Invited)
		require.Equal(t, []Key{keyOf(3), keyOf(1)}, []Key{r.Round.Candidates[0].Key, r.Round.Candidates[1].Key})
		r = a.pass(3 * time.Second)
		require.NotNil(t, r.Round, "by its own verification now")
		require.False(t, r.Round.Invited)
	})
	t.Run("stranger", func(t *testing.T) {
		a, v := follower(t, 3)
		a.pass(8900 * time.Millisecond)
		require.Nil(t, campaign(a, 9, 1, v.ID).Round)
		require.Nil(t, campaign(a, 3, 2, v.ID).Round, "another run of a member")
	})
	t.Run("behind", func(t *testing.T) {
		a, v := follower(t, 3)
		a.pass(8900 * time.Millisecond)
		newer := v.ID
		newer.Seq++
		r := campaign(a, 3, 1, newer)
		require.Nil(t, r.Round)
		require.Len(t, sent[ViewReq](r), 1)
	})
	t.Run("ahead", func(t *testing.T) {
		l, v := leader(t, 2, 3, 4)
		older := l.m.history[len(l.m.history)-2].view.ID
		require.Negative(t, older.Epoch.Compare(v.ID.Epoch))
		r := campaign(l, 2, 1, older)
		require.Len(t, sent[ViewChange](r), 1, "of an older epoch")
		r = campaign(l, 3, 1, v.ID)
		require.Len(t, sent[Alive](r), 1)
		require.Len(t, sent[Heartbeat](r), 1)
	})
}

func TestNobodyHeartbeatsBeforeTheElectionIsOver(t *testing.T) {
	a, v := follower(t, 3, 4)
	r := a.pass(time.Minute)
	require.NotNil(t, r.Round)
	require.Empty(t, sent[Heartbeat](r))
	r = a.step(Won{Base: ViewID{Epoch: v.ID.Epoch, Seq: 99}})
	require.Empty(t, r.Send, "a verdict on another view")
	a.step(Won{Base: v.ID})
	require.Len(t, sent[Heartbeat](a.pass(a.m.RTO())), 1)
}

func TestCallLeavesEverybodyIn(t *testing.T) {
	a, v := leader(t, 2, 3)
	require.Len(t, sent[Heartbeat](a.pass(5*time.Second)), 1)
	r := a.receive(2, 1, v.ID, Call{})
	require.NotNil(t, r.Round)
	require.Len(t, r.Round.Candidates, 3)
	require.False(t, a.m.Live(a.now, v.ID))
	require.Empty(t, sent[Heartbeat](a.pass(3900*time.Millisecond)), "a candidate is silent")
	r = a.pass(200 * time.Millisecond)
	require.True(t, r.Cancel, "nobody won")
	require.Len(t, sent[Heartbeat](r), 1)
	require.Equal(t, v.ID, a.m.View().ID)

	r = a.step(Elect{})
	require.Len(t, sent[Call](r), 1)
	require.Len(t, sent[Call](a.pass(Classic().RTO)), 1, "until it is over")
	r = a.step(Won{Base: v.ID})
	in := events[Installed](r)
	require.Len(t, in, 1)
	require.Empty(t, in[0].Left)
	require.Equal(t, CauseElected, in[0].Cause)
	require.Greater(t, a.m.View().ID.Epoch.Ctr, v.ID.Epoch.Ctr)
	require.Empty(t, sent[Call](a.pass(10*time.Second)))
}

// TestCallIsHeardLate: whoever missed the CALL vouches for the coordinator;
// that does not end the election.
func TestCallIsHeardLate(t *testing.T) {
	a, v := follower(t, 3)
	r := a.step(Elect{})
	require.NotNil(t, r.Round)
	r = a.receive(2, 1, v.ID, Alive{Epoch: v.ID.Epoch})
	require.False(t, r.Cancel)
	r = a.beat(v, 1)
	require.False(t, r.Cancel)
	r = a.receive(3, 1, v.ID, Alive{Epoch: v.ID.Epoch})
	require.False(t, r.Cancel)
	r = a.step(Won{Base: v.ID})
	require.Len(t, a.m.View().Members, 3)
}

func TestFlappingMemberHasToWait(t *testing.T) {
	a, _ := leader(t, 3)
	var flaps []Flapping
	flap := func() Ready {
		r := a.receive(2, 1, ViewID{}, Join{Addr: addrOf(2), MaxCtr: a.m.max})
		a.receive(3, 1, a.m.View().ID, KeepAlive{})
		a.pass(100 * time.Millisecond)
		lost := a.step(Down{Addr: addrOf(2), Cause: CauseRefused})
		for _, e := range append(lost.Events, a.pass(100*time.Millisecond).Events...) {
			if f, ok := e.(Flapping); ok {
				flaps = append(flaps, f)
			}
		}
		return r
	}
	for range 4 {
		require.Empty(t, sent[RetryAfter](flap()))
	}
	require.Len(t, flaps, 1)
	require.Equal(t, 4, flaps[0].Evictions)
	require.Equal(t, keyOf(2), flaps[0].Member.Key)
	wait := sent[RetryAfter](flap())
	require.Len(t, wait, 1)
	require.Len(t, flaps, 1, "it is not in, so it cannot be lost")
	require.InDelta(t, 2*5, wait[0].After.Seconds(), 0.2, "2 H")
	_, in := a.m.View().Find(keyOf(2))
	require.False(t, in)
	for range 12 {
		a.pass(5 * time.Second)
		a.receive(3, 1, a.m.View().ID, KeepAlive{})
	}
	require.Empty(t, sent[RetryAfter](flap()), "a minute later all is forgiven")
}

func TestRetryAfterIsObeyed(t *testing.T) {
	a := newAlone(t, 1, Classic())
	a.step(Start{})
	a.receive(2, 1, ViewID{}, RetryAfter{After: 20 * time.Second})
	r := a.pass(19 * time.Second)
	require.Empty(t, sent[Join](r))
	require.Equal(t, joining, a.m.state)
	require.NotEmpty(t, sent[Join](a.pass(2*time.Second)))
	a.receive(2, 1, ViewID{}, RetryAfter{After: 1000 * time.Hour})
	require.NotEmpty(t, sent[Join](a.pass(61*time.Second)), "a minute is the most")
}

// A newcomer whose process stood still, as on a busy machine, has not read yet
// what it was answered. It founds no group before it has.
func TestNewcomerThatStoodStillReadsFirst(t *testing.T) {
	a := newAlone(t, 1, Default())
	a.step(Start{})
	a.now = a.now.Add(time.Second) // its patience has ended
	a.m.Tick(a.now)
	require.Empty(t, a.m.View().Members, "not at once")
	sent := a.m.Ready().Send
	require.NotEmpty(t, sent)
	require.Equal(t, KindJoin, sent[len(sent)-1].Packet.Body.Kind(), "it asks again")
	v := viewOf(3, 2, 1)
	a.receive(2, 1, v.ID, Welcome{View: v})
	require.Len(t, a.m.View().Members, 2)

	// Nobody is there: it founds a group all the same, however often it stands still.
	b := newAlone(t, 1, Default())
	b.step(Start{})
	for range 2 + 2*maxStood {
		b.now = b.now.Add(time.Second)
		b.m.Tick(b.now)
	}
	require.Len(t, b.m.View().Members, 1)
}

func TestJoinRejectTakesTheNextIncarnation(t *testing.T) {
	a := newAlone(t, 1, Classic())
	a.step(Start{})
	r := a.receive(2, 1, ViewID{}, JoinReject{Known: 8})
	require.EqualValues(t, 9, r.Inc)
	require.EqualValues(t, 9, a.m.Inc())
	require.EqualValues(t, 9, a.m.Header().Inc)
	r = a.receive(2, 1, ViewID{}, JoinReject{Known: 8})
	require.Zero(t, r.Inc)
	a.receive(2, 1, ViewID{}, JoinReject{Known: 1<<64 - 1})
	require.EqualValues(t, 9, a.m.Inc())
	// A member is not moved by it.
	f, _ := follower(t, 3)
	f.receive(2, 1, ViewID{}, JoinReject{Known: 8})
	require.EqualValues(t, 5, f.m.Inc())
}

func TestTheOlderTwinStops(t *testing.T) {
	a, v := leader(t, 2)
	r := a.receive(1, 4, ViewID{}, Join{Addr: addrOf(7)})
	require.Equal(t, []JoinReject{{Known: 5}}, sent[JoinReject](r))
	require.NoError(t, r.Err)
	r = a.receive(1, 5, v.ID, Heartbeat{Seq: 1})
	require.Empty(t, r.Send, "its own echo")
	r = a.receive(1, 6, ViewID{}, Join{Addr: addrOf(7)})
	require.ErrorIs(t, r.Err, ErrDuplicateIdentity)
	require.Zero(t, a.m.Deadline())
	require.Empty(t, a.receive(2, 1, v.ID, KeepAlive{}).Send, "it is over")
	// The same if it learns of it by a view.
	f, v := follower(t, 3)
	again := amend(v, 4, false, []Member{{Key: keyOf(1), Inc: 6}}, nil)
	r = f.receive(2, 1, again.ID, f.m.change(v, again, CauseJoin, nil))
	require.ErrorIs(t, r.Err, ErrDuplicateIdentity)
}

func TestLateJoinOfAFormerRun(t *testing.T) {
	a, _ := leader(t, 3)
	a.receive(2, 4, ViewID{}, Join{Addr: addrOf(2)})
	a.pass(time.Second)
	r := a.receive(2, 3, ViewID{}, Join{Addr: addrOf(2)})
	require.Equal(t, []JoinReject{{Known: 4}}, sent[JoinReject](r))
	r = a.receive(2, 4, a.m.View().ID, Leave{})
	require.Equal(t, ReasonLeft, events[Installed](r)[0].Left[0].Reason)
	r = a.receive(2, 4, ViewID{}, Join{Addr: addrOf(2)})
	require.Equal(t, []JoinReject{{Known: 4}}, sent[JoinReject](r), "it said goodbye")
	r = a.receive(2, 5, ViewID{}, Join{Addr: addrOf(2)})
	require.Empty(t, sent[JoinReject](r))
}

func TestCountersCannotBeDrivenToTheirEnd(t *testing.T) {
	a, v := leader(t, 2)
	far := ViewID{Epoch: Epoch{Ctr: v.ID.Epoch.Ctr + 1<<33, Leader: keyOf(9), Inc: 1}}
	a.receive(9, 1, far, Heartbeat{Seq: 1})
	a.receive(9, 1, ViewID{}, Join{MaxCtr: 1 << 62})
	a.receive(9, 1, ViewID{}, NotMember{Max: 1<<64 - 1})
	a.receive(9, 1, ViewID{}, Suspect{Epoch: far.Epoch})
	a.receive(9, 1, ViewID{}, Redirect{View: far, Addr: addrOf(9)})
	a.receive(9, 1, ViewID{}, Foreign{View: far, Addr: addrOf(9)})
	a.receive(9, 1, ViewID{}, MergeReq{MaxCtr: 1 << 50})
	a.step(Campaign{Header: Header{From: keyOf(9), Inc: 1}, Base: far})
	require.Equal(t, v.ID.Epoch.Ctr, a.m.max)
	require.EqualValues(t, 8, a.m.Stats().Counter)
}

func TestOnlyTheHolderOfAnEpochSpeaksForIt(t *testing.T) {
	a, v := follower(t, 3, 4)
	newer := viewOf(9, 3, 1, 4)
	a.receive(4, 1, newer.ID, Welcome{View: newer})
	a.receive(3, 2, newer.ID, Welcome{View: newer})
	a.receive(4, 1, v.ID, Heartbeat{Seq: 100})
	require.Equal(t, v.ID, a.m.View().ID)
	require.EqualValues(t, 3, a.m.Stats().Malformed)
	// Nobody but itself makes this node a coordinator.
	mine := viewOf(9, 1, 2, 3)
	a.receive(3, 1, mine.ID, ViewChange{ID: mine.ID, Class: mine.Class, Number: mine.Number, NextID: mine.NextID, Joined: mine.Members})
	require.Equal(t, v.ID, a.m.View().ID)
	// But anybody may pass a view on.
	a.receive(4, 1, newer.ID, ViewChange{ID: newer.ID, Class: newer.Class, Number: newer.Number, NextID: newer.NextID, Joined: newer.Members})
	require.Equal(t, newer.ID, a.m.View().ID)
}

func TestRenameAndMove(t *testing.T) {
	a, v := follower(t, 3)
	r := a.step(Rename{Name: "ada"})
	r.Send = append(r.Send, a.pass(time.Millisecond).Send...)
	require.Equal(t, "ada", sent[Join](r)[0].Name)
	require.Equal(t, addrOf(2), r.Send[0].To)
	require.NotEmpty(t, sent[Join](a.pass(4*time.Second)), "until a view shows it")
	moved := netip.MustParseAddrPort("10.9.9.9:99")
	r = a.step(Move{Addr: moved})
	r.Send = append(r.Send, a.pass(5*time.Second).Send...)
	last := sent[Join](r)
	require.Equal(t, moved, last[len(last)-1].Addr)
	me := Member{Key: keyOf(1), Inc: 5, Addr: moved, Name: "ada"}
	next := amend(v, 4, false, []Member{me}, nil)
	r = a.receive(2, 1, next.ID, a.m.change(v, next, CauseRename, nil))
	require.Equal(t, CauseRename, events[Installed](r)[0].Cause)
	require.Empty(t, events[Installed](r)[0].Joined)
	a.beat(next, 5)
	require.Empty(t, sent[Join](a.pass(7*time.Second)))
	a.step(Rename{Name: string(make([]byte, MaxName+1))})
	require.Empty(t, sent[Join](a.pass(time.Second)))
}

func TestLargeViewsTravelByStream(t *testing.T) {
	a, _ := leader(t, 2)
	for i := 10; i < 30; i++ {
		a.receive(i, 1, ViewID{}, Join{Addr: addrOf(i), Name: "somebody with a rather long name"})
	}
	r := a.pass(time.Second)
	require.Len(t, a.m.View().Members, 22)
	for _, s := range r.Send {
		if vc, ok := s.Packet.Body.(ViewChange); ok {
			require.True(t, s.Reliable || size(vc) <= maxDatagram)
			require.False(t, s.Reliable && s.Group)
		}
	}
	require.NotEmpty(t, sent[ViewChange](r))
}

func TestManyJoinsMakeFewViews(t *testing.T) {
	a, _ := leader(t)
	before := a.m.View().Number
	for i := 10; i < 110; i++ {
		a.receive(i, 1, ViewID{}, Join{Addr: addrOf(i)})
		a.pass(100 * time.Microsecond)
	}
	a.pass(time.Second)
	require.Len(t, a.m.View().Members, 101)
	require.LessOrEqual(t, a.m.View().Number-before, uint64(3))
}

// TestAdmissionIsAboveAllThatTheJoinerHad: otherwise it could not install the
// view that admits it.
func TestAdmissionIsAboveAllThatTheJoinerHad(t *testing.T) {
	a, v := leader(t, 2, 3, 4)
	a.receive(5, 1, ViewID{}, Join{Addr: addrOf(5), MaxCtr: v.ID.Epoch.Ctr + 3})
	a.pass(time.Second)
	now := a.m.View()
	require.True(t, now.Lists(keyOf(5), 1))
	require.Equal(t, v.Class, now.Class, "it is not the class that opens the epoch")
	require.Equal(t, v.ID.Epoch.Ctr+4, now.ID.Epoch.Ctr)
	// The same for a member that was away and saw more than this node.
	r := a.receive(2, 1, ViewID{}, Join{Addr: addrOf(2), MaxCtr: now.ID.Epoch.Ctr + 1})
	require.Equal(t, now.ID.Epoch.Ctr+2, a.m.View().ID.Epoch.Ctr)
	require.Len(t, sent[Welcome](r), 1)
}

func TestFloodOfJoins(t *testing.T) {
	a, _ := leader(t)
	for i := range 1000 {
		a.step(Receive{From: addrOf(9), Packet: Packet{Header: Header{From: keyOf(1000 + i), Inc: 1}, Body: Join{Addr: addrOf(9)}}})
	}
	require.Len(t, a.m.View().Members, 2)
	a.pass(time.Second)
	require.LessOrEqual(t, len(a.m.View().Members), 1+joinsPerSecond)
	require.EqualValues(t, 1000-joinsPerSecond, a.m.Stats().Limited)
}

func TestDeafMemberIsFedByUnicast(t *testing.T) {
	a, v := leader(t, 2)
	a.pass(15 * time.Second)
	a.receive(2, 1, v.ID, KeepAlive{Seq: 0})
	r := a.pass(5 * time.Second)
	beats := sent[Heartbeat](r)
	require.Len(t, beats, 2, "one to the group, one to it")
	require.Zero(t, beats[1].Seq)
	a.receive(2, 1, v.ID, KeepAlive{Seq: beats[0].Seq})
	require.Len(t, sent[Heartbeat](a.pass(5*time.Second)), 1, "it hears the group again")
}

// TestMuteNewcomerAsksByUnicast is a newcomer that hears the group and whose
// multicast does not get out.
func TestMuteNewcomerAsksByUnicast(t *testing.T) {
	a := newAlone(t, 1, Classic())
	a.step(Start{})
	v := viewOf(7, 2)
	for beat := 1; beat <= 5; beat++ {
		joins := sent[Join](a.receive(2, 1, v.ID, Heartbeat{Seq: uint64(beat)}))
		require.Equal(t, beat > muteBeats, len(joins) == 1, "heartbeat %d", beat)
		a.pass(time.Second)
	}
}

func TestDepartureIsQuickThoughAllAreDead(t *testing.T) {
	for name, make := range map[string]func(t *testing.T) (*alone, View){
		"member":      func(t *testing.T) (*alone, View) { return follower(t, 3, 4) },
		"coordinator": func(t *testing.T) (*alone, View) { return leader(t, 2, 3, 4) },
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := make(t)
			r := a.step(Depart{})
			require.False(t, r.Left)
			r = a.pass(290 * time.Millisecond)
			require.True(t, r.Left)
			require.Zero(t, a.m.Deadline())
			require.Equal(t, name == "coordinator", len(sent[Bye](r)) > 0)
		})
	}
	a, _ := leader(t)
	require.True(t, a.step(Depart{}).Left, "a sole member goes at once")
	b := newAlone(t, 1, Classic())
	b.step(Start{})
	require.True(t, b.step(Depart{}).Left)
}

func TestDepartureWaitsForASlowHeir(t *testing.T) {
	a, v := leader(t, 2, 3, 4)
	offers := func(r Ready) map[netip.AddrPort]int {
		n := map[netip.AddrPort]int{}
		for _, s := range r.Send {
			if _, ok := s.Packet.Body.(Handover); ok {
				n[s.To]++
			}
		}
		return n
	}
	require.Equal(t, map[netip.AddrPort]int{addrOf(4): 1}, offers(a.step(Depart{Limit: 2 * time.Second})))
	n := offers(a.pass(990 * time.Millisecond))
	require.Len(t, n, 1, "the next in rank would become a second coordinator beside it")
	require.GreaterOrEqual(t, n[addrOf(4)], 4)
	require.LessOrEqual(t, n[addrOf(4)], 10)
	n = offers(a.pass(300 * time.Millisecond))
	require.Len(t, n, 1)
	require.Positive(t, n[addrOf(3)])
	r := a.pass(690 * time.Millisecond)
	require.False(t, r.Left)
	require.Empty(t, sent[Bye](r))
	r = a.pass(100 * time.Millisecond)
	require.True(t, r.Left)
	require.Len(t, sent[Bye](r), 2)
	// One that answers late is in time.
	b, w := leader(t, 2, 3, 4)
	require.Equal(t, v.Members, w.Members)
	b.step(Depart{Limit: 2 * time.Second})
	b.pass(900 * time.Millisecond)
	next := succeed(w, w.Members[3], w.ID.Epoch.Ctr+1, nil, []Departure{{Key: keyOf(1), Inc: w.Members[0].Inc, Reason: ReasonLeft}})
	r = b.receive(4, 1, next.ID, b.m.change(w, next, CauseHandover, nil))
	require.True(t, r.Left)
	require.Empty(t, sent[Bye](r))
	// A limit that is none does no harm.
	c, _ := leader(t, 2, 3, 4)
	c.step(Depart{Limit: 1})
	require.True(t, c.pass(10*time.Millisecond).Left)
}

func TestHandoverCountsInItsViewOnly(t *testing.T) {
	a, v := follower(t, 3)
	other := v.ID
	other.Seq++
	require.Len(t, sent[ViewReq](a.receive(2, 1, other, Handover{})), 1)
	a.receive(3, 1, v.ID, Handover{})
	a.receive(2, 2, v.ID, Handover{})
	older := v.ID
	older.Epoch.Ctr--
	a.receive(2, 1, older, Handover{})
	require.Equal(t, following, a.m.state)
	f, v := follower(t, 3)
	r := f.receive(2, 1, v.ID, Handover{})
	require.Equal(t, leading, f.m.state)
	in := events[Installed](r)[0]
	require.Equal(t, CauseHandover, in.Cause)
	require.Equal(t, ReasonLeft, in.Left[0].Reason)
	r = f.receive(2, 1, v.ID, Handover{})
	require.Len(t, sent[NotMember](r), 1, "it may go")
}

func TestByeIsProof(t *testing.T) {
	a, v := follower(t, 3)
	require.Nil(t, a.receive(3, 1, v.ID, Bye{}).Round, "not the coordinator")
	r := a.receive(2, 1, v.ID, Bye{})
	require.NotNil(t, r.Round)
	r = a.step(Won{Base: v.ID})
	require.Equal(t, ReasonLeft, events[Installed](r)[0].Left[0].Reason)
}

func TestYieldsToTheHighestAndFollowsRedirects(t *testing.T) {
	a, v := leader(t, 2)
	big := viewOf(2, 20, 21, 22, 23, 24, 25, 26)
	bigger := viewOf(3, 30, 31, 32, 33, 34, 35, 36)
	beat := func(i int, v View) Ready {
		return a.receive(i, 1, v.ID, Heartbeat{Class: v.Class, Size: 7, Seq: 1})
	}
	beat(20, big)
	r := beat(30, bigger)
	require.Empty(t, sent[MergeReq](r))
	r = a.pass(time.Second)
	reqs := sent[MergeReq](r)
	require.NotEmpty(t, reqs)
	require.Equal(t, v.ID, reqs[0].View.ID)
	for _, s := range r.Send {
		if _, ok := s.Packet.Body.(MergeReq); ok {
			require.Equal(t, addrOf(30), s.To, "the higher of the two")
		}
	}
	require.Empty(t, sent[Welcome](a.receive(50, 1, ViewID{}, Join{Addr: addrOf(50)})), "no admissions meanwhile")
	other := found(Member{Key: keyOf(40), Inc: 1, Addr: addrOf(40)}, 1, 0)
	r = a.receive(40, 1, other.ID, MergeReq{View: other, Hash: hash(other)})
	require.Equal(t, []Redirect{{View: bigger.ID, Class: bigger.Class, Addr: addrOf(30)}}, sent[Redirect](r))
	r = a.receive(30, 1, bigger.ID, Redirect{View: big.ID, Class: big.Class, Addr: addrOf(20)})
	require.Len(t, sent[MergeReq](r), 1)
	require.Equal(t, addrOf(20), r.Send[len(r.Send)-1].To)
	// It never answers; this group goes on by itself.
	a.pass(15 * time.Second)
	require.Nil(t, a.m.yield)
	require.Equal(t, leading, a.m.state)
}

func TestMutualYieldKeepsTheHigherEpoch(t *testing.T) {
	a, v := leader(t, 2)
	// A rival whose old class is above ours, but whose epoch is below.
	low := viewOf(1, 20, 21, 22, 23)
	a.receive(20, 1, low.ID, Heartbeat{Class: 5, Size: 4, Seq: 1})
	require.NotEmpty(t, sent[MergeReq](a.pass(time.Second)))
	require.Positive(t, v.ID.Epoch.Compare(low.ID.Epoch))
	r := a.receive(20, 1, low.ID, MergeReq{View: low, Hash: hash(low)})
	require.Len(t, sent[MergeAck](r), 1, "it yields as well: the higher epoch stays")
	a.pass(time.Second)
	require.Len(t, a.m.View().Members, 6)
}

func TestCoordinatorOutgrownByItsFormerMembers(t *testing.T) {
	a, v := leader(t, 2, 3, 4, 5, 6, 7, 8)
	require.EqualValues(t, 3, v.Class)
	// Seven of the eight elected another one meanwhile; its class is lower.
	e := succeed(v, v.Members[1], v.ID.Epoch.Ctr+1, nil, []Departure{{Key: keyOf(1), Inc: 5}})
	require.EqualValues(t, 2, e.Class)
	a.receive(2, 1, e.ID, Heartbeat{Class: e.Class, Size: 7, Seq: 1})
	require.NotEmpty(t, sent[MergeReq](a.pass(time.Second)))
	// While it asks that one to be taken over, it evicts nobody: a new epoch of
	// its own would be above that one's.
	for seq := range uint64(10) {
		a.receive(2, 1, e.ID, Heartbeat{Class: e.Class, Size: 7, Seq: 2 + seq})
		a.receive(2, 1, e.ID, MergeAck{View: v.ID})
		require.Empty(t, events[Installed](a.pass(3*time.Second)))
	}
	require.Equal(t, v.ID, a.m.View().ID)
	// That a member which went over tells it where to ask changes nothing: it
	// asks there. (It knows no more of that group than its class, which is lower.)
	a.receive(3, 1, e.ID, Redirect{View: e.ID, Class: e.Class, Addr: addrOf(2)})
	require.NotEmpty(t, sent[MergeReq](a.pass(3*time.Second)))
	// Without an answer it does in the end.
	require.NotEmpty(t, events[Installed](a.pass(2*time.Minute)))
	// One of the eight alone does not count for that.
	b, v := leader(t, 2, 3, 4, 5, 6, 7, 8)
	b.receive(2, 1, e.ID, Heartbeat{Class: 0, Size: 1, Seq: 1})
	require.Empty(t, sent[MergeReq](b.pass(time.Second)))
	require.Equal(t, v.ID, b.m.View().ID)
}

func TestRelayedMerge(t *testing.T) {
	// Node 1 is a witness of its coordinator, 2, and hears another one, 20.
	a, v := follower(t, 3)
	big := viewOf(4, 20, 21, 22, 23, 24, 25, 26)
	r := a.receive(20, 1, big.ID, Heartbeat{Class: big.Class, Size: 7, Seq: 1})
	require.Equal(t, []Foreign{{View: big.ID, Addr: addrOf(20), Class: big.Class, Size: 7}}, sent[Foreign](r))
	require.Empty(t, sent[Foreign](a.receive(20, 1, big.ID, Heartbeat{Class: big.Class, Size: 7, Seq: 2})), "not each time")
	req := MergeReq{View: v, Hash: hash(v), To: big.ID.Epoch}
	r = a.receive(2, 1, v.ID, req)
	require.Equal(t, []MergeReq{req}, sent[MergeReq](r))
	require.Equal(t, addrOf(20), r.Send[0].To)
	r = a.receive(20, 1, big.ID, MergeAck{View: v.ID})
	require.Equal(t, addrOf(2), r.Send[0].To)
	// The view comes by the same way, and is handed to the coordinator.
	all := merge(big, []View{v}, 5, func(Key) uint64 { return 0 })
	r = a.receive(20, 1, all.ID, ViewChange{ID: all.ID, Class: all.Class, Number: all.Number, NextID: all.NextID, Cause: CauseMerge, Joined: all.Members})
	require.Equal(t, all.ID, a.m.View().ID)
	require.Len(t, sent[ViewChange](r), 1)
	require.Equal(t, addrOf(2), r.Send[0].To)
}

func TestEvictionKeepsTheView(t *testing.T) {
	a, v := follower(t, 3)
	next := amend(v, 4, true, nil, []Departure{{Key: keyOf(1), Inc: 5, Reason: ReasonFailed}})
	r := a.receive(2, 1, next.ID, a.m.change(v, next, CauseDead, nil))
	require.Equal(t, []Evicted{{View: next.ID}}, events[Evicted](r))
	joins := sent[Join](r)
	require.Len(t, joins, 1)
	require.Equal(t, next.ID.Epoch.Ctr, joins[0].MaxCtr, "so that the answer is above all it had")
	require.Equal(t, v.ID, a.m.View().ID, "it has a view still")
	r = a.receive(2, 1, v.ID, Welcome{View: v})
	require.Empty(t, events[Installed](r), "not above what it had")
}

func TestNotMemberOfAnotherGroupMeansNothing(t *testing.T) {
	a, v := follower(t, 3)
	a.receive(9, 1, viewOf(50, 9, 8).ID, NotMember{})
	require.Equal(t, following, a.m.state)
	older := ViewID{Epoch: Epoch{Ctr: 1, Leader: keyOf(3), Inc: 1}}
	a.receive(3, 1, older, NotMember{})
	require.Equal(t, following, a.m.state, "older than what it has")
	newer := v.ID
	newer.Seq++
	a.receive(2, 1, newer, NotMember{})
	require.Equal(t, joining, a.m.state)
}

func TestPhiDetectorDrivesSuspicion(t *testing.T) {
	m, err := NewCoordinated(Config{Self: Member{Key: keyOf(1), Inc: 5, Addr: addrOf(1)}, Timing: Classic(), Detector: NewPhi})
	require.NoError(t, err)
	a := &alone{t: t, m: m, now: epoch0}
	a.step(Start{})
	v := viewOf(3, 2, 1, 3)
	a.receive(2, 1, v.ID, Welcome{View: v})
	for i := range 20 {
		a.pass(5 * time.Second)
		a.beat(v, uint64(i+1))
	}
	r := a.pass(7700 * time.Millisecond)
	require.NotEmpty(t, events[Suspected](r), "so steady a coordinator is suspected before TProbe")
	require.NotNil(t, a.pass(3*time.Second).Round)
}

// A name that was changed just before is in the first view of a coordinator.
func TestWinnerAnnouncesItsNewName(t *testing.T) {
	a, v := follower(t, 3)
	a.step(Rename{Name: "new"})
	require.NotNil(t, a.step(Down{Addr: addrOf(2), Cause: CauseRefused}).Round)
	r := a.step(Won{Base: v.ID})
	in := events[Installed](r)
	require.Len(t, in, 1)
	me, _ := in[0].View.Find(keyOf(1))
	require.Equal(t, "new", me.Name)
	require.Equal(t, addrOf(1), me.Addr)
	old, _ := v.Find(keyOf(1))
	require.Equal(t, old.ID, me.ID)
	require.Empty(t, events[Installed](a.pass(a.m.t.H)), "it need not be said twice")
}

// The gap begins with the coordinator's death if that is known, and otherwise
// when it was heard last.
func TestGapBeginsWithTheDeath(t *testing.T) {
	for _, c := range []struct {
		name   string
		causes []Cause
		want   time.Duration
	}{
		{"stream broke, then refused", []Cause{CauseReset, CauseRefused}, 30 * time.Millisecond},
		{"refused alone", []Cause{CauseRefused}, 4*time.Second + 30*time.Millisecond},
	} {
		a, v := follower(t, 3)
		a.beat(v, 1)
		a.pass(4 * time.Second)
		for _, cause := range c.causes {
			a.step(Down{Addr: addrOf(2), Cause: cause})
			a.pass(10 * time.Millisecond)
		}
		a.pass(30*time.Millisecond - 10*time.Millisecond*time.Duration(len(c.causes)))
		in := events[Installed](a.step(Won{Base: v.ID}))
		require.Len(t, in, 1, c.name)
		require.Equal(t, c.want, in[0].Gap, c.name)
	}
	// A stream that broke proves no death.
	a, v := follower(t, 3)
	a.beat(v, 1)
	a.pass(3 * time.Second)
	a.step(Down{Addr: addrOf(2), Cause: CauseReset})
	require.NotNil(t, a.pass(10*time.Second).Round)
	in := events[Installed](a.step(Won{Base: v.ID}))
	require.Equal(t, 13*time.Second, in[0].Gap)
}

// A process that stood still says so once, and asks at once how the group is.
func TestWakes(t *testing.T) {
	a, _ := follower(t, 3)
	a.pass(7 * time.Second)
	a.now = a.now.Add(wakeBeats * a.m.t.H)
	a.m.Tick(a.now)
	require.Empty(t, events[Woke](a.m.Ready()), "a busy machine is no sleep")

	a, _ = follower(t, 3)
	a.pass(2 * time.Second)
	a.now = a.now.Add(41 * time.Second)
	a.m.Tick(a.now)
	r := a.m.Ready()
	require.Len(t, events[Woke](r), 1)
	require.InDelta(t, 41*time.Second, events[Woke](r)[0].After, float64(6*time.Second))
	require.Nil(t, r.Round)
	r = a.pass(time.Millisecond)
	require.Len(t, sent[KeepAlive](r), 1)
	require.Empty(t, events[Woke](r))

	// The clock stood still too.
	a, _ = follower(t, 3)
	a.pass(a.m.t.H)
	require.Equal(t, []Woke{{After: time.Hour}}, events[Woke](a.step(Slept{For: time.Hour})))
	require.Len(t, sent[KeepAlive](a.pass(time.Millisecond)), 1)

	l, _ := leader(t, 2, 3)
	l.pass(time.Second)
	require.Len(t, events[Woke](l.step(Slept{For: time.Hour})), 1)
	r = l.pass(time.Millisecond)
	require.Len(t, sent[Heartbeat](r), 1)
	require.Empty(t, events[Suspected](r))
	require.Len(t, l.m.View().Members, 3)
}

func TestNobodyOpensAnEpochBeyondTheLastCounter(t *testing.T) {
	founder := newAlone(t, 1, Default())
	founder.m.max = maxCtr - 1
	founder.step(Start{})
	require.ErrorIs(t, founder.pass(time.Minute).Err, ErrExhausted)
	require.Zero(t, founder.m.Deadline())

	winner, v := follower(t, 3)
	winner.m.max = maxCtr - 1
	require.NotNil(t, winner.pass(time.Minute).Round)
	require.ErrorIs(t, winner.step(Won{Base: v.ID}).Err, ErrExhausted)
	require.Equal(t, v, winner.m.View())

	host, v := leader(t, 2)
	host.m.max = maxCtr - 1
	require.ErrorIs(t, host.receive(3, 1, ViewID{}, Join{Addr: addrOf(3)}).Err, ErrExhausted)
	require.Equal(t, v, host.m.View())

	larger, v := leader(t, 2, 3)
	larger.m.max = maxCtr - 1
	lone := viewOf(4, 9)
	larger.receive(9, 1, lone.ID, MergeReq{View: lone, Hash: hash(lone)})
	require.ErrorIs(t, larger.pass(larger.m.t.MergeGap).Err, ErrExhausted)
	require.Equal(t, v, larger.m.View())

	yes, v := follower(t, 3)
	yes.m.max = maxCtr - 2
	yes.pass(time.Minute)
	require.NoError(t, yes.step(Won{Base: v.ID}).Err)
	require.EqualValues(t, maxCtr-1, yes.m.View().ID.Epoch.Ctr)
}
