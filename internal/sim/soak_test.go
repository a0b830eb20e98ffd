package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/membership"
)

var (
	seedsFlag   = flag.Int("seeds", 0, "how many seeds Soak runs; 0 runs a few")
	seedFlag    = flag.Uint64("seed", 1, "the first seed of Soak")
	electorFlag = flag.String("elector", "", "bully or ring; both if empty")
	profileFlag = flag.String("profile", "", "classic or default timing; both if empty")
	wireFlag    = flag.Bool("wire", false, "encode and decode every message")
	logFlag     = flag.Bool("log", false, "print what happens")
)

var algorithms = map[string]election.New{"bully": election.NewBully, "ring": election.NewRing}

var profiles = map[string]func() membership.Timing{"classic": membership.Classic, "default": membership.Default}

// variant is one way to run seeds.
type variant struct{ elector, profile string }

func (v variant) config(seed uint64) Config {
	cfg := Config{Seed: seed, Elector: algorithms[v.elector], Timing: profiles[v.profile]()}
	if *wireFlag {
		cfg.Wire = wire
	}
	if *logFlag {
		cfg.Trace = os.Stdout
	}
	return cfg
}

func (v variant) replay(seed uint64) string {
	s := fmt.Sprintf("go test ./internal/sim -run Soak -elector %s -profile %s -seeds 1 -seed %d -log", v.elector, v.profile, seed)
	if *wireFlag {
		s += " -wire"
	}
	return s
}

func variants() []variant {
	var vs []variant
	for _, e := range []string{"bully", "ring"} {
		for _, p := range []string{"classic", "default"} {
			if (*electorFlag == "" || *electorFlag == e) && (*profileFlag == "" || *profileFlag == p) {
				vs = append(vs, variant{e, p})
			}
		}
	}
	return vs
}

// TestSoak runs Chaos over many seeds, as many at a time as there are cores.
func TestSoak(t *testing.T) {
	n := *seedsFlag
	if n == 0 {
		n = 15
		if testing.Short() {
			n = 3
		}
	}
	for _, v := range variants() {
		t.Run(v.elector+" "+v.profile, func(t *testing.T) {
			begin := time.Now()
			var next atomic.Uint64
			var mu sync.Mutex
			var reports []Report
			var group sync.WaitGroup
			for range runtime.GOMAXPROCS(0) {
				group.Go(func() {
					for i := next.Add(1) - 1; i < uint64(n); i = next.Add(1) - 1 {
						r := Chaos(v.config(*seedFlag + i))
						mu.Lock()
						reports = append(reports, r)
						if r.Err != nil {
							t.Errorf("seed %d, %d hosts: %v\n  %s", r.Seed, r.Hosts, r.Err, v.replay(r.Seed))
						}
						mu.Unlock()
					}
				})
			}
			group.Wait()
			failed, packets, views, falseOnes := 0, 0, 0, 0
			var took []time.Duration
			for _, r := range reports {
				if r.Err != nil {
					failed++
					continue
				}
				took = append(took, r.Agreed)
				packets += r.Count.Delivered
				views += r.Views
				falseOnes += r.Count.FalseElections
			}
			slices.Sort(took)
			if len(took) > 0 {
				t.Logf("%d seeds, %d failed, in %v: agreed after %v (median), %v (95 %%), %v (max) of quiet; %d packets, %d views, %d elections without need",
					n, failed, time.Since(begin).Round(time.Millisecond), took[len(took)/2], took[len(took)*95/100], took[len(took)-1], packets, views, falseOnes)
			}
		})
	}
}

// TestChaosIsAFunctionOfItsSeed is what makes a failing seed worth keeping.
func TestChaosIsAFunctionOfItsSeed(t *testing.T) {
	for _, v := range variants() {
		for seed := range uint64(3) {
			a, b := Chaos(v.config(seed)), Chaos(v.config(seed))
			require.Equal(t, a, b, "%v %d", v, seed)
			require.NotEqual(t, a.Hash, Chaos(v.config(seed+1)).Hash)
		}
	}
}
