// Command replicatedmap is a map of strings that all who run it on one network
// share, with no server: see map.go. It reads commands, a line each:
//
//	set key value
//	get key
//	delete key
//	list
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/lan"
)

func main() {
	group := flag.String("group", lan.DefaultGroup, "multicast address of the group")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	node, err := p2pchat.New(p2pchat.WithName("map"), p2pchat.WithTransport(lan.New(lan.Config{Group: *group, Name: "map"})))
	if err != nil {
		log.Fatal(err)
	}
	if err := node.Join(ctx); err != nil {
		log.Fatal(err)
	}
	m := NewMap(node, "map")
	go m.Follow(ctx)
	fmt.Println(node.View())
	if err := commands(ctx, m, os.Stdin, os.Stdout); err != nil {
		log.Print(err)
	}
	if err := node.Leave(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// commands carries out commands until in ends.
func commands(ctx context.Context, m *Map, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() && ctx.Err() == nil {
		op, rest, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		key, value, _ := strings.Cut(rest, " ")
		var err error
		switch {
		case op == "list":
			for key, value := range m.All() {
				fmt.Fprintf(out, "%q = %q\n", key, value)
			}
		case op == "set" && key != "":
			_, err = m.Set(ctx, key, value)
		case op == "delete" && key != "":
			_, err = m.Delete(ctx, key)
		case op == "get" && key != "":
			if value, ok := m.Get(key); ok {
				fmt.Fprintf(out, "%q\n", value)
			} else {
				fmt.Fprintln(out, "no such key")
			}
		default:
			fmt.Fprintln(out, "set key value | get key | delete key | list")
		}
		if err != nil {
			return err
		}
	}
	return lines.Err()
}
