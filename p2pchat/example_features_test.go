package p2pchat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// say sends a message to the lobby.
func say(ctx context.Context, node *p2pchat.Node, text string) p2pchat.MessageID {
	id, err := node.Send(ctx, "lobby", []byte(text))
	if err != nil {
		log.Fatal(err)
	}
	return id
}

// caughtUp waits until a node holds so many messages.
func caughtUp(ctx context.Context, node *p2pchat.Node, n uint64) {
	if err := node.Wait(ctx, func(s p2pchat.Status) bool { return s.Digest.N == n }); err != nil {
		log.Fatal(err)
	}
}

// Whoever is interested in what happens reads the events, and picks those that it
// wants by their type.
func ExampleNode_Events() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
	ada := join(ctx, net, "ada")
	defer ada.Close()

	events := ada.Events(ctx) // from here on
	bob := join(ctx, net, "bob")
	if err := bob.Leave(ctx); err != nil {
		log.Fatal(err)
	}
	for e := range events {
		v, ok := e.(*p2pchat.ViewEvent)
		if !ok {
			continue
		}
		fmt.Println(v.View, v.Cause)
		if v.Cause == p2pchat.CauseLeave {
			break
		}
	}
	// Output:
	// [1*|v2] (2) [1,2] join
	// [1*|v3] (1) [1] leave
}

// A program that must not end before all members hold what it said.
func ExampleNode_WaitStable() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
	ada := join(ctx, net, "ada")
	defer ada.Close()
	bob := join(ctx, net, "bob")
	defer bob.Close()

	id := say(ctx, ada, "keep this")
	if err := ada.WaitStable(ctx, id); err != nil {
		log.Fatal(err)
	}
	m, ok := bob.Lookup(id)
	fmt.Println(ok, string(m.Data))
	// Output:
	// true keep this
}

// A program that shows the history cuts what it shows at pos, and appends what
// follows. So it is right even if older messages come late.
func ExampleNode_Changes() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
	ada := join(ctx, net, "ada")
	defer ada.Close()

	var shown []string
	var mark p2pchat.Mark
	update := func() {
		pos, now := ada.Changes(mark)
		shown, mark = shown[:pos], now
		for m := range ada.History("").From(pos) {
			shown = append(shown, string(m.Data))
		}
		fmt.Println("from", pos, shown)
	}
	say(ctx, ada, "one")
	update()
	say(ctx, ada, "two")
	say(ctx, ada, "three")
	update()
	update()
	// Output:
	// from 0 [one]
	// from 1 [one two three]
	// from 3 [one two three]
}

// With a data directory a node is the same peer after a restart, and has the
// history that it had.
func ExampleWithDataDir() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "p2pchat")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})

	first := join(ctx, net, "ada", p2pchat.WithDataDir(dir))
	say(ctx, first, "remember me")
	if err := first.Leave(ctx); err != nil {
		log.Fatal(err)
	}
	again := join(ctx, net, "ada", p2pchat.WithDataDir(dir))
	defer again.Close()
	fmt.Println(again.Self().Key == first.Self().Key)
	for m := range again.History("lobby").All() {
		fmt.Println(string(m.Data))
	}
	// Output:
	// true
	// remember me
}

// A group with a passphrase. Who has another one is told so, and does not found a
// group of its own.
func ExampleWithPassphrase() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
	ada := join(ctx, net, "ada", p2pchat.WithPassphrase("correct horse battery staple"))
	defer ada.Close()
	fmt.Println("sealed:", ada.Status().Sealed)

	eve, err := p2pchat.New(p2pchat.WithName("eve"), p2pchat.WithTransport(net.Host()), p2pchat.WithPassphrase("correct horse"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(eve.Join(ctx))
	// Output:
	// sealed: true
	// p2pchat: join: transport: this group uses another passphrase
}

// Another algorithm of election. All members must agree on it.
func ExampleWithElector() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
	ring := p2pchat.WithElector(election.NewRing)
	ada := join(ctx, net, "ada", ring)
	bob := join(ctx, net, "bob", ring)
	defer bob.Close()
	eve := join(ctx, net, "eve", ring)
	defer eve.Close()

	ada.Close() // as a crash would
	if err := bob.Wait(ctx, func(s p2pchat.Status) bool { return s.View.Coordinator.Nick == "eve" }); err != nil {
		log.Fatal(err)
	}
	fmt.Println(bob.Status().Algorithm, bob.View().Coordinator)
	// Output:
	// ring eve#3
}

// The newest messages, as a page of a chat shows them.
func ExampleHistory_Backwards() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
	ada := join(ctx, net, "ada")
	defer ada.Close()

	for _, text := range []string{"one", "two", "three"} {
		say(ctx, ada, text)
	}
	page := 2
	for m := range ada.History("lobby").Backwards() {
		fmt.Println(m.Pos, string(m.Data))
		if page--; page == 0 {
			break
		}
	}
	// Output:
	// 2 three
	// 1 two
}

// Why a message is where it is: what its author had seen.
func ExampleNode_Why() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
	ada := join(ctx, net, "ada")
	defer ada.Close()
	bob := join(ctx, net, "bob")
	defer bob.Close()

	say(ctx, ada, "tea or coffee?")
	caughtUp(ctx, bob, 1)
	answer := say(ctx, bob, "tea")
	caughtUp(ctx, ada, 2)

	why, ok := ada.Why(answer)
	fmt.Println(ok, why.From, "via", why.Via)
	for _, id := range why.After {
		m, _ := ada.Lookup(id)
		fmt.Printf("after %s: %s\n", m.From, m.Data)
	}
	// Output:
	// true bob#2 via bob#2
	// after ada#1: tea or coffee?
}

// Which of two messages comes first is the same on all nodes.
func ExampleNode_Compare() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
	ada := join(ctx, net, "ada")
	defer ada.Close()
	bob := join(ctx, net, "bob")
	defer bob.Close()

	question := say(ctx, ada, "tea or coffee?")
	caughtUp(ctx, bob, 1)
	answer := say(ctx, bob, "tea")
	caughtUp(ctx, ada, 2)
	for _, node := range []*p2pchat.Node{ada, bob} {
		order, ok := node.Compare(question, answer)
		fmt.Println(order, ok)
	}
	// Output:
	// -1 true
	// -1 true
}

// The counters are JSON, and an expvar.Var. A program publishes them with
// expvar.Publish, under a name of its choice.
func ExampleNode_Stats() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
	ada := join(ctx, net, "ada")
	defer ada.Close()
	say(ctx, ada, "hello")

	var read struct {
		Members  int
		Messages uint64
		Drops    map[string]uint64
	}
	if err := json.Unmarshal([]byte(ada.Stats().String()), &read); err != nil {
		log.Fatal(err)
	}
	fmt.Println(read.Members, "member,", read.Messages, "message,", len(read.Drops), "reasons to drop")
	// Output:
	// 1 member, 1 message, 0 reasons to drop
}

// Messages come in the order of their delivery, and a cursor goes on where a
// program has ended.
func ExampleNode_Messages() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net := memnet.New(memnet.Config{Seed: 1, Delay: time.Millisecond})
	ada := join(ctx, net, "ada")
	defer ada.Close()
	for _, text := range []string{"one", "two", "three"} {
		say(ctx, ada, text)
	}

	var cursor p2pchat.Cursor // FromStart
	for m := range ada.Messages(ctx, cursor) {
		fmt.Println(string(m.Data))
		if cursor = p2pchat.Cursor(m.Index + 1); cursor == 2 {
			break
		}
	}
	for m := range ada.Messages(ctx, cursor) {
		fmt.Println("later:", string(m.Data))
		break
	}
	// Output:
	// one
	// two
	// later: three
}
