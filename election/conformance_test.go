package election_test

import (
	"testing"
	"time"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/election/electiontest"
)

func TestBullyConforms(t *testing.T) { electiontest.Run(t, election.NewBully) }

func TestRingConforms(t *testing.T) { electiontest.Run(t, election.NewRing) }

// TestDumbConforms runs an elector through the suite that says nothing at all.
// What the suite requires must not be an accident of Bully and Ring.
func TestDumbConforms(t *testing.T) {
	electiontest.Run(t, func(c election.Config) election.Elector { return &dumb{timing: c.Timing.WithDefaults()} })
}

// dumb waits for its turn, the lowest rank first, and then wins.
type dumb struct {
	timing election.Timing
	base   election.Base
	turn   time.Time
	won    bool
}

func (d *dumb) Name() string { return "dumb" }

func (d *dumb) Begin(now time.Time, r election.Round) {
	if !d.turn.IsZero() && d.base == r.Base {
		return
	}
	d.Cancel()
	if pos := r.Pos(r.Self); pos >= 0 {
		d.base, d.turn = r.Base, now.Add(d.timing.RTO*time.Duration(len(r.Candidates)-1-pos))
		d.Tick(now)
	}
}

func (d *dumb) Step(time.Time, election.Message, bool) {}

func (d *dumb) Tick(now time.Time) {
	if !d.turn.IsZero() && !now.Before(d.turn) {
		d.turn, d.won = time.Time{}, true
	}
}

func (d *dumb) Deadline() time.Time { return d.turn }

func (d *dumb) Ready() election.Ready {
	won := d.won
	d.won = false
	return election.Ready{Won: won}
}

func (d *dumb) Cancel() { d.turn, d.won = time.Time{}, false }
