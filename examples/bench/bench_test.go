package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/causal"
)

// TestMain makes this test binary one of the processes that it measures.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child(os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// bench runs the program and returns the results it printed.
func bench(t *testing.T, args string) (results []result, table string) {
	t.Helper()
	var out, errs strings.Builder
	code := run(t.Context(), strings.Fields(args), &out, &errs)
	require.Zero(t, code, "%s: %s", args, errs.String())
	lines := json.NewDecoder(strings.NewReader(out.String()))
	for {
		var r result
		err := lines.Decode(&r)
		if errors.Is(err, io.EOF) {
			return results, errs.String()
		}
		require.NoError(t, err)
		results = append(results, r)
	}
}

// Each mode gives a result with its figure, on real processes.
func TestModes(t *testing.T) {
	for args, figure := range map[string]func(result) float64{
		"-mode throughput -senders 2 -messages 2000":       func(r result) float64 { return r.PerSecond },
		"-mode throughput -messages 2000 -raw":             func(r result) float64 { return r.PerSecond },
		"-mode throughput -messages 2000 -raw -keep":       func(r result) float64 { return r.PerSecond },
		"-mode throughput -messages 2000 -size 16":         func(r result) float64 { return r.PerSecond },
		"-mode throughput -messages 2000 -election ring":   func(r result) float64 { return r.CPUPerDelivery },
		"-mode throughput -messages 2000 -writers 40":      func(r result) float64 { return r.PerSecond },
		"-mode throughput -messages 2000 -data":            func(r result) float64 { return r.PerSecond },
		"-mode throughput -messages 2000 -sealed":          func(r result) float64 { return r.PerSecond },
		"-mode throughput -volume 5000000 -size 100000":    func(r result) float64 { return r.PerSecond },
		"-mode latency -nodes 2 -rate 100 -duration 500ms": func(r result) float64 { return r.P50 },
		"-mode loss -rate 50 -duration 500ms -loss 0.1":    func(r result) float64 { return r.P50 },
		"-mode failover -fault kill":                       func(r result) float64 { return r.Seconds["known"] },
		"-mode failover -fault cut":                        func(r result) float64 { return r.Seconds["known"] },
		"-mode join":                                       func(r result) float64 { return r.Seconds["from_start"] },
		"-mode catchup -messages 2000":                     func(r result) float64 { return r.Seconds["from_start"] },
		"-mode catchup -messages 2000 -writers 40":         func(r result) float64 { return r.Seconds["from_start"] },
		"-mode heal -nodes 4":                              func(r result) float64 { return r.Seconds["merged"] },
		"-mode idle -nodes 2 -duration 300ms":              func(r result) float64 { return r.IdleCPU },
	} {
		t.Run(args, func(t *testing.T) {
			results, table := bench(t, args)
			require.Len(t, results, 1)
			require.Positive(t, figure(results[0]))
			require.Contains(t, table, "median")
		})
	}
}

func TestSweepAndPlot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plot.svg")
	results, table := bench(t, "-messages 500 -compare -runs 2 -sweep nodes=2,3 -plot "+file)
	require.Len(t, results, 8)
	require.Contains(t, table, "nodes=3 raw delivered a node")
	require.Contains(t, table, "nodes=3 delivered a node")
	svg, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, xml.Unmarshal(svg, new(struct{})))
	require.Equal(t, 2, strings.Count(string(svg), "<polyline"))
	require.Equal(t, 1, strings.Count(string(svg), ">nodes</text>"))
	require.Equal(t, 1, strings.Count(string(svg), `text-anchor="middle">3</text>`))
}

// Figures that differ much are drawn by their powers of ten.
func TestPlotOfPowers(t *testing.T) {
	draw := func(figures ...float64) string {
		var all [][]result
		for _, f := range figures {
			all = append(all, []result{{PerSecond: f}})
		}
		return string(plot(all))
	}
	marks := func(svg string) (all []string) {
		for _, m := range regexp.MustCompile(`y="([0-9.]+)" text-anchor="end">([^<]*)<`).FindAllStringSubmatch(svg, -1) {
			all = append(all, m[2]+" at "+m[1])
		}
		return all
	}
	require.Equal(t, []string{"0 at 274.0", "10 at 214.0", "20 at 154.0", "30 at 94.0", "40 at 34.0"}, marks(draw(10, 40)))
	powers := draw(100, 1_000, 1_000_000)
	require.Equal(t, []string{"100 at 274.0", "1 k at 214.0", "10 k at 154.0", "100 k at 94.0", "1 M at 34.0"}, marks(powers))
	require.Contains(t, powers, `points="110.0,270.0 355.0,210.0 600.0,30.0"`)
}

// What comes twice, late or not at all is no result.
func TestTally(t *testing.T) {
	h := func(sender byte, n uint64, after byte, afterN uint64) head {
		return head{sender: sender, n: n, after: after, afterN: afterN, sent: 1_800_000_000_000_000}
	}
	for name, c := range map[string]struct {
		given []head
		err   string
	}{
		"in order":          {[]head{h(0, 1, 0, 0), h(1, 1, 0, 1), h(0, 2, 1, 1)}, ""},
		"twice":             {[]head{h(0, 1, 0, 0), h(0, 1, 0, 0)}, "came twice"},
		"lost":              {[]head{h(0, 1, 0, 0), h(0, 3, 0, 0)}, "came after 1"},
		"before its reason": {[]head{h(1, 1, 0, 1)}, "had read"},
	} {
		t.Run(name, func(t *testing.T) {
			var tally tally
			var err error
			for _, h := range c.given {
				b := make([]byte, headSize)
				h.put(b)
				parsed, perr := parseHead(b)
				require.NoError(t, perr)
				require.Equal(t, h, parsed)
				err = errors.Join(err, tally.take(parsed))
			}
			if c.err == "" {
				require.NoError(t, err)
				require.EqualValues(t, len(c.given), tally.total.Load())
			} else {
				require.ErrorContains(t, err, c.err)
			}
		})
	}
	_, err := parseHead(make([]byte, headSize-1))
	require.Error(t, err)
}

// What was said in the past comes first, once, and is not counted as measured.
func TestTallyOfThePast(t *testing.T) {
	var tally tally
	require.NoError(t, tally.takePast(causal.MessageID{Writer: causal.WriterID{1}, N: 1}))
	require.NoError(t, tally.takePast(causal.MessageID{Writer: causal.WriterID{2}, N: 1}))
	require.ErrorContains(t, tally.takePast(causal.MessageID{Writer: causal.WriterID{2}, N: 1}), "only one")
	require.ErrorContains(t, tally.takePast(causal.MessageID{Writer: causal.WriterID{3}, N: 2}), "only one")
	require.EqualValues(t, 2, tally.past.Load())
	require.Zero(t, tally.total.Load())
	require.NoError(t, tally.take(head{n: 1}))
	require.ErrorContains(t, tally.takePast(causal.MessageID{Writer: causal.WriterID{3}, N: 1}), "after one that is measured")
}

// A past is written by as many as asked for.
func TestPast(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	log, err := withPast(causal.Config{Key: key, Group: "g", Rand: rand.Reader}, 40)
	require.NoError(t, err)
	var tally tally
	var order []causal.WriterID
	for m := range log.History(0, false) {
		require.NoError(t, tally.takePast(m.ID))
		require.False(t, m.Own)
		order = append(order, m.ID.Writer)
	}
	require.Len(t, order, 40)
	last, ok := log.Lookup(causal.MessageID{Writer: order[39], N: 1})
	require.True(t, ok)
	require.EqualValues(t, 40, last.Height) // it follows all others
	require.NoError(t, log.Close())
}

func TestWrongFlags(t *testing.T) {
	for _, args := range []string{
		"-mode speed", "-nodes 1", "-senders 5", "-size 15", "-messages 0", "-rate 0", "-election vote", "-fault luck",
		"-loss 1", "-raw -mode heal", "-raw -compare", "-keep", "-writers -1", "-hosts -raw", "-hosts -compare", "-link 5", "-hosts -link -1", "-multicast -1",
		"-writers 4 -raw", "-writers 4 -compare", "-writers 4 -data", "more", "-sweep nodes", "-sweep nodes=1,2", "-nosuch",
	} {
		var out, errs strings.Builder
		require.Equal(t, 2, run(t.Context(), strings.Fields(args), &out, &errs), args)
		require.Empty(t, out.String(), args)
		require.NotEmpty(t, errs.String(), args)
	}
}
