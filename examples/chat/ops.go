package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-885536be/p2p/p2pchat"
)

const (
	maxPage = 60 << 10 // bytes of items in a page
	maxRef  = 1 << 10  // bytes of a ref, which is sent back
	opTime  = 5 * time.Second
)

// command is a line of input. What is nil was not given.
type command struct {
	Op        string          `json:"op"`
	Ref       json.RawMessage `json:"ref"`
	Text      *string         `json:"text"`
	To        any             `json:"to"`
	Room      *string         `json:"room"`
	Nick      *string         `json:"nick"`
	Since     *uint64         `json:"since"`
	Limit     *int            `json:"limit"`
	Q         *string         `json:"q"`
	For       *string         `json:"for"`
	N         *int            `json:"n"`
	M         *string         `json:"m"`
	ID        *uint32         `json:"id"`
	TimeoutMS *int64          `json:"timeout_ms"`
	What      *string         `json:"what"`
	Graceful  *bool           `json:"graceful"`
	Cut       *[][]uint32     `json:"cut"`
	Loss      *int            `json:"loss"`
	DelayMS   *int64          `json:"delay_ms"`
	Clear     *bool           `json:"clear"`
}

// messageID is the message that a command is about.
func (c *command) messageID(what string) (id p2pchat.MessageID, err error) {
	if c.M == nil {
		return id, badArg("%s needs m", what)
	}
	if id, err = p2pchat.ParseMessageID(*c.M); err != nil {
		return id, badArg("m: %v", err)
	}
	return id, nil
}

// op is a command's arguments, besides op and ref, and what it does. An
// operation without a reply of its own returns errNoReply.
type op struct {
	args string
	do   func(m *machine, c *command) (data any, err error)
}

var ops map[string]op

func init() {
	ops = map[string]op{
		"send":        {"text room", (*machine).send},
		"dm":          {"to text", (*machine).dm},
		"nick":        {"nick", (*machine).nick},
		"view":        {"", (*machine).getView},
		"who":         {"", (*machine).who},
		"status":      {"", (*machine).status},
		"digest":      {"", (*machine).digest},
		"history":     {"since limit room", (*machine).history},
		"search":      {"q limit", (*machine).search},
		"why":         {"m", (*machine).why},
		"wait":        {"for n m text id timeout_ms", (*machine).wait},
		"subscribe":   {"what", (*machine).subscribe},
		"unsubscribe": {"what", (*machine).unsubscribe},
		"elect":       {"", (*machine).elect},
		"fault":       {"cut loss delay_ms clear", (*machine).fault},
		"quit":        {"graceful", (*machine).quit},
		"crash":       {"", (*machine).crash},
	}
}

// errNoReply says that there is no reply, or that it follows later.
var errNoReply = errors.New("no reply")

// opError is an error with a code.
type opError struct{ code, text string }

func (e *opError) Error() string { return e.text }

func badArg(format string, args ...any) error {
	return &opError{codeBadArg, fmt.Sprintf(format, args...)}
}

func toFailure(err error) *failure {
	f := &failure{Code: errorCode(err), Text: err.Error()}
	if e := (*opError)(nil); errors.As(err, &e) {
		f.Code = e.code
	}
	return f
}

// do carries out one line of input.
func (m *machine) do(line []byte) {
	c, err := parseCommand(line)
	var data any
	if err == nil {
		data, err = ops[c.Op].do(m, c)
	}
	if !errors.Is(err, errNoReply) {
		m.reply(c.Ref, data, err)
	}
}

// parseCommand reads a line. The command it returns is never nil, so that a
// reply to a bad one can carry its ref.
func parseCommand(line []byte) (*command, error) {
	c := &command{}
	if !utf8.Valid(line) {
		return c, &opError{codeBadJSON, "not valid UTF-8"}
	}
	var fields map[string]json.RawMessage
	dec := json.NewDecoder(bytes.NewReader(line))
	if err := dec.Decode(&fields); err != nil {
		return c, &opError{codeBadJSON, "not a JSON object: " + err.Error()}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return c, &opError{codeBadJSON, "more than one JSON object"}
	}
	if fields == nil {
		return c, &opError{codeBadJSON, "not a JSON object: null"}
	}
	if ref := fields["ref"]; ref != nil && string(ref) != "null" {
		switch {
		case len(ref) > maxRef:
			return c, badArg("ref: over %d bytes", maxRef)
		case !strings.ContainsRune(`"-0123456789`, rune(ref[0])):
			return c, badArg("ref: want a string or a number")
		}
		c.Ref = ref
	}
	var name string
	if raw, ok := fields["op"]; !ok {
		return c, badArg("op is missing")
	} else if err := json.Unmarshal(raw, &name); err != nil {
		return c, badArg("op: want a string")
	}
	op, ok := ops[name]
	if !ok {
		text := fmt.Sprintf("unknown op %q", cut(name, min(len(name), 64)))
		if which := meant(name, "", slices.Sorted(maps.Keys(ops))); which != "" {
			text += "; " + which
		}
		return c, &opError{codeUnknownOp, text}
	}
	known := strings.Fields(op.args)
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if key != "op" && key != "ref" && !slices.Contains(known, key) {
			return c, badArg("%s has no argument %q", name, cut(key, min(len(key), 64)))
		}
	}
	full := &command{}
	if err := json.Unmarshal(line, full); err != nil {
		return c, badArg("%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	full.Ref = c.Ref
	return full, nil
}

func (m *machine) send(c *command) (any, error) {
	if c.Text == nil {
		return nil, badArg("send needs text")
	}
	room := m.settings.room
	if c.Room != nil {
		room = *c.Room
	}
	if n := jsonLen(*c.Text) + jsonLen(room); n > maxText {
		return nil, &opError{codeTooLarge, fmt.Sprintf("text and room are %d bytes as JSON, over the limit of %d", n, maxText)}
	}
	id, err := m.node.Send(m.ctx, room, []byte(*c.Text))
	if err != nil {
		return nil, err
	}
	if m.settings.data != "" {
		m.node.Lookup(id) // makes it a part of the history, and thereby writes it to disk
	}
	return sentData{M: id.String()}, nil
}

// dm replies when the other node has the message, and does not hold up the
// commands that follow.
func (m *machine) dm(c *command) (any, error) {
	if c.Text == nil || c.To == nil {
		return nil, badArg("dm needs to and text")
	}
	var name string
	switch to := c.To.(type) {
	case string:
		name = to
	case float64:
		name = strconv.FormatFloat(to, 'f', -1, 64)
	default:
		return nil, badArg("to: want an ID, a key, a nick or nick#id")
	}
	if n := jsonLen(*c.Text); n > maxText {
		return nil, &opError{codeTooLarge, fmt.Sprintf("text is %d bytes as JSON, over the limit of %d", n, maxText)}
	}
	if m.node.Self().ID == 0 {
		return nil, p2pchat.ErrNotJoined
	}
	to, err := findPeer(m.node.View(), name)
	if err != nil {
		return nil, err
	}
	m.sendDirect(to.Key, *c.Text, func(id p2pchat.DirectID, err error) {
		m.reply(c.Ref, sentData{M: id.String()}, err)
	})
	return nil, errNoReply
}

func (m *machine) nick(c *command) (any, error) {
	old := m.node.Self()
	if c.Nick == nil {
		return nickBody{Peer: toRef(old), Old: old.Nick}, nil
	}
	name := strings.TrimSpace(*c.Nick)
	if name == "" {
		return nil, badArg("nick: empty")
	}
	ctx, cancel := context.WithTimeout(m.ctx, opTime)
	defer cancel()
	if err := m.node.SetNick(ctx, name); err != nil {
		return nil, err
	}
	now := old
	now.Nick = name
	return nickBody{Peer: toRef(now), Old: old.Nick}, nil
}

func (m *machine) getView(*command) (any, error) {
	v := toView(m.node.View())
	return &v, nil
}

func (m *machine) who(*command) (any, error) {
	s := m.node.Status()
	w := &whoData{Items: make([]peerBody, len(s.View.Members))}
	for i, p := range s.View.Members {
		health := p2pchat.PeerEvent{Peer: p, State: p2pchat.PeerUp}
		for _, e := range s.Suspects {
			if e.Peer.Key == p.Key {
				health = e
			}
		}
		w.Items[i] = toHealth(health)
	}
	return w, nil
}

func (m *machine) status(*command) (any, error) {
	s := m.node.Status()
	d := statusData{
		Phase: s.Phase.String(), Self: toRef(s.Self), Addr: address(s.Self.Addr), Room: m.settings.room,
		Term: s.View.Term, VID: s.View.Number, Coord: s.View.Coordinator.ID, Members: len(s.View.Members),
		HbMS: s.Heartbeat.Milliseconds(), Hist: s.Digest.String(), N: s.Digest.N, Known: s.Known, Same: s.Same, Of: s.Of,
		Algo: s.Algorithm, Group: s.Group, Sec: security(s), LocalOnly: s.LocalOnly,
		Ifaces: toIfaces(s.Interfaces), Drops: s.Drops,
	}
	if d.Drops == nil {
		d.Drops = map[string]uint64{}
	}
	return d, nil
}

func (m *machine) digest(*command) (any, error) { return toDigest(m.node.Status()), nil }

// history returns a page: as many items as fit in a line, and limit at most.
// If messages are inserted while the page is read, it is read again, so that
// hist and n are those of the history that the page is from.
func (m *machine) history(c *command) (any, error) {
	var since uint64
	if c.Since != nil {
		since = *c.Since
	}
	room, limit := "", int(^uint(0)>>1)
	if c.Room != nil {
		room = *c.Room
	}
	if c.Limit != nil {
		if limit = *c.Limit; limit < 1 {
			return nil, badArg("limit: want at least 1")
		}
	}
	var d *historyData
	for range 10 {
		before := m.node.Status().Digest
		d = &historyData{Items: []msgBody{}, Hist: before.String(), N: before.N}
		page := page{limit: limit}
		for msg := range m.node.History(room).From(since) {
			if !page.add(msg) {
				pos := msg.Pos
				d.Next = &pos
				break
			}
		}
		d.Items = append(d.Items, page.items...)
		if m.node.Status().Digest == before {
			break
		}
	}
	return d, nil
}

// page collects messages until a reply is full.
type page struct {
	limit int
	size  int
	items []msgBody
}

// add returns false, and has not added the message, if the page is full.
func (p *page) add(msg p2pchat.Message) bool {
	if len(p.items) == p.limit {
		return false
	}
	b := toMsg(msg)
	size := len(escapeControls(marshal(b)))
	for size > maxPage && b.shrink() {
		size = len(escapeControls(marshal(b)))
	}
	if p.size+size+1 > maxPage && len(p.items) > 0 {
		return false
	}
	p.size += size + 1
	p.items = append(p.items, b)
	return true
}

// search returns the latest messages that contain all words of q, in the
// history's order.
func (m *machine) search(c *command) (any, error) {
	if c.Q == nil || strings.TrimSpace(*c.Q) == "" {
		return nil, badArg("search needs q")
	}
	page := page{limit: 100}
	if c.Limit != nil {
		if page.limit = *c.Limit; page.limit < 1 {
			return nil, badArg("limit: want at least 1")
		}
	}
	d := itemsData{Items: []msgBody{}}
	for msg := range m.node.History("").Search(*c.Q) {
		if !page.add(msg) {
			d.More = true
			break
		}
	}
	slices.Reverse(page.items)
	d.Items = append(d.Items, page.items...)
	return d, nil
}

// why tells how a message came to be where it is in the history.
func (m *machine) why(c *command) (any, error) {
	id, err := c.messageID("why")
	if err != nil {
		return nil, err
	}
	w, ok := m.node.Why(id)
	if !ok {
		return nil, badArg("m: there is no message %s here", id)
	}
	d := &whyData{
		msgBody: toMsg(w.Message), Height: w.Height, After: toKeys(w.After), Concurrent: toKeys(w.Concurrent), Via: toOptional(w.Via),
	}
	if !w.Came.IsZero() {
		came := utc(w.Came)
		d.Came = &came
	}
	return d, nil
}

func (m *machine) subscribe(c *command) (any, error)   { return m.setSubscribed(c, true) }
func (m *machine) unsubscribe(c *command) (any, error) { return m.setSubscribed(c, false) }

func (m *machine) setSubscribed(c *command, on bool) (any, error) {
	if c.What == nil {
		return nil, badArg("%s needs what: hb, elect, digest or order", c.Op)
	}
	switch *c.What {
	case "hb", "elect", "digest", "order":
	default:
		return nil, badArg("what: %q is none of hb, elect, digest and order", cut(*c.What, min(len(*c.What), 64)))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.subscribed[*c.What] = on
	d := subscribedData{What: []string{}}
	for _, what := range slices.Sorted(maps.Keys(m.subscribed)) {
		if m.subscribed[what] {
			d.What = append(d.What, what)
		}
	}
	return d, nil
}

func (m *machine) elect(*command) (any, error) {
	ctx, cancel := context.WithTimeout(m.ctx, opTime)
	defer cancel()
	if err := m.node.Elect(ctx); err != nil {
		return nil, err
	}
	return emptyData{}, nil
}

func (m *machine) quit(c *command) (any, error) {
	m.reply(c.Ref, emptyData{}, nil)
	m.end(ending{cause: "quit", graceful: c.Graceful == nil || *c.Graceful, patient: true})
	<-m.ctx.Done() // what follows is not read any more
	return nil, errNoReply
}

func (m *machine) crash(*command) (any, error) {
	m.end(ending{code: exitCrash})
	<-m.ctx.Done()
	return nil, errNoReply
}
