package main

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-885536be/p2p/p2pchat"
)

func TestHarmless(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "hello, wörld 你好", "hello, wörld 你好"},
		{"colour", "\x1b[31mred\x1b[0m", "[31mred[0m"},
		{"clear the screen", "\x1b[2J\x1bc", "[2Jc"},
		{"title", "\x1b]0;owned\a", "]0;owned"},
		{"C1", "a\u009b31mb\u0090c", "a31mbc"},
		{"raw C1 bytes", "a\x9b31m", "a\ufffd31m"},
		{"carriage return", "bob#2: x\rada#1: y", "bob#2: xada#1: y"},
		{"lines", "one\ntwo\tthree\u2028four\u2029five", "one two three four five"},
		{"backspace and delete", "ab\b\x7fc", "abc"},
		{"bidi", "a\u202egnp.exe\u2066\u2069\u200e\u200f\u061c", "agnp.exe"},
		{"zero width", "a\u200bb\ufeffc", "abc"},
		{"tags", "a\U000e0041b", "ab"},
		{"family", "👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"},
		{"not UTF-8", "a\xffb", "a\ufffdb"},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, harmless(c.in)) })
	}
}

func TestHarmlessNick(t *testing.T) {
	for in, want := range map[string]string{
		"ada":                    "ada",
		"":                       "?",
		"\x1b\u202e":             "?",
		" \u200d ":               "?",
		"ada lovelace":           "ada_lovelace",
		"bob#2: I quit":          "bob#2:_I_quit",
		"two\nlines":             "two_lines",
		"nb\u00a0sp\u3000wide":   "nb_sp_wide",
		strings.Repeat("x", 100): strings.Repeat("x", 31) + "…",
	} {
		require.Equal(t, want, harmlessNick(in), "%q", in)
	}
}

func TestNothingHarmfulIsShown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := string(rapid.SliceOf(rapid.Byte()).Draw(t, "raw")) + rapid.String().Draw(t, "text")
		for _, s := range []string{harmless(raw), harmlessNick(raw), said(p2pchat.Message{Data: []byte(raw), From: p2pchat.Peer{Nick: raw}})} {
			require.True(t, utf8.ValidString(s))
			for _, r := range s {
				require.False(t, unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r), "%U of %q", r, raw)
			}
		}
		require.False(t, strings.ContainsFunc(harmlessNick(raw), unicode.IsSpace))
	})
}

func TestReadLine(t *testing.T) {
	read := func(in string, limit int) (lines []string) {
		r := bufio.NewReaderSize(strings.NewReader(in), 16)
		for {
			line, err := readLine(r, limit)
			switch err {
			case nil:
				lines = append(lines, string(line))
			case errLineTooLong:
				lines = append(lines, "TOO LONG")
			default:
				require.Equal(t, io.EOF, err)
				return lines
			}
		}
	}
	full := strings.Repeat("x", 40)
	require.Nil(t, read("", 40))
	require.Equal(t, []string{"a", "", "b"}, read("a\n\nb", 40))
	require.Equal(t, []string{"a", "b"}, read("a\r\nb\r\n", 40))
	require.Equal(t, []string{full, full, full}, read(full+"\n"+full+"\r\n"+full, 40))
	require.Equal(t, []string{"TOO LONG", "a", "TOO LONG", "b"}, read(full+"x\na\n"+strings.Repeat(full, 100)+"\nb\n", 40))
	require.Equal(t, []string{"TOO LONG"}, read(full+"x", 40))
}

func TestFindPeer(t *testing.T) {
	peers := []p2pchat.Peer{
		{ID: 1, Nick: "ada", Key: p2pchat.PeerID{0xaa, 0xbb, 0xcc}},
		{ID: 2, Nick: "eve", Key: p2pchat.PeerID{0xaa, 0xbb, 0xcd}},
		{ID: 3, Nick: "eve", Key: p2pchat.PeerID{0x01}},
		{ID: 7, Nick: "1", Key: p2pchat.PeerID{0x02}},
		{ID: 8, Nick: "a#b", Key: p2pchat.PeerID{0x03}},
		{ID: 9, Nick: "x y", Key: p2pchat.PeerID{0x04}},
	}
	v := p2pchat.View{Members: peers}
	for name, want := range map[string]uint32{
		"1": 1, "#1": 1, "ada": 1, "ada#1": 1, "eve#3": 3, "#2": 2, "1#7": 7, "a#b": 8, "a#b#8": 8, "x_y": 9, "x y": 9,
		peers[0].Key.String(): 1, "aabbcd": 2,
	} {
		p, err := findPeer(v, name)
		require.NoError(t, err, name)
		require.Equal(t, want, p.ID, name)
	}
	for name, want := range map[string]string{
		"eve": `"eve" is ambiguous: eve#2, eve#3`, "aabb": `"aabb" is ambiguous: ada#1, eve#2`,
		"zoe": `nobody here is called "zoe"`, "": `nobody`, "#": `nobody`, "ada#2": `nobody`, "aab": `nobody`, "z\x1b": `called "z"`,
	} {
		_, err := findPeer(v, name)
		require.ErrorContains(t, err, want, name)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"who", "whois", "view", "history", "help", "quit", "me"}
	require.Equal(t, []string{"history"}, nearest("histroy", names))
	require.Equal(t, []string{"who", "whois"}, nearest("wh", names))
	require.Equal(t, []string{"history"}, nearest("hist", names))
	require.Equal(t, []string{"quit"}, nearest("qiut", names))
	require.Empty(t, nearest("frobnicate", names))
	require.Empty(t, nearest(strings.Repeat("x", 10000), names))
	require.Equal(t, 1, distance("ab", "ba"))
	require.Equal(t, 3, distance("kitten", "sitting"))
}
