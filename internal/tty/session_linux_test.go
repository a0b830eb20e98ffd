package tty

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = 30 * time.Second

func TestSession(t *testing.T) {
	t.Parallel()
	s, err := Start(exec.Command("sh", "-c", `stty size; read x; stty size; echo "got $x"; exit 7`), 40, 5)
	require.NoError(t, err)
	defer s.Close()
	shows := func(want string) {
		t.Helper()
		require.NoError(t, s.Await(patience, func(text string) bool { return strings.Contains(text, want) }))
	}
	shows("5 40")
	require.NoError(t, s.Resize(60, 8))
	require.NoError(t, s.Type("hello\r"))
	shows("8 60")
	shows("got hello")
	code, err := s.Exit(patience)
	require.NoError(t, err)
	require.Equal(t, 7, code)
	require.ErrorContains(t, s.Await(patience, func(string) bool { return false }), "has ended (exit status 7) and shows:\n5 40")
}

func TestSessionIsKilled(t *testing.T) {
	t.Parallel()
	s, err := Start(exec.Command("sh", "-c", "echo $$; exec sleep 1000"), 40, 5)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Await(patience, func(text string) bool { return strings.TrimSpace(text) != "" }))
	require.ErrorContains(t, s.Await(0, func(string) bool { return false }), "after 0s it shows:")
	require.NoError(t, s.Signal(syscall.SIGKILL))
	code, err := s.Exit(patience)
	require.NoError(t, err)
	require.Equal(t, -1, code)
}
