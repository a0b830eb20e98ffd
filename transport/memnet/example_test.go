package memnet_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// Two hosts, a datagram to the group and an answer on a stream.
func Example() {
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
	ada, bob := net.Host(), net.Host()
	done := make(chan struct{})

	_ = ada.Open(transport.HandlerFunc(func(e transport.Event) {
		if e.Kind == transport.Frame {
			fmt.Printf("ada got %q from %v\n", e.Frame, e.Peer)
			close(done)
		}
	}))
	_ = bob.Open(transport.HandlerFunc(func(e transport.Event) {
		if e.Kind == transport.Datagram {
			fmt.Printf("bob got %q from %v\n", e.Frame, e.Peer)
			_ = bob.Stream(e.Peer, []byte("welcome"))
		}
	}))
	_ = ada.Multicast([]byte("anybody there?"))
	<-done
	_ = ada.Close()
	_ = bob.Close()
	// Output:
	// bob got "anybody there?" from 10.0.0.1:7000
	// ada got "welcome" from 10.0.0.2:7000
}

// A simulator with a clock of its own asks the Weather about each packet.
func ExampleWeather() {
	ada, bob := netip.MustParseAddrPort("10.0.0.1:7000"), netip.MustParseAddrPort("10.0.0.2:7000")
	w := memnet.NewWeather(memnet.Config{Seed: 1, Delay: 2 * time.Millisecond})
	fmt.Println(w.Plan(ada, bob, true))
	w.Cut(ada, bob)
	fmt.Println(w.Plan(ada, bob, true), w.Plan(bob, ada, true))
	// Output:
	// [2ms]
	// [] [2ms]
}
