package lan_test

import (
	"fmt"
	"log"

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
