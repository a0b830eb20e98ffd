// Package rules checks how the module is put together: which package may
// import which, and that the state machines are pure functions of what they
// are given. The test of this package applies the rules to the module itself.
package rules

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Module is the path of the module that the rules are about.
const Module = "github.com/seed-885536be/p2p"

// Ports are the packages that can be used alone. None depends on another, nor
// on what puts them together.
var Ports = []string{"election", "membership", "causal", "transport"}

// Pure are the packages whose every result follows from their arguments, so
// that a run can be replayed from a seed: no I/O, no clock, no randomness of
// their own, no goroutine. What they import from this module must be pure too.
var Pure = []string{"election", "membership", "causal", "internal/core"}

// Requirements are the modules that the module's own go.mod may name, and what
// each is there for. Anything heavier belongs into a nested module.
var Requirements = map[string]string{
	"github.com/hashicorp/go-msgpack/v2": "the wire format",
	"golang.org/x/net":                   "multicast",
	"golang.org/x/sys":                   "socket options",
	"golang.org/x/term":                  "the prompt of the chat",
	"golang.org/x/text":                  "the width of characters at the prompt",
	"go.etcd.io/bbolt":                   "histories on disk",
	"github.com/stretchr/testify":        "tests",
	"go.uber.org/goleak":                 "tests",
	"pgregory.net/rapid":                 "tests",
	// What those need in turn.
	"github.com/davecgh/go-spew":    "tests",
	"github.com/pmezard/go-difflib": "tests",
	"go.yaml.in/yaml/v3":            "tests",
}

// Graph is the import graph: for each package, by its whole path, the packages
// that its non-test files import.
type Graph map[string][]string

// under reports whether pkg is the package at dir of the module, or below it.
func under(pkg, dir string) bool {
	p := path.Join(Module, dir)
	return pkg == p || strings.HasPrefix(pkg, p+"/")
}

// reach returns the packages that pkg depends on, pkg itself left out.
func (g Graph) reach(pkg string) []string {
	seen := map[string]bool{pkg: true}
	var out []string
	for queue := []string{pkg}; len(queue) > 0; queue = queue[1:] {
		for _, imp := range g[queue[0]] {
			if !seen[imp] {
				seen[imp] = true
				out = append(out, imp)
				queue = append(queue, imp)
			}
		}
	}
	slices.Sort(out)
	return out
}

// packages returns the packages of the graph in order.
func (g Graph) packages() []string {
	out := make([]string, 0, len(g))
	for p := range g {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// Layers returns what is wrong with who imports whom:
//
//   - a port, or a package below it, depends on another port, on the node, on
//     the core or on an example;
//   - an example imports an internal package;
//   - what a program links by importing the node contains a test library.
func (g Graph) Layers() []string {
	var bad []string
	for _, pkg := range g.packages() {
		for _, port := range Ports {
			if !under(pkg, port) {
				continue
			}
			forbidden := slices.DeleteFunc(slices.Clone(Ports), func(p string) bool { return p == port })
			forbidden = append(forbidden, "p2pchat", "internal/core", "examples")
			for _, dep := range g.reach(pkg) {
				if slices.ContainsFunc(forbidden, func(dir string) bool { return under(dep, dir) }) {
					bad = append(bad, fmt.Sprintf("%s depends on %s", pkg, dep))
				}
			}
		}
		if under(pkg, "examples") {
			for _, imp := range g[pkg] {
				if under(imp, "internal") {
					bad = append(bad, fmt.Sprintf("%s imports %s, which users cannot", pkg, imp))
				}
			}
		}
		if pkg == path.Join(Module, "p2pchat") {
			for _, dep := range g.reach(pkg) {
				if forTests(dep) {
					bad = append(bad, fmt.Sprintf("%s depends on %s, which is for tests", pkg, dep))
				}
			}
		}
	}
	return bad
}

// forTests reports whether the package has no place outside of tests.
func forTests(pkg string) bool {
	for module, use := range Requirements {
		if use == "tests" && (pkg == module || strings.HasPrefix(pkg, module+"/")) {
			return true
		}
	}
	return pkg == "testing"
}

// MustBePure returns the packages of the module that Impure is to be asked
// about: Pure, and what those import from the module. The port of the
// transports is left out: it names the errors of package net, and does nothing.
func (g Graph) MustBePure() []string {
	var out []string
	for _, dir := range Pure {
		p := path.Join(Module, dir)
		if _, ok := g[p]; !ok {
			continue
		}
		out = append(out, p)
		for _, dep := range g.reach(p) {
			if under(dep, "") && dep != path.Join(Module, "transport") {
				out = append(out, dep)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// impureImports are the packages that a pure one must not import, with all
// that is below them but for the exceptions.
var impureImports = map[string]string{
	"net":           "I/O",
	"os":            "I/O",
	"io/ioutil":     "I/O",
	"log":           "I/O",
	"syscall":       "I/O",
	"golang.org/x":  "I/O",
	"math/rand":     "a source that others share",
	"crypto/rand":   "a source that others share",
	"hash/maphash":  "its seed cannot be chosen",
	"unsafe":        "memory layout",
	"runtime":       "the machine's state",
	"C":             "foreign code",
	"testing":       "test code",
	"go.etcd.io":    "I/O",
	"embed":         "I/O",
	"path/filepath": "I/O",
}

var pureAfterAll = []string{"net/netip", "math/rand/v2", "golang.org/x/exp"}

// impureNames are the functions of packages that are fine otherwise.
var impureNames = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
}

// seeded are the names of math/rand/v2 that do not touch its shared source.
var seeded = []string{"New", "NewPCG", "NewChaCha8", "NewZipf", "Rand", "Source", "PCG", "ChaCha8", "Zipf"}

// Impure returns what makes the file's results depend on more than its
// arguments, each with its position.
func Impure(fset *token.FileSet, file *ast.File) []string {
	var bad []string
	report := func(at token.Pos, format string, args ...any) {
		bad = append(bad, fmt.Sprintf("%s: %s", fset.Position(at), fmt.Sprintf(format, args...)))
	}

	imported := map[string]string{} // local name → path
	for _, spec := range file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			report(spec.Pos(), "import path %s", spec.Path.Value)
			continue
		}
		for forbidden, why := range impureImports {
			if (p == forbidden || strings.HasPrefix(p, forbidden+"/")) && !slices.Contains(pureAfterAll, p) {
				report(spec.Pos(), "imports %s: %s", p, why)
			}
		}
		name := path.Base(p)
		if name == "v2" {
			name = path.Base(path.Dir(p))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		_, watched := impureNames[p]
		if name == "." && (watched || p == "math/rand/v2") {
			report(spec.Pos(), "imports %s by dot", p)
		}
		imported[name] = p
	}

	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			report(n.Pos(), "starts a goroutine")
		case *ast.SelectorExpr:
			// A local variable may hide an import. Obj is what the parser
			// resolved within the file; for an import it is nil.
			x, ok := n.X.(*ast.Ident)
			if !ok || x.Obj != nil {
				return true
			}
			p := imported[x.Name]
			if slices.Contains(impureNames[p], n.Sel.Name) {
				report(n.Pos(), "uses %s.%s", p, n.Sel.Name)
			}
			if p == "math/rand/v2" && !slices.Contains(seeded, n.Sel.Name) {
				report(n.Pos(), "uses %s.%s, which draws from a shared source", p, n.Sel.Name)
			}
		}
		return true
	})
	slices.Sort(bad)
	return bad
}
