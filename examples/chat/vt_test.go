package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// vt is what a terminal makes of the codes that are written to it: the part of
// a VT100 and its heirs that this program uses. Anything else is a fault.
type vt struct {
	columns, lines int
	above          []vtRow // scrolled off the screen
	rows           []vtRow
	row, col       int
	wraps          bool // the next character begins a new row
	pasteMarks     bool
	rest           []byte
	fault          string
}

type vtRow struct {
	cells []string // "" is the right half of a wide character
	soft  bool     // the next row goes on with it
}

func newVT(columns, lines int) *vt {
	v := &vt{columns: columns, lines: lines}
	for range lines {
		v.rows = append(v.rows, v.blank())
	}
	return v
}

func (v *vt) blank() vtRow {
	r := vtRow{cells: make([]string, v.columns)}
	for i := range r.cells {
		r.cells[i] = " "
	}
	return r
}

func (v *vt) Write(p []byte) (int, error) {
	v.rest = append(v.rest, p...)
	for len(v.rest) > 0 {
		n := v.step(v.rest)
		if n == 0 {
			break
		}
		v.rest = v.rest[n:]
	}
	return len(p), nil
}

func (v *vt) step(b []byte) int {
	switch c := b[0]; {
	case c == 0x1b:
		return v.escape(b)
	case c == '\r':
		v.col, v.wraps = 0, false
	case c == '\n':
		v.down()
	case c < ' ' || c == 0x7f:
		v.fault = fmt.Sprintf("control %#x", c)
	default:
		if !utf8.FullRune(b) {
			return 0
		}
		r, n := utf8.DecodeRune(b)
		if r >= 0x80 && r < 0xa0 {
			v.fault = fmt.Sprintf("control %U", r)
		}
		v.put(r)
		return n
	}
	return 1
}

func (v *vt) down() {
	v.wraps = false
	if v.row < v.lines-1 {
		v.row++
		return
	}
	v.above = append(v.above, v.rows[0])
	v.rows = append(v.rows[1:], v.blank())
}

func (v *vt) put(r rune) {
	w := runeWidth(r)
	if w == 0 {
		if c := v.col - 1; c >= 0 && !v.wraps {
			for c > 0 && v.rows[v.row].cells[c] == "" {
				c--
			}
			v.rows[v.row].cells[c] += string(r)
		} else if v.wraps {
			v.rows[v.row].cells[v.columns-1] += string(r)
		}
		return
	}
	if v.wraps || v.col+w > v.columns {
		v.rows[v.row].soft = true
		v.down()
		v.col = 0
	}
	v.rows[v.row].cells[v.col] = string(r)
	if w == 2 {
		v.rows[v.row].cells[v.col+1] = ""
	}
	if v.col += w; v.col == v.columns {
		v.col, v.wraps = v.columns-1, true
	}
}

func (v *vt) escape(b []byte) int {
	if len(b) < 3 {
		return 0
	}
	if b[1] != '[' {
		v.fault = fmt.Sprintf("%q", b[:2])
		return 2
	}
	end := 2
	for end < len(b) && b[end] < 0x40 {
		end++
	}
	if end == len(b) {
		return 0
	}
	params := string(b[2:end])
	n, err := strconv.Atoi(params)
	if err != nil {
		n = 1
	}
	v.wraps = v.wraps && b[end] == 'm'
	switch code := params + string(b[end]); {
	case b[end] == 'm':
	case b[end] == 'A':
		v.row = max(0, v.row-n)
	case b[end] == 'B':
		v.row = min(v.lines-1, v.row+n)
	case b[end] == 'C':
		v.col = min(v.columns-1, v.col+n)
	case code == "H":
		v.row, v.col = 0, 0
	case code == "K":
		v.erase(v.row, v.col)
	case code == "J":
		v.erase(v.row, v.col)
		for r := v.row + 1; r < v.lines; r++ {
			v.rows[r] = v.blank()
		}
	case code == "2J":
		for r := range v.rows {
			v.rows[r] = v.blank()
		}
	case code == "?2004h", code == "?2004l":
		v.pasteMarks = b[end] == 'h'
	default:
		v.fault = fmt.Sprintf("%q", b[:end+1])
	}
	return end + 1
}

func (v *vt) erase(row, from int) {
	for c := from; c < v.columns; c++ {
		v.rows[row].cells[c] = " "
	}
	v.rows[row].soft = false
}

func (r vtRow) String() string { return strings.TrimRight(strings.Join(r.cells, ""), " ") }

// screen is what can be seen, without the blank rows at its end.
func (v *vt) screen() []string { return texts(v.rows) }

// all is what was ever shown.
func (v *vt) all() []string { return texts(append(append([]vtRow{}, v.above...), v.rows...)) }

func texts(rows []vtRow) []string {
	var out []string
	n := 0
	for _, r := range rows {
		out = append(out, r.String())
		if out[len(out)-1] != "" {
			n = len(out)
		}
	}
	return out[:n]
}

// cursor is what stands before the cursor, in its row.
func (v *vt) cursor() string { return strings.Join(v.rows[v.row].cells[:v.col], "") }

// resize changes the size as a terminal does that wraps rows anew, or one that
// cuts them.
func (v *vt) resize(columns, lines int, reflow bool) {
	old := append(append([]vtRow{}, v.above...), v.rows...)
	at := len(v.above) + v.row
	v.columns, v.lines = columns, lines
	var rows []vtRow
	newRow, newCol := 0, 0
	var line []string
	cursor := -1 // in the line
	for i, r := range old {
		if i == at {
			cursor = len(line) + v.col
		}
		line = append(line, r.cells...)
		if r.soft && reflow {
			continue
		}
		for n := len(line); n > 0 && n > cursor && line[n-1] == " "; n-- {
			line = line[:n-1]
		}
		for first := true; first || len(line) > 0; first = false {
			row, n := v.blank(), min(columns, len(line))
			if n < len(line) && line[n] == "" { // half of a wide one
				n--
			}
			copy(row.cells, line[:n])
			if cursor >= 0 && (cursor < n || n == len(line) || !reflow) {
				newRow, newCol, cursor = len(rows), min(cursor, columns-1), -1
			}
			cursor = max(cursor-n, -1)
			if line = line[n:]; !reflow {
				line = nil
			}
			row.soft = len(line) > 0
			rows = append(rows, row)
		}
	}
	for len(rows) > max(lines, newRow+1) && rows[len(rows)-1].String() == "" {
		rows = rows[:len(rows)-1]
	}
	for len(rows) < lines {
		rows = append(rows, v.blank())
	}
	cut := min(len(rows)-lines, newRow)
	v.above, v.rows = rows[:cut], rows[cut:cut+lines]
	v.row, v.col, v.wraps = newRow-cut, newCol, false
}
