package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/seed-885536be/p2p/membership"
)

// Storm is how long the faults of Chaos last, at the classic timing; it
// shrinks with the heartbeat interval, as do the two limits after it.
const (
	Storm       = 10 * time.Minute
	AgreeWithin = 150 * time.Second // of quiet, by when the group must be agreed
	StillAfter  = 90 * time.Second  // of quiet, after which no view may change
)

// Report is what came out of a run of Chaos.
type Report struct {
	Seed     uint64
	Hash     uint64
	Hosts    int
	Agreed   time.Duration // how long quiet took to bring agreement
	Last     time.Duration // when the last view was installed, after quiet began
	Err      error
	Count    Counters
	Views    int
	Installs int
}

// Chaos runs a group through ten minutes of random faults (at the classic
// timing), then through quiet. What kinds of fault there are, how many hosts,
// and how bad the weather is, follows from the seed. The error of the Report
// is the first violation, or says that quiet did not bring agreement, or not
// peace.
func Chaos(cfg Config) Report {
	r := rand.New(rand.NewPCG(cfg.Seed, 2))
	hosts := 2 + r.IntN(9)
	if r.IntN(20) == 0 {
		hosts = 16 + r.IntN(17)
	}
	cfg.Evidence = r.IntN(2) == 0
	cfg.Seniority = r.IntN(8) == 0
	w := New(cfg, hosts)
	scale := func(d time.Duration) time.Duration {
		return time.Duration(float64(d) * float64(w.timing.H) / float64(membership.Classic().H))
	}
	c := chaos{w: w, r: r, scale: scale, still: r.IntN(4) == 0}
	c.run(scale(Storm))

	report := Report{Seed: cfg.Seed, Hosts: hosts}
	if w.err == nil {
		c.quiet()
		quiet := w.now
		var last int64
		observe := w.Observe
		w.Observe = func(p *Process, in membership.Installed) {
			last = w.now
			if time.Duration(w.now-quiet) > scale(StillAfter) {
				w.fail("%v after quiet began %v installs %v for %v", time.Duration(w.now-quiet), p, show(in.View), in.Cause)
			}
			if observe != nil {
				observe(p, in)
			}
		}
		took, ok := w.Await(scale(AgreeWithin), func() bool { return w.Agreed() == nil })
		if report.Agreed = took; ok {
			w.Run(scale(AgreeWithin) - took)
		}
		if err := w.Agreed(); w.err == nil && err != nil {
			w.fail("%v after quiet began: %w", time.Duration(w.now-quiet), err)
		}
		report.Last = time.Duration(max(0, last-quiet))
	}
	if w.err == nil {
		if err := w.check.Finish(); err != nil {
			w.fail("%w", err)
		}
	}
	report.Err, report.Hash, report.Count = w.err, w.hash, w.Count
	report.Views, report.Installs = w.check.Views()
	return report
}

type chaos struct {
	w     *World
	r     *rand.Rand
	scale func(time.Duration) time.Duration
	still bool // faults are rare, so that groups have time to settle in between
}

// between is a random duration.
func (c *chaos) between(from, to time.Duration) time.Duration {
	return c.scale(from + time.Duration(c.r.Int64N(int64(to-from))))
}

// some is a host at random.
func (c *chaos) some() int { return 1 + c.r.IntN(len(c.w.hosts)) }

func (c *chaos) run(storm time.Duration) {
	w := c.w
	c.weather()
	for i := range w.hosts {
		if c.r.IntN(4) == 0 {
			w.After(c.between(0, 20*time.Second), func() { c.start(i + 1) })
		} else {
			c.start(i + 1)
		}
	}
	gap := 12 * time.Second
	if c.still {
		gap = time.Minute
	}
	for end := w.now + int64(storm); w.now < end && w.err == nil; {
		w.Run(c.between(0, 2*gap))
		c.fault()
	}
}

func (c *chaos) start(i int) {
	if p := c.w.At(i); p != nil && p.alive {
		return
	}
	if c.r.IntN(2) == 0 {
		c.w.StartHere(i)
	} else {
		c.w.Start(i)
	}
}

// weather is what seeds differ in most: most storms have loss, some have
// packets that come late.
func (c *chaos) weather() {
	w := c.w
	w.Weather = Calm
	if c.r.IntN(5) > 0 {
		w.Weather.Loss = 0.3 * c.r.Float64()
	}
	if c.r.IntN(2) == 0 {
		w.Weather.Duplicate = 0.3 * c.r.Float64()
	}
	switch c.r.IntN(4) {
	case 0:
		w.Weather.Max = c.scale(200 * time.Millisecond)
	case 1:
		w.Weather.Spike, w.Weather.SpikeMax = 0.1*c.r.Float64(), c.scale(3*time.Second)
	}
}

// fault makes one thing happen.
func (c *chaos) fault() {
	w, i := c.w, c.some()
	p := w.At(i)
	running := p != nil && p.alive
	switch n := c.r.IntN(100); {
	case n < 16:
		if !running {
			c.start(i)
			return
		}
		if c.r.IntN(3) == 0 {
			w.Unplug(i)
		} else {
			w.Kill(i)
		}
		if c.r.IntN(2) == 0 { // a restart
			w.After(c.between(0, 4*time.Second), func() { c.start(i) })
		}
	case n < 24: // whoever leads
		if running && p.Leader() > 0 && p.Leader() <= len(w.hosts) {
			w.Kill(p.Leader())
		}
	case n < 36:
		for j := range w.hosts {
			if c.r.IntN(2) == 0 {
				c.start(j + 1)
			}
		}
	case n < 46:
		w.Suspend(i, c.between(0, 40*time.Second))
	case n < 58:
		c.split()
		if c.r.IntN(2) == 0 {
			w.After(c.between(0, time.Minute), w.Heal)
		}
	case n < 70:
		w.Heal()
	case n < 80:
		for range 1 + c.r.IntN(3) {
			if from, to := c.some(), c.some(); from != to {
				w.Cut(from, to)
			}
		}
	case n < 85:
		h := w.hosts[i-1]
		h.Deaf, h.Mute = c.r.IntN(2) == 0, c.r.IntN(4) == 0
		w.trace(nil, "host %d deaf %v mute %v", i, h.Deaf, h.Mute)
	case n < 90:
		c.weather()
	case n < 94:
		if running && c.r.IntN(2) == 0 {
			w.Leave(i)
		} else if running && p.Leader() > 0 && p.Leader() <= len(w.hosts) {
			if l := w.At(p.Leader()); l.alive {
				w.Leave(p.Leader())
			}
		}
	case n < 97:
		if running && !p.suspended {
			w.Elect(i)
		}
	default:
		if running {
			p.Step(membership.Rename{Name: fmt.Sprintf("n%d-%d", i, c.r.IntN(1000))})
		}
	}
}

func (c *chaos) split() {
	sides := make([][]int, 1+c.r.IntN(3))
	for i := range c.w.hosts {
		s := c.r.IntN(len(sides) + 1)
		if s < len(sides) {
			sides[s] = append(sides[s], i+1)
		}
	}
	c.w.Split(slices.DeleteFunc(sides, func(s []int) bool { return len(s) == 0 })...)
}

// quiet ends all faults. Processes that are down stay down.
func (c *chaos) quiet() {
	w := c.w
	w.trace(nil, "quiet")
	w.Heal()
	w.Weather = Calm
	if c.r.IntN(4) == 0 {
		w.Weather.Loss = 0.1
	}
	for i, h := range w.hosts {
		h.Deaf, h.Mute = false, false
		w.Resume(i + 1)
	}
	if len(w.Alive()) == 0 {
		c.start(c.some())
	}
}
