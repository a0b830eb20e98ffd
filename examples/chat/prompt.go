package main

import (
	"fmt"

	"github.com/seed-885536be/p2p/p2pchat"
)

// prompts is the group's state in front of what is typed, in forms that get
// shorter: own ID and nick, the coordinator and the age of its heartbeat, view
// and size, how many members hold the same history and its digest, security.
// The room is named if it is another than at the start.
func prompts(s p2pchat.Status, room string) []string {
	self := fmt.Sprintf("#%d %s", s.Self.ID, harmlessNick(s.Self.Nick))
	if room != "" {
		room = harmlessNick(room) + " "
	}
	end := room + "> "
	switch s.Phase {
	case p2pchat.PhaseNew, p2pchat.PhaseJoining:
		return []string{"[joining] " + end, end}
	case p2pchat.PhaseSyncing:
		return []string{
			fmt.Sprintf("[%s | history %d/%d] %s", self, s.Digest.N, s.Known, end),
			fmt.Sprintf("[%d/%d] %s", s.Digest.N, s.Known, end), end,
		}
	case p2pchat.PhaseLeaving, p2pchat.PhaseClosed:
		return []string{"[leaving] " + end, end}
	}
	coordinator := fmt.Sprintf("c #%d", s.View.Coordinator.ID)
	switch {
	case s.Phase == p2pchat.PhaseElecting:
		coordinator = "c election"
	case s.View.Coordinator.Key == s.Self.Key:
		coordinator = "c you"
	}
	beat := coordinator
	if s.Phase != p2pchat.PhaseElecting && s.View.Coordinator.Key != s.Self.Key {
		beat += fmt.Sprintf(" hb %.1fs", s.Heartbeat.Seconds())
	}
	view := fmt.Sprintf("v%d n%d", s.View.Number, len(s.View.Members))
	same := fmt.Sprintf("= %d/%d", s.Same, s.Of)
	if !s.Converged() {
		same = fmt.Sprintf("~ %d/%d", s.Same, s.Of)
		if s.Known > s.Digest.N {
			same = fmt.Sprintf("~ %d/%d, %d to come", s.Same, s.Of, s.Known-s.Digest.N)
		}
	}
	digest := same + " " + s.Digest.String()[:4]
	return []string{
		fmt.Sprintf("[%s | %s | %s | %s | %s] %s", self, beat, view, digest, security(s), end),
		fmt.Sprintf("[%s | %s | %s | %s] %s", self, beat, view, digest, end),
		fmt.Sprintf("[%s | %s | %s | %s] %s", self, coordinator, view, same, end),
		fmt.Sprintf("[#%d | %s | %s] %s", s.Self.ID, coordinator, same, end),
		fmt.Sprintf("[#%d | %s] %s", s.Self.ID, coordinator, end),
		fmt.Sprintf("#%d %s", s.Self.ID, end), end, "> ",
	}
}

// roomToType is how many columns the prompt leaves, if the window has as many
// twice.
const roomToType = 24

// choosePrompt returns the longest form that leaves room to type.
func choosePrompt(forms []string, columns int) string {
	most := max(columns-roomToType, columns/2)
	for _, f := range forms {
		if textWidth(f) <= most {
			return f
		}
	}
	return "> "
}
