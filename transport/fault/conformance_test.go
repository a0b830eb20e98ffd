package fault_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/fault"
	"github.com/seed-885536be/p2p/transport/lan"
	"github.com/seed-885536be/p2p/transport/memnet"
	"github.com/seed-885536be/p2p/transport/transporttest"
)

// conformance runs the suite on wrapped transports of memnet.
func conformance(t *testing.T, prepare func(*testing.T, *fault.Transport)) {
	transporttest.Run(t, func(t *testing.T) func() transport.Transport {
		net := memnet.New(memnet.Config{})
		return func() transport.Transport {
			f := fault.New(net.Host(), fault.Config{})
			prepare(t, f)
			return f
		}
	})
}

func TestConformance(t *testing.T) {
	t.Run("NoFaults", func(t *testing.T) {
		conformance(t, func(*testing.T, *fault.Transport) {})
	})
	t.Run("Late", func(t *testing.T) {
		conformance(t, func(t *testing.T, f *fault.Transport) {
			require.NoError(t, f.Set(fault.Faults{Delay: 500 * time.Microsecond}))
		})
	})
	t.Run("CutsElsewhere", func(t *testing.T) {
		conformance(t, func(t *testing.T, f *fault.Transport) {
			f.Cut(memnet.New(memnet.Config{}).Host().Addr())
			f.Heal()
		})
	})
	t.Run("LAN", func(t *testing.T) {
		transporttest.Run(t, func(t *testing.T) func() transport.Transport {
			name := t.Name()
			return func() transport.Transport {
				return fault.New(lan.New(lan.Config{Group: "239.255.77.14:7714", Name: name, Interfaces: []string{"lo"}}), fault.Config{})
			}
		})
	})
}
