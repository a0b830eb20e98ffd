package transport_test

import (
	"errors"
	"fmt"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// A sender that does not outrun its peer: after ErrFull it waits for Writable.
func Example_backPressure() {
	net := memnet.New(memnet.Config{Queue: 64})
	sender, receiver := net.Host(), net.Host()

	arrived := make(chan int)
	bytes := 0
	_ = receiver.Open(transport.HandlerFunc(func(e transport.Event) {
		if e.Kind == transport.Frame {
			if bytes += len(e.Frame); bytes == 1000 {
				arrived <- bytes
			}
		}
	}))
	room := make(chan struct{}, 1)
	_ = sender.Open(transport.HandlerFunc(func(e transport.Event) {
		if e.Kind == transport.Writable {
			room <- struct{}{}
		}
	}))
	frame := make([]byte, 10)
	for sent := 0; sent < 100; {
		switch err := sender.Stream(receiver.Addr(), frame); {
		case err == nil:
			sent++
		case errors.Is(err, transport.ErrFull):
			<-room
		default:
			fmt.Println(err)
			return
		}
	}
	fmt.Println(<-arrived, "bytes")
	_ = sender.Close()
	_ = receiver.Close()
	// Output: 1000 bytes
}
