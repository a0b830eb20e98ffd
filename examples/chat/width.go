package main

import (
	"unicode"

	"golang.org/x/text/width"
)

// runeWidth is how many columns of a terminal a character takes: two for wide
// ones and emoji, none for what is drawn over the character before it.
func runeWidth(r rune) int {
	switch {
	case r < 0x7f:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf), r >= 0x1160 && r <= 0x11ff: // the latter complete a Hangul syllable
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

func textWidth(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// rowsOf is how many rows a text takes that the terminal wraps by itself.
func rowsOf(s string, columns int) int {
	rows, col := 1, 0
	for _, r := range s {
		w := runeWidth(r)
		if col+w > columns {
			rows, col = rows+1, 0
		}
		col += w
	}
	return rows
}

// fit is the beginning of a text that fits into so many columns.
func fit(s string, columns int) string {
	col := 0
	for i, r := range s {
		if col += runeWidth(r); col > columns {
			return s[:i]
		}
	}
	return s
}
