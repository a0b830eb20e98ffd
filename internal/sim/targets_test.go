package sim

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/membership"
)

// The figures that the protocol is to reach, at the classic timing and in
// virtual time. Without -full each is measured on small groups and few seeds.
//
//	go test ./internal/sim -run Targets -full -v

var fullFlag = flag.Bool("full", false, "measure large groups and many seeds too")

// sizes are the groups to measure.
func sizes(full ...int) []int {
	if *fullFlag {
		return full
	}
	return []int{4, 16}
}

func runs(n int) int {
	switch {
	case !*fullFlag:
		return 5
	case n >= 1000:
		return 5
	case n >= 256:
		return 11
	}
	return 51
}

// crowd is an agreed group of n, made faster than by group: the members' IDs
// are in no particular order.
func crowd(t testing.TB, cfg Config, n int) *World {
	w := New(cfg, n)
	weather := w.Weather
	w.Weather = Calm
	w.Start(1)
	_, ok := w.Await(10*time.Second, func() bool { return len(w.leaders()) == 1 })
	require.True(t, ok)
	for i := 2; i <= n; i++ {
		w.Start(i)
		w.Run(min(2*time.Millisecond, 200*time.Millisecond/time.Duration(n)))
	}
	_, ok = w.Await(time.Minute, func() bool { return w.Agreed() == nil })
	require.True(t, ok, "%v %v", w.Agreed(), w.Err())
	w.Run(2*w.timing.H + time.Duration(cfg.Seed%10)*w.timing.H/10)
	require.NoError(t, w.Err())
	require.NoError(t, w.Agreed())
	w.Weather = weather
	w.Count = Counters{Sent: map[string]int{}}
	return w
}

// sample is a set of measurements.
type sample []float64

func (s sample) median() float64 { return s.quantile(0.5) }
func (s sample) max() float64    { return slices.Max(s) }
func (s sample) quantile(q float64) float64 {
	o := slices.Sorted(slices.Values(s))
	return o[int(q*float64(len(o)-1))]
}

func (s sample) String() string {
	return fmt.Sprintf("median %.4g, min %.4g, max %.4g of %d", s.median(), slices.Min(s), s.max(), len(s))
}

// measure runs a measurement for n seeds on all cores, and returns the sample
// of each figure that it yields.
func measure(t *testing.T, n int, cfg Config, run func(cfg Config) []float64) []sample {
	t.Helper()
	all := make([][]float64, n)
	var group sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i := range n {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			cfg := cfg
			cfg.Seed = *seedFlag + uint64(i)
			all[i] = run(cfg)
		})
	}
	group.Wait()
	var samples []sample
	for i, figures := range all {
		require.NotEmpty(t, figures, "the run with seed %d failed", *seedFlag+uint64(i))
		for j, f := range figures {
			if i == 0 {
				samples = append(samples, nil)
			}
			samples[j] = append(samples[j], f)
		}
	}
	return samples
}

// succession kills the highest IDs and the coordinator, and returns how long
// after the last heartbeat there was another, how long after the crash all
// were agreed, the same after the first was there, the election's messages and
// the number of winners.
func succession(t *testing.T, cfg Config, n, highest int) []float64 {
	w := crowd(t, cfg, n)
	leader := w.leaders()[0]
	members := w.At(leader).View().Members
	for _, m := range members[n-highest:] {
		w.Kill(hostOf(m.Key))
	}
	beat := w.Alive()[1].watch.beat
	crash := w.now
	w.Kill(leader)
	if _, ok := w.Await(10*time.Minute, func() bool { return len(w.leaders()) > 0 }); !ok {
		t.Errorf("seed %d: no coordinator: %v", cfg.Seed, w.Err())
		return nil
	}
	won := w.now
	if _, ok := w.Await(5*time.Minute, func() bool {
		ps := w.Alive()
		return !slices.ContainsFunc(ps, func(p *Process) bool { return p.view.ID.Epoch != ps[0].view.ID.Epoch || p.Leader() == leader })
	}); !ok {
		t.Errorf("seed %d: not agreed: %v %v", cfg.Seed, w.Agreed(), w.Err())
		return nil
	}
	messages := 0
	for k := election.KindElection; k <= election.KindRingProbeOK; k++ {
		messages += w.Count.Sent[k.String()]
	}
	return []float64{
		time.Duration(won - beat).Seconds(), time.Duration(w.now - crash).Seconds(), time.Duration(w.now - won).Seconds(),
		float64(messages), float64(w.Count.Elected),
	}
}

func TestTargetsBully(t *testing.T) {
	messages := map[int]float64{4: 1, 16: 3, 64: 3, 256: 6, 1000: 11}
	for _, n := range sizes(4, 16, 64, 256, 1000) {
		s := measure(t, runs(n), Config{Elector: election.NewBully}, func(cfg Config) []float64 { return succession(t, cfg, n, 0) })
		t.Logf("N=%-4d no loss    silence to coordinator: %v s", n, s[0])
		t.Logf("                  then to agreement:      %v s", s[2])
		t.Logf("                  messages:               %v", s[3])
		if *fullFlag {
			require.InDelta(t, 10.05, s[0].median(), 0.15, "N=%d", n)
			require.LessOrEqual(t, s[3].median(), messages[n], "N=%d", n)
		}
		require.InDelta(t, 10.2, s[0].max(), 0.4, "N=%d", n)
		require.LessOrEqual(t, s[2].max(), 0.010, "N=%d", n)
		require.EqualValues(t, 1, s[4].max(), "winners, N=%d", n)
	}
}

func TestTargetsBullyWithLoss(t *testing.T) {
	for _, n := range sizes(4, 16, 64, 256, 1000) {
		s := measure(t, runs(n), Config{Elector: election.NewBully, Weather: Lossy(0.2)}, func(cfg Config) []float64 { return succession(t, cfg, n, 0) })
		t.Logf("N=%-4d 20 %% loss  crash to agreement:     %v s", n, s[1])
		t.Logf("                  messages:               %v", s[3])
		require.LessOrEqual(t, s[1].median(), 2.1*classic.H.Seconds(), "N=%d", n)
		require.LessOrEqual(t, s[1].max(), 2.5*classic.H.Seconds(), "N=%d", n)
		require.EqualValues(t, 1, s[4].max(), "winners, N=%d", n)
	}
}

func TestTargetsRing(t *testing.T) {
	for _, n := range sizes(4, 16, 64, 256) {
		s := measure(t, runs(n), Config{Elector: election.NewRing}, func(cfg Config) []float64 { return succession(t, cfg, n, 0) })
		t.Logf("N=%-4d no loss    crash to agreement:     %v s", n, s[1])
		t.Logf("                  messages per member:    %.3g", s[3].median()/float64(n))
		if n >= 16 {
			require.LessOrEqual(t, s[3].median()/float64(n), 3.3, "N=%d", n)
			require.LessOrEqual(t, s[0].max(), 2*classic.H.Seconds()+classic.H.Seconds()/10+0.012*float64(n), "N=%d", n)
			require.LessOrEqual(t, s[1].median(), 2*classic.H.Seconds()+0.012*float64(n), "N=%d", n)
		}
		require.EqualValues(t, 1, s[4].max(), "winners, N=%d", n)
	}
}

func TestTargetsTheTwoHighestCrashToo(t *testing.T) {
	for _, n := range sizes(8, 16, 64, 256) {
		s := measure(t, runs(n), Config{Elector: election.NewBully}, func(cfg Config) []float64 { return succession(t, cfg, n, 2) })
		t.Logf("N=%-4d silence to coordinator: %v s", n, s[0])
		require.LessOrEqual(t, s[0].max(), 2*classic.H.Seconds()+classic.H.Seconds()/10+5*classic.RTO.Seconds(), "N=%d", n)
	}
}

func TestTargetsTenAtOneInstant(t *testing.T) {
	for loss, most := range map[float64]float64{0: 2.6, 0.3: 5.6} {
		n := 51
		if *fullFlag {
			n = 501
		}
		s := measure(t, n, Config{Weather: Lossy(loss)}, func(cfg Config) []float64 {
			w := New(cfg, 10)
			w.StartAll()
			took, ok := w.Await(2*time.Minute, func() bool { return w.Agreed() == nil })
			if !ok {
				t.Errorf("seed %d: %v %v", cfg.Seed, w.Agreed(), w.Err())
				return nil
			}
			return []float64{took.Seconds()}
		})
		t.Logf("loss %2.0f %%: %v s", 100*loss, s[0])
		require.LessOrEqual(t, s[0].median(), most)
		require.LessOrEqual(t, s[0].max(), 30.0)
	}
}

func TestTargetsMerge(t *testing.T) {
	for _, n := range sizes(8, 16, 64, 256) {
		for _, k := range []int{2, 8} {
			if k > n/2 {
				continue
			}
			for _, loss := range []float64{0, 0.2} {
				s := measure(t, (runs(n)+4)/5, Config{Weather: Lossy(loss)}, func(cfg Config) []float64 {
					w := crowd(t, cfg, n)
					sides := make([][]int, k)
					for i := range n {
						sides[i%k] = append(sides[i%k], i+1)
					}
					w.Split(sides...)
					w.Run(90 * time.Second)
					if len(w.leaders()) < k {
						t.Errorf("seed %d: %d coordinators on %d sides: %v", cfg.Seed, len(w.leaders()), k, w.Err())
						return nil
					}
					w.Heal()
					took, ok := w.Await(2*time.Minute, func() bool { return w.Agreed() == nil })
					if !ok {
						t.Errorf("seed %d: %v %v", cfg.Seed, w.Agreed(), w.Err())
						return nil
					}
					return []float64{took.Seconds()}
				})
				t.Logf("N=%-4d %d sides, loss %2.0f %%: %v s", n, k, 100*loss, s[0])
				if loss == 0 {
					require.LessOrEqual(t, s[0].median(), classic.H.Seconds()+0.5)
				} else {
					require.LessOrEqual(t, s[0].max(), 25.0)
				}
			}
		}
	}
}

func TestTargetsHandover(t *testing.T) {
	for _, n := range sizes(4, 16, 64, 256) {
		s := measure(t, runs(n), Config{Weather: Weather{Min: 3 * time.Millisecond, Max: 6 * time.Millisecond}}, func(cfg Config) []float64 {
			w := crowd(t, cfg, n)
			leader := w.leaders()[0]
			w.Leave(leader)
			took, ok := w.Await(time.Minute, func() bool {
				return !slices.ContainsFunc(w.Alive(), func(p *Process) bool { return p.Leader() == leader })
			})
			if !ok || w.Count.Elected > 0 {
				t.Errorf("seed %d: %v %v, elected %d", cfg.Seed, w.Agreed(), w.Err(), w.Count.Elected)
				return nil
			}
			return []float64{1000 * took.Seconds()}
		})
		t.Logf("N=%-4d %v ms, at 3 to 6 ms a packet", n, s[0])
		require.LessOrEqual(t, s[0].median(), 12.0)
	}
}

// TestTargetsHealthyGroup counts what must not happen: a change of the
// coordinator of a group that is well but for the network's loss.
func TestTargetsHealthyGroup(t *testing.T) {
	hours := func(n int) time.Duration {
		switch {
		case !*fullFlag:
			return 20 * time.Minute
		case n > 64:
			return time.Hour
		}
		return 10 * time.Hour
	}
	for _, n := range sizes(4, 16, 64, 256) {
		for name, elector := range algorithms {
			w := crowd(t, Config{Elector: elector, Weather: Lossy(0.2), Seed: *seedFlag}, n)
			w.Run(hours(n))
			require.NoError(t, w.Err())
			t.Logf("N=%-4d %s, 20 %% loss, %v: %d changes, %d elections, %d evictions, %d SUSPECT", n, name, hours(n),
				w.Count.Changes, w.Count.Elected, w.Count.Evicted, w.Count.Sent["Suspect"])
			require.Zero(t, w.Count.Changes)
			require.Zero(t, w.Count.Elected)
			require.Zero(t, w.Count.Evicted)
		}
	}
}

// TestTargetsEvidence is what streams that end are worth, at default timing.
func TestTargetsEvidence(t *testing.T) {
	for name, elector := range algorithms {
		for _, n := range sizes(4, 16, 64) {
			cfg := Config{Elector: elector, Evidence: true, Timing: membership.Default(), Weather: Weather{Min: 50 * time.Microsecond, Max: 500 * time.Microsecond}}
			s := measure(t, runs(n), cfg, func(cfg Config) []float64 { return succession(t, cfg, n, 0) })
			t.Logf("N=%-4d %s: crash to agreement %v s", n, name, s[1])
			if name == "bully" {
				require.LessOrEqual(t, s[1].max(), 0.050)
				require.LessOrEqual(t, s[1].median(), 0.010)
			} else {
				require.LessOrEqual(t, s[1].max(), 0.010+0.001*float64(n))
			}
		}
	}
}

// TestTargetsSuspendedFollower: a suspension of the highest-ranked member ends
// in no election.
func TestTargetsSuspendedFollower(t *testing.T) {
	for _, n := range sizes(4, 16, 64) {
		for _, d := range []time.Duration{12 * time.Second, 40 * time.Second} {
			for name, elector := range algorithms {
				s := measure(t, 2*runs(n), Config{Elector: elector}, func(cfg Config) []float64 {
					w := crowd(t, cfg, n)
					members := w.At(1).View().Members
					w.Suspend(hostOf(members[n-1].Key), d)
					w.Run(d + time.Minute)
					if err := w.Err(); err != nil {
						t.Errorf("seed %d: %v", cfg.Seed, err)
					}
					return []float64{float64(w.Count.Elected)}
				})
				t.Logf("N=%-4d %s, %v: %v elections", n, name, d, s[0])
				require.Zero(t, s[0].max())
			}
		}
	}
}
