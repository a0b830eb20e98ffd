package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxQueued = 4096                    // commands that wait for a process to read them
	keptError = 4 << 10                 // bytes of a process's standard error that are kept
	endTime   = leaveTime + 2*flushTime // for a process to end after its input did
)

// errGone says that a process has ended, and answers nothing any more.
var errGone = errors.New("the process has ended")

// child is a process of this program in machine mode. Its input is a pipe that
// this process alone can write to: however this process ends, the child sees
// the end of its input and ends too. One that is stopped by a signal is woken
// by the system, since it is in a process group of its own, which is orphaned.
type child struct {
	cmd   *exec.Cmd
	stdin *os.File
	queue chan []byte   // lines for stdin
	idle  chan struct{} // closed when no more lines will be written
	leave func()        // closes idle: the end of its input is how it is told to leave
	done  chan struct{} // closed when the process is gone, and all it said was given

	mu      sync.Mutex
	refs    int
	pending map[string]chan<- replyLine
	errors  tail // what it wrote to standard error
}

// replyLine is the reply to a command.
type replyLine struct {
	Ref  string          `json:"ref"`
	OK   bool            `json:"ok"`
	Data json.RawMessage `json:"data"`
	Err  *failure        `json:"err"`
}

// startChild starts the program at path. What the process says is given to
// heard, line by line and without the replies; stderr may be nil.
func startChild(path string, args []string, heard func(header, []byte), stderr io.Writer) (*child, error) {
	in, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	c := &child{
		cmd: exec.Command(path, args...), stdin: stdin,
		queue: make(chan []byte, maxQueued), idle: make(chan struct{}), done: make(chan struct{}),
		pending: map[string]chan<- replyLine{},
	}
	c.leave = sync.OnceFunc(func() { close(c.idle) })
	c.cmd.Stdin = in
	c.cmd.Stderr = &c.errors
	if stderr != nil {
		c.cmd.Stderr = io.MultiWriter(&c.errors, stderr)
	}
	ownGroup(c.cmd)
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		stdin.Close()
		return nil, err
	}
	go protected(c.write)()
	go protected(func() { c.read(out, heard) })()
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// write feeds the process, which may be stopped and read nothing.
func (c *child) write() {
	defer c.stdin.Close()
	for {
		select {
		case line := <-c.queue:
			if _, err := c.stdin.Write(line); err != nil {
				return
			}
		case <-c.idle:
			return
		}
	}
}

func (c *child) read(out io.Reader, heard func(header, []byte)) {
	defer close(c.done)
	r := bufio.NewReaderSize(out, maxLine+1)
	for {
		line, err := readLine(r, maxLine)
		if errors.Is(err, errLineTooLong) {
			continue // not ours
		}
		if err != nil {
			break
		}
		var h header
		if json.Unmarshal(line, &h) != nil {
			continue // cut short by the end of the process
		}
		if h.Ev == "reply" {
			c.answer(line)
			continue
		}
		heard(h, line)
	}
	_ = c.cmd.Wait() // ProcessState tells
	c.stdin.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, reply := range c.pending {
		close(reply)
	}
	c.pending = nil
}

func (c *child) answer(line []byte) {
	var r replyLine
	if json.Unmarshal(line, &r) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if reply, ok := c.pending[r.Ref]; ok {
		delete(c.pending, r.Ref)
		reply <- r
	}
}

// call is a command that was given. Its reply, or the end of the process
// without one, can be waited for.
type call struct {
	c     *child
	ref   string
	reply <-chan replyLine
}

// begin gives a command and waits for nothing. args are pairs of a name and a
// value.
func (c *child) begin(op string, args ...any) (*call, error) {
	command := map[string]any{"op": op}
	for i := 0; i < len(args); i += 2 {
		command[args[i].(string)] = args[i+1]
	}
	reply := make(chan replyLine, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending == nil {
		return nil, errGone
	}
	c.refs++
	ref := strconv.Itoa(c.refs)
	command["ref"] = ref
	select {
	case c.queue <- append(marshal(command), '\n'):
	default:
		return nil, fmt.Errorf("the process does not read: %d commands wait for it", maxQueued)
	}
	c.pending[ref] = reply
	return &call{c, ref, reply}, nil
}

// wait returns the data of the reply. The error of a refused command is an
// *opError.
func (k *call) wait(ctx context.Context) (json.RawMessage, error) {
	select {
	case r, ok := <-k.reply:
		switch {
		case !ok:
			return nil, errGone
		case r.Err != nil:
			return nil, &opError{r.Err.Code, r.Err.Text}
		}
		return r.Data, nil
	case <-ctx.Done():
		k.c.mu.Lock()
		defer k.c.mu.Unlock()
		delete(k.c.pending, k.ref)
		return nil, ctx.Err()
	}
}

// do gives a command and waits for its reply.
func (c *child) do(ctx context.Context, op string, args ...any) (json.RawMessage, error) {
	k, err := c.begin(op, args...)
	if err != nil {
		return nil, err
	}
	return k.wait(ctx)
}

// kill ends the process by SIGKILL, which it cannot notice.
func (c *child) kill() error { return c.cmd.Process.Kill() }

// end ends the process as gracefully as it can be done, and returns when it is
// gone.
func (c *child) end() {
	_ = cont(c.cmd.Process)
	c.leave()
	select {
	case <-c.done:
	case <-time.After(endTime):
		_ = c.kill()
		<-c.done
	}
}

// fate tells how the process ended. It must be gone.
func (c *child) fate() string {
	state := c.cmd.ProcessState
	if state.ExitCode() == exitOK {
		return ""
	}
	return cmp.Or(killedBy(state), fmt.Sprintf("exit code %d", state.ExitCode()))
}

// lastWords is the last line on the process's standard error.
func (c *child) lastWords() string {
	lines := strings.Split(strings.TrimSpace(c.errors.String()), "\n")
	return lines[len(lines)-1]
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	t.buf.Next(max(0, t.buf.Len()-keptError))
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
