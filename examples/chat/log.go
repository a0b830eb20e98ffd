package main

import (
	"io"
	"log/slog"
	"os"
	"sync"
)

// logger is the program's structured log, to which the node writes what
// happens. It never writes into the chat.
type logger struct {
	*slog.Logger
	file   io.Closer
	stderr *redirect // where it goes without a file
}

// redirect is a writer whose output can be led elsewhere.
type redirect struct {
	mu sync.Mutex
	w  io.Writer
}

func (r *redirect) Write(p []byte) (int, error) {
	r.mu.Lock()
	w := r.w
	r.mu.Unlock()
	return w.Write(p)
}

func (r *redirect) to(w io.Writer) {
	r.mu.Lock()
	r.w = w
	r.mu.Unlock()
}

// openLog opens what -log, -v and -vv ask for: views and elections are at level
// Info, heartbeats at Debug.
func openLog(s settings, stderr io.Writer) (logger, error) {
	l := logger{Logger: slog.New(slog.DiscardHandler), stderr: &redirect{w: stderr}}
	if s.log == "" && !s.verbose && !s.veryVerbose {
		return l, nil
	}
	var w io.Writer = l.stderr
	if s.log != "" {
		f, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return l, err
		}
		w, l.file = f, f
	}
	level := slog.LevelInfo
	if s.veryVerbose {
		level = slog.LevelDebug
	}
	l.Logger = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
	return l, nil
}

// Close closes the file, if there is one.
func (l logger) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
