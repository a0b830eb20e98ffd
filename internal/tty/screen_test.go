package tty

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestScreen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"text", "hello", "hello|||"},
		{"lines", "a\r\nb\nc", "a|b| c|"},
		{"a line too long goes on", "1234567890abc", "1234567890|abc||"},
		{"unless it must not", "\x1b[?7l1234567890abc", "123456789c|||"},
		{"the last column waits", "1234567890\r\nx", "1234567890|x||"},
		{"it scrolls", "1\r\n2\r\n3\r\n4\r\n5", "2|3|4|5"},
		{"cursor", "\x1b[2;3Hx\x1b[1;1Hy\x1b[Bz\x1b[Aw\x1b[2Dv", "yvw| zx||"},
		{"far away", "\x1b[99;99Hx\x1b[Hy", "y|||         x"},
		{"clear the line", "abcdef\x1b[3G\x1b[K", "ab|||"},
		{"clear to the left", "abcdef\x1b[3G\x1b[1K", "   def|||"},
		{"clear the screen", "a\r\nb\x1b[2Jc", "| c||"},
		{"clear below", "a\r\nb\r\nc\x1b[2;1H\x1b[J", "a|||"},
		{"another screen", "a\x1b[?1049hbc\x1b[?1049l", "a|||"},
		{"wide", "日x", "日x|||"},
		{"wide at the edge", "123456789日", "123456789|日||"},
		{"combining", "e\u0301x", "e\u0301x|||"},
		{"unknown sequences", "a\x1b[?25lb\x1b]0;title\ac\x1b(Bd\x1b[38;5;1me\x1b7f", "abcdef|||"},
		{"what it does not know it leaves", "ab\x1b[3J\x1b[?2K\x1b[3K\x1b[>2JC", "abC|||"},
		{"far beyond", "\x1b[99999999999999999999;1Hx", "|||x"},
		{"cut short", "ab\x1b[3", "ab|||"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			whole := NewScreen(10, 4)
			fmt.Fprint(whole, c.in)
			require.Equal(t, strings.ReplaceAll(c.want, "|", "\n"), strings.TrimSuffix(whole.Text(), "\n"))
			parts := NewScreen(10, 4)
			for i := range len(c.in) {
				parts.Write([]byte{c.in[i]})
			}
			require.Equal(t, whole.Cells(), parts.Cells(), "byte by byte")
		})
	}
}

func TestStyles(t *testing.T) {
	t.Parallel()
	s := NewScreen(10, 1)
	fmt.Fprint(s, "a\x1b[1;31mb\x1b[0;2;44mc\x1b[7;4md\x1b[22;24;27;39;49me\x1b[92;103mf\x1b[mg")
	var got []Style
	for _, c := range s.Cells()[0][:7] {
		got = append(got, c.Style)
	}
	require.Equal(t, []Style{
		unstyled,
		{Fore: 1, Back: -1, Bold: true},
		{Fore: -1, Back: 4, Dim: true},
		{Fore: -1, Back: 4, Dim: true, Inverse: true, Underlined: true},
		unstyled,
		{Fore: 10, Back: 11},
		unstyled,
	}, got)
}

func TestResize(t *testing.T) {
	t.Parallel()
	s := NewScreen(5, 2)
	fmt.Fprint(s, "abcde\r\nfg")
	fmt.Fprint(s, "\x1b[?1049h\x1b[Hother")
	s.Resize(3, 3)
	require.Equal(t, "oth\n\n\n", s.Text())
	fmt.Fprint(s, "\x1b[?1049l\x1b[2;3Hh")
	require.Equal(t, "abc\nfgh\n\n", s.Text())
	w, h := s.Size()
	require.Equal(t, []int{3, 3}, []int{w, h})
}

// TestReflow gives a screen that wraps rows anew other widths: what was written
// stays, and the cursor stays where it was in it.
func TestReflow(t *testing.T) {
	t.Parallel()
	s := NewScreen(6, 2)
	s.Reflows = true
	fmt.Fprint(s, "one\r\nabcd日fgh")
	s.Resize(4, 2)
	above, shown := s.All()
	require.Equal(t, []string{"one", "abcd"}, above)
	require.Equal(t, []string{"日fg", "h"}, shown)
	x, y := s.Cursor()
	require.Equal(t, []int{1, 1}, []int{x, y})
	s.Resize(20, 2)
	above, shown = s.All()
	require.Empty(t, above)
	require.Equal(t, []string{"one", "abcd日fgh"}, shown)
	fmt.Fprint(s, "i")
	require.Equal(t, "one\nabcd日fghi\n", s.Text())
}

func TestCombining(t *testing.T) {
	t.Parallel()
	s := NewScreen(4, 2)
	fmt.Fprint(s, "日\u0301b\u0301c\u0301d")
	require.Equal(t, "日\u0301b\u0301c\u0301\nd\n", s.Text())
}

func TestFault(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain\r\n\t\b\x1b[1;31mred\x1b[0m\x1b[2;3H\x1b[K\x1b[J\x1b[?2004h\x1b[?7l\x1b[?25h": "",
		"\a":                 `"\a"`,
		"\x1b]0;title\a":     `"\x1b]0;title\a"`,
		"\x1b[5q":            `"\x1b[5q"`,
		"\x1b[?1h":           `"\x1b[?1h"`,
		"\x1b[7h":            `"\x1b[7h"`,
		"\x1b[?1K":           `"\x1b[?1K"`,
		"\x1b[3J":            `"\x1b[3J"`,
		"\x1b[3K":            `"\x1b[3K"`,
		"\x1b[38;5;1m":       `"\x1b[38;5;1m"`,
		"\x1b[>4;1m":         `"\x1b[>4;1m"`,
		"\u009b1m":           `"\u009b"`,
		"\x1bc, and then \a": `"\x1bc"`,
	} {
		s := NewScreen(40, 4)
		fmt.Fprint(s, in)
		require.Equal(t, want, s.Fault(), "%q", in)
	}
}

// TestSVG checks that a picture is sound XML, with all that is shown and with
// nothing that a program could have put in.
func TestSVG(t *testing.T) {
	t.Parallel()
	s := NewScreen(30, 4)
	fmt.Fprint(s, "╭──╮ \x1b[1;33m<script>&\x1b[0m\r\n│  │ \x1b[7minverse\x1b[0m \x1b[41mred\x1b[0m \x1b[4munder\x1b[0m\r\n╰──╯ \x1b[2mdim\x1b[0m")
	svg := s.SVG("a <title>")
	var text strings.Builder
	elements := map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(string(svg))); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			elements[token.Name.Local]++
		case xml.CharData:
			text.Write(token)
		}
	}
	require.Equal(t, "a <title> <script>& inverse red under dim", strings.Join(strings.Fields(text.String()), " "))
	require.Equal(t, map[string]int{"svg": 1, "title": 1, "g": 1, "rect": 3, "text": 5, "path": 4}, elements)
}

func FuzzScreen(f *testing.F) {
	f.Add("a\x1b[1;1H日\x1b[2J\x1b[K\x1b[1K\r\n\t\b\x1b[?1049h\x1b[?1049l\x1b[31m", uint8(10), uint8(3))
	f.Add("\x1b[", uint8(0), uint8(0))
	f.Add("\x1b]0;日", uint8(1), uint8(1))
	f.Fuzz(func(t *testing.T, in string, width, height uint8) {
		w, h := int(width%100)+1, int(height%50)+1
		s := NewScreen(w, h)
		fmt.Fprint(s, in)
		x, y := s.Cursor()
		require.Less(t, x, w)
		require.Less(t, y, h)
		require.LessOrEqual(t, len(s.rest), longest)
		cells := s.Cells()
		require.Len(t, cells, h)
		for _, line := range cells {
			require.Len(t, line, w)
		}
		s.SVG("x")
	})
}
