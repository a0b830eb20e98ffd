package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-885536be/p2p/p2pchat"
)

// machine is the face for programs. PROTOCOL.md describes what it reads and
// writes.
type machine struct {
	*session
	settings settings
	in       io.Reader
	out      *writer
	held     *progress
	shown    showing
	waits    sync.WaitGroup
	timedOut atomic.Bool    // a wait did
	ordered  p2pchat.Digest // of the history that the last order event is about

	mu         sync.Mutex
	subscribed map[string]bool
	failed     bool // a join event with the phase failed was written
}

func newMachine(s *session, set settings, in io.Reader, out io.Writer) *machine {
	m := &machine{
		session: s, settings: set, in: in,
		held:       newProgress(),
		shown:      showing{next: make(chan struct{})},
		subscribed: map[string]bool{"elect": true, "digest": true},
	}
	m.out = newWriter(out, s.node, func(err error) {
		s.end(ending{code: exitRuntime, cause: "stdout", err: err, graceful: true})
	})
	return m
}

func (m *machine) opened() {
	st := m.node.Status()
	m.out.emit(helloBody{
		Wire: wireVersion, PID: os.Getpid(), Group: m.settings.group, Room: m.settings.room, Sec: security(st),
		Algo: m.settings.algorithm, Addr: address(m.node.Self().Addr), Ifaces: toIfaces(st.Interfaces),
	})
}

func (m *machine) message(msg p2pchat.Message) {
	b := toMsg(msg)
	m.out.emit(&b)
	m.held.reach(msg.Index + 1)
}

func (m *machine) direct(d p2pchat.Direct) {
	m.out.emit(&dmBody{M: d.ID.String(), From: toRef(d.From), To: toRef(m.node.Self()), Text: string(d.Data), Came: utc(d.Came)})
}

func (m *machine) drained() { m.held.end() }

func (m *machine) event(e p2pchat.Event) {
	m.write(e)
	m.shown.wrote(e)
}

func (m *machine) write(e p2pchat.Event) {
	switch e := e.(type) {
	case *p2pchat.JoinEvent:
		b := joinBody{Phase: string(e.Phase), Try: e.Try, Coord: toOptional(e.Coordinator), Term: e.Term}
		if e.Err != nil {
			b.Code, b.Text = errorCode(e.Err), e.Err.Error()
		}
		if e.Phase == p2pchat.JoinFailed {
			if m.ctx.Err() != nil {
				return // we gave up ourselves
			}
			m.mu.Lock()
			m.failed = true
			m.mu.Unlock()
		}
		m.out.emit(b)
	case *p2pchat.ViewEvent:
		m.view(e)
	case *p2pchat.CoordinatorEvent:
		m.out.emit(coordBody{Old: toOptional(e.Old), New: toOptional(e.New), Term: e.Term, Cause: string(e.Cause), GapMS: e.Gap.Milliseconds()})
	case *p2pchat.PeerEvent:
		m.out.emit(toHealth(*e))
	case *p2pchat.HeartbeatEvent:
		if m.wants("hb") {
			m.out.emit(hbBody{From: toOptional(e.From), Term: e.Term, VID: e.Number})
		}
	case *p2pchat.ElectionEvent:
		if m.wants("elect") {
			m.out.emit(electBody{Algo: e.Algorithm, Term: e.Term, Phase: string(e.Phase), Kind: e.Kind, From: toOptional(e.From), To: toOptional(e.To)})
		}
	case *p2pchat.StableEvent:
		if msg, ok := m.node.Lookup(e.Last); ok {
			m.held.wait(msg.Index + 1)
		}
		for id := e.First; id.N <= e.Last.N; id.N++ {
			m.out.emit(stableBody{M: id.String()})
		}
	case *p2pchat.DigestEvent:
		m.held.wait(e.Digest.N)
		if m.wants("digest") {
			m.out.emit(digestBody{Hist: e.Digest.String(), N: e.Digest.N, Same: e.Same, Of: e.Of})
		}
		if m.wants("order") && e.Digest != m.ordered {
			m.ordered = e.Digest
			m.out.emit(m.order())
		}
	case *p2pchat.ConvergedEvent:
		m.held.wait(e.Digest.N)
		m.out.emit(convergedBody{Members: e.Members, Hist: e.Digest.String(), N: e.Digest.N})
	case *p2pchat.SyncEvent:
		m.held.wait(e.Have)
		m.out.emit(syncBody{Have: e.Have, Of: e.Of})
	case *p2pchat.GapEvent:
		m.out.emit(gapBody{Waiting: e.Waiting, Missing: e.Missing, GapMS: e.Lasted.Milliseconds(), GivenUp: e.GivenUp})
	case *p2pchat.NickEvent:
		m.out.emit(nickBody{Peer: toRef(e.Peer), Old: e.Old})
	case *p2pchat.ForkEvent:
		m.out.emit(warnBody{Code: "fork", Text: fmt.Sprintf("%s signed two blocks with number %d", show(e.Author), e.N), Count: 1})
	case *p2pchat.WarningEvent:
		m.out.emit(warnBody{Code: e.Code, Text: e.Text, Count: e.Count})
	case *p2pchat.LaggedEvent:
		m.out.emit(laggedBody{Dropped: e.Dropped})
	}
}

func (m *machine) view(e *p2pchat.ViewEvent) {
	m.faults.saw(e.View)
	left := make([]departure, len(e.Left))
	for i, d := range e.Left {
		left[i] = departure{toRef(d.Peer), whyGone(d)}
	}
	m.out.emit(&viewBody{
		viewData: toView(e.View), Joined: toRefs(e.Joined), Left: left, Renumbered: toRefs(e.Renumbered), Cause: string(e.Cause),
	})
}

// whyGone is the state of a peer that is not a member any more.
func whyGone(d p2pchat.Departure) string {
	if d.Failed {
		return "dead"
	}
	return "left"
}

// order lists the end of the history, in the order all agree on.
func (m *machine) order() orderBody {
	b := orderBody{Items: []string{}}
	for msg := range m.node.History("").Backwards() {
		if b.Items = append(b.Items, msg.ID.String()); len(b.Items) == maxOrder {
			break
		}
	}
	slices.Reverse(b.Items)
	return b
}

func (m *machine) wants(what string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.subscribed[what]
}

func (m *machine) input() {
	r := bufio.NewReaderSize(m.in, 32<<10)
	for m.ctx.Err() == nil {
		line, err := readLine(r, maxLine)
		switch {
		case errors.Is(err, errLineTooLong):
			m.reply(nil, nil, &opError{codeTooLarge, fmt.Sprintf("a line is over %d bytes", maxLine)})
		case errors.Is(err, io.EOF):
			e := ending{cause: "eof", graceful: true}
			if m.timedOut.Load() {
				e.code = exitTimeout
			}
			m.end(e)
			return
		case err != nil:
			m.end(ending{code: exitRuntime, cause: "stdin", err: err, graceful: true})
			return
		case len(bytes.TrimSpace(line)) > 0:
			if m.ctx.Err() == nil {
				m.do(line)
			}
		}
	}
}

func (m *machine) reply(ref json.RawMessage, data any, err error) {
	if ref == nil {
		ref = json.RawMessage("null")
	}
	b := &replyBody{Ref: ref, OK: err == nil, Data: data}
	if err != nil {
		b.Data, b.Err = nil, toFailure(err)
	}
	m.out.emit(b)
}

func (m *machine) closed(e ending) {
	m.waits.Wait()
	m.mu.Lock()
	failed := m.failed
	m.mu.Unlock()
	if e.err != nil {
		if e.cause == "failed" && !failed {
			m.out.emit(joinBody{Phase: "failed", Code: errorCode(e.err), Text: e.err.Error()})
		}
		if e.cause != "failed" {
			m.out.emit(errorBody{Code: errorCode(e.err), Text: e.err.Error(), Count: 1})
		}
	}
	m.out.last(byeBody{Code: e.code, Cause: e.cause})
}

// writer writes events, each a line, in one write.
type writer struct {
	mu     sync.Mutex
	w      io.Writer
	node   *p2pchat.Node
	start  time.Time
	seq    uint64
	done   bool
	failed func(error)
}

func newWriter(w io.Writer, node *p2pchat.Node, failed func(error)) *writer {
	return &writer{w: w, node: node, start: time.Now(), failed: failed}
}

func (w *writer) emit(b body) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write(b)
}

// last writes the last event.
func (w *writer) last(b body) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write(b)
	w.done = true
}

func (w *writer) write(b body) {
	if w.done {
		return
	}
	w.seq++
	now := time.Now()
	self := w.node.Self()
	h := header{
		V: protoVersion, Seq: w.seq, T: utc(now), MS: now.Sub(w.start).Milliseconds(),
		Node: self.Key.String(), ID: self.ID,
	}
	if _, err := w.w.Write(encode(h, b)); err != nil {
		w.done = true
		w.failed(err)
	}
}

func marshal(v any) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		// Nothing but our own types is encoded.
		panic(err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// progress counts the messages that have been written, so that a line that
// speaks of a message comes after the message.
type progress struct {
	mu    sync.Mutex
	cond  *sync.Cond
	n     uint64
	ended bool
}

func newProgress() *progress {
	p := &progress{}
	p.cond = sync.NewCond(&p.mu)
	return p
}

func (p *progress) reach(n uint64) {
	p.mu.Lock()
	p.n = n
	p.mu.Unlock()
	p.cond.Broadcast()
}

func (p *progress) end() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.cond.Broadcast()
}

// wait returns when n messages have been written, or no more will be.
func (p *progress) wait(n uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.n < n && !p.ended {
		p.cond.Wait()
	}
}
