package core

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/membership"
)

var rewrite = flag.Bool("rewrite", false, "write the vectors in testdata anew")

const vectorsFile = "testdata/vectors.json"

// vectors are frames and what they say, for other implementations to check
// themselves against. Byte strings are in hex; a list or byte string that is
// not there is null; the fields of a struct are in their order on the wire.
type vectors struct {
	Group  string   `json:"group"`  // whose frames they are
	Seed   string   `json:"seed"`   // of the sender's Ed25519 key (RFC 8032)
	Public string   `json:"public"` // its public key
	Key    string   `json:"key"`    // its name: 16 bytes of the SHA-256 of that
	Frames []vector `json:"frames"`
	Direct session  `json:"direct"`
}

// vector is one frame. Of header and sender it has one.
type vector struct {
	Kind   string          `json:"kind"` // the first byte
	Name   string          `json:"name"`
	Header json.RawMessage `json:"header,omitempty"`
	Sender json.RawMessage `json:"sender,omitempty"`
	Body   json.RawMessage `json:"body"`
	Beat   json.RawMessage `json:"beat,omitempty"` // a heartbeat's or keep-alive's
	Signed bool            `json:"signed"`         // the frame ends with a trailer
	Frame  string          `json:"frame"`
}

// session is a session of direct messages, as its receiver has it. What the
// sender draws at random makes it another one each time, so it is only read.
type session struct {
	FromKey string   `json:"from_key"`
	FromInc uint64   `json:"from_inc"`
	ToKey   string   `json:"to_key"`
	ToInc   uint64   `json:"to_inc"`
	Info    string   `json:"info"`    // of HPKE
	Private string   `json:"private"` // the receiver's key of the session
	Public  string   `json:"public"`
	Enc     string   `json:"enc"`
	ID      string   `json:"id"`      // exported
	Secret  string   `json:"secret"`  // exported, of the acknowledgements
	Plain   []string `json:"plain"`   // the messages, from number 1 on
	Sealed  []string `json:"sealed"`  // the same in DATA
	Ack     []uint64 `json:"ack"`     // a number and a round
	AckMac  string   `json:"ack_mac"` // of these
}

// render writes a value as a vector has it.
func render(v reflect.Value) json.RawMessage {
	var b bytes.Buffer
	renderTo(&b, v)
	return b.Bytes()
}

func renderTo(b *bytes.Buffer, v reflect.Value) {
	text := func(s string) {
		t, _ := json.Marshal(s)
		b.Write(t)
	}
	list := func(open, end byte, n int, item func(i int)) {
		b.WriteByte(open)
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			item(i)
		}
		b.WriteByte(end)
	}
	switch at, isAddr := v.Interface().(netip.AddrPort); {
	case isAddr && !at.IsValid():
		text("")
	case isAddr:
		text(at.String())
	case v.Kind() == reflect.Slice && v.IsNil():
		b.WriteString("null")
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		text(hex.EncodeToString(v.Bytes()))
	case v.Kind() == reflect.Array:
		raw := make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(raw), v)
		text(hex.EncodeToString(raw))
	case v.Kind() == reflect.Slice:
		list('[', ']', v.Len(), func(i int) { renderTo(b, v.Index(i)) })
	case v.Kind() == reflect.Struct:
		list('{', '}', v.NumField(), func(i int) {
			text(v.Type().Field(i).Name)
			b.WriteByte(':')
			renderTo(b, v.Field(i))
		})
	case v.Kind() == reflect.String:
		text(v.String())
	case v.CanInt():
		fmt.Fprint(b, v.Int())
	case v.CanUint():
		fmt.Fprint(b, v.Uint())
	default:
		fmt.Fprint(b, v.Bool())
	}
}

// parse is the inverse of render.
func parse(t *testing.T, raw json.RawMessage, v reflect.Value) {
	read := func(to any) { require.NoError(t, json.Unmarshal(raw, to), "%s", raw) }
	_, isAddr := v.Interface().(netip.AddrPort)
	switch byteList := (v.Kind() == reflect.Slice || v.Kind() == reflect.Array) && v.Type().Elem().Kind() == reflect.Uint8; {
	case string(raw) == "null":
	case isAddr:
		var s string
		if read(&s); s != "" {
			v.Set(reflect.ValueOf(netip.MustParseAddrPort(s)))
		}
	case byteList:
		var s string
		read(&s)
		b := unhex(t, s)
		if v.Kind() == reflect.Slice {
			v.SetBytes(b)
		} else {
			require.Equal(t, v.Len(), reflect.Copy(v, reflect.ValueOf(b)))
		}
	case v.Kind() == reflect.Slice:
		var all []json.RawMessage
		read(&all)
		v.Set(reflect.MakeSlice(v.Type(), len(all), len(all)))
		for i := range all {
			parse(t, all[i], v.Index(i))
		}
	case v.Kind() == reflect.Struct:
		var fields map[string]json.RawMessage
		read(&fields)
		require.Len(t, fields, v.NumField(), "%s", raw)
		for i := range v.NumField() {
			parse(t, fields[v.Type().Field(i).Name], v.Field(i))
		}
	default:
		read(v.Addr().Interface())
	}
}

func unhex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// filler gives each field another value, in all lengths that a number has.
type filler struct{ n uint64 }

func (f *filler) fill(v reflect.Value) {
	f.n++
	_, isAddr := v.Interface().(netip.AddrPort)
	switch {
	case isAddr:
		at := fmt.Sprintf("10.0.0.%d:%d", f.n, 7000+f.n)
		if f.n%2 == 0 {
			at = fmt.Sprintf("[fd00::%x]:%d", f.n, 7000+f.n)
		}
		v.Set(reflect.ValueOf(netip.MustParseAddrPort(at)))
	case v.CanInt():
		v.SetInt(int64(f.number(min(v.Type().Bits(), 62))))
	case v.CanUint():
		v.SetUint(f.number(v.Type().Bits()))
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.Kind() == reflect.String:
		v.SetString(fmt.Sprintf("näme-%d", f.n))
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		v.SetBytes(bytes.Repeat([]byte{byte(f.n)}, []int{3, 40, 300}[f.n%3]))
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		f.fill(v.Index(0))
		f.fill(v.Index(1))
	case v.Kind() == reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint((f.n + uint64(i)) % 256)
		}
	default:
		for i := range v.NumField() {
			f.fill(v.Field(i))
		}
	}
}

func (f *filler) number(bits int) uint64 {
	n := []uint64{3, 200, 1000, 70_000, 1 << 33}[f.n%5] + f.n%7
	for n >= 1<<(bits-1)<<1 && bits < 64 {
		n >>= 8
	}
	return n
}

// kindOf is a frame's body by its first byte, as a pointer to the zero value, or
// nil if there is no such kind.
func kindOf(kind byte) any {
	switch {
	case kind >= wireDirect && kind < wireDirect+directKinds:
		return reflect.New(reflect.TypeOf(everyDirect[kind-wireDirect]).Elem()).Interface()
	case kind >= wireDirect:
		return nil
	case kind >= wireCast:
		if int(kind-wireCast) < len(everyCast) {
			return reflect.New(reflect.TypeOf(everyCast[kind-wireCast]).Elem()).Interface()
		}
	case kind >= wireLog:
		for _, m := range everyLog {
			if m.Kind() == causal.Kind(kind-wireLog) {
				return reflect.New(reflect.TypeOf(m).Elem()).Interface()
			}
		}
	case kind >= wireElection:
		if k := election.Kind(kind - wireElection); k >= election.KindElection && k <= election.KindRingProbeOK {
			return new(election.Message)
		}
	case bodies[membership.Kind(kind)] != nil:
		return reflect.New(bodies[membership.Kind(kind)]).Interface()
	}
	return nil
}

// taken reports whether frames of a kind are decoded at all.
func taken(kind byte) bool {
	if kind >= wireLog && kind < wireCast {
		_, _, err := decodeLog(causal.Kind(kind-wireLog), nil)
		return err != errKind
	}
	return kindOf(kind) != nil
}

// wireName is how the wire section of package p2p calls a type.
func wireName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[netip.AddrPort]():
		return "endpoint"
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case t.Kind() == reflect.Array:
		return fmt.Sprintf("%d bytes", t.Len())
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return "bytes"
	case t.Kind() == reflect.Slice:
		return "list of " + wireName(t.Elem())
	case t.Kind() == reflect.Struct:
		return t.Name()
	case t.Kind() == reflect.Bool:
		return "bool"
	case t.Kind() == reflect.String:
		return "text"
	}
	return fmt.Sprintf("u%d", t.Bits())
}

// fieldsOf lists the fields of a struct as that section does.
func fieldsOf(t reflect.Type) string {
	var all []string
	for i := range t.NumField() {
		all = append(all, t.Field(i).Name+" "+wireName(t.Field(i).Type))
	}
	return strings.Join(all, ", ")
}

// The wire section of package p2p has a row for every kind, and for every struct
// in it, with all its fields.
func TestWireSection(t *testing.T) {
	text, err := os.ReadFile("../../wire.go")
	require.NoError(t, err)
	var lines []string
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.Join(strings.Fields(strings.TrimPrefix(line, "//")), " "))
	}
	row := func(name string, fields reflect.Type) {
		want := strings.TrimSpace(name + " " + fieldsOf(fields))
		require.True(t, slices.Contains(lines, want), "wire.go has no row %q", want)
	}
	structs := map[reflect.Type]bool{reflect.TypeFor[membership.Header](): true, reflect.TypeFor[sender](): true}
	var look func(t reflect.Type)
	look = func(t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i).Type
			if f.Kind() == reflect.Slice {
				f = f.Elem()
			}
			if f.Kind() == reflect.Struct && f != reflect.TypeFor[netip.AddrPort]() && !structs[f] {
				structs[f] = true
				look(f)
			}
		}
	}
	look(reflect.TypeFor[membership.Header]())
	for kind := range byte(0x80) {
		if taken(kind) {
			m := reflect.TypeOf(kindOf(kind)).Elem()
			look(m)
			if kind < wireElection || kind >= wireLog {
				row(fmt.Sprintf("%02x %s", kind, nameOf(kind)), m)
			} else {
				want := fmt.Sprintf("%02x %s", kind, nameOf(kind))
				require.True(t, slices.Contains(lines, want), "wire.go has no row %q", want)
				row("Message", m)
			}
		}
	}
	for s := range structs {
		row(s.Name(), s)
	}
}

func nameOf(kind byte) string {
	switch {
	case kind >= wireDirect:
		return [...]string{"HELLO", "KEY", "OPEN", "DATA", "ACK"}[kind-wireDirect]
	case kind >= wireCast:
		return [...]string{"PIECE", "MISSING"}[kind-wireCast]
	case kind >= wireLog:
		return reflect.TypeOf(kindOf(kind)).Elem().Name()
	case kind >= wireElection:
		return election.Kind(kind - wireElection).String()
	}
	return membership.Kind(kind).String()
}

// encodeAs encodes a message as a frame of a kind.
func encodeAs(s *signer, kind byte, h membership.Header, by sender, m any, beat *causal.Beat) []byte {
	var b []byte
	switch {
	case kind >= wireDirect:
		b = encodeDirect(by, m)
	case kind >= wireCast:
		b = encodeCast(by, m)
	case kind >= wireLog:
		b = encodeLog(by, m.(causal.Protocol))
	case kind >= wireElection:
		b = encodeElection(h, *m.(*election.Message))
	default:
		b = encodeMembership(h, reflect.ValueOf(m).Elem().Interface().(membership.Body), beat)
	}
	if signed(kind) {
		b = s.sign(b)
	}
	return b
}

// What the vectors say is encoded as their frames, and the frames decoded are
// what they say.
func TestVectors(t *testing.T) {
	s, key := testSigner(7, "vectors")
	if *rewrite {
		writeVectors(t, s, key)
	}
	raw, err := os.ReadFile(vectorsFile)
	require.NoError(t, err)
	var all vectors
	require.NoError(t, json.Unmarshal(raw, &all))
	require.Equal(t, "vectors", all.Group)
	require.Equal(t, hex.EncodeToString(s.key.Seed()), all.Seed)
	require.Equal(t, hex.EncodeToString(key[:]), all.Key)

	seen := map[byte]bool{}
	for _, v := range all.Frames {
		kind, frame := unhex(t, v.Kind)[0], unhex(t, v.Frame)
		seen[kind] = true
		require.Equal(t, kind, frame[0], v.Name)
		require.Equal(t, signed(kind), v.Signed, v.Name)
		require.NotNil(t, kindOf(kind), v.Name)

		var h membership.Header
		var by sender
		var beat *causal.Beat
		m := kindOf(kind)
		parse(t, v.Body, reflect.ValueOf(m).Elem())
		if v.Sender != nil {
			parse(t, v.Sender, reflect.ValueOf(&by).Elem())
			h = membership.Header{From: by.From, Inc: by.Inc}
		} else {
			parse(t, v.Header, reflect.ValueOf(&h).Elem())
		}
		if v.Beat != nil {
			beat = new(causal.Beat)
			parse(t, v.Beat, reflect.ValueOf(beat).Elem())
		}
		require.Equal(t, v.Frame, hex.EncodeToString(encodeAs(s, kind, h, by, m, beat)), v.Name)

		if v.Signed {
			require.NoError(t, newSigner(s.key, all.Group).verify(frame, h.From), v.Name)
			frame, err = cut(frame)
			require.NoError(t, err)
		}
		f, err := decode(frame)
		require.NoError(t, err, v.Name)
		require.Equal(t, h, f.header, v.Name)
		require.Equal(t, beat, f.beat, v.Name)
		switch {
		case f.body != nil:
			require.Equal(t, reflect.ValueOf(m).Elem().Interface(), f.body, v.Name)
		case f.election != nil:
			require.Equal(t, m, f.election, v.Name)
		case f.log != nil:
			require.Equal(t, m, f.log, v.Name)
		case f.cast != nil:
			require.Equal(t, m, f.cast, v.Name)
		default:
			require.Equal(t, m, f.direct, v.Name)
		}
	}
	for kind := range byte(0x80) {
		require.Equal(t, taken(kind), seen[kind], "kind %#x has no vector: go test -run Vectors -rewrite", kind)
	}
	all.Direct.check(t, all.Group)
}

func writeVectors(t *testing.T, s *signer, key membership.Key) {
	all := vectors{
		Group: "vectors", Seed: hex.EncodeToString(s.key.Seed()),
		Public: hex.EncodeToString(s.key.Public().(ed25519.PublicKey)), Key: hex.EncodeToString(key[:]),
	}
	if raw, err := os.ReadFile(vectorsFile); err == nil {
		var old vectors
		require.NoError(t, json.Unmarshal(raw, &old))
		all.Direct = old.Direct
	}
	if all.Direct.Enc == "" {
		all.Direct = newSession(t, all.Group)
	}
	add := func(kind byte, what string, m any, beat *causal.Beat, f *filler) {
		var h membership.Header
		f.fill(reflect.ValueOf(&h).Elem())
		h.From = key
		by := sender{From: key, Inc: h.Inc}
		if m, ok := m.(*election.Message); ok {
			m.Kind, m.From, m.Inc = election.Kind(kind-wireElection), h.From, h.Inc
		}
		v := vector{Kind: hex.EncodeToString([]byte{kind}), Name: nameOf(kind) + what, Body: render(reflect.ValueOf(m).Elem()), Signed: signed(kind)}
		if kind < wireLog {
			v.Header = render(reflect.ValueOf(h))
		} else {
			v.Sender = render(reflect.ValueOf(by))
		}
		if beat != nil {
			v.Beat = render(reflect.ValueOf(*beat))
		}
		v.Frame = hex.EncodeToString(encodeAs(s, kind, h, by, m, beat))
		all.Frames = append(all.Frames, v)
	}
	for kind := range byte(0x80) {
		if !taken(kind) {
			continue
		}
		f := &filler{n: uint64(kind)}
		m := kindOf(kind)
		require.NotNil(t, m, "everyLog has no message of kind %#x", kind)
		add(kind, ", nothing set", m, nil, f)
		m = kindOf(kind)
		f.fill(reflect.ValueOf(m).Elem())
		add(kind, "", m, nil, f)
		switch k := membership.Kind(kind); {
		case k == membership.KindHeartbeat, k == membership.KindKeepAlive:
			beat := new(causal.Beat)
			f.fill(reflect.ValueOf(beat).Elem())
			add(kind, " with what its sender holds", m, beat, f)
		case kind == wireLog+byte(causal.KindBlocks):
			add(kind, ", sixteen", &causal.Blocks{Frames: manyFrames(16)}, nil, f)
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(all))
	require.NoError(t, os.WriteFile(vectorsFile, b.Bytes(), 0o644))
}

func newSession(t *testing.T, group string) session {
	private, err := kem.DeriveKeyPair(bytes.Repeat([]byte{9}, 32))
	require.NoError(t, err)
	secret, err := private.Bytes()
	require.NoError(t, err)
	e := ends{group, runOf{membership.Key{1, 2, 3}, 4}, runOf{membership.Key{5, 6, 7}, 8}}
	s, err := newSealer(e, private.PublicKey().Bytes())
	require.NoError(t, err)
	v := session{
		FromKey: hex.EncodeToString(e.from.key[:]), FromInc: e.from.inc, ToKey: hex.EncodeToString(e.to.key[:]), ToInc: e.to.inc,
		Info: hex.EncodeToString(e.info()), Private: hex.EncodeToString(secret), Public: hex.EncodeToString(private.PublicKey().Bytes()),
		Enc: hex.EncodeToString(s.enc), ID: hex.EncodeToString(s.id[:]), Secret: hex.EncodeToString(s.ack), Ack: []uint64{2, 1},
	}
	for _, plain := range []string{"psst", "", "again"} {
		sealed, err := s.ctx.Seal(nil, []byte(plain))
		require.NoError(t, err)
		v.Plain = append(v.Plain, hex.EncodeToString([]byte(plain)))
		v.Sealed = append(v.Sealed, hex.EncodeToString(sealed))
	}
	mac := s.mac(v.Ack[0], v.Ack[1])
	v.AckMac = hex.EncodeToString(mac[:])
	return v
}

// check opens the session as its receiver does.
func (v session) check(t *testing.T, group string) {
	e := ends{group, runOf{membership.Key(unhex(t, v.FromKey)), v.FromInc}, runOf{membership.Key(unhex(t, v.ToKey)), v.ToInc}}
	require.Equal(t, v.Info, hex.EncodeToString(e.info()))
	private, err := kem.NewPrivateKey(unhex(t, v.Private))
	require.NoError(t, err)
	require.Equal(t, v.Public, hex.EncodeToString(private.PublicKey().Bytes()))
	o, err := newOpener(e, private, unhex(t, v.Enc))
	require.NoError(t, err)
	require.Equal(t, v.ID, hex.EncodeToString(o.id[:]))
	require.Equal(t, v.Secret, hex.EncodeToString(o.ack))
	require.NotEmpty(t, v.Sealed)
	for i := range v.Sealed {
		plain, err := o.ctx.Open(nil, unhex(t, v.Sealed[i]))
		require.NoError(t, err)
		require.Equal(t, v.Plain[i], hex.EncodeToString(plain))
	}
	mac := o.mac(v.Ack[0], v.Ack[1])
	require.Equal(t, v.AckMac, hex.EncodeToString(mac[:]))
}
