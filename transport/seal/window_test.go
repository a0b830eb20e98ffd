package seal

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The model remembers every number that was taken.
func TestWindowTakesEachNumberOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := window{floor: rapid.SampledFrom([]uint64{0, 1, 63, 64, 1000, 1 << 40}).Draw(t, "floor")}
		taken, next := make(map[uint64]bool), uint64(0)
		at := w.floor
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			at += uint64(rapid.SampledFrom([]int{-5000, -2049, -2048, -2047, -64, -63, -2, -1, 0, 1, 1, 1, 2, 63, 64, 65, 2047, 2048, 2049, 2112, 5000, 1 << 30}).Draw(t, "step"))
			if at > 1<<47 {
				at = w.floor
			}
			want := at >= w.floor && at+windowSize >= next && !taken[at]
			require.Equal(t, want, w.fresh(at), "fresh %d after %d", at, next)
			require.Equal(t, want, w.take(at), "take %d after %d", at, next)
			require.False(t, w.fresh(at))
			if want {
				taken[at] = true
				next = max(next, at+1)
			}
		}
	})
}
