package main

import (
	"crypto/ed25519"
	"time"

	"github.com/seed-885536be/p2p/causal"
)

// maxWriters bounds a past: the time that it takes to make one, half a second
// for 1,024 writers, grows with their square.
const maxWriters = 1 << 12

// withPast is a log that begins with what others wrote in earlier runs: one
// message each, every one after having read all before.
func withPast(cfg causal.Config, writers int) (causal.Log, error) {
	store := causal.NewMemoryStore()
	for range writers {
		_, key, err := ed25519.GenerateKey(cfg.Rand)
		if err != nil {
			return nil, err
		}
		l, err := causal.NewMemory(causal.Config{Key: key, Group: cfg.Group, Rand: cfg.Rand, Store: store})
		if err != nil {
			return nil, err
		}
		now := time.Now()
		if _, err := l.Append(now, []byte(pastMessage)); err != nil {
			return nil, err
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	cfg.Store = readOnly{store}
	return causal.NewMemory(cfg)
}

// past is how many have written before those that send now.
func (s settings) past() int { return max(0, s.Writers-s.Senders) }

// pastMessage is no message of a room: nobody counts it among those measured.
const pastMessage = "said before"

// readOnly is a store that keeps nothing of what is written, so that what is
// measured is a history in memory, as without a past.
type readOnly struct{ causal.Store }

func (readOnly) Append([]causal.Record, bool) error { return nil }
func (readOnly) PutState(causal.State) error        { return nil }
