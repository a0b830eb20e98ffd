//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// requireBrowser makes a missing browser a failure where it must be there.
const requireBrowser = "P2P_REQUIRE_BROWSER"

// browserPatience is how long a browser may take for one thing. On a busy
// machine with cold caches it needs half a minute to start. Nothing depends on
// its length: a browser or a page that is gone is noticed.
const browserPatience = 2 * time.Minute

// browser is a headless Chromium that is spoken to by its DevTools protocol
// over two pipes: JSON messages, each ended by a zero byte.
type browser struct {
	in io.Writer

	mu      sync.Mutex
	n       int
	waiting map[int]chan reply
	heard   func(session, method string, params json.RawMessage)
	gone    chan struct{}
}

type reply struct {
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		if os.Getenv(requireBrowser) != "" {
			require.FailNow(t, "no Chromium, and "+requireBrowser+" is set")
		}
		t.Skip("needs Chromium, which is not installed")
	}
	theirIn, in, err := os.Pipe()
	require.NoError(t, err)
	out, theirOut, err := os.Pipe()
	require.NoError(t, err)
	// Not t.TempDir: what the browser's processes write late must not fail it.
	profile, err := os.MkdirTemp("", "browser-")
	require.NoError(t, err)
	var stderr bytes.Buffer
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
		"--force-device-scale-factor=1", "--hide-scrollbars", "--remote-debugging-pipe", "--user-data-dir="+profile, "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	cmd.Stderr = &stderr
	cmd.WaitDelay = time.Second
	require.NoError(t, cmd.Start())
	theirIn.Close()
	theirOut.Close()
	b := &browser{in: in, waiting: map[int]chan reply{}, gone: make(chan struct{}), heard: func(string, string, json.RawMessage) {}}
	go b.read(out)
	t.Cleanup(func() {
		_, _ = b.call("", "Browser.close", nil) // or it is gone already
		select {
		case <-b.gone:
		case <-time.After(browserPatience):
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		in.Close()
		out.Close()
		os.RemoveAll(profile)
		if b.n == 1 { // it has never answered
			t.Logf("%s: %s", path, stderr.String())
		}
	})
	return b
}

func (b *browser) read(out io.Reader) {
	defer close(b.gone)
	r := bufio.NewReader(out)
	for {
		raw, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m struct {
			ID        int             `json:"id"`
			SessionID string          `json:"sessionId"`
			Method    string          `json:"method"`
			Params    json.RawMessage `json:"params"`
			reply
		}
		if json.Unmarshal(raw[:len(raw)-1], &m) != nil {
			return
		}
		b.mu.Lock()
		answer, heard := b.waiting[m.ID], b.heard
		delete(b.waiting, m.ID)
		b.mu.Unlock()
		if answer != nil {
			answer <- m.reply
		} else if m.Method != "" {
			heard(m.SessionID, m.Method, m.Params)
		}
	}
}

// call gives a command, to a page or, with an empty session, to the browser.
func (b *browser) call(session, method string, params any) (json.RawMessage, error) {
	answer := make(chan reply, 1)
	b.mu.Lock()
	b.n++
	b.waiting[b.n] = answer
	m := map[string]any{"id": b.n, "method": method}
	if params != nil {
		m["params"] = params
	}
	if session != "" {
		m["sessionId"] = session
	}
	raw, err := json.Marshal(m)
	if err == nil {
		_, err = b.in.Write(append(raw, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case r := <-answer:
		if r.Error != nil {
			return nil, fmt.Errorf("%s: %s", method, r.Error.Message)
		}
		return r.Result, nil
	case <-b.gone:
		return nil, fmt.Errorf("%s: the browser is gone", method)
	case <-time.After(browserPatience):
		return nil, fmt.Errorf("%s: no answer", method)
	}
}

// crashed ends all that waits for the pages of a browser.
func (b *browser) crashed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, answer := range b.waiting {
		delete(b.waiting, id)
		var r reply
		_ = json.Unmarshal([]byte(`{"error":{"message":"the page has crashed"}}`), &r)
		answer <- r
	}
}

// tab is one page.
type tab struct {
	t       *testing.T
	b       *browser
	session string

	mu       sync.Mutex
	requests []string
	troubles []string // what the console was told, and what was thrown
}

// open shows a page, and watches what it asks for and complains about.
func (b *browser) open(t *testing.T, address string) *tab {
	t.Helper()
	var target struct{ TargetID, SessionID string }
	p := &tab{t: t, b: b}
	ask := func(method string, params any, into any) {
		raw, err := b.call("", method, params)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, into))
	}
	ask("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	ask("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	p.session = target.SessionID
	b.mu.Lock()
	before := b.heard
	b.heard = func(session, method string, params json.RawMessage) {
		before(session, method, params)
		if session == p.session {
			p.hear(method, params)
		}
	}
	b.mu.Unlock()
	for _, domain := range []string{"Inspector", "Runtime", "Log", "Network", "Page"} {
		p.call(domain+".enable", nil)
	}
	p.call("Page.navigate", map[string]any{"url": address})
	p.until(`document.readyState === "complete" && location.href !== "about:blank"`)
	return p
}

// on makes the page fail another test from now on, a part of the first.
func (p *tab) on(t *testing.T) {
	before := p.t
	p.t = t
	t.Cleanup(func() { p.t = before })
}

func (p *tab) hear(method string, params json.RawMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch method {
	case "Inspector.targetCrashed":
		p.troubles = append(p.troubles, method)
		p.b.crashed()
	case "Network.requestWillBeSent":
		var r struct{ Request struct{ URL string } }
		_ = json.Unmarshal(params, &r)
		p.requests = append(p.requests, r.Request.URL)
	case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded":
		p.troubles = append(p.troubles, string(params))
	}
}

func (p *tab) call(method string, params any) json.RawMessage {
	p.t.Helper()
	raw, err := p.b.call(p.session, method, params)
	require.NoError(p.t, err)
	return raw
}

// eval returns the value of an expression, or of the promise that it is.
func (p *tab) eval(expression string, into any) {
	p.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	require.NoError(p.t, json.Unmarshal(p.call("Runtime.evaluate", map[string]any{
		"expression": expression, "awaitPromise": true, "returnByValue": true,
	}), &r))
	require.Empty(p.t, string(r.ExceptionDetails), expression)
	if into != nil {
		require.NoError(p.t, json.Unmarshal(r.Result.Value, into), expression)
	}
}

// until waits until a condition is true in the page.
func (p *tab) until(condition string) {
	p.t.Helper()
	var ok bool
	p.eval(fmt.Sprintf(`new Promise((done) => {
		const late = Date.now() + %d;
		const look = () => {
			let is = false;
			try { is = %s } catch {}
			if (is) done(true);
			else if (Date.now() > late) done(false);
			else setTimeout(look, 20);
		};
		look();
	})`, (browserPatience/2).Milliseconds(), condition), &ok)
	if !ok {
		var shows string
		p.eval(`document.body.innerText`, &shows)
		require.FailNow(p.t, "waited in vain for "+condition, "%s", shows)
	}
}

// record lets the page keep what it shows for a moment only, in seen: the kinds of
// the arrows, the headlines, and the IDs of nodes that were dead. Who looks again
// and again may miss it.
func (p *tab) record() {
	p.t.Helper()
	p.eval(`(() => {
		window.seen = { arrows: [], headlines: [headline.textContent], dead: new Set() };
		const note = (list) => { for (const m of list) for (const n of m.addedNodes) if (n.dataset?.kind) seen.arrows.push(n.dataset.kind) };
		new MutationObserver(note).observe(document.getElementById("arrows"), { childList: true });
		const die = (list) => { for (const m of list) if (m.target.matches(".node.dead")) seen.dead.add(m.target.querySelector(".id").textContent) };
		new MutationObserver(die).observe(ring, { attributes: true, attributeFilter: ["class"], subtree: true });
		new MutationObserver(() => seen.headlines.push(headline.textContent)).observe(headline, { childList: true, characterData: true, subtree: true });
	})()`, nil)
}

// key presses a key.
func (p *tab) key(name string) {
	p.t.Helper()
	text := map[string]string{"Enter": "\r", "?": "?", " ": " "}[name]
	code := map[string]int{"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35, "Tab": 9}[name]
	down := map[string]any{"type": "keyDown", "key": name, "code": name, "windowsVirtualKeyCode": code}
	if text != "" {
		down["text"] = text
	}
	p.call("Input.dispatchKeyEvent", down)
	p.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": name, "code": name, "windowsVirtualKeyCode": code})
}

// screen sets the size of the page, and whether it is dark and still.
func (p *tab) screen(width, height int, phone, dark, still bool) {
	p.t.Helper()
	p.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone})
	scheme, motion := "light", "no-preference"
	if dark {
		scheme = "dark"
	}
	if still {
		motion = "reduce"
	}
	p.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{
		{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": motion},
	}})
}

// shot writes a picture of what is seen, if -shots asks for it.
func (p *tab) shot(name string) {
	p.t.Helper()
	if *shots == "" {
		return
	}
	// What moves comes to rest first.
	p.eval(`document.querySelector(".node:focus")?.blur(), new Promise((done) => setTimeout(done, 900))`, nil)
	var r struct{ Data string }
	require.NoError(p.t, json.Unmarshal(p.call("Page.captureScreenshot", map[string]any{"format": "png"}), &r))
	raw, err := base64.StdEncoding.DecodeString(r.Data)
	require.NoError(p.t, err)
	seen, err := png.Decode(bytes.NewReader(raw))
	require.NoError(p.t, err)
	var small bytes.Buffer // the browser does not compress much
	require.NoError(p.t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, few(seen)))
	require.NoError(p.t, os.MkdirAll(*shots, 0o755))
	require.NoError(p.t, os.WriteFile(filepath.Join(*shots, name+".png"), small.Bytes(), 0o644))
}

// few is a picture in at most 256 colours, those that it has most of.
func few(m image.Image) image.Image {
	box := m.Bounds()
	count := map[color.RGBA]int{}
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			count[color.RGBAModel.Convert(m.At(x, y)).(color.RGBA)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int { return count[b] - count[a] })
	var palette color.Palette
	for _, c := range colours[:min(len(colours), 256)] {
		palette = append(palette, c)
	}
	out := image.NewPaletted(box, palette)
	draw.Draw(out, box, m, box.Min, draw.Src)
	return out
}

// clean checks that the page had no trouble and asked nobody else for anything.
func (p *tab) clean(address string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Empty(p.t, p.troubles)
	home, err := url.Parse(address)
	require.NoError(p.t, err)
	require.NotEmpty(p.t, p.requests)
	for _, r := range p.requests {
		u, err := url.Parse(r)
		require.NoError(p.t, err)
		require.Equal(p.t, home.Host, u.Host, r)
	}
	require.True(p.t, strings.HasPrefix(p.requests[0], address))
}
