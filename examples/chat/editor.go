package main

import (
	"slices"
	"strings"
	"unicode"
)

const (
	maxEdited = 64 << 10 // characters of a line that is being typed
	maxPast   = 500      // lines that are kept to be called up again
)

// editor is the line that a person types, and the lines typed before. It is
// given what the terminal sends, and does no more than change: screen draws it.
type editor struct {
	// complete says what the last word of a text may become.
	complete func(before string) completion

	keys   keys
	text   []rune
	at     int // the cursor, in text
	past   []string
	back   int    // the line of past that is called up; len(past) is the one being typed
	draft  []rune // which is kept here meanwhile
	killed []rune
}

// completion is what Tab may put in the place of a text's end.
type completion struct {
	word    string   // the end of the text
	options []string // that begin with it
	tail    string   // what follows an option that is the only one
}

// ask is what the person wants beyond changing the line.
type ask struct {
	what askKind
	text string
}

type askKind int

const (
	askLine  askKind = iota // text was typed, and Enter
	askShow                 // text shall be shown above
	askClear                // clear the screen
	askEnd                  // Ctrl-C
	askEOF                  // Ctrl-D
)

// feed takes what the terminal sent.
func (e *editor) feed(b []byte) []ask {
	var asks []ask
	for _, k := range e.keys.feed(b) {
		if a, ok := e.press(k); ok {
			asks = append(asks, a)
		}
	}
	return asks
}

func (e *editor) press(k key) (ask, bool) {
	switch k {
	case keyEnter:
		return ask{askLine, e.enter()}, true
	case keyTab:
		if options := e.tab(); options != "" {
			return ask{askShow, options}, true
		}
	case keyClear:
		return ask{what: askClear}, true
	case keyInterrupt:
		return ask{what: askEnd}, true
	case keyEOF:
		if len(e.text) == 0 {
			return ask{what: askEOF}, true
		}
		e.remove(e.at, e.right(e.at))
	case keyUp:
		e.recall(e.back - 1)
	case keyDown:
		e.recall(e.back + 1)
	case keyLeft:
		e.at = e.left(e.at)
	case keyRight:
		e.at = e.right(e.at)
	case keyWordLeft:
		e.at = e.wordLeft(notLetter)
	case keyWordRight:
		e.at = e.wordRight()
	case keyHome:
		e.at = 0
	case keyEnd:
		e.at = len(e.text)
	case keyBackspace:
		e.remove(e.left(e.at), e.at)
	case keyDelete:
		e.remove(e.at, e.right(e.at))
	case keyDeleteWord:
		e.kill(e.wordLeft(unicode.IsSpace), e.at)
	case keyDeleteNextWord:
		e.kill(e.at, e.wordRight())
	case keyDeleteToStart:
		e.kill(0, e.at)
	case keyDeleteToEnd:
		e.kill(e.at, len(e.text))
	case keyYank:
		e.insert(e.killed...)
	case keyTranspose:
		if i := min(e.at, len(e.text)-1); i > 0 {
			e.text[i-1], e.text[i] = e.text[i], e.text[i-1]
			e.at = e.right(i)
		}
	default:
		if k >= 0 {
			e.insert(rune(k))
		}
	}
	return ask{}, false
}

func (e *editor) insert(rs ...rune) {
	if len(e.text)+len(rs) > maxEdited {
		return
	}
	e.text = slices.Insert(e.text, e.at, rs...)
	// A mark that stood alone at the beginning belongs to what is now before it.
	for e.at += len(rs); e.joined(e.at) && runeWidth(e.text[e.at]) == 0; e.at++ {
	}
}

func (e *editor) remove(from, to int) {
	e.text = slices.Delete(e.text, from, to)
	e.at = from
}

func (e *editor) kill(from, to int) {
	if from < to {
		e.killed = slices.Clone(e.text[from:to])
		e.remove(from, to)
	}
}

// joined reports whether the character at i belongs to the one before: a
// combining mark, or what a joiner joins.
func (e *editor) joined(i int) bool {
	return i > 0 && i < len(e.text) && (runeWidth(e.text[i]) == 0 || e.text[i-1] == '\u200d')
}

func (e *editor) left(i int) int {
	for i = max(i-1, 0); e.joined(i); i-- {
	}
	return i
}

func (e *editor) right(i int) int {
	for i = min(i+1, len(e.text)); e.joined(i); i++ {
	}
	return i
}

func notLetter(r rune) bool { return !unicode.In(r, unicode.L, unicode.N, unicode.M) }

func (e *editor) wordLeft(between func(rune) bool) int {
	i := e.at
	for ; i > 0 && between(e.text[i-1]); i-- {
	}
	for ; i > 0 && !between(e.text[i-1]); i-- {
	}
	for ; e.joined(i); i-- {
	}
	return i
}

func (e *editor) wordRight() int {
	i := e.at
	for ; i < len(e.text) && notLetter(e.text[i]); i++ {
	}
	for ; i < len(e.text) && !notLetter(e.text[i]); i++ {
	}
	for ; e.joined(i); i++ {
	}
	return i
}

// enter ends the line and returns it.
func (e *editor) enter() string {
	line := string(e.text)
	if strings.TrimSpace(line) != "" && (len(e.past) == 0 || e.past[len(e.past)-1] != line) {
		if len(e.past) == maxPast {
			e.past = e.past[1:]
		}
		e.past = append(e.past, line)
	}
	e.text, e.at, e.back, e.draft = nil, 0, len(e.past), nil
	return line
}

// recall calls up a line of the past, or the one that was being typed.
func (e *editor) recall(i int) {
	if i < 0 || i > len(e.past) || i == e.back {
		return
	}
	if e.back == len(e.past) {
		e.draft = e.text
	}
	if e.back = i; i == len(e.past) {
		e.text = e.draft
	} else {
		e.text = []rune(e.past[i])
	}
	e.at = len(e.text)
}

// tab completes the word before the cursor as far as that is clear. If it is
// not, it returns what there is to choose from.
func (e *editor) tab() string {
	if e.complete == nil {
		return ""
	}
	c := e.complete(string(e.text[:e.at]))
	if len(c.options) == 0 {
		return ""
	}
	common := c.options[0]
	for _, o := range c.options[1:] {
		common = commonPrefix(common, o)
	}
	if len(c.options) == 1 {
		common += c.tail
	} else if common == c.word {
		return strings.Join(c.options, "  ")
	}
	word := len([]rune(c.word))
	e.remove(e.at-word, e.at)
	e.insert([]rune(common)...)
	return ""
}

func commonPrefix(a, b string) string {
	r, s := []rune(a), []rune(b)
	n := 0
	for n < len(r) && n < len(s) && r[n] == s[n] {
		n++
	}
	return string(r[:n])
}
