package lab

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Capture is a recording of all that goes over a Net's bridge.
type Capture struct {
	t      testing.TB
	socket *os.File
	done   chan struct{}

	mu     sync.Mutex
	frames [][]byte
}

// captureBuffer is how much the kernel keeps that was not read yet.
const captureBuffer = 64 << 20

// Capture records every Ethernet frame that enters the bridge from now on, once.
func (n *Net) Capture() *Capture {
	n.t.Helper()
	type opened struct {
		fd  int
		err error
	}
	out := make(chan opened)
	go func() {
		// The thread is of another namespace from now on, and ends with this
		// goroutine. The socket stays there.
		runtime.LockOSThread()
		fd, err := sniff("/run/netns/" + n.bridge)
		out <- opened{fd, err}
	}()
	o := <-out
	n.must(o.err)
	c := &Capture{t: n.t, socket: os.NewFile(uintptr(o.fd), "capture"), done: make(chan struct{})}
	go c.read()
	n.t.Cleanup(func() { c.socket.Close(); <-c.done })
	return c
}

// sniff returns a socket in a network namespace that gets every frame.
func sniff(namespace string) (int, error) {
	ns, err := unix.Open(namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", namespace, err)
	}
	defer unix.Close(ns)
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return 0, fmt.Errorf("setns: %w", err)
	}
	const every = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, every)
	if err != nil {
		return 0, fmt.Errorf("packet socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("receive buffer: %w", err)
	}
	return fd, nil
}

func (c *Capture) read() {
	defer close(c.done)
	raw, err := c.socket.SyscallConn()
	if err != nil {
		c.t.Error(err)
		return
	}
	b := make([]byte, 128<<10)
	for {
		var n int
		var from unix.Sockaddr
		var err error
		if raw.Read(func(fd uintptr) bool {
			n, from, err = unix.Recvfrom(int(fd), b, 0)
			return err != unix.EAGAIN
		}) != nil {
			return // it was closed
		}
		if err != nil {
			c.t.Errorf("capture: %v", err)
			return
		}
		// It comes in by one port, and goes out by others.
		if at, ok := from.(*unix.SockaddrLinklayer); ok && at.Pkttype != unix.PACKET_OUTGOING {
			c.mu.Lock()
			c.frames = append(c.frames, append([]byte(nil), b[:n]...))
			c.mu.Unlock()
		}
	}
}

// Frames returns what was recorded so far. It fails the test if anything is
// missing.
func (c *Capture) Frames() [][]byte {
	c.t.Helper()
	raw, err := c.socket.SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	var lost uint32
	control := raw.Control(func(fd uintptr) {
		var s *unix.TpacketStats
		if s, err = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			lost = s.Drops
		}
	})
	if control != nil || err != nil {
		c.t.Fatal(control, err)
	}
	if lost > 0 {
		c.t.Fatalf("%d frames are not in the capture", lost)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames[:len(c.frames):len(c.frames)]
}
