package lab

import (
	"fmt"
	"strings"
	"time"
)

// Patience is how long an awaited thing may take on a machine that is busy
// with other things. A sound program never comes near it.
const Patience = 90 * time.Second

const (
	excerptLines = 40  // of what one process said
	excerptWidth = 300 // bytes of each
	testLines    = 160 // of all processes of a test
)

// Excerpt is the end of what a program printed: so much that what the test
// itself says is still seen beside it.
func Excerpt(text string) string { return excerpt(text, excerptLines) }

func excerpt(text string, lines int) string {
	all := strings.SplitAfter(text, "\n")
	if last := len(all) - 1; all[last] == "" {
		all = all[:last]
	}
	var b strings.Builder
	if n := len(all) - lines; n > 0 {
		fmt.Fprintf(&b, "  … %d lines …\n", n)
		all = all[n:]
	}
	for _, line := range all {
		fmt.Fprintln(&b, abbreviate([]byte(line)))
	}
	return b.String()
}

func abbreviate(line []byte) string {
	if len(line) > excerptWidth {
		return string(line[:excerptWidth]) + "…"
	}
	return strings.TrimRight(string(line), " \r\n")
}
