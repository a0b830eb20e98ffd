package seal_test

import (
	"errors"
	"fmt"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
	"github.com/seed-885536be/p2p/transport/seal"
)

// Two nodes with the same code, and one without it, which is reported as a
// stranger.
func Example() {
	net := memnet.New(memnet.Config{})
	key, err := seal.Code(seal.NewCode()) // people read the code to each other
	if err != nil {
		fmt.Println(err)
		return
	}
	ada, _ := seal.New(net.Host(), seal.Config{Key: key})
	bob, _ := seal.New(net.Host(), seal.Config{Key: key})
	eve := net.Host()

	said := make(chan string)
	_ = bob.Open(transport.HandlerFunc(func(e transport.Event) {
		switch e.Kind {
		case transport.Datagram:
			said <- fmt.Sprintf("%v: %s", e.Peer, e.Frame)
		case transport.Stranger:
			said <- fmt.Sprintf("%v: %v", e.Peer, e.Err)
		}
	}))
	ignore := transport.HandlerFunc(func(transport.Event) {})
	_ = ada.Open(ignore)
	_ = eve.Open(ignore)

	_ = ada.Multicast([]byte("hello"))
	fmt.Println(<-said)
	_ = eve.Unicast(bob.Addr(), []byte("hello from outside"))
	fmt.Println(<-said)
	for _, t := range []transport.Transport{ada, bob, eve} {
		_ = t.Close()
	}
	// Output:
	// 10.0.0.1:7000: hello
	// 10.0.0.3:7000: transport: this group is open, you are sealed
}

// A code that was typed with a mistake.
func ExampleCode() {
	_, err := seal.Code("4xcd 0b7p")
	var ce *seal.CodeError
	fmt.Println(errors.As(err, &ce), err)
	// Output: true seal: a group code has 28 digits, not 8
}
