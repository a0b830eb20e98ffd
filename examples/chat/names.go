package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-885536be/p2p/p2pchat"
)

// show is how a peer is written for a person.
func show(p p2pchat.Peer) string {
	if p.ID == 0 {
		return harmlessNick(p.Nick) + "#?"
	}
	return harmlessNick(p.Nick) + "#" + strconv.FormatUint(uint64(p.ID), 10)
}

// findPeer finds the member that a person means: by "3" or "#3", "ada#3",
// "ada", or the key in hex or at least four digits of its beginning.
func findPeer(v p2pchat.View, name string) (p2pchat.Peer, error) {
	nick, id := "", name
	if i := strings.LastIndexByte(name, '#'); i >= 0 {
		nick, id = name[:i], name[i+1:]
	}
	called := func(p p2pchat.Peer, nick string) bool { return p.Nick == nick || harmlessNick(p.Nick) == nick }
	// What is unique comes first, so that no nick can stand in its way.
	rules := []func(p p2pchat.Peer) bool{
		func(p p2pchat.Peer) bool {
			return strconv.FormatUint(uint64(p.ID), 10) == id && (nick == "" || called(p, nick))
		},
		func(p p2pchat.Peer) bool { return called(p, name) },
		func(p p2pchat.Peer) bool { return len(name) >= 4 && strings.HasPrefix(p.Key.String(), name) },
	}
	for _, rule := range rules {
		var found []p2pchat.Peer
		for _, p := range v.Members {
			if rule(p) {
				found = append(found, p)
			}
		}
		switch len(found) {
		case 0:
			continue
		case 1:
			return found[0], nil
		}
		names := make([]string, len(found))
		for i, p := range found {
			names[i] = show(p)
		}
		return p2pchat.Peer{}, &opError{codeAmbiguousName, fmt.Sprintf("%q is ambiguous: %s", harmless(name), strings.Join(names, ", "))}
	}
	return p2pchat.Peer{}, &opError{codeNoSuchPeer, fmt.Sprintf("nobody here is called %q", harmless(name))}
}

// meant asks for those of the names that somebody who typed word may have meant,
// and is empty if there are none.
func meant(word, prefix string, names []string) string {
	near := nearest(word, names)
	if len(near) == 0 {
		return ""
	}
	return "did you mean " + prefix + strings.Join(near, " or "+prefix) + "?"
}

// nearest returns those of the names that somebody who typed word may have
// meant, the nearest first: what begins with it, or is at most two typing
// errors away.
func nearest(word string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var near []candidate
	for _, n := range names {
		d := distance(word, n)
		if word != "" && strings.HasPrefix(n, word) {
			d = min(d, 1)
		}
		if d <= 2 && d < len(n) {
			near = append(near, candidate{n, d})
		}
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return a.distance - b.distance })
	out := make([]string, len(near))
	for i, c := range near {
		out[i] = c.name
	}
	return out
}

// distance is the number of letters to insert, delete, replace or swap with
// their neighbour that makes b of a.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	if len(s) > 32 {
		return len(s)
	}
	rows := make([][]int, len(s)+1)
	for i := range rows {
		rows[i] = make([]int, len(t)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(s); i++ {
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(s)][len(t)]
}
