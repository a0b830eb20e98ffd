package boltstore_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/causal/boltstore"
	"github.com/seed-885536be/p2p/causal/causaltest"
)

func TestConformance(t *testing.T) {
	causaltest.RunStore(t, func(t *testing.T) func() (causal.Store, error) {
		path := filepath.Join(t.TempDir(), "store")
		return func() (causal.Store, error) {
			s, err := boltstore.Open(path, boltstore.Options{LockTimeout: time.Millisecond})
			if err != nil {
				return nil, err
			}
			return s, nil
		}
	})
}
