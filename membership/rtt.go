package membership

import "time"

// rtt estimates a round trip after RFC 6298. Only unambiguous pairs of request
// and answer are sampled (Karn's rule).
type rtt struct {
	smooth, dev time.Duration
}

func (r *rtt) sample(d time.Duration) {
	if d < 0 {
		return
	}
	if r.smooth == 0 {
		r.smooth, r.dev = max(d, 1), d/2
		return
	}
	r.dev = (3*r.dev + (r.smooth - d).Abs()) / 4
	r.smooth = max((7*r.smooth+d)/8, 1)
}

// rto is when an answer is overdue.
func (r *rtt) rto(t *Timing) time.Duration {
	if r == nil || r.smooth == 0 {
		return t.RTO
	}
	return min(max(r.smooth+4*r.dev, t.MinRTO), 4*t.RTO)
}
