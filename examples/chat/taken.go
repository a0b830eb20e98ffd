package main

import (
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// taken is a terminal from which each key is read as it is pressed, and on which
// codes are written. It must be given back before the process ends, or a shell
// that it was started from is of no use. Every way out does that, panics and
// second signals among them. A process that is killed by SIGKILL, or by a panic
// in a goroutine of a library, cannot: "stty sane" helps.
type taken struct {
	in, out interface{ Fd() uintptr }
	r       io.Reader
	w       io.Writer
	color   bool

	state *term.State // before
	undo  []func()
	once  sync.Once
}

// take takes a terminal over. It returns nil if in and out are none that can be
// drawn on.
func take(in io.Reader, out io.Writer) *taken {
	r, ok1 := in.(interface{ Fd() uintptr })
	w, ok2 := out.(interface{ Fd() uintptr })
	if !ok1 || !ok2 || !isTerminal(in) || !isTerminal(out) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	undo, err := enableCodes(w.Fd())
	if err != nil {
		return nil
	}
	state, err := term.MakeRaw(int(r.Fd()))
	if err != nil {
		undo()
		return nil
	}
	return &taken{in: r, out: w, r: in, w: out, color: os.Getenv("NO_COLOR") == "", state: state, undo: []func(){undo}}
}

// onResize calls f whenever the size changes, until the terminal is given back.
func (t *taken) onResize(f func()) { t.undo = append(t.undo, watchSize(f)) }

// giveBack gives the terminal back as it was, even one that takes no output any
// more. farewell writes what must be written first.
func (t *taken) giveBack(farewell func()) {
	t.once.Do(func() {
		within(flushTime, farewell)
		_ = term.Restore(int(t.in.Fd()), t.state) // a terminal that is gone needs none
		for _, f := range t.undo {
			f()
		}
	})
}

// restores are what must be done before the process ends, however it ends. Each
// may be done more than once.
var restores struct {
	sync.Mutex
	all []func()
}

// atEnd adds something that must be done before the process ends.
func atEnd(f func()) {
	restores.Lock()
	defer restores.Unlock()
	restores.all = append(restores.all, f)
}

func restore() {
	restores.Lock()
	all := restores.all
	restores.Unlock()
	for _, f := range all {
		f()
	}
}

// protect is deferred in every goroutine of this program: a panic must not leave
// a terminal as it is.
func protect() {
	if r := recover(); r != nil {
		restore()
		panic(r)
	}
}

// protected is f for a goroutine of its own.
func protected(f func()) func() {
	return func() {
		defer protect()
		f()
	}
}
