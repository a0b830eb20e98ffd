package causaltest_test

import (
	"fmt"
	"testing"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/causal/causaltest"
)

// metered is a store of one's own: it counts the bytes that it is given.
type metered struct {
	*causal.MemoryStore
	bytes int
}

func (m *metered) Append(recs []causal.Record, sync bool) error {
	for _, r := range recs {
		m.bytes += len(r.Frame)
	}
	return m.MemoryStore.Append(recs, sync)
}

// runMetered holds it to the contract. In its test file stands
//
//	func TestMetered(t *testing.T) { runMetered(t) }
func runMetered(t *testing.T) {
	causaltest.RunStore(t, func(*testing.T) func() (causal.Store, error) {
		// A new place, where each Store that is opened finds what the one
		// before has left: for one on disk that is a directory.
		s := &metered{MemoryStore: causal.NewMemoryStore()}
		return func() (causal.Store, error) { return s, nil }
	})
}

// A Store of one's own, and how the suite is run on it.
func ExampleRunStore() {
	s := &metered{MemoryStore: causal.NewMemoryStore()}
	if err := s.Append([]causal.Record{{Frame: []byte("block")}}, true); err != nil {
		fmt.Println(err)
	}
	fmt.Println(s.bytes, "bytes")
	// Output: 5 bytes
}
