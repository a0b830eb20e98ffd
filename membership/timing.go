package membership

import (
	"errors"
	"fmt"
	"time"
)

// Timing holds the durations of the protocol. Take Default or Classic, or let
// For derive one from a heartbeat and a time-out; Validate says what does not
// fit together. Only the ratios matter to correctness: longer times cost
// patience, shorter ones traffic and false suspicions, which verification
// absorbs.
type Timing struct {
	H          time.Duration // between heartbeats, and between keep-alives
	TProbe     time.Duration // silence of the coordinator after which members begin to verify it
	TElect     time.Duration // silence after which an election may begin, if W of verification went unanswered
	W          time.Duration // how long a verification lasts
	TMember    time.Duration // silence of a member after which the coordinator begins to verify it
	JoinWin    time.Duration // how long a newcomer looks for a group before it founds one
	RTO        time.Duration // an answer is overdue after this, before any round trip was measured
	MinRTO     time.Duration // lower bound of the measured RTO; the upper bound is 4 RTO
	MergeGap   time.Duration // how long a winner collects yielding groups into one view
	JoinBatch  time.Duration // how long a coordinator collects joiners into one view, if it admitted one just before
	Witnesses  int           // members that vouch for another during verification
	JoinMaxTry int           // for how many windows (of 1.25 JoinWin) a newcomer gives way to others with higher keys
}

// Default is the profile for a local network: a coordinator that vanished is
// replaced after two seconds, one that left evidence of its death at once.
//
//	H 500 ms       cheap on any network, and four beats fit in TElect
//	TProbe 1.2 s   2.4 H: two lost beats in a row, not one, start a verification
//	W 500 ms       ten round trips of a slow wireless network
//	TElect 2 s     what people take for a hang
//	TMember 2 s    as TElect
//	JoinWin 600 ms longer than H, so that a lone heartbeat is heard
//	RTO 50 ms      down to 20 ms as round trips are measured
//	MergeGap 100 ms, JoinBatch 20 ms
func Default() Timing { return For(500*time.Millisecond, 2*time.Second) }

// Classic is the profile of the textbooks: a beat every 5 s, and an election
// after 10 s of silence. A single lost beat reaches TProbe (8 s), so that the
// verification is over when the next is due.
func Classic() Timing { return For(5*time.Second, 10*time.Second) }

// For derives a profile from the interval between heartbeats and the silence
// after which the coordinator is given up. The time-out should be at least
// twice the heartbeat; Validate says if it is too short.
func For(heartbeat, timeout time.Duration) Timing {
	w := min(timeout/4, 2*time.Second)
	rto := min(heartbeat/10, 200*time.Millisecond)
	return Timing{
		H:          heartbeat,
		TProbe:     min(heartbeat*24/10, timeout-w),
		TElect:     timeout,
		W:          w,
		TMember:    max(3*heartbeat, timeout),
		JoinWin:    min(heartbeat*12/10, 2*time.Second),
		RTO:        rto,
		MinRTO:     min(rto*4/10, 50*time.Millisecond),
		MergeGap:   min(heartbeat/5, 250*time.Millisecond),
		JoinBatch:  min(heartbeat/25, 50*time.Millisecond),
		Witnesses:  3,
		JoinMaxTry: 4,
	}
}

// Validate reports all faults at once, each as an error that wraps ErrConfig.
func (t Timing) Validate() error {
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("%w: %s", ErrConfig, fmt.Sprintf(format, args...)))
		}
	}
	fault(t.H < time.Millisecond, "H is %v, less than 1 ms", t.H)
	fault(t.H > time.Hour, "H is %v, more than an hour", t.H)
	fault(t.MinRTO <= 0, "MinRTO is %v, not positive", t.MinRTO)
	fault(t.RTO < t.MinRTO, "RTO (%v) is less than MinRTO (%v)", t.RTO, t.MinRTO)
	fault(t.RTO > t.H, "RTO (%v) is more than H (%v)", t.RTO, t.H)
	fault(t.W < 2*t.RTO, "W (%v) is less than two RTO (%v): no verification could be answered", t.W, t.RTO)
	fault(t.TProbe <= t.H, "TProbe (%v) is not more than H (%v): every beat would be late", t.TProbe, t.H)
	fault(t.TElect < 2*t.H, "TElect (%v) is less than two H (%v): one lost beat would do", t.TElect, t.H)
	fault(t.TElect < t.TProbe+t.W, "TElect (%v) is less than TProbe + W (%v)", t.TElect, t.TProbe+t.W)
	fault(t.TMember < 2*t.H, "TMember (%v) is less than two H (%v)", t.TMember, t.H)
	fault(t.JoinWin < 2*t.RTO, "JoinWin (%v) is less than two RTO (%v): no answer would be in time", t.JoinWin, t.RTO)
	fault(t.MergeGap < 0, "MergeGap (%v) is negative", t.MergeGap)
	fault(t.JoinBatch < 0, "JoinBatch (%v) is negative", t.JoinBatch)
	fault(t.Witnesses < 0 || t.Witnesses > 16, "Witnesses is %d, not in 0…16", t.Witnesses)
	fault(t.JoinMaxTry < 0 || t.JoinMaxTry > 64, "JoinMaxTry is %d, not in 0…64", t.JoinMaxTry)
	return errors.Join(errs...)
}
