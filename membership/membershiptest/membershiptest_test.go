package membershiptest_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/membership/membershiptest"
)

func TestCoordinated(t *testing.T) {
	for name, cfg := range map[string]membership.Config{
		"default":   {},
		"seniority": {Seniority: true},
		"phi":       {Detector: membership.NewPhi},
	} {
		t.Run(name, func(t *testing.T) {
			membershiptest.Run(t, func(self membership.Member, timing membership.Timing, rng *rand.Rand) membership.Membership {
				cfg := cfg
				cfg.Self, cfg.Timing, cfg.Rand = self, timing, rng
				m, err := membership.NewCoordinated(cfg)
				require.NoError(t, err)
				return m
			})
		})
	}
}

// The example keeps the contract, too.
func TestCounting(t *testing.T) { runCounting(t) }
