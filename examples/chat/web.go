package main

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-885536be/p2p/p2pchat"
)

const (
	webConns   = 64                     // connections at once
	webClients = 16                     // of them, readers of /events
	webWrite   = 5 * time.Second        // for a client to take what is written
	webIdle    = 15 * time.Second       // of silence after which a reader is sent an empty line
	webRetry   = time.Second            // after which a page connects again
	webMaxHead = 8 << 10                // bytes of a request's head
	webGoodbye = 100 * time.Millisecond // for readers to take the last lines
)

// web is the page that -web serves, and what it is fed with. It only shows:
// nothing that a client sends changes anything. A nil web does nothing, so
// that who feeds it need not ask whether there is one.
type web struct {
	feed   *feed
	ln     net.Listener
	host   string // that -web named
	server *http.Server
	served chan struct{}

	mu      sync.Mutex
	clients int
}

//go:embed web/index.html web/style.css web/app.js web/icon.svg
var pages embed.FS

// viewer is shown what nodes do. Its methods may be called from any goroutine
// and never wait for whoever looks on.
type viewer interface {
	// said shows an event of a node: the line that machine mode wrote. The name
	// tells the nodes of one viewer apart. line is copied.
	said(name string, line []byte)
	// ended shows that the node's process has ended, if it has not said so.
	ended(name string)
}

var _ viewer = (*web)(nil)

func (w *web) said(name string, line []byte) {
	if w != nil {
		w.feed.said(name, line)
	}
}

func (w *web) ended(name string) {
	if w != nil {
		w.feed.ended(name)
	}
}

// parseWeb splits what -web was given. Without a host it is this machine's
// own address.
func parseWeb(addr string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(addr)
	if _, notPort := strconv.ParseUint(port, 10, 16); err != nil || notPort != nil || strings.ContainsAny(host, " /") {
		return "", "", fmt.Errorf("-web %q: want ip:port, such as 127.0.0.1:8080", addr)
	}
	return cmp.Or(host, "127.0.0.1"), port, nil
}

// startWeb serves the page until close, and tells where. It returns nil if
// addr is empty.
func startWeb(addr string, out io.Writer) (*web, error) {
	if addr == "" {
		return nil, nil
	}
	host, port, err := parseWeb(addr)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("-web %s: %w", addr, cause(err))
	}
	w := newWeb(ln, host)
	fmt.Fprintf(out, "web view: http://%s/\n", ln.Addr())
	if a, ok := ln.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
		fmt.Fprintln(out, "web view: anybody who reaches this address can read the chat there")
	}
	return w, nil
}

// cause is the innermost error, such as "address already in use".
func cause(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

func newWeb(ln net.Listener, host string) *web {
	w := &web{feed: newFeed(), ln: ln, host: host, served: make(chan struct{})}
	w.server = &http.Server{
		Handler:           w.handler(),
		ReadHeaderTimeout: webWrite,
		ReadTimeout:       webWrite,
		WriteTimeout:      webWrite, // a reader of /events gets as much for each write
		IdleTimeout:       webIdle,
		MaxHeaderBytes:    webMaxHead,
		ErrorLog:          log.New(io.Discard, "", 0), // of clients that break off
	}
	go func() {
		defer protect()
		defer close(w.served)
		_ = w.server.Serve(&fewConns{Listener: ln, free: make(chan struct{}, webConns)}) // it ends by close only
	}()
	return w
}

// close ends the page: who reads is given what was said until now.
func (w *web) close() {
	if w == nil {
		return
	}
	w.feed.close()
	ctx, cancel := context.WithTimeout(context.Background(), webGoodbye)
	defer cancel()
	if w.server.Shutdown(ctx) != nil {
		w.server.Close()
	}
	<-w.served
}

// fewConns is a listener that closes connections beyond a number.
type fewConns struct {
	net.Listener
	free chan struct{}
}

func (l *fewConns) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.free <- struct{}{}:
			return &fewConn{Conn: c, done: sync.OnceFunc(func() { <-l.free })}, nil
		default:
			c.Close()
		}
	}
}

type fewConn struct {
	net.Conn
	done func()
}

func (c *fewConn) Close() error {
	defer c.done()
	return c.Conn.Close()
}

// handler serves the page and what feeds it.
func (w *web) handler() http.Handler {
	static, err := fs.Sub(pages, "web")
	if err != nil {
		panic(err) // it is embedded
	}
	mux := http.NewServeMux()
	for path, file := range map[string][2]string{
		"/{$}":       {"index.html", "text/html; charset=utf-8"},
		"/style.css": {"style.css", "text/css; charset=utf-8"},
		"/app.js":    {"app.js", "text/javascript; charset=utf-8"},
		"/icon.svg":  {"icon.svg", "image/svg+xml"},
	} {
		mux.HandleFunc(path, func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", file[1])
			http.ServeFileFS(rw, r, static, file[0])
		})
	}
	mux.HandleFunc("/events", w.events)
	return w.guard(mux)
}

// policy lets the page use what comes from here alone, and lets no text become
// markup or a script.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// guard refuses what no page of ours asks for.
func (w *web) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
		h.Set("Cache-Control", "no-store")
		switch {
		case !w.ours(r.Host):
			http.Error(rw, "this host is not served here", http.StatusMisdirectedRequest)
		case !sameOrigin(r):
			http.Error(rw, "only this page's own requests are answered", http.StatusForbidden)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(rw, "this page can only be read", http.StatusMethodNotAllowed)
		default:
			next.ServeHTTP(rw, r)
		}
	})
}

// ours tells whether the Host of a request is one under which the page can be
// reached: an address, localhost, or what -web named. A page elsewhere that has
// its own name resolve to this address (DNS rebinding) comes with that name.
func (w *web) ours(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") || strings.EqualFold(host, w.host) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	own, ok := w.ln.Addr().(*net.TCPAddr)
	return err == nil && ok && (ip.IsLoopback() || !own.IP.IsLoopback())
}

// sameOrigin tells whether a request comes from a page of this server, or from
// none.
func sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host == r.Host
}

// events is the stream of all that happens: first what is needed to know how
// things stand, then what comes.
func (w *web) events(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}
	if !w.enter() {
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		rw.Header().Set("Retry-After", "5")
		http.Error(rw, "too many look on already", http.StatusServiceUnavailable)
		return
	}
	defer w.leave()
	client := &sse{w: rw, c: http.NewResponseController(rw)}
	if client.c.SetReadDeadline(time.Time{}) != nil { // it has asked, and reads from now on
		return
	}
	_ = w.feed.follow(r.Context(), r.Header.Get("Last-Event-ID"), client) // whatever it says, the client is gone
}

func (w *web) enter() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.clients == webClients {
		return false
	}
	w.clients++
	return true
}

func (w *web) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clients--
}

// sse writes server-sent events.
type sse struct {
	w io.Writer
	c *http.ResponseController
}

// send writes some events at once.
func (s *sse) send(b []byte) error {
	// A client that does not take it within this time is dropped.
	if err := s.c.SetWriteDeadline(time.Now().Add(webWrite)); err != nil {
		return err
	}
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.c.Flush()
}

// watched is a session's face that is shown to a viewer as well, as machine
// mode would say it.
type watched struct {
	face
	machine *machine
}

// watch makes the session's face one that w is shown.
func (w *web) watch(s *session, set settings) {
	if w == nil {
		return
	}
	m := newMachine(s, set, nil, writerFunc(func(line []byte) { w.said("self", line) }))
	m.subscribed["hb"], m.subscribed["order"] = true, true
	s.face = &watched{face: s.face, machine: m}
}

type writerFunc func(b []byte)

func (f writerFunc) Write(b []byte) (int, error) {
	f(b)
	return len(b), nil
}

func (w *watched) opened() {
	w.machine.opened()
	w.face.opened()
}

func (w *watched) event(e p2pchat.Event) {
	w.machine.event(e)
	w.face.event(e)
}

func (w *watched) message(m p2pchat.Message) {
	w.machine.message(m)
	w.face.message(m)
}

func (w *watched) drained() {
	w.machine.drained()
	w.face.drained()
}

func (w *watched) closed(e ending) {
	w.machine.closed(e)
	w.face.closed(e)
}
