package main

import (
	"time"

	"golang.org/x/sys/windows"
)

// sizeInterval is how often the console is asked for its size.
const sizeInterval = 250 * time.Millisecond

// enableCodes makes a console understand escape codes.
func enableCodes(fd uintptr) (undo func(), err error) {
	var mode uint32
	if err := windows.GetConsoleMode(windows.Handle(fd), &mode); err != nil {
		return nil, err
	}
	if err := windows.SetConsoleMode(windows.Handle(fd), mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING); err != nil {
		return nil, err
	}
	return func() { _ = windows.SetConsoleMode(windows.Handle(fd), mode) }, nil
}

// watchSize calls changed again and again, until stop: consoles do not tell
// when their size changes.
func watchSize(changed func()) (stop func()) {
	tick := time.NewTicker(sizeInterval)
	done := make(chan struct{})
	go func() {
		defer protect()
		for {
			select {
			case <-tick.C:
				changed()
			case <-done:
				return
			}
		}
	}()
	return func() {
		tick.Stop()
		close(done)
	}
}
