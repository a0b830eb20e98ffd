package election_test

import (
	"fmt"
	"time"

	"github.com/seed-885536be/p2p/election"
)

// member is a program that takes part in elections and has no other part of
// this module.
type member struct {
	name    string
	key     election.Key
	elector election.Elector
	round   election.Round
	leader  string
}

// packet is what a network carries in these examples: an elector's message, or
// the announcement of a winner.
type packet struct {
	to, from  *member
	message   election.Message
	announced bool
}

// elect lets the first member find the coordinator gone, and carries packets
// until there are none left. A program would read them from a socket, and would
// also call Tick at the elector's Deadline.
func elect(create election.New, names ...string) {
	base := election.Base{Ctr: 7, Leader: election.Key{15: 99}, Inc: 1}
	var members []*member
	var candidates []election.Candidate
	for i, name := range names {
		m := &member{name: name, key: election.Key{15: byte(len(names) - i)}, elector: create(election.Config{})}
		members = append(members, m)
		candidates = append(candidates, election.Candidate{Key: m.key, Inc: 1})
	}
	for _, m := range members {
		m.round = election.Round{Base: base, Self: m.key, Candidates: candidates}
	}
	now := time.Unix(0, 0)
	var network []packet

	// act sends what an elector wants sent, and announces it if it has won.
	act := func(m *member) {
		ready := m.elector.Ready()
		for _, out := range ready.Out {
			out.Msg.From, out.Msg.Inc = m.key, 1
			for _, to := range members {
				if to != m && (out.To == to.key || out.To == election.Key{}) {
					network = append(network, packet{to: to, from: m, message: out.Msg})
				}
			}
		}
		if ready.Won {
			m.leader = m.name
			for _, to := range members {
				if to != m {
					network = append(network, packet{to: to, from: m, announced: true})
				}
			}
		}
	}

	last := members[len(members)-1]
	last.elector.Begin(now, last.round)
	act(last)
	for len(network) > 0 {
		p := network[0]
		network = network[1:]
		switch m := p.to; {
		case p.announced:
			fmt.Printf("%s to %s: I coordinate\n", p.from.name, m.name)
			m.leader = p.from.name
			m.elector.Cancel()
		case m.leader != "":
			// The election is over for this member.
		default:
			fmt.Printf("%s to %s: %v\n", p.from.name, m.name, p.message.Kind)
			if p.message.Candidacy() {
				invited := m.round
				invited.Invited = true
				m.elector.Begin(now, invited)
			}
			m.elector.Step(now, p.message, false)
			act(m)
		}
	}
}

// An election without any other package of this module: three programs that
// know each other, wired by a loop. The highest rank is named first; cleo, the
// lowest, notices that the coordinator is gone.
func Example() {
	elect(election.NewBully, "ada", "ben", "cleo")
	// Output:
	// cleo to ada: ELECTION
	// cleo to ben: ELECTION
	// ada to ben: I coordinate
	// ada to cleo: I coordinate
}

func ExampleNewRing() {
	elect(election.NewRing, "ada", "ben", "cleo")
	// Output:
	// cleo to ada: ELECTION
	// cleo to ben: ELECTION
	// cleo to ben: TOKEN
	// ada to ben: ELECTION
	// ada to cleo: ELECTION
	// ada to cleo: TOKEN
	// ben to cleo: TOKEN_ACK
	// ben to ada: TOKEN
	// cleo to ada: TOKEN_ACK
	// cleo to ben: TOKEN
	// ada to ben: TOKEN_ACK
	// ben to cleo: TOKEN_ACK
	// ben to ada: TOKEN
	// ada to ben: TOKEN_ACK
	// ada to ben: I coordinate
	// ada to cleo: I coordinate
}

// byTurn is an Elector of one's own: candidates take turns by rank, and the
// first whose turn comes wins. It needs no message at all, and no more than the
// caller's announcement to stop the others.
type byTurn struct {
	base election.Base
	turn time.Time
	won  bool
}

func newByTurn(election.Config) election.Elector { return new(byTurn) }

func (e *byTurn) Name() string { return "by turn" }

func (e *byTurn) Begin(now time.Time, r election.Round) {
	if e.base == r.Base && !e.turn.IsZero() {
		return // this round runs already
	}
	e.Cancel()
	if pos := r.Pos(r.Self); pos >= 0 {
		e.base, e.turn = r.Base, now.Add(time.Duration(pos)*time.Second)
		e.Tick(now)
	}
}

func (e *byTurn) Step(time.Time, election.Message, bool) {}

func (e *byTurn) Tick(now time.Time) {
	if !e.turn.IsZero() && !now.Before(e.turn) {
		e.turn, e.won = time.Time{}, true
	}
}

func (e *byTurn) Deadline() time.Time { return e.turn }

func (e *byTurn) Ready() election.Ready {
	ready := election.Ready{Won: e.won}
	e.won = false
	return ready
}

func (e *byTurn) Cancel() { *e = byTurn{} }

// An algorithm of one's own. The package electiontest checks that it keeps what
// an Elector promises.
func ExampleElector() {
	round := election.Round{Base: election.Base{Ctr: 7}, Candidates: []election.Candidate{
		{Key: election.Key{15: 3}, Inc: 1}, {Key: election.Key{15: 2}, Inc: 1}, {Key: election.Key{15: 1}, Inc: 1},
	}}
	now := time.Unix(0, 0)
	for _, c := range round.Candidates[1:] { // the highest is dead
		round.Self = c.Key
		var create election.New = newByTurn
		e := create(election.Config{})
		e.Begin(now, round)
		fmt.Printf("member %d has its turn after %v", c.Key[15], e.Deadline().Sub(now))
		e.Tick(now.Add(time.Second))
		fmt.Printf("; has it won then? %v\n", e.Ready().Won)
	}
	// Output:
	// member 2 has its turn after 1s; has it won then? true
	// member 1 has its turn after 2s; has it won then? false
}
