package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file in testdata, which -update writes.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "go test -run %s -update writes it anew", t.Name())
}

// theatre plays to a deck, and keeps what it tells without a screen.
type theatre struct {
	deck
	now   time.Time
	seq   uint64
	lines []string
}

func newTheatre(title string) *theatre {
	return &theatre{deck: deck{title: title}, now: time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)}
}

// again is another theatre in which the same has happened.
func (s *theatre) again() *theatre {
	c := *s
	c.lines = slices.Clone(s.lines)
	c.columns = slices.Clone(s.columns)
	for i, old := range s.columns {
		col := *old
		col.view.Members = slices.Clone(old.view.Members)
		col.talk = slices.Clone(old.talk)
		c.columns[i] = &col
	}
	c.lane = slices.Clone(s.lane)
	for i, p := range s.lane {
		c.lane[i].to, c.lane[i].got = slices.Clone(p.to), slices.Clone(p.got)
	}
	c.weather.sides = slices.Clone(s.weather.sides)
	for i, side := range s.weather.sides {
		c.weather.sides[i] = slices.Clone(side)
	}
	return &c
}

func (s *theatre) tells(lines []string) { s.lines = append(s.lines, lines...) }

func (s *theatre) wait(d time.Duration) { s.now = s.now.Add(d) }

func keyOf(id uint32) string { return fmt.Sprintf("%032x", id) }

func (s *theatre) ref(id uint32) *peerRef {
	return &peerRef{ID: id, Node: keyOf(id), Nick: firstNicks[id-1]}
}

// says lets the node with an ID say an event.
func (s *theatre) says(id uint32, b body) {
	s.seq++
	h := header{V: 1, Seq: s.seq, T: utc(s.now), Node: keyOf(id), ID: id, Ev: b.ev()}
	s.tells(s.heard(int(id)-1, h, encode(h, b), s.now))
}

func (s *theatre) start(id uint32) {
	s.tells(s.spawned(int(id)-1, firstNicks[id-1], 1000+int(id)))
}

// view lets nodes install a view, coordinated by the first ID.
func (s *theatre) view(term, number uint64, cause string, coordinator uint32, at []uint32, ids ...uint32) {
	for _, id := range at {
		b := viewBody{viewData: viewData{Term: term, VID: number, Coord: coordinator, Size: len(ids)}, Cause: cause}
		for _, m := range ids {
			b.Members = append(b.Members, member{peerRef: *s.ref(m)})
		}
		s.says(id, b)
		if s.columns[id-1].coord != keyOf(coordinator) {
			c := cause
			if c == "join" {
				c = "first"
			}
			s.says(id, coordBody{New: s.ref(coordinator), Term: term, Cause: c, GapMS: 321})
		}
	}
}

func (s *theatre) holds(hist string, n uint64, same, of int, at ...uint32) {
	for _, id := range at {
		s.says(id, digestBody{Hist: hist, N: n, Same: same, Of: of})
	}
}

func (s *theatre) talks(from uint32, n int, text string, at ...uint32) {
	for _, id := range at {
		s.says(id, msgBody{M: fmt.Sprintf("%032x:%d", from, n), From: *s.ref(from), Text: text})
	}
}

// fourTalked is a group of four that has talked.
func fourTalked() *theatre {
	s := newTheatre("-group 239.255.1.2:7000 -iface lo  bully  heartbeat 500ms, timeout 2s")
	s.start(1)
	s.wait(600 * time.Millisecond)
	s.view(1, 1, "first", 1, []uint32{1}, 1)
	s.says(1, joinBody{Phase: "first", Coord: s.ref(1), Term: 1})
	for id := uint32(2); id <= 4; id++ {
		s.start(id)
		s.wait(20 * time.Millisecond)
		ids := []uint32{1, 2, 3, 4}[:id]
		s.view(2, uint64(id), "join", 1, ids, ids...)
		s.says(id, joinBody{Phase: "ready", Coord: s.ref(1), Term: 2})
	}
	all := []uint32{1, 2, 3, 4}
	s.talks(1, 1, "hello, who is there?", all...)
	s.talks(2, 1, "bob here", all...)
	s.talks(3, 1, "eve, with a text that is so long that it must be wrapped in a column", all...)
	s.talks(4, 1, "日本語 and \x1b[31mred\u202e", all...)
	s.holds("b41c77", 4, 4, 4, all...)
	for _, id := range all {
		s.says(id, convergedBody{Members: 4, Hist: "b41c77", N: 4})
		s.says(id, hbBody{From: s.ref(1), Term: 2, VID: 4})
	}
	return s
}

// afterKill is the group after its coordinator was killed.
func afterKill() *theatre {
	s := fourTalked()
	rest := []uint32{2, 3, 4}
	s.wait(5 * time.Second)
	s.tells(s.signalled(0, killed, s.now))
	s.wait(time.Millisecond)
	s.tells(s.exited(0, "killed"))
	for _, id := range rest {
		s.says(id, peerBody{Peer: *s.ref(1), State: "suspect", Why: "reset"})
	}
	s.wait(time.Millisecond)
	// What the receiver tells may be read before what the sender does.
	s.says(3, electBody{Algo: "bully", Term: 3, Phase: "recv", Kind: "ELECTION", From: s.ref(2), To: s.ref(3)})
	s.says(2, electBody{Algo: "bully", Term: 3, Phase: "start", From: s.ref(2)})
	s.says(2, electBody{Algo: "bully", Term: 3, Phase: "send", Kind: "ELECTION", From: s.ref(2)})
	s.says(4, electBody{Algo: "bully", Term: 3, Phase: "recv", Kind: "ELECTION", From: s.ref(2), To: s.ref(4)})
	s.says(3, electBody{Algo: "bully", Term: 3, Phase: "send", Kind: "ANSWER", From: s.ref(3), To: s.ref(2)})
	s.wait(time.Millisecond)
	s.says(2, electBody{Algo: "bully", Term: 3, Phase: "recv", Kind: "ANSWER", From: s.ref(3), To: s.ref(2)})
	s.says(4, electBody{Algo: "bully", Term: 3, Phase: "win", From: s.ref(4)})
	s.says(4, electBody{Algo: "bully", Term: 3, Phase: "send", Kind: "COORDINATOR", From: s.ref(4)})
	s.says(2, electBody{Algo: "bully", Term: 3, Phase: "recv", Kind: "COORDINATOR", From: s.ref(4), To: s.ref(2)})
	s.says(3, electBody{Algo: "bully", Term: 3, Phase: "recv", Kind: "COORDINATOR", From: s.ref(4), To: s.ref(3)})
	s.view(3, 5, "elected", 4, rest, rest...)
	s.holds("b41c77", 4, 3, 3, rest...)
	return s
}

// split is the group with the network cut, and both sides talking.
func split() *theatre {
	s := fourTalked()
	s.tells(s.tell("7. The network splits", "bob and ada on one side, eve and dan on the other. Nobody is told."))
	s.tells(s.disturbed(weather{sides: [][]string{{"ada", "bob"}, {"eve", "dan"}}, loss: 20, delay: 50 * time.Millisecond}, s.now))
	s.wait(3 * time.Second)
	s.view(2, 5, "dead", 1, []uint32{1, 2}, 1, 2)
	s.view(3, 5, "elected", 4, []uint32{3, 4}, 3, 4)
	s.talks(1, 2, "is anybody else there?", 1, 2)
	s.talks(4, 2, "we are alone", 3, 4)
	s.holds("aaaa11", 5, 2, 2, 1, 2)
	s.holds("ffff22", 5, 2, 2, 3, 4)
	s.tells(s.signalled(1, stopped, s.now))
	s.tells(s.noted(true, `unknown command /garbage: /help lists all`))
	return s
}

func (s *theatre) picture(width, height int, color bool) string {
	var b strings.Builder
	for _, r := range s.draw(width, height, s.now) {
		b.WriteString(strings.TrimRight(r.render(color), " ") + "\n")
	}
	return b.String()
}

func TestDraw(t *testing.T) {
	for _, c := range []struct {
		name          string
		theatre       *theatre
		width, height int
		color         bool
	}{
		{"empty", newTheatre("nobody yet"), 60, 10, false},
		{"four", fourTalked(), 120, 28, false},
		{"killed", afterKill(), 120, 28, false},
		{"killed-color", afterKill(), 120, 28, true},
		{"split", split(), 120, 32, false},
		{"narrow", split(), 50, 34, false},
		{"short", split(), 80, 14, false},
		{"tiny", split(), 20, 4, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			golden(t, "cockpit-"+c.name+".txt", c.theatre.picture(c.width, c.height, c.color))
		})
	}
}

func TestPlain(t *testing.T) {
	golden(t, "cockpit-plain.txt", strings.Join(append(afterKill().lines, split().lines[len(fourTalked().lines):]...), "\n")+"\n")
}

// TestDrawAnySize draws decks of any kind on screens of any size: as many rows
// as it has, each exactly as wide, whatever is in them.
// In a window of 80 columns nothing is run together, and help is whole.
func TestDrawNarrow(t *testing.T) {
	d := &deck{title: "-group 239.255.1.2:27000 -iface lo  bully  heartbeat 500ms, timeout 2s"}
	d.spawned(0, "ada", 7)
	var commands []string
	for _, o := range orders {
		commands = append(commands, "/"+o.name)
	}
	d.noted(false, strings.Join(commands, " · "))
	var shown string
	for _, r := range d.draw(80, 24, time.Now()) {
		require.Equal(t, 80, r.width())
		shown += r.render(false) + "\n"
	}
	require.Regexp(t, `heartbeat 500ms, ti 1 starting \n`, shown)
	for _, c := range commands {
		require.Contains(t, shown, c)
	}
}

func TestDrawAnySize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom([]func() *theatre{fourTalked, afterKill, split}).Draw(t, "theatre")()
		for range rapid.IntRange(0, 20).Draw(t, "happenings") {
			id := rapid.Uint32Range(1, uint32(len(s.columns))).Draw(t, "id")
			text := rapid.String().Draw(t, "text")
			switch rapid.IntRange(0, 7).Draw(t, "what") {
			case 0:
				s.start(uint32(min(len(s.columns)+1, len(firstNicks))))
			case 1:
				s.talks(id, 9, text, id)
			case 2:
				s.tells(s.exited(int(id)-1, text))
			case 3:
				s.tells(s.tell(text, text))
			case 4:
				s.tells(s.signalled(int(id)-1, rapid.SampledFrom([]fate{up, stopped, killed, left}).Draw(t, "fate"), s.now))
			case 5:
				s.holds(text, 9, 1, 1, id)
			case 6:
				s.says(id, electBody{Term: 9, Phase: "send", Kind: text, From: s.ref(id)})
			case 7:
				s.tells(s.noted(true, text))
			}
		}
		width, height := rapid.IntRange(1, 200).Draw(t, "width"), rapid.IntRange(1, 60).Draw(t, "height")
		rows := s.draw(width, height, s.now)
		require.Len(t, rows, height)
		for y, r := range rows {
			if y < height-1 || height > 1 {
				require.Equal(t, width, r.width(), "row %d of %d", y, height)
			}
		}
	})
}

// FuzzDeck feeds a deck with lines that no sound process would say.
func FuzzDeck(f *testing.F) {
	for _, ev := range []string{"join", "view", "coord", "peer", "hb", "elect", "msg", "order", "digest", "converged", "warn"} {
		f.Add(ev, []byte(`{"phase":"send","kind":"ELECTION","term":1,"members":[{"id":1}],"items":["a"],"text":"x","hist":"00"}`))
	}
	f.Add("view", []byte(`{"members":null,"coord":4294967295}`))
	f.Add("elect", []byte(`[`))
	// To play what happened before takes longer than all the rest.
	talked, same := fourTalked(), fourTalked()
	f.Fuzz(func(t *testing.T, ev string, line []byte) {
		s := talked.again()
		for i := range s.columns {
			s.tells(s.heard(i, header{Ev: ev, Node: "x", ID: 9, T: "no time"}, line, s.now))
		}
		for _, r := range s.draw(80, 24, s.now) {
			require.Equal(t, 80, r.width())
			require.NotContains(t, strings.ReplaceAll(r.render(false), "\x1b", "ESC"), "ESC", "no control characters from others")
		}
		require.True(t, reflect.DeepEqual(same, talked), "it is not the same for the next input")
	})
}
