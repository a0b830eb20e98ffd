package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// asProgram makes this test binary be the program.
const asProgram = "HELLO_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// start starts the program; line returns the next line that it prints.
func start(t *testing.T, group, nick string) (cmd *exec.Cmd, line func() string) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), os.Args[0], "-group", group, "-nick", nick)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewReader(out)
	return cmd, func() string {
		s, err := lines.ReadString('\n')
		if err != io.EOF {
			require.NoError(t, err)
		}
		return s
	}
}

func TestTwoSayHello(t *testing.T) {
	group := fmt.Sprintf("239.255.%d.%d:%d", 100+rand.N(100), 1+rand.N(250), 20000+rand.N(20000))
	ada, adaSays := start(t, group, "ada")
	require.Equal(t, "ada#1: hello, whoever is there\n", adaSays())
	bob, bobSays := start(t, group, "bob")
	require.Equal(t, "ada#1: hello, whoever is there\n", bobSays())
	require.Equal(t, "bob#2: hello, whoever is there\n", bobSays())
	require.Equal(t, "bob#2: hello, whoever is there\n", adaSays())
	for _, cmd := range []*exec.Cmd{bob, ada} {
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.NoError(t, cmd.Wait(), "leaves and ends with 0")
	}
}
