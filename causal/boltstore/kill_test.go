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
// n" for the first n records, "compact m n" for those up to n with a base for
// the first m, "clean", and after it "closed".
func child(path string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	s, err := Open(path, Options{})
	fail(err)
	n, given := 0, 0
	st, err := s.Load(func(r causal.Record) (err error) {
		if !r.Base {
			n++
			return nil
		}
		_, err = fmt.Sscan(string(r.Frame), &given)
		return err
	})
	fail(err)
	n += int(st.First)
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
		if r.IntN(8) == 0 {
			given = max(given, n-n/(2+r.IntN(5)))
			fail(s.Compact(uint64(given), fmt.Append(nil, given)))
			fmt.Println("compact", given, n)
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
	have, cleans, compacted := 0, 0, 0
	for round := range *killRounds {
		if have > 400 {
			require.NoError(t, os.Remove(path))
			have, compacted = 0, 0
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
			case "compact":
				_, err := fmt.Sscan(rest, &compacted, &acked)
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
		if base := 0; compacted > 0 || st.First > 0 {
			_, err := fmt.Sscan(string(recs[0].Frame), &base)
			require.NoError(t, err)
			require.GreaterOrEqual(t, base, compacted, "round %d: acknowledged", round)
			require.LessOrEqual(t, int(st.First), base)
			compacted, recs = base, recs[1:]
		} else if len(recs) > 0 && len(recs[0].Frame) < 20 { // a base that was not acknowledged any more
			recs = recs[1:]
		}
		first := int(st.First)
		require.GreaterOrEqual(t, first+len(recs), acked, "round %d: acknowledged", round)
		var want []causal.Record
		for i := range recs {
			want = append(want, frame(first+i, sizeOf(first+i)))
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
		have = first + len(recs)
	}
	t.Logf("%d rounds, %d ended clean", *killRounds, cleans)
}
