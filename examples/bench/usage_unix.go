//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

// used returns what this process has used until now.
func used() usage {
	var u usage
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) == nil {
		u.CPU = time.Duration(r.Utime.Nano() + r.Stime.Nano())
		if runtime.GOOS == "darwin" {
			u.Peak = int64(r.Maxrss)
		}
	}
	// Maxrss of Linux includes what the parent had.
	status, _ := os.ReadFile("/proc/self/status")
	for line := range bytes.Lines(status) {
		var kib int64
		if n, _ := fmt.Sscanf(string(line), "VmHWM: %d kB", &kib); n == 1 {
			u.Peak = kib << 10
		}
		if n, _ := fmt.Sscanf(string(line), "VmRSS: %d kB", &kib); n == 1 {
			u.RSS = kib << 10
		}
	}
	return u
}

func stop(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }
