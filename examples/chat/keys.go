package main

import (
	"bytes"
	"unicode/utf8"
)

// key is what was pressed: a character, or one of those below.
type key rune

// Keys that are no characters.
const (
	keyNone key = -1 - iota
	keyEnter
	keyTab
	keyUp
	keyDown
	keyLeft
	keyRight
	keyWordLeft
	keyWordRight
	keyHome
	keyEnd
	keyBackspace
	keyDelete
	keyDeleteWord
	keyDeleteNextWord
	keyDeleteToStart
	keyDeleteToEnd
	keyYank
	keyTranspose
	keyClear
	keyInterrupt
	keyEOF // or delete, in a line that is not empty
)

// controls are what Ctrl and a letter mean, as in most shells.
var controls = map[byte]key{
	'\r': keyEnter, '\n': keyEnter, '\t': keyTab, 0x7f: keyBackspace,
	'A' - '@': keyHome, 'B' - '@': keyLeft, 'C' - '@': keyInterrupt, 'D' - '@': keyEOF, 'E' - '@': keyEnd, 'F' - '@': keyRight,
	'H' - '@': keyBackspace, 'K' - '@': keyDeleteToEnd, 'L' - '@': keyClear, 'N' - '@': keyDown, 'P' - '@': keyUp,
	'T' - '@': keyTranspose, 'U' - '@': keyDeleteToStart, 'W' - '@': keyDeleteWord, 'Y' - '@': keyYank,
}

// Keys by the end of their sequence: ESC [ and a letter, or a number and ~.
var (
	finals  = map[byte]key{'A': keyUp, 'B': keyDown, 'C': keyRight, 'D': keyLeft, 'H': keyHome, 'F': keyEnd}
	numbers = map[string]key{"1": keyHome, "7": keyHome, "4": keyEnd, "8": keyEnd, "3": keyDelete}
	alts    = map[byte]key{'b': keyWordLeft, 'f': keyWordRight, 'd': keyDeleteNextWord, 0x7f: keyDeleteWord, 'H' - '@': keyDeleteWord}
)

const (
	esc         = 0x1b
	maxSequence = 64 // bytes of what begins with ESC
)

// keys makes keys of what a terminal sends, however it is cut into pieces.
// Between the marks of a bracketed paste, controls have no meaning but for the
// ends of lines, which are '\n'.
type keys struct {
	rest    []byte
	pasting bool
	cr      bool // a pasted line just ended by \r
}

// feed returns the keys that are complete.
func (k *keys) feed(b []byte) []key {
	k.rest = append(k.rest, b...)
	var out []key
	for len(k.rest) > 0 {
		key, n := k.next(k.rest)
		if n == 0 {
			break
		}
		k.rest = k.rest[n:]
		if key != keyNone {
			out = append(out, key)
		}
	}
	k.rest = bytes.Clone(k.rest)
	return out
}

// next returns the first key and its length, which is 0 if more must come.
func (k *keys) next(b []byte) (key, int) {
	c := b[0]
	if c == esc {
		return k.escape(b)
	}
	if c < ' ' || c == 0x7f {
		if !k.pasting {
			if key, ok := controls[c]; ok {
				return key, 1
			}
			return keyNone, 1
		}
		cr := k.cr
		k.cr = c == '\r'
		switch {
		case c == '\t':
			return ' ', 1
		case c == '\r', c == '\n' && !cr:
			return '\n', 1
		}
		return keyNone, 1
	}
	k.cr = false
	if !utf8.FullRune(b) {
		return keyNone, 0
	}
	r, n := utf8.DecodeRune(b)
	if r == utf8.RuneError && n == 1 || harmless(string(r)) != string(r) {
		return keyNone, n
	}
	return key(r), n
}

// escape reads a sequence that begins with ESC: ESC and a character is Alt,
// ESC O and ESC [ introduce keys.
func (k *keys) escape(b []byte) (key, int) {
	if len(b) < 2 {
		return keyNone, 0
	}
	switch b[1] {
	case esc: // the first meant nothing
		return keyNone, 1
	case 'O':
		if len(b) < 3 {
			return keyNone, 0
		}
		return k.outsidePaste(finals[b[2]]), 3
	case '[':
	default:
		return k.outsidePaste(alts[b[1]]), 2
	}
	end := 2
	for end < len(b) && (b[end] < 0x40 || end == 2 && b[end] == '[') { // ESC [ [ A is F1 on a Linux console
		if end++; end > maxSequence {
			return keyNone, end
		}
	}
	if end == len(b) {
		return keyNone, 0
	}
	params, final := string(b[2:end]), b[end]
	end++
	switch {
	case final == '~' && params == "200":
		k.pasting = true
		return keyNone, end
	case final == '~' && params == "201":
		k.pasting, k.cr = false, false
		return keyNone, end
	case final == '~':
		return k.outsidePaste(numbers[params]), end
	case bytes.HasPrefix(b[2:], []byte("[")):
		return keyNone, end
	}
	key := finals[final]
	if params != "" && params != "1" { // with Shift, Alt or Ctrl
		switch key {
		case keyLeft:
			key = keyWordLeft
		case keyRight:
			key = keyWordRight
		}
	}
	return k.outsidePaste(key), end
}

// outsidePaste is the key, if there is one and nothing is being pasted.
func (k *keys) outsidePaste(key key) key {
	if key == 0 || k.pasting {
		return keyNone
	}
	return key
}
