package membershiptest_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/membership/membershiptest"
)

// counting is a membership of one's own: it counts what it is given.
type counting struct {
	membership.Membership
	inputs int
}

func newCounting(self membership.Member, timing membership.Timing, rng *rand.Rand) *counting {
	m, err := membership.NewCoordinated(membership.Config{Self: self, Timing: timing, Rand: rng})
	if err != nil {
		panic(err) // the Config is wrong
	}
	return &counting{Membership: m}
}

func (c *counting) Step(now time.Time, in membership.Input) {
	c.inputs++
	c.Membership.Step(now, in)
}

// runCounting holds it to the contract. In its test file stands
//
//	func TestCounting(t *testing.T) { runCounting(t) }
func runCounting(t *testing.T) {
	membershiptest.Run(t, func(self membership.Member, timing membership.Timing, rng *rand.Rand) membership.Membership {
		return newCounting(self, timing, rng)
	})
}

// A Membership of one's own, and how the suite is run on it.
func ExampleRun() {
	self := membership.Member{Key: membership.Key{1}, Inc: 1, Addr: netip.MustParseAddrPort("10.0.0.1:7000"), Name: "ada"}
	m := newCounting(self, membership.Default(), rand.New(rand.NewPCG(1, 1)))
	now := time.Unix(0, 0)
	m.Step(now, membership.Start{})
	for len(m.View().Members) == 0 { // nobody answers
		now = m.Deadline()
		m.Tick(now)
	}
	fmt.Println(m.inputs, "input,", len(m.View().Members), "member")
	// Output: 1 input, 1 member
}
