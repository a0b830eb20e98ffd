package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

// webServer starts a web view on an address of its own.
func webServer(t *testing.T) *web {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := newWeb(ln, "127.0.0.1")
	t.Cleanup(w.close)
	return w
}

// line makes a line as a node writes it.
func lineOf(seq uint64, key string, b body) []byte {
	return encode(header{V: protoVersion, Seq: seq, T: "2026-01-01T00:00:00.000Z", Node: key, ID: 1}, b)
}

// fetch sends one request and returns the answer, its body read if it ends.
func fetch(t *testing.T, w *web, method, path string, set func(r *http.Request)) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+w.ln.Addr().String()+path, nil)
	require.NoError(t, err)
	if set != nil {
		set(r)
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(text)
}

func TestWebRequests(t *testing.T) {
	w := webServer(t)
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	origin := func(o string) func(*http.Request) { return func(r *http.Request) { r.Header.Set("Origin", o) } }
	for _, c := range []struct {
		name, method, path string
		set                func(*http.Request)
		code               int
	}{
		{"page", "GET", "/", nil, 200},
		{"style", "GET", "/style.css", nil, 200},
		{"script", "GET", "/app.js", nil, 200},
		{"icon", "GET", "/icon.svg", nil, 200},
		{"head", "HEAD", "/", nil, 200},
		{"head of events", "HEAD", "/events", nil, 200},
		{"no such page", "GET", "/secret", nil, 404},
		{"the directory", "GET", "/web/", nil, 404},
		{"out of the directory", "GET", "/..%2fmain.go", nil, 404},
		{"post", "POST", "/", nil, 405},
		{"put", "PUT", "/events", nil, 405},
		{"delete", "DELETE", "/app.js", nil, 405},
		{"options", "OPTIONS", "/", nil, 405},
		{"localhost", "GET", "/", host("localhost:1"), 200},
		{"LOCALHOST", "GET", "/", host("LOCALHOST"), 200},
		{"another loopback", "GET", "/", host("127.0.0.2"), 200},
		{"IPv6 loopback", "GET", "/", host("[::1]:80"), 200},
		{"a name that was made to point here", "GET", "/", host("evil.example"), 421},
		{"its events", "GET", "/events", host("evil.example:8080"), 421},
		{"a name that begins well", "GET", "/", host("localhost.evil.example"), 421},
		{"an address that is not ours", "GET", "/", host("192.168.1.1"), 421},
		{"own origin", "GET", "/", func(r *http.Request) { r.Header.Set("Origin", "http://"+r.Host) }, 200},
		{"another origin", "GET", "/events", origin("http://evil.example"), 403},
		{"another port", "GET", "/events", origin("http://127.0.0.1:1"), 403},
		{"no origin to speak of", "GET", "/events", origin("null"), 403},
		{"a head that is large", "GET", "/", func(r *http.Request) { r.Header.Set("X", strings.Repeat("x", 4<<10)) }, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body := fetch(t, w, c.method, c.path, c.set)
			require.Equal(t, c.code, resp.StatusCode, body)
			h := resp.Header
			require.Contains(t, h.Get("Content-Security-Policy"), "default-src 'none'")
			require.Contains(t, h.Get("Content-Security-Policy"), "frame-ancestors 'none'")
			require.NotContains(t, h.Get("Content-Security-Policy"), "unsafe")
			require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
			require.Equal(t, "no-referrer", h.Get("Referrer-Policy"))
			require.Equal(t, "DENY", h.Get("X-Frame-Options"))
			require.Equal(t, "no-store", h.Get("Cache-Control"))
			require.Empty(t, h.Get("Access-Control-Allow-Origin"))
			if c.code == 405 {
				require.Equal(t, "GET, HEAD", h.Get("Allow"))
			}
			if c.method == "HEAD" {
				require.Empty(t, body)
			}
		})
	}
	raw, err := net.Dial("tcp", w.ln.Addr().String())
	require.NoError(t, err)
	defer raw.Close()
	_, _ = fmt.Fprintf(raw, "GET / HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	answer, _ := io.ReadAll(raw) // it may be reset before all was written
	require.NotContains(t, string(answer), " 200 ", "to a head that is too large")
	_, page := fetch(t, w, "GET", "/", nil)
	for _, inline := range []string{"<style", " style=", " onclick", " onload", "http://", "https://", "//"} {
		require.NotContains(t, page, inline, "the policy forbids it")
	}
	require.NotContains(t, strings.ReplaceAll(page, "<script src=\"app.js\" defer></script>", ""), "<script")
}

// TestWebOpen is a page that others may see: any address is a good Host then,
// but no name.
func TestWebOpen(t *testing.T) {
	var said bytes.Buffer
	w, err := startWeb("0.0.0.0:0", &said)
	require.NoError(t, err)
	defer w.close()
	require.Contains(t, said.String(), "anybody who reaches this address can read the chat")
	require.True(t, w.ours("192.168.1.7:8080"))
	require.False(t, w.ours("evil.example:8080"))
	said.Reset()
	own, err := startWeb(":0", &said)
	require.NoError(t, err)
	defer own.close()
	require.Regexp(t, `^web view: http://127\.0\.0\.1:\d+/\n$`, said.String(), "without a host it is this machine alone")
	none, err := startWeb("", &said)
	require.NoError(t, err)
	none.said("1", []byte("{}"))
	none.ended("1")
	none.close()
}

func TestWebInUse(t *testing.T) {
	t.Parallel()
	w := webServer(t)
	var out, err bytes.Buffer
	addr := w.ln.Addr().String()
	require.Equal(t, exitRuntime, run(t.Context(), append(newGroup(), "-web", addr), strings.NewReader(""), &out, &err))
	require.Equal(t, "chat: -web "+addr+": address already in use\n", err.String())
	require.Empty(t, out.String())
}

// reader reads the stream of events.
type reader struct {
	t    *testing.T
	resp *http.Response
	scan *bufio.Scanner
	last string // the ID seen last
}

func follow(t *testing.T, w *web, last string) *reader {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+w.ln.Addr().String()+"/events", nil)
	require.NoError(t, err)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	return &reader{t: t, resp: resp, scan: bufio.NewScanner(resp.Body), last: last}
}

// next returns the next event as "name data", or "" at the end.
func (r *reader) next() string {
	r.t.Helper()
	name, data := "message", ""
	for r.scan.Scan() {
		field, value, _ := strings.Cut(r.scan.Text(), ": ")
		switch field {
		case "event":
			name = value
		case "data":
			data = value
		case "id":
			r.last = value
		case "":
			if data != "" {
				return name + " " + data
			}
		}
	}
	return ""
}

// until returns the events up to one of a name, and that one not.
func (r *reader) until(name string) (before []string) {
	r.t.Helper()
	for {
		e := r.next()
		require.NotEmpty(r.t, e, "the stream has ended before %s", name)
		if strings.HasPrefix(e, name+" ") {
			return before
		}
		before = append(before, e)
	}
}

func TestWebStream(t *testing.T) {
	w := webServer(t)
	say := func(key string, seq uint64, b body) string {
		l := lineOf(seq, key, b)
		w.said(key, l)
		return "message " + strings.TrimSpace(string(l))
	}
	hello := say("a", 1, helloBody{Group: "g", Ifaces: []iface{}})
	say("a", 2, hbBody{})
	say("a", 3, digestBody{N: 1})
	say("a", 4, &replyBody{})
	peer := say("a", 5, peerBody{Peer: peerRef{Node: "b"}, State: "suspect"})
	msg := say("a", 6, &msgBody{M: "x:1", Text: "hello"})
	stable := say("a", 7, stableBody{M: "x:1"})
	digest := say("a", 8, digestBody{N: 2})
	other := say("b", 1, helloBody{Group: "g", Ifaces: []iface{}})
	w.ended("b")
	w.ended("b")

	r := follow(t, w, "")
	require.Equal(t, "text/event-stream", r.resp.Header.Get("Content-Type"))
	require.Equal(t, []string{"reset {}", hello, peer, msg, stable, digest, other, `gone {"node":"b"}`}, r.until("live"),
		"what still matters, in the order in which it was said")
	beat := say("a", 9, hbBody{})
	require.Equal(t, beat, r.next())
	say("a", 10, &replyBody{})
	w.said("a", []byte("no line"))
	w.said("a", []byte("{\"ev\":\"hb\"}\n{\"ev\":\"hb\"}"))
	w.said("a", []byte("{\"ev\":\"hb\",\"x\":\"\r\"}"))
	more := say("a", 11, hbBody{})
	require.Equal(t, more, r.next(), "replies are nobody's concern, and what is no line is left out")

	// Who comes back is given what it has missed.
	last := r.last
	r.resp.Body.Close()
	missed := say("a", 12, hbBody{})
	again := follow(t, w, last)
	require.Empty(t, again.until("live"))
	require.Equal(t, missed, again.next())
	// Or how things stand, if it is not known what it has seen.
	for _, id := range []string{"other-3", last + "0", w.feed.boot + "-x", w.feed.boot, "-", strings.Repeat("9", 100)} {
		require.Equal(t, "reset {}", follow(t, w, id).next(), id)
	}

	// A process that starts again is a new one.
	fresh := say("b", 1, helloBody{Group: "again", Ifaces: []iface{}})
	begun := follow(t, w, "").until("live")
	require.Contains(t, begun, fresh)
	require.NotContains(t, begun, other)
	require.NotContains(t, begun, `gone {"node":"b"}`)

	bye := say("a", 13, byeBody{Cause: "quit"})
	w.ended("a")
	w.close()
	require.Equal(t, fresh, again.next())
	require.Equal(t, bye, again.next())
	require.Equal(t, "end {}", again.next())
	require.Empty(t, again.next())
}

// TestWebSlow has a reader that does not read: it is dropped, nobody waits for
// it, and it can begin anew.
func TestWebSlow(t *testing.T) {
	f := newFeed()
	slow := make(chan []byte)
	ended := make(chan error)
	go func() {
		ended <- f.follow(context.Background(), "", sender(func(b []byte) error { slow <- b; return nil }))
	}()
	require.Contains(t, string(<-slow), "event: live")
	for i := range uint64(feedLines + 500) {
		f.said("a", lineOf(i+1, "a", &msgBody{M: fmt.Sprintf("x:%d", i), Text: strings.Repeat("long ", 400)}))
	}
	var err error
	for err == nil {
		select {
		case <-slow:
		case err = <-ended:
		}
	}
	require.ErrorIs(t, err, errSlow)
	require.Equal(t, 1, f.dropped)
	require.LessOrEqual(t, len(f.lines), feedLines)
	require.LessOrEqual(t, f.bytes, feedBytes)
	require.LessOrEqual(t, len(f.nodes["a"].msgs), 3*feedRecent)
	head, _ := f.snapshot()
	require.Less(t, len(head), 1<<20)
	require.Contains(t, string(head), fmt.Sprintf(`"m":"x:%d"`, feedLines+499))
	require.Contains(t, string(head), `"size":2000`, "of a text that was cut")
}

type sender func(b []byte) error

func (s sender) send(b []byte) error { return s(b) }

// TestWebMany has more readers than there is room for.
func TestWebMany(t *testing.T) {
	w := webServer(t)
	for range webClients {
		follow(t, w, "").until("live")
	}
	resp, _ := fetch(t, w, "GET", "/events", nil)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	resp, _ = fetch(t, w, "GET", "/", nil)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	for i := range uint64(feedNodes + 10) {
		key := fmt.Sprint("n", i)
		w.said(key, lineOf(1, key, helloBody{Ifaces: []iface{}}))
		for j := range feedPeers + 5 {
			w.said(key, lineOf(2, key, peerBody{Peer: peerRef{Node: fmt.Sprint(j)}, State: "dead"}))
		}
	}
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	require.Len(t, w.feed.nodes, feedNodes)
	for _, n := range w.feed.nodes {
		require.LessOrEqual(t, len(n.latest), feedPeers+1)
	}
}

// TestWebClose ends a page that has a reader who does not read, and one whose
// request never ends: nothing is left behind.
func TestWebClose(t *testing.T) {
	before := goleak.IgnoreCurrent()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := newWeb(ln, "127.0.0.1")
	stuck, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer stuck.Close()
	fmt.Fprint(stuck, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	_, err = bufio.NewReaderSize(stuck, 16).ReadString('\n')
	require.NoError(t, err)
	for i := range uint64(3000) { // more than the sockets take
		w.said("a", lineOf(i+1, "a", warnBody{Text: strings.Repeat("x", 10000)}))
	}
	half, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer half.Close()
	fmt.Fprint(half, "GET / HTTP/1.1\r\n")
	w.close()
	w.close()
	goleak.VerifyNone(t, before)
	_, err = net.Dial("tcp", ln.Addr().String())
	require.Error(t, err)
	w.said("a", lineOf(1, "a", hbBody{})) // too late, and harmless
}

// TestWebFeed checks the feed against one that keeps everything: who comes
// late and who was there from the beginning know the same.
func TestWebFeed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFeed()
		type fact struct{ node, key string }
		want := map[fact]string{}
		stable := map[fact]bool{}
		for i := range rapid.IntRange(0, 60).Draw(t, "lines") {
			node := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "node")
			seq := uint64(i + 1)
			put := func(key string, b body) {
				l := lineOf(seq, node, b)
				f.said(node, l)
				if key != "" {
					want[fact{node, key}] = strings.TrimSpace(string(l))
				}
			}
			switch m := fmt.Sprint("x:", rapid.IntRange(1, 9).Draw(t, "m")); rapid.IntRange(0, 6).Draw(t, "kind") {
			case 0:
				for k := range want {
					if k.node == node {
						delete(want, k)
						delete(stable, k)
					}
				}
				put("hello", helloBody{Ifaces: []iface{}})
			case 1:
				put("digest", digestBody{N: seq})
			case 2:
				put("peer"+m, peerBody{Peer: peerRef{Node: m}})
			case 3:
				if _, ok := want[fact{node, m}]; !ok {
					put(m, &msgBody{M: m})
				}
			case 4:
				if _, ok := want[fact{node, m}]; ok {
					put("stable"+m, stableBody{M: m})
				} else {
					put("", stableBody{M: m}) // of a message that is not shown
				}
			case 5:
				put("", hbBody{})
			case 6:
				put("order", orderBody{Items: []string{m}})
			}
		}
		head, next := f.snapshot()
		got := []string{}
		seen := uint64(0)
		for part := range strings.SplitSeq(string(head), "\n\n") {
			if data, ok := strings.CutPrefix(part, "data: "); ok {
				var h header
				if err := json.Unmarshal([]byte(data), &h); err != nil || h.Seq <= seen {
					t.Fatalf("%v after %d: %s", err, seen, data)
				}
				seen = h.Seq
				got = append(got, data)
			}
		}
		all := []string{}
		for _, l := range want {
			all = append(all, l)
		}
		require.ElementsMatch(t, all, got)
		batch, at, _, err := f.after(next)
		require.NoError(t, err)
		require.Empty(t, batch)
		require.Equal(t, next, at)
	})
}

// TestWebFace shows a single node on a page, beside the line chat and beside
// machine mode, without either of them noticing.
func TestWebFace(t *testing.T) {
	for _, args := range [][]string{{"-json"}, {}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			p := start(t, newGroup(), append(args, "-nick", "ada", "-web", "127.0.0.1:0")...)
			p.err.await(t, "the address", func(all string) bool { return strings.HasSuffix(all, "/\n") })
			_, url, _ := strings.Cut(strings.TrimSpace(p.err.String()), "web view: ")
			resp, err := http.Get(url + "events")
			require.NoError(t, err)
			defer resp.Body.Close()
			r := &reader{t: t, resp: resp, scan: bufio.NewScanner(resp.Body)}
			about := func(ev string) (e event) {
				for e["ev"] != ev {
					name, data, _ := strings.Cut(r.next(), " ")
					require.NotEmpty(t, name, "the stream has ended before %s", ev)
					if name == "message" {
						e = nil
						require.NoError(t, json.Unmarshal([]byte(data), &e))
						require.NotEqual(t, "reply", e["ev"])
					}
				}
				return e
			}
			about("hb") // it is a member
			if len(args) > 0 {
				p.do(`{"op":"send","text":"hello"}`)
			} else {
				p.write("hello")
			}
			m := about("msg")
			require.Equal(t, "hello", m["text"])
			require.Equal(t, []any{m["m"]}, about("order")["items"])
			p.in.Close()
			require.Equal(t, exitOK, p.exit())
			require.Equal(t, "eof", about("bye")["cause"])
			require.Equal(t, "end {}", r.next())
			if len(args) > 0 {
				checkTranscript(t, p)
				for _, e := range p.events() {
					require.NotContains(t, []any{"hb", "order"}, e["ev"], "nobody has subscribed to it")
				}
			}
		})
	}
}
