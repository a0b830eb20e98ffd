package main

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxNick is how many characters of a nick are shown.
const maxNick = 32

// harmless returns text that came from others as a terminal can show it
// without being told what to do: one line, without control characters (C0 with
// ESC, DEL, C1) and without invisible ones, bidirectional overrides included.
// Joiners stay, since scripts and emoji need them.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\u200c', r == '\u200d': // zero width non-joiner and joiner
			return r
		case r == '\n', r == '\t', unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			return ' '
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// harmlessNick is harmless for a nick, and one word, so that a nick cannot
// pass for more than a nick.
func harmlessNick(s string) string {
	s = strings.Join(strings.FieldsFunc(harmless(s), func(r rune) bool {
		return unicode.IsSpace(r) || r == '\u200c' || r == '\u200d'
	}), "_")
	if s == "" {
		return "?"
	}
	if utf8.RuneCountInString(s) > maxNick {
		s = string([]rune(s)[:maxNick-1]) + "…"
	}
	return s
}

// escapeControls rewrites the control characters and the invisible ones that
// encoding/json leaves as they are into \u escapes, so that not even JSON
// lines shown on a terminal can do harm. The text must be valid JSON.
func escapeControls(line []byte) []byte {
	clean := true
	for i := 0; i < len(line) && clean; i++ {
		clean = line[i] < utf8.RuneSelf && line[i] != 0x7f
	}
	if clean {
		return line
	}
	const hex = "0123456789abcdef"
	out := make([]byte, 0, len(line)+16)
	unit := func(u rune) {
		out = append(out, '\\', 'u', hex[u>>12&15], hex[u>>8&15], hex[u>>4&15], hex[u&15])
	}
	for i := 0; i < len(line); {
		r, n := utf8.DecodeRune(line[i:])
		switch {
		case !unicode.In(r, unicode.Cc, unicode.Cf):
			out = append(out, line[i:i+n]...)
		case r > 0xffff:
			unit(0xd800 + (r-0x10000)>>10)
			unit(0xdc00 + (r-0x10000)&0x3ff)
		default:
			unit(r)
		}
		i += n
	}
	return out
}
