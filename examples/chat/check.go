package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/seed-885536be/p2p/transport/lan"
)

// check finds out how well a group can be reached from this host and prints
// that. The exit code is exitNoNetwork if something keeps it back.
func check(ctx context.Context, c lan.Config, stdout, stderr io.Writer) int {
	r, err := lan.Check(ctx, c)
	if err != nil {
		return fail(stderr, max(exitCode(err), exitRuntime), err)
	}
	fmt.Fprintf(stdout, "group     %s\n", c.Group)
	for line := range strings.Lines(r.String()) {
		fmt.Fprintln(stdout, harmless(strings.TrimSuffix(line, "\n")))
	}
	if len(r.Faults) > 0 {
		return exitNoNetwork
	}
	return exitOK
}
