package main

import (
	"io"
	"log/slog"
	"os"
)

// logger is the program's structured log, to which the node writes what
// happens. It never writes into the chat.
type logger struct {
	*slog.Logger
	file io.Closer
}

// openLog opens what -log, -v and -vv ask for: views and elections are at level
// Info, heartbeats at Debug.
func openLog(s settings, stderr io.Writer) (logger, error) {
	l := logger{Logger: slog.New(slog.DiscardHandler)}
	if s.log == "" && !s.verbose && !s.veryVerbose {
		return l, nil
	}
	w := stderr
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
