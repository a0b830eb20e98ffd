// Package core composes the state machines of a node: Group puts a Membership
// and an Elector together, Core adds the Log and the wire format. All of it is
// a function of the inputs and their times, without I/O, clock or goroutine,
// so that package p2pchat can drive one node in real time and the simulator
// hundreds in virtual time.
package core
