package main

import (
	"encoding/json"
	"net/netip"
	"time"
	"unicode/utf8"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport"
)

// protoVersion is the version of the protocol that PROTOCOL.md describes.
const protoVersion = 1

// maxLine is the longest line in both directions, its end not counted.
const maxLine = 64<<10 - 1

// maxText is the longest text, as JSON, that send takes: so that a message
// with everything else about it fits in a line.
const maxText = 60 << 10

// maxOrder is how many messages an order event lists.
const maxOrder = 50

// Error codes of a reply and of a failed join.
const (
	codeBadJSON       = "bad_json"
	codeBadArg        = "bad_arg"
	codeUnknownOp     = "unknown_op"
	codeTooLarge      = "too_large"
	codeNotReady      = "not_ready"
	codeNoSuchPeer    = "no_such_peer"
	codeAmbiguousName = "ambiguous_name"
	codeAuth          = "auth"
	codeVersion       = "version"
	codeTimeout       = "timeout"
	codeNoNetwork     = "no_network"
	codeClosed        = "closed"
	codeInternal      = "internal"
)

// header is what every event begins with.
type header struct {
	V    int    `json:"v"`
	Seq  uint64 `json:"seq"`
	T    string `json:"t"`
	MS   int64  `json:"ms"`
	Node string `json:"node"`
	ID   uint32 `json:"id"`
	Ev   string `json:"ev"`
}

// body is the rest of an event.
type body interface{ ev() string }

// shrinker is a body, or a reply's data, that can be shortened until it fits
// in a line.
type shrinker interface {
	// shrink leaves something out, and returns false if there is nothing left
	// to leave out.
	shrink() bool
}

type (
	peerRef struct {
		ID   uint32 `json:"id"`
		Node string `json:"node"`
		Nick string `json:"nick"`
	}
	member struct {
		peerRef
		Addr string `json:"addr"`
	}
	departure struct {
		peerRef
		Why string `json:"why"`
	}
	iface struct {
		Name string `json:"name"`
		Addr string `json:"addr"`
		Use  bool   `json:"use"`
		Why  string `json:"why"`
	}
	failure struct {
		Code string `json:"code"`
		Text string `json:"text"`
	}
)

type (
	helloBody struct {
		Wire   int     `json:"wire"`
		PID    int     `json:"pid"`
		Group  string  `json:"group"`
		Room   string  `json:"room"`
		Sec    string  `json:"sec"`
		Algo   string  `json:"algo"`
		Addr   string  `json:"addr"`
		Ifaces []iface `json:"ifaces"`
	}
	joinBody struct {
		Phase string   `json:"phase"`
		Try   int      `json:"try"`
		Coord *peerRef `json:"coord"`
		Term  uint64   `json:"term"`
		Code  string   `json:"code"`
		Text  string   `json:"text"`
	}
	// viewData is a view, in an event and in replies.
	viewData struct {
		Term    uint64   `json:"term"`
		VID     uint64   `json:"vid"`
		Coord   uint32   `json:"coord"`
		Size    int      `json:"size"`
		Members []member `json:"members"`
	}
	viewBody struct {
		viewData
		Joined     []peerRef   `json:"joined"`
		Left       []departure `json:"left"`
		Renumbered []peerRef   `json:"renumbered"`
		Cause      string      `json:"cause"`
	}
	coordBody struct {
		Old   *peerRef `json:"old"`
		New   *peerRef `json:"new"`
		Term  uint64   `json:"term"`
		Cause string   `json:"cause"`
		GapMS int64    `json:"gap_ms"`
	}
	peerBody struct {
		Peer     peerRef `json:"peer"`
		State    string  `json:"state"`
		Why      string  `json:"why"`
		SilentMS int64   `json:"silent_ms"`
	}
	hbBody struct {
		From *peerRef `json:"from"`
		Term uint64   `json:"term"`
		VID  uint64   `json:"vid"`
	}
	electBody struct {
		Algo  string   `json:"algo"`
		Term  uint64   `json:"term"`
		Phase string   `json:"phase"`
		Kind  string   `json:"kind"`
		From  *peerRef `json:"from"`
		To    *peerRef `json:"to"`
	}
	msgBody struct {
		M        string  `json:"m"`
		From     peerRef `json:"from"`
		Room     string  `json:"room"`
		Text     string  `json:"text"`
		Pos      uint64  `json:"pos"`
		Inserted bool    `json:"inserted"`
		Backlog  bool    `json:"backlog"`
		Sent     string  `json:"sent"`
		// Size is the text's length in bytes, given if it was cut.
		Size int `json:"size,omitempty"`
	}
	dmBody struct {
		M    string  `json:"m"`
		From peerRef `json:"from"`
		To   peerRef `json:"to"`
		Text string  `json:"text"`
		Came string  `json:"came"`
		// Size is the text's length in bytes, given if it was cut.
		Size int `json:"size,omitempty"`
	}
	stableBody struct {
		M string `json:"m"`
	}
	digestBody struct {
		Hist string `json:"hist"`
		N    uint64 `json:"n"`
		Same int    `json:"same"`
		Of   int    `json:"of"`
	}
	orderBody struct {
		Items []string `json:"items"`
	}
	convergedBody struct {
		Members int    `json:"members"`
		Hist    string `json:"hist"`
		N       uint64 `json:"n"`
	}
	syncBody struct {
		Have uint64 `json:"have"`
		Of   uint64 `json:"of"`
	}
	gapBody struct {
		Waiting int    `json:"waiting"`
		Missing uint64 `json:"missing"`
		GapMS   int64  `json:"gap_ms"`
		GivenUp uint64 `json:"given_up"`
	}
	nickBody struct {
		Peer peerRef `json:"peer"`
		Old  string  `json:"old"`
	}
	faultBody struct {
		Cut     [][]uint32 `json:"cut"`
		Loss    int        `json:"loss"`
		DelayMS int64      `json:"delay_ms"`
	}
	laggedBody struct {
		Dropped uint64 `json:"dropped"`
	}
	warnBody struct {
		Code  string `json:"code"`
		Text  string `json:"text"`
		Count uint64 `json:"count"`
	}
	errorBody warnBody
	replyBody struct {
		Ref  json.RawMessage `json:"ref"`
		OK   bool            `json:"ok"`
		Data any             `json:"data,omitempty"`
		Err  *failure        `json:"err,omitempty"`
	}
	byeBody struct {
		Code  int    `json:"code"`
		Cause string `json:"cause"`
	}
)

func (helloBody) ev() string     { return "hello" }
func (joinBody) ev() string      { return "join" }
func (viewBody) ev() string      { return "view" }
func (coordBody) ev() string     { return "coord" }
func (peerBody) ev() string      { return "peer" }
func (hbBody) ev() string        { return "hb" }
func (electBody) ev() string     { return "elect" }
func (msgBody) ev() string       { return "msg" }
func (dmBody) ev() string        { return "dm" }
func (stableBody) ev() string    { return "stable" }
func (digestBody) ev() string    { return "digest" }
func (orderBody) ev() string     { return "order" }
func (convergedBody) ev() string { return "converged" }
func (syncBody) ev() string      { return "sync" }
func (gapBody) ev() string       { return "gap" }
func (nickBody) ev() string      { return "nick" }
func (faultBody) ev() string     { return "fault" }
func (laggedBody) ev() string    { return "lagged" }
func (warnBody) ev() string      { return "warn" }
func (errorBody) ev() string     { return "error" }
func (replyBody) ev() string     { return "reply" }
func (byeBody) ev() string       { return "bye" }

// What replies carry as data, where that is not the body of an event.
type (
	sentData struct {
		M string `json:"m"`
	}
	whoData struct {
		Items []peerBody `json:"items"`
	}
	statusData struct {
		Phase     string            `json:"phase"`
		Self      peerRef           `json:"self"`
		Addr      string            `json:"addr"`
		Room      string            `json:"room"`
		Term      uint64            `json:"term"`
		VID       uint64            `json:"vid"`
		Coord     uint32            `json:"coord"`
		Members   int               `json:"members"`
		HbMS      int64             `json:"hb_ms"`
		Hist      string            `json:"hist"`
		N         uint64            `json:"n"`
		Known     uint64            `json:"known"`
		Same      int               `json:"same"`
		Of        int               `json:"of"`
		Algo      string            `json:"algo"`
		Group     string            `json:"group"`
		Sec       string            `json:"sec"`
		LocalOnly bool              `json:"local_only"`
		Ifaces    []iface           `json:"ifaces"`
		Drops     map[string]uint64 `json:"drops"`
	}
	historyData struct {
		Items []msgBody `json:"items"`
		Hist  string    `json:"hist"`
		N     uint64    `json:"n"`
		Next  *uint64   `json:"next"`
	}
	itemsData struct {
		Items []msgBody `json:"items"`
		More  bool      `json:"more"`
	}
	whyData struct {
		msgBody
		Height     uint64   `json:"height"`
		After      []string `json:"after"`
		Concurrent []string `json:"concurrent"`
		Via        *peerRef `json:"via"`
		Came       *string  `json:"came"`
	}
	coordinatorData struct {
		Coord *peerRef `json:"coord"`
		Term  uint64   `json:"term"`
	}
	subscribedData struct {
		What []string `json:"what"`
	}
	emptyData struct{}
)

// encode makes the line of an event. What does not fit is shortened.
func encode(h header, b body) []byte {
	h.Ev = b.ev()
	for {
		line := escapeControls(join(h, b))
		if len(line) <= maxLine {
			return append(line, '\n')
		}
		if !shrink(b) {
			// Only what a foreign peer or a caller made absurdly long is left.
			b = errorBody{Code: codeTooLarge, Text: "an event named " + b.ev() + " does not fit in a line"}
			h.Ev = b.ev()
		}
	}
}

func shrink(b body) bool {
	if r, ok := b.(*replyBody); ok {
		if s, ok := r.Data.(shrinker); ok && s.shrink() {
			return true
		}
		r.OK, r.Data, r.Err = false, nil, &failure{Code: codeTooLarge, Text: "the answer does not fit in a line"}
		return true
	}
	s, ok := b.(shrinker)
	return ok && s.shrink()
}

// join writes the fields of both into one object.
func join(h header, b body) []byte {
	line := marshal(h)
	rest := marshal(b)
	if len(rest) > 2 {
		line = append(line[:len(line)-1], ',')
		line = append(line, rest[1:]...)
	}
	return line
}

// jsonLen is how long a text is in JSON.
func jsonLen(text string) int { return len(escapeControls(marshal(text))) }

func (m *msgBody) shrink() bool { return shrinkText(&m.Text, &m.Size) }
func (m *dmBody) shrink() bool  { return shrinkText(&m.Text, &m.Size) }

func (w *whyData) shrink() bool {
	if w.msgBody.shrink() {
		return true
	}
	if len(w.After)+len(w.Concurrent) == 0 {
		return false
	}
	w.After, w.Concurrent = w.After[:len(w.After)/2], w.Concurrent[:len(w.Concurrent)/2]
	return true
}

func shrinkText(text *string, size *int) bool {
	if *text == "" {
		return false
	}
	if *size == 0 {
		*size = len(*text)
	}
	*text = cut(*text, len(*text)/2)
	return true
}

func (v *viewData) shrink() bool {
	v.Members = v.Members[:len(v.Members)/2]
	return len(v.Members) > 0
}

func (v *viewBody) shrink() bool {
	if len(v.Joined)+len(v.Left)+len(v.Renumbered) > len(v.Members)/2 {
		v.Joined, v.Left, v.Renumbered = v.Joined[:len(v.Joined)/2], v.Left[:len(v.Left)/2], v.Renumbered[:len(v.Renumbered)/2]
		return true
	}
	return v.viewData.shrink()
}

func (w *whoData) shrink() bool {
	w.Items = w.Items[:len(w.Items)/2]
	return len(w.Items) > 0
}

// cut returns at most n bytes of text, and no half of a character.
func cut(text string, n int) string {
	for n > 0 && n < len(text) && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func toRef(p p2pchat.Peer) peerRef {
	return peerRef{ID: p.ID, Node: p.Key.String(), Nick: p.Nick}
}

// toOptional is toRef, and nil for nobody.
func toOptional(p p2pchat.Peer) *peerRef {
	if p.Key == (p2pchat.PeerID{}) {
		return nil
	}
	r := toRef(p)
	return &r
}

func toRefs(peers []p2pchat.Peer) []peerRef {
	out := make([]peerRef, len(peers))
	for i, p := range peers {
		out[i] = toRef(p)
	}
	return out
}

func toView(v p2pchat.View) viewData {
	d := viewData{Term: v.Term, VID: v.Number, Coord: v.Coordinator.ID, Size: len(v.Members), Members: make([]member, len(v.Members))}
	for i, p := range v.Members {
		d.Members[i] = member{toRef(p), address(p.Addr)}
	}
	return d
}

func toMsg(m p2pchat.Message) msgBody {
	return msgBody{
		M: m.ID.String(), From: toRef(m.From), Room: m.Room, Text: string(m.Data),
		Pos: m.Pos, Inserted: m.Inserted, Backlog: m.Backlog, Sent: utc(m.Sent),
	}
}

func toHealth(e p2pchat.PeerEvent) peerBody {
	return peerBody{Peer: toRef(e.Peer), State: string(e.State), Why: e.Why, SilentMS: e.Silent.Milliseconds()}
}

func toKeys(ids []p2pchat.MessageID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return out
}

func toDigest(s p2pchat.Status) digestBody {
	return digestBody{Hist: s.Digest.String(), N: s.Digest.N, Same: s.Same, Of: s.Of}
}

func toIfaces(list []transport.Interface) []iface {
	out := make([]iface, len(list))
	for i, f := range list {
		out[i] = iface{Name: f.Name, Use: f.Used, Why: f.Why}
		if f.Addr.IsValid() {
			out[i].Addr = f.Addr.String()
		}
	}
	return out
}

func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// security is the word for how a group is protected.
func security(s p2pchat.Status) string {
	if s.Sealed {
		return "sealed"
	}
	return "open"
}
