// Package lab is for tests with real processes: it builds a program of this
// module, starts it as often as needed, on this host or on hosts that it makes
// of network namespaces, speaks the line protocol of examples/chat with each
// process, and cuts, loses, kills and freezes.
//
// Nothing here waits for time to pass: a test awaits what a process says, with
// a limit that only a defect reaches. When a test fails, all that its
// processes said is in its log.
package lab
