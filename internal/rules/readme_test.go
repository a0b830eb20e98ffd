package rules

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadme builds the program that the README shows.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "README.md"))
	require.NoError(t, err)
	programs := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(text, -1)
	require.NotEmpty(t, programs)
	for _, p := range programs {
		file := filepath.Join(t.TempDir(), "main.go")
		require.NoError(t, os.WriteFile(file, p[1], 0o600))
		out, err := exec.Command("go", "vet", file).CombinedOutput()
		require.NoError(t, err, "%s", out)
		out, err = exec.Command("gofmt", "-l", file).CombinedOutput()
		require.NoError(t, err)
		require.Empty(t, string(out), "not gofmt-ed")
	}
}

var (
	goTest  = regexp.MustCompile("go test ([^`#|\n]*)")
	chosen  = regexp.MustCompile(`-(run|bench|fuzz) '?\^?(\w+)`)
	aFunc   = regexp.MustCompile(`(?m)^func (Test|Example|Fuzz|Benchmark)\w*`)
	aFlag   = regexp.MustCompile(` -([\w.-]+)`)
	ofGo    = regexp.MustCompile(`^(v|run|bench|benchmem|benchtime|fuzz|timeout)$`)
	aFolder = regexp.MustCompile(`\./[\w/]+( |$)`)
	aLink   = regexp.MustCompile(`\]\(([^):]+)\)`)
)

// TestDocs checks that the commands in the documents choose tests and flags that
// there are, and that their links lead to files.
func TestDocs(t *testing.T) {
	root := root(t)
	docs, err := filepath.Glob(filepath.Join(root, "*.md"))
	require.NoError(t, err)
	more, err := filepath.Glob(filepath.Join(root, "examples", "*", "*.md"))
	require.NoError(t, err)
	commands := 0
	for _, doc := range append(docs, more...) {
		text, err := os.ReadFile(doc)
		require.NoError(t, err)
		for _, link := range aLink.FindAllSubmatch(text, -1) {
			require.FileExists(t, filepath.Join(filepath.Dir(doc), string(link[1])))
		}
		for _, command := range goTest.FindAllSubmatch(text, -1) {
			commands++
			require.Empty(t, missing(t, root, string(command[1])), "%s: go test %s", doc, command[1])
		}
	}
	require.Greater(t, commands, 20)
}

func TestDocsFindsWhatIsWrong(t *testing.T) {
	for args, want := range map[string]string{
		"./causal -run I04 -causal.seed 4711": "",
		"./...":                               "",
		"./causal -run Modell":                "./causal has no test Modell",
		"./causal ./transport/seal -run XXX -bench Naught": "./causal has no test Naught",
		"./transport/lan -run XXX -fuzz FuzzNothing":       "./transport/lan has no test FuzzNothing",
		"./causal -causal.sead 1":                          "./causal has no flag causal.sead",
	} {
		require.Equal(t, want, missing(t, root(t), args))
	}
}

// missing says which of the tests and flags that are named after "go test" the
// packages do not have.
func missing(t *testing.T, root, args string) string {
	t.Helper()
	for _, folder := range aFolder.FindAllString(args, -1) {
		folder = strings.TrimSpace(folder)
		files, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
		require.NoError(t, err)
		var src []byte
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			src = append(src, text...)
		}
		for _, m := range chosen.FindAllStringSubmatch(args, -1) {
			if m[2] != "XXX" && !slices.ContainsFunc(aFunc.FindAllString(string(src), -1), func(f string) bool { return strings.Contains(f, m[2]) }) {
				return folder + " has no test " + m[2]
			}
		}
		for _, m := range aFlag.FindAllStringSubmatch(args, -1) {
			if !ofGo.MatchString(m[1]) && !bytes.Contains(src, []byte(`"`+m[1]+`"`)) {
				return folder + " has no flag " + m[1]
			}
		}
	}
	return ""
}

func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	require.NoError(t, err)
	return filepath.Dir(string(bytes.TrimSpace(out)))
}
