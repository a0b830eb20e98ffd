package seal

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A frame is the same whenever it is sealed, and wherever.
func TestSealedLater(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		aead := newGCM(bytes.Repeat([]byte{1}, 32))
		now := &outbound{id: sessionID{2}, aead: aead}
		late := &outbound{id: sessionID{2}, aead: aead}
		reader := &inbound{id: sessionID{2}, aead: aead}
		reader.n = 1
		now.seal(nil)
		late.seal(nil)
		plains := rapid.SliceOfN(rapid.SliceOf(rapid.Byte()), 1, 20).Draw(t, "frames")
		before := rapid.SliceOf(rapid.Byte()).Draw(t, "what the memory holds")
		var frames []*numbered
		var want [][]byte
		for _, plain := range plains {
			parts := cut(t, plain)
			frames = append(frames, late.next(parts[0], parts[1:]))
			want = append(want, now.seal(plain))
		}
		require.Equal(t, now.bytes, late.bytes)
		for _, i := range rapid.Permutation(indices(len(frames))).Draw(t, "order") {
			got := frames[i].AppendTo(bytes.Clone(before))
			require.True(t, bytes.HasPrefix(got, before))
			got = got[len(before):]
			require.Equal(t, want[i], got)
			require.Len(t, got, frames[i].Size())
		}
		for i, sealed := range want {
			plain, begins, err := reader.open(sealed)
			require.NoError(t, err)
			require.False(t, begins)
			require.True(t, bytes.Equal(plains[i], plain))
		}
	})
}

// cut cuts a frame into parts.
func cut(t *rapid.T, plain []byte) (parts [][]byte) {
	for len(plain) > 0 && rapid.Bool().Draw(t, "another part") {
		n := rapid.IntRange(0, len(plain)).Draw(t, "length")
		parts, plain = append(parts, plain[:n:n]), plain[n:]
	}
	return append(parts, plain)
}

func indices(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}
