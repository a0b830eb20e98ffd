package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// around is what the code in package comments takes for granted.
const around = `
var (
	ctx        context.Context
	base       election.Base
	me         election.Key
	members    []election.Candidate
	incoming   chan election.Message
	send       func([]election.Out)
	peer       p2pchat.Peer
	code       string
	a, b, c, d netip.AddrPort

	mylog   struct{ New func(causal.Config) (causal.Log, error) }
	mystore struct{ Open func(path string) (causal.Store, error) }
	mine    struct {
		NewElector election.New
		New        func(membership.Member, membership.Timing, *rand.Rand) membership.Membership
	}
)
`

// TestDocCode compiles the code that the comments of packages show.
func TestDocCode(t *testing.T) {
	_, own := load(t)
	c := newCompiler(t)
	found := 0
	for _, name := range slices.Sorted(maps.Keys(own)) {
		for _, file := range own[name].GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(own[name].Dir, file), nil, parser.ParseComments|parser.PackageClauseOnly)
			require.NoError(t, err)
			for _, code := range goCode(f.Doc.Text()) {
				found++
				require.NoError(t, c.compile(code), "in the comment of package %s:\n%s", name, code)
			}
		}
	}
	require.Greater(t, found, 8)
}

func TestDocCodeFindsWhatIsWrong(t *testing.T) {
	c := newCompiler(t)
	require.NoError(t, c.compile("node, err := p2pchat.New()\n…\nreturn err"))
	for code, want := range map[string]string{
		"node, err := p2pchat.Make()":              "undefined: p2pchat.Make",
		"node := p2pchat.New()":                    "assignment mismatch",
		"var n int = base":                         "cannot use base",
		"who := him":                               "undefined: him",
		"if x := 1 {":                              "expected",
		"func TestX(t *testing.T) { mine.Run(t) }": "mine.Run undefined",
	} {
		require.ErrorContains(t, c.compile(code), want)
	}
	require.Equal(t, []string{"x := 1\n"}, goCode("Text.\n\n\tx := 1\n\nMore.\n\n\ta  table\n"))
}

// goCode returns the blocks of a comment that are Go, and no tables.
func goCode(doc string) []string {
	var found []string
	for _, b := range new(comment.Parser).Parse(doc).Content {
		if c, ok := b.(*comment.Code); ok && (strings.Contains(c.Text, ":=") || strings.HasPrefix(c.Text, "func ")) {
			found = append(found, c.Text)
		}
	}
	return found
}

// A compiler checks the types of code, which may use any package that the
// module's own ones import, and these.
type compiler struct {
	fset  *token.FileSet
	paths map[string]string // by the last element
	imp   types.Importer
}

func newCompiler(t *testing.T) *compiler {
	t.Helper()
	out, err := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export", Module+"/...").Output()
	require.NoError(t, err)
	c := &compiler{fset: token.NewFileSet(), paths: map[string]string{}}
	export := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p struct{ ImportPath, Export string }
		require.NoError(t, dec.Decode(&p))
		export[p.ImportPath] = p.Export
		if under(p.ImportPath, "") && !strings.Contains(p.ImportPath, " ") {
			c.paths[path.Base(p.ImportPath)] = p.ImportPath
		}
	}
	for _, std := range []string{"context", "errors", "fmt", "math/rand/v2", "crypto/rand", "net/netip", "path/filepath", "testing", "time"} {
		c.paths[path.Base(std)] = std
	}
	c.paths["rand"] = "math/rand/v2"
	c.imp = importer.ForCompiler(c.fset, "gc", func(name string) (io.ReadCloser, error) { return os.Open(export[name]) })
	return c
}

// compile checks declarations, or statements of a function that returns an
// error. Variables need not be used, and "…" stands for anything.
func (c *compiler) compile(code string) error {
	code = strings.ReplaceAll(code, "…\n", "\n")
	if !strings.HasPrefix(code, "func ") {
		code = "func _() error {\n" + code + "\nreturn nil\n}"
	}
	paths := maps.Clone(c.paths)
	if strings.Contains(code, "rand.Reader") {
		code = strings.ReplaceAll(code, "rand.Reader", "crand.Reader")
		paths["crand"] = "crypto/rand"
	}
	imports := ""
	for name, from := range paths {
		if strings.Contains(code+around, name+".") {
			imports += fmt.Sprintf("import %s %q\n", name, from)
		}
	}
	f, err := parser.ParseFile(c.fset, "doc.go", "package doc\n"+imports+around+code, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	var wrong []error
	conf := types.Config{Importer: c.imp, Error: func(err error) {
		var e types.Error
		if !errors.As(err, &e) || !e.Soft {
			wrong = append(wrong, err)
		}
	}}
	_, _ = conf.Check("doc", c.fset, []*ast.File{f}, nil)
	return errors.Join(wrong...)
}
