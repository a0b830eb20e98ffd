package p2pchat_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/memnet"
	"github.com/seed-885536be/p2p/transport/seal"
)

// recorder is a transport of which every byte that leaves is kept.
type recorder struct {
	transport.Transport
	mu  sync.Mutex
	all [][]byte
}

func (t *recorder) keep(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, bytes.Clone(b))
}

func (t *recorder) Multicast(b []byte) error {
	t.keep(b)
	return t.Transport.Multicast(b)
}

func (t *recorder) Unicast(to netip.AddrPort, b []byte) error {
	t.keep(b)
	return t.Transport.Unicast(to, b)
}

func (t *recorder) Stream(to netip.AddrPort, b []byte) error {
	t.keep(b)
	return t.Transport.Stream(to, b)
}

// seen tells whether a text left in the clear.
func (t *recorder) seen(text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.all {
		if bytes.Contains(b, []byte(text)) {
			return true
		}
	}
	return false
}

// chatRecorded lets two nodes talk, and returns what left them.
func chatRecorded(w *world, opts ...p2pchat.Option) []*recorder {
	var taps []*recorder
	for i := range 2 {
		t := &recorder{Transport: w.net.Host()}
		taps = append(taps, t)
		all := append([]p2pchat.Option{p2pchat.WithTransport(t), p2pchat.WithName(fmt.Sprintf("secret-nick-%d", i+1))}, opts...)
		n, err := p2pchat.New(all...)
		require.NoError(w, err)
		w.nodes = append(w.nodes, n)
		require.NoError(w, n.Join(w.ctx))
	}
	id, err := w.nodes[0].Send(w.ctx, "secret-room", []byte("the cat sat on the mat"))
	require.NoError(w, err)
	require.NoError(w, w.nodes[0].WaitStable(w.ctx, id))
	require.NoError(w, w.nodes[1].Wait(w.ctx, p2pchat.Status.Converged))
	return taps
}

func TestNothingThatIsSaidInASealedGroupLeavesInTheClear(t *testing.T) {
	texts := []string{"secret-nick-1", "secret-nick-2", "secret-room", "the cat sat on the mat"}
	for _, tc := range []struct {
		name string
		opts []p2pchat.Option
		seen bool
	}{
		{"open", nil, true},
		{"passphrase", []p2pchat.Option{p2pchat.WithPassphrase("correct horse")}, false},
		{"code", []p2pchat.Option{p2pchat.WithGroupCode(seal.NewCode())}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, memnet.Config{Delay: time.Millisecond}, func(w *world) {
				taps := chatRecorded(w, tc.opts...)
				for _, text := range texts {
					require.Equal(w, tc.seen, taps[0].seen(text) || taps[1].seen(text), text)
				}
				s := w.nodes[1].Status()
				require.Equal(w, !tc.seen, s.Sealed)
				require.Equal(w, "memnet", s.Group, "what newcomers must know")
			})
		})
	}
}

func TestWithoutThePassphraseThereIsNoWayIn(t *testing.T) {
	in(t, memnet.Config{Delay: time.Millisecond}, func(w *world) {
		w.join(2, p2pchat.WithPassphrase("one"))
		id, err := w.nodes[0].Send(w.ctx, "lobby", []byte("hello"))
		require.NoError(w, err)
		require.NoError(w, w.nodes[0].WaitStable(w.ctx, id))
		for _, tc := range []struct {
			opts []p2pchat.Option
			want transport.AuthError
			drop string
		}{
			{[]p2pchat.Option{p2pchat.WithPassphrase("two")}, transport.AuthError{Sealed: true, OwnSealed: true}, "auth"},
			{nil, transport.AuthError{Sealed: true}, "open"},
		} {
			<-time.After(2 * time.Second) // strangers are told a few times a second
			n := w.add(tc.opts...)
			var auth *transport.AuthError
			require.ErrorAs(w, n.Join(w.ctx), &auth)
			require.Equal(w, tc.want, *auth)
			require.Zero(w, n.Status().Digest.N)
			require.Positive(w, w.nodes[0].Status().Drops[tc.drop])
		}
		require.Len(w, w.nodes[0].View().Members, 2)
	})
}

func TestPassphraseOptionsAreChecked(t *testing.T) {
	good := seal.NewCode()
	var mistyped *seal.CodeError
	_, err := p2pchat.New(p2pchat.WithGroupCode(good + "0"))
	require.ErrorAs(t, err, &mistyped)
	require.Equal(t, 29, mistyped.Digits)
	key, err := seal.Code(good)
	require.NoError(t, err)
	host := memnet.New(memnet.Config{}).Host()
	sealed, err := seal.New(host, seal.Config{Key: key})
	require.NoError(t, err)
	for _, opts := range [][]p2pchat.Option{
		{p2pchat.WithPassphrase("")},
		{p2pchat.WithPassphrase("a"), p2pchat.WithPassphrase("a")},
		{p2pchat.WithPassphrase("a"), p2pchat.WithGroupCode(good)},
		{p2pchat.WithTransport(sealed), p2pchat.WithGroupCode(good)},
	} {
		_, err := p2pchat.New(opts...)
		require.Error(t, err)
	}
	n, err := p2pchat.New(p2pchat.WithTransport(sealed))
	require.NoError(t, err)
	require.True(t, n.Status().Sealed, "a transport that was sealed by hand")
	require.NoError(t, n.Close())
	n, err = p2pchat.New(p2pchat.WithGroupCode(good), p2pchat.WithTransport(host))
	require.NoError(t, err)
	require.True(t, n.Status().Sealed, "in any order")
	require.NoError(t, n.Close())
}

// A history written behind the seal must not be read out to an open group by a
// node that was started without the passphrase.
func TestSealedHistoryIsNotForTheOpenGroup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	host := memnet.New(memnet.Config{}).Host()
	code := p2pchat.WithGroupCode(seal.NewCode())
	n, err := p2pchat.New(p2pchat.WithTransport(host), p2pchat.WithDataDir(dir), code)
	require.NoError(t, err)
	require.NoError(t, n.Close())
	_, err = p2pchat.New(p2pchat.WithTransport(host), p2pchat.WithDataDir(dir))
	var store *p2pchat.StoreError
	require.ErrorAs(t, err, &store)
	n, err = p2pchat.New(p2pchat.WithTransport(host), p2pchat.WithDataDir(dir), code)
	require.NoError(t, err)
	require.NoError(t, n.Close())
}

// The whole life of a group, sealed: joins, an election after a crash, a split
// and a merge, a goodbye.
func TestSealedGroupLivesAsAnOpenOne(t *testing.T) {
	in(t, memnet.Config{Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.1, Seed: 7}, func(w *world) {
		w.join(5, p2pchat.WithPassphrase("correct horse"))
		send := func(i int) {
			_, err := w.nodes[i].Send(w.ctx, "lobby", fmt.Appendf(nil, "from %d", i))
			require.NoError(w, err)
		}
		agree := func(members int, messages uint64, nodes ...int) {
			for _, i := range nodes {
				require.NoError(w, w.nodes[i].Wait(w.ctx, func(s p2pchat.Status) bool {
					return len(s.View.Members) == members && s.Digest.N == messages && s.Converged()
				}), "node %d: %+v", i, w.nodes[i].Status())
			}
		}
		for i := range w.nodes {
			send(i)
		}
		agree(5, 5, 0, 1, 2, 3, 4)
		w.net.Kill(w.hosts[0])
		agree(4, 5, 1, 2, 3, 4)
		w.net.Partition([]netip.AddrPort{w.hosts[1].Addr(), w.hosts[2].Addr()})
		agree(2, 5, 1, 2, 3, 4)
		send(1)
		send(4)
		agree(2, 6, 1, 2, 3, 4)
		w.net.Heal()
		agree(4, 7, 1, 2, 3, 4)
		require.NoError(w, w.nodes[2].Leave(w.ctx))
		agree(3, 7, 1, 3, 4)
		for _, i := range []int{1, 3, 4} {
			drops := w.nodes[i].Status().Drops
			require.Zero(w, drops["auth"]+drops["malformed"]+drops["forged"], "%v", drops)
		}
	})
}
