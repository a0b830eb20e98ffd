package sim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/membership"
)

// TestPropertyQuietBringsTheModelsView lets rapid choose the faults, and
// shrink them when something fails. The model is as dumb as can be: who was
// started and not ended since is in the last view, with its last incarnation.
func TestPropertyQuietBringsTheModelsView(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 6).Draw(t, "hosts")
		cfg := Config{
			Seed:      rapid.Uint64Range(0, 1000).Draw(t, "seed"),
			Elector:   rapid.SampledFrom([]election.New{election.NewBully, election.NewRing}).Draw(t, "elector"),
			Timing:    rapid.SampledFrom([]membership.Timing{membership.Classic(), membership.Default()}).Draw(t, "timing"),
			Evidence:  rapid.Bool().Draw(t, "evidence"),
			Seniority: rapid.Bool().Draw(t, "seniority"),
		}
		w := New(cfg, n)
		model := map[int]bool{}
		host := rapid.IntRange(1, n)
		run := rapid.IntRange(0, 40)
		actions := map[string]func(*rapid.T){
			"run": func(t *rapid.T) { w.Run(time.Duration(run.Draw(t, "H/2")) * w.timing.H / 2) },
			"start": func(t *rapid.T) {
				if i := host.Draw(t, "host"); !model[i] {
					w.Start(i)
					model[i] = true
				}
			},
			"restart": func(t *rapid.T) {
				if i := host.Draw(t, "host"); model[i] {
					w.Kill(i)
					w.StartHere(i)
				}
			},
			"kill": func(t *rapid.T) {
				i := host.Draw(t, "host")
				w.Kill(i)
				delete(model, i)
			},
			"unplug": func(t *rapid.T) {
				i := host.Draw(t, "host")
				w.Unplug(i)
				delete(model, i)
			},
			"suspend": func(t *rapid.T) {
				w.Suspend(host.Draw(t, "host"), time.Duration(run.Draw(t, "H/5"))*w.timing.H/5)
			},
			"split": func(t *rapid.T) {
				w.Split(rapid.SliceOfDistinct(host, rapid.ID).Draw(t, "side"))
			},
			"cut":  func(t *rapid.T) { w.Cut(host.Draw(t, "from"), host.Draw(t, "to")) },
			"heal": func(t *rapid.T) { w.Heal() },
			"loss": func(t *rapid.T) {
				w.Weather.Loss = rapid.Float64Range(0, 0.3).Draw(t, "p")
				w.Weather.Duplicate = rapid.Float64Range(0, 0.3).Draw(t, "p")
			},
			"deaf": func(t *rapid.T) { w.Host(host.Draw(t, "host")).Deaf = rapid.Bool().Draw(t, "deaf") },
			"":     func(t *rapid.T) { require.NoError(t, w.Err()) },
		}
		t.Repeat(actions)

		w.Heal()
		w.Weather = Calm
		for i := 1; i <= n; i++ {
			w.Host(i).Deaf = false
			w.Resume(i)
		}
		w.Run(30 * w.timing.H)
		require.NoError(t, w.Err())
		require.NoError(t, w.Agreed())
		var want, got []string
		for i := range model {
			want = append(want, fmt.Sprintf("%d/%d", i, w.At(i).Inc()))
		}
		if ps := w.Alive(); len(ps) > 0 {
			for _, m := range ps[0].View().Members {
				got = append(got, fmt.Sprintf("%d/%d", hostOf(m.Key), m.Inc))
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		require.Equal(t, want, got)
	})
}
