package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-885536be/p2p/internal/tty"
)

// typedIn is an editor after some input: its text with | at the cursor.
func typedIn(e *editor) string { return string(e.text[:e.at]) + "|" + string(e.text[e.at:]) }

func TestKeys(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"text", "hello", "hello|"},
		{"wide and combined", "日本e\u0301👩\u200d🚀", "日本e\u0301👩\u200d🚀|"},
		{"left", "ab\x1b[D", "a|b"},
		{"left over a combining mark", "ae\u0301\x1b[D", "a|e\u0301"},
		{"left over what a joiner joins", "a👩\u200d🚀\x1b[D", "a|👩\u200d🚀"},
		{"right over a combining mark", "e\u0301b\x01\x1b[C", "e\u0301|b"},
		{"left in application mode", "ab\x1bOD", "a|b"},
		{"too far left", "a\x1b[D\x1b[D\x1b[D", "|a"},
		{"too far right", "a\x1b[C", "a|"},
		{"Ctrl-A", "ab\x01c", "c|ab"},
		{"Ctrl-E", "ab\x01\x05c", "abc|"},
		{"Ctrl-B and Ctrl-F", "abc\x02\x02\x06", "ab|c"},
		{"Home and End", "ab\x1b[Hx\x1b[Fy", "xaby|"},
		{"Home and End of other terminals", "ab\x1b[1~x\x1b[4~y\x1b[7~z\x1b[8~", "zxaby|"},
		{"Home and End in application mode", "ab\x1bOHx\x1bOFy", "xaby|"},
		{"Backspace", "abc\x7f\b", "a|"},
		{"Backspace over a combining mark", "ae\u0301\x7f", "a|"},
		{"Backspace at the beginning", "\x7fa\x01\x7f", "|a"},
		{"Delete", "abc\x01\x1b[3~", "|bc"},
		{"Delete at the end", "a\x1b[3~", "a|"},
		{"Ctrl-D in a line", "abc\x01\x04", "|bc"},
		{"Ctrl-U", "ab cd\x1b[D\x15", "|d"},
		{"Ctrl-K", "ab cd\x1b[D\x1b[D\x0b", "ab |"},
		{"Ctrl-W", "ab  cd-ef  \x17", "ab  |"},
		{"Ctrl-W and Ctrl-Y", "ab cd\x17\x01\x19", "cd|ab "},
		{"Alt-Backspace", "ab cd\x1b\x7f", "ab |"},
		{"Alt-d", "ab cd\x01\x1bd", "| cd"},
		{"Alt-Left", "ab cd-ef\x1b[1;3D\x1b[1;3D", "ab |cd-ef"},
		{"Alt-Right", "ab cd\x01\x1b[1;3C\x1b[1;3C", "ab cd|"},
		{"Ctrl-Left", "ab cd\x1b[1;5D", "ab |cd"},
		{"Alt-b and Alt-f", "ab cd\x1bb\x1bb\x1bf", "ab| cd"},
		{"Ctrl-T", "ab\x14", "ba|"},
		{"pasted lines", "\x1b[200~one\r\ntwo\rthree\nfour\x1b[201~", "one\ntwo\nthree\nfour|"},
		{"controls in a paste", "\x1b[200~a\x03\x04\x01\tb\x1b[A\x7f\x1b[201~c", "a bc|"},
		{"unknown sequences", "a\x1b[15~\x1b[Z\x1b[<0;1;1M\x1bOP\x1b[[Ab\x1bxc", "abc|"},
		{"unknown controls", "a\x1a\x1c\x00b", "ab|"},
		{"characters that cannot be seen", "a\u202e\u2066\u009b\u00adb", "ab|"},
		{"not UTF-8", "a\xff\xc0b", "ab|"},
		{"Escape twice", "a\x1b\x1b[Db", "b|a"},
		{"a sequence without an end", "a\x1b[" + strings.Repeat("1", 100) + "b", "a" + strings.Repeat("1", 37) + "b|"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e editor
			require.Empty(t, e.feed([]byte(c.in)))
			require.Equal(t, c.want, typedIn(&e))
		})
	}
}

func TestKeysThatAsk(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []ask
	}{
		{"Enter", "hi\r", []ask{{askLine, "hi"}}},
		{"Ctrl-J", "hi\n", []ask{{askLine, "hi"}}},
		{"two lines at once", "one\rtwo\r", []ask{{askLine, "one"}, {askLine, "two"}}},
		{"a paste and Enter", "\x1b[200~one\rtwo\x1b[201~\r", []ask{{askLine, "one\ntwo"}}},
		{"Ctrl-C", "half\x03", []ask{{what: askEnd}}},
		{"Ctrl-D", "\x04", []ask{{what: askEOF}}},
		{"Ctrl-L", "\x0c", []ask{{what: askClear}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e editor
			require.Equal(t, c.want, e.feed([]byte(c.in)))
		})
	}
}

func TestPast(t *testing.T) {
	const up, down = "\x1b[A", "\x1b[B"
	var e editor
	e.feed([]byte("one\r\rtwo\rtwo\r"))
	for _, c := range []struct{ in, want string }{
		{"dra" + up, "two|"}, {up, "one|"}, {up, "one|"}, {"!" + down, "two|"}, {down, "dra|"}, {down, "dra|"},
		{"\x15\x10", "two|"}, {"\x10", "one|"}, {"\x0e\x0e", "|"},
	} {
		e.feed([]byte(c.in))
		require.Equal(t, c.want, typedIn(&e))
	}
	for i := range 2 * maxPast {
		e.feed(fmt.Appendf(nil, "%d\r", i))
	}
	require.Len(t, e.past, maxPast)
	e.feed([]byte(strings.Repeat("x", maxEdited) + "y"))
	require.Len(t, e.text, maxEdited)
}

func TestTab(t *testing.T) {
	words := []string{"/help", "/history", "/who", "/whois", "ada", "Bob", "日本一", "日本二"}
	for _, c := range []struct{ in, want, shows string }{
		{"/he\t", "/help |", ""},
		{"/w\t", "/who|", ""},
		{"/who\t", "/who|", "/who  /whois"},
		{"/whoi\t", "/whois |", ""},
		{"/h\t", "/h|", "/help  /history"},
		{"hi b\t", "hi Bob |", ""},
		{"日\t", "日本|", ""},
		{"zzz\t", "zzz|", ""},
		{"ad now\x1bb\x1b[D\t", "ada | now", ""},
	} {
		t.Run(c.in, func(t *testing.T) {
			e := editor{complete: func(before string) completion {
				return among(before[strings.LastIndexByte(before, ' ')+1:], words, " ")
			}}
			asks := e.feed([]byte(c.in))
			require.Equal(t, c.want, typedIn(&e))
			if c.shows == "" {
				require.Empty(t, asks)
			} else {
				require.Equal(t, []ask{{askShow, c.shows}}, asks)
			}
		})
	}
}

// TestKeysInPieces feeds the same input whole and cut anywhere.
func TestKeysInPieces(t *testing.T) {
	pieces := []string{
		"a", "日", "e\u0301", " ", "\x1b[D", "\x1b[1;3C", "\x1bOH", "\x1b[200~", "\x1b[201~", "\r", "\n", "\x17", "\x15", "\x19", "\x7f", "\x1b[3~",
		"\x1b[A", "\x1b[B", "\x1bb", "\xff", "\x1b", "\x1b[[A", "\t", "\x04", "👩\u200d🚀",
	}
	rapid.Check(t, func(t *rapid.T) {
		all := strings.Join(rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom(pieces), rapid.StringN(0, 3, -1)), 0, 40).Draw(t, "input"), "")
		var whole, cut editor
		want := whole.feed([]byte(all))
		var got []ask
		for rest := []byte(all); len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			got = append(got, cut.feed(rest[:n])...)
			rest = rest[n:]
		}
		require.Equal(t, want, got)
		require.Equal(t, typedIn(&whole), typedIn(&cut))
		require.False(t, whole.joined(whole.at) && whole.at < len(whole.text) && runeWidth(whole.text[whole.at]) == 0, "the cursor is on a combining mark: %q", typedIn(&whole))
	})
}

// The cursor never stands between a character and its marks, wherever a mark
// stands: found by TestKeysInPieces, seed 9652017534373676121.
func TestCursorAndMarks(t *testing.T) {
	for in, want := range map[string]string{
		" \u0300\x1bb":         "| \u0300",
		"a\u0301 b\x1bb\x1bb":  "|a\u0301 b",
		"\u0300\x1b[Da":        "a\u0300|",
		"a \u0301\x1b[H\x1bf":  "a| \u0301",
		" \u0301b\x1b[H\x1b[C": " \u0301|b",
	} {
		var e editor
		e.feed([]byte(in))
		require.Equal(t, want, typedIn(&e), "%q", in)
	}
}

func FuzzEditor(f *testing.F) {
	f.Add([]byte("a\x1b[200~\x1b[201~\x1b[1;3D日\r\x1b[A"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e := editor{complete: func(before string) completion { return among("", []string{"ada", "adam"}, " ") }}
		o := newOnScreen(20, 5, true)
		e.feed(b)
		o.set("> ", e.text, e.at)
		o.draw(t)
		require.LessOrEqual(t, len(e.keys.rest), maxSequence+2)
	})
}

// onScreen is what a screen draws, on a terminal.
type onScreen struct {
	*screen
	v *tty.Screen
}

func newOnScreen(columns, lines int, reflows bool) *onScreen {
	v := tty.NewScreen(columns, lines)
	v.Reflows = reflows
	return &onScreen{&screen{columns: columns, lines: lines, reflows: reflows}, v}
}

// draw writes what is to be written to the terminal, which must understand all
// of it.
func (o *onScreen) draw(t require.TestingT) {
	b := o.take()
	control := func(r rune) bool { return r < ' ' && !strings.ContainsRune("\r\n\x1b", r) || r == 0x7f }
	require.False(t, bytes.ContainsFunc(b, control), "%q", b)
	_, _ = o.v.Write(b)
	require.Empty(t, o.v.Fault())
}

// seen is what can be seen, without the blank rows at its end.
func (o *onScreen) seen() []string {
	_, rows := o.v.All()
	for len(rows) > 0 && rows[len(rows)-1] == "" {
		rows = rows[:len(rows)-1]
	}
	return rows
}

// cursor is what stands before the cursor, in its row.
func (o *onScreen) cursor() (before string) {
	x, y := o.v.Cursor()
	for _, c := range o.v.Cells()[y][:x] {
		before += c.Text
	}
	return before
}

func TestScreen(t *testing.T) {
	o := newOnScreen(20, 6, true)
	o.set("[#1] > ", []rune("half a line"), 4)
	o.draw(t)
	require.Equal(t, []string{"[#1] > half a line"}, o.seen())
	require.Equal(t, "[#1] > half", o.cursor())

	o.print("first\nsecond, which is wider than the window\n")
	o.draw(t)
	require.Equal(t, []string{"first", "second, which is wid", "er than the window", "[#1] > half a line"}, o.seen())
	require.Equal(t, "[#1] > half", o.cursor())

	o.set("[#1] > ", []rune("half a line that goes on\nand on!"), 32)
	o.draw(t)
	require.Equal(t, []string{"er than the window", "[#1] > half a line", "that goes on↵and on", "!"}, o.seen()[2:])
	require.Equal(t, "!", o.cursor())

	o.set("[#22] > ", []rune("日本語日本語日本語"), 9)
	o.draw(t)
	require.Equal(t, []string{"[#22] > 日本語日本", "語日本語"}, o.seen()[3:])
	require.Equal(t, "語日本語", o.cursor())

	o.clear()
	o.draw(t)
	require.Equal(t, []string{"[#22] > 日本語日本", "語日本語"}, o.seen())
	o.hide()
	o.draw(t)
	require.Empty(t, o.seen())
}

func TestMarks(t *testing.T) {
	o := newOnScreen(30, 6, true)
	o.set("> ", nil, 0)
	for i := range 4 {
		o.printMarked(i, fmt.Sprintf("12:03:4%d  ada#1: message %d", i, i))
	}
	o.print("12:04:00  bob#2: a message that is longer than a row\n")
	o.draw(t)
	require.Equal(t, []string{
		"12:03:41 ~ada#1: message 1", "12:03:42 ~ada#1: message 2", "12:03:43 ~ada#1: message 3",
		"12:04:00  bob#2: a message tha", "t is longer than a row", ">",
	}, o.seen())
	o.set("> ", []rune("half"), 2)
	o.unmark(func(id any) bool { return id != 3 })
	o.draw(t)
	require.Equal(t, []string{
		"12:03:41  ada#1: message 1", "12:03:42  ada#1: message 2", "12:03:43 ~ada#1: message 3",
		"12:04:00  bob#2: a message tha", "t is longer than a row", "> half",
	}, o.seen())
	require.Equal(t, "> ha", o.cursor())
	above, _ := o.v.All()
	require.Equal(t, "12:03:40 ~ada#1: message 0", above[0], "out of reach")
	o.unmark(func(any) bool { return true })
	o.draw(t)
	require.Equal(t, "12:03:43  ada#1: message 3", o.seen()[2])
	require.Empty(t, o.marks)
}

func TestColours(t *testing.T) {
	for line, want := range map[string]string{
		"12:03:41  !!  coordinator #1 dead": "12:03:41  \x1b[31m!!  coordinator #1 dead\x1b[0m",
		"12:03:41  --> bob#2 joined":        "12:03:41  \x1b[32m--> bob#2 joined\x1b[0m",
		"12:03:41  ada#1: !! no":            "12:03:41  ada#1: !! no",
		"> /who":                            "> /who",
		"":                                  "",
	} {
		s := screen{colour: true}
		require.Equal(t, want, s.paint(line))
		s.colour = false
		require.Equal(t, line, s.paint(line))
	}
}

// TestScreenIsWhatIsMeant draws at random, on terminals of any size, and
// compares all that was ever shown with what a model says.
func TestScreenIsWhatIsMeant(t *testing.T) {
	text := rapid.StringOfN(rapid.SampledFrom([]rune("ab cd日本e\u0301👩\u200d🚀\n")), 0, 60, -1)
	line := rapid.StringOfN(rapid.SampledFrom([]rune("ab cd日本e\u0301")), 0, 60, -1)
	rapid.Check(t, func(t *rapid.T) {
		o := newOnScreen(rapid.IntRange(3, 30).Draw(t, "columns"), rapid.IntRange(1, 8).Draw(t, "lines"), true)
		var printed []string
		t.Repeat(map[string]func(*rapid.T){
			"type": func(t *rapid.T) {
				runes := []rune(text.Draw(t, "text"))
				o.set(rapid.SampledFrom([]string{"> ", "[1] "}).Draw(t, "prompt"), runes, rapid.IntRange(0, len(runes)).Draw(t, "at"))
			},
			"print": func(t *rapid.T) {
				s := strings.TrimRight("-"+line.Draw(t, "line"), " ")
				printed = append(printed, s)
				o.print(s + "\n")
			},
			"": func(t *rapid.T) {
				o.draw(t)
				model := tty.NewScreen(o.columns, 1)
				for _, s := range printed {
					fmt.Fprintf(model, "%s\r\n", s)
				}
				want, _ := model.All()
				below := []string{}
				all, rows := o.v.All()
				x, y := o.v.Cursor()
				top := len(all) + y
				all = append(all, rows...)
				if o.shown {
					rows, row, col := o.layout()
					for _, r := range rows {
						below = append(below, strings.TrimRight(r, " "))
					}
					require.Equal(t, col, x)
					top -= row
				}
				written := func(rows []string) []string {
					return slices.DeleteFunc(append([]string{}, rows...), func(s string) bool { return s == "" })
				}
				require.Equal(t, written(want), written(all[:top]))
				require.Equal(t, written(below), written(all[top:]))
			},
		})
	})
}

// TestResize checks that nothing of the prompt stays behind when the window
// gets narrower or wider, and nothing above it is lost.
func TestResize(t *testing.T) {
	for _, reflows := range []bool{true, false} {
		t.Run(fmt.Sprint("reflows ", reflows), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				o := newOnScreen(40, 12, reflows)
				o.print("above\n")
				text := []rune(rapid.StringMatching(`X{0,60}`).Draw(t, "text"))
				at := rapid.IntRange(0, len(text)).Draw(t, "at")
				o.set("P> ", text, at)
				o.draw(t)
				for range rapid.IntRange(1, 5).Draw(t, "times") {
					columns := rapid.IntRange(10, 60).Draw(t, "columns")
					o.v.Resize(columns, 12)
					o.screen.resize(columns, 12)
					o.draw(t)
					above, rows := o.v.All()
					all := strings.Join(append(above, rows...), "\n")
					require.Equal(t, 1, strings.Count(all, "P>"), all)
					require.Equal(t, len(text), strings.Count(all, "X"), all)
					require.True(t, strings.HasPrefix(all, "above\n"), all)
					x, _ := o.v.Cursor()
					require.Equal(t, at%(columns-1), (x+columns-1-3)%(columns-1), "%q", o.cursor())
				}
			})
		})
	}
}

func TestWidth(t *testing.T) {
	for s, want := range map[string]int{"": 0, "abc": 3, "日本": 4, "e\u0301": 1, "👍": 2, "ｆｕｌｌ": 8, "한글": 4, "\u1112\u1161\u11ab": 2, "…": 1} {
		require.Equal(t, want, textWidth(s), "%q", s)
	}
	require.Equal(t, 3, rowsOf("日本語日本語", 5))
	require.Equal(t, 1, rowsOf("", 5))
	require.Equal(t, 2, rowsOf("abcdef", 5))
	require.Equal(t, "日", fit("日本", 3))
	require.Equal(t, "日本", fit("日本", 9))
}
