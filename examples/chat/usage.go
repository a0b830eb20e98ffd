package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// helpGroups are the flags in the order in which help shows them. What is in
// none comes last.
var helpGroups = []struct {
	title string
	flags []string
}{
	{"You and the group", []string{"nick", "room", "group", "pass-file", "newkey", "data"}},
	{"The network", []string{"iface", "peer", "listen", "check"}},
	{"Other faces than lines at a terminal", []string{"json", "web", "spawn", "script", "pace"}},
	{"The protocol (all members should have the same)", []string{"election", "heartbeat", "timeout"}},
	{"Logs", []string{"log", "v", "vv"}},
	{"More", nil},
}

const examples = `
Examples:
  chat                                   talk with all on this network who started it too
  chat -nick ada -room den               with a name, in a room
  chat -iface lo                         on this machine only
  chat -newkey >key; chat -pass-file key in a sealed group, which the key is needed for
  chat -peer 10.1.2.3:7712               where multicast does not pass
  chat -data ~/.chat                     keep identity and history
`

// usage writes the help.
func usage(fs *flag.FlagSet, out io.Writer) {
	fmt.Fprintln(out, "usage: chat [flags]\n\nTalks with everybody on the network who has the same -group; no server is needed.")
	groups := slices.Clone(helpGroups)
	last := &groups[len(groups)-1]
	fs.VisitAll(func(f *flag.Flag) {
		for _, g := range groups {
			if slices.Contains(g.flags, f.Name) {
				return
			}
		}
		last.flags = append(last.flags, f.Name)
	})
	for _, g := range groups {
		fmt.Fprintf(out, "\n%s:\n", g.title)
		for _, name := range g.flags {
			f := fs.Lookup(name)
			if f == nil {
				continue
			}
			value, text := flag.UnquoteUsage(f)
			if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
				text += " (" + f.DefValue + ")"
			}
			fmt.Fprintf(out, "  %-20s %s\n", strings.TrimSpace("-"+name+" "+value), text)
		}
	}
	fmt.Fprint(out, examples)
}
