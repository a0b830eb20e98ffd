package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"time"
)

// proc is one measured process, as the parent sees it.
type proc struct {
	*lab
	index   int
	cmd     *exec.Cmd
	in      io.WriteCloser
	addr    string
	id      uint32
	members int // of its last view
	coord   uint32
	gone    bool
	waiting map[int]chan report
	ready   report
	news    []report // views and coordinators, in order
}

// lab is the processes of one run.
type lab struct {
	ctx    context.Context
	set    settings
	group  string
	stderr io.Writer
	hosts  *hosts // nil: loopback
	procs  []*proc

	mu   sync.Mutex // guards all that readers change
	cond *sync.Cond
	err  error
	ref  int
}

func newLab(ctx context.Context, s settings, stderr io.Writer) *lab {
	l := &lab{
		ctx: ctx, set: s, stderr: stderr,
		group: fmt.Sprintf("239.255.%d.%d:%d", 100+rand.N(100), 1+rand.N(250), 20000+rand.N(20000)),
	}
	l.cond = sync.NewCond(&l.mu)
	return l
}

// spawn starts one process more; it does not wait until it has joined.
func (l *lab) spawn() (*proc, error) {
	p := &proc{lab: l, index: len(l.procs), waiting: make(map[int]chan report)}
	env, err := json.Marshal(childSettings{settings: l.set, Index: p.index, Group: l.group, Profile: l.set.profile})
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{self}
	if l.set.Hosts {
		if l.hosts == nil {
			if l.hosts, err = newHosts(l.set.Link); err != nil {
				return nil, err
			}
		}
		on, err := l.hosts.add()
		if err != nil {
			return nil, err
		}
		args = append(on, self)
	}
	p.cmd = exec.Command(args[0], args[1:]...) // #nosec G204 -- it is this program
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(env))
	p.cmd.Stderr = l.stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	l.procs = append(l.procs, p)
	go p.read(out)
	return p, nil
}

// start starts processes until there are n, and waits until all are ready.
func (l *lab) start(n int) error {
	for len(l.procs) < n {
		p, err := l.spawn()
		if err != nil {
			return err
		}
		// One after the other: what is measured is not how they all come at once.
		if err := l.until(func() bool { return p.ready.Ev != "" }); err != nil {
			return fmt.Errorf("process %d does not start: %w", p.index, err)
		}
	}
	return nil
}

// close ends all processes.
func (l *lab) close() {
	for _, p := range l.procs {
		p.kill()
	}
	if l.hosts != nil {
		l.hosts.remove()
	}
}

func (p *proc) kill() {
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	_ = p.cmd.Process.Kill()
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

func (p *proc) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var r report
		err := json.Unmarshal(lines.Bytes(), &r)
		p.mu.Lock()
		switch {
		case err != nil:
			p.fail(err)
		case r.Ref != 0:
			p.waiting[r.Ref] <- r
			delete(p.waiting, r.Ref)
		case r.Ev == "failed":
			p.fail(errors.New(r.Err))
		case r.Ev == "ready":
			p.ready, p.addr, p.id = r, r.Addr, r.ID
		case r.Ev == "view":
			p.members, p.coord = r.N, r.ID
			p.news = append(p.news, r)
		default:
			p.news = append(p.news, r)
		}
		p.cond.Broadcast()
		p.mu.Unlock()
	}
	p.mu.Lock()
	if !p.gone {
		p.fail(errors.New("ended"))
	}
	p.cond.Broadcast()
	p.mu.Unlock()
}

// fail notes why the run is no result.
func (p *proc) fail(err error) {
	if p.err == nil {
		p.err = fmt.Errorf("process %d: %w", p.index, err)
	}
	for ref, c := range p.waiting {
		c <- report{Ev: "failed", Err: p.err.Error()}
		delete(p.waiting, ref)
	}
}

// until waits until cond, which is called under the lock.
func (l *lab) until(cond func() bool) error {
	stop := context.AfterFunc(l.ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.cond.Broadcast()
	})
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.err != nil:
			return l.err
		case cond():
			return nil
		case l.ctx.Err() != nil:
			return l.ctx.Err()
		}
		l.cond.Wait()
	}
}

// begin asks a process for something.
func (p *proc) begin(c command) (<-chan report, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, p.err
	}
	p.ref++
	c.Ref = p.ref
	answer := make(chan report, 1)
	p.waiting[c.Ref] = answer
	b, err := json.Marshal(c)
	if err == nil {
		_, err = p.in.Write(append(b, '\n'))
	}
	return answer, err
}

// all asks some processes for the same thing at once, and returns what they
// answer, in their order.
func all(procs []*proc, ask func(*proc) command) ([]report, error) {
	answers := make([]<-chan report, len(procs))
	for i, p := range procs {
		var err error
		if answers[i], err = p.begin(ask(p)); err != nil {
			return nil, err
		}
	}
	return collect(procs, answers)
}

func collect(procs []*proc, answers []<-chan report) ([]report, error) {
	reports := make([]report, len(procs))
	for i, p := range procs {
		select {
		case r := <-answers[i]:
			if r.Ev == "failed" {
				return nil, fmt.Errorf("process %d: %s", p.index, r.Err)
			}
			reports[i] = r
		case <-p.ctx.Done():
			return nil, fmt.Errorf("process %d does not answer: %w", p.index, p.ctx.Err())
		}
	}
	return reports, nil
}

// every is the same command for each process.
func every(c command) func(*proc) command { return func(*proc) command { return c } }

// latest is when the last of the reports happened.
func latest(reports []report) time.Time {
	var at int64
	for _, r := range reports {
		at = max(at, r.At)
	}
	return time.Unix(0, at)
}
