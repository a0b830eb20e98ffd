package boltstore

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/causal"
)

var killRounds = flag.Int("kill", 20, "rounds of TestKill")

const childEnv = "BOLTSTORE_TEST_CHILD"

// child goes on with the store at path until it is killed, or its standard
// input ends. It says on standard output what it knows to be durable: "append
// n" for the first n records, "clean", and after it "closed".
func child(path string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	s, err := Open(path, Options{})
	fail(err)
	n := 0
	st, err := s.Load(func(causal.Record) error { n++; return nil })
	fail(err)
	fmt.Println("loaded", n, st.Clean)
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	r := rand.New(rand.NewPCG(uint64(n), 1))
	for running := true; running; {
		select {
		case <-ended:
			running = false
		default:
		}
		count := 1 + r.IntN(4)
		var recs []causal.Record
		for i := range count {
			recs = append(recs, frame(n+i, sizeOf(n+i)))
		}
		sync := r.IntN(3) > 0
		fail(s.Append(recs, sync))
		n += count
		if sync {
			fmt.Println("append", n)
		}
	}
	fail(s.PutState(causal.State{Inc: st.Inc + 1, Clean: true}))
	fmt.Println("clean", n)
	fail(s.Close())
	fmt.Println("closed", n)
}

// sizeOf makes the records' sizes a function of their index, so that another
// process knows them.
func sizeOf(i int) int { return []int{30, 300, 5000, 40_000}[i*7%11%4] }

// TestKill kills a process that writes, again and again. Nothing that it
// acknowledged is lost, and Clean is set exactly if it got so far.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	seed := uint64(time.Now().UnixNano())
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	r := rand.New(rand.NewPCG(seed, 0))
	exe, err := os.Executable()
	require.NoError(t, err)
	have, cleans := 0, 0
	for round := range *killRounds {
		if have > 400 {
			require.NoError(t, os.Remove(path))
			have = 0
		}
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), childEnv+"="+path)
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		// It is killed after some lines, by then in the midst of what comes
		// next; in every fourth round while it ends.
		lines, ending, killed := r.IntN(40), round%4 == 3, false
		kill := func() {
			killed = true
			_ = cmd.Process.Kill()
		}
		if lines == 0 {
			kill() // before it has said anything
		}
		acked, saidClean, saidClosed := have, false, false
		delay := time.Duration(r.IntN(3000)) * time.Microsecond
		sc := bufio.NewScanner(out)
		for i := 1; sc.Scan(); i++ {
			word, rest, _ := strings.Cut(sc.Text(), " ")
			switch word {
			case "loaded":
				require.Equal(t, fmt.Sprint(have), strings.Fields(rest)[0])
			case "append":
				_, err := fmt.Sscan(rest, &acked)
				require.NoError(t, err)
			case "clean":
				_, err := fmt.Sscan(rest, &acked)
				require.NoError(t, err)
				saidClean = true
			case "closed":
				saidClosed = true
			default:
				require.Fail(t, sc.Text())
			}
			switch {
			case i != lines || killed:
			case ending:
				require.NoError(t, in.Close())
				time.AfterFunc(delay, kill)
			default:
				time.AfterFunc(delay/4, kill)
			}
		}
		_ = cmd.Wait()
		_ = in.Close()

		s, recs, st := load(t, path, Options{})
		require.NoError(t, s.Close())
		require.GreaterOrEqual(t, len(recs), acked, "round %d: acknowledged", round)
		var want []causal.Record
		for i := range recs {
			want = append(want, frame(i, sizeOf(i)))
		}
		requireSame(t, want, recs)
		require.False(t, st.Torn)
		switch {
		case saidClean || saidClosed:
			require.True(t, st.Clean, "round %d", round)
			cleans++
		case !ending:
			require.False(t, st.Clean, "round %d", round)
		}
		have = len(recs)
	}
	t.Logf("%d rounds, %d ended clean", *killRounds, cleans)
}
