package sim

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var mutateFlag = flag.Bool("mutate", false, "break the protocol in known ways, and see the tests catch each")

// mutants are ways to get the protocol wrong, most of which somebody has
// shipped. A mutant is a replacement in one file.
var mutants = []struct {
	name     string
	file     string
	from, to string
}{
	// Installing views.
	{"any view that lists us is installed, be it lower than the last", "membership/join.go,membership/repair.go,membership/coordinated.go",
		"if c.state == idle || v.ID.Compare(c.view.ID) <= 0 {", "if c.state == idle {"},
	{"a joiner does not say which counter it has seen", "membership/join.go", "MaxCtr: c.max", "MaxCtr: 0"},
	{"an eviction is ignored", "membership/follow.go", "\tc.event(Evicted{View: by})\n\tc.search(max(c.t.JoinWin, 2*c.t.H))\n", ""},
	{"NOT_MEMBER is ignored", "membership/follow.go", "case !fellow || h.View.Compare(c.view.ID) <= 0:", "case fellow || true:"},
	{"a missed view is asked for once", "membership/repair.go", "const repairTries = 5", "const repairTries = 1"},
	{"a view that was missed is not asked for", "membership/follow.go", "\tcase cmp > 0:\n\t\tc.request(h.From, from)\n", ""},

	// Identifiers.
	{"colliding IDs are kept in a merge", "membership/derive.go", "if taken[m.ID] {", "if false && taken[m.ID] {"},
	{"NextID of merged groups is forgotten", "membership/derive.go", "max(n.Number, o.Number), max(n.NextID, o.NextID)", "max(n.Number, o.Number), n.NextID"},
	{"a restarted member gets a new ID", "membership/derive.go", "\t\t\tj.ID = m.ID\n\t\t\tout = append(out, j)\n\t\t\tdelete(back, m.Key)\n", "\t\t\t_ = j\n"},

	// Incarnations.
	{"runs of one peer are not told apart in views", "membership/coordinated.go", "return ok && m.Inc == inc", "return ok && m.Inc == m.Inc"},
	{"runs of one peer are not told apart in merges", "membership/merge.go", "(!ok || mine.Inc < m.Inc) && m.Inc", "(!ok || mine.Inc < mine.Inc) && m.Inc"},
	{"runs of one peer are not told apart in probes", "membership/probe.go", "b.Subject != c.self.Key || b.Inc != c.self.Inc", "b.Subject != c.self.Key"},
	{"the incarnation is no part of an epoch's order", "membership/view.go", "bytes.Compare(e.Leader[:], o.Leader[:]), cmp.Compare(e.Inc, o.Inc))", "bytes.Compare(e.Leader[:], o.Leader[:]))"},
	{"an election's messages do not tell runs of one peer apart", "election/round.go", "c.Inc == inc", "true"},

	// Merging.
	{"no coordinator steps down", "membership/merge.go", "if c.outgrown(e, r.size) || higher(r.class, e, c.view.Class, c.view.ID.Epoch) {", "if false {"},
	{"of two coordinators of one class none yields", "membership/derive.go", "cmp.Or(cmp.Compare(ac, bc), a.Compare(b)) > 0", "cmp.Compare(ac, bc) > 0"},
	{"of two coordinators of one class both yield", "membership/derive.go", "cmp.Or(cmp.Compare(ac, bc), a.Compare(b)) > 0", "cmp.Compare(ac, bc) >= 0"},
	{"the size of a group does not matter", "membership/derive.go", "cmp.Or(cmp.Compare(ac, bc), a.Compare(b)) > 0", "a.Compare(b) > 0"},
	{"a merge is asked for once", "membership/merge.go", "yieldTries    = 12", "yieldTries    = 1"},

	// Suspicion.
	{"a stream that ends is a death", "membership/lead.go", "if in.Cause != CauseRefused {", "if false {"},
	{"the coordinator's stream that ends is a death", "membership/lead.go", "\t\t\tif in.Cause == CauseRefused {", "\t\t\tif true {"},
	{"a silent member is evicted without being asked", "membership/lead.go", "c.now.Sub(v.since) >= c.t.W && v.probes >= 2", "true"},
	{"an election comes straight after a suspension", "membership/suspect.go", "if w := c.watch.since.Add(c.t.W); w.After(at) {", "if w := c.watch.since.Add(c.t.W); false && w.After(at) {"},
	{"no witness vouches", "membership/suspect.go", "if live && h.From != mine.Leader", "if false && h.From != mine.Leader"},
	{"members are not probed through others", "membership/lead.go", "if v.probes%2 != 0 {", "if true {"},
	{"those who hear the coordinator support an election", "membership/coordinated.go", "return !c.watch.proven && !c.watch.doubted && c.silence() < c.watch.patience()", "return false"},
	{"a deaf member is not fed", "membership/lead.go", "\t\tp.deaf = true\n\t} else if missed < 2", "\t} else if missed < 2"},

	// Bully.
	{"bully: no timer after an answer", "election/bully.go", "b.timer = now.Add(b.timing.TCoord + b.jitter(b.timing.RTO))", "b.timer = now.Add(24 * time.Hour)"},
	{"bully: lower candidates are not answered", "election/bully.go", "b.send(from, Message{Kind: KindAnswer})", ""},
	{"bully: a candidacy is announced once", "election/bully.go", "case b.tries < b.timing.Tries,", "case b.tries < 1,"},

	// Ring.
	{"ring: an attempt is used again", "election/ring.go", "\tr.attempt++\n", "\tr.attempt = 1\n"},
	{"ring: no timer of a participant", "election/ring.go", "now.Add(r.timing.TCoord+lap+r.stagger())", "now.Add(24*time.Hour+lap)"},
	{"ring: a token is sent once to each successor", "election/ring.go", "hopTries     = 5", "hopTries     = 1"},
	{"ring: a dead successor is not passed over", "election/ring.go", "\tcount = min(count, h.reach-from+1)\n", "\tcount = 0\n"},
	{"ring: tokens of other epochs are swallowed", "election/ring.go", "Refuse: !live && from == noSuchMember,", ""},
	{"ring: the highest candidate lets a lower token pass", "election/ring.go", "case cand < r.pos:", "case true:"},
}

// TestMutation compiles each mutant by an overlay, so that the sources stay as
// they are, and wants the simulation, or else the tests of the packages, to
// fail.
//
//	go test ./internal/sim -run Mutation -mutate -v -timeout 2h
func TestMutation(t *testing.T) {
	if !*mutateFlag {
		t.Skip("takes long; run with -mutate")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			dir := t.TempDir()
			overlay := mutate(t, root, dir, m.file, m.from, m.to)
			for _, suite := range []struct {
				pkg  string
				runs [][]string
			}{
				{"internal/sim", [][]string{
					{"-test.run=Scenario|Targets|Chaos"}, {"-test.run=Soak", "-seeds=" + strconv.Itoa(max(*seedsFlag, 100))},
				}},
				{"membership", [][]string{nil}},
				{"election", [][]string{nil}},
			} {
				binary := filepath.Join(dir, strings.ReplaceAll(suite.pkg, "/", "_")+".test")
				build := exec.Command("go", "test", "-c", "-o", binary, "-overlay", overlay, "./"+suite.pkg)
				build.Dir = root
				out, err := build.CombinedOutput()
				require.NoError(t, err, "a mutant must compile: %s", out)
				for _, args := range suite.runs {
					began := time.Now()
					run := exec.Command(binary, append(args, "-test.failfast", "-test.timeout=10m")...)
					run.Dir = filepath.Join(root, suite.pkg)
					if out, err := run.CombinedOutput(); err != nil {
						t.Logf("killed by %s %v after %v: %s", suite.pkg, args, time.Since(began).Round(time.Second), firstFailure(out))
						return
					}
				}
			}
			t.Error("the mutant survives")
		})
	}
}

// mutate writes the mutant of the one file of several, divided by commas, in
// which from occurs, and the overlay that puts it in the file's place.
func mutate(t *testing.T, root, dir, files, from, to string) (overlay string) {
	for file := range strings.SplitSeq(files, ",") {
		path := filepath.Join(root, file)
		src, err := os.ReadFile(path)
		require.NoError(t, err)
		if strings.Count(string(src), from) != 1 {
			continue
		}
		mutant := filepath.Join(dir, "mutant.go")
		require.NoError(t, os.WriteFile(mutant, []byte(strings.Replace(string(src), from, to, 1)), 0o600))
		b, err := json.Marshal(map[string]any{"Replace": map[string]string{path: mutant}})
		require.NoError(t, err)
		overlay = filepath.Join(dir, "overlay.json")
		require.NoError(t, os.WriteFile(overlay, b, 0o600))
		return overlay
	}
	require.FailNow(t, "the code has changed", "%q does not occur exactly once in %s", from, files)
	return ""
}

func firstFailure(out []byte) string {
	for line := range bytes.Lines(out) {
		for _, word := range []string{"--- FAIL", "panic:", "seed "} {
			if bytes.Contains(line, []byte(word)) {
				return strings.TrimSpace(string(line))
			}
		}
	}
	return string(out[:min(len(out), 200)])
}
