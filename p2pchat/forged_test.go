package p2pchat_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// tapped is a transport to which packets come that nobody sent.
type tapped struct {
	transport.Transport
	handler transport.Handler
}

func (t *tapped) Open(h transport.Handler) error {
	t.handler = h
	return t.Transport.Open(h)
}

// TestForgedSourceDeposesNobody: a stranger that sends garbage with members'
// addresses as its source makes the others deaf to their datagrams, and the
// group stays as it is.
func TestForgedSourceDeposesNobody(t *testing.T) {
	for name, forged := range map[string]int{"of the coordinator": 1, "of everybody": 4} {
		t.Run(name, func(t *testing.T) {
			in(t, memnet.Config{Seed: 5, Delay: time.Millisecond}, func(w *world) { forge(w, forged) })
		})
	}
}

// forge sends garbage as the first so many of four members.
func forge(w *world, members int) {
	var taps []*tapped
	for range 4 {
		taps = append(taps, &tapped{Transport: w.net.Host()})
		n, err := p2pchat.New(p2pchat.WithTransport(taps[len(taps)-1]))
		require.NoError(w, err)
		w.nodes = append(w.nodes, n)
		require.NoError(w, n.Join(w.ctx))
	}
	w.wait(w.nodes, holds(4, 0))

	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	for _, n := range w.nodes {
		events := n.Events(ctx)
		go func() {
			for e := range events {
				switch e := e.(type) {
				case *p2pchat.CoordinatorEvent:
					w.Errorf("%v: %v is coordinator", n.Self(), e.New)
				case *p2pchat.ViewEvent:
					w.Errorf("%v: %v", n.Self(), e.View)
				}
			}
		}()
	}
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	garbage := bytes.Repeat([]byte{0x25}, 100)
	for ctx.Err() == nil {
		<-tick.C
		for i, tap := range taps {
			for j, from := range taps[:members] {
				if i != j {
					tap.handler.Handle(transport.Event{Kind: transport.Datagram, Peer: from.Addr(), Frame: garbage})
				}
			}
		}
	}
	synctest.Wait()
	require.Positive(w, w.nodes[1].Status().Drops["limited"])
	w.send(w.nodes[0], "still here")
	w.wait(w.nodes, holds(4, 1))
}
