// Package tty runs programs on a terminal and reads what they show there: for
// tests of what a person sees, and for pictures of it.
package tty

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Style is how a cell looks. Colors are those of the 16 of ANSI, 0 to 15, or
// -1 for the terminal's own.
type Style struct {
	Fore, Back            int
	Bold, Dim, Underlined bool
	Inverse               bool
}

var unstyled = Style{Fore: -1, Back: -1}

// Cell is one place of a screen. Text is a character with what combines with
// it, or empty for the right half of a wide one.
type Cell struct {
	Text  string
	Style Style
}

// Screen is what a terminal shows: it follows as much of ECMA-48, as xterm
// understands it, as programs without a library for terminals use. What it does
// not know it skips. It is safe for concurrent use.
type Screen struct {
	// Reflows says that rows are wrapped anew when the width changes. Terminals
	// that do not, cut them.
	Reflows bool

	mu      sync.Mutex
	width   int
	height  int
	rows    []row
	above   []row // scrolled off
	main    []row // while the alternate screen is shown
	x, y    int
	wrap    bool // lines that are too long go on in the next one
	pending bool // the next character begins a new line
	style   Style
	rest    []byte // the beginning of a sequence, or of a character
	fault   string // what it did not know first
	changed chan struct{}
}

// row is one line of a screen.
type row struct {
	cells []Cell
	soft  bool // it was too long, and goes on in the next one
}

// text is what stands there, without blanks at the end.
func (r row) text() string {
	var b strings.Builder
	for _, c := range r.cells {
		b.WriteString(c.Text)
	}
	return strings.TrimRight(b.String(), " ")
}

// mostAbove is how many rows that were scrolled off are kept.
const mostAbove = 10000

// NewScreen returns an empty screen.
func NewScreen(width, height int) *Screen {
	s := &Screen{width: width, height: height, wrap: true, style: unstyled, changed: make(chan struct{})}
	s.rows = s.empty()
	return s
}

func (s *Screen) empty() []row {
	rows := make([]row, s.height)
	for y := range rows {
		rows[y] = row{cells: blank(s.width)}
	}
	return rows
}

func blank(n int) []Cell {
	return slices.Repeat([]Cell{{" ", unstyled}}, n)
}

// Resize gives the screen another size. What does not fit is lost, unless the
// screen reflows.
func (s *Screen) Resize(width, height int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.width, s.height = width, height
	if s.Reflows && s.main == nil {
		s.reflow()
		return
	}
	s.rows = s.resized(s.rows)
	if s.main != nil {
		s.main = s.resized(s.main)
	}
	s.x, s.y, s.pending = min(s.x, width-1), min(s.y, height-1), false
}

func (s *Screen) resized(old []row) []row {
	rows := s.empty()
	for y := range min(len(old), s.height) {
		copy(rows[y].cells, old[y].cells)
	}
	return rows
}

// reflow wraps all rows anew. The cursor stays at the character that it was at.
func (s *Screen) reflow() {
	old := append(slices.Clone(s.above), s.rows...)
	at := len(s.above) + s.y
	var rows []row
	var line []Cell
	y, x := 0, 0
	cursor := -1 // in the line
	for i, r := range old {
		if i == at {
			cursor = len(line) + s.x
		}
		if line = append(line, r.cells...); r.soft {
			continue
		}
		for n := len(line); n > 0 && n > cursor && line[n-1].Text == " "; n-- {
			line = line[:n-1]
		}
		for first := true; first || len(line) > 0; first = false {
			n := min(s.width, len(line))
			if n > 1 && n < len(line) && line[n].Text == "" { // half of a wide one
				n--
			}
			r := row{cells: blank(s.width), soft: n < len(line)}
			copy(r.cells, line[:n])
			if cursor >= 0 && (cursor < n || n == len(line)) {
				y, x, cursor = len(rows), min(cursor, s.width-1), -1
			}
			cursor = max(cursor-n, -1)
			line, rows = line[n:], append(rows, r)
		}
	}
	for len(rows) > max(s.height, y+1) && rows[len(rows)-1].text() == "" {
		rows = rows[:len(rows)-1]
	}
	for len(rows) < s.height {
		rows = append(rows, row{cells: blank(s.width)})
	}
	top := min(len(rows)-s.height, y)
	s.above, s.rows = rows[:top], rows[top:top+s.height]
	s.x, s.y, s.pending = x, y-top, false
}

// Size returns the number of columns and of lines.
func (s *Screen) Size() (width, height int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.width, s.height
}

// Cells returns a copy of all lines.
func (s *Screen) Cells() [][]Cell {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([][]Cell, len(s.rows))
	for y, r := range s.rows {
		out[y] = slices.Clone(r.cells)
	}
	return out
}

// Text returns what is shown, a line for each line, without blanks at their
// ends.
func (s *Screen) Text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text()
}

func (s *Screen) text() string {
	var b strings.Builder
	for _, r := range s.rows {
		b.WriteString(r.text() + "\n")
	}
	return b.String()
}

// All returns the rows that were scrolled off, the latest 10,000, and those that
// are shown.
func (s *Screen) All() (above, shown []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.above {
		above = append(above, r.text())
	}
	for _, r := range s.rows {
		shown = append(shown, r.text())
	}
	return above, shown
}

// Fault is what the screen did not know first of what was written to it, and
// empty if it knew all.
func (s *Screen) Fault() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

func (s *Screen) unknown(what string) {
	if s.fault == "" {
		s.fault = strconv.Quote(what)
	}
}

// Cursor returns where the next character goes.
func (s *Screen) Cursor() (x, y int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.x, s.y
}

// watch returns the text, and a channel that is closed when it changes.
func (s *Screen) watch() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text(), s.changed
}

// Write shows what a program writes. It never fails.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data := append(s.rest, p...)
	for len(data) > 0 {
		n := s.step(data)
		if n == 0 {
			break
		}
		data = data[n:]
	}
	s.rest = slices.Clone(data)
	close(s.changed)
	s.changed = make(chan struct{})
	return len(p), nil
}

// longest is the longest sequence that is waited for to be whole.
const longest = 1 << 10

// step takes one character or sequence and returns its length, 0 if it is not
// whole yet.
func (s *Screen) step(data []byte) int {
	switch c := data[0]; {
	case c == '\x1b':
		n, ok := s.escape(data)
		if !ok && len(data) > longest {
			return 1
		}
		return n
	case c < ' ' || c == 0x7f:
		s.control(c)
		return 1
	case !utf8.FullRune(data):
		return 0
	}
	r, n := utf8.DecodeRune(data)
	if r >= 0x80 && r < 0xa0 {
		s.unknown(string(r))
	}
	s.put(r)
	return n
}

func (s *Screen) control(c byte) {
	s.pending = false
	switch c {
	case '\r':
		s.x = 0
	case '\n', '\v', '\f':
		s.down()
	case '\b':
		s.x = max(0, s.x-1)
	case '\t':
		s.x = min(s.width-1, s.x/8*8+8)
	default:
		s.unknown(string(c))
	}
}

func (s *Screen) down() {
	if s.y < s.height-1 {
		s.y++
		return
	}
	if s.main == nil {
		if s.above = append(s.above, s.rows[0]); len(s.above) > mostAbove {
			s.above = s.above[1:]
		}
	}
	s.rows = append(s.rows[1:], row{cells: blank(s.width)})
}

func (s *Screen) put(r rune) {
	w := width(r)
	if w == 0 { // combines with the one before
		x := s.x - 1
		if s.pending {
			x = s.x
		}
		for x > 0 && s.rows[s.y].cells[x].Text == "" { // the right half of a wide one
			x--
		}
		if x >= 0 {
			s.rows[s.y].cells[x].Text += string(r)
		}
		return
	}
	if s.pending || s.x+w > s.width {
		s.pending = false
		if s.wrap {
			s.rows[s.y].soft = true
			s.x = 0
			s.down()
		} else {
			s.x = max(0, s.width-w)
		}
	}
	for i := range min(w, s.width-s.x) {
		s.rows[s.y].cells[s.x+i] = Cell{"", s.style}
	}
	s.rows[s.y].cells[s.x].Text = string(r)
	if s.x += w; s.x >= s.width {
		s.x = s.width - 1
		s.pending = true
	}
}

// width is how many cells a character takes.
func width(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff,
		r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6,
		r >= 0x1f300 && r <= 0x1f64f, r >= 0x1f680 && r <= 0x1f6ff, r >= 0x1f900 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// escape takes an escape sequence. It returns 0 and false if that is not whole.
func (s *Screen) escape(data []byte) (int, bool) {
	if len(data) < 2 {
		return 0, false
	}
	switch data[1] {
	case '[':
		for i := 2; i < len(data); i++ {
			if c := data[i]; c >= '@' && c <= '~' {
				s.csi(string(data[2:i]), c)
				return i + 1, true
			}
		}
		return 0, false
	case ']': // up to BEL or ST
		for i := 2; i < len(data); i++ {
			if data[i] == '\a' {
				s.unknown(string(data[:i+1]))
				return i + 1, true
			}
			if data[i] == '\x1b' && i+1 < len(data) {
				s.unknown(string(data[:i+2]))
				return i + 2, true
			}
		}
		return 0, false
	case '(', ')', '#':
		if len(data) < 3 {
			return 0, false
		}
		return 3, true
	}
	s.unknown(string(data[:2]))
	return 2, true
}

// csi carries out a control sequence.
func (s *Screen) csi(params string, final byte) {
	s.pending = false
	private := strings.HasPrefix(params, "?")
	var args []int
	known := !private || final == 'h' || final == 'l'
	for p := range strings.SplitSeq(strings.TrimPrefix(params, "?"), ";") {
		n, err := strconv.ParseUint(p, 10, 15)
		known = known && (err == nil || p == "" || errors.Is(err, strconv.ErrRange))
		args = append(args, int(n))
	}
	if !known || !s.carryOut(private, args, final) {
		s.unknown("\x1b[" + params + string(final))
	}
}

// carryOut does what a control sequence says, and reports whether it knows all
// of it.
func (s *Screen) carryOut(private bool, args []int, final byte) bool {
	n := max(args[0], 1)
	switch final {
	case 'A':
		s.y = max(0, s.y-n)
	case 'B':
		s.y = min(s.height-1, s.y+n)
	case 'C':
		s.x = min(s.width-1, s.x+n)
	case 'D':
		s.x = max(0, s.x-n)
	case 'G':
		s.x = min(s.width, n) - 1
	case 'H', 'f':
		column := 1
		if len(args) > 1 {
			column = max(args[1], 1)
		}
		s.y, s.x = min(s.height, n)-1, min(s.width, column)-1
	case 'J':
		return s.clear(args[0])
	case 'K':
		line := &s.rows[s.y]
		switch args[0] {
		case 0:
			line.soft = false
			copy(line.cells[s.x:], blank(s.width-s.x))
		case 1:
			copy(line.cells, blank(s.x+1))
		case 2:
			*line = row{cells: blank(s.width)}
		default:
			return false
		}
	case 'm':
		return s.render(args)
	case 'h', 'l':
		return private && s.mode(args, final == 'h')
	default:
		return false
	}
	return true
}

// clear clears a part of the screen. It reports whether it knows which.
func (s *Screen) clear(what int) bool {
	from, to := 0, s.height
	switch what {
	case 0:
		s.rows[s.y].soft = false
		copy(s.rows[s.y].cells[s.x:], blank(s.width-s.x))
		from = s.y + 1
	case 1:
		copy(s.rows[s.y].cells, blank(s.x+1))
		to = s.y
	case 2:
	default:
		return false
	}
	for y := from; y < to; y++ {
		s.rows[y] = row{cells: blank(s.width)}
	}
	return true
}

// mode sets private modes. It reports whether it knows them: lines that wrap, the
// cursor's look, the alternate screen, and marks around what is pasted.
func (s *Screen) mode(args []int, on bool) bool {
	for _, a := range args {
		switch {
		case a == 7:
			s.wrap = on
		case a == 1049 && on && s.main == nil:
			s.main, s.rows = s.rows, s.empty()
		case a == 1049 && !on && s.main != nil:
			s.rows, s.main = s.main, nil
		case a != 25 && a != 1049 && a != 2004:
			return false
		}
	}
	return true
}

// render takes the parameters of SGR. It reports whether it knows them all, and
// stops at the first that it does not: what follows may belong to that.
func (s *Screen) render(args []int) bool {
	for _, a := range args {
		switch {
		case a == 0:
			s.style = unstyled
		case a == 1:
			s.style.Bold = true
		case a == 2:
			s.style.Dim = true
		case a == 4:
			s.style.Underlined = true
		case a == 7:
			s.style.Inverse = true
		case a == 22:
			s.style.Bold, s.style.Dim = false, false
		case a == 24:
			s.style.Underlined = false
		case a == 27:
			s.style.Inverse = false
		case a >= 30 && a <= 37:
			s.style.Fore = a - 30
		case a == 39:
			s.style.Fore = -1
		case a >= 40 && a <= 47:
			s.style.Back = a - 40
		case a == 49:
			s.style.Back = -1
		case a >= 90 && a <= 97:
			s.style.Fore = a - 90 + 8
		case a >= 100 && a <= 107:
			s.style.Back = a - 100 + 8
		default:
			return false
		}
	}
	return true
}
