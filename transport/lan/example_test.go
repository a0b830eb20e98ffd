package lan_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
)

// Two nodes on this host find each other by the multicast address, and go on by
// a stream. Leave out Interfaces, and they do so on the local network.
func Example() {
	config := lan.Config{Group: "239.255.77.13:7713", Interfaces: []string{"127.0.0.1"}}
	ada, bob := lan.New(config), lan.New(config)

	said := make(chan string)
	if err := ada.Open(transport.HandlerFunc(func(e transport.Event) {
		if e.Kind == transport.Frame {
			said <- string(e.Frame)
		}
	})); err != nil {
		log.Fatal(err) // a *transport.NetworkError says what is missing
	}
	defer ada.Close()
	if err := bob.Open(transport.HandlerFunc(func(e transport.Event) {
		if e.Kind == transport.Datagram {
			_ = bob.Stream(e.Peer, []byte("I am here")) // if ada is gone, a Down says so
		}
	})); err != nil {
		log.Fatal(err)
	}
	defer bob.Close()
	if err := ada.Multicast([]byte("who is there?")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-said)
	// Output: I am here
}

// A program that tells why nobody is heard.
func ExampleCheck() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	report, err := lan.Check(ctx, lan.Config{})
	if err != nil {
		log.Fatal(err) // there is no network at all
	}
	for _, fault := range report.Faults {
		fmt.Println(fault)
	}
	fmt.Print(report) // the whole of it, in several lines
}
