package membership

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFixedIsPatientByTheClock(t *testing.T) {
	d := NewFixed(8 * time.Second)
	d.Arrived(epoch0)
	d.Arrived(epoch0.Add(time.Minute))
	require.Equal(t, 8*time.Second, d.Patience())
}

func TestPhi(t *testing.T) {
	feed := func(p Detector, gaps ...time.Duration) time.Duration {
		at := epoch0
		p.Arrived(at)
		for range 20 {
			for _, g := range gaps {
				at = at.Add(g)
				p.Arrived(at)
			}
		}
		return p.Patience()
	}
	s := time.Second
	require.Equal(t, 8*s, (&Phi{Initial: 8 * s, Floor: s, Ceil: 20 * s}).Patience(), "knows nothing yet")

	steady := feed(NewPhi(8*s), 5*s)
	require.Less(t, steady, 8*s, "a steady peer is suspected sooner")
	require.Greater(t, steady, 5*s)
	shaky := feed(NewPhi(8*s), 3*s, 7*s)
	require.Greater(t, shaky, 8*s, "a shaky one later")
	require.Equal(t, 16*s, feed(NewPhi(8*s), s, 30*s), "the ceiling")
	require.Equal(t, 4*s, feed(NewPhi(8*s), s), "the floor")

	// At the end of its patience the suspicion level is the threshold.
	p := &Phi{Threshold: 3, Floor: 1, Ceil: time.Hour, MinStd: 1}
	got := feed(p, 4*s, 6*s).Seconds()
	mean, std := 5.0, 1.0
	later := math.Erfc((got-mean)/(std*math.Sqrt2)) / 2
	require.InDelta(t, 3, -math.Log10(later), 0.05)
}

// TestPhiIgnoresTimeGoingBack: arrivals out of order are no gaps.
func TestPhiIgnoresTimeGoingBack(t *testing.T) {
	p := NewPhi(8 * time.Second).(*Phi)
	p.Arrived(epoch0.Add(time.Second))
	p.Arrived(epoch0)
	p.Arrived(epoch0.Add(time.Second))
	require.Zero(t, p.n)
}

func TestRoundTripEstimate(t *testing.T) {
	p := Classic()
	var r rtt
	require.Equal(t, p.RTO, r.rto(&p), "not measured yet")
	for range 50 {
		r.sample(30 * time.Millisecond)
	}
	require.Equal(t, p.MinRTO, r.rto(&p), "the floor")
	for range 50 {
		r.sample(100 * time.Millisecond)
	}
	require.InDelta(t, 100, r.rto(&p).Milliseconds(), 5)
	for range 50 {
		r.sample(10 * time.Second)
	}
	require.Equal(t, 4*p.RTO, r.rto(&p), "the ceiling")
	before := r
	r.sample(-1)
	require.Equal(t, before, r)
}
