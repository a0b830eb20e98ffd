package rules

import (
	"bytes"
	"encoding/json"
	"go/parser"
	"go/token"
	"os/exec"
	"path"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// listed is what "go list" says of one package.
type listed struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

// load asks the go command for the module's import graph, the standard
// library and other modules included, and for its own packages.
func load(t *testing.T) (Graph, map[string]listed) {
	t.Helper()
	out, err := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Dir,GoFiles,Imports", Module+"/...").Output()
	require.NoError(t, err)
	g := Graph{}
	own := map[string]listed{}
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p listed
		require.NoError(t, dec.Decode(&p))
		g[p.ImportPath] = p.Imports
		if under(p.ImportPath, "") {
			own[p.ImportPath] = p
		}
	}
	for _, port := range Ports {
		require.Contains(t, own, path.Join(Module, port))
	}
	return g, own
}

func TestLayers(t *testing.T) {
	g, _ := load(t)
	require.Empty(t, g.Layers())
}

func TestPurity(t *testing.T) {
	g, own := load(t)
	for _, pkg := range g.MustBePure() {
		fset := token.NewFileSet()
		for _, name := range own[pkg].GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(own[pkg].Dir, name), nil, 0)
			require.NoError(t, err)
			require.Empty(t, Impure(fset, f), "%s must be pure", pkg)
		}
	}
}

func TestRequirements(t *testing.T) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	require.NoError(t, err)
	out, err = exec.Command("go", "mod", "edit", "-json", string(bytes.TrimSpace(out))).Output()
	require.NoError(t, err)
	var mod struct {
		Module  struct{ Path string }
		Require []struct{ Path string }
		Replace []struct{ Old struct{ Path string } }
	}
	require.NoError(t, json.Unmarshal(out, &mod))
	require.Equal(t, Module, mod.Module.Path)
	require.NotEmpty(t, mod.Require)
	for _, r := range mod.Require {
		require.Contains(t, Requirements, r.Path)
	}
	require.Empty(t, mod.Replace, "a replacement does not reach those who import the module")
}

// The rules themselves: each is broken once.

func TestLayersFindsWhatIsWrong(t *testing.T) {
	m := func(dir string) string { return path.Join(Module, dir) }
	for _, tc := range []struct {
		name string
		g    Graph
		want []string
	}{
		{"as it should be", Graph{
			m("election"):      {"fmt"},
			m("membership"):    {"fmt"},
			m("internal/core"): {m("election"), m("membership")},
			m("p2pchat"):       {m("internal/core"), m("transport/lan")},
			m("transport/lan"): {m("transport"), "net"},
			m("transport"):     {"net"},
			m("examples/chat"): {m("p2pchat")},
		}, nil},
		{"a port imports another", Graph{m("election"): {m("membership")}, m("membership"): nil},
			[]string{m("election") + " depends on " + m("membership")}},
		{"a port imports another through a third", Graph{m("causal"): {m("internal/x")}, m("internal/x"): {m("transport/lan")}},
			[]string{m("causal") + " depends on " + m("transport/lan")}},
		{"a package below a port", Graph{m("transport/lan"): {m("causal")}},
			[]string{m("transport/lan") + " depends on " + m("causal")}},
		{"a port imports the node", Graph{m("membership"): {m("p2pchat")}},
			[]string{m("membership") + " depends on " + m("p2pchat")}},
		{"a port imports the core", Graph{m("causal"): {m("internal/core")}},
			[]string{m("causal") + " depends on " + m("internal/core")}},
		{"a name that only begins like a port's", Graph{m("election"): {m("causality")}}, nil},
		{"an example imports an internal package", Graph{m("examples/chat"): {m("internal/lab")}},
			[]string{m("examples/chat") + " imports " + m("internal/lab") + ", which users cannot"}},
		{"the node drags in a test library", Graph{m("p2pchat"): {m("transport")}, m("transport"): {"github.com/stretchr/testify/require"}},
			[]string{m("p2pchat") + " depends on github.com/stretchr/testify/require, which is for tests"}},
	} {
		t.Run(tc.name, func(t *testing.T) { require.Equal(t, tc.want, tc.g.Layers()) })
	}
}

func TestMustBePureFollowsImports(t *testing.T) {
	m := func(dir string) string { return path.Join(Module, dir) }
	g := Graph{
		m("internal/core"):  {m("internal/codec"), m("transport"), "fmt"},
		m("internal/codec"): {"errors"},
		m("causal"):         nil,
		m("p2pchat"):        {m("internal/driver")},
	}
	require.Equal(t, []string{m("causal"), m("internal/codec"), m("internal/core")}, g.MustBePure())
}

func TestImpureFindsWhatIsWrong(t *testing.T) {
	for _, tc := range []struct{ name, src, want string }{
		{"pure", `import ("time"; "math/rand/v2"; "net/netip")
			func f(now time.Time, r *rand.Rand, a netip.Addr) time.Time { return now.Add(time.Duration(r.Int64N(5))) }
			func g() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }`, ""},
		{"net", `import _ "net"`, "imports net: I/O"},
		{"below net", `import _ "net/http"`, "imports net/http: I/O"},
		{"os", `import _ "os"`, "imports os: I/O"},
		{"below os", `import _ "os/signal"`, "imports os/signal: I/O"},
		{"sockets", `import _ "golang.org/x/net/ipv4"`, "imports golang.org/x/net/ipv4: I/O"},
		{"a log", `import _ "log/slog"`, "imports log/slog: I/O"},
		{"old math/rand", `import _ "math/rand"`, "imports math/rand: a source that others share"},
		{"crypto/rand", `import _ "crypto/rand"`, "imports crypto/rand: a source that others share"},
		{"maphash", `import _ "hash/maphash"`, "imports hash/maphash: its seed cannot be chosen"},
		{"the clock", `import "time"; var t = time.Now()`, "uses time.Now"},
		{"the clock, as a value", `import "time"; var clock = time.Now`, "uses time.Now"},
		{"the clock, renamed", `import c "time"; var t = c.Now()`, "uses time.Now"},
		{"the clock, hidden", `import . "time"; var t = Now()`, "imports time by dot"},
		{"sleeping", `import "time"; func f() { time.Sleep(1) }`, "uses time.Sleep"},
		{"a channel of time", `import "time"; func f() { <-time.After(1) }`, "uses time.After"},
		{"a timer", `import "time"; var t = time.NewTimer(1)`, "uses time.NewTimer"},
		{"a callback", `import "time"; var t = time.AfterFunc(1, nil)`, "uses time.AfterFunc"},
		{"a ticker", `import "time"; var t = time.NewTicker(1)`, "uses time.NewTicker"},
		{"time since", `import "time"; func f(t time.Time) any { return time.Since(t) }`, "uses time.Since"},
		{"global randomness", `import "math/rand/v2"; var n = rand.IntN(5)`, "uses math/rand/v2.IntN, which draws from a shared source"},
		{"global randomness, generic", `import "math/rand/v2"; var n = rand.N[int](5)`, "uses math/rand/v2.N, which draws from a shared source"},
		{"a goroutine", `func f() { go f() }`, "starts a goroutine"},
		{"a goroutine in a closure", `var f = func() { go func() {}() }`, "starts a goroutine"},
		{"a variable named like a package", `import "time"
			type clock struct{ Now func() time.Time }
			func f(time clock) any { return time.Now() }`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, "x.go", "package x\n"+tc.src, 0)
			require.NoError(t, err)
			bad := Impure(fset, f)
			if tc.want == "" {
				require.Empty(t, bad)
				return
			}
			require.Len(t, bad, 1)
			require.Regexp(t, `^x\.go:\d+:\d+: `, bad[0])
			require.Contains(t, bad[0], tc.want)
		})
	}
}
