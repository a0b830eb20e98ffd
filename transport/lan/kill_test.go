package lan_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
)

const childEnv = "LAN_TEST_CHILD"

// TestMain runs the tests, or in a process started by one of them a node that
// prints its endpoint and stays until it is killed.
func TestMain(m *testing.M) {
	if s := os.Getenv(childEnv); s != "" {
		var c lan.Config
		if err := json.Unmarshal([]byte(s), &c); err != nil {
			panic(err)
		}
		n := lan.New(c)
		if err := n.Open(transport.HandlerFunc(func(transport.Event) {})); err != nil {
			panic(err)
		}
		fmt.Println(n.Addr())
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// child starts a node in a process of its own.
func child(t *testing.T, c lan.Config) (*os.Process, netip.AddrPort) {
	t.Helper()
	b, err := json.Marshal(c)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // the child ends with the test in any case
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	at, err := netip.ParseAddrPort(line[:len(line)-1])
	require.NoError(t, err)
	return cmd.Process, at
}

// A process that is killed is known to be dead at once, and not by a timeout.
func TestKilledProcessIsRefusedAtOnce(t *testing.T) {
	c := config(t)
	c.DialTimeout = wait // no timeout can make this test pass
	r := record(t)
	n := opened(t, c, r.handle)
	for range 5 {
		process, at := child(t, c)
		require.NoError(t, n.Stream(at, []byte("hello")))
		r.expect(transport.Up, at, 0)
		start := time.Now()
		require.NoError(t, process.Kill())
		r.expect(transport.Down, at, transport.Reset)
		reset := time.Since(start)
		r.expect(transport.Down, at, transport.Refused)
		t.Logf("reset after %v, refused after %v", reset, time.Since(start))
		require.Less(t, time.Since(start), wait/2)
	}
}
