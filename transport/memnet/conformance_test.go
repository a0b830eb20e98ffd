package memnet_test

import (
	"testing"
	"time"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
	"github.com/seed-885536be/p2p/transport/transporttest"
)

func TestConformance(t *testing.T) {
	for name, c := range map[string]memnet.Config{
		"AtOnce":  {},
		"Delayed": {Delay: 500 * time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			transporttest.Run(t, func(t *testing.T) func() transport.Transport {
				net := memnet.New(c)
				return func() transport.Transport { return net.Host() }
			})
		})
	}
}
