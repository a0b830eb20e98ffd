package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/election"
)

func TestLeadersFollowEachOther(t *testing.T) {
	for name, create := range map[string]election.New{"bully": election.NewBully, "ring": election.NewRing} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var out strings.Builder
			require.NoError(t, run(ctx, &out, create, 5))
			require.Equal(t, ""+
				"worker 5 is gone, worker 4 leads\n"+
				"worker 4 is gone, worker 3 leads\n"+
				"worker 3 is gone, worker 2 leads\n"+
				"worker 2 is gone, worker 1 leads\n", out.String())
		})
	}
}
