package lan_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
)

// A node that greets the default group and answers whoever greets it.
func Example() {
	t := lan.New(lan.Config{})
	err := t.Open(transport.HandlerFunc(func(e transport.Event) {
		switch e.Kind {
		case transport.Datagram:
			_ = t.Stream(e.Peer, []byte("welcome"))
		case transport.Frame:
			fmt.Printf("%v says %q\n", e.Peer, e.Frame)
		case transport.Down:
			fmt.Printf("%v: %v\n", e.Peer, e.Cause)
		}
	}))
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()
	if err := t.Multicast([]byte("hello, everybody")); err != nil {
		log.Print(err)
	}
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
