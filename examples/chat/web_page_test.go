//go:build unix

package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
)

// The picture of the page in the README is pictures/web.png, the shot named readme:
//
//	go test ./examples/chat -run 'TestPage$' -shots DIR
var shots = flag.String("shots", "", "write pictures of the web page to this `directory`")

// stage is nodes in machine mode and a page that shows them.
type stage struct {
	t       *testing.T
	web     *web
	address string
	group   []string
	nodes   []*program
}

func newStage(t *testing.T) *stage {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &stage{t: t, web: newWeb(ln, "127.0.0.1"), address: fmt.Sprintf("http://%s/", ln.Addr()), group: append(newGroup(), "-timeout", "8s")}
	t.Cleanup(s.web.close)
	return s
}

// join starts one more node.
func (s *stage) join(nick string) *program {
	s.t.Helper()
	name := fmt.Sprint(len(s.nodes) + 1)
	out := newSink()
	p := startWith(s.t, writerFunc(func(line []byte) {
		_, _ = out.Write(line)
		s.web.said(name, line)
	}), append([]string{"-json", "-nick", nick}, s.group...))
	p.out = out
	s.nodes = append(s.nodes, p)
	go func() {
		<-p.done
		s.web.ended(name)
	}()
	p.do(`{"op":"subscribe","what":"hb"}`)
	p.do(`{"op":"subscribe","what":"order"}`)
	p.do(`{"op":"wait","for":"ready"}`)
	return p
}

func (s *stage) say(p *program, text string) {
	s.t.Helper()
	quoted := bytes.TrimSpace(marshal(text))
	p.do(fmt.Sprintf(`{"op":"send","text":%s}`, quoted))
}

// four makes a stage with four nodes that have talked, and shows it.
func four(t *testing.T, b *browser) (*stage, *tab) {
	t.Helper()
	s := newStage(t)
	for _, nick := range []string{"ada", "bob", "eve", "dan"} {
		s.join(nick)
	}
	page := b.open(t, s.address)
	page.screen(1920, 1080, false, true, false)
	page.until(`document.querySelectorAll(".node.up").length === 4`)
	for i, text := range []string{"hello, who is there?", "bob here", "and eve. shall we meet at five?", "five is fine"} {
		s.say(s.nodes[i], text)
		for _, p := range s.nodes {
			p.do(fmt.Sprintf(`{"op":"wait","for":"message","text":%q}`, text))
		}
	}
	page.until(oneHistory(4, 4))
	return s, page
}

// oneHistory is the condition that a page shows so many nodes that hold the
// same messages, so many, and that all of them do.
func oneHistory(nodes, messages int) string {
	return fmt.Sprintf(`headline.textContent === "%d nodes, one history" && /^all hold the same %d messages?,/.test(reason.textContent) &&
		new Set([...document.querySelectorAll(".node.up")].map((n) => n.dataset.code)).size === 1 &&
		document.querySelectorAll("#messages li").length === %d && !document.querySelector(".pending")`, nodes, messages, messages)
}

// crownOf is the condition that one crown is worn, by the node with an ID.
func crownOf(id int) string {
	return fmt.Sprintf(`document.querySelectorAll(".crown").length === 1 && document.querySelectorAll(".coordinator").length === 1 &&
		document.querySelector(".coordinator .id").textContent === "%d" &&
		document.querySelector(".crown").dataset.key === document.querySelector(".coordinator").dataset.key`, id)
}

// TestPage looks at the page in a browser.
func TestPage(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	t.Run("group", func(t *testing.T) {
		s, page := four(t, b)
		t.Run("keys", func(t *testing.T) { testKeys(t, page) })
		t.Run("screens", func(t *testing.T) { testScreens(t, page) })
		t.Run("split", func(t *testing.T) { testSplit(t, s, page) })
		t.Run("failover", func(t *testing.T) { testFailover(t, s, page) })
		page.clean(s.address)
	})
	t.Run("processes", func(t *testing.T) { testProcesses(t, b) })
	t.Run("hostile", func(t *testing.T) { testHostile(t, b) })
	t.Run("again", func(t *testing.T) { testAgain(t, b) })
}

// testSplit cuts the group in two, and heals it.
func testSplit(t *testing.T, s *stage, page *tab) {
	page.on(t)
	page.screen(1920, 1080, false, true, false)
	page.until(crownOf(1))
	page.until(`document.querySelector("#views .view").textContent === "[1*|v4] (4) [1,2,3,4]"`)
	page.until(`document.querySelector(".beat")`)
	page.shot("dark")
	page.screen(1920, 1080, false, false, false)
	page.shot("light")

	for _, p := range s.nodes {
		p.do(`{"op":"fault","cut":[[1,2],[3,4]]}`)
	}
	page.until(`headline.textContent === "Split brain" && document.querySelectorAll(".crown").length === 2 && document.querySelectorAll("#circles circle").length === 2`)
	page.until(`reason.textContent === "ada#1 leads 1 and 2; dan#4 leads 3 and 4"`)
	s.say(s.nodes[0], "is anybody else there?")
	s.say(s.nodes[1], "only you and me")
	s.say(s.nodes[3], "what became of ada?")
	const code = `(id) => [...document.querySelectorAll(".node")].find((n) => n.querySelector(".id").textContent === id).dataset.code`
	page.until(`(() => { const code = ` + code + `; return code("1") === code("2") && code("3") === code("4") && code("1") !== code("3") })()`)
	page.until(`[...document.querySelectorAll("#messages .holds")].map((e) => e.textContent).sort().join() === "only at 1 2,only at 1 2,only at 3 4"`)
	page.until(`[...document.querySelectorAll("#views .view")].map((e) => e.textContent).join().match(/^\[1\*\|v\d+\] \(2\) \[1,2\],\[4\*\|v\d+\] \(2\) \[3,4\]$/)`)
	page.until(`document.querySelectorAll(".node.up").length === 4 && document.querySelectorAll(".arrow").length === 0`)
	page.shot("split")
	page.screen(1280, 720, false, true, false)
	page.shot("readme")

	for _, p := range s.nodes {
		p.do(`{"op":"fault","clear":true}`)
	}
	page.until(oneHistory(4, 7))
	page.until(`document.querySelectorAll(".crown").length === 1 && document.querySelectorAll("#circles circle").length === 1`)
	page.until(`document.querySelectorAll("#messages .insert").length > 0 && !document.querySelector("#messages .holds")`)
	var shown []string
	page.eval(`[...document.querySelectorAll("#messages .text")].map((e) => e.textContent)`, &shown)
	var agreed []string
	for _, m := range s.nodes[2].do(`{"op":"history"}`)["items"].([]any) {
		agreed = append(agreed, m.(event)["text"].(string))
	}
	require.Equal(t, agreed, shown, "the order all agree on")
	page.shot("healed")
}

// testFailover follows the group through the death of its coordinator.
func testFailover(t *testing.T, s *stage, page *tab) {
	page.on(t)
	page.screen(1920, 1080, false, true, false)
	first := int(s.nodes[2].do(`{"op":"view"}`)["coord"].(float64))
	next := 4
	if first == 4 {
		next = 3
	}
	page.until(crownOf(first))
	page.record()
	s.nodes[first-1].write(`{"op":"crash"}`)
	page.until(`seen.headlines.includes("Election") && seen.arrows.filter((kind) => kind === "COORDINATOR").length >= 2`)
	page.shot("election")
	page.until(crownOf(next))
	page.until(fmt.Sprintf(`[...seen.dead].join() === "%d"`, first))
	page.until(fmt.Sprintf(`document.querySelector("#views .view").textContent.startsWith("[%d*|v")`, next))
	page.until(`seen.headlines.some((text) => / is coordinator$/.test(text))`)
	page.until(oneHistory(3, 7))
	page.until(fmt.Sprintf(`happened.innerText.includes("#%d is dead") && happened.innerText.includes("#%d is coordinator")`, first, next))
	page.shot("after")
}

// testKeys uses the page without a mouse.
func testKeys(t *testing.T, page *tab) {
	page.on(t)
	focus := func(id int) string {
		return fmt.Sprintf(`document.activeElement.querySelector(".id")?.textContent === "%d"`, id)
	}
	page.key("ArrowRight")
	page.until(focus(1))
	page.until(`document.activeElement.ariaLabel.startsWith("ada, node 1, coordinator, up, history ") && document.activeElement.ariaLabel.endsWith(", 4 messages")`)
	page.key("ArrowRight")
	page.until(focus(2))
	page.key("ArrowLeft")
	page.key("ArrowLeft")
	page.until(focus(4))
	page.key("Home")
	page.until(focus(1))
	page.key("Enter")
	page.until(`document.getElementById("details").open && document.getElementById("details-title").textContent === "ada#1" && document.getElementById("details").innerText.includes("[1*|v4] (4) [1,2,3,4]")`)
	page.shot("details")
	page.key("Escape")
	page.until(`!document.getElementById("details").open`)
	page.until(focus(1))
	page.key("?")
	page.until(`document.getElementById("help").open`)
	page.shot("help")
	page.key("Enter") // the button that closes it has the focus
	page.until(`!document.getElementById("help").open`)
	page.until(focus(1))
	page.until(`document.querySelectorAll(".node[tabindex='0']").length === 1`)
}

// testScreens looks at the page in other sizes and colours.
func testScreens(t *testing.T, page *tab) {
	page.on(t)
	inside := `document.documentElement.scrollWidth <= innerWidth && [...document.querySelectorAll("body *")].every((e) => e.getBoundingClientRect().right <= innerWidth + 1)`
	for _, c := range []struct {
		name          string
		width, height int
		phone         bool
	}{{"phone", 390, 844, true}, {"small-phone", 320, 568, true}, {"tablet", 1024, 768, false}, {"projector", 1920, 1080, false}} {
		page.screen(c.width, c.height, c.phone, false, true)
		page.until(fmt.Sprintf("innerWidth === %d && ", c.width) + inside)
		page.until(`[...document.querySelectorAll(".node")].every((n) => {
			const n1 = n.getBoundingClientRect(), box = ring.getBoundingClientRect();
			return n1.top >= box.top - 1 && n1.bottom <= box.bottom + 1 && n1.left >= box.left - 1 && n1.right <= box.right + 1;
		})`)
		page.shot(c.name)
	}
	colour := func(dark bool) (c string) {
		page.screen(390, 844, true, dark, true)
		page.eval(`getComputedStyle(document.body).backgroundColor`, &c)
		return c
	}
	require.Equal(t, "rgb(246, 243, 236)", colour(false))
	require.Equal(t, "rgb(10, 13, 19)", colour(true))
	page.shot("phone-dark")
	// Nothing moves for who does not want that.
	page.until(`document.querySelectorAll(".beat").length === 0 && getComputedStyle(document.querySelector(".node")).transitionDuration === "0s"`)
}

// testProcesses looks on with the eyes of one of four processes, which shows
// what it knows itself, while the coordinator is killed.
func testProcesses(t *testing.T, b *browser) {
	group := append(newGroup(), "-timeout", "8s")
	var nodes []*lab.Process
	for i, nick := range []string{"ada", "bob", "eve", "dan"} {
		args := append([]string{"-json", "-nick", nick}, group...)
		if i == 1 {
			args = append(args, "-web", "127.0.0.1:0")
		}
		p := lab.Start(t, lab.Config{Path: lab.Build(t, "github.com/seed-885536be/p2p/examples/chat"), Args: args, Name: nick})
		p.Do("wait", lab.Args{"for": "ready", "timeout_ms": lab.Patience.Milliseconds()})
		nodes = append(nodes, p)
	}
	_, address, _ := strings.Cut(strings.TrimSpace(nodes[1].Stderr()), "web view: ")
	page := b.open(t, address)
	page.until(`document.querySelectorAll(".node.up").length === 4`)
	page.until(crownOf(1))
	nodes[2].Do("send", lab.Args{"text": "hello"})
	page.until(oneHistory(4, 1))
	page.record()
	nodes[0].Kill()
	page.until(crownOf(4))
	page.until(`[...seen.dead].join() === "1" && document.querySelectorAll(".node.up").length === 3`)
	page.until(oneHistory(3, 1))
	nodes[2].Freeze()
	page.until(`[...seen.dead].join() === "1,3"`)
	nodes[2].Thaw()
	page.until(`document.querySelectorAll(".node.up").length === 3`)
	page.clean(address)
	nodes[1].Do("quit", nil)
	require.Zero(t, nodes[1].Exit())
	page.until(`headline.textContent === "Not connected"`)
}

// testHostile shows what others may choose freely: it stays text.
func testHostile(t *testing.T, b *browser) {
	s := newStage(t)
	const attack = `<img src=x onerror=document.title=1>`
	s.join(attack)
	s.join("\u202eevil\x1b[31m\u2066")
	s.join(strings.Repeat("W", 64))
	page := b.open(t, s.address)
	page.screen(390, 844, true, true, false)
	page.until(`document.querySelectorAll(".node.up").length === 3`)
	long := strings.Repeat("unbroken", 5000)
	texts := []string{`<script>document.title=1</script>`, attack, "\u202etxt.exe\u2069 \u0000\u001b[2J", long, "Z" + strings.Repeat("\u0310", 500), `"'` + "`" + `${1}</li>`}
	for _, text := range texts {
		s.say(s.nodes[0], text)
	}
	page.until(oneHistory(3, len(texts)))
	var shown []string
	page.eval(`[...document.querySelectorAll("#messages .text")].map((e) => e.textContent)`, &shown)
	require.ElementsMatch(t, []string{
		texts[0], texts[1], "txt.exe [2J", long[:279] + "…", "Z" + strings.Repeat("\u0310", 3), texts[5],
	}, shown)
	var nicks []string
	page.eval(`[...document.querySelectorAll(".node .nick")].map((e) => e.textContent)`, &nicks)
	require.Len(t, nicks, 3)
	require.Equal(t, []string{"<img src=x on…", "evil[31m"}, nicks[:2])
	require.Regexp(t, "^W{6,13}…$", nicks[2], "as many as there is room for")
	page.until(`document.title === "p2p chat" && !document.querySelector("main img, main script, main iframe, main a")`)
	page.until(`document.documentElement.scrollWidth <= innerWidth`)
	page.shot("hostile")
	// A line that no program of ours writes does no harm either.
	for _, line := range []string{`{"ev":"view","node":"x"}`, `{"ev":"__proto__","node":"x"}`, `{"ev":"msg","node":{}}`, `[]`, `null`, "{", "\n", `{"ev":"hb"}`} {
		s.web.said("9", []byte(line))
	}
	s.say(s.nodes[0], "still here")
	page.until(`messages.innerText.includes("still here")`)
	page.until(`document.title === "p2p chat"`)
}

// testAgain ends the server of a page and starts another in its place.
func testAgain(t *testing.T, b *browser) {
	s := newStage(t)
	s.join("ada")
	page := b.open(t, s.address)
	page.until(`headline.textContent === "Alone so far" && document.getElementById("link").dataset.state === "live"`)
	s.web.close()
	page.until(`document.getElementById("link").dataset.state === "lost" && headline.textContent === "Not connected"`)
	ln, err := net.Listen("tcp", s.web.ln.Addr().String())
	require.NoError(t, err)
	again := newWeb(ln, "127.0.0.1")
	t.Cleanup(again.close)
	again.said("other", []byte(`{"v":1,"seq":1,"t":"2026-01-01T00:00:00.000Z","ms":0,"node":"ab","id":7,"ev":"view","term":1,"vid":1,"coord":7,"size":1,"members":[{"id":7,"node":"ab","nick":"new","addr":""}],"joined":[],"left":[],"renumbered":[],"cause":"first"}`))
	page.until(`document.querySelectorAll(".node").length === 1 && document.querySelector(".node .nick").textContent === "new"`)
}

// TestCockpitPage looks at the page of a cockpit, which shows all of its processes
// with their own eyes, while the network is cut and heals.
func TestCockpitPage(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	cockpit := exec.Command(lab.Build(t, "github.com/seed-885536be/p2p/examples/chat"), "-spawn", "4", "-web", "127.0.0.1:0")
	out := newSink()
	cockpit.Stdout, cockpit.Stderr = out, out
	stdin, err := cockpit.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cockpit.Start())
	t.Cleanup(func() {
		stdin.Close()
		_ = cockpit.Wait()
	})
	enter := func(line string) {
		_, err := io.WriteString(stdin, line+"\n")
		require.NoError(t, err)
	}
	var address string
	out.await(t, "the page's address", func(all string) bool {
		_, rest, ok := strings.Cut(all, "web view: ")
		address, _, _ = strings.Cut(rest, "\n")
		return ok
	})
	page := b.open(t, address)
	page.screen(1280, 720, false, true, true)
	page.until(`document.querySelectorAll(".node.up").length === 4`)
	page.until(crownOf(1))
	enter("1> hello")
	page.until(oneHistory(4, 1))

	const codes = `new Set([...document.querySelectorAll(".node.up")].map((n) => n.dataset.code)).size`
	enter("/cut 1,2|3,4")
	page.until(`headline.textContent === "Split brain" && document.querySelectorAll(".crown").length === 2 && document.querySelectorAll("#circles circle").length === 2`)
	enter("1> just us two")
	enter("4> and we two")
	page.until(`document.querySelectorAll(".node.up").length === 4 && ` + codes + ` === 2`)
	page.until(`[...document.querySelectorAll("#messages .holds")].map((e) => e.textContent).sort().join() === "only at 1 2,only at 3 4"`)
	enter("/heal")
	page.until(oneHistory(4, 3))
	page.until(`document.querySelectorAll(".crown").length === 1 && document.querySelectorAll("#circles circle").length === 1 && ` + codes + ` === 1`)
	page.clean(address)
	enter("/quit")
	page.until(`headline.textContent === "Not connected"`)
}
