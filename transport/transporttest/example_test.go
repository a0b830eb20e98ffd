package transporttest_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
	"github.com/seed-885536be/p2p/transport/transporttest"
)

// counting is a transport of one's own: it counts the frames to the group.
type counting struct {
	transport.Transport
	sent atomic.Int64
}

func (c *counting) Multicast(frame []byte) error {
	err := c.Transport.Multicast(frame)
	if err == nil {
		c.sent.Add(1)
	}
	return err
}

// runCounting holds it to the contract. In its test file stands
//
//	func TestCounting(t *testing.T) { runCounting(t) }
func runCounting(t *testing.T) {
	transporttest.Run(t, func(*testing.T) func() transport.Transport {
		network := memnet.New(memnet.Config{})
		return func() transport.Transport { return &counting{Transport: network.Host()} }
	})
}

// A Transport of one's own, and how the suite is run on it.
func ExampleRun() {
	t := &counting{Transport: memnet.New(memnet.Config{}).Host()}
	if err := t.Open(transport.HandlerFunc(func(transport.Event) {})); err != nil {
		fmt.Println(err)
		return
	}
	if err := t.Multicast([]byte("hello")); err != nil {
		fmt.Println(err)
	}
	if err := t.Close(); err != nil {
		fmt.Println(err)
	}
	fmt.Println(t.sent.Load(), "frame")
	// Output: 1 frame
}
