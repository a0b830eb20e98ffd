package lan_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
	"github.com/seed-885536be/p2p/transport/transporttest"
)

// loopback is the name of the loopback interface.
var loopback = loopbackName()

// config is a group of its own on the loopback interface, whose nodes wait long
// for each other when the machine is busy.
func config(t testing.TB) lan.Config {
	return lan.Config{
		Group:      fmt.Sprintf("239.255.%d.%d:%d", rand.N(256), 1+rand.N(254), 20000+rand.N(10000)),
		Name:       t.Name(),
		Interfaces: []string{loopback},

		DialTimeout: wait,
	}
}

// opened returns an open transport, which is closed at the end of the test. It does
// not give up a connection within the time of a test only because nothing comes.
func opened(t testing.TB, c lan.Config, f func(transport.Event)) *lan.Transport {
	t.Helper()
	tr := lan.New(c)
	lan.Patient(tr, time.Hour)
	if err := tr.Open(transport.HandlerFunc(f)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

func TestConformance(t *testing.T) {
	transporttest.Run(t, func(t *testing.T) func() transport.Transport {
		c := config(t)
		return func() transport.Transport {
			tr := lan.New(c)
			lan.Patient(tr, time.Hour)
			return tr
		}
	})
}
