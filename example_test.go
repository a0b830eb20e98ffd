package p2p_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// Four nodes without a server. The coordinator dies without a goodbye, another
// takes its place, and all have one history.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	network := memnet.New(memnet.Config{}) // leave WithTransport out, and it is the local network
	var nodes []*p2pchat.Node
	for i, name := range []string{"ada", "bob", "cyd", "dan"} {
		node, err := p2pchat.New(p2pchat.WithName(name), p2pchat.WithTransport(network.Host()))
		if err != nil {
			log.Fatal(err)
		}
		defer node.Close()
		if err := node.Join(ctx); err != nil {
			log.Fatal(err)
		}
		heard := func(s p2pchat.Status) bool { return s.Digest.N == uint64(i) }
		if err := node.Wait(ctx, heard); err != nil {
			log.Fatal(err)
		}
		if _, err := node.Send(ctx, "lobby", []byte("hello from "+name)); err != nil {
			log.Fatal(err)
		}
		nodes = append(nodes, node)
	}
	fmt.Println("coordinator:", nodes[3].View().Coordinator)

	nodes[0].Close() // no goodbye, as in a crash
	settled := func(s p2pchat.Status) bool { return len(s.View.Members) == 3 && s.Digest.N == 4 && s.Converged() }
	if err := nodes[3].Wait(ctx, settled); err != nil {
		log.Fatal(err)
	}
	fmt.Println("coordinator:", nodes[3].View().Coordinator)
	for m := range nodes[3].History("lobby").All() {
		fmt.Printf("%s\n", m.Data)
	}
	// Output:
	// coordinator: ada#1
	// coordinator: dan#4
	// hello from ada
	// hello from bob
	// hello from cyd
	// hello from dan
}
