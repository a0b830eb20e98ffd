package sim

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSeeds runs the seeds that found something once.
func TestSeeds(t *testing.T) {
	f, err := os.Open("testdata/seeds.txt")
	require.NoError(t, err)
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		line, _, _ := strings.Cut(in.Text(), "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		var v variant
		var seed uint64
		_, err := fmt.Sscan(line, &v.elector, &v.profile, &seed)
		require.NoError(t, err, line)
		require.Contains(t, algorithms, v.elector)
		require.Contains(t, profiles, v.profile)
		t.Run(strings.Join(strings.Fields(line), " "), func(t *testing.T) {
			t.Parallel()
			if r := Chaos(v.config(seed)); r.Err != nil {
				t.Errorf("%v\n  %s", r.Err, v.replay(seed))
			}
		})
	}
	require.NoError(t, in.Err())
}
