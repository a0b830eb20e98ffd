package trace

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Read checks the JSON trace of one process: a JSON object a line, of which
// those that say "ev":"view" are installed views, as the chat's -json mode
// writes them. Other lines are skipped; a last line without its end, which a
// killed process leaves behind, is too.
//
// If members carry no "inc", two runs of one peer that both founded a group
// cannot be told apart, and their views look like one: such traces must be
// given to different checkers.
func (c *Checker) Read(process string, r io.Reader) error {
	in := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var e struct {
			Ev      string  `json:"ev"`
			Node    hexKey  `json:"node"`
			Term    uint64  `json:"term"`
			Vid     uint64  `json:"vid"`
			Coord   uint32  `json:"coord"`
			Size    int     `json:"size"`
			Members []*peer `json:"members"`
			Cause   string  `json:"cause"`
		}
		var kind struct {
			Ev string `json:"ev"`
		}
		if err := json.Unmarshal(line, &kind); err != nil {
			return fmt.Errorf("trace of %s, line %d: %w", process, n, err)
		}
		if kind.Ev != "view" {
			continue
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("trace of %s, line %d: %w", process, n, err)
		}
		if slices.Contains(e.Members, nil) {
			return fmt.Errorf("trace of %s, line %d: a view with a member that is null", process, n)
		}
		if len(e.Members) < e.Size {
			continue // all of them did not fit a line
		}
		i := slices.IndexFunc(e.Members, func(p *peer) bool { return p.ID == e.Coord })
		if i < 0 {
			return fmt.Errorf("trace of %s, line %d: a view without its coordinator", process, n)
		}
		coord := e.Members[i]
		v := &View{Term: e.Term, Leader: Key(coord.Node), Inc: coord.Inc, Number: e.Vid, Merge: e.Cause == "merge", First: e.Cause == "first"}
		for _, p := range e.Members {
			v.Members = append(v.Members, Member{Key: Key(p.Node), Inc: p.Inc, ID: p.ID})
		}
		if err := c.Install(Install{Process: process, Node: Key(e.Node), View: v}); err != nil {
			return fmt.Errorf("trace of %s, line %d: %w", process, n, err)
		}
	}
}

type peer struct {
	ID   uint32 `json:"id"`
	Node hexKey `json:"node"`
	Inc  uint64 `json:"inc"`
}

type hexKey Key

func (k *hexKey) UnmarshalText(text []byte) error {
	if len(text) != 2*len(k) {
		return fmt.Errorf("%q is no key", text)
	}
	_, err := hex.Decode(k[:], text)
	return err
}
