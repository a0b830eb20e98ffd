package electiontest_test

import (
	"fmt"
	"time"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/election/electiontest"
)

// Twenty members on a network that loses a tenth of all packets, and the first
// winner crashes at the instant it has won.
func Example() {
	net := electiontest.NewNetwork(electiontest.Config{New: election.NewBully, Members: 20, Seed: 1, Loss: 0.1})
	net.OnWin = func(w electiontest.Win) {
		if w.Member == 20 {
			net.Crash(20)
		}
	}
	net.VerifyAll(50 * time.Millisecond)
	fmt.Println("all follow", net.Settle(time.Minute))
	fmt.Println("faults:", len(net.Faults))
	// Output:
	// all follow 19
	// faults: 0
}
