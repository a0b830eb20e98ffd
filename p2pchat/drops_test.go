package p2pchat_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// reasons are all matches of a pattern's group in the files.
func reasons(t *testing.T, glob, pattern string) (out []string) {
	files, err := filepath.Glob(glob)
	require.NoError(t, err)
	require.NotEmpty(t, files, glob)
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			out = append(out, regexp.MustCompile(`[a-z_]+`).FindAllString(m[1], -1)...)
		}
	}
	require.NotEmpty(t, out, "%s: %s", glob, pattern)
	return out
}

// Every reason for which anything of this module refuses something is in the
// table, and nothing else is.
func TestEveryReasonToRefuseIsDocumented(t *testing.T) {
	used := slices.Concat(
		reasons(t, "../internal/core/*.go", `c\.drops\["(\w+)"\]`),
		reasons(t, "../internal/core/core.go", `\{"(\w+)", (?:m|c\.mail\.count)\.\w+\}`),
		reasons(t, "../causal/*.go", `\berr[A-Z]\w+ += errors\.New\("([a-z_]+)"\)`),
		reasons(t, "../causal/receive.go", `errKnown = errors\.New\("([a-z_]+)"\)`),
		reasons(t, "../transport/[^t]*/*.go", `dropNames = \[dropReasons\]string\{([^}]*)\}`),
		reasons(t, "../transport/[^t]*/*.go", `drops\["(\w+)"\]`),
	)
	slices.Sort(used)
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(doc), "// # What is refused\n")
	table, _, _ := strings.Cut(rest, "// # ")
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^//\t([a-z_]+) `).FindAllStringSubmatch(table, -1) {
		listed = append(listed, m[1])
	}
	slices.Sort(listed)
	require.Equal(t, slices.Compact(used), listed)
}
