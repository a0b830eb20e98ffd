// Command customelector runs a group with an election algorithm of its own,
// see rendezvous.go. It starts six nodes on a network in memory, kills the
// coordinator again and again, and prints who takes over: not always the
// highest ID, as with Bully.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/memnet"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) error {
	net := memnet.New(memnet.Config{Delay: time.Millisecond})
	nodes := make(map[uint32]*p2pchat.Node) // by ID
	defer func() {
		for _, n := range nodes {
			_ = n.Close()
		}
	}()
	for range 6 {
		n, err := p2pchat.New(p2pchat.WithElector(newRendezvous), p2pchat.WithTransport(net.Host()))
		if err != nil {
			return err
		}
		if err := n.Join(ctx); err != nil {
			return err
		}
		nodes[n.Self().ID] = n
	}
	old := uint32(1)
	for len(nodes) > 1 {
		_ = nodes[old].Close() // as a crash would
		delete(nodes, old)
		var next uint32
		for _, n := range nodes {
			agreed := func(s p2pchat.Status) bool {
				next = s.View.Coordinator.ID
				return len(s.View.Members) == len(nodes) && next != old
			}
			if err := n.Wait(ctx, agreed); err != nil {
				return err
			}
		}
		fmt.Fprintf(out, "coordinator #%d died, #%d of %d took over\n", old, next, len(nodes))
		old = next
	}
	return nil
}
