package transport

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNotices(t *testing.T) {
	for _, c := range []struct {
		theirs AuthError // as the node that sends the notice sees it
		want   AuthError // as the node that gets it does
		text   string
	}{
		{AuthError{Sealed: true, OwnSealed: true}, AuthError{Sealed: true, OwnSealed: true}, "transport: this group uses another passphrase"},
		{AuthError{OwnSealed: true}, AuthError{Sealed: true}, "transport: this group is sealed, you are open"},
		{AuthError{Sealed: true}, AuthError{OwnSealed: true}, "transport: this group is open, you are sealed"},
	} {
		got, ok := ParseNotice(c.theirs.Notice(), c.theirs.Sealed)
		require.True(t, ok)
		require.Equal(t, c.want, *got)
		require.Equal(t, c.text, got.Error())
	}
	for _, frame := range [][]byte{nil, {firstNotice}, {firstNotice, 2}, {firstNotice, 1, 0}, {0x80, 1}, (&AuthError{Sealed: true}).Notice()} {
		_, ok := ParseNotice(frame, false)
		require.False(t, ok, "%v", frame)
	}
}

func TestVersionErrorNamesBothSides(t *testing.T) {
	require.Equal(t, "transport: this group speaks wire 2, you speak 1", (&VersionError{Min: 2, Max: 2, OwnMin: 1, OwnMax: 1}).Error())
	require.Equal(t, "transport: this group speaks wire 2 to 3, you speak 1", (&VersionError{Min: 2, Max: 3, OwnMin: 1, OwnMax: 1}).Error())
}
