package main

import (
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// Modes of a terminal that are on while a line is edited: marks around pasted
// text.
const (
	modesOn  = "\x1b[?2004h"
	modesOff = "\x1b[?2004l"
)

// terminal is a prompt at a real terminal. What is written to it appears above
// the line that is being typed.
type terminal struct {
	*taken

	mu      sync.Mutex // guards all below, and the output
	editor  editor
	screen  screen
	prompts []string
	closed  bool
}

// openTerminal sets a terminal up for editing, and returns nil if in and out
// are none that can be.
func openTerminal(in io.Reader, out io.Writer, complete func(string) completion) *terminal {
	k := take(in, out)
	if k == nil {
		return nil
	}
	t := &terminal{taken: k, prompts: []string{"> "}}
	atEnd(t.close)
	t.editor.complete = complete
	t.screen.colour = k.color
	// xterm and screen cut rows when a window gets narrower; others wrap them.
	t.screen.reflows = os.Getenv("XTERM_VERSION") == "" && os.Getenv("STY") == ""
	t.screen.columns, t.screen.lines = 80, 24
	t.screen.out.WriteString(modesOn)
	t.resize()
	t.onResize(t.resize)
	return t
}

// close gives the terminal back. What is written afterwards is printed as to a
// file.
func (t *terminal) close() {
	t.giveBack(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.screen.hide()
		t.screen.out.WriteString(modesOff)
		t.flush()
		t.closed = true
	})
}

// flush sends to the terminal what the screen says. t is locked.
func (t *terminal) flush() {
	if b := t.screen.take(); !t.closed {
		_, _ = t.w.Write(b) // that a terminal is gone, the reader notices
	}
}

// Write prints whole lines above the prompt.
func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return t.w.Write(p)
	}
	t.screen.print(string(p))
	t.flush()
	return len(p), nil
}

// printMarked prints a line with a mark, until unmark is called.
func (t *terminal) printMarked(id any, line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.screen.printMarked(id, line)
	t.flush()
}

// unmark removes the marks of the lines for which done is true.
func (t *terminal) unmark(done func(id any) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.screen.unmark(done)
	t.flush()
}

// width is how many columns it has.
func (t *terminal) width() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.screen.columns
}

func (t *terminal) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.screen.clear()
	t.flush()
}

// setPrompt changes the prompt; forms get shorter.
func (t *terminal) setPrompt(forms []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.prompts = forms
	if choosePrompt(forms, t.screen.columns) != t.screen.prompt {
		t.draw()
	}
}

func (t *terminal) draw() {
	t.screen.set(choosePrompt(t.prompts, t.screen.columns), t.editor.text, t.editor.at)
	t.flush()
}

func (t *terminal) resize() {
	columns, lines, err := term.GetSize(int(t.out.Fd()))
	if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.screen.resize(columns, lines)
	t.draw()
}

// read gives the person's wishes to do, until the terminal is gone.
func (t *terminal) read(do func(ask)) error {
	buf := make([]byte, 4<<10)
	for {
		n, err := t.r.Read(buf)
		for _, a := range t.typed(buf[:n]) {
			do(a)
		}
		if err != nil {
			return err
		}
	}
}

// typed takes what the person typed and shows it.
func (t *terminal) typed(b []byte) []ask {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	asks := t.editor.feed(b)
	t.draw()
	return asks
}
