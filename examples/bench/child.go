package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// childEnv makes this program one of the measured processes. Its value is a
// childSettings as JSON.
const childEnv = "P2P_BENCH_CHILD"

type childSettings struct {
	settings
	Index   int    `json:"index"`
	Group   string `json:"group"`
	Profile string `json:"profile"`
}

// command is what the parent asks for, in one line of JSON. Each gets one
// report with its number.
type command struct {
	Ref   int      `json:"ref"`
	Op    string   `json:"op"`
	Peers []string `json:"peers,omitempty"` // connect, cut: endpoints
	Count int      `json:"count,omitempty"` // send: of this sender; await: in all
	Rate  float64  `json:"rate,omitempty"`  // send: a second; 0: as fast as it goes
	First int      `json:"first,omitempty"` // send: number of the first message, less one
	N     int      `json:"n,omitempty"`     // agreed: members
	Loss  float64  `json:"loss,omitempty"`
}

// report is what a process says, in one line of JSON: the answer to a command,
// or with Ref 0 news.
type report struct {
	Ref  int    `json:"ref,omitempty"`
	Ev   string `json:"ev"` // ready, view, coordinator, done, failed
	At   int64  `json:"at"` // Unix nanoseconds
	From int64  `json:"from,omitempty"`
	Addr string `json:"addr,omitempty"`
	ID   uint32 `json:"id,omitempty"`
	N    int    `json:"n,omitempty"`
	Past int    `json:"past,omitempty"` // messages of the past that were delivered
	Err  string `json:"err,omitempty"`
	usage
	Digest    string  `json:"digest,omitempty"`
	Pieces    uint64  `json:"pieces,omitempty"`
	Latencies []int64 `json:"latencies,omitempty"` // microseconds
}

// usage is what a process has used.
type usage struct {
	CPU  time.Duration `json:"cpu,omitempty"`
	RSS  int64         `json:"rss,omitempty"`  // bytes now, 0 if unknown
	Peak int64         `json:"peak,omitempty"` // the most that RSS was
}

// node is what is measured: a p2pchat.Node, or plain TCP.
type node interface {
	// start joins; what happens is reported with say until it ends.
	start(ctx context.Context) error
	addr() string
	id() uint32
	send(ctx context.Context, data []byte) error
	flush() error
	// do carries out what only one kind of node can do.
	do(ctx context.Context, c command) error
	digest() string
	pieces() uint64 // of messages that went by multicast
	close() error
}

// process is one measured process.
type process struct {
	set  childSettings
	node node

	mu  sync.Mutex // guards out
	out *json.Encoder

	tally     tally
	target    atomic.Uint64
	reached   chan int64
	latencies struct {
		sync.Mutex
		list []int64
	}
}

func child(in io.Reader, out, stderr io.Writer) int {
	p := &process{out: json.NewEncoder(out), reached: make(chan int64, 1)}
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &p.set); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	if err := p.run(in); err != nil {
		p.say(report{Ev: "failed", Err: err.Error()})
		return 1
	}
	return 0
}

func (p *process) run(in io.Reader) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	warm(p.set.Warm)
	if p.set.Raw {
		p.node = newRawNode(p)
	} else {
		n, err := newGroupNode(p)
		if err != nil {
			return err
		}
		p.node = n
	}
	defer func() { _ = p.node.close() }()
	from := time.Now()
	if p.set.Mode == "catchup" { // which is over with the start, as good as
		if err := p.profile(true); err != nil {
			return err
		}
	}
	if err := p.node.start(ctx); err != nil {
		return err
	}
	p.say(report{Ev: "ready", From: from.UnixNano(), Addr: p.node.addr(), ID: p.node.id()})
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return err
		}
		go p.carryOut(ctx, c)
	}
	return nil // the parent has ended
}

// warm makes the heap hold so many MB that were used before.
func warm(mb int) {
	if mb == 0 {
		return
	}
	debug.SetGCPercent(100 * max(100, mb)) // else the runtime gives them back to the system
	used := make([]byte, mb<<20)
	hugePages(used)
	for i := 0; i < len(used); i += 4096 {
		used[i] = 1
	}
	runtime.GC()
}

func (p *process) say(r report) {
	if r.At == 0 {
		r.At = time.Now().UnixNano()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.out.Encode(r) // a parent that has gone ends the input as well
}

func (p *process) carryOut(ctx context.Context, c command) {
	r := report{Ref: c.Ref, Ev: "done"}
	err := error(nil)
	switch c.Op {
	case "send":
		r.From = time.Now().UnixNano()
		err = p.send(ctx, c)
	case "await":
		r.At = p.await(ctx, uint64(c.Count))
	case "usage":
		r.usage = used()
		r.Digest, r.Pieces = p.node.digest(), p.node.pieces()
		r.N, r.Past = int(p.tally.total.Load()), int(p.tally.past.Load())
		p.latencies.Lock()
		r.Latencies = p.latencies.list
		p.latencies.Unlock()
	case "profile":
		err = p.profile(c.Count != 0)
	default:
		err = p.node.do(ctx, c)
	}
	if err != nil {
		r.Ev, r.Err = "failed", err.Error()
	}
	p.say(r)
}

// send sends what this process has to say.
func (p *process) send(ctx context.Context, c command) error {
	data := make([]byte, p.set.Size)
	begun := time.Now()
	for i := range c.Count {
		h := p.tally.next(byte(p.set.Index), uint64(c.First+i+1), p.set.Senders)
		if c.Rate > 0 {
			if err := p.node.flush(); err != nil {
				return err
			}
			due := begun.Add(time.Duration(float64(i) / c.Rate * float64(time.Second)))
			time.Sleep(time.Until(due))
			h.sent = time.Now().UnixMicro()
		}
		h.put(data)
		if err := p.node.send(ctx, data); err != nil {
			return err
		}
	}
	return p.node.flush()
}

// took is called by the node for every message it delivers, in order.
func (p *process) took(data []byte) error {
	h, err := parseHead(data)
	if err != nil {
		return err
	}
	if err := p.tally.take(h); err != nil {
		return err
	}
	if h.sent != 0 && int(h.sender) != p.set.Index {
		p.latencies.Lock()
		p.latencies.list = append(p.latencies.list, time.Now().UnixMicro()-h.sent)
		p.latencies.Unlock()
	}
	if p.tally.total.Load() == p.target.Load() {
		p.hit()
	}
	return nil
}

func (p *process) hit() {
	select {
	case p.reached <- time.Now().UnixNano():
	default:
	}
}

// await returns when so many messages were delivered.
func (p *process) await(ctx context.Context, total uint64) int64 {
	p.target.Store(total)
	if p.tally.total.Load() == total {
		p.hit()
	}
	select {
	case at := <-p.reached:
		return at
	case <-ctx.Done():
		return 0
	}
}

// profile begins a profile of the processor's time, or ends it.
func (p *process) profile(begin bool) error {
	if p.set.Profile == "" {
		return nil
	}
	if !begin {
		pprof.StopCPUProfile()
		return nil
	}
	f, err := os.Create(filepath.Join(p.set.Profile, "cpu"+strconv.Itoa(p.set.Index)+".pprof"))
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}

// rawNode is plain TCP: each message after its length, in writes of 64 KiB, to
// every other process.
type rawNode struct {
	p     *process
	l     net.Listener
	mu    sync.Mutex // guards the tally: each connection has a reader
	conns []net.Conn
	buf   []byte
	kept  [][]byte // with -keep: all messages
	fail  error
}

const rawWrite = 64 << 10

func newRawNode(p *process) *rawNode { return &rawNode{p: p} }

func (r *rawNode) start(context.Context) (err error) {
	if r.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	go func() {
		for {
			c, err := r.l.Accept()
			if err != nil {
				return
			}
			go r.read(c)
		}
	}()
	return nil
}

func (r *rawNode) addr() string   { return r.l.Addr().String() }
func (r *rawNode) id() uint32     { return uint32(r.p.set.Index + 1) }
func (r *rawNode) digest() string { return "" }
func (r *rawNode) pieces() uint64 { return 0 }

func (r *rawNode) do(_ context.Context, c command) error {
	if c.Op != "connect" {
		return errors.New("plain TCP cannot " + c.Op)
	}
	for _, addr := range c.Peers {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		r.conns = append(r.conns, conn)
	}
	return nil
}

func (r *rawNode) send(_ context.Context, data []byte) error {
	n := len(data)
	r.buf = append(r.buf, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	r.buf = append(r.buf, data...)
	r.take(data)
	if len(r.buf) >= rawWrite {
		return r.flush()
	}
	return nil
}

func (r *rawNode) flush() error {
	for _, c := range r.conns {
		if _, err := c.Write(r.buf); err != nil {
			return err
		}
	}
	r.buf = r.buf[:0]
	return nil
}

func (r *rawNode) take(data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, err := parseHead(data)
	h.afterN = 0 // nothing here keeps causal order
	h.put(data)
	if err == nil {
		err = r.p.took(data)
	}
	if r.p.set.Keep {
		r.keep(data)
	}
	if err != nil && r.fail == nil {
		r.fail = err
		r.p.say(report{Ev: "failed", Err: err.Error()})
	}
}

// keep copies a message to memory that was not used before.
func (r *rawNode) keep(data []byte) {
	last := len(r.kept) - 1
	if last < 0 || cap(r.kept[last])-len(r.kept[last]) < len(data) {
		chunk := make([]byte, max(keepChunk, len(data)))
		hugePages(chunk) // a history does so, too
		r.kept = append(r.kept, chunk[:0])
		last++
	}
	r.kept[last] = append(r.kept[last], data...)
}

const keepChunk = 4 << 20

func (r *rawNode) read(c net.Conn) {
	in := bufio.NewReaderSize(c, rawWrite)
	var size [4]byte
	data := make([]byte, 1<<20)
	for {
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return
		}
		n := int(size[0])<<24 | int(size[1])<<16 | int(size[2])<<8 | int(size[3])
		if _, err := io.ReadFull(in, data[:n]); err != nil {
			return
		}
		r.take(data[:n])
	}
}

func (r *rawNode) close() error {
	for _, c := range r.conns {
		_ = c.Close()
	}
	return r.l.Close()
}
