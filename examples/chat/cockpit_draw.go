package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	leastWidth = 24 // of a column
	mostTold   = 4  // lines of narration
	beatShown  = 250 * time.Millisecond
)

// style is how a piece of text looks: SGR parameters, empty for plain.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "1;31"
	green  style = "32"
	yellow style = "33"
	blue   style = "34"
	purple style = "35"
	cyan   style = "36"
	crown  style = "1;33"
	invert style = "7"
)

// classes are the styles of different histories.
var classes = []style{green, purple, yellow, blue, cyan, red}

// kinds are the styles of what passes in the lane.
var kinds = map[string]style{
	"KILL": red, "STOP": red, "LEAVE": yellow, "CONT": yellow, "CUT": red, "HEAL": green, "FAULT": yellow,
	"SUSPECT": dim, "CALLED": bold, "CALLED OFF": dim, "ELECTION": yellow, "ANSWER": cyan, "TOKEN": purple,
	"RING_PROBE": dim, "COORDINATOR": green, "CROWN": crown,
}

// span is a piece of a line in one style, row a line.
type (
	span struct {
		style style
		text  string
	}
	row []span
)

func text(s style, format string, args ...any) row { return row{{s, fmt.Sprintf(format, args...)}} }

func (r row) width() (n int) {
	for _, s := range r {
		n += textWidth(s.text)
	}
	return n
}

// fill cuts a row, or fills it up with blanks.
func (r row) fill(width int) row {
	var out row
	left := width
	for _, s := range r {
		w := textWidth(s.text)
		if w > left {
			t := fit(s.text, left)
			out = append(out, span{s.style, t})
			left -= textWidth(t)
			break
		}
		out = append(out, s)
		left -= w
	}
	if left > 0 {
		out = append(out, span{plain, strings.Repeat(" ", left)})
	}
	return out
}

// apart puts a row to the left and one to the right of a line. What is to the
// left gives way.
func apart(l, r row, width int) row {
	r = r.fill(min(r.width(), width))
	return append(l.fill(width-r.width()), r...)
}

// String is the row as a terminal takes it, without styles if color is false.
func (r row) render(color bool) string {
	var b strings.Builder
	for _, s := range r {
		switch {
		case s.text == "":
		case s.style == plain || !color:
			b.WriteString(s.text)
		default:
			b.WriteString("\x1b[" + string(s.style) + "m" + s.text + "\x1b[0m")
		}
	}
	return b.String()
}

// wrap breaks a text into lines at blanks, or inside of words that are too long.
func wrap(s string, width int) []string {
	if width < 1 {
		return nil
	}
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && textWidth(line)+1+textWidth(word) <= width {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		line = ""
		for _, r := range word {
			if textWidth(line)+runeWidth(r) > width {
				lines = append(lines, line)
				line = ""
			}
			line += string(r)
		}
	}
	return append(lines, line)
}

// draw is the screen: as many rows as it is high, each as wide as it is. The
// last row is left to the command line.
func (d *deck) draw(width, height int, now time.Time) []row {
	if width < 1 || height < 2 {
		return make([]row, max(height, 0))
	}
	head := d.head(width)
	foot := d.foot(width, height)
	columns, gone := d.open(width)
	if gone != nil {
		head = append(head, gone)
	}
	room := height - 1 - len(head) - len(foot)
	rows, high := arrange(len(columns), width, room)
	lane := max(0, room-rows*high)
	out := head
	out = append(out, d.grid(columns, width, rows, high, now)...)
	out = append(out, d.passings(width, lane, now)...)
	out = append(out, foot...)
	for len(out) < height-1 {
		out = append(out, row{})
	}
	out = append(out[:height-1], row{})
	for i, r := range out {
		out[i] = r.fill(width)
	}
	return out
}

// open are the columns that are shown: all, or if they do not fit abreast, the
// living, and the others in a line.
func (d *deck) open(width int) (shown []*column, gone row) {
	if len(d.columns)*leastWidth <= width {
		return d.columns, nil
	}
	for _, c := range d.columns {
		if c.alive() {
			shown = append(shown, c)
			continue
		}
		if gone == nil {
			gone = text(dim, " gone:")
		}
		gone = append(gone, span{dim, "  " + c.name() + " " + strings.ToLower(c.fate.String())})
	}
	return shown, gone
}

// arrange is in how many rows n columns stand, and how high each is: what is left
// of the room is for the lane.
func arrange(n, width, room int) (rows, high int) {
	if n == 0 {
		return 0, 0
	}
	abreast := max(1, min(n, width/leastWidth))
	rows = (n + abreast - 1) / abreast
	lane := min(max(4, room*11/20), 20)
	high = (room - lane) / rows
	if high < 6 { // the lane gives way
		high = min(6, room/rows)
	}
	if high < 5 || width < leastWidth { // each in one line
		rows, high = n, 1
	}
	return rows, high
}

// head tells of the whole: how the group is run, and whether there is one
// history or several.
func (d *deck) head(width int) []row {
	n := map[fate]int{}
	for _, c := range d.columns {
		n[c.fate]++
	}
	var parts []string
	for _, f := range []fate{starting, up, stopped, killed, left, ended} {
		if n[f] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[f], strings.ToLower(f.String())))
		}
	}
	left := row{{invert, " p2p "}, {plain, " " + d.title}}
	right := row{{dim, " " + strings.Join(parts, ", ") + " "}}
	if f := d.weather.String(); f != "" {
		right = row{{red, " " + f + " "}}
	}
	return []row{apart(left, right, width), apart(d.verdict(), nil, width)}
}

// verdict tells whether the living hold one history or several.
func (d *deck) verdict() row {
	all := d.histories()
	switch len(all) {
	case 0:
		return text(dim, " no history yet")
	case 1:
		h := all[0]
		return row{{classes[0], " = one history"}, {plain, fmt.Sprintf(" at all %d: %s, digest ", len(h.names), count(int(h.n), "message", "messages"))}, {classes[0], short(h.hist)}}
	}
	r := text(red, " ≠ %d histories", len(all))
	for i, h := range all {
		r = append(r, span{plain, "  "}, span{class(i), fmt.Sprintf("%s %s", letter(i), short(h.hist))},
			span{plain, fmt.Sprintf(" (%d) %s", h.n, strings.Join(h.names, " "))})
	}
	return r
}

func class(i int) style { return classes[i%len(classes)] }

// letter is the sign of one of several histories.
func letter(i int) string { return string(rune('A' + i%26)) }

func (d *deck) foot(width, height int) []row {
	var out []row
	if d.act != "" || d.told != "" {
		out = append(out, rule(width, d.act, bold))
		lines := wrap(d.told, width-2)
		if most := min(mostTold, height/6); len(lines) > most {
			lines = lines[:most]
		}
		for _, l := range lines {
			out = append(out, text(bold, " %s", l))
		}
	}
	s := dim
	if d.wrong {
		s = red
	}
	out = append(out, rule(width, "", dim))
	if d.note == "" {
		return append(out, text(s, " 1> text speaks as node 1   /kill 4   /cut 1,2|3,4   /heal   /help   /quit"))
	}
	lines := wrap(d.note, width-2)
	for _, l := range lines[:min(len(lines), max(1, height/6))] {
		out = append(out, text(s, " %s", l))
	}
	return out
}

// rule is a line across, with a title in it.
func rule(width int, title string, s style) row {
	if title == "" {
		return text(dim, "%s", strings.Repeat("─", width))
	}
	r := row{{dim, "── "}, {s, title}, {dim, " "}}
	return append(r, span{dim, strings.Repeat("─", max(0, width-r.width()))})
}

func (d *deck) grid(all []*column, width, rows, high int, now time.Time) []row {
	if rows == 0 {
		return nil
	}
	histories := d.histories()
	if high == 1 {
		out := make([]row, len(all))
		for i, c := range all {
			out[i] = append(c.heading(), span{plain, "  "})
			out[i] = append(out[i], c.digest(histories, width)...)
			out[i] = append(out[i], span{plain, "  " + c.notation()})
			if n := len(c.talk); n > 0 {
				out[i] = append(out[i], span{dim, "  " + c.talk[n-1].from + ": " + c.talk[n-1].text})
			}
		}
		return out
	}
	abreast := (len(all) + rows - 1) / rows
	var out []row
	for columns := range slices.Chunk(all, abreast) {
		cards := make([][]row, len(columns))
		for i, c := range columns {
			// The columns share what does not divide evenly.
			w := width*(i+1)/abreast - width*i/abreast
			cards[i] = c.card(w, high, histories, now)
		}
		for y := range high {
			var r row
			for _, card := range cards {
				r = append(r, card[y]...)
			}
			out = append(out, r)
		}
	}
	return out
}

// heading is the node's name, with a crown for the coordinator, and what
// became of its process.
func (c *column) heading() row {
	s := bold
	if !c.alive() {
		s = dim
	}
	r := row{{s, c.name()}}
	if c.leads() {
		r = row{{crown, "♛ " + c.name()}}
	}
	f := c.fate.String()
	switch c.fate {
	case starting, left:
		return append(r, span{dim, " " + f})
	case up:
		r = append(r, span{green, " " + f})
	case ended:
		return append(r, span{red, " " + f + ": " + c.why})
	default:
		r = append(r, span{red, " " + f})
	}
	if c.side > 0 {
		r = append(r, span{red, fmt.Sprintf(" CUT %d", c.side)})
	}
	return r
}

// digest is the node's history in short, with the sign of those that hold the
// same.
func (c *column) digest(all []history, width int) row {
	if !c.member() {
		if c.hist == "" {
			return nil
		}
		return text(dim, "- %s  %s", short(c.hist), count(int(c.n), "message", "messages"))
	}
	i := slices.IndexFunc(all, func(h history) bool { return h.hist == c.hist })
	sign := "="
	if len(all) > 1 {
		sign = letter(i)
	}
	messages := count(int(c.n), "message", "messages")
	if width < len(messages)+14 {
		messages = fmt.Sprintf("n=%d", c.n)
	}
	return row{{class(i), sign + " " + short(c.hist)}, {plain, "  " + messages}, {dim, fmt.Sprintf("  %d/%d", c.same, c.of)}}
}

// card is a column with its frame.
func (c *column) card(width, high int, all []history, now time.Time) []row {
	inner := width - 4
	frame := dim
	if c.leads() {
		frame = crown
	}
	title := c.heading()
	title = title.fill(min(title.width(), width-5))
	top := append(row{{frame, "╭─ "}}, title...)
	top = append(top, span{frame, " " + strings.Repeat("─", max(0, width-5-title.width())) + "╮"})
	out := []row{top}

	state := row{{dim, fmt.Sprintf("term %d  pid %d", c.view.Term, c.pid)}}
	if c.member() && now.Sub(c.beat) < beatShown {
		state = apart(state, text(red, "♥"), inner)
	}
	lines := []row{text(plain, "%s", c.notation()), state, c.digest(all, inner)}
	if c.view.Size == 0 {
		lines[0] = text(dim, "%s", cmp.Or(c.why, "looking for the group"))
	}
	if high >= 9 {
		lines = append(lines, text(dim, "%s", strings.Repeat("·", inner)))
	}
	lines = lines[:min(len(lines), high-2)]
	lines = append(lines, c.talking(inner, high-2-len(lines))...)
	for _, l := range lines {
		if !c.alive() {
			l = fade(l)
		}
		r := append(row{{frame, "│ "}}, l.fill(inner)...)
		out = append(out, append(r, span{frame, " │"}))
	}
	return append(out, row{{frame, "╰" + strings.Repeat("─", width-2) + "╯"}})
}

// fade is a row of a process that is gone.
func fade(r row) row {
	out := slices.Clone(r)
	for i := range out {
		out[i].style = dim
	}
	return out
}

// talking are the last messages, as many as there is room for.
func (c *column) talking(width, high int) []row {
	var out []row
	for i := len(c.talk) - 1; i >= 0 && len(out) < high; i-- {
		s := c.talk[i]
		mark := ""
		if s.late {
			mark = "^ "
		}
		lines := wrap(mark+s.from+": "+s.text, width)
		for j := len(lines) - 1; j >= 0 && len(out) < high; j-- {
			r := row{{plain, lines[j]}}
			if head := mark + s.from + ":"; j == 0 && strings.HasPrefix(lines[j], head) {
				who := cyan
				if s.own {
					who = bold
				}
				r = row{{who, head}, {plain, lines[j][len(head):]}}
			}
			out = append(out, r)
		}
	}
	for len(out) < high {
		out = append(out, row{})
	}
	slices.Reverse(out)
	if blank := slices.IndexFunc(out, func(r row) bool { return len(r) > 0 }); blank > 0 {
		out = append(out[blank:], out[:blank]...) // from the top
	}
	return out
}

// passings is the lane: the last of what passed, with the time since what
// caused it.
func (d *deck) passings(width, high int, now time.Time) []row {
	if high < 2 {
		return make([]row, high)
	}
	out := []row{rule(width, "what passed between them", plain)}
	shown := d.lane[max(0, len(d.lane)-(high-1)):]
	var cause time.Time
	for _, p := range d.lane[:len(d.lane)-len(shown)] {
		if p.causes() {
			cause = p.at
		}
	}
	for _, p := range shown {
		if p.causes() {
			cause = p.at
		}
		out = append(out, p.row(cause, now.Location()))
	}
	for len(out) < high {
		out = append(out, row{})
	}
	return out
}

// causes is whether it is what other things follow from.
func (p passing) causes() bool { return p.term == 0 && p.kind != "SUSPECT" }

func (p passing) row(cause time.Time, zone *time.Location) row {
	at := p.at.In(zone).Format("15:04:05.000")
	if since := p.at.Sub(cause); !p.causes() && since >= 0 && since < time.Minute {
		at = fmt.Sprintf("+%d ms", since.Milliseconds())
	}
	r := row{{dim, fmt.Sprintf(" %12s  ", at)}, {kinds[p.kind], fmt.Sprintf("%-11s", p.kind)}, {plain, " "}}
	by := func(word string) {
		if len(p.got) > 0 {
			r = append(r, span{dim, "  " + word + " "}, span{plain, strings.Join(p.got, " ")})
		}
	}
	switch p.kind {
	case "SUSPECT":
		r = append(r, span{bold, p.from})
		by("by")
	case "CALLED", "CALLED OFF":
		r = append(r, span{plain, fmt.Sprintf("term %d", p.term)})
		by("by")
	case "CROWN":
		r = append(r, span{crown, "♛ " + p.from}, span{plain, fmt.Sprintf(" is coordinator of term %d (%s)", p.term, p.why)})
		by("for")
	default:
		r = append(r, span{bold, p.from})
		if !p.causes() {
			to := "all"
			if len(p.to) > 0 {
				to = strings.Join(p.to, " ")
			}
			r = append(r, span{kinds[p.kind], " ──▶ "}, span{plain, to})
			if len(p.got) > 0 && !slices.Equal(p.got, p.to) {
				by("reached")
			} else if len(p.got) > 0 {
				r = append(r, span{green, " ✓"})
			}
		}
	}
	return r
}
