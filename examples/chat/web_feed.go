package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	feedLines   = 4096      // that a reader may be behind
	feedBytes   = 4 << 20   // the same
	feedNodes   = 64        // nodes that are kept
	feedPeers   = 64        // peers whose state is kept, for each node
	feedRecent  = maxOrder  // messages that are kept, for each node, besides those of its last order
	feedMsgText = 1 << 10   // bytes of a message's text
	feedBatch   = 256 << 10 // bytes that are sent at once
)

// feed holds what nodes said for those who look on: the latest lines, and of
// the earlier ones those that still matter to somebody who comes now. Readers
// have places in it and no queues of their own, so that none can cost more
// than another, or hold anything up: who is too far behind is dropped.
type feed struct {
	boot string // tells this feed's numbers from another's

	mu      sync.Mutex
	lines   []feedLine
	first   uint64 // number of lines[0]
	bytes   int    // of lines
	nodes   map[string]*feedNode
	changed chan struct{} // closed with the next change
	closed  bool
	dropped int // readers that were too slow
}

// feedLine is one event, as it is sent.
type feedLine struct {
	event string // of the stream, empty for what a node said
	data  []byte // without a line's end
}

// feedNode is what is kept of one node.
type feedNode struct {
	key    string // as its lines have it
	ended  bool
	latest map[string]keptLine // by kind of event and what it is about
	msgs   []keptMsg           // in the order of their delivery
	order  []string            // keys of the last messages
}

type keptLine struct {
	n uint64
	feedLine
}

type keptMsg struct {
	m      string
	line   keptLine
	stable keptLine // data is nil if it is not
}

func newFeed() *feed {
	return &feed{boot: strings.ToLower(rand.Text()[:10]), nodes: map[string]*feedNode{}, changed: make(chan struct{})}
}

// shape is what a feed reads of a line.
type shape struct {
	Ev    string   `json:"ev"`
	Node  string   `json:"node"`
	M     string   `json:"m"`
	Peer  *peerRef `json:"peer"`
	Items []string `json:"items"`
}

// said takes an event of a node.
func (f *feed) said(name string, line []byte) {
	line = bytes.Clone(bytes.TrimSpace(line))
	var s shape
	if bytes.ContainsAny(line, "\r\n") || json.Unmarshal(line, &s) != nil || s.Ev == "reply" {
		return // not a line of the protocol, or none that is of interest
	}
	if s.Ev == "msg" {
		line = shorten(line)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[name]
	if n == nil || s.Ev == "hello" { // the first line of a process
		if n == nil && len(f.nodes) >= feedNodes {
			f.forget()
		}
		n = &feedNode{latest: map[string]keptLine{}}
		f.nodes[name] = n
	}
	n.key = s.Node
	n.ended = s.Ev == "bye"
	n.keep(s, f.add(feedLine{data: line}))
}

// ended takes that a node's process has ended.
func (f *feed) ended(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[name]
	if n == nil || n.ended {
		return
	}
	n.ended = true
	n.latest["gone"] = f.add(feedLine{"gone", marshal(map[string]string{"node": n.key})})
}

// forget makes room for one more node, one that has ended.
func (f *feed) forget() {
	for name, n := range f.nodes {
		if n.ended {
			delete(f.nodes, name)
			return
		}
	}
	for name := range f.nodes {
		delete(f.nodes, name)
		return
	}
}

// keep notes a line that somebody who comes later must see.
func (n *feedNode) keep(s shape, l keptLine) {
	switch s.Ev {
	case "hello", "join", "view", "coord", "digest", "bye":
		n.latest[s.Ev] = l
	case "order":
		n.latest[s.Ev], n.order = l, s.Items
	case "peer":
		if s.Peer == nil {
			return
		}
		n.latest["peer "+s.Peer.Node] = l
		n.prunePeers()
	case "msg":
		n.msgs = append(n.msgs, keptMsg{m: s.M, line: l})
		n.pruneMsgs()
	case "stable":
		for i := range n.msgs {
			if n.msgs[i].m == s.M {
				n.msgs[i].stable = l
			}
		}
	}
}

func (n *feedNode) prunePeers() {
	count, oldest := 0, ""
	for key, l := range n.latest {
		if strings.HasPrefix(key, "peer ") {
			count++
			if oldest == "" || l.n < n.latest[oldest].n {
				oldest = key
			}
		}
	}
	if count > feedPeers {
		delete(n.latest, oldest)
	}
}

// pruneMsgs keeps those that are the last in the history or the latest to be
// delivered.
func (n *feedNode) pruneMsgs() {
	if len(n.msgs) < 3*feedRecent {
		return
	}
	last := map[string]bool{}
	for _, m := range n.order {
		last[m] = true
	}
	old := len(n.msgs) - feedRecent
	kept := slices.DeleteFunc(n.msgs[:old:old], func(m keptMsg) bool { return !last[m.m] })
	n.msgs = slices.Concat(kept, n.msgs[old:])
}

// shorten cuts a message's text to what a page shows of it.
func shorten(line []byte) []byte {
	if len(line) <= feedMsgText {
		return line
	}
	var h header
	var b msgBody
	if json.Unmarshal(line, &h) != nil || json.Unmarshal(line, &b) != nil || len(b.Text) <= feedMsgText {
		return line
	}
	if b.Size == 0 {
		b.Size = len(b.Text)
	}
	b.Text = cut(b.Text, feedMsgText)
	return bytes.TrimSpace(encode(h, &b))
}

// add appends a line. f.mu is held.
func (f *feed) add(l feedLine) keptLine {
	f.lines = append(f.lines, l)
	f.bytes += len(l.data)
	for len(f.lines) > feedLines || f.bytes > feedBytes {
		f.bytes -= len(f.lines[0].data)
		f.lines[0] = feedLine{}
		f.lines = f.lines[1:]
		f.first++
	}
	f.wake()
	return keptLine{f.first + uint64(len(f.lines)) - 1, l}
}

func (f *feed) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// close ends the feed: readers are given what is there, and go.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		f.wake()
	}
}

// snapshot returns what somebody who comes now must see, and the number of the
// line that follows it. f.mu is held.
func (f *feed) snapshot() ([]byte, uint64) {
	var kept []keptLine
	for _, n := range f.nodes {
		for _, l := range n.latest {
			kept = append(kept, l)
		}
		for _, m := range n.msgs {
			kept = append(kept, m.line)
			if m.stable.data != nil {
				kept = append(kept, m.stable)
			}
		}
	}
	slices.SortFunc(kept, func(a, b keptLine) int { return int(int64(a.n - b.n)) })
	var out bytes.Buffer
	fmt.Fprintf(&out, "retry: %d\nevent: reset\ndata: {}\n\n", webRetry.Milliseconds())
	for _, l := range kept {
		write(&out, l.feedLine)
	}
	return out.Bytes(), f.first + uint64(len(f.lines))
}

func write(out *bytes.Buffer, l feedLine) {
	if l.event != "" {
		fmt.Fprintf(out, "event: %s\n", l.event)
	}
	out.WriteString("data: ")
	out.Write(l.data)
	out.WriteString("\n\n")
}

// resume is the number that follows the ID of the last event that a reader has
// seen; ok is false if it must begin anew. f.mu is held.
func (f *feed) resume(last string) (next uint64, ok bool) {
	boot, number, _ := strings.Cut(last, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	return n, err == nil && boot == f.boot && n >= f.first && n <= f.first+uint64(len(f.lines))
}

// follow sends to a reader what it must know to be up to date, and then what
// comes, until the feed is closed, the reader is gone, or it is too slow.
func (f *feed) follow(ctx context.Context, last string, to interface{ send([]byte) error }) error {
	f.mu.Lock()
	next, ok := f.resume(last)
	var head []byte
	if !ok {
		head, next = f.snapshot()
	}
	f.mu.Unlock()
	head = fmt.Appendf(head, "event: live\nid: %s-%d\ndata: {}\n\n", f.boot, next)
	if err := to.send(head); err != nil {
		return err
	}
	idle := time.NewTimer(webIdle)
	defer idle.Stop()
	for {
		batch, at, changed, err := f.after(next)
		if err != nil {
			return err
		}
		if batch != nil {
			if err := to.send(batch); err != nil {
				return err
			}
			next = at
			continue
		}
		if changed == nil {
			return to.send([]byte("event: end\ndata: {}\n\n"))
		}
		idle.Reset(webIdle)
		select {
		case <-changed:
		case <-idle.C:
			if err := to.send([]byte(":\n\n")); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// errSlow is what a reader is dropped for. Its page connects again and begins
// anew.
var errSlow = fmt.Errorf("over %d lines behind", feedLines)

// after returns the lines from a number on, as they are sent, and the number
// that follows them. If there are none, changed is closed with the next line;
// it is nil if none will come.
func (f *feed) after(next uint64) (batch []byte, at uint64, changed chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if next < f.first {
		f.dropped++
		return nil, next, nil, errSlow
	}
	lines := f.lines[next-f.first:]
	if len(lines) == 0 {
		if !f.closed {
			changed = f.changed
		}
		return nil, next, changed, nil
	}
	var out bytes.Buffer
	for _, l := range lines {
		next++
		fmt.Fprintf(&out, "id: %s-%d\n", f.boot, next)
		write(&out, l)
		if out.Len() > feedBatch {
			break
		}
	}
	return out.Bytes(), next, nil, nil
}
