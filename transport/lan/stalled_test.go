package lan_test

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
)

// One of four peers reads nothing for as long as the others get many times what
// is kept for it. They get all, in order, and memory stays within what one queue
// holds.
func TestStalledPeerCostsItsQueueOnly(t *testing.T) {
	c := config(t)
	const frames, size = 4000, 16 << 10 // 64 MiB to each of the others
	release := make(chan struct{})
	defer close(release) // before anything is closed
	stalled := opened(t, c, func(e transport.Event) {
		if e.Kind == transport.Frame {
			<-release
		}
	})
	var got [3]atomic.Int64
	var done sync.WaitGroup
	peers := []*lan.Transport{stalled}
	for i := range got {
		done.Add(1)
		peers = append(peers, opened(t, c, func(e transport.Event) {
			if e.Kind == transport.Frame {
				if n := got[i].Add(1); e.Frame[0] != byte(n-1) {
					t.Errorf("frame %d is %d", n-1, e.Frame[0])
				} else if n == frames {
					done.Done()
				}
			}
		}))
	}
	room := make(map[string]chan struct{})
	for _, p := range peers {
		room[p.Addr().String()] = make(chan struct{}, 1)
	}
	sender := opened(t, c, func(e transport.Event) {
		if e.Kind == transport.Writable {
			select {
			case room[e.Peer.String()] <- struct{}{}:
			default: // nobody waits for the one that is stalled
			}
		}
	})
	taken := fill(t, sender, stalled.Addr())
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	payload := make([][]byte, 256)
	for i := range payload {
		payload[i] = make([]byte, size)
		payload[i][0] = byte(i)
	}
	for _, p := range peers[1:] {
		go func() {
			for i := range frames {
				for {
					err := sender.Stream(p.Addr(), payload[i%256])
					if err == nil {
						break
					}
					if !errors.Is(err, transport.ErrFull) {
						t.Error(err)
						return
					}
					<-room[p.Addr().String()]
				}
			}
		}()
	}
	done.Wait()
	grown := int64(heap()) - int64(before)
	t.Logf("the stalled peer took %d bytes; memory grew by %d while %d bytes went to the others", taken, grown, 3*frames*size)
	require.Less(t, grown, int64(16<<20))
}
