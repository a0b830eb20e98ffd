package election

import "time"

// bullyState is a state of the Bully table in the package documentation.
type bullyState uint8

const (
	bullyIdle    bullyState = iota
	bullyStagger            // invited; higher candidates may come forward first
	bullyContend            // sending ELECTION
	bullyWait               // a higher candidate is at it
)

type bully struct {
	round
	state     bullyState
	timer     time.Time // in every state but Idle
	answered  bool      // in Stagger: the candidate that came first has its ANSWER
	tries     int       // in Contend: ELECTIONs sent
	postponed int       // in Wait: restarts of the timer
}

// NewBully returns an Elector that follows the Bully algorithm of Garcia-Molina
// (1982), hardened as the package documentation says: of the candidates that
// are alive, the one with the highest rank wins.
func NewBully(c Config) Elector { return &bully{round: newRound(c)} }

// Name implements Elector.
func (b *bully) Name() string { return "bully" }

// Begin implements Elector. Rows B1 to B5, and B17.
func (b *bully) Begin(now time.Time, r Round) {
	if b.runs(r.Base) {
		if !r.Invited && b.state == bullyStagger {
			b.contend(now)
		}
		return
	}
	b.Cancel()
	switch {
	case !b.start(r):
	case b.pos == 0:
		b.elected()
	case r.Invited:
		b.state, b.timer, b.answered = bullyStagger, now.Add(b.stagger()), false
	default:
		b.contend(now)
	}
}

// Step implements Elector. Rows B6 to B12.
func (b *bully) Step(now time.Time, m Message, live bool) {
	from := b.sender(m)
	if live || from == noSuchMember {
		return
	}
	higher := from < b.pos
	switch {
	case m.Kind == KindElection && !higher:
		b.answer(from)
	case m.Kind == KindElection && b.state == bullyWait:
		if b.postponed < maxPostponed {
			b.postponed++
			b.rest(now)
		}
	case m.Kind == KindElection, m.Kind == KindAnswer && higher && b.state == bullyContend:
		b.wait(now)
	}
}

// Tick implements Elector. Rows B13 to B16.
func (b *bully) Tick(now time.Time) {
	if b.state == bullyIdle || now.Before(b.timer) {
		return
	}
	switch {
	case b.state != bullyContend:
		b.contend(now)
	case b.tries < b.timing.Tries, b.late(now, b.timer) && b.tries < b.timing.Tries+maxPostponed:
		b.call(now)
	default:
		b.elected()
	}
}

// Deadline implements Elector.
func (b *bully) Deadline() time.Time { return b.timer }

// Cancel implements Elector. Row B17.
func (b *bully) Cancel() {
	b.stop()
	b.state, b.timer = bullyIdle, time.Time{}
}

// answer tells a lower candidate that this node is alive. Only the highest do,
// for everybody hears the same ELECTION; and who is about to contend answers
// only once, for its own ELECTION tells the others.
func (b *bully) answer(from int) {
	if b.pos >= b.timing.AnswerRanks || b.state == bullyStagger && b.answered {
		return
	}
	b.answered = true
	b.send(from, Message{Kind: KindAnswer})
}

func (b *bully) contend(now time.Time) {
	b.state, b.tries = bullyContend, 0
	b.call(now)
}

func (b *bully) call(now time.Time) {
	b.tries++
	b.notify()
	b.timer = now.Add(b.timing.RTO)
}

func (b *bully) wait(now time.Time) {
	b.state, b.postponed = bullyWait, 0
	b.rest(now)
}

func (b *bully) rest(now time.Time) {
	b.timer = now.Add(b.timing.TCoord + b.jitter(b.timing.RTO))
}

func (b *bully) elected() {
	b.win()
	b.state, b.timer = bullyIdle, time.Time{}
}
