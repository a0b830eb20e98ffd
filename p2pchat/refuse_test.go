package p2pchat_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
)

// keyed is a transport that protects nothing, but tells keys apart as one that
// seals does.
type keyed struct {
	*memnet.Host
	key byte
}

func (k keyed) lock(f []byte) []byte { return append([]byte{transport.FirstSealed, k.key}, f...) }

func (k keyed) Multicast(f []byte) error { return k.Host.Multicast(k.lock(f)) }
func (k keyed) Unicast(to netip.AddrPort, f []byte) error {
	return k.Host.Unicast(to, k.lock(f))
}
func (k keyed) Stream(to netip.AddrPort, f []byte) error { return k.Host.Stream(to, k.lock(f)) }

func (k keyed) Refuse(to netip.AddrPort, err error) {
	if e, ok := err.(*transport.AuthError); ok {
		_ = k.Host.Unicast(to, e.Notice())
	}
}

func (k keyed) Open(h transport.Handler) error {
	return k.Host.Open(transport.HandlerFunc(func(e transport.Event) {
		if e.Kind == transport.Datagram || e.Kind == transport.Frame {
			switch notice, ok := transport.ParseNotice(e.Frame, true); {
			case ok:
				e = transport.Event{Kind: transport.Rejected, Peer: e.Peer, Err: notice}
			case e.Frame[0] < transport.FirstSealed:
				e = transport.Event{Kind: transport.Stranger, Peer: e.Peer, Err: &transport.AuthError{OwnSealed: true}}
			case e.Frame[0] != transport.FirstSealed:
				return
			case e.Frame[1] != k.key:
				e = transport.Event{Kind: transport.Stranger, Peer: e.Peer, Err: &transport.AuthError{Sealed: true, OwnSealed: true}}
			default:
				e.Frame = e.Frame[2:]
			}
		}
		h.Handle(e)
	}))
}

func TestGroupsTellStrangersWhy(t *testing.T) {
	type keys struct{ group, joiner byte } // 0: open
	for name, c := range map[string]struct {
		keys
		want p2pchat.AuthError
		text string
	}{
		"wrong passphrase": {keys{1, 2}, p2pchat.AuthError{Sealed: true, OwnSealed: true}, "this group uses another passphrase"},
		"open joiner":      {keys{1, 0}, p2pchat.AuthError{Sealed: true}, "this group is sealed, you are open"},
		"sealed joiner":    {keys{0, 2}, p2pchat.AuthError{OwnSealed: true}, "this group is open, you are sealed"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, memnet.Config{Seed: 7, Delay: time.Millisecond, Loss: 0.1}, func(w *world) {
				add := func(key byte) *p2pchat.Node {
					h := w.net.Host()
					var tr transport.Transport = h
					if key != 0 {
						tr = keyed{h, key}
					}
					n, err := p2pchat.New(p2pchat.WithTransport(tr))
					require.NoError(t, err)
					w.nodes = append(w.nodes, n)
					return n
				}
				for range 3 {
					require.NoError(t, add(c.group).Join(w.ctx))
				}
				w.wait(w.nodes, holds(3, 0))
				stranger := add(c.joiner)
				events := stranger.Events(w.ctx)
				start := time.Now()
				err := stranger.Join(w.ctx)
				var join *p2pchat.JoinError
				var auth *p2pchat.AuthError
				require.ErrorAs(t, err, &join)
				require.ErrorAs(t, err, &auth)
				require.Equal(t, c.want, *auth)
				require.ErrorContains(t, err, c.text)
				require.Less(t, time.Since(start), 5*time.Second)
				var last p2pchat.Event
				for e := range events {
					last = e
				}
				require.Equal(t, &p2pchat.JoinEvent{Phase: "failed", Err: auth}, last)
				w.wait(w.nodes[:3], holds(3, 0))
				if c.group != 0 { // it hears no JOIN of another group
					require.NoError(t, add(c.group).Join(w.ctx), "the right key is welcome all the same")
				}
			})
		})
	}
}
