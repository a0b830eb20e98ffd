// Command outside is a program as a user of the module writes it: two nodes
// in one process meet and talk, once in memory and once over loopback.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
	"github.com/seed-885536be/p2p/transport/memnet"
)

func main() {
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
	onLoopback := func() transport.Transport {
		return lan.New(lan.Config{Name: "outside", Interfaces: []string{"lo"}})
	}
	for name, host := range map[string]func() transport.Transport{
		"memory":   func() transport.Transport { return net.Host() },
		"loopback": onLoopback,
	} {
		if err := talk(host(), host()); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		fmt.Println(name, "ok")
	}
}

func talk(a, b transport.Transport) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ada, err := p2pchat.New(p2pchat.WithName("ada"), p2pchat.WithTransport(a))
	if err != nil {
		return err
	}
	defer ada.Close()
	bob, err := p2pchat.New(p2pchat.WithName("bob"), p2pchat.WithTransport(b))
	if err != nil {
		return err
	}
	defer bob.Close()
	if err := ada.Join(ctx); err != nil {
		return err
	}
	if _, err := ada.Send(ctx, "lobby", []byte("said before bob came")); err != nil {
		return err
	}
	if err := bob.Join(ctx); err != nil {
		return err
	}
	if _, err := bob.Send(ctx, "lobby", []byte("hello")); err != nil {
		return err
	}
	for _, node := range []*p2pchat.Node{ada, bob} {
		var got []string
		for m := range node.Messages(ctx, p2pchat.FromStart) {
			if got = append(got, fmt.Sprintf("%s: %s", m.From, m.Data)); len(got) == 2 {
				break
			}
		}
		if want := []string{"ada#1: said before bob came", "bob#2: hello"}; fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("%s got %q, want %q", node.Self(), got, want)
		}
	}
	if err := bob.Leave(ctx); err != nil {
		return err
	}
	return ada.Wait(ctx, func(s p2pchat.Status) bool { return len(s.View.Members) == 1 })
}
