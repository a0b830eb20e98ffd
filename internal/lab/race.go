//go:build race && unix

package lab

// Race says whether the processes are built with the race detector, as the
// tests are.
const Race = true
