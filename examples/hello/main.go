// Command hello joins the group on this network, says hello, and prints what
// everybody says, until it is interrupted. Start it in two terminals.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/lan"
)

func main() {
	nick := flag.String("nick", "ada", "your name")
	group := flag.String("group", lan.DefaultGroup, "multicast address of the group")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	node, err := p2pchat.New(p2pchat.WithName(*nick), p2pchat.WithTransport(lan.New(lan.Config{Group: *group})))
	if err != nil {
		log.Fatal(err)
	}
	if err := node.Join(ctx); err != nil { // finds the group, or founds it
		log.Fatal(err)
	}
	if _, err := node.Send(ctx, "lobby", []byte("hello, whoever is there")); err != nil {
		log.Fatal(err)
	}
	for m := range node.Messages(ctx, p2pchat.FromStart) { // until interrupted
		fmt.Printf("%s: %s\n", m.From, m.Data)
	}
	if err := node.Leave(context.Background()); err != nil { // says goodbye
		log.Fatal(err)
	}
}
