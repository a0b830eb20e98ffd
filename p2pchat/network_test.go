package p2pchat_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// roamer is a host whose network changes.
type roamer struct {
	*memnet.Host
	mu     sync.Mutex
	addr   netip.AddrPort
	faults []transport.Warning
}

func (r *roamer) Addr() netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.addr.IsValid() {
		return r.addr
	}
	return r.Host.Addr()
}

func (r *roamer) Warnings() []transport.Warning {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.faults
}

func (r *roamer) set(addr netip.AddrPort, faults ...transport.Warning) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addr, r.faults = addr, faults
}

func TestGroupLearnsANewEndpoint(t *testing.T) {
	in(t, memnet.Config{Delay: time.Millisecond}, func(w *world) {
		w.join(2)
		r := &roamer{Host: w.net.Host()}
		n, err := p2pchat.New(p2pchat.WithTransport(r), p2pchat.WithName("roamer"))
		require.NoError(w, err)
		w.nodes = append(w.nodes, n)
		require.NoError(w, n.Join(w.ctx))
		moved := netip.MustParseAddrPort("10.9.9.9:99")
		ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
		defer cancel()
		var told sync.WaitGroup
		for _, other := range w.nodes[:2] {
			events := other.Events(ctx)
			told.Go(func() {
				for e := range events {
					if v, ok := e.(*p2pchat.ViewEvent); ok {
						if p, ok := v.View.Find(n.Self().Key); ok && p.Addr == moved {
							return
						}
					}
				}
				w.Error("a member was not told")
			})
		}
		r.set(moved)
		told.Wait()
	})
}

func TestFaultOfTheNetworkIsReportedOnce(t *testing.T) {
	in(t, memnet.Config{}, func(w *world) {
		r := &roamer{Host: w.net.Host()}
		n, err := p2pchat.New(p2pchat.WithTransport(r))
		require.NoError(w, err)
		w.nodes = append(w.nodes, n)
		require.NoError(w, n.Join(w.ctx))
		deaf := transport.Warning{Code: "no_multicast", Interface: "eth0", Text: "nothing comes through eth0"}
		codes := make(chan string, 100)
		events := n.Events(w.ctx)
		go func() {
			defer close(codes)
			for e := range events {
				if e, ok := e.(*p2pchat.WarningEvent); ok {
					codes <- e.Code + ": " + e.Text
				}
			}
		}()
		for range 2 { // it passes, and comes again
			r.set(netip.AddrPort{}, deaf)
			<-time.After(20 * time.Second)
			r.set(netip.AddrPort{})
			<-time.After(20 * time.Second)
		}
		require.NoError(w, n.Close())
		for range 2 {
			require.Equal(w, "no_multicast: nothing comes through eth0", <-codes)
		}
		_, more := <-codes
		require.False(w, more)
	})
}
