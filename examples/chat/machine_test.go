package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// checkTranscript checks what must hold of all that a program wrote, from its
// first line to its last.
func checkTranscript(t *testing.T, p *program) {
	t.Helper()
	events := table(t, "| event | fields | when |\n|---|---|---|")
	optional := map[string][]string{"msg": {"size"}, "dm": {"size"}, "reply": {"data", "err"}}
	head := []string{"v", "seq", "t", "ms", "node", "id", "ev"}

	written := map[string]bool{}
	messages := 0.0
	var views, digests []any
	var coordinator any
	waits := map[any]bool{}
	for i, command := range p.commands {
		waits[fmt.Sprintf("r%d", i+1)] = strings.HasPrefix(command, `{"op":"wait"`)
	}
	var key any
	var ms float64
	all := p.events()
	require.NotEmpty(t, all)
	for i, line := range slices.Collect(strings.Lines(p.out.String())) {
		e := checkLine(t, []byte(line))
		require.NoError(t, protocol().Validate("event", []byte(line)), line)
		ev := e["ev"].(string)
		require.EqualValues(t, 1, e["v"])
		require.EqualValues(t, i+1, e["seq"], "numbers without a gap")
		require.GreaterOrEqual(t, e["ms"].(float64), ms)
		ms = e["ms"].(float64)
		require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, e["t"])
		if key == nil {
			key = e["node"]
			require.Regexp(t, `^[0-9a-f]{32}$`, key)
		}
		require.Equal(t, key, e["node"])
		require.Equal(t, i == 0, ev == "hello", "hello is the first, and only the first")
		require.Equal(t, i == len(all)-1, ev == "bye", "bye is the last, and only the last")

		want, known := events[ev]
		require.True(t, known, "%s is not described", ev)
		for _, name := range append(slices.Clone(head), want...) {
			require.True(t, slices.Contains(optional[ev], name) || has(e, name), "%s without %s: %s", ev, name, line)
			delete(e, name)
		}
		for _, name := range optional[ev] {
			delete(e, name)
		}
		require.Empty(t, e, "fields that are not described: %s", line)

		switch e := all[i]; ev {
		case "msg":
			require.False(t, written[e["m"].(string)], "delivered twice: %s", line)
			written[e["m"].(string)] = true
			messages++
		case "stable":
			require.True(t, written[e["m"].(string)], "stable before it was delivered: %s", line)
		case "digest":
			require.GreaterOrEqual(t, messages, e["n"].(float64), "counted before it was delivered: %s", line)
		case "converged":
			require.GreaterOrEqual(t, messages, e["n"].(float64), "counted before it was delivered: %s", line)
			digests = append(digests, e["hist"])
		case "view":
			views = append(views, e["vid"])
		case "coord":
			coordinator = e["new"].(event)["node"]
		case "reply":
			data, ok := e["data"].(event)
			if !ok || !waits[e["ref"]] {
				continue
			}
			switch {
			case has(data, "vid"):
				require.Contains(t, views, data["vid"], "waited for what was not shown: %s", line)
			case has(data, "coord"):
				require.Equal(t, coordinator, data["coord"].(event)["node"], "waited for what was not shown: %s", line)
			case has(data, "hist"):
				require.Contains(t, digests, data["hist"], "waited for what was not shown: %s", line)
			case has(data, "text"):
				require.True(t, written[data["m"].(string)], "waited for what was not shown: %s", line)
			}
		}
	}
	for ref, n := range p.replies() {
		require.Equal(t, 1, n, "replies to %s", ref)
	}
}

func has(e event, name string) bool { _, ok := e[name]; return ok }

func (p *program) replies() map[string]int {
	n := map[string]int{}
	for i := range p.commands {
		n[fmt.Sprintf("r%d", i+1)] = 0
	}
	for _, e := range p.events() {
		if ref, ok := e["ref"].(string); ok && e["ev"] == "reply" {
			n[ref]++
		}
	}
	return n
}

func TestFounder(t *testing.T) {
	t.Parallel()
	group := newGroup()
	p := start(t, group, "-json", "-nick", "ada", "-room", "den", "-election", "ring")
	hello := p.await(0, "hello", nil)
	require.EqualValues(t, 1, hello["wire"])
	require.Equal(t, group[3], hello["group"])
	require.Equal(t, "den", hello["room"])
	require.Equal(t, "open", hello["sec"])
	require.Equal(t, "ring", hello["algo"])
	require.Regexp(t, `^127\.0\.0\.1:\d+$`, hello["addr"])
	require.EqualValues(t, 0, hello["id"])
	ifaces := hello["ifaces"].([]any)
	require.NotEmpty(t, ifaces)
	for _, f := range ifaces {
		require.Len(t, f, 4, "name addr use why: %v", f)
	}

	v := p.do(`{"op":"wait","for":"ready"}`)
	require.EqualValues(t, 1, v["coord"])
	phases := []string{}
	for _, e := range p.events() {
		if e["ev"] == "join" {
			phases = append(phases, e["phase"].(string))
		}
	}
	require.Equal(t, "probe", phases[0])
	require.Equal(t, "first", phases[len(phases)-1])
	view := p.await(0, "view", nil)
	require.Equal(t, "first", view["cause"])
	require.Equal(t, []any{}, view["left"])
	members := view["members"].([]any)
	require.Equal(t, event{"id": 1.0, "node": hello["node"], "nick": "ada", "addr": hello["addr"]}, members[0])
	coord := p.await(0, "coord", nil)
	require.Nil(t, coord["old"])
	require.Equal(t, event{"id": 1.0, "node": hello["node"], "nick": "ada"}, coord["new"])
	require.Equal(t, "first", coord["cause"])

	p.in.Close()
	require.Equal(t, exitOK, p.exit())
	bye := p.await(0, "bye", nil)
	require.EqualValues(t, 0, bye["code"])
	require.Equal(t, "eof", bye["cause"])
	checkTranscript(t, p)
}

func TestOps(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	key := func(p *program) any { return p.await(0, "hello", nil)["node"] }
	ada, bob := event{"id": 1.0, "node": key(a), "nick": "ada"}, event{"id": 2.0, "node": key(b), "nick": "bob"}

	t.Run("view", func(t *testing.T) {
		v := b.do(`{"op":"view"}`)
		require.EqualValues(t, 1, v["coord"])
		require.EqualValues(t, 2, v["size"])
		require.Len(t, v["members"], 2)
		require.Equal(t, a.do(`{"op":"view"}`), v)
	})
	t.Run("who", func(t *testing.T) {
		items := a.do(`{"op":"who"}`)["items"].([]any)
		require.Len(t, items, 2)
		require.Equal(t, event{"peer": bob, "state": "up", "why": "", "silent_ms": 0.0}, items[1])
	})
	t.Run("send", func(t *testing.T) {
		text := "hello \u202e\x1b[31m\u2028 \"wörld\" <&>"
		quoted, _ := json.Marshal(text)
		m := a.do(fmt.Sprintf(`{"op":"send","text":%s}`, quoted))["m"]
		require.Regexp(t, `^[0-9a-f]{32}:1$`, m)
		for _, p := range []*program{a, b} {
			got := p.await(0, "msg", func(e event) bool { return e["m"] == m })
			require.Equal(t, text, got["text"])
			require.Equal(t, "lobby", got["room"])
			require.Equal(t, ada, got["from"])
			require.Equal(t, false, got["backlog"])
			require.Equal(t, false, got["inserted"])
			require.EqualValues(t, 0, got["pos"])
			require.Equal(t, m, p.do(fmt.Sprintf(`{"op":"wait","for":"stable","m":"%s"}`, m))["m"])
			p.await(0, "stable", func(e event) bool { return e["m"] == m })
		}
		other := b.do(`{"op":"send","text":"there","room":"attic"}`)["m"]
		got := a.await(0, "msg", func(e event) bool { return e["m"] == other })
		require.Equal(t, "attic", got["room"])
	})
	t.Run("digest", func(t *testing.T) {
		a.do(`{"op":"wait","for":"message","n":2}`)
		c := a.do(`{"op":"wait","for":"converged","n":2}`)
		require.EqualValues(t, 2, c["n"])
		d := b.do(`{"op":"digest"}`)
		require.Equal(t, c["hist"], d["hist"])
		require.EqualValues(t, 2, d["n"])
	})
	t.Run("history", func(t *testing.T) {
		h := a.do(`{"op":"history"}`)
		require.Len(t, h["items"], 2)
		require.Nil(t, h["next"])
		require.Equal(t, a.do(`{"op":"digest"}`)["hist"], h["hist"])
		require.EqualValues(t, 2, h["n"])
		attic := a.do(`{"op":"history","room":"attic"}`)["items"].([]any)
		require.Len(t, attic, 1)
		require.Equal(t, "there", attic[0].(event)["text"])
		first := a.do(`{"op":"history","limit":1}`)
		require.Len(t, first["items"], 1)
		require.EqualValues(t, 1, first["next"])
		require.Equal(t, h["items"].([]any)[1:], a.do(`{"op":"history","since":1}`)["items"])
		require.Empty(t, a.do(`{"op":"history","since":99}`)["items"])
	})
	t.Run("search", func(t *testing.T) {
		require.Len(t, a.do(`{"op":"search","q":"WÖRLD"}`)["items"], 1)
		require.Empty(t, a.do(`{"op":"search","q":"nothing"}`)["items"])
		both := a.do(`{"op":"search","q":"e","limit":1}`)
		require.Len(t, both["items"], 1)
		require.Equal(t, true, both["more"])
	})
	t.Run("why", func(t *testing.T) {
		items := a.do(`{"op":"history"}`)["items"].([]any)
		first, second := items[0].(event), items[1].(event)
		w := b.do(fmt.Sprintf(`{"op":"why","m":%q}`, first["m"]))
		for name, v := range first {
			if name != "backlog" && name != "inserted" { // as it was at the other node
				require.Equal(t, v, w[name], name)
			}
		}
		require.Equal(t, ada, w["via"])
		require.Regexp(t, `Z$`, w["came"])
		require.Empty(t, w["concurrent"])
		after := b.do(fmt.Sprintf(`{"op":"why","m":%q}`, second["m"]))
		require.Contains(t, after["after"], first["m"])
		require.Equal(t, bob, after["via"], "own")
		require.Greater(t, after["height"], w["height"])
		require.Equal(t, codeBadArg, b.fails(`{"op":"why","m":"00000000000000000000000000000000:1"}`))
	})
	t.Run("status", func(t *testing.T) {
		s := b.do(`{"op":"status"}`)
		require.Equal(t, "member", s["phase"])
		require.Equal(t, bob, s["self"])
		require.EqualValues(t, 1, s["coord"])
		require.EqualValues(t, 2, s["members"])
		require.Equal(t, "bully", s["algo"])
		require.NotNil(t, s["drops"])
		require.EqualValues(t, 2, s["known"])
		for late := time.Now().Add(patience); s["hb_ms"].(float64) > 2000; s = b.do(`{"op":"status"}`) {
			require.True(t, time.Now().Before(late), "the last heartbeat is long ago: %v", s)
		}
	})
	t.Run("nick", func(t *testing.T) {
		require.Equal(t, "bob", b.do(`{"op":"nick"}`)["old"])
		n := b.do(`{"op":"nick","nick":"robert"}`)
		require.Equal(t, "bob", n["old"])
		require.Equal(t, "robert", n["peer"].(event)["nick"])
		e := a.await(0, "nick", nil)
		require.Equal(t, "bob", e["old"])
		require.Equal(t, "robert", e["peer"].(event)["nick"])
		require.Equal(t, "rename", a.await(0, "view", func(e event) bool { return e["cause"] == "rename" })["cause"])
	})
	t.Run("subscribe", func(t *testing.T) {
		for _, p := range []*program{a, b} {
			for _, e := range p.events() {
				require.NotEqual(t, "hb", e["ev"], "not subscribed to")
			}
			require.Equal(t, []any{"digest", "elect", "hb"}, p.do(`{"op":"subscribe","what":"hb"}`)["what"])
			hb := p.await(0, "hb", nil)
			require.Equal(t, ada, hb["from"])
			require.Equal(t, []any{"digest", "elect"}, p.do(`{"op":"unsubscribe","what":"hb"}`)["what"])
		}
		require.Equal(t, []any{"elect"}, a.do(`{"op":"unsubscribe","what":"digest"}`)["what"])
		n := len(a.events())
		b.do(`{"op":"send","text":"quietly"}`)
		a.do(`{"op":"wait","for":"message","text":"quietly"}`)
		a.do(`{"op":"wait","for":"converged","n":2}`)
		for _, e := range a.events()[n:] {
			require.NotEqual(t, "digest", e["ev"])
		}
		a.do(`{"op":"subscribe","what":"digest"}`)
	})
	t.Run("elect", func(t *testing.T) {
		before := map[*program]int{a: len(a.events()), b: len(b.events())}
		a.do(`{"op":"elect"}`)
		for p, n := range before {
			c := p.await(n, "coord", nil)
			require.EqualValues(t, 2, c["new"].(event)["id"])
			require.EqualValues(t, 1, c["old"].(event)["id"])
			require.Equal(t, "elected", c["cause"])
			require.Equal(t, p.do(`{"op":"wait","for":"coordinator","id":2}`)["coord"], c["new"])
			e := p.await(0, "elect", nil)
			require.Equal(t, "bully", e["algo"])
			p.await(0, "elect", func(e event) bool { return e["kind"] == "COORDINATOR" || e["phase"] == "win" })
		}
	})
	t.Run("quit", func(t *testing.T) {
		require.Empty(t, b.do(`{"op":"quit"}`))
		require.Equal(t, exitOK, b.exit())
		require.Equal(t, "quit", b.await(0, "bye", nil)["cause"])
		e := a.await(0, "peer", func(e event) bool { return e["state"] == "left" })
		require.EqualValues(t, 2, e["peer"].(event)["id"])
		v := a.await(0, "view", func(e event) bool { return len(e["left"].([]any)) > 0 })
		require.Equal(t, "left", v["left"].([]any)[0].(event)["why"])
		a.do(`{"op":"wait","for":"coordinator","id":1}`)
	})
	a.signal()
	require.Equal(t, exitOK, a.exit())
	require.Equal(t, "signal", a.await(0, "bye", nil)["cause"])
	checkTranscript(t, a)
	checkTranscript(t, b)
}

func TestFault(t *testing.T) {
	t.Parallel()
	a, b := pair(t, "-timeout", "6s")
	n := len(a.events())
	f := a.do(`{"op":"fault","loss":50,"delay_ms":20}`)
	require.Equal(t, event{"cut": []any{}, "loss": 50.0, "delay_ms": 20.0}, f)
	f = a.do(`{"op":"fault","cut":[[1],[2]],"loss":0}`)
	require.Equal(t, event{"cut": []any{[]any{1.0}, []any{2.0}}, "loss": 0.0, "delay_ms": 20.0}, f)
	told := a.await(n, "fault", func(e event) bool { return e["loss"] == 0.0 })
	require.Equal(t, f["cut"], told["cut"])
	a.do(`{"op":"wait","for":"members","n":1}`)
	// Who has left the view is still known by its ID.
	f = a.do(`{"op":"fault","cut":[[2]]}`)
	require.Equal(t, []any{[]any{2.0}}, f["cut"])
	require.Equal(t, event{"cut": []any{}, "loss": 0.0, "delay_ms": 0.0}, a.do(`{"op":"fault","clear":true}`))
	for _, p := range []*program{a, b} {
		p.do(`{"op":"wait","for":"members","n":2}`)
		p.do(`{"op":"wait","for":"converged","n":2}`)
	}
	for _, p := range []*program{a, b} {
		p.do(`{"op":"quit"}`)
		require.Equal(t, exitOK, p.exit())
		checkTranscript(t, p)
	}
}

func TestErrorCodes(t *testing.T) {
	t.Parallel()
	p := start(t, newGroup(), "-json")
	p.await(0, "hello", nil)
	require.Equal(t, codeNotReady, p.fails(`{"op":"send","text":"too early"}`))
	require.Equal(t, codeNotReady, p.fails(`{"op":"elect"}`))
	require.Equal(t, codeNotReady, p.fails(`{"op":"dm","to":2,"text":"too early"}`))
	p.do(`{"op":"wait","for":"ready"}`)

	for _, c := range []struct{ command, code string }{
		{`{"op":"frobnicate"}`, codeUnknownOp},
		{`{"op":"why"}`, codeBadArg},
		{`{"op":"why","m":"7"}`, codeBadArg},
		{`{"op":"dm","to":1}`, codeBadArg},
		{`{"op":"dm","text":"x"}`, codeBadArg},
		{`{"op":"dm","to":[1],"text":"x"}`, codeBadArg},
		{`{"op":"dm","to":1,"text":"to myself"}`, codeBadArg},
		{`{"op":"dm","to":7,"text":"x"}`, codeNoSuchPeer},
		{`{"op":"dm","to":1.5,"text":"x"}`, codeNoSuchPeer},
		{`{"op":"dm","to":"zoe","text":"x"}`, codeNoSuchPeer},
		{`{"op":"dm","to":"zoe","text":"` + strings.Repeat("x", 61<<10) + `"}`, codeTooLarge},
		{`{"op":"send"}`, codeBadArg},
		{`{"op":"send","text":1}`, codeBadArg},
		{`{"op":"send","text":"x","room":""}`, codeBadArg},
		{`{"op":"send","text":"x","room":"` + strings.Repeat("r", 65) + `"}`, codeBadArg},
		{`{"op":"send","text":"x","colour":"red"}`, codeBadArg},
		{`{"op":"send","text":"` + strings.Repeat("x", 61<<10) + `"}`, codeTooLarge},
		{`{"op":"send","text":"` + strings.Repeat(`\u0001`, 10900) + `"}`, codeTooLarge},
		{`{"op":"nick","nick":" "}`, codeBadArg},
		{`{"op":"nick","nick":"` + strings.Repeat("x", 65) + `"}`, codeBadArg},
		{`{"op":"history","limit":0}`, codeBadArg},
		{`{"op":"history","since":-1}`, codeBadArg},
		{`{"op":"search"}`, codeBadArg},
		{`{"op":"search","q":"x","limit":0}`, codeBadArg},
		{`{"op":"subscribe"}`, codeBadArg},
		{`{"op":"fault"}`, codeBadArg},
		{`{"op":"fault","loss":101}`, codeBadArg},
		{`{"op":"fault","loss":-1}`, codeBadArg},
		{`{"op":"fault","loss":0.2}`, codeBadArg},
		{`{"op":"fault","delay_ms":-1}`, codeBadArg},
		{`{"op":"fault","delay_ms":60001}`, codeBadArg},
		{`{"op":"fault","cut":[1]}`, codeBadArg},
		{`{"op":"fault","cut":[[1],[1]]}`, codeBadArg},
		{`{"op":"fault","cut":[[1],[2]]}`, codeNoSuchPeer},
		{`{"op":"subscribe","what":"gossip"}`, codeBadArg},
		{`{"op":"wait"}`, codeBadArg},
		{`{"op":"wait","for":"rain"}`, codeBadArg},
		{`{"op":"wait","for":"members"}`, codeBadArg},
		{`{"op":"wait","for":"members","n":0}`, codeBadArg},
		{`{"op":"wait","for":"members","n":2,"text":"x"}`, codeBadArg},
		{`{"op":"wait","for":"stable"}`, codeBadArg},
		{`{"op":"wait","for":"stable","m":"x"}`, codeBadArg},
		{`{"op":"wait","for":"message"}`, codeBadArg},
		{`{"op":"wait","for":"message","m":"x"}`, codeBadArg},
		{`{"op":"wait","for":"ready","timeout_ms":-1}`, codeBadArg},
		{`{"op":"wait","for":"members","n":7,"timeout_ms":0}`, codeTimeout},
		{`{"op":"wait","for":"members","n":7,"timeout_ms":20}`, codeTimeout},
		{`{"op":"wait","for":"coordinator","id":7,"timeout_ms":20}`, codeTimeout},
		{`{"op":"wait","for":"converged","n":7,"timeout_ms":20}`, codeTimeout},
		{`{"op":"wait","for":"message","text":"x","timeout_ms":20}`, codeTimeout},
		{`{"op":"wait","for":"stable","m":"` + strings.Repeat("ab", 16) + `:1","timeout_ms":20}`, codeTimeout},
	} {
		name := c.command[:min(len(c.command), 80)]
		require.Equal(t, c.code, p.fails(c.command), name)
	}

	// Lines whose reply cannot have a ref.
	for _, c := range []struct{ line, code string }{
		{`hello`, codeBadJSON},
		{`{"op":"who"`, codeBadJSON},
		{`{"op":"who","ref":[1]}`, codeBadArg},
		{strings.Repeat("x", maxLine+1), codeTooLarge},
	} {
		n := len(p.events())
		p.write("%s", c.line)
		e := p.await(n, "reply", func(e event) bool { return e["ref"] == nil })
		require.Equal(t, c.code, e["err"].(event)["code"])
	}
	p.write("\n  \n") // nothing is no command

	// What is true already is answered at once, even without any time.
	require.NotEmpty(t, p.do(`{"op":"wait","for":"ready","timeout_ms":0}`))
	require.NotEmpty(t, p.do(`{"op":"wait","for":"members","n":1,"timeout_ms":0}`))
	require.NotEmpty(t, p.do(`{"op":"wait","for":"coordinator","id":1,"timeout_ms":0}`))
	m := p.do(`{"op":"send","text":"here"}`)["m"]
	p.do(`{"op":"wait","for":"converged","n":1}`)
	require.NotEmpty(t, p.do(`{"op":"wait","for":"converged","timeout_ms":0}`))
	require.NotEmpty(t, p.do(fmt.Sprintf(`{"op":"wait","for":"stable","m":"%s","timeout_ms":0}`, m)))
	require.NotEmpty(t, p.do(fmt.Sprintf(`{"op":"wait","for":"message","m":"%s","text":"here","id":1,"timeout_ms":0}`, m)))
	require.Equal(t, codeTimeout, p.fails(`{"op":"wait","for":"message","text":"here","n":2,"timeout_ms":0}`))
	require.Equal(t, codeTimeout, p.fails(`{"op":"wait","for":"message","text":"her","timeout_ms":0}`))

	// A wait that is under way at the end is answered all the same, and so is
	// what comes between.
	ref := p.begin(`{"op":"wait","for":"members","n":9}`)
	require.NotEmpty(t, p.do(`{"op":"view"}`))
	p.do(`{"op":"quit"}`)
	require.Equal(t, exitOK, p.exit())
	require.Equal(t, codeClosed, p.reply(ref)["err"].(event)["code"])
	checkTranscript(t, p)
}

// TestDirect sends messages that only one of three gets.
func TestDirect(t *testing.T) {
	t.Parallel()
	group := newGroup()
	var all []*program
	for i := range 3 {
		p := start(t, group, "-json", "-nick", []string{"ada", "bob", "bob"}[i])
		p.do(`{"op":"wait","for":"ready"}`)
		all = append(all, p)
	}
	a, b, c := all[0], all[1], all[2]
	a.do(`{"op":"wait","for":"members","n":3}`)
	key := b.await(0, "hello", nil)["node"].(string)
	require.Equal(t, codeAmbiguousName, a.fails(`{"op":"dm","to":"bob","text":"which?"}`))
	var ms []any
	for _, to := range []string{`2`, `"2"`, `"bob#2"`, `"` + key + `"`, `"` + key[:8] + `"`} {
		ms = append(ms, a.do(fmt.Sprintf(`{"op":"dm","to":%s,"text":"psst \u001b %s"}`, to, strings.ReplaceAll(to, `"`, "")))["m"])
	}
	n := 0
	last := b.await(0, "dm", func(e event) bool { return e["m"] == ms[len(ms)-1] })
	for _, e := range b.events() {
		if e["ev"] == "dm" {
			require.Equal(t, ms[n], e["m"], "in order")
			n++
		}
	}
	require.Equal(t, len(ms), n)
	require.Equal(t, "psst \x1b "+key[:8], last["text"])
	require.Equal(t, "ada", last["from"].(event)["nick"])
	require.Equal(t, event{"id": 2.0, "node": key, "nick": "bob"}, last["to"])
	require.EqualValues(t, 0, a.do(`{"op":"digest"}`)["n"], "none of the group's business")
	for _, e := range c.events() {
		require.NotEqual(t, "dm", e["ev"])
	}
	b.do(`{"op":"quit"}`)
	a.await(0, "peer", func(e event) bool { return e["state"] == "left" })
	require.Equal(t, codeNoSuchPeer, a.fails(`{"op":"dm","to":2,"text":"gone"}`))
	for _, p := range all {
		p.in.Close()
		require.Equal(t, exitOK, p.exit())
		checkTranscript(t, p)
	}
}

func TestNoNetwork(t *testing.T) {
	t.Parallel()
	p := start(t, []string{"-iface", "nosuch0"}, "-json")
	require.Equal(t, exitNoNetwork, p.exit())
	failed := p.await(0, "join", func(e event) bool { return e["phase"] == "failed" })
	require.Equal(t, codeNoNetwork, failed["code"])
	require.Contains(t, p.await(0, "hello", nil)["ifaces"], event{"name": "nosuch0", "addr": "", "use": false, "why": "no such interface"})
	require.NotEmpty(t, failed["text"])
	require.EqualValues(t, exitNoNetwork, p.await(0, "bye", nil)["code"])
	checkTranscript(t, p)
}

func TestEndWhileJoining(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(p *program){
		"eof":    func(p *program) { p.in.Close() },
		"signal": func(p *program) { p.signal() },
		"quit":   func(p *program) { p.do(`{"op":"quit"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, newGroup(), "-json")
			p.await(0, "hello", nil)
			end(p)
			require.Equal(t, exitOK, p.exit())
			require.Equal(t, name, p.await(0, "bye", nil)["cause"])
			for _, e := range p.events() {
				require.NotEqual(t, "failed", e["phase"], "nothing failed")
			}
			checkTranscript(t, p)
		})
	}
}

func TestCrash(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	a.write(`{"op":"crash","ref":"x"}`)
	require.Equal(t, exitCrash, a.exit())
	for _, e := range a.events() {
		require.NotEqual(t, "bye", e["ev"])
		require.NotEqual(t, "x", e["ref"])
	}
	e := b.await(0, "peer", func(e event) bool { return e["state"] == "dead" })
	require.EqualValues(t, 1, e["peer"].(event)["id"])
	v := b.await(0, "view", func(e event) bool { return len(e["left"].([]any)) > 0 })
	require.Equal(t, "dead", v["left"].([]any)[0].(event)["why"])
	b.do(`{"op":"wait","for":"coordinator","id":2}`)
	b.in.Close()
	require.Equal(t, exitOK, b.exit())
	checkTranscript(t, b)
}

func TestQuitWithoutGoodbye(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	b.do(`{"op":"quit","graceful":false}`)
	require.Equal(t, exitOK, b.exit())
	e := a.await(0, "peer", func(e event) bool { return e["state"] == "dead" || e["state"] == "left" })
	require.Equal(t, "dead", e["state"])
	checkTranscript(t, b)
}

// TestHistoryPages reads a history that is far too long for a line.
func TestHistoryPages(t *testing.T) {
	t.Parallel()
	p := start(t, newGroup(), "-json")
	p.do(`{"op":"wait","for":"ready"}`)
	const n = 300
	var last string
	for i := range n {
		size := 10
		switch i % 50 {
		case 0:
			size = 59 << 10 // nearly a line
		case 1:
			size = 3000
		}
		last = p.begin(fmt.Sprintf(`{"op":"send","text":"%d %s"}`, i, strings.Repeat("y", size)))
	}
	p.reply(last)
	var keys []string
	pages := 0
	for since := 0.0; ; pages++ {
		page := p.do(fmt.Sprintf(`{"op":"history","since":%d}`, int(since)))
		require.EqualValues(t, n, page["n"])
		for _, item := range page["items"].([]any) {
			require.EqualValues(t, len(keys), item.(event)["pos"])
			keys = append(keys, item.(event)["m"].(string))
		}
		if page["next"] == nil {
			break
		}
		require.Greater(t, page["next"], since)
		since = page["next"].(float64)
	}
	require.Len(t, keys, n)
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(keys))), n)
	require.Greater(t, pages, 5)
	p.in.Close()
	require.Equal(t, exitOK, p.exit())
	checkTranscript(t, p)
}

// TestLateJoiner checks that history comes to a newcomer as backlog.
func TestLateJoiner(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	a.do(`{"op":"send","text":"one"}`)
	b.do(`{"op":"send","text":"two"}`)
	a.do(`{"op":"wait","for":"message","n":2}`)
	c := start(t, inGroup(a.await(0, "hello", nil)["group"].(string)), "-json", "-nick", "eve")
	c.do(`{"op":"wait","for":"ready"}`)
	c.do(`{"op":"wait","for":"message","n":2}`)
	for _, text := range []string{"one", "two"} {
		e := c.await(0, "msg", func(e event) bool { return e["text"] == text })
		require.Equal(t, true, e["backlog"], "%v", e)
	}
	c.do(`{"op":"wait","for":"converged","n":3}`)
	require.Equal(t, a.do(`{"op":"history"}`)["items"].([]any)[0].(event)["m"], c.do(`{"op":"history"}`)["items"].([]any)[0].(event)["m"])
	var phases []any
	for _, e := range c.events() {
		if e["ev"] == "join" && e["phase"] != "probe" {
			phases = append(phases, e["phase"])
		}
	}
	require.Equal(t, []any{"assigned", "sync", "ready"}, phases)
}

// TestSync follows a newcomer that takes over a long history.
func TestSync(t *testing.T) {
	t.Parallel()
	group := newGroup()
	a := start(t, group, "-json", "-nick", "ada")
	a.do(`{"op":"wait","for":"ready"}`)
	const n = 100
	long := strings.Repeat("x", 16<<10)
	var last string
	for range n {
		last = a.begin(fmt.Sprintf(`{"op":"send","text":%q}`, long))
	}
	a.reply(last)
	b := start(t, group, "-json", "-nick", "bob")
	b.do(`{"op":"wait","for":"ready"}`)
	b.await(0, "sync", func(e event) bool { return e["have"] == e["of"] })
	b.do(`{"op":"wait","for":"converged","n":2}`)
	var have []float64
	messages := 0
	for _, e := range b.events() {
		switch e["ev"] {
		case "msg":
			messages++
		case "sync":
			require.EqualValues(t, n, e["of"])
			require.GreaterOrEqual(t, messages, int(e["have"].(float64)), "counted before it was delivered")
			have = append(have, e["have"].(float64))
		}
	}
	require.Greater(t, len(have), 1, "it begins and it ends")
	require.True(t, slices.IsSorted(have))
	require.EqualValues(t, n, have[len(have)-1])
	b.do(`{"op":"quit"}`)
	b.exit()
	checkTranscript(t, b)
}

// TestGap lets an answer come to a node before the question, which it is cut off
// from.
func TestGap(t *testing.T) {
	t.Parallel()
	group := newGroup()
	var nodes []*program
	for _, nick := range []string{"ada", "bob", "eve"} {
		p := start(t, group, "-json", "-nick", nick)
		p.do(`{"op":"wait","for":"ready"}`)
		nodes = append(nodes, p)
	}
	ada, bob, eve := nodes[0], nodes[1], nodes[2]
	// All have heard each other, so that what comes is not taken over as a whole.
	for _, p := range nodes {
		p.do(`{"op":"wait","for":"members","n":3}`)
		p.do(`{"op":"send","text":"here"}`)
	}
	for _, p := range nodes {
		p.do(`{"op":"wait","for":"message","n":3}`)
		p.do(`{"op":"wait","for":"converged","n":3}`)
	}
	// What bob says comes late, and so does what eve asks bob for.
	eve.do(`{"op":"fault","cut":[[1],[2,3]],"delay_ms":400}`)
	ada.do(`{"op":"send","text":"what?"}`)
	bob.do(`{"op":"wait","for":"message","text":"what?"}`)
	bob.do(`{"op":"send","text":"that"}`)
	gap := eve.await(0, "gap", nil)
	require.EqualValues(t, 1, gap["waiting"])
	require.EqualValues(t, 1, gap["missing"])
	require.GreaterOrEqual(t, gap["gap_ms"], 200.0)
	closed := eve.await(0, "gap", func(e event) bool { return e["waiting"] == 0.0 })
	require.Zero(t, closed["missing"])
	require.Zero(t, closed["given_up"])
	require.Greater(t, closed["gap_ms"], gap["gap_ms"])
	eve.do(`{"op":"wait","for":"message","text":"that"}`)
	var texts []any
	for _, e := range eve.events() {
		if e["ev"] == "msg" {
			texts = append(texts, e["text"])
		}
	}
	require.Equal(t, []any{"here", "here", "here", "what?", "that"}, texts, "nobody reads the answer first")
	eve.do(`{"op":"fault","clear":true}`) // so that it can say goodbye
	eve.do(`{"op":"quit"}`)
	require.Equal(t, exitOK, eve.exit())
	checkTranscript(t, eve)
}

// broken is an output whose reader is gone after some lines.
type broken struct {
	left int
}

func (b *broken) Write(p []byte) (int, error) {
	if b.left--; b.left < 0 {
		return 0, errors.New("broken pipe")
	}
	return len(p), nil
}

func TestReaderGone(t *testing.T) {
	t.Parallel()
	p := startWith(t, &broken{left: 3}, append(newGroup(), "-json"))
	require.Equal(t, exitRuntime, p.exit())
}

// stuck is an output whose reader does not read.
type stuck struct {
	once  sync.Once
	wrote chan struct{}
	until <-chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.wrote) })
	<-s.until
	return 0, io.ErrClosedPipe
}

func TestReaderStuck(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-json"}, {"-json", "-vv"}, {"-vv"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			over := make(chan struct{})
			t.Cleanup(func() { close(over) })
			s := &stuck{wrote: make(chan struct{}), until: over}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan int, 1)
			in, w := io.Pipe()
			defer w.Close()
			go func() { done <- run(ctx, append(newGroup(), args...), in, s, s) }()
			<-s.wrote
			cancel()
			select {
			case code := <-done:
				require.Equal(t, exitOK, code)
			case <-time.After(patience):
				require.FailNow(t, "a reader that does not read holds up the end")
			}
		})
	}
}

// TestData checks that identity and history survive a crash.
func TestData(t *testing.T) {
	t.Parallel()
	group, dir := newGroup(), t.TempDir()
	a := start(t, group, "-json", "-data", dir)
	key := a.await(0, "hello", nil)["node"]
	a.do(`{"op":"wait","for":"ready"}`)
	m := a.do(`{"op":"send","text":"kept"}`)["m"]
	a.do(fmt.Sprintf(`{"op":"wait","for":"stable","m":"%s"}`, m))

	var out bytes.Buffer
	require.Equal(t, exitRuntime, run(t.Context(), append(group, "-data", dir), strings.NewReader(""), &out, &out), "one process at a time")
	require.Contains(t, out.String(), dir)

	a.write(`{"op":"crash"}`)
	a.exit()
	b := start(t, group, "-json", "-data", dir)
	require.Equal(t, key, b.await(0, "hello", nil)["node"])
	b.do(`{"op":"wait","for":"ready"}`)
	require.Equal(t, m, b.do(`{"op":"history"}`)["items"].([]any)[0].(event)["m"])
	require.Equal(t, true, b.await(0, "msg", func(e event) bool { return e["m"] == m })["backlog"])
	next := b.do(`{"op":"send","text":"again"}`)["m"]
	require.NotEqual(t, m, next)
	b.do(`{"op":"quit"}`)
	b.exit()
	checkTranscript(t, b)
}

func TestVerboseLog(t *testing.T) {
	t.Parallel()
	a, b := pair(t, "-vv")
	a.do(`{"op":"elect"}`)
	a.do(`{"op":"wait","for":"coordinator","id":2}`)
	for _, p := range []*program{a, b} {
		for _, word := range []string{"msg=view", "msg=coordinator", "msg=election", "msg=heartbeat"} {
			p.err.await(t, word, func(all string) bool { return strings.Contains(all, word) })
		}
	}
	require.Regexp(t, `(?m)^time=\S+ level=INFO msg=election .*kind=ELECTION`, a.err.String())
	quiet, _ := pair(t)
	require.Empty(t, quiet.err.String())
}
