//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup puts a process into a process group of its own: a ^C at the
// terminal is for the cockpit alone, and when the cockpit dies the system wakes
// a process that was stopped (POSIX, orphaned process groups).
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// halt stops a process where it is; cont lets it go on.
func halt(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }
func cont(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

// killedBy names the signal that ended a process.
func killedBy(s *os.ProcessState) string {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return w.Signal().String()
	}
	return ""
}
