package main

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/term"
)

// Modes of a terminal while a panel has all of it: the alternate screen, and
// lines that end at the edge.
const (
	panelOn  = "\x1b[?1049h\x1b[2J\x1b[?7l" + modesOn
	panelOff = modesOff + "\x1b[?7h\x1b[?1049l"
)

const panelPrompt = "> "

// panel is a terminal that is drawn on as a whole, with a command line in its
// last row.
type panel struct {
	*taken
	draw func(width, height int) []row

	mu     sync.Mutex // guards all below, and the output
	editor editor
	shown  []string // the rows as they stand there
	width  int
	closed bool
}

// openPanel takes a terminal over. It returns nil if in and out are none that
// can be drawn on.
func openPanel(in io.Reader, out io.Writer, complete func(string) completion, draw func(width, height int) []row) *panel {
	k := take(in, out)
	if k == nil {
		return nil
	}
	p := &panel{taken: k, draw: draw}
	atEnd(p.close)
	p.editor.complete = complete
	_, _ = io.WriteString(out, panelOn) // that a terminal is gone, the reader notices
	p.onResize(p.show)
	return p
}

// close gives the terminal back.
func (p *panel) close() {
	p.giveBack(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.closed = true
		_, _ = io.WriteString(p.w, panelOff)
	})
}

// show draws what differs from what stands there.
func (p *panel) show() {
	width, height, err := term.GetSize(int(p.out.Fd()))
	if err != nil || width < 1 || height < 1 {
		return
	}
	rows := p.draw(width, height)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	command, column := commandRow(&p.editor, width)
	rows[height-1] = command
	var b strings.Builder
	if width != p.width || height != len(p.shown) {
		p.shown, p.width = make([]string, height), width
		b.WriteString("\x1b[2J")
	}
	for y, r := range rows {
		if line := r.render(p.color); line != p.shown[y] {
			p.shown[y] = line
			fmt.Fprintf(&b, "\x1b[%d;1H%s", y+1, line) // as wide as the terminal
		}
	}
	fmt.Fprintf(&b, "\x1b[%d;%dH", height, column+1)
	_, _ = io.WriteString(p.w, b.String())
}

// read gives the person's wishes to do, until the terminal is gone.
func (p *panel) read(do func(ask)) error {
	buf := make([]byte, 4<<10)
	for {
		n, err := p.r.Read(buf)
		p.mu.Lock()
		asks := p.editor.feed(buf[:n])
		p.mu.Unlock()
		for _, a := range asks {
			if a.what == askClear {
				p.mu.Lock()
				p.shown = nil // all is drawn anew
				p.mu.Unlock()
			}
			do(a)
		}
		p.show()
		if err != nil {
			return err
		}
	}
}

// commandRow is the command line in a width, and the place of its cursor. Of a
// line that is too long the part around the cursor is shown.
func commandRow(e *editor, width int) (row, int) {
	before := e.text[:e.at]
	for len(before) > 0 && len(panelPrompt)+textWidth(string(before)) >= width {
		before = before[1:]
	}
	r := row{{bold, panelPrompt}, {plain, harmless(string(before) + string(e.text[e.at:]))}}
	return r.fill(width), min(len(panelPrompt)+textWidth(harmless(string(before))), width-1)
}
