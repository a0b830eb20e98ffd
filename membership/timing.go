package membership

import "time"

// Timing holds the durations of the protocol. Take Default or Classic, or let
// For derive one from a heartbeat and a time-out; Validate says what does not
// fit together.
type Timing struct {
	H          time.Duration // between heartbeats, and between keep-alives
	TProbe     time.Duration // silence of the coordinator after which members begin to verify it
	TElect     time.Duration // silence after which an election may begin, if W of verification went unanswered
	W          time.Duration // how long a verification lasts
	TMember    time.Duration // silence of a member after which the coordinator begins to verify it
	JoinWin    time.Duration // how long a newcomer looks for a group before it founds one
	RTO        time.Duration // an answer is overdue after this, before any round trip was measured
	MinRTO     time.Duration // lower bound of the measured RTO
	MergeGap   time.Duration // how long a winner collects yielding groups into one view
	JoinBatch  time.Duration // how long a coordinator collects joiners into one view, if it admitted one just before
	Witnesses  int           // members that vouch for another during verification
	JoinMaxTry int           // how often a newcomer defers to another with a higher key
}
