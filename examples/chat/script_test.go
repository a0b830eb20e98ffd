package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseScript(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, script, want string }{
		{"all kinds", `{"do":"tell","act":"1","text":"x","s":2.5}
{"do":"pause","s":0}

{"do":"spawn"}
{"do":"spawn","nick":"ada","flags":["-heartbeat","1s"]}
{"do":"restart","node":"ada"}
{"do":"found","election":"ring"}
{"do":"say","node":"1","text":"x"}
{"do":"burst","n":2,"nodes":["1"]}
{"do":"kill","node":"coordinator"}
{"do":"leave","node":"1"}
{"do":"stop","node":"1"}
{"do":"cont","node":"1"}
{"do":"elect"}
{"do":"cut","sides":[["1"],["2"]]}
{"do":"loss","percent":0}
{"do":"delay","ms":200}
{"do":"heal"}
{"do":"wait","for":"ready"}
{"do":"wait","for":"members","n":2,"timeout_ms":5}
{"do":"wait","for":"coordinator","is":["1"]}
{"do":"wait","for":"converged"}
{"do":"wait","for":"message","text":"x","nodes":["1"]}
{"do":"assert","that":"members","n":0}
{"do":"assert","that":"coordinator"}
{"do":"assert","that":"equal","n":0}
{"do":"assert","that":"apart"}
{"do":"assert","that":"once"}
{"do":"assert","that":"state","is":["up"]}`, ""},
		{"empty", "\n\n", "x.jsonl: no step in it"},
		{"no JSON", "{\"do\":\"heal\"}\nnonsense", "x.jsonl:2: not a JSON object"},
		{"null", "null", "x.jsonl:1: not a JSON object"},
		{"two on a line", `{"do":"heal"} {"do":"heal"}`, "x.jsonl:1: not a JSON object"},
		{"not UTF-8", "{\"do\":\"\xff\"}", "x.jsonl:1: not valid UTF-8"},
		{"nothing to do", `{}`, `x.jsonl:1: do: unknown step ""`},
		{"misspelt", `{"do":"kil"}`, `x.jsonl:1: do: unknown step "kil"; did you mean kill?`},
		{"unknown field", `{"do":"heal","now":true}`, `x.jsonl:1: heal has no field "now"`},
		{"field of another step", `{"do":"heal","node":"1"}`, `x.jsonl:1: heal has no field "node"`},
		{"field in capitals", `{"do":"kill","Node":"1"}`, `x.jsonl:1: kill needs "node"`},
		{"missing", `{"do":"kill"}`, `x.jsonl:1: kill needs "node"`},
		{"null is missing", `{"do":"kill","node":null}`, `x.jsonl:1: kill needs "node"`},
		{"wrong type", `{"do":"kill","node":4}`, "x.jsonl:1: node: want string, not number"},
		{"fraction", `{"do":"burst","n":1.5}`, "x.jsonl:1: n: want int, not number 1.5"},
		{"election", `{"do":"found","election":"coin"}`, `x.jsonl:1: election: want bully or ring, not "coin"`},
		{"percent", `{"do":"loss","percent":101}`, "x.jsonl:1: percent: want 0 to 100"},
		{"delay", `{"do":"delay","ms":-1}`, "x.jsonl:1: ms: want 0 to 10000"},
		{"pause", `{"do":"pause","s":-1}`, "x.jsonl:1: s: want 0 to 3600"},
		{"burst", `{"do":"burst","n":0}`, "x.jsonl:1: n: want 1 to 1000"},
		{"one side", `{"do":"cut","sides":[["1"]]}`, "x.jsonl:1: sides: want two or more"},
		{"wait for what", `{"do":"wait","for":"rain"}`, "x.jsonl:1: for: want one of converged coordinator members message ready"},
		{"wait for how many", `{"do":"wait","for":"members"}`, `x.jsonl:1: wait for members needs "n"`},
		{"wait for none", `{"do":"wait","for":"members","n":0}`, "x.jsonl:1: n: too small"},
		{"wait with too much", `{"do":"wait","for":"ready","text":"x"}`, `x.jsonl:1: wait for ready has no field "text"`},
		{"assert what", `{"do":"assert","that":"fun"}`, "x.jsonl:1: that: want one of apart coordinator equal members once state"},
		{"assert with too much", `{"do":"assert","that":"once","n":1}`, `x.jsonl:1: assert once has no field "n"`},
		{"a line too long", `{"do":"` + strings.Repeat("x", maxStep) + `"}`, "x.jsonl:1: line too long"},
		{"all that is wrong", "{\"do\":\"kill\"}\n{\"do\":\"heal\"}\n{\"do\":\"hea\"}", "x.jsonl:1: kill needs \"node\"\nx.jsonl:3: do: unknown step \"hea\"; did you mean heal?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			steps, err := parseScript("x.jsonl", strings.NewReader(c.script))
			if c.want != "" {
				require.EqualError(t, err, c.want)
				return
			}
			require.NoError(t, err)
			require.Len(t, steps, len(strings.Split(c.script, "\n"))-1)
			seen := map[string]bool{}
			for _, s := range steps {
				seen[s.Do] = true
			}
			require.Len(t, seen, len(stepKinds), "each kind of step once")
		})
	}
}

func FuzzParseScript(f *testing.F) {
	demo, err := os.ReadFile("demo.jsonl")
	require.NoError(f, err)
	f.Add(string(demo))
	f.Add(`{"do":"wait","for":"members","n":1e99}`)
	f.Add(`{"do":"cut","sides":[[],null]}`)
	f.Fuzz(func(t *testing.T, script string) {
		steps, err := parseScript("x", strings.NewReader(script))
		if err != nil {
			return
		}
		for _, s := range steps {
			require.Contains(t, stepKinds, s.Do)
			require.NotEmpty(t, s.place)
		}
	})
}

// TestDemoLength checks that the demo takes as long as it says, for somebody
// who watches it: what is not pause takes less than a minute.
func TestDemoLength(t *testing.T) {
	t.Parallel()
	steps, err := readScript("demo.jsonl")
	require.NoError(t, err)
	var pauses time.Duration
	for _, s := range steps {
		pauses += time.Duration(s.Seconds * float64(time.Second))
	}
	require.InDelta(t, 12.5, pauses.Minutes(), 0.5)
}

// TestScriptTables compares SCRIPT.md with what a script can say.
func TestScriptTables(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("SCRIPT.md")
	require.NoError(t, err)
	documented := map[string]map[string]string{}
	var title string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.ReplaceAll(line, "`", ""), "|")
		switch {
		case len(cells) < 4, strings.HasPrefix(line, "|--"):
		case strings.TrimSpace(cells[2]) == "fields":
			title = strings.TrimSpace(cells[1])
			documented[title] = map[string]string{}
		default:
			fields := strings.Fields(cells[2])
			slices.Sort(fields)
			documented[title][strings.TrimSpace(cells[1])] = strings.Join(fields, " ")
		}
	}
	known := map[string]map[string]string{"do": {}, "for": {}, "that": {}}
	fields := func(needs, takes string) string {
		all := strings.Fields(needs + " " + takes)
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	for name, k := range stepKinds {
		known["do"][name] = fields(k.needs, k.takes)
	}
	for name, k := range waitsFor {
		known["for"][name] = fields(k.needs, k.takes)
	}
	for name, k := range asserts {
		known["that"][name] = fields(k.needs, k.takes)
	}
	require.Equal(t, known, documented)
}
