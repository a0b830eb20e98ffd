package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// hosts are network namespaces on one bridge, one a process.
type hosts struct {
	prefix string
	n      int
	rate   int // Mbit/s that leave a host; 0: no limit
}

func newHosts(rate int) (*hosts, error) {
	h := &hosts{prefix: fmt.Sprintf("bench%d-", os.Getpid()), rate: rate}
	if err := h.tool("", "ip", "netns", "add", h.prefix+"b"); err != nil {
		return nil, fmt.Errorf("-hosts needs root, and the commands ip and tc: %w", err)
	}
	return h, h.tool("link add br0 type bridge mcast_snooping 0\nlink set br0 up\n", "ip", "-n", h.prefix+"b", "-batch", "-")
}

// add makes one more host, and returns how to start a program on it.
func (h *hosts) add() ([]string, error) {
	h.n++
	ns, port := fmt.Sprint(h.prefix, h.n), fmt.Sprint("p", h.n)
	err := errors.Join(
		h.tool("", "ip", "netns", "add", ns),
		h.tool(fmt.Sprintf("link add name eth0 netns %s type veth peer name %s netns %sb\n", ns, port, h.prefix), "ip", "-batch", "-"),
		h.tool(fmt.Sprintf("link set %s master br0 up\n", port), "ip", "-n", h.prefix+"b", "-batch", "-"),
		h.tool(fmt.Sprintf("link set lo up\naddr add 10.77.0.%d/24 dev eth0\nlink set eth0 up\n", h.n), "ip", "-n", ns, "-batch", "-"),
	)
	if err == nil && h.rate > 0 {
		err = h.tool("", "tc", "-n", ns, "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", fmt.Sprintf("%dmbit", h.rate), "burst", "32kb", "latency", "50ms")
	}
	return []string{"ip", "netns", "exec", ns}, err
}

func (h *hosts) remove() {
	for i := 1; i <= h.n; i++ {
		_ = h.tool("", "ip", "netns", "del", fmt.Sprint(h.prefix, i))
	}
	_ = h.tool("", "ip", "netns", "del", h.prefix+"b")
}

func (*hosts) tool(stdin string, args ...string) error {
	c := exec.Command(args[0], args[1:]...) // #nosec G204 -- the arguments are made above
	c.Stdin = strings.NewReader(stdin)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
