package causal_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"log"
	"math/rand/v2"
	"time"

	"github.com/seed-885536be/p2p/causal"
)

// Two logs that are wired together by a loop. A program would carry what Next
// returns over a stream, and call Tick by Deadline.
func Example() {
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	var logs []*causal.Memory
	var peers []causal.Key
	for i := range byte(2) {
		key := ed25519.NewKeyFromSeed(append(make([]byte, 31), i))
		l, err := causal.NewMemory(causal.Config{Key: key, Group: "example", Rand: rand.NewChaCha8([32]byte{i})})
		if err != nil {
			log.Fatal(err)
		}
		sum := sha256.Sum256(key.Public().(ed25519.PublicKey))
		logs, peers = append(logs, l), append(peers, causal.Key(sum[:16]))
	}
	say := func(i int, text string) {
		logs[i].Append(now, []byte(text))
		logs[i].Flush(now)
	}
	say(0, "said before they met")
	say(1, "so was this")

	for i, l := range logs {
		l.SetPeers(now, peers)
		l.Link(now, peers[1-i], true)
	}
	carry := func() {
		for moved := true; moved; {
			moved = false
			for i, l := range logs {
				for m := l.Next(now, peers[1-i]); m != nil; m = l.Next(now, peers[1-i]) {
					logs[1-i].Step(now, peers[i], m)
					moved = true
				}
			}
		}
	}
	carry()
	say(1, "what do you think?")
	carry()
	say(0, "I agree")
	carry()

	fmt.Println(logs[0].Digest() == logs[1].Digest())
	for m := range logs[1].History(2, false) {
		fmt.Println(m.Height, string(m.Data))
	}
	// Output:
	// true
	// 2 what do you think?
	// 3 I agree
}

// The history is read by page from its end, and the deliveries by a cursor that
// a program keeps.
func ExampleMemory_History() {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	l, err := causal.NewMemory(causal.Config{Key: key, Group: "example", Rand: rand.NewChaCha8([32]byte{})})
	if err != nil {
		log.Fatal(err)
	}
	now := time.Now()
	for i := range 10 {
		l.Append(now, fmt.Appendf(nil, "message %d", i))
	}
	l.Flush(now)
	for m := range l.History(l.Len(), true) {
		fmt.Println(m.Pos, string(m.Data))
		if m.Pos == 7 {
			break
		}
	}
	cursor := uint64(8)
	for m := range l.Deliveries(cursor) {
		cursor = m.Index + 1
	}
	fmt.Println("next:", cursor)
	// Output:
	// 9 message 9
	// 8 message 8
	// 7 message 7
	// next: 10
}
