package optional

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
)

// plain is a transport and nothing besides.
type plain struct{ transport.Transport }

// rich is all that a transport can be besides, without anything to say of drops.
type rich struct{ plain }

func (rich) Warnings() []transport.Warning     { return []transport.Warning{{Code: "rain"}} }
func (rich) Interfaces() []transport.Interface { return []transport.Interface{{Name: "x0"}} }
func (rich) Drops() map[string]uint64          { return nil }

func TestWhatATransportMayBe(t *testing.T) {
	require.Equal(t, rich{}.Warnings(), Warnings(rich{}))
	require.Equal(t, rich{}.Interfaces(), Interfaces(rich{}))
	require.Nil(t, Warnings(plain{}))
	require.Nil(t, Interfaces(plain{}))
	for _, tr := range []transport.Transport{plain{}, rich{}} {
		drops := Drops(tr)
		require.Empty(t, drops)
		drops["mine"]++ // it can be written to
	}
}
