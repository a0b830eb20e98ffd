package seal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
	"github.com/seed-885536be/p2p/transport/memnet"
)

func BenchmarkDatagram(b *testing.B) {
	for _, size := range []int{100, transport.MaxDatagram} {
		s := sender{limit: 1 << 47}
		g, err := newGroupKey(fuzzKey, "bench")
		require.NoError(b, err)
		s.setKey(g)
		plain := make([]byte, size)
		b.Run(fmt.Sprintf("seal/size=%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for range b.N {
				s.seal(kindDatagram, plain)
			}
		})
		for _, name := range []string{"open", "refuse"} {
			b.Run(fmt.Sprintf("%s/size=%d", name, size), func(b *testing.B) {
				n, inner := opened(b, fuzzKey)
				m := sender{limit: 1 << 47}
				m.setKey(n.ring.Load().use)
				if name == "open" {
					n.guests.known[m.id] = &known{key: m.key, aead: m.aead, addrs: []netip.AddrPort{far}}
				}
				frames := make([][]byte, b.N)
				for i := range frames {
					if frames[i] = m.seal(kindDatagram, plain); name == "refuse" {
						frames[i][headerSize] ^= 1
					}
				}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				for _, f := range frames {
					inner.give(transport.Datagram, f)
				}
			})
		}
	}
}

func BenchmarkFrame(b *testing.B) {
	plain := make([]byte, 64<<10)
	o := &outbound{aead: newGCM(make([]byte, 32))}
	b.Run("seal", func(b *testing.B) {
		b.SetBytes(int64(len(plain)))
		b.ReportAllocs()
		for range b.N {
			o.seal(plain)
		}
	})
	b.Run("open", func(b *testing.B) {
		sealed := o.seal(plain)
		buf := make([]byte, len(sealed))
		b.SetBytes(int64(len(plain)))
		b.ReportAllocs()
		for range b.N {
			in := &inbound{aead: o.aead, n: o.n - 1}
			copy(buf, sealed)
			if _, _, err := in.open(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHandshake is one session, both sides, without a network.
func BenchmarkHandshake(b *testing.B) {
	n, _ := opened(b, fuzzKey)
	m, _ := opened(b, fuzzKey)
	b.ReportAllocs()
	for range b.N {
		g, hello, err := n.greet()
		if err != nil {
			b.Fatal(err)
		}
		s, err := m.welcome(hello)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := n.answered(g, s.answer[numberAt:]); err != nil {
			b.Fatal(err)
		}
	}
}

// pipe sends frames from one transport to another.
type pipe struct {
	from, to transport.Transport
	room     chan struct{}
	got      atomic.Int64
	want     int64
	done     chan struct{}
}

func newPipe(b *testing.B, factory func() transport.Transport) *pipe {
	p := &pipe{from: factory(), to: factory(), room: make(chan struct{}, 1), done: make(chan struct{}, 1)}
	require.NoError(b, p.from.Open(transport.HandlerFunc(func(e transport.Event) {
		if e.Kind == transport.Writable {
			p.room <- struct{}{}
		}
	})))
	require.NoError(b, p.to.Open(transport.HandlerFunc(func(e transport.Event) {
		if e.Free != nil {
			e.Free()
		}
		if e.Kind == transport.Frame && p.got.Add(1) == p.want {
			p.done <- struct{}{}
		}
	})))
	b.Cleanup(func() { p.from.Close(); p.to.Close() })
	p.send(b, 1, make([]byte, 1))
	return p
}

func (p *pipe) send(b *testing.B, count int, frame []byte) time.Duration {
	p.want = p.got.Load() + int64(count)
	begin := time.Now()
	for range count {
		for {
			err := p.from.Stream(p.to.Addr(), frame)
			if err == nil {
				break
			}
			if !errors.Is(err, transport.ErrFull) {
				b.Fatal(err)
			}
			<-p.room
		}
	}
	<-p.done
	return time.Since(begin)
}

// BenchmarkStream sends, over one network, in turn without the seal and with it,
// and reports the throughput of both, in MB/s, and what the seal leaves of it.
func BenchmarkStream(b *testing.B) {
	loopback := "lo"
	if ifs, err := net.Interfaces(); err == nil {
		for _, i := range ifs {
			if i.Flags&net.FlagLoopback != 0 && i.Flags&net.FlagUp != 0 {
				loopback = i.Name
			}
		}
	}
	for _, network := range []string{"memnet", "lan"} {
		for _, size := range []int{1 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("%s/size=%d", network, size), func(b *testing.B) {
				mem := memnet.New(memnet.Config{})
				c := lan.Config{
					Group:      fmt.Sprintf("239.255.%d.%d:%d", rand.N(256), 1+rand.N(254), 20000+rand.N(10000)),
					Name:       b.Name(),
					Interfaces: []string{loopback},
				}
				bare := func() transport.Transport {
					if network == "memnet" {
						return mem.Host()
					}
					return lan.New(c)
				}
				open := newPipe(b, bare)
				sealed := newPipe(b, func() transport.Transport {
					t, err := New(bare(), Config{Key: fuzzKey})
					require.NoError(b, err)
					return t
				})
				count := max(1, 8<<20/size)
				frame := make([]byte, size)
				var without, with time.Duration
				b.ResetTimer()
				for range b.N {
					without += open.send(b, count, frame)
					with += sealed.send(b, count, frame)
				}
				mb := float64(b.N) * float64(count) * float64(size) / 1e6
				b.ReportMetric(mb/without.Seconds(), "open-MB/s")
				b.ReportMetric(mb/with.Seconds(), "sealed-MB/s")
				b.ReportMetric(without.Seconds()/with.Seconds(), "ratio")
			})
		}
	}
}
