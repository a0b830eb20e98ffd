package main

import (
	"bufio"
	"errors"
	"io"
)

// errLineTooLong is returned for a line over the limit, which is skipped.
var errLineTooLong = errors.New("line too long")

// readLine reads a line of at most limit bytes, without its end. The last line
// need not have one. It returns io.EOF only without a line.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if !long {
			line = append(line, part...)
			// The end of the line, one or two bytes, does not count.
			long = len(line) > limit+2
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && (!errors.Is(err, io.EOF) || len(line) == 0):
			return nil, err
		}
		line = trimEnd(line)
		if long || len(line) > limit {
			return nil, errLineTooLong
		}
		return line, nil
	}
}

func trimEnd(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line
}
