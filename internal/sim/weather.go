package sim

import (
	"math/rand/v2"
	"time"
)

// Weather is what the network does to datagrams. Each receiver of a multicast
// has its own luck.
type Weather struct {
	Loss      float64 // probability that a copy is lost
	Duplicate float64 // probability that a packet is delivered twice
	// A packet takes Min to Max, all equally likely, so that packets sent
	// within Max-Min of each other may overtake.
	Min, Max time.Duration
	// With probability Spike it takes up to SpikeMax more.
	Spike    float64
	SpikeMax time.Duration
}

// Calm is a healthy local network.
var Calm = Weather{Min: time.Millisecond, Max: 3 * time.Millisecond}

// Lossy is Calm with a loss of p.
func Lossy(p float64) Weather {
	w := Calm
	w.Loss = p
	return w
}

func (w *Weather) delay(r *rand.Rand) time.Duration {
	d := w.Min
	if w.Max > w.Min {
		d += time.Duration(r.Int64N(int64(w.Max - w.Min)))
	}
	if w.Spike > 0 && r.Float64() < w.Spike {
		d += time.Duration(r.Int64N(int64(w.SpikeMax)))
	}
	return d
}

// datagram calls deliver with the delay of each copy that arrives.
func (w *Weather) datagram(r *rand.Rand, deliver func(time.Duration)) {
	copies := 1
	if w.Duplicate > 0 && r.Float64() < w.Duplicate {
		copies = 2
	}
	for range copies {
		if w.Loss > 0 && r.Float64() < w.Loss {
			continue
		}
		deliver(w.delay(r))
	}
}

// minRetransmit is the least retransmission time-out of a stream.
const minRetransmit = 200 * time.Millisecond

// frame is how long a frame takes on a stream, which repeats what is lost.
func (w *Weather) frame(r *rand.Rand) time.Duration {
	d := w.delay(r)
	for again := minRetransmit; w.Loss > 0 && r.Float64() < w.Loss && again < 16*minRetransmit; again *= 2 {
		d += again
	}
	return d
}
