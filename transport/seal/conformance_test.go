package seal_test

import (
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
	"github.com/seed-885536be/p2p/transport/memnet"
	"github.com/seed-885536be/p2p/transport/seal"
	"github.com/seed-885536be/p2p/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// code is a key for tests.
func code(t testing.TB) seal.Key {
	t.Helper()
	k, err := seal.Code(seal.NewCode())
	require.NoError(t, err)
	return k
}

// sealed wraps a transport.
func sealed(t testing.TB, inner transport.Transport, c seal.Config) *seal.Transport {
	t.Helper()
	s, err := seal.New(inner, c)
	require.NoError(t, err)
	return s
}

// loopback is a lan group of its own on the loopback interface.
func loopback(t testing.TB) lan.Config {
	t.Helper()
	c := lan.Config{
		Group: fmt.Sprintf("239.255.%d.%d:%d", rand.N(256), 1+rand.N(254), 20000+rand.N(10000)),
		Name:  t.Name(),
	}
	ifs, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range ifs {
		if i.Flags&net.FlagLoopback != 0 && i.Flags&net.FlagUp != 0 {
			c.Interfaces = []string{i.Name}
			return c
		}
	}
	require.FailNow(t, "there is no loopback interface")
	return c
}

func TestConformance(t *testing.T) {
	for name, c := range map[string]memnet.Config{
		"AtOnce":  {},
		"Delayed": {Delay: 500 * time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			transporttest.Run(t, func(t *testing.T) func() transport.Transport {
				net, key := memnet.New(c), code(t)
				return func() transport.Transport { return sealed(t, net.Host(), seal.Config{Key: key}) }
			})
		})
	}
	t.Run("Identified", func(t *testing.T) {
		transporttest.Run(t, func(t *testing.T) func() transport.Transport {
			net, key := memnet.New(memnet.Config{}), code(t)
			return func() transport.Transport {
				_, id, err := ed25519.GenerateKey(nil)
				require.NoError(t, err)
				return sealed(t, net.Host(), seal.Config{Key: key, Identity: id})
			}
		})
	})
	t.Run("LAN", func(t *testing.T) {
		transporttest.Run(t, func(t *testing.T) func() transport.Transport {
			c, key := loopback(t), code(t)
			return func() transport.Transport { return sealed(t, lan.New(c), seal.Config{Key: key}) }
		})
	})
}
