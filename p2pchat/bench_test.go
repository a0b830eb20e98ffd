package p2pchat_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/lan"
)

// BenchmarkGroup sends messages of 100 B among four nodes on the loopback
// interface of this machine, all in this process, and waits until every node
// holds every one of them. One operation is one message sent.
func BenchmarkGroup(b *testing.B) {
	for _, senders := range []int{1, 4} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			ctx := context.Background()
			group := fmt.Sprintf("239.255.%d.%d:%d", 100+rand.N(100), 1+rand.N(250), 20000+rand.N(20000))
			var nodes []*p2pchat.Node
			for range 4 {
				n, err := p2pchat.New(p2pchat.WithTransport(lan.New(lan.Config{Group: group, Interfaces: []string{"lo"}})))
				require.NoError(b, err)
				defer func() { _ = n.Close() }()
				require.NoError(b, n.Join(ctx))
				nodes = append(nodes, n)
			}
			data := make([]byte, 100)
			b.SetBytes(100)
			b.ReportAllocs()
			b.ResetTimer()
			errs := make(chan error, senders)
			for s := range senders {
				go func() {
					var err error
					for i := s; i < b.N && err == nil; i += senders {
						_, err = nodes[s].Send(ctx, "lobby", data)
					}
					errs <- err
				}()
			}
			for range senders {
				require.NoError(b, <-errs)
			}
			for _, n := range nodes {
				require.NoError(b, n.Wait(ctx, func(s p2pchat.Status) bool { return s.Digest.N == uint64(b.N) }))
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}
