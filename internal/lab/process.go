//go:build unix

package lab

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// maxLine is what one line of the protocol may have, its end included.
const maxLine = 64 << 10

// Event is one line that a process said.
type Event struct {
	V    int       `json:"v"`
	Seq  int       `json:"seq"`
	T    time.Time `json:"t"`
	MS   int64     `json:"ms"`
	Node string    `json:"node"`
	ID   int       `json:"id"`
	Ev   string    `json:"ev"`
	Line []byte    `json:"-"` // the whole line
}

// As returns the fields of an event, or the data of a reply, as a T.
func As[T any](t testing.TB, from interface{ raw() []byte }) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(from.raw(), &v); err != nil {
		t.Fatalf("%v in: %s", err, from.raw())
	}
	return v
}

func (e Event) raw() []byte { return e.Line }

// Reply is the answer to one command.
type Reply struct {
	Ref  string          `json:"ref"`
	OK   bool            `json:"ok"`
	Data json.RawMessage `json:"data"`
	Err  struct {
		Code string `json:"code"`
		Text string `json:"text"`
	} `json:"err"`
}

func (r Reply) raw() []byte { return r.Data }

// Args are the arguments of a command.
type Args map[string]any

// Config says what to start.
type Config struct {
	Path string   // the program
	Args []string // its arguments
	Env  []string // added to the environment
	Host *Host    // where; nil: on this host
	Name string   // what the log calls it
	// Check says what is wrong with a line that the program has printed.
	Check func(line []byte) error
}

// Process is a running program that speaks the line protocol. What it says is
// checked as it comes: JSON in every line, hello first, numbered without a
// gap, nothing after bye. Its methods that take no testing.TB fail the test
// that started it, and are for that test's own goroutine.
type Process struct {
	t     testing.TB
	name  string
	check func(line []byte) error
	cmd   *exec.Cmd
	stdin io.WriteCloser
	refs  int

	mu     sync.Mutex
	events []Event
	faults []string      // violations of the protocol
	news   chan struct{} // closed and replaced with each event, and at the end
	stderr bytes.Buffer
	ended  chan struct{} // closed when the process is gone and all is read
}

// Start starts a program. It is killed at the end of the test, if it still
// runs then.
func Start(t testing.TB, c Config) *Process {
	t.Helper()
	p := &Process{t: t, name: c.Name, check: c.Check, news: make(chan struct{}), ended: make(chan struct{})}
	if c.Host != nil {
		p.cmd = c.Host.Command(c.Path, c.Args...)
	} else {
		p.cmd = exec.Command(c.Path, c.Args...)
	}
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Stderr = &locked{mu: &p.mu, w: &p.stderr}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(stdout)
	started.Lock()
	started.by[t]++
	started.Unlock()
	t.Cleanup(p.cleanup)
	return p
}

// started counts the processes of each test, which share the room in its log.
var started = struct {
	sync.Mutex
	by map[testing.TB]int
}{by: make(map[testing.TB]int)}

// locked is a writer under a lock.
type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// read takes in what the process says until it ends.
func (p *Process) read(stdout io.Reader) {
	defer close(p.ended)
	r := bufio.NewReaderSize(stdout, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			p.take(bytes.Clone(line), errors.Is(err, bufio.ErrBufferFull))
		}
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of a line that is too long
			_, err = r.ReadSlice('\n')
		}
		if err != nil {
			break
		}
	}
	p.cmd.Wait() // its result is read from ProcessState
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.news)
	p.news = nil
}

// take checks and keeps one line.
func (p *Process) take(line []byte, tooLong bool) {
	e := Event{Line: bytes.TrimSuffix(line, []byte("\n"))}
	err := json.Unmarshal(line, &e)
	p.mu.Lock()
	defer p.mu.Unlock()
	fault := func(format string, args ...any) {
		p.faults = append(p.faults, fmt.Sprintf(format, args...)+": "+abbreviate(line))
	}
	n := len(p.events)
	switch {
	case tooLong:
		fault("a line of over %d bytes", maxLine)
	case !bytes.HasSuffix(line, []byte("\n")):
		// Cut short by the end of the process, which may be killed at any time.
		return
	case err != nil:
		fault("%v", err)
	case e.V != 1 || e.Ev == "" || e.Node == "" || e.T.IsZero():
		fault("v, ev, node or t is missing")
	case n == 0 && e.Ev != "hello":
		fault("the first line is not hello")
	case n > 0 && e.Seq != p.events[n-1].Seq+1:
		fault("seq %d follows %d", e.Seq, p.events[n-1].Seq)
	case n > 0 && e.MS < p.events[n-1].MS:
		fault("ms went back from %d", p.events[n-1].MS)
	case n > 0 && p.events[n-1].Ev == "bye":
		fault("a line after bye")
	}
	if p.check != nil && err == nil && !tooLong {
		if err := p.check(line); err != nil {
			fault("%v", err)
		}
	}
	p.events = append(p.events, e)
	close(p.news)
	p.news = make(chan struct{})
}

// Name is what the log calls the process.
func (p *Process) Name() string { return p.name }

// Events returns all that was said so far, replies included.
func (p *Process) Events() []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.events[:len(p.events):len(p.events)]
}

// Mark is a place in what a process said: a number of events.
type Mark int

// Mark returns the present end of what was said.
func (p *Process) Mark() Mark { return Mark(len(p.Events())) }

// Since returns what was said after the mark.
func (p *Process) Since(m Mark) []Event { return p.Events()[m:] }

// Await returns the first event named ev after the mark for which ok is true
// (nil: the first at all), waiting for it if need be.
func (p *Process) Await(from Mark, ev string, ok func(Event) bool) Event {
	p.t.Helper()
	e, err := p.await(from, ev, ok)
	if err != nil {
		p.t.Fatalf("%s: %v while awaiting %s", p.name, err, ev)
	}
	return e
}

func (p *Process) await(from Mark, ev string, ok func(Event) bool) (Event, error) {
	limit := time.NewTimer(Patience)
	defer limit.Stop()
	for {
		p.mu.Lock()
		events, news := p.events, p.news
		p.mu.Unlock()
		for ; int(from) < len(events); from++ {
			if e := events[from]; e.Ev == ev && (ok == nil || ok(e)) {
				return e, nil
			}
		}
		if news == nil {
			return Event{}, fmt.Errorf("it ended (%v)", p.cmd.ProcessState)
		}
		select {
		case <-news:
		case <-limit.C:
			return Event{}, fmt.Errorf("nothing for %v", Patience)
		}
	}
}

// Pending is a command that was given and may not be answered yet.
type Pending struct {
	p    *Process
	op   string
	ref  string
	mark Mark
}

// Begin gives a command and does not wait for its reply.
func (p *Process) Begin(op string, args Args) *Pending {
	p.t.Helper()
	p.refs++
	pending := &Pending{p: p, op: op, ref: "r" + strconv.Itoa(p.refs), mark: p.Mark()}
	cmd := map[string]any{"op": op, "ref": pending.ref}
	for k, v := range args {
		cmd[k] = v
	}
	line, err := json.Marshal(cmd)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.stdin.Write(append(line, '\n')); err != nil {
		p.t.Fatalf("%s: %s: %v", p.name, op, err)
	}
	return pending
}

// Ref is what the reply will carry.
func (c *Pending) Ref() string { return c.ref }

// Reply waits for the reply, whichever it is.
func (c *Pending) Reply() Reply {
	c.p.t.Helper()
	var r Reply
	_, err := c.p.await(c.mark, "reply", func(e Event) bool {
		r = Reply{}
		return json.Unmarshal(e.Line, &r) == nil && r.Ref == c.ref
	})
	if err != nil {
		c.p.t.Fatalf("%s: %s: %v", c.p.name, c.op, err)
	}
	return r
}

// OK waits for the reply and fails the test if it is an error.
func (c *Pending) OK() Reply {
	c.p.t.Helper()
	r := c.Reply()
	if !r.OK {
		c.p.t.Fatalf("%s: %s: %s: %s", c.p.name, c.op, r.Err.Code, r.Err.Text)
	}
	return r
}

// Do gives a command and waits for its reply, which must not be an error.
func (p *Process) Do(op string, args Args) Reply {
	p.t.Helper()
	return p.Begin(op, args).OK()
}

// CloseInput ends the process's standard input.
func (p *Process) CloseInput() { p.stdin.Close() }

// Signal sends a signal.
func (p *Process) Signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%s: %v: %v", p.name, s, err)
	}
}

// Kill ends the process by SIGKILL, which it cannot notice, and returns when
// it is gone.
func (p *Process) Kill() {
	p.t.Helper()
	p.Signal(syscall.SIGKILL)
	p.Exit()
}

// Memory is how many bytes of the process are in memory now: its resident set.
func (p *Process) Memory() int64 {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	return resident * int64(os.Getpagesize())
}

// Freeze stops the process as a closed laptop lid does; Thaw lets it go on.
func (p *Process) Freeze() { p.t.Helper(); p.Signal(syscall.SIGSTOP) }

// Thaw ends what Freeze began.
func (p *Process) Thaw() { p.t.Helper(); p.Signal(syscall.SIGCONT) }

// Exit waits for the end of the process and returns its exit code, -1 if a
// signal ended it.
func (p *Process) Exit() int {
	p.t.Helper()
	limit := time.NewTimer(Patience)
	defer limit.Stop()
	select {
	case <-p.ended:
	case <-limit.C:
		p.t.Fatalf("%s: still there after %v", p.name, Patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Stderr returns what the process wrote to standard error so far.
func (p *Process) Stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// cleanup ends the process and reports what was wrong with it.
func (p *Process) cleanup() {
	p.stdin.Close()
	p.cmd.Process.Signal(syscall.SIGKILL) // fails if it is gone already
	<-p.ended
	for i, f := range p.faults {
		if i == maxFaults {
			p.t.Errorf("%s: and %d more", p.name, len(p.faults)-i)
			break
		}
		p.t.Errorf("%s: %s", p.name, f)
	}
	stderr := p.Stderr()
	for _, sign := range []string{"DATA RACE", "panic: ", "fatal error: "} {
		if strings.Contains(stderr, sign) {
			p.t.Errorf("%s: %s:\n%s", p.name, sign, stderr)
		}
	}
	if p.t.Failed() {
		// Kept with go test -artifacts.
		var whole bytes.Buffer
		for _, e := range p.Events() {
			whole.Write(append(e.Line, '\n'))
		}
		_ = os.WriteFile(filepath.Join(p.t.ArtifactDir(), p.name+".jsonl"), whole.Bytes(), 0o600)
		started.Lock()
		room := max(2, min(excerptLines, testLines/started.by[p.t]))
		started.Unlock()
		p.t.Logf("%s (%s, %v):\n%s%s", p.name, strings.Join(p.cmd.Args, " "), p.cmd.ProcessState, excerpt(p.transcript(), room), excerpt(stderr, room))
	}
}

const maxFaults = 3 // violations of one process that are told

// transcript is what the process said, without the inner part of long runs of
// one kind of line.
func (p *Process) transcript() string {
	const ends = 3 // lines of a run that are kept at either end
	var b strings.Builder
	events := p.Events()
	for i := 0; i < len(events); {
		run := 1
		for i+run < len(events) && events[i+run].Ev == events[i].Ev {
			run++
		}
		for j := range run {
			if j == ends && run > 2*ends+1 {
				fmt.Fprintf(&b, "  … %d more of %s …\n", run-2*ends, events[i].Ev)
			}
			if j < ends || j >= run-ends || run <= 2*ends+1 {
				fmt.Fprintf(&b, "  %s\n", abbreviate(events[i+j].Line))
			}
		}
		i += run
	}
	return b.String()
}
