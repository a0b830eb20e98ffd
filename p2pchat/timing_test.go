package p2pchat_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// TestNobodyIsSuspectInAQuietGroup: signs of life are frequent enough for
// every profile that Validate takes, whatever of them is left out.
func TestNobodyIsSuspectInAQuietGroup(t *testing.T) {
	tight := membership.Default()
	tight.TMember = 2 * tight.H
	slow := membership.Classic()
	slow.TMember = 2 * slow.H
	require.NoError(t, tight.Validate())
	require.NoError(t, slow.Validate())
	for name, timing := range map[string]membership.Timing{
		"default": membership.Default(),
		"classic": membership.Classic(),
		"derived": membership.For(time.Second, 2*time.Second),
		"tight":   tight,
		"slow":    slow,
	} {
		t.Run(name, func(t *testing.T) {
			in(t, memnet.Config{Seed: 3, Delay: time.Millisecond}, func(w *world) {
				w.join(4, p2pchat.WithTiming(timing))
				w.wait(w.nodes, holds(4, 0))
				ctx, cancel := context.WithTimeout(w.ctx, 200*timing.H)
				defer cancel()
				for _, n := range w.nodes {
					events := n.Events(ctx)
					go func() {
						for e := range events {
							if p, ok := e.(*p2pchat.PeerEvent); ok {
								w.Errorf("%v: %v is %s", n.Self(), p.Peer, p.State)
							}
						}
					}()
				}
				<-ctx.Done()
				synctest.Wait()
			})
		})
	}
}
