package lan

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// watch has the system tell, by a value in changed, when an interface or an
// address of the host has changed. It does so while watched is set.
func (t *Transport) watch(changed chan<- struct{}) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), "netlink")
	if unix.Bind(fd, &unix.SockaddrNetlink{
		Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR,
	}) != nil {
		f.Close()
		return
	}
	t.watched.Store(true)
	stop := context.AfterFunc(t.ctx, func() { f.Close() })
	t.wg.Go(func() {
		defer stop()
		defer f.Close()
		defer t.watched.Store(false)
		b := make([]byte, 4096) // what does not fit is cut off, and of no interest
		for {
			if _, err := f.Read(b); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	})
}
