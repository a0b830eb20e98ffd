package boltstore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/causal/boltstore"
)

// What a log does with its store: two runs of a program.
func Example() {
	dir, err := os.MkdirTemp("", "boltstore")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	for range 2 {
		s, err := boltstore.Open(filepath.Join(dir, "chat.db"), boltstore.Options{Group: "lobby"})
		if err != nil {
			panic(err)
		}
		st, err := s.Load(func(r causal.Record) error {
			fmt.Printf("  %s\n", r.Frame)
			return nil
		})
		if err != nil {
			panic(err)
		}
		fmt.Printf("group %s, incarnation %d, clean %t\n", st.Group, st.Inc, st.Clean)

		st.Inc++
		st.Clean = true
		err = errors.Join(
			s.Append([]causal.Record{{Frame: []byte("a block of run " + fmt.Sprint(st.Inc)), Own: true}}, true),
			s.PutState(st),
			s.Close(),
		)
		if err != nil {
			panic(err)
		}
	}
	// Output:
	// group lobby, incarnation 0, clean false
	//   a block of run 1
	// group lobby, incarnation 1, clean true
}

// A second process that opens the store is refused.
func ExampleOpen_locked() {
	dir, err := os.MkdirTemp("", "boltstore")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "chat.db")

	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	_, err = boltstore.Open(path, boltstore.Options{LockTimeout: 1})
	fmt.Println(errors.Is(err, causal.ErrLocked))
	// Output:
	// true
}
