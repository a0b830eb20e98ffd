package main

import (
	"encoding/json"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-885536be/p2p/internal/schema"
	"github.com/seed-885536be/p2p/p2pchat"
)

// bodies are all events, as PROTOCOL.md lists them.
var bodies = []body{
	helloBody{}, joinBody{}, viewBody{}, coordBody{}, peerBody{}, hbBody{}, electBody{}, msgBody{}, dmBody{}, stableBody{},
	digestBody{}, orderBody{}, convergedBody{}, syncBody{}, gapBody{}, nickBody{}, faultBody{}, laggedBody{}, warnBody{}, errorBody{}, replyBody{}, byeBody{},
}

// table returns the rows of a table of PROTOCOL.md, by their first cell: the
// names in the second.
func table(t *testing.T, title string) map[string][]string {
	t.Helper()
	doc, err := os.ReadFile("PROTOCOL.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(doc), title)
	require.True(t, ok, "PROTOCOL.md has no table %q", title)
	name := regexp.MustCompile("`([a-z_]+)`")
	rows := map[string][]string{}
	for row := range strings.SplitSeq(strings.TrimLeft(rest, "\n"), "\n") {
		cells := strings.Split(row, "|")
		if len(cells) < 3 {
			break
		}
		key := name.FindStringSubmatch(cells[1])
		if key == nil {
			key = []string{"", strings.TrimSpace(cells[1])}
		}
		rows[key[1]] = []string{}
		for _, m := range name.FindAllStringSubmatch(cells[2], -1) {
			rows[key[1]] = append(rows[key[1]], m[1])
		}
	}
	return rows
}

// fields are the names of a struct's JSON fields, those of embedded structs
// among them.
func fields(typ reflect.Type) []string {
	var out []string
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			out = append(out, fields(f.Type)...)
		case name == "size" && opts == "omitempty": // said in the text below the table
		default:
			out = append(out, name)
		}
	}
	return out
}

func TestProtocolTables(t *testing.T) {
	t.Run("events", func(t *testing.T) {
		rows := table(t, "| event | fields | when |\n|---|---|---|")
		for _, b := range bodies {
			require.ElementsMatch(t, rows[b.ev()], fields(reflect.TypeOf(b)), b.ev())
			delete(rows, b.ev())
		}
		require.Empty(t, rows, "described, but unknown")
	})
	t.Run("header", func(t *testing.T) {
		rows := table(t, "| field | meaning |\n|---|---|")
		names := []string{}
		for name := range rows {
			names = append(names, name)
		}
		require.ElementsMatch(t, names, fields(reflect.TypeOf(header{})))
	})
	t.Run("commands", func(t *testing.T) {
		rows := table(t, "| op | arguments | data of the reply |\n|---|---|---|")
		for name, op := range ops {
			require.ElementsMatch(t, rows[name], strings.Fields(op.args), name)
			delete(rows, name)
		}
		require.Empty(t, rows, "described, but unknown")
	})
	t.Run("conditions", func(t *testing.T) {
		rows := table(t, "| for | arguments | until | data |\n|---|---|---|---|")
		for name, c := range conditions {
			require.ElementsMatch(t, rows[name], strings.Fields(c.args), name)
			delete(rows, name)
		}
		require.Empty(t, rows, "described, but unknown")
	})
	t.Run("errors", func(t *testing.T) {
		rows := table(t, "| code | meaning |\n|---|---|")
		for _, code := range []string{
			codeBadJSON, codeBadArg, codeUnknownOp, codeTooLarge, codeNotReady, codeNoSuchPeer, codeAmbiguousName, codeAuth, codeVersion, codeTimeout, codeNoNetwork, codeClosed, codeInternal,
		} {
			require.Contains(t, rows, code)
			delete(rows, code)
		}
		require.Empty(t, rows, "described, but unknown")
	})
}

// checkLine checks what must hold of every line, and returns its fields.
func checkLine(t require.TestingT, line []byte) map[string]any {
	require.LessOrEqual(t, len(line), 64<<10)
	require.True(t, utf8.Valid(line))
	require.Equal(t, 1, strings.Count(string(line), "\n"))
	require.True(t, strings.HasSuffix(string(line), "\n"))
	for _, r := range strings.TrimSuffix(string(line), "\n") {
		require.False(t, r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e, "%U in %q", r, line)
	}
	var got map[string]any
	require.NoError(t, json.Unmarshal(line, &got))
	return got
}

// protocol is the schema of all lines.
var protocol = sync.OnceValue(func() *schema.Schema {
	text, err := os.ReadFile("protocol.schema.json")
	if err != nil {
		panic(err)
	}
	s, err := schema.Parse(text)
	if err != nil {
		panic(err)
	}
	return s
})

// TestSchemaIsComplete compares the schema with the types and the table of
// commands: neither has a name that the other lacks.
func TestSchemaIsComplete(t *testing.T) {
	text, err := os.ReadFile("protocol.schema.json")
	require.NoError(t, err)
	var s struct {
		Defs map[string]struct {
			Properties map[string]json.RawMessage
			Enum       []string
		} `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(text, &s))
	described := map[string]bool{}
	for _, b := range bodies {
		names := append(fields(reflect.TypeOf(header{})), fields(reflect.TypeOf(b))...)
		got := slices.DeleteFunc(slices.Collect(maps.Keys(s.Defs["ev."+b.ev()].Properties)), func(name string) bool { return name == "size" && b.ev() != "view" })
		require.ElementsMatch(t, names, got, b.ev())
		described["ev."+b.ev()] = true
	}
	for name, op := range ops {
		require.ElementsMatch(t, append([]string{"op", "ref"}, strings.Fields(op.args)...), slices.Collect(maps.Keys(s.Defs["op."+name].Properties)), name)
		described["op."+name] = true
	}
	for name := range s.Defs {
		if strings.HasPrefix(name, "ev.") || strings.HasPrefix(name, "op.") {
			require.True(t, described[name], "%s is described, but unknown", name)
		}
	}
	codes := slices.Collect(maps.Keys(table(t, "| code | meaning |\n|---|---|")))
	require.Subset(t, s.Defs["code"].Enum, slices.DeleteFunc(codes, func(c string) bool { return c == "" || c[0] < 'a' }))
	for _, c := range []struct {
		command string
		ok      bool
	}{
		{`{"op":"send","text":"hi","ref":"a"}`, true},
		{`{"op":"dm","to":3,"text":"hi","ref":1}`, true},
		{`{"op":"dm","to":"eve#3","text":"hi"}`, true},
		{`{"op":"wait","for":"members","n":3}`, true},
		{`{"op":"fault","cut":[[1,2],[3]],"loss":20}`, true},
		{`{"op":"send"}`, false},
		{`{"op":"send","text":"hi","colour":"red"}`, false},
		{`{"op":"frobnicate"}`, false},
		{`{"op":"subscribe","what":"gossip"}`, false},
	} {
		err := protocol().Validate("command", []byte(c.command))
		require.Equal(t, c.ok, err == nil, "%s: %v", c.command, err)
		_, err = parseCommand([]byte(c.command))
		require.True(t, !c.ok || err == nil, c.command)
	}
}

func TestEncodeIsOneHarmlessLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.Just("\x1b[2J\u009b31m\u202eabc\u2028\U000e0001\x7f\n\x00")).Draw(t, "text")
		b := &msgBody{Text: text, From: peerRef{Nick: text}}
		got := checkLine(t, encode(header{V: 1, Seq: 7}, b))
		require.Equal(t, text, got["text"], "what is read back is what was said")
		require.Equal(t, text, got["from"].(map[string]any)["nick"])
		require.Equal(t, "msg", got["ev"])
		require.NotContains(t, got, "size")
	})
}

func TestEncodeFitsInALine(t *testing.T) {
	huge := strings.Repeat("ä", 1<<20)
	many := make([]p2pchat.Peer, 5000)
	for i := range many {
		many[i] = p2pchat.Peer{ID: uint32(i + 1), Nick: strings.Repeat("n", 64), Addr: netip.MustParseAddrPort("10.0.0.1:7000")}
	}
	view := toView(p2pchat.View{Members: many})

	t.Run("text", func(t *testing.T) {
		got := checkLine(t, encode(header{}, &msgBody{Text: huge}))
		text := got["text"].(string)
		require.True(t, strings.HasPrefix(huge, text))
		require.Greater(t, len(text), 16<<10)
		require.EqualValues(t, len(huge), got["size"])
	})
	t.Run("escapes", func(t *testing.T) {
		got := checkLine(t, encode(header{}, &msgBody{Text: strings.Repeat("\x00", 60<<10)}))
		require.NotEmpty(t, got["text"])
	})
	t.Run("view", func(t *testing.T) {
		v := view
		got := checkLine(t, encode(header{}, &viewBody{viewData: v, Joined: toRefs(many), Left: []departure{}, Renumbered: toRefs(many)}))
		require.EqualValues(t, 5000, got["size"])
		require.NotEmpty(t, got["members"])
	})
	t.Run("reply", func(t *testing.T) {
		v := view
		got := checkLine(t, encode(header{}, &replyBody{Ref: json.RawMessage(`1`), OK: true, Data: &v}))
		require.Equal(t, true, got["ok"])
		require.EqualValues(t, 5000, got["data"].(map[string]any)["size"])
	})
	t.Run("reply that cannot be shortened", func(t *testing.T) {
		got := checkLine(t, encode(header{}, &replyBody{Ref: json.RawMessage(`1`), OK: true, Data: sentData{M: huge}}))
		require.Equal(t, false, got["ok"])
		require.Equal(t, codeTooLarge, got["err"].(map[string]any)["code"])
		require.EqualValues(t, 1, got["ref"])
	})
	t.Run("event that cannot be shortened", func(t *testing.T) {
		got := checkLine(t, encode(header{}, warnBody{Text: huge}))
		require.Equal(t, "error", got["ev"])
		require.Equal(t, codeTooLarge, got["code"])
	})
}

func TestParseCommand(t *testing.T) {
	long := `"` + strings.Repeat("r", maxRef) + `"`
	for _, c := range []struct{ name, line, code, ref string }{
		{"good", `{"op":"send","text":"hi","room":"r","ref":"a"}`, "", `"a"`},
		{"number as ref", `{"op":"view","ref":17}`, "", `17`},
		{"no ref", `{"op":"who"}`, "", ``},
		{"spaces", ` { "op" : "who" } `, "", ``},
		{"cut short", `{"op":"send"`, codeBadJSON, ``},
		{"no JSON", `hello`, codeBadJSON, ``},
		{"a list", `[1]`, codeBadJSON, ``},
		{"null", `null`, codeBadJSON, ``},
		{"a string", `"send"`, codeBadJSON, ``},
		{"two objects", `{"op":"who"}{"op":"who"}`, codeBadJSON, ``},
		{"rubbish behind", `{"op":"who"} x`, codeBadJSON, ``},
		{"not UTF-8", "{\"op\":\"send\",\"text\":\"\xff\"}", codeBadJSON, ``},
		{"no op", `{"ref":1}`, codeBadArg, `1`},
		{"op is a number", `{"op":1,"ref":2}`, codeBadArg, `2`},
		{"op is null", `{"op":null,"ref":2}`, codeUnknownOp, `2`},
		{"unknown op", `{"op":"snd","ref":3}`, codeUnknownOp, `3`},
		{"op in capitals", `{"op":"SEND","ref":3}`, codeUnknownOp, `3`},
		{"key in capitals", `{"op":"send","Text":"x","ref":3}`, codeBadArg, `3`},
		{"unknown argument", `{"op":"send","text":"x","to":1,"ref":4}`, codeBadArg, `4`},
		{"another op's argument", `{"op":"view","text":"x","ref":4}`, codeBadArg, `4`},
		{"wrong type", `{"op":"send","text":5,"ref":5}`, codeBadArg, `5`},
		{"negative", `{"op":"history","since":-1,"ref":5}`, codeBadArg, `5`},
		{"fraction", `{"op":"history","limit":1.5,"ref":5}`, codeBadArg, `5`},
		{"huge number", `{"op":"history","since":1e40,"ref":5}`, codeBadArg, `5`},
		{"ref is an object", `{"op":"who","ref":{}}`, codeBadArg, ``},
		{"ref is a list", `{"op":"who","ref":[1]}`, codeBadArg, ``},
		{"ref is true", `{"op":"who","ref":true}`, codeBadArg, ``},
		{"ref is null", `{"op":"who","ref":null}`, "", ``},
		{"ref too long", `{"op":"who","ref":` + long + `}`, codeBadArg, ``},
		{"deep", strings.Repeat(`{"op":`, 20000) + `1` + strings.Repeat(`}`, 20000), codeBadJSON, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseCommand([]byte(c.line))
			require.NotNil(t, got)
			require.Equal(t, c.ref, string(got.Ref))
			if c.code == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			require.Equal(t, c.code, toFailure(err).Code, err)
			require.LessOrEqual(t, len(err.Error()), 300)
		})
	}
	_, err := parseCommand([]byte(`{"op":"snd"}`))
	require.ErrorContains(t, err, "did you mean send?")
}

func FuzzParseCommand(f *testing.F) {
	f.Add([]byte(`{"op":"wait","for":"members","n":3,"timeout_ms":5,"ref":"x"}`))
	f.Add([]byte(`{"op":"send","text":"\u0000\ud800","ref":1}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		c, err := parseCommand(line)
		require.NotNil(t, c)
		b := &replyBody{Ref: c.Ref, OK: err == nil}
		if c.Ref == nil {
			b.Ref = json.RawMessage("null")
		}
		if err != nil {
			f := toFailure(err)
			require.True(t, slices.Contains([]string{codeBadJSON, codeBadArg, codeUnknownOp}, f.Code), f.Code)
			b.Err = f
		}
		checkLine(t, encode(header{}, b))
	})
}
