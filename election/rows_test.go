package election_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryRowIsTested requires a case in testdata for each row of the tables in
// the package documentation, and no case for a row that is not there.
func TestEveryRowIsTested(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	for algorithm, row := range map[string]string{"bully": "B", "ring": "R"} {
		cases, err := os.ReadFile("testdata/" + algorithm + "_rows.txt")
		require.NoError(t, err)
		rows := set(regexp.MustCompile(`(?m)^//\t(`+row+`\d+) `), string(doc))
		require.NotEmpty(t, rows)
		require.Equal(t, rows, set(regexp.MustCompile(`(?m)^== (`+row+`\d+) `), string(cases)))
	}
}

// set is what the expression's group matched.
func set(e *regexp.Regexp, text string) map[string]bool {
	found := make(map[string]bool)
	for _, m := range e.FindAllStringSubmatch(text, -1) {
		found[m[1]] = true
	}
	return found
}
