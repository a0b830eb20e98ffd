package lan_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
)

// BenchmarkStream sends frames from one node to some peers over loopback and
// waits until all have arrived. An operation is one frame to every peer.
func BenchmarkStream(b *testing.B) {
	for _, peers := range []int{1, 3} {
		for _, size := range []int{100, 4 << 10, 32 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("peers=%d/size=%d", peers, size), func(b *testing.B) {
				c := config(b)
				var got atomic.Int64
				done := make(chan struct{})
				want := int64(b.N * peers)
				receivers := make([]*lan.Transport, peers)
				for i := range receivers {
					receivers[i] = opened(b, c, func(e transport.Event) {
						if e.Kind == transport.Frame && got.Add(1) == want {
							close(done)
						}
					})
				}
				room := make([]chan struct{}, peers)
				index := make(map[string]int)
				for i, r := range receivers {
					room[i] = make(chan struct{}, 1)
					index[r.Addr().String()] = i
				}
				sender := opened(b, c, func(e transport.Event) {
					if e.Kind == transport.Writable {
						room[index[e.Peer.String()]] <- struct{}{}
					}
				})
				frame := make([]byte, size)
				b.SetBytes(int64(size * peers))
				b.ReportAllocs()
				b.ResetTimer()
				errs := make(chan error, peers)
				for i, r := range receivers {
					go func() {
						to := r.Addr()
						for range b.N {
							for {
								err := sender.Stream(to, frame)
								if err == nil {
									break
								}
								if !errors.Is(err, transport.ErrFull) {
									errs <- err
									return
								}
								<-room[i]
							}
						}
						errs <- nil
					}()
				}
				for range receivers {
					if err := <-errs; err != nil {
						b.Fatal(err)
					}
				}
				<-done
			})
		}
	}
}

// BenchmarkStreamRoundTrip is a small frame there and one back.
func BenchmarkStreamRoundTrip(b *testing.B) {
	c := config(b)
	var far *lan.Transport
	far = opened(b, c, func(e transport.Event) {
		if e.Kind == transport.Frame {
			_ = far.Stream(e.Peer, e.Frame)
		}
	})
	back := make(chan struct{}, 1)
	near := opened(b, c, func(e transport.Event) {
		if e.Kind == transport.Frame {
			back <- struct{}{}
		}
	})
	frame := make([]byte, 100)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := near.Stream(far.Addr(), frame); err != nil {
			b.Fatal(err)
		}
		<-back
	}
}

// BenchmarkMulticast sends a datagram to the group, heard by three nodes.
func BenchmarkMulticast(b *testing.B) {
	c := config(b)
	for range 3 {
		opened(b, c, func(transport.Event) {})
	}
	sender := opened(b, c, func(transport.Event) {})
	frame := make([]byte, 100)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := sender.Multicast(frame); err != nil {
			b.Fatal(err)
		}
	}
}
