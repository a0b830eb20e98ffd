package membership

import (
	"math"
	"time"
)

// Detector says how long a peer may be silent before it is suspected. Each
// watched peer has its own. Suspicion only begins a verification; it evicts
// nobody and elects nobody.
type Detector interface {
	// Arrived records a sign of life.
	Arrived(at time.Time)
	// Patience is the silence after which the peer is to be suspected, as far
	// as the arrivals so far tell.
	Patience() time.Duration
}

// NewDetector makes the Detector of one peer. The argument is what Timing says
// of its kind: TProbe for the coordinator, TMember for a member.
type NewDetector func(patience time.Duration) Detector

// NewFixed is the Detector of constant patience, and the default.
func NewFixed(patience time.Duration) Detector { return fixed(patience) }

type fixed time.Duration

func (fixed) Arrived(time.Time)         {}
func (f fixed) Patience() time.Duration { return time.Duration(f) }

// Phi is the accrual failure detector of Hayashibara, Défago, Yared and
// Katayama (SRDS 2004): it takes the gaps between arrivals to be normally
// distributed and suspects a peer when so long a silence has a probability
// below 10^−Threshold. Where the network is steady it suspects sooner than a
// constant would, and where it is not, later.
//
// A Phi belongs to one peer. NewPhi makes one with the usual parameters.
type Phi struct {
	Threshold float64       // suspicion level; 8 if zero
	Floor     time.Duration // lower bound of Patience
	Ceil      time.Duration // upper bound of Patience
	Initial   time.Duration // Patience until there are eight gaps
	MinStd    time.Duration // lower bound of the standard deviation

	last time.Time
	gaps [64]float64 // seconds; the newest 64
	n    int         // gaps recorded ever
}

// NewPhi is a Phi that stays between half and twice the given patience.
func NewPhi(patience time.Duration) Detector {
	return &Phi{Threshold: 8, Floor: patience / 2, Ceil: 2 * patience, Initial: patience, MinStd: patience / 20}
}

// Arrived implements Detector.
func (p *Phi) Arrived(at time.Time) {
	if !p.last.IsZero() && at.After(p.last) {
		p.gaps[p.n%len(p.gaps)] = at.Sub(p.last).Seconds()
		p.n++
	}
	if at.After(p.last) {
		p.last = at
	}
}

// Patience implements Detector.
func (p *Phi) Patience() time.Duration {
	n := min(p.n, len(p.gaps))
	if n < 8 {
		return p.Initial
	}
	var sum, sq float64
	for _, g := range p.gaps[:n] {
		sum += g
	}
	mean := sum / float64(n)
	for _, g := range p.gaps[:n] {
		sq += (g - mean) * (g - mean)
	}
	std := max(math.Sqrt(sq/float64(n)), p.MinStd.Seconds())
	threshold := p.Threshold
	if threshold <= 0 {
		threshold = 8
	}
	// P(gap > t) = erfc((t−mean)/(std·√2))/2 = 10^−threshold, solved for t.
	t := mean + std*math.Sqrt2*math.Erfcinv(2*math.Pow(10, -threshold))
	return max(p.Floor, min(p.Ceil, time.Duration(t*float64(time.Second))))
}
