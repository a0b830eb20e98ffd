package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// measure does one run.
func measure(ctx context.Context, s settings, stderr io.Writer) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	l := newLab(ctx, s, stderr)
	defer l.close()
	r := result{settings: s, Seconds: map[string]float64{}}
	err := map[string]func(*lab, *result) error{
		"throughput": throughput, "latency": latency, "loss": latency, "failover": failover,
		"join": join, "catchup": catchup, "heal": heal, "idle": idle,
	}[s.Mode](l, &r)
	if err != nil {
		return r, fmt.Errorf("%s: no result: %w", s.Mode, err)
	}
	return r, nil
}

// ready starts the processes and makes them know each other.
func (l *lab) ready() error {
	if err := l.start(l.set.Nodes); err != nil {
		return err
	}
	if !l.set.Raw {
		_, err := all(l.procs, every(command{Op: "agreed", N: l.set.Nodes}))
		return err
	}
	_, err := all(l.procs, func(p *proc) command {
		c := command{Op: "connect"}
		for _, q := range l.procs {
			if q != p {
				c.Peers = append(c.Peers, q.addr)
			}
		}
		return c
	})
	return err
}

// talk makes the first processes send total messages between them, on top of
// before that were sent earlier, and returns when the first was sent and when
// the last was delivered everywhere.
func (l *lab) talk(before, total int, rate float64) (from, to time.Time, err error) {
	senders := l.procs[:l.set.Senders]
	share := func(i int) int { return (total + l.set.Senders - 1 - i) / l.set.Senders }
	first := func(i int) int { return (before + l.set.Senders - 1 - i) / l.set.Senders }
	awaited := make([]<-chan report, len(l.procs))
	for i, p := range l.procs {
		if awaited[i], err = p.begin(command{Op: "await", Count: before + total}); err != nil {
			return from, to, err
		}
	}
	sent, err := all(senders, func(p *proc) command {
		return command{Op: "send", Count: share(p.index), First: first(p.index), Rate: rate / float64(len(senders))}
	})
	if err != nil {
		return from, to, err
	}
	reports, err := collect(l.procs, awaited)
	if err != nil {
		return from, to, err
	}
	begun := sent[0].From
	for _, r := range sent {
		begun = min(begun, r.From)
	}
	return time.Unix(0, begun), latest(reports), nil
}

// check fails unless every process delivered so many messages, and the
// histories are equal. What came twice, late or not at all has failed already.
func (l *lab) check(total int) ([]report, error) {
	if !l.set.Raw {
		if _, err := all(l.procs, every(command{Op: "agreed", N: len(l.procs)})); err != nil {
			return nil, err
		}
	}
	reports, err := all(l.procs, every(command{Op: "usage"}))
	if err != nil {
		return nil, err
	}
	for i, r := range reports {
		if r.N != total {
			return nil, fmt.Errorf("process %d delivered %d messages of %d", i, r.N, total)
		}
		if want := l.set.past(); r.Past != want {
			return nil, fmt.Errorf("process %d delivered %d messages of the past, which has %d", i, r.Past, want)
		}
		if r.Digest != reports[0].Digest {
			return nil, fmt.Errorf("processes 0 and %d do not hold the same history", i)
		}
	}
	return reports, nil
}

// profile begins the profiles of all processes, or ends them.
func (l *lab) profile(begin bool) error {
	c := command{Op: "profile"}
	if begin {
		c.Count = 1
	}
	_, err := all(l.procs, every(c))
	return err
}

// before says what all processes have used so far, and begins their profiles.
func (l *lab) before() ([]report, error) {
	used, err := all(l.procs, every(command{Op: "usage"}))
	if err != nil {
		return nil, err
	}
	return used, l.profile(true)
}

func throughput(l *lab, r *result) error {
	if err := l.ready(); err != nil {
		return err
	}
	warm := l.set.Messages / 20
	if _, _, err := l.talk(0, warm, 0); err != nil {
		return err
	}
	before, err := l.before()
	if err != nil {
		return err
	}
	from, to, err := l.talk(warm, l.set.Messages, 0)
	if err != nil {
		return err
	}
	if err := l.profile(false); err != nil {
		return err
	}
	after, err := l.check(warm + l.set.Messages)
	if err != nil {
		return err
	}
	r.Seconds["all"] = to.Sub(from).Seconds()
	r.PerSecond = float64(l.set.Messages) / to.Sub(from).Seconds()
	var cpu time.Duration
	for i := range after {
		cpu += after[i].CPU - before[i].CPU
		r.PeakRSS = max(r.PeakRSS, after[i].Peak)
		r.Pieces += after[i].Pieces
	}
	r.CPUPerDelivery = float64(cpu.Microseconds()) / float64(l.set.Messages*len(l.procs))
	r.Delivered = l.set.Messages
	return nil
}

func latency(l *lab, r *result) error {
	if err := l.ready(); err != nil {
		return err
	}
	if l.set.Mode == "loss" {
		if _, err := all(l.procs, every(command{Op: "loss", Loss: l.set.Loss})); err != nil {
			return err
		}
	}
	total := int(l.set.Rate * l.set.Duration.Seconds())
	if err := l.profile(true); err != nil {
		return err
	}
	from, to, err := l.talk(0, total, l.set.Rate)
	if err != nil {
		return err
	}
	if err := l.profile(false); err != nil {
		return err
	}
	if l.set.Mode == "loss" {
		if _, err := all(l.procs, every(command{Op: "loss"})); err != nil {
			return err
		}
	}
	reports, err := l.check(total)
	if err != nil {
		return err
	}
	var us []int64
	for _, p := range reports {
		us = append(us, p.Latencies...)
		r.PeakRSS = max(r.PeakRSS, p.Peak)
	}
	if want := total * (len(l.procs) - 1); len(us) != want {
		return fmt.Errorf("%d latencies of %d", len(us), want)
	}
	slices.Sort(us)
	at := func(q float64) float64 { return float64(us[int(q*float64(len(us)-1))]) / 1000 }
	r.P50, r.P99, r.Max = at(0.5), at(0.99), at(1)
	r.Seconds["all"] = to.Sub(from).Seconds()
	r.Delivered = total
	return nil
}

// coordinator is the process that coordinates.
func (l *lab) coordinator() (*proc, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.procs {
		if p.id == l.procs[0].coord {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no process is the coordinator %d", l.procs[0].coord)
}

func failover(l *lab, r *result) error {
	if err := l.ready(); err != nil {
		return err
	}
	old, err := l.coordinator()
	if err != nil {
		return err
	}
	survivors := slices.DeleteFunc(slices.Clone(l.procs), func(p *proc) bool { return p == old })
	seen := make([]int, len(survivors))
	l.mu.Lock()
	for i, p := range survivors {
		seen[i] = len(p.news)
	}
	l.mu.Unlock()
	at := time.Now()
	switch l.set.Fault {
	case "kill":
		old.kill()
	case "stop":
		if err := stop(old.cmd.Process); err != nil {
			return err
		}
	case "cut":
		var others []string
		for _, p := range survivors {
			others = append(others, p.addr)
		}
		if _, err := all([]*proc{old}, every(command{Op: "cut", Peers: others})); err != nil {
			return err
		}
	}
	known := make([]report, len(survivors))
	err = l.until(func() bool {
		for i, p := range survivors {
			for _, n := range p.news[seen[i]:] {
				if n.Ev == "coordinator" && n.ID != old.id {
					known[i] = n
				}
			}
			if known[i].ID == 0 || known[i].ID != known[0].ID {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	r.Seconds["known"] = latest(known).Sub(at).Seconds()
	return nil
}

// arrive starts one process more.
func (l *lab) arrive() (p *proc, from time.Time, err error) {
	from = time.Now()
	p, err = l.spawn()
	return p, from, err
}

func join(l *lab, r *result) error {
	n := l.set.Nodes
	if err := l.start(n - 1); err != nil {
		return err
	}
	if _, err := all(l.procs, every(command{Op: "agreed", N: n - 1})); err != nil {
		return err
	}
	p, from, err := l.arrive()
	if err != nil {
		return err
	}
	var last int64
	err = l.until(func() bool {
		last = p.ready.At
		for _, p := range l.procs {
			i := slices.IndexFunc(p.news, func(r report) bool { return r.Ev == "view" && r.N == n })
			if i < 0 {
				return false
			}
			last = max(last, p.news[i].At)
		}
		return p.ready.Ev != ""
	})
	if err != nil {
		return err
	}
	r.Seconds["from_start"] = time.Unix(0, last).Sub(from).Seconds()
	r.Seconds["from_join"] = time.Unix(0, last).Sub(time.Unix(0, p.ready.From)).Seconds()
	return nil
}

func catchup(l *lab, r *result) error {
	l.set.Senders = 1
	if err := l.start(1); err != nil {
		return err
	}
	if _, _, err := l.talk(0, l.set.Messages, 0); err != nil {
		return err
	}
	p, from, err := l.arrive()
	if err != nil {
		return err
	}
	done, err := all([]*proc{p}, every(command{Op: "await", Count: l.set.Messages}))
	if err != nil {
		return err
	}
	r.Seconds["from_start"] = latest(done).Sub(from).Seconds()
	r.Seconds["from_join"] = latest(done).Sub(time.Unix(0, p.ready.From)).Seconds()
	if err := l.profile(false); err != nil {
		return err
	}
	reports, err := l.check(l.set.Messages)
	if err != nil {
		return err
	}
	r.PeakRSS = reports[1].Peak
	r.Delivered = l.set.Messages
	return nil
}

// apart is what is said on each side of a split.
const apart = 120

func heal(l *lab, r *result) error {
	if err := l.ready(); err != nil {
		return err
	}
	half := len(l.procs) / 2
	sides := [][]*proc{l.procs[:half], l.procs[half:]}
	for i, side := range sides {
		var others []string
		for _, p := range sides[1-i] {
			others = append(others, p.addr)
		}
		if _, err := all(side, every(command{Op: "cut", Peers: others})); err != nil {
			return err
		}
	}
	for _, side := range sides {
		if _, err := all(side, every(command{Op: "agreed", N: len(side)})); err != nil {
			return err
		}
		// One of each side says it all: a process numbers its own messages.
		if _, err := all(side[:1], every(command{Op: "send", Count: apart})); err != nil {
			return err
		}
		if _, err := all(side, every(command{Op: "await", Count: apart})); err != nil {
			return err
		}
	}
	merged := make([]<-chan report, len(l.procs))
	from := time.Now()
	if _, err := all(l.procs, every(command{Op: "heal"})); err != nil {
		return err
	}
	for i, p := range l.procs {
		var err error
		if merged[i], err = p.begin(command{Op: "agreed", N: len(l.procs)}); err != nil {
			return err
		}
	}
	reports, err := collect(l.procs, merged)
	if err != nil {
		return err
	}
	r.Seconds["merged"] = latest(reports).Sub(from).Seconds()
	if _, err := all(l.procs, every(command{Op: "await", Count: 2 * apart})); err != nil {
		return err
	}
	_, err = l.check(2 * apart)
	return err
}

func idle(l *lab, r *result) error {
	if err := l.ready(); err != nil {
		return err
	}
	before, err := l.before()
	if err != nil {
		return err
	}
	select {
	case <-time.After(l.set.Duration):
	case <-l.ctx.Done():
		return l.ctx.Err()
	}
	if err := l.profile(false); err != nil {
		return err
	}
	after, err := all(l.procs, every(command{Op: "usage"}))
	if err != nil {
		return err
	}
	for i := range after {
		share := (after[i].CPU - before[i].CPU).Seconds() / time.Unix(0, after[i].At).Sub(time.Unix(0, before[i].At)).Seconds()
		r.IdleCPU = max(r.IdleCPU, share)
		r.RSS = max(r.RSS, after[i].RSS)
	}
	return nil
}
