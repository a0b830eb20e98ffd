// Package sim runs whole groups in virtual time, on one goroutine, with every
// fault that a network and its machines have: packets lost, repeated,
// overtaken and late, links cut in one direction or both, processes killed,
// hosts gone, processes suspended, multicast that does not pass. A run is a
// function of its seed: the same seed gives the same World.Hash.
//
// A World is a heap of (time, sequence, endpoint, item). Messages travel as
// typed values; with Config.Wire each one is encoded and decoded on its way.
// Every view that is installed goes through a trace.Checker, and what only a
// simulator sees is checked besides:
//
//	S7  a node becomes coordinator only by founding a group when it heard no
//	    coordinator for the whole discovery window, by an election when the
//	    old one was silent to it or proven to be gone, or by a hand-over
//	S8  from its first view on a node always has a view
//
// The first violation ends the run; World.Err says what it was.
//
// Chaos makes random faults for ten minutes and then wants quiet to bring
// agreement. The tests run some seeds of it; more are run by
//
//	go test ./internal/sim -run Soak -seeds 10000 -v
//
// and a single one is replayed by
//
//	go test ./internal/sim -run Soak -seeds 1 -seed 4711 -log
package sim
