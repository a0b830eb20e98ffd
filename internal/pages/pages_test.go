package pages

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMake(t *testing.T) {
	for _, n := range []int{0, 1, least - 1, least, 3*least + 1} {
		b := Make(n)
		require.Len(t, b, n)
		for i := range b {
			require.Zero(t, b[i])
			b[i] = 1
		}
	}
}
