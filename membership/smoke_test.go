package membership

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSmoke(t *testing.T) {
	n := newNetwork(1)
	n.trace = func(f string, a ...any) {
		t.Logf("%8v "+f, append([]any{n.now.Sub(epoch0).Round(time.Millisecond)}, a...)...)
	}
	for i := 1; i <= 5; i++ {
		n.add(i, 1, Config{}).start()
	}
	n.run(5 * time.Second)
	require.NoError(t, n.agreed())
	n.coordinators()[0].kill()
	n.run(10 * time.Second)
	require.NoError(t, n.agreed())
	n.nodes[0].input(Elect{})
	n.run(2 * time.Second)
	require.NoError(t, n.agreed())
	n.coordinators()[0].input(Depart{})
	n.run(2 * time.Second)
	require.NoError(t, n.agreed())
	n.nodes[0].input(Depart{})
	n.run(2 * time.Second)
	require.NoError(t, n.agreed())
	t.Log(n.sent)
}
