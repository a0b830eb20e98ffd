//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// enableCodes makes a terminal understand escape codes, as all do here.
func enableCodes(uintptr) (undo func(), err error) { return func() {}, nil }

// watchSize calls changed whenever the terminal's size changes, until stop.
func watchSize(changed func()) (stop func()) {
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	done := make(chan struct{})
	go func() {
		defer protect()
		for {
			select {
			case <-resized:
				changed()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(resized)
		close(done)
	}
}
