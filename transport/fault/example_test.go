package fault_test

import (
	"fmt"
	"time"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/fault"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// A peer is cut off for a while. Nothing is lost, because the stream to it
// outlives the cut.
func Example() {
	net := memnet.New(memnet.Config{})
	ada, bob := fault.New(net.Host(), fault.Config{Seed: 1}), net.Host()
	got, up := make(chan string, 10), make(chan transport.Kind, 10)
	_ = ada.Open(transport.HandlerFunc(func(e transport.Event) { up <- e.Kind }))
	_ = bob.Open(transport.HandlerFunc(func(e transport.Event) {
		if e.Kind == transport.Frame {
			got <- string(e.Frame)
		}
	}))
	_ = ada.Stream(bob.Addr(), []byte("before"))
	fmt.Println("ada:", <-up)
	fmt.Println("bob got", <-got)

	ada.Cut(bob.Addr())
	_ = ada.Stream(bob.Addr(), []byte("meanwhile"))
	select {
	case <-got:
		fmt.Println("this cannot be")
	case <-time.After(10 * time.Millisecond):
		fmt.Println("bob got nothing")
	}

	ada.Heal()
	fmt.Println("bob got", <-got)
	_ = ada.Close()
	_ = bob.Close()
	// Output:
	// ada: up
	// bob got before
	// bob got nothing
	// bob got meanwhile
}
