package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

const (
	maxMarks   = 64
	markColumn = 9 // of the mark in a line, after the time
	mark       = "~"
)

// screen makes the codes that draw a terminal's contents: lines that scroll
// up, and below them a prompt with the line that is being typed. What the
// codes do is what every terminal of the last decades understands. The last
// column is left free below, so that it never matters how a terminal wraps.
type screen struct {
	columns, lines int
	colour         bool
	reflows        bool // when its width changes, the terminal wraps long rows anew

	out     bytes.Buffer
	prompt  string
	text    []rune
	at      int
	shown   bool
	widths  []int // columns of each row that is drawn
	row     int   // of the cursor, among those
	col     int
	tallest int // rows that were drawn at most
	marks   []marked
}

// marked is a line above whose mark can still be taken away.
type marked struct {
	id   any
	rows int // from the beginning of the line to the prompt
}

// take returns what must be written to the terminal.
func (s *screen) take() []byte {
	b := bytes.Clone(s.out.Bytes())
	s.out.Reset()
	return b
}

func (s *screen) move(n int, up, down byte) {
	if n < 0 {
		n, up = -n, down
	}
	if n > 0 {
		fmt.Fprintf(&s.out, "\x1b[%d%c", n, up)
	}
}

// hide removes the prompt; the cursor is then where it began.
func (s *screen) hide() {
	if !s.shown {
		return
	}
	s.out.WriteByte('\r')
	s.move(s.row, 'A', 'B')
	s.out.WriteString("\x1b[J")
	s.shown = false
}

// print prints lines above the prompt.
func (s *screen) print(text string) {
	s.hide()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		s.out.WriteString(s.paint(line) + "\r\n")
		s.scroll(rowsOf(line, s.columns))
	}
	s.show()
}

func (s *screen) scroll(rows int) {
	for i := range s.marks {
		s.marks[i].rows += rows
	}
	s.marks = slices.DeleteFunc(s.marks, func(m marked) bool { return m.rows > s.lines })
}

// printMarked prints a line with a mark that unmark removes.
func (s *screen) printMarked(id any, line string) {
	if len(line) > markColumn {
		line = line[:markColumn] + mark + line[markColumn+len(mark):]
	}
	if len(s.marks) == maxMarks {
		s.marks = s.marks[1:]
	}
	s.marks = append(s.marks, marked{id: id})
	s.print(line + "\n")
}

// unmark removes the marks for which done is true, of those lines that are
// certainly still on the screen.
func (s *screen) unmark(done func(id any) bool) {
	s.marks = slices.DeleteFunc(s.marks, func(m marked) bool {
		if !done(m.id) {
			return false
		}
		if m.rows <= s.lines-s.tallest {
			s.hide()
			s.move(m.rows, 'A', 'B')
			s.out.WriteString("\r\x1b[" + fmt.Sprint(markColumn) + "C \r")
			s.move(-m.rows, 'A', 'B')
		}
		return true
	})
	s.show()
}

// clear empties the screen.
func (s *screen) clear() {
	s.out.WriteString("\x1b[2J\x1b[H")
	s.shown, s.marks, s.tallest = false, nil, 0
	s.show()
}

// resize draws anew after the terminal's size has changed.
func (s *screen) resize(columns, lines int) {
	if columns < 1 || lines < 1 || columns == s.columns && lines == s.lines {
		return
	}
	if s.shown && s.reflows {
		// Rows that became too long now take several.
		at := s.col
		if at == s.widths[s.row] { // behind the last character
			at = max(0, at-1)
		}
		above := at / columns
		for _, w := range s.widths[:s.row] {
			above += max(1, (w+columns-1)/columns)
		}
		s.row = above
	}
	s.hide()
	s.columns, s.lines = columns, lines
	s.marks, s.tallest = nil, 0
	s.show()
}

// set changes what stands below, and draws it.
func (s *screen) set(prompt string, text []rune, at int) {
	s.prompt, s.text, s.at = prompt, text, at
	s.show()
}

// show draws the prompt and the line. It writes over what stands there, so
// that nothing flickers.
func (s *screen) show() {
	rows, row, col := s.layout()
	if s.shown {
		s.out.WriteByte('\r')
		s.move(s.row, 'A', 'B')
	}
	s.widths = s.widths[:0]
	for i, r := range rows {
		s.widths = append(s.widths, textWidth(r))
		if i == 0 && s.colour && strings.HasPrefix(r, s.prompt) {
			r = "\x1b[2m" + s.prompt + "\x1b[0m" + r[len(s.prompt):]
		}
		s.out.WriteString(r)
		if i < len(rows)-1 {
			s.out.WriteString("\x1b[K\r\n")
		}
	}
	s.out.WriteString("\x1b[J\r")
	s.move(len(rows)-1-row, 'A', 'B')
	s.move(col, 'C', 'C')
	s.shown, s.row, s.col = true, row, col
	s.tallest = max(s.tallest, len(rows))
}

// layout cuts the prompt and the line into rows, and says where the cursor is.
// If they are too many for the screen, those around the cursor are left.
func (s *screen) layout() (rows []string, row, col int) {
	columns := max(2, s.columns-1)
	var b strings.Builder
	w := 0
	put := func(r rune) {
		n := runeWidth(r)
		if w+n > columns {
			rows = append(rows, b.String())
			b.Reset()
			w = 0
		}
		b.WriteRune(r)
		w += n
	}
	for _, r := range s.prompt {
		put(r)
	}
	for i, r := range s.text {
		if r == '\n' {
			r = '↵'
		}
		if i == s.at {
			if row, col = len(rows), w; w+runeWidth(r) > columns {
				row, col = row+1, 0
			}
		}
		put(r)
	}
	if s.at == len(s.text) {
		if w == columns { // the next character begins a row
			rows = append(rows, b.String())
			b.Reset()
			w = 0
		}
		row, col = len(rows), w
	}
	rows = append(rows, b.String())

	if most := max(1, s.lines-1); len(rows) > most {
		from := min(max(0, row-most/2), len(rows)-most)
		rows, row = rows[from:from+most], row-from
	}
	return rows, row, col
}

// paint colours a line by the mark that stands after the time.
func (s *screen) paint(line string) string {
	if !s.colour || len(line) < markColumn+4 || line[2] != ':' || line[5] != ':' {
		return line
	}
	for prefix, code := range map[string]string{"!! ": "31", "** ": "1;33", "-->": "32", "<--": "33", "-- ": "36"} {
		if strings.HasPrefix(line[markColumn+1:], prefix) {
			return line[:markColumn+1] + "\x1b[" + code + "m" + line[markColumn+1:] + "\x1b[0m"
		}
	}
	return line
}
