package p2pchat_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/lan"
)

func anyGroup() string {
	return fmt.Sprintf("239.255.%d.%d:%d", 100+rand.N(100), 1+rand.N(250), 20000+rand.N(20000))
}

func joinLoopback(ctx context.Context, group string) (*p2pchat.Node, error) {
	n, err := p2pchat.New(p2pchat.WithTransport(lan.New(lan.Config{Group: group, Interfaces: []string{"lo"}})))
	if err != nil {
		return nil, err
	}
	return n, n.Join(ctx)
}

// BenchmarkGroup sends messages of 100 B among four nodes on the loopback
// interface of this machine, all in this process, and waits until every node
// holds every one of them. One operation is one message sent.
func BenchmarkGroup(b *testing.B) {
	for _, senders := range []int{1, 4} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			ctx := context.Background()
			group := anyGroup()
			var nodes []*p2pchat.Node
			for range 4 {
				n, err := joinLoopback(ctx, group)
				require.NoError(b, err)
				defer func() { _ = n.Close() }()
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

// joinEnv makes this program join the group that it names, say how many
// messages it then holds, and end.
const joinEnv = "P2PCHAT_BENCH_JOIN"

func joinAndSay(group string) int {
	n, err := joinLoopback(context.Background(), group)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(n.Status().Digest.N)
	_ = n.Close()
	return 0
}

// BenchmarkCatchUp starts another process, which joins and takes over a
// history of messages of 100 B. One operation is all of it, from the start of
// the process to its end.
func BenchmarkCatchUp(b *testing.B) {
	for _, count := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("messages=%d", count), func(b *testing.B) {
			ctx := context.Background()
			group := anyGroup()
			n, err := joinLoopback(ctx, group)
			require.NoError(b, err)
			defer func() { _ = n.Close() }()
			data := make([]byte, 100)
			for range count {
				_, err := n.Send(ctx, "lobby", data)
				require.NoError(b, err)
			}
			for b.Loop() {
				c := exec.Command(os.Args[0])
				c.Env = append(os.Environ(), joinEnv+"="+group)
				out, err := c.CombinedOutput()
				require.NoError(b, err, "%s", out)
				require.Equal(b, fmt.Sprintln(count), string(out))
			}
		})
	}
}
