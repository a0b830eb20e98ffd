package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxStep   = 64 << 10 // bytes of a line of a script
	maxPause  = time.Hour
	maxScript = 10_000 // steps
)

// step is one line of a script.
type step struct {
	place string // file and line, for errors

	Do        string     `json:"do"`
	Act       string     `json:"act"`
	Text      string     `json:"text"`
	Seconds   float64    `json:"s"`
	Node      string     `json:"node"`
	Nodes     []string   `json:"nodes"`
	Nick      string     `json:"nick"`
	Flags     []string   `json:"flags"`
	N         int        `json:"n"`
	Sides     [][]string `json:"sides"`
	Percent   int        `json:"percent"`
	MS        int64      `json:"ms"`
	Election  string     `json:"election"`
	For       string     `json:"for"`
	That      string     `json:"that"`
	Is        []string   `json:"is"`
	TimeoutMS int64      `json:"timeout_ms"`

	given map[string]bool
}

// stepKind is what a step of some name must have, what it may have besides,
// and how it is played.
type stepKind struct {
	needs, takes string
	play         func(p *player, s *step) error
}

var stepKinds map[string]stepKind

func init() {
	stepKinds = map[string]stepKind{
		"tell":    {"", "act text s", (*player).tell},
		"pause":   {"s", "", (*player).pauseStep},
		"spawn":   {"", "nick flags", (*player).spawn},
		"restart": {"node", "", (*player).restart},
		"found":   {"election", "", (*player).found},
		"say":     {"node text", "", (*player).say},
		"burst":   {"n", "nodes", (*player).burst},
		"kill":    {"node", "", (*player).kill},
		"leave":   {"node", "", (*player).leave},
		"stop":    {"node", "", (*player).stop},
		"cont":    {"node", "", (*player).cont},
		"elect":   {"", "node", (*player).elect},
		"cut":     {"sides", "", (*player).cut},
		"loss":    {"percent", "", (*player).loss},
		"delay":   {"ms", "", (*player).delay},
		"heal":    {"", "", (*player).heal},
		"wait":    {"for", "n text is nodes timeout_ms", (*player).wait},
		"assert":  {"that", "n is nodes", (*player).assert},
	}
}

// waitsFor are what a step wait can wait for, and what each needs besides.
var waitsFor = map[string]struct{ needs, takes string }{
	"ready":       {"", ""},
	"members":     {"n", ""},
	"coordinator": {"", "is"},
	"converged":   {"", "n"},
	"message":     {"text", "n"},
}

// asserts are what a step assert can say.
var asserts = map[string]struct {
	needs, takes string
	check        func(p *player, s *step, nodes []int) error
}{
	"members":     {"n", "", (*player).assertMembers},
	"coordinator": {"", "is", (*player).assertCoordinator},
	"equal":       {"", "n", (*player).assertEqual},
	"apart":       {"", "", (*player).assertApart},
	"once":        {"", "", (*player).assertOnce},
	"state":       {"is", "", (*player).assertState},
}

// readScript reads a script and checks all of it before anything is played.
func readScript(path string) ([]step, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseScript(filepath.Base(path), f)
}

// parseScript reads the steps of a script: a JSON object a line. Empty lines
// are skipped.
func parseScript(name string, from io.Reader) ([]step, error) {
	var steps []step
	var errs []error
	r := bufio.NewReader(from)
	for n := 1; ; n++ {
		line, err := readLine(r, maxStep)
		if errors.Is(err, io.EOF) {
			break
		}
		place := fmt.Sprintf("%s:%d", name, n)
		if err != nil && !errors.Is(err, errLineTooLong) {
			return nil, err
		}
		if err == nil && len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var s step
		if err == nil {
			s, err = parseStep(line)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", place, err))
			continue
		}
		s.place = place
		if steps = append(steps, s); len(steps) > maxScript {
			return nil, fmt.Errorf("%s: over %d steps", place, maxScript)
		}
	}
	if len(steps) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s: no step in it", name))
	}
	return steps, errors.Join(errs...)
}

func parseStep(line []byte) (step, error) {
	var s step
	if !utf8.Valid(line) {
		return s, errors.New("not valid UTF-8")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil || fields == nil {
		return s, errors.New("not a JSON object")
	}
	if err := json.Unmarshal(line, &s); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return s, fmt.Errorf("%s: want %s, not %s", wrong.Field, wrong.Type, wrong.Value)
		}
		return s, err
	}
	kind, ok := stepKinds[s.Do]
	if !ok {
		text := fmt.Sprintf("do: unknown step %q", cut(s.Do, min(len(s.Do), 64)))
		if which := meant(s.Do, "", slices.Sorted(maps.Keys(stepKinds))); which != "" {
			text += "; " + which
		}
		return s, errors.New(text)
	}
	s.given = map[string]bool{}
	for name, raw := range fields {
		s.given[name] = string(raw) != "null"
	}
	delete(s.given, "do")
	if err := s.has(s.Do, kind.needs, kind.takes, slices.Collect(maps.Keys(s.given))); err != nil {
		return s, err
	}
	return s, s.validate()
}

// has checks that of the fields with these names those that are needed are
// given, and no others than those that can be.
func (s *step) has(what, needs, takes string, names []string) error {
	for name := range strings.FieldsSeq(needs) {
		if !s.given[name] {
			return fmt.Errorf("%s needs %q", what, name)
		}
	}
	known := strings.Fields(needs + " " + takes)
	slices.Sort(names)
	for _, name := range names {
		if s.given[name] && !slices.Contains(known, name) {
			return fmt.Errorf("%s has no field %q", what, cut(name, min(len(name), 64)))
		}
	}
	return nil
}

func (s *step) validate() error {
	special := []string{"n", "text", "is"}
	switch {
	case s.Seconds < 0 || s.Seconds > maxPause.Seconds():
		return fmt.Errorf("s: want 0 to %v", maxPause.Seconds())
	case s.given["n"] && s.Do == "burst" && (s.N < 1 || s.N > maxBurst):
		return fmt.Errorf("n: want 1 to %d", maxBurst)
	case s.given["n"] && s.N < 0, s.Do == "wait" && s.given["n"] && s.N < 1:
		return errors.New("n: too small")
	case s.Percent < 0 || s.Percent > 100:
		return errors.New("percent: want 0 to 100")
	case s.MS < 0 || s.MS > mostDelay.Milliseconds():
		return fmt.Errorf("ms: want 0 to %d", mostDelay.Milliseconds())
	case s.TimeoutMS < 0 || s.TimeoutMS > maxWait.Milliseconds():
		return fmt.Errorf("timeout_ms: want 0 to %d", maxWait.Milliseconds())
	case s.given["election"] && s.Election != "bully" && s.Election != "ring":
		return fmt.Errorf("election: want bully or ring, not %q", s.Election)
	case s.Do == "cut" && len(s.Sides) < 2:
		return errors.New("sides: want two or more")
	case s.Do == "wait":
		kind, ok := waitsFor[s.For]
		if !ok {
			return fmt.Errorf("for: want one of %s", strings.Join(slices.Sorted(maps.Keys(waitsFor)), " "))
		}
		return s.has("wait for "+s.For, kind.needs, kind.takes, special)
	case s.Do == "assert":
		kind, ok := asserts[s.That]
		if !ok {
			return fmt.Errorf("that: want one of %s", strings.Join(slices.Sorted(maps.Keys(asserts)), " "))
		}
		return s.has("assert "+s.That, kind.needs, kind.takes, special)
	}
	return nil
}
