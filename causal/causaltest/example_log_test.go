package causaltest_test

import (
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/causal/causaltest"
)

// counting is a log of one's own: it counts the messages that are appended.
type counting struct {
	*causal.Memory
	appended int
}

func newCounting(cfg causal.Config) (*counting, error) {
	m, err := causal.NewMemory(cfg)
	return &counting{Memory: m}, err
}

func (c *counting) Append(now time.Time, data ...[]byte) (causal.MessageID, error) {
	id, err := c.Memory.Append(now, data...)
	if err == nil {
		c.appended += len(data)
	}
	return id, err
}

// runCounting holds it to the contract. In its test file stands
//
//	func TestCounting(t *testing.T) { runCounting(t) }
func runCounting(t *testing.T) {
	causaltest.RunLog(t, func(cfg causal.Config) (causal.Log, error) { return newCounting(cfg) })
}

// A Log of one's own, and how the suite is run on it.
func ExampleRunLog() {
	log, err := newCounting(causal.Config{
		Key:   ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)),
		Group: "example",
		Rand:  rand.NewChaCha8([32]byte{}), // crypto/rand.Reader, but in an example
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := log.Append(time.Unix(0, 0), []byte("one"), []byte("two")); err != nil {
		fmt.Println(err)
	}
	fmt.Println(log.appended, "messages")
	// Output: 2 messages
}
