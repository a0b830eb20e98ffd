package causaltest_test

import (
	"testing"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/causal/causaltest"
)

func TestMemory(t *testing.T) {
	causaltest.RunLog(t, func(cfg causal.Config) (causal.Log, error) { return causal.NewMemory(cfg) })
}

func TestMemoryStore(t *testing.T) {
	causaltest.RunStore(t, func(*testing.T) func() (causal.Store, error) {
		s := causal.NewMemoryStore()
		return func() (causal.Store, error) { return s, nil }
	})
}

// The examples keep the contracts, too.

func TestMetered(t *testing.T) { runMetered(t) }

func TestCounting(t *testing.T) { runCounting(t) }
