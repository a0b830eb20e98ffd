package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/internal/core"
	"github.com/seed-885536be/p2p/membership"
)

// dummy is a machine that sends what it is told to, and remembers what it
// got.
type dummy struct {
	now      time.Time
	deadline time.Time
	every    time.Duration
	got      []string
	ticks    []time.Time
	view     membership.View
	out      core.GroupReady
	header   membership.Header
}

func (d *dummy) Step(now time.Time, in membership.Input) {
	d.now = now
	switch in := in.(type) {
	case membership.Start:
		if d.every > 0 {
			d.deadline = now.Add(d.every)
		}
	case membership.Receive:
		d.got = append(d.got, fmt.Sprintf("%d", in.Packet.Body.(membership.KeepAlive).Seq))
	case membership.Down:
		d.got = append(d.got, fmt.Sprintf("down %d", in.Cause))
	}
}

func (d *dummy) StepElection(time.Time, netip.AddrPort, membership.Header, election.Message) {
	d.got = append(d.got, "election")
}

func (d *dummy) Tick(now time.Time) {
	d.now = now
	d.ticks = append(d.ticks, now)
	d.deadline = d.deadline.Add(d.every)
	d.say(core.GroupSend{Group: true}, 0)
}

func (d *dummy) Deadline() time.Time       { return d.deadline }
func (d *dummy) View() membership.View     { return d.view }
func (d *dummy) Header() membership.Header { return d.header }
func (d *dummy) Ready() core.GroupReady    { r := d.out; d.out = core.GroupReady{}; return r }

func (d *dummy) say(s core.GroupSend, n uint64) {
	s.Body = membership.KeepAlive{Seq: n}
	d.out.Send = append(d.out.Send, s)
}

// dummies is a World of n dummies, with a link between any two if linked.
func dummies(cfg Config, n int, every time.Duration) (*World, []*dummy) {
	var ds []*dummy
	cfg.New = func(c core.GroupConfig) (Machine, error) {
		d := &dummy{every: every, header: membership.Header{From: c.Self.Key, Inc: c.Self.Inc}}
		ds = append(ds, d)
		return d, nil
	}
	w := New(cfg, n)
	w.StartAll()
	var all membership.View
	for i := range ds {
		p := w.At(i + 1)
		all.Members = append(all.Members, membership.Member{Key: p.host.Key, ID: uint32(i + 1), Addr: p.at.addr})
	}
	for i, d := range ds {
		d.view = all
		w.At(i + 1).view = all
	}
	return w, ds
}

// tell makes host from send message n.
func tell(w *World, from int, s core.GroupSend, n uint64) {
	p := w.At(from)
	p.do(func() { p.machine.(*dummy).say(s, n) })
}

func to(w *World, i int) core.GroupSend { return core.GroupSend{To: w.At(i).at.addr} }

func reliably(w *World, i int) core.GroupSend {
	return core.GroupSend{To: w.At(i).at.addr, Reliable: true}
}

func TestQueueIsInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var want []int64
		seq := uint64(0)
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "pop") && len(q) > 0 {
				least := slices.Min(want)
				require.Equal(t, least, q.pop().at)
				want = slices.Delete(want, slices.Index(want, least), slices.Index(want, least)+1)
				continue
			}
			at := rapid.Int64Range(0, 20).Draw(t, "at")
			seq++
			q.push(item{at: at, seq: seq})
			want = append(want, at)
		}
		var last item
		for len(q) > 0 {
			x := q.pop()
			require.True(t, last.before(&x))
			last = x
		}
	})
}

func TestClockIsItsOwn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := clock{origin.Add(time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "zero"))), rapid.Int64Range(-5000, 5000).Draw(t, "ppm")}
		now := rapid.Int64Range(0, 40*3600e9).Draw(t, "now")
		due := c.due(c.read(now))
		require.False(t, c.read(due).Before(c.read(now)))
		require.InDelta(t, now, due, 1e7)
	})
}

func TestWeather(t *testing.T) {
	for name, test := range map[string]struct {
		weather      Weather
		copies, late float64 // arriving per packet, and of these over 100 ms
	}{
		"calm":      {Calm, 1, 0},
		"loss":      {Lossy(0.2), 0.8, 0},
		"duplicate": {Weather{Duplicate: 0.3, Max: time.Millisecond}, 1.3, 0},
		"spikes":    {Weather{Spike: 0.5, SpikeMax: time.Second}, 1, 0.45},
	} {
		t.Run(name, func(t *testing.T) {
			w, ds := dummies(Config{Weather: test.weather}, 3, 0)
			const n = 5000
			for i := range n {
				tell(w, 1, core.GroupSend{Group: true}, uint64(i))
			}
			w.Run(100 * time.Millisecond)
			soon := len(ds[1].got) + len(ds[2].got)
			w.Run(10 * time.Second)
			all := len(ds[1].got) + len(ds[2].got)
			require.Empty(t, ds[0].got, "no host hears its own multicast")
			require.InDelta(t, test.copies, float64(all)/(2*n), 0.02)
			require.InDelta(t, test.late, 1-float64(soon)/float64(all), 0.02)
		})
	}
}

func TestStreamsKeepOrder(t *testing.T) {
	w, ds := dummies(Config{Weather: Weather{Loss: 0.3, Duplicate: 0.3, Spike: 0.3, SpikeMax: time.Second}}, 2, 0)
	var want []string
	for i := range 300 {
		tell(w, 1, reliably(w, 2), uint64(i))
		want = append(want, fmt.Sprint(i))
		w.Run(time.Millisecond)
	}
	w.Run(time.Minute)
	require.Equal(t, want, ds[1].got)
}

func TestReach(t *testing.T) {
	all := core.GroupSend{Group: true}
	for name, test := range map[string]struct {
		fault func(w *World)
		group []int // who hears a multicast of host 1
		to2   bool  // whether 2 hears 1
		from2 bool
	}{
		"healthy":       {func(w *World) {}, []int{2, 3, 4}, true, true},
		"one way":       {func(w *World) { w.Cut(1, 2) }, []int{3, 4}, false, true},
		"the other way": {func(w *World) { w.Cut(2, 1) }, []int{2, 3, 4}, true, false},
		"split":         {func(w *World) { w.Split([]int{1, 3}) }, []int{3}, false, false},
		"healed":        {func(w *World) { w.Split([]int{1, 3}); w.Cut(1, 3); w.Heal() }, []int{2, 3, 4}, true, true},
		"deaf":          {func(w *World) { w.Host(2).Deaf = true }, []int{3, 4}, true, true},
		"mute":          {func(w *World) { w.Host(1).Mute = true }, nil, true, true},
		"gone":          {func(w *World) { w.Unplug(2) }, []int{3, 4}, false, false},
		"filtered": {func(w *World) {
			w.Filter = func(pkt *Packet, from, to *Process) Fate { return Fate{Drop: to.Host() == 2} }
		}, []int{3, 4}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, ds := dummies(Config{}, 4, 0)
			test.fault(w)
			tell(w, 1, all, 1)
			w.Run(time.Second)
			var heard []int
			for i, d := range ds {
				if slices.Contains(d.got, "1") {
					heard = append(heard, i+1)
				}
			}
			require.Equal(t, test.group, heard)
			tell(w, 1, to(w, 2), 2)
			tell(w, 2, to(w, 1), 3)
			w.Run(time.Second)
			require.Equal(t, test.to2, slices.Contains(ds[1].got, "2"))
			require.Equal(t, test.from2, slices.Contains(ds[0].got, "3"))
		})
	}
}

func TestEvidence(t *testing.T) {
	reset, refused, timeout := "down 1", "down 2", "down 3"
	for name, test := range map[string]struct {
		fault func(w *World)
		want  []string // at host 1
		quick bool     // within 20 ms
	}{
		"kill":                {func(w *World) { w.Kill(2) }, []string{reset, refused}, true},
		"kill and restart":    {func(w *World) { w.Kill(2); w.StartHere(2) }, []string{reset}, true},
		"restart elsewhere":   {func(w *World) { w.Kill(2); w.Start(2) }, []string{reset, refused}, true},
		"unplug":              {func(w *World) { w.Unplug(2) }, []string{reset, timeout}, false},
		"cut":                 {func(w *World) { w.Cut(2, 1) }, []string{reset, timeout}, false},
		"split":               {func(w *World) { w.Split([]int{1}) }, []string{reset, timeout}, false},
		"short cut":           {func(w *World) { w.Cut(1, 2); w.Run(time.Second); w.Heal() }, nil, true},
		"suspension":          {func(w *World) { w.Suspend(2, time.Minute) }, nil, true},
		"kill behind a split": {func(w *World) { w.Split([]int{1}); w.Kill(2) }, []string{reset, timeout}, false},
		"kill and late heal": {func(w *World) {
			w.Split([]int{1})
			w.Kill(2)
			w.Run(time.Second)
			w.Heal()
			tell(w, 1, reliably(w, 2), 1)
		}, []string{refused}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, ds := dummies(Config{Evidence: true}, 2, 0)
			test.fault(w)
			w.Run(20 * time.Millisecond)
			if test.quick {
				require.Equal(t, test.want, ds[0].got)
			} else {
				require.Empty(t, ds[0].got)
			}
			w.Run(30 * time.Second)
			require.Equal(t, test.want, ds[0].got)

			w, ds = dummies(Config{}, 2, 0)
			test.fault(w)
			w.Run(30 * time.Second)
			require.Empty(t, ds[0].got, "without evidence")
		})
	}
}

func TestFramesWaitForAShortCut(t *testing.T) {
	for _, test := range []struct {
		cut  time.Duration
		want []string
	}{
		{time.Second, []string{"1", "2", "3"}},
		{maxBreak + time.Second, []string{"3"}},
	} {
		w, ds := dummies(Config{}, 2, 0)
		w.Split([]int{1})
		tell(w, 1, reliably(w, 2), 1)
		tell(w, 1, reliably(w, 2), 2)
		w.Run(test.cut)
		require.Empty(t, ds[1].got)
		w.Heal()
		tell(w, 1, reliably(w, 2), 3)
		w.Run(time.Second)
		require.Equal(t, test.want, ds[1].got, "after %v", test.cut)
	}
}

func TestSuspension(t *testing.T) {
	w, ds := dummies(Config{}, 2, time.Second)
	w.Run(1500 * time.Millisecond)
	require.Len(t, ds[1].ticks, 1)
	w.Suspend(2, 20*time.Second)
	tell(w, 1, to(w, 2), 7)
	w.Run(19 * time.Second)
	require.Len(t, ds[1].ticks, 1)
	require.NotContains(t, ds[1].got, "7")
	w.Run(1100 * time.Millisecond)
	require.Contains(t, ds[1].got, "7")
	require.Greater(t, len(ds[1].ticks), 1)
	w.Suspend(2, time.Hour)
	w.Kill(2)
	w.Start(2)
	w.Run(2 * time.Hour)
	require.Greater(t, len(w.At(2).machine.(*dummy).ticks), 7000, "the next process is not suspended")
}

func TestASuspensionDoesNotEndAnother(t *testing.T) {
	w, _ := dummies(Config{}, 2, 0)
	w.Suspend(2, 10*time.Second)
	w.Kill(2)
	w.StartHere(2)
	w.Suspend(2, time.Minute)
	w.Run(20 * time.Second)
	require.True(t, w.At(2).suspended, "what was to end then was that of the process before")
	w.Resume(2)
	w.Run(30 * time.Second)
	w.Suspend(2, time.Minute)
	w.Run(20 * time.Second)
	require.True(t, w.At(2).suspended)
	w.Run(41 * time.Second)
	require.False(t, w.At(2).suspended)
}

func TestAgreedOfWantsAProcessOnEach(t *testing.T) {
	w := group(t, Config{}, 3, 1)
	require.NoError(t, w.AgreedOf(1, 2, 3))
	require.ErrorIs(t, w.AgreedOf(1, 2, 3, 4), ErrNotAgreed)
	w.Kill(3)
	require.ErrorContains(t, w.AgreedOf(1, 2, 3), "no process runs on host 3")
}

func TestPacketsToAnEndpointReachTheNextProcess(t *testing.T) {
	w, _ := dummies(Config{}, 2, 0)
	tell(w, 1, to(w, 2), 1)
	tell(w, 1, reliably(w, 2), 2)
	w.Kill(2)
	w.StartHere(2)
	w.Run(time.Second)
	require.Equal(t, []string{"1"}, w.At(2).machine.(*dummy).got, "the datagram, but not the frame of a stream that is gone")
}

func TestTimersAreNeverEarly(t *testing.T) {
	w, ds := dummies(Config{}, 1, 700*time.Millisecond)
	p := w.At(1)
	w.Run(time.Hour)
	require.Greater(t, len(ds[0].ticks), 5000)
	for i, at := range ds[0].ticks {
		late := at.Sub(p.clock.zero) - time.Duration(i+1)*700*time.Millisecond
		require.GreaterOrEqual(t, late, time.Duration(0))
		require.Less(t, late, time.Millisecond)
	}
}

func TestEndlessTicksEndTheRun(t *testing.T) {
	w, ds := dummies(Config{}, 2, time.Second)
	ds[0].every = 0
	w.Run(time.Hour)
	require.ErrorContains(t, w.Err(), "ticks without end")
}

func TestSameSeedSameHash(t *testing.T) {
	run := func(seed uint64) uint64 {
		w, _ := dummies(Config{Seed: seed, Weather: Lossy(0.3)}, 4, time.Second)
		w.Run(time.Minute)
		return w.Hash()
	}
	require.Equal(t, run(1), run(1))
	require.NotEqual(t, run(1), run(2))
}
