package rules

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadme builds the program that the README shows.
func TestReadme(t *testing.T) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	require.NoError(t, err)
	root := filepath.Dir(string(bytes.TrimSpace(out)))
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
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
