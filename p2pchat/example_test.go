package p2pchat_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// join starts a node on a network in memory.
func join(ctx context.Context, net *memnet.Network, nick string, opts ...p2pchat.Option) *p2pchat.Node {
	node, err := p2pchat.New(append(opts, p2pchat.WithName(nick), p2pchat.WithTransport(net.Host()))...)
	if err != nil {
		log.Fatal(err)
	}
	if err := node.Join(ctx); err != nil {
		log.Fatal(err)
	}
	return node
}

// Two nodes meet. The second one is told what was said before it came. Leave
// out WithTransport, and they do the same on the local network.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})

	ada := join(ctx, net, "ada")
	defer ada.Close()
	if _, err := ada.Send(ctx, "lobby", []byte("anybody there?")); err != nil {
		log.Fatal(err)
	}
	bob := join(ctx, net, "bob")
	defer bob.Close()
	if _, err := bob.Send(ctx, "lobby", []byte("me")); err != nil {
		log.Fatal(err)
	}

	for m := range bob.Messages(ctx, p2pchat.FromStart) {
		fmt.Printf("%s: %s\n", m.From, m.Data)
		if m.Own {
			break
		}
	}
	fmt.Println(bob.View())
	// Output:
	// ada#1: anybody there?
	// bob#2: me
	// [1*|v2] (2) [1,2]
}

// The coordinator dies, and the others have another one.
func ExampleNode_Wait() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
	ada := join(ctx, net, "ada")
	bob := join(ctx, net, "bob")
	defer bob.Close()
	eve := join(ctx, net, "eve")
	defer eve.Close()

	ada.Close() // as a crash would
	for _, node := range []*p2pchat.Node{bob, eve} {
		err := node.Wait(ctx, func(s p2pchat.Status) bool { return s.View.Coordinator.Nick == "eve" })
		fmt.Println(node.Self(), err)
	}
	// Output:
	// bob#2 <nil>
	// eve#3 <nil>
}

// All faults of the options are reported at once.
func ExampleNew() {
	_, err := p2pchat.New(
		p2pchat.WithName(""),
		p2pchat.WithElector(election.NewRing),
		p2pchat.WithMaxMessage(-1),
	)
	fmt.Println(err)
	// Output:
	// p2pchat: the nick "" is not 1 to 64 bytes of UTF-8
	// p2pchat: WithMaxMessage: -1 is not between 1 and 1048576
}

// Two nodes that hold the same messages list them in the same order.
func ExampleNode_History() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
	ada := join(ctx, net, "ada")
	defer ada.Close()
	bob := join(ctx, net, "bob")
	defer bob.Close()

	for _, text := range []string{"one", "two", "three"} {
		if _, err := ada.Send(ctx, "lobby", []byte(text)); err != nil {
			log.Fatal(err)
		}
	}
	converged := func(s p2pchat.Status) bool { return s.Digest.N == 3 && s.Converged() }
	if err := bob.Wait(ctx, converged); err != nil {
		log.Fatal(err)
	}
	for m := range bob.History("lobby").All() {
		fmt.Println(m.Pos, string(m.Data))
	}
	// Output:
	// 0 one
	// 1 two
	// 2 three
}

// A message that only its receiver can read.
func ExampleNode_SendTo() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
	ada := join(ctx, net, "ada")
	defer ada.Close()
	bob := join(ctx, net, "bob")
	defer bob.Close()

	if _, err := ada.SendTo(ctx, bob.Self().Key, []byte("psst")); err != nil {
		log.Fatal(err)
	}
	for m := range bob.Direct(ctx) {
		fmt.Printf("%s: %s\n", m.From, m.Data)
		break
	}
	// Output:
	// ada#1: psst
}
