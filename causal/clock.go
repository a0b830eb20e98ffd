package causal

import "time"

// When heads are drawn together without a message.
const (
	mergeHeads = 8               // at least so many
	mergeAfter = time.Second     // at the earliest, and
	mergeRange = 4 * time.Second // at most so much later: at random, so that mostly one node does it
)

// servingTimeout is how long a peer may leave the answer to its Pull stuck for
// lack of credit.
const servingTimeout = 10 * time.Second

// Tick implements Log.
func (m *Memory) Tick(now time.Time) {
	m.now = now
	if m.closed {
		return
	}
	if m.openCount > 0 && !now.Before(m.openUntil) {
		m.flush(now)
	}
	if m.pull != nil && !now.Before(m.pull.until) {
		m.giveUp()
	}
	if !m.checkAt.IsZero() && !now.Before(m.checkAt) {
		m.checkAt = time.Time{}
		m.expire()
		m.want()
		for _, p := range m.sorted {
			if !p.active {
				continue
			}
			m.overtake(p)
			if s := p.serving; s != nil && s.credit <= 0 && now.Sub(s.heard) >= servingTimeout {
				p.serving = nil
			}
		}
	}
	m.merge()
	m.settle()
}

// settle sets what depends on the time and on everything else.
func (m *Memory) settle() {
	if t := m.beatAt(); !t.IsZero() && !m.now.Before(t) {
		b := &m.beats
		b.asked = true
		if m.now.Sub(b.last) >= 25*time.Millisecond {
			b.quiet = m.now
		}
		m.out.SendBeat = true
	}
	m.repull()
	m.sweep()
	m.checkpoint()
	if t := m.nextCheck(); !t.IsZero() && (m.checkAt.IsZero() || t.Before(m.checkAt)) {
		m.checkAt = t
	}
	if m.others() < mergeHeads {
		m.mergeAt = time.Time{}
	} else if m.mergeAt.IsZero() {
		m.mergeAt = m.now.Add(mergeAfter + time.Duration(m.rng.Int64N(int64(mergeRange))))
	}
}

// nextCheck is when to look after what is missing, or the zero time.
func (m *Memory) nextCheck() time.Time {
	if len(m.pending.byHash) > 0 {
		return m.now.Add(wantDelay)
	}
	for _, p := range m.sorted {
		if p.active && (!p.aheadAt.IsZero() || p.serving != nil) {
			return m.now.Add(stall)
		}
	}
	return time.Time{}
}

// merge draws heads together that nobody's message has drawn together.
func (m *Memory) merge() {
	if m.mergeAt.IsZero() || m.now.Before(m.mergeAt) {
		return
	}
	m.mergeAt = time.Time{}
	if m.now.Sub(m.lastNew) < mergeAfter || m.pull != nil {
		return // not idle; settle sets another time
	}
	for m.others() > 0 {
		m.write(m.now, 0)
	}
}

// Deadline implements Log.
func (m *Memory) Deadline() time.Time {
	if m.closed {
		return time.Time{}
	}
	d := m.openUntil
	sooner := func(t time.Time) {
		if !t.IsZero() && (d.IsZero() || t.Before(d)) {
			d = t
		}
	}
	sooner(m.beatAt())
	sooner(m.checkAt)
	sooner(m.mergeAt)
	sooner(m.kept.at)
	if m.cfg.Compaction.on() {
		sooner(m.cp.at)
	}
	if m.pull != nil {
		sooner(m.pull.until)
	}
	for _, p := range m.sorted {
		if p.active {
			if m.pull == nil {
				sooner(p.pullAt)
			}
			if !m.ackDue(p) {
				sooner(m.ackAt(p))
			}
		}
	}
	return d
}
