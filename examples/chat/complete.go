package main

import (
	"slices"
	"strings"

	"github.com/seed-885536be/p2p/p2pchat"
)

// completer says what the last word of a typed line may become: a command, a
// peer, a room, or a nick at the beginning of a text.
func (l *line) completer(before string) completion {
	word := before[strings.LastIndexByte(before, ' ')+1:]
	name, _, hasArg := strings.Cut(before, " ")
	switch {
	case !hasArg && strings.HasPrefix(word, "/") && !strings.HasPrefix(word, "//"):
		var names []string
		for _, s := range slashes {
			names = append(names, "/"+s.name)
		}
		return among(word, names, " ")
	case strings.HasPrefix(name, "/") && !strings.HasPrefix(name, "//"):
		i := slices.IndexFunc(slashes, func(s slash) bool { return "/"+s.name == strings.ToLower(name) })
		if i < 0 || strings.Count(before, " ") > 1 && !strings.HasSuffix(slashes[i].args, "text") {
			return completion{}
		}
		first := strings.Count(before, " ") == 1
		switch kind, _, _ := strings.Cut(slashes[i].args, " "); {
		case kind == "peer" && first:
			return among(word, nicks(l.node.View()), " ")
		case kind == "room" && first:
			return among(word, l.roomNames(), " ")
		case strings.HasSuffix(slashes[i].args, "text"):
			return among(word, nicks(l.node.View()), " ")
		}
		return completion{}
	}
	tail := " "
	if !hasArg {
		tail = ": "
	}
	return among(word, nicks(l.node.View()), tail)
}

// among are those of the words that begin with word, in capitals or not.
func among(word string, words []string, tail string) completion {
	c := completion{word: word, tail: tail}
	for _, w := range words {
		if len(w) >= len(word) && strings.EqualFold(fit(w, textWidth(word)), word) {
			c.options = append(c.options, w)
		}
	}
	slices.Sort(c.options)
	c.options = slices.Compact(c.options)
	return c
}

// nicks are the members' nicks as commands take them, with the ID where two
// have the same.
func nicks(v p2pchat.View) []string {
	n := map[string]int{}
	for _, p := range v.Members {
		n[harmlessNick(p.Nick)]++
	}
	var out []string
	for _, p := range v.Members {
		nick := harmlessNick(p.Nick)
		if n[nick] > 1 || strings.ContainsRune(nick, '#') {
			nick = show(p)
		}
		out = append(out, nick)
	}
	return out
}

// roomNames are the rooms of the history and those that are followed.
func (l *line) roomNames() []string {
	l.mu.Lock()
	var rooms []string
	for r := range l.rooms {
		rooms = append(rooms, harmless(r))
	}
	l.mu.Unlock()
	for _, r := range l.node.Rooms() {
		if harmless(r) == r && !strings.ContainsRune(r, ' ') {
			rooms = append(rooms, r)
		}
	}
	return rooms
}
